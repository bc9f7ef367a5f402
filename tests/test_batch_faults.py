"""Whose fault is it that a worker died? The unit's, if it happens again where nothing else can have caused it."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from batch_fakes import DIES, DIES_IN_COMPANY, MAKER, SLOW
from conftest import ROOT
from fakes import PEOPLE, draw, near
from test_batch import ask, contents, gallery, photo, photos, rows  # noqa: F401  (some are fixtures)
from test_video import make_video, walk

from identity_segmentation import Settings, write_image
from identity_segmentation.batch.executors import Local, Queue, exit_status
from identity_segmentation.batch.faults import LEAST_ALONE, MOST_ALONE, Faults
from identity_segmentation.batch.job import batch
from identity_segmentation.batch.units import Outcome, Source, Unit
from identity_segmentation.errors import EngineUnavailable

KILLED = Outcome("killed", reason="the worker was killed")


def unit(number: int = 0) -> Unit:
    return Unit(f"{number:032x}", Source(f"/{number}", "s", str(number)))


def tried(faults: Faults, one: Unit, outcome: Outcome) -> list[bool]:
    """Was it alone? of every try of a unit that always ends so."""
    seen = [one.alone]
    while len(seen) < 100 and (more := faults.again(one, outcome)) is not None:
        one = more
        seen.append(one.alone)
    return seen


def test_a_unit_that_kills_every_worker_is_put_aside_after_four_tries_two_of_them_alone():
    assert tried(Faults(), unit(), KILLED) == [False, False, True, True]


def test_where_workers_are_killed_all_the_time_chance_puts_no_unit_aside_and_a_limit_stays():
    faults = Faults()
    assert faults.most_alone() == LEAST_ALONE
    for number in range(1, 201):  # every third try of units without fault ends in a kill
        one = unit(number)
        if number % 2:
            one = faults.again(one, KILLED) or one
        faults.over(one, done=True)
    assert faults.most_alone() == 9  # (1/3) ** 9 < 1/10,000 < (1/3) ** 8
    assert len(tried(faults, unit(), KILLED)) == 2 + 9
    for number in range(300, 400):
        one = unit(number)
        for _ in range(20):
            one = faults.again(one, Outcome("killed", kept=one.tries)) or one
        faults.over(one, done=True)
    assert faults.most_alone() == MOST_ALONE


def test_a_unit_that_gets_further_each_time_is_never_put_aside():
    faults, one = Faults(), unit()
    for kept in range(1, 50):
        for _ in range(2):
            more = faults.again(one, Outcome("killed", kept=kept))
            assert more is not None
            one = more
    assert one.tries == 98
    left = tried(faults, one, Outcome("killed", kept=49))
    assert len(left) < 6, "and one that gets no further is, within a few tries"


def test_kills_and_errors_are_counted_apart():
    faults, one = Faults(), unit()
    for state in ("killed", "error", "killed", "timed out"):
        more = faults.again(one, Outcome(state))
        assert more is not None
        one = more
    assert faults.again(one, Outcome("error", reason="e")) is None
    assert faults.reason(one, Outcome("error", reason="e")) == "e"


def test_a_unit_that_is_alone_waits_for_the_end_and_for_the_others():
    from dataclasses import replace

    alone = replace(unit(9), alone=True)
    queue = Queue(iter([alone, unit(1), unit(2)]), lambda one, outcome: [unit(3)] if one.key == unit(1).key else [])
    assert queue.take() == unit(1) and queue.take([unit(1)]) == unit(2)
    assert queue.take([unit(2)]) is None
    queue.end(unit(1), Outcome("done"))
    assert queue.take([unit(2)]) == unit(3)
    assert queue.take([unit(3)]) is None and queue.take() == alone
    queue.end(unit(1), Outcome("done"))
    assert queue.take([alone]) is None, "nothing is begun beside it"
    assert queue.take() == unit(3) and queue.take() is None


def test_what_kills_its_worker_is_put_aside_and_what_cannot_bear_company_is_done_alone(ask, photos, tmp_path):  # noqa: F811
    for n in range(6):
        photo(photos / f"slow{n}.png", SLOW, n)
    photo(photos / "dies.png", DIES)
    photo(photos / "large.png", DIES_IN_COMPANY)
    report = ask(photos, executor=lambda setup: Local(setup, 2, 1))
    assert (report.done, report.failed) == (11, 1)
    found = rows(tmp_path / "out")
    assert found["dies.png"]["tries"] >= 2 + LEAST_ALONE and "with nothing else at work" in found["dies.png"]["reason"]
    assert "SIGKILL" in found["dies.png"]["reason"] and found["dies.png"]["tries"] <= 2 + MOST_ALONE
    assert found["large.png"]["state"] == "done" and found["large.png"]["tries"] == 3
    assert all(row["tries"] == 1 for name, row in found.items() if name not in ("dies.png", "large.png"))


def test_deaths_while_engines_load_are_no_units_fault_and_many_end_the_job(ask, photos, tmp_path, monkeypatch):  # noqa: F811
    report = ask(photos, executor=lambda setup: Local(setup, 1, 1), maker="batch_fakes:dies_while_loading")
    assert (report.done, report.failed) == (4, 0) and {row["tries"] for row in rows(tmp_path / "out").values()} == {1}
    monkeypatch.setattr("identity_segmentation.batch.executors.STARTS", 4)
    with pytest.raises(EngineUnavailable, match="ended 4 times in a row while it loaded.*SIGKILL"):
        ask(photos, out=tmp_path / "2", executor=lambda setup: Local(setup, 1, 1), maker="batch_fakes:never_loads")
    assert not list((tmp_path / "2" / ".batch").glob("rows/*/*"))


class Reaped:
    """A process that another thread has waited for: how it ended is known once that thread has written it down."""

    def __init__(self, looks: int):
        self.looks, self.patience = looks, 0.0

    def join(self, patience: float) -> None:
        self.patience = patience

    @property
    def exitcode(self) -> int | None:
        self.looks -= 1
        return None if self.looks >= 0 else -signal.SIGKILL


def test_how_a_process_ended_is_known_although_the_pools_own_thread_waited_for_it():
    assert exit_status(Reaped(looks=3)) == -signal.SIGKILL
    assert exit_status(Reaped(looks=10**9), patience=0.05) is None and exit_status(None) is None


# ---- everything at once

CLIPS, BROKEN, KILLS = 24, 3, 5


def workers_of(pid: int) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if not entry.name.isdigit() or b"spawn_main" not in (entry / "cmdline").read_bytes():
                continue
            if int((entry / "stat").read_text().rpartition(")")[2].split()[1]) == pid:
                found.append(int(entry.name))
        except (OSError, ValueError, IndexError):
            continue
    return found


@pytest.fixture
def films(tmp_path) -> Path:
    """Clips, all different, three of them broken; and the people on file."""
    from batch_fakes import pipeline

    for name in ("Ada", "Bo"):
        for i in range(3):
            write_image(tmp_path / "D" / name / f"{i}.png", draw((near(PEOPLE[name], 3 * i), 60 + 40 * i, 60)))
    pipeline(Settings(gallery=str(tmp_path / "gallery"))).build_gallery(tmp_path / "D")
    folder = tmp_path / "films"
    folder.mkdir()
    for n in range(CLIPS - BROKEN):
        make_video(folder / f"clip{n:02d}.mp4", walk(5 + n % 4))
    good = (folder / "clip00.mp4").read_bytes()
    (folder / "broken0.mp4").write_bytes(b"")
    (folder / "broken1.mp4").write_bytes(b"no video\n" * 40)
    (folder / "broken2.mp4").write_bytes(good[: len(good) // 2])
    return folder


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are looked up in /proc")
def test_under_fire_every_video_is_done_once_with_the_bytes_of_a_serial_run(films, tmp_path, monkeypatch):
    """Workers are killed at random, and the driver once."""
    log = tmp_path / "log"
    asked = {"do": "video", "view": "overlay", "maker": "batch_fakes:counted"}
    script = tmp_path / "drive.py"
    script.write_text(
        "from identity_segmentation.batch.job import batch\nfrom identity_segmentation import Settings\n"
        f"if __name__ == '__main__':\n    batch({str(films)!r}, out={str(tmp_path / 'out')!r}, workers=2, threads=1,"
        f" settings=Settings(gallery={str(tmp_path / 'gallery')!r}), scratch={str(tmp_path / 's')!r}, **{asked!r})\n"
    )
    places = [str(ROOT / "tests"), *filter(None, sys.path)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(places), "BATCH_FAKES_LOG": str(log)}
    chance, kills, driver_kills = random.Random(3), 0, 0
    driver = subprocess.Popen([sys.executable, script], env=environment)
    try:
        seen, limit = 0, time.monotonic() + 240
        while driver.poll() is None and time.monotonic() < limit:
            time.sleep(0.02)
            begun = log.read_text().count("begin") if log.exists() else 0
            if begun <= seen or kills >= KILLS:
                continue
            seen = begun + 3
            time.sleep(chance.uniform(0, 0.3))
            if kills == 2 and not driver_kills:
                driver.send_signal(signal.SIGKILL)
                driver.wait()
                driver_kills = 1
                driver = subprocess.Popen([sys.executable, script], env=environment)
            elif workers := workers_of(driver.pid):
                os.kill(chance.choice(workers), signal.SIGKILL)
                kills += 1
        assert driver.wait(10) == 0 and (kills, driver_kills) == (KILLS, 1)
    finally:
        driver.kill()
    lines = Counter(log.read_text().splitlines())
    again = sum(n - 1 for line, n in lines.items() if line.startswith("begin clip"))
    twice = [line for line, n in lines.items() if line.startswith("end") and n > 1]
    assert again <= kills + 2 * driver_kills, "a kill costs the unit in hand at most"
    assert not twice, "nothing is done twice"
    found = rows(tmp_path / "out")
    failed = {name: row["reason"] for name, row in found.items() if row["state"] == "failed"}
    assert set(failed) == {"broken0.mp4", "broken1.mp4", "broken2.mp4"} and all(failed.values())
    assert not list((tmp_path / "out" / ".batch" / "claims").iterdir())
    monkeypatch.setenv("BATCH_FAKES_LOG", str(tmp_path / "serial.log"))
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    batch(films, out=tmp_path / "serial", executor="serial", scratch=tmp_path / "s2",
          settings=Settings(gallery=str(tmp_path / "gallery")), **asked)  # fmt: skip
    assert contents(tmp_path / "out") == contents(tmp_path / "serial") and len(contents(tmp_path / "out")) == 21


def test_the_ledger_says_what_a_reader_of_videos_needs(films, tmp_path, monkeypatch):
    monkeypatch.setenv("BATCH_FAKES_LOG", str(tmp_path / "log"))
    batch(films / "clip00.mp4", out=tmp_path / "out", executor="serial", scratch=tmp_path / "s", maker=MAKER,
          settings=Settings(gallery=str(tmp_path / "gallery")))  # fmt: skip
    row = json.loads((tmp_path / "out" / ".batch" / "ledger.jsonl").read_text())
    assert (row["fps"], row["timecode"], row["sound"], row["frames"]) == ("25", "", False, 5) and row["took"] > 0
