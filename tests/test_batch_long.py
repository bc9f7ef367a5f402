"""A long video of a job is shared out, and comes out as if it were not: the same bytes, one row, nothing left over."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from batch_fakes import MAKER
from fakes import PEOPLE, draw, near
from test_video import make_video, walk

from identity_segmentation import Settings, write_image
from identity_segmentation.batch.executors import Serial
from identity_segmentation.batch.job import batch
from identity_segmentation.batch.units import Outcome
from identity_segmentation.video import render as rendering


@pytest.fixture
def ask(tmp_path, monkeypatch):
    """A job over a long video and a short one; a segment is 0.4 seconds here."""
    from batch_fakes import pipeline

    monkeypatch.setattr(rendering, "_SEGMENT_SECONDS", 0.4)
    for name in ("Ada", "Bo"):
        for i in range(3):
            write_image(tmp_path / "D" / name / f"{i}.png", draw((near(PEOPLE[name], 3 * i), 60 + 40 * i, 60)))
    pipeline(Settings(gallery=str(tmp_path / "gallery"))).build_gallery(tmp_path / "D")
    (tmp_path / "in").mkdir()
    make_video(tmp_path / "in" / "long.mp4", walk(40), sound=True)
    make_video(tmp_path / "in" / "short.mp4", walk(12))

    def ask(out: str, **given):
        common = {"do": "video", "view": "overlay", "executor": "serial", "maker": MAKER,
                  "settings": Settings(gallery=str(tmp_path / "gallery")), "scratch": tmp_path / "scratch"}  # fmt: skip
        return batch(tmp_path / "in", out=tmp_path / out, **(common | given))

    return ask


class Watched(Serial):
    """Remembers the units, and lets what is done to one be as if its worker had died."""

    def __init__(self, setup, dies=()):
        super().__init__(setup)
        self.units, self.dies = [], dies

    def run(self, units, ended, cancel):
        def watched(unit, outcome):
            self.units.append((unit.source.place, unit.part, unit.span))
            if (unit.part, unit.tries) in self.dies:
                outcome = Outcome("killed", reason="the worker was killed")
            return ended(unit, outcome)

        super().run(units, watched, cancel)


def outputs(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file()}


def rows(folder: Path) -> dict[str, dict]:
    lines = (folder / ".batch" / "ledger.jsonl").read_text("utf-8").splitlines()
    return {Path(row["source"]).name: row for row in map(json.loads, lines)}


def test_a_long_video_is_done_in_spans_with_the_same_bytes_and_one_row(ask, tmp_path):
    made: list[Watched] = []
    whole = ask("whole", span=0)
    report = ask("spans", span=0.8, executor=lambda setup: made.append(Watched(setup)) or made[0])
    assert [unit for unit in made[0].units if unit[0] == "long"] == [
        ("long", "whole", None), ("long", "span", (0, 1)), ("long", "span", (2, 3)), ("long", "join", None),
    ]  # fmt: skip
    assert [unit for unit in made[0].units if unit[0] == "short"] == [("short", "whole", None)]
    assert outputs(tmp_path / "spans") == outputs(tmp_path / "whole")
    assert (report.done, report.failed, whole.done) == (2, 0, 2)
    here, there = rows(tmp_path / "spans"), rows(tmp_path / "whole")
    for field in ("seconds", "frames", "on_screen", "review", "output", "files"):
        assert here["long.mp4"][field] == there["long.mp4"][field], field
    assert not (tmp_path / "spans" / ".batch" / "parts").exists() or not list(
        (tmp_path / "spans" / ".batch" / "parts").rglob("*.mp4")
    )
    assert not list((tmp_path / "spans" / ".batch" / "claims").glob("*"))
    assert ask("spans", span=0.8).kept == 2  # how long spans are is no part of the question
    assert ask("spans", span=0).kept == 2


def test_a_part_whose_worker_dies_is_tried_again_and_the_rest_is_not(ask, tmp_path):
    ask("whole", span=0)
    made: list[Watched] = []
    dies = {("whole", 0), ("span", 0), ("join", 0)}
    report = ask("spans", span=0.8, executor=lambda setup: made.append(Watched(setup, dies)) or made[0])
    assert report.failed == 0 and outputs(tmp_path / "spans") == outputs(tmp_path / "whole")
    assert [part for name, part, _ in made[0].units if name == "long"].count("span") == 4


def test_a_part_that_cannot_be_done_puts_the_video_aside_and_stops_nothing(ask, tmp_path):
    dies = {("span", tries) for tries in range(9)}
    report = ask("spans", span=0.8, executor=lambda setup: Watched(setup, dies))
    assert (report.done, report.failed) == (1, 1)
    row = rows(tmp_path / "spans")["long.mp4"]
    assert row["state"] == "failed" and "killed" in row["reason"]
    assert ask("spans", span=0.8, retry_failed=True).done == 1
