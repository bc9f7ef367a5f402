"""The doctor: says what is there, and never dies of what is broken."""

from __future__ import annotations

import json

import pytest

from identity_segmentation import doctor
from identity_segmentation.cli.command import main
from identity_segmentation.settings import Settings


def test_every_line_has_a_state_and_the_last_says_whether_the_main_job_runs(capsys):
    assert main(["doctor"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert all(line.split()[0] in ("ok", "note", "MISSING") for line in lines[:-1]) and lines[-1] == "ready"
    for what in ("python", "embedded faces", "embedded masks", "sam3-hf", "video codecs", "marking window", "disk"):
        assert any(what in line for line in lines), what


def test_as_json_each_line_is_a_record(capsys):
    assert main(["doctor", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert all(set(row) == {"state", "what", "detail"} for row in rows)


def test_a_broken_part_is_a_line_and_the_rest_is_still_looked_at(monkeypatch):
    def broken(settings):
        raise RuntimeError("CUDA error: out of memory")
        yield

    def absent(settings):
        raise ImportError("libcublas.so.13 is not there")
        yield

    monkeypatch.setattr(doctor, "_torch", broken)
    monkeypatch.setattr(doctor, "_video", absent)
    found = list(doctor.examine(Settings()))
    assert any("out of memory" in f.detail and f.state == doctor.NOTE for f in found)
    assert any("libcublas" in f.detail and f.state == doctor.MISSING for f in found)
    assert found[-1].what == "disk" and doctor.as_text(found).endswith("MISSING")


@pytest.mark.parametrize("path", ["/nowhere/sam3.pt", "a/b/c", "~/sam3"])
def test_any_path_for_weights_can_be_looked_at(path):
    assert any(f.what == "sam3-hf" for f in doctor.examine(Settings(sam3_checkpoint=path)))
