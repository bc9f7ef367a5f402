"""What killed runs leave is swept by the next; what anybody else is writing, or made, stays."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from identity_segmentation.files import atomic_write
from identity_segmentation.parts import part_name, sweep

ROOT = Path(__file__).resolve().parent.parent
WRITER = """
import sys, time
from identity_segmentation.files import atomic_write
with atomic_write(sys.argv[1]) as file:
    file.write(b"half")
    file.flush()
    print("writing", flush=True)
    time.sleep(600)
"""


def writing(target: Path, script: str = WRITER) -> subprocess.Popen:
    """Another process that has begun to write a file."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    child = subprocess.Popen([sys.executable, "-c", script, target], stdout=subprocess.PIPE, env=environment, text=True)
    assert child.stdout.readline() == "writing\n"
    return child


@pytest.fixture
def child(tmp_path):
    (tmp_path / "x").mkdir()
    found = writing(tmp_path / "x" / "a.bin")
    yield found
    found.kill()
    found.wait()


def parts(folder: Path) -> list[str]:
    return [name for name in os.listdir(folder) if name.endswith(".part")]


def killed(child: subprocess.Popen) -> None:
    child.send_signal(signal.SIGKILL if hasattr(signal, "SIGKILL") else signal.SIGTERM)
    child.wait()


def test_the_next_write_in_the_folder_removes_what_a_killed_process_left(child, tmp_path):
    folder = tmp_path / "x"
    assert len(parts(folder)) == 1
    killed(child)
    with atomic_write(folder / "b.bin") as file:
        file.write(b"whole")
    assert os.listdir(folder) == ["b.bin"]


def test_a_part_of_a_living_process_stays_and_its_file_comes_out_whole(child, tmp_path):
    sweep(tmp_path / "x")
    assert len(parts(tmp_path / "x")) == 1
    os.kill(child.pid, signal.SIGSTOP)  # it stands still, and lives
    sweep(tmp_path / "x")
    assert len(parts(tmp_path / "x")) == 1
    os.kill(child.pid, signal.SIGCONT)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="when a process began is read from /proc")
def test_another_process_of_the_same_number_is_not_taken_for_the_writer(tmp_path):
    _, machine, process, begun, rest = part_name("writing")[1:].split("-")
    other = "1" * 8 if begun != "1" * 8 else "2" * 8
    (tmp_path / f".writing-{machine}-{process}-{other}-{rest}").write_bytes(b"of somebody who had our number before")
    (tmp_path / part_name("writing")).write_bytes(b"ours, at work")
    sweep(tmp_path)
    assert len(parts(tmp_path)) == 1 and f"-{begun}-" in parts(tmp_path)[0]


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="a process that has ended is told by /proc")
def test_a_process_that_has_ended_unmourned_counts_as_gone(child, tmp_path):
    os.kill(child.pid, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
        assert time.monotonic() < deadline
        time.sleep(0.02)
    sweep(tmp_path / "x")
    assert parts(tmp_path / "x") == []


def test_what_is_not_surely_ours_stays(child, tmp_path, monkeypatch):
    folder = tmp_path / "x"
    (ours,) = parts(folder)
    _, machine, *_ = ours.split("-")
    elsewhere = ours.replace(machine, "0" * 8)
    names = [
        elsewhere,
        ".writing-abc.part",
        ".writing-0123456789ab.part",
        "download.part",
        "film.mp4.part",
        "a.jsonl.part",
    ]
    for name in names:
        (folder / name).write_bytes(b"whose?")
    (folder / ours.replace(".part", ".parts")).write_bytes(b"whose?")
    killed(child)
    link = ours.replace("writing", "linked")
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "a").write_bytes(b"mine")
    (folder / link).symlink_to(tmp_path / "precious")
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    sweep(folder)
    assert ours in os.listdir(folder), "another user's"
    monkeypatch.undo()
    sweep(folder)
    assert sorted(os.listdir(folder)) == sorted([*names, link, ours.replace(".part", ".parts")])
    assert (tmp_path / "precious" / "a").read_bytes() == b"mine"


def test_folders_that_are_parts_go_whole_and_a_folder_that_is_not_there_is_no_error(child, tmp_path):
    folder = tmp_path / "x"
    (ours,) = parts(folder)
    (folder / ours.replace("writing", "coco") / "images").mkdir(parents=True)
    (folder / ours.replace("writing", "coco") / "images" / "a").write_bytes(b"1")
    killed(child)
    sweep(folder)
    sweep(folder / "none")
    assert os.listdir(folder) == []
