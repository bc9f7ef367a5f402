"""A thousand sources with one command: each done once, or put aside with its reason, whatever is killed on the way."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
from batch_fakes import CRASHES, DIES, DIES_ONCE, HANGS, MAKER, SLOW
from conftest import ROOT
from fakes import PEOPLE, FakeLearner, draw, near
from test_video import ADA, BO, make_video, walk

import identity_segmentation
from identity_segmentation import IdentityAwareSegmentation, Settings, write_image
from identity_segmentation.batch.executors import Local, Serial, Setup, sized
from identity_segmentation.batch.galleries import packed
from identity_segmentation.batch.job import batch
from identity_segmentation.batch.listing import Plan, listed
from identity_segmentation.batch.places import place
from identity_segmentation.batch.question import OPTIONS, Question, read_job
from identity_segmentation.batch.records import LEASE, Records
from identity_segmentation.batch.units import Outcome, Source, Unit
from identity_segmentation.batch.work import worker
from identity_segmentation.cli.batch import with_run
from identity_segmentation.cli.command import main
from identity_segmentation.errors import (
    Cancelled,
    EngineUnavailable,
    InputError,
    OutputError,
    UnknownPerson,
)  # fmt: skip
from identity_segmentation.parts import part_name
from identity_segmentation.video.files import VideoReader


@pytest.fixture(scope="module")
def gallery(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("people")
    for name in ("Ada", "Bo", "Cy"):
        for i in range(3):
            write_image(folder / "D" / name / f"{i}.png", draw((near(PEOPLE[name], 3 * i), 60 + 40 * i, 60)))
    from batch_fakes import pipeline

    pipeline(Settings(gallery=str(folder / "gallery"))).build_gallery(folder / "D")
    return folder / "gallery"


@pytest.fixture
def ask(gallery, tmp_path, monkeypatch):
    """`batch` with the drawn people's engines, into `out`."""
    monkeypatch.setenv("BATCH_FAKES_MARK", str(tmp_path / "mark"))

    def ask(sources, **given):
        common = {"do": "segment", "out": tmp_path / "out", "executor": "serial", "maker": MAKER,
                  "settings": Settings(gallery=str(gallery)), "scratch": tmp_path / "scratch"}  # fmt: skip
        return batch(sources, **(common | given))

    return ask


def photo(path: Path, what: int = 128, seed: int = 0) -> Path:
    picture = draw((ADA, 60 + seed, 60), (BO, 240, 60))
    picture[0, 0] = (what, 128, 128)
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), picture)
    return path


@pytest.fixture
def photos(tmp_path) -> Path:
    folder = tmp_path / "photos"
    for n in range(4):
        photo(folder / f"p{n}.png", seed=n)
    return folder


def rows(out: Path) -> dict[str, dict]:
    """Name of a source -> its row in the ledger."""
    lines = (out / ".batch" / "ledger.jsonl").read_text("utf-8").splitlines()
    found = [json.loads(line) for line in lines]
    assert len({row["key"] for row in found}) == len(found)
    return {row["source"].rpartition("/")[2]: row for row in found}


def contents(out: Path) -> dict[str, bytes]:
    """Every output, by its name below the destination."""
    return {
        path.relative_to(out).as_posix(): path.read_bytes()
        for path in sorted(out.rglob("*"))
        if path.is_file() and ".batch" not in path.parts
    }


def sources_of(given, kind="photo", **more):
    plan = Plan()
    return [*listed(given, kind, plan, **more)], plan


# ---- the plan


def test_folders_patterns_and_lists_name_each_source_once(photos, tmp_path, monkeypatch):
    photo(photos / "sub" / "p0.png")
    photo(photos / "sub" / "한글 노트.png")
    (photos / "note.txt").write_text("p0.png\n# a remark\n\nsub/p0.png\n", "utf-8")
    (photos / ".hidden.png").write_bytes(b"x")
    found, plan = sources_of([photos])
    assert [s.place for s in found] == ["p0", "p1", "p2", "p3", "sub/p0", "sub/한글_노트"]
    assert plan.taken == 6 and plan.passed_over == 2
    found, plan = sources_of([photos / "note.txt", photos / "*.png", photos / "p0.png"])
    assert [Path(s.address).name for s in found] == ["p0.png", "p0.png", "p1.png", "p2.png", "p3.png"]
    assert [s.place for s in found] == ["p0", "p0-2", "p1", "p2", "p3"] and plan.doubles == 2
    table = tmp_path / "list.csv"
    table.write_text(f"when,Source\n1,{photos / 'p1.png'}\n2,photos/p2.png\n", "utf-8")
    assert [s.place for s in sources_of([table])[0]] == ["p1", "p2"]
    table.write_text("when,what\n1,2\n", "utf-8")
    with pytest.raises(InputError, match="expected a column called source.*it has when, what"):
        sources_of([table])


def test_a_key_is_of_content_and_question_and_not_of_what_else_is_listed(photos, tmp_path):
    (alone,), _ = sources_of([photos / "p1.png"])
    other = photo(tmp_path / "other" / "p1.png", seed=9)
    _, second = sources_of([other, photos / "p1.png"])[0]
    assert second.place == "p1-2" and second.key("q") == alone.key("q") != alone.key("another")
    os.utime(photos / "p1.png", ns=(1, 1))
    assert sources_of([photos / "p1.png"])[0][0].key("q") != alone.key("q")
    tagged = Source("s3://a/b.png", "etag:abc", "b")
    assert tagged.key("q") == Source("s3://elsewhere/c.png", "etag:abc", "c").key("q")


def test_what_is_not_there_is_said_and_the_destination_is_no_source(photos, tmp_path):
    said: list[tuple[str, str]] = []
    found, plan = sources_of(
        [photos, tmp_path / "gone.png", tmp_path / "*.gif"], missing=lambda what, why: said.append((what, why))
    )
    assert len(found) == 4 and plan.missing == 2
    assert [why for _, why in said] == ["no such file or folder", "nothing matches this pattern"]
    inside = photo(photos / "out" / "p9.png")
    found, plan = sources_of([photos, inside], out=str(photos / "out"))
    assert len(found) == 4 and plan.missing == 1
    with pytest.raises(InputError, match="choose another --out"):
        sources_of([photos], out=str(photos))
    with pytest.raises(InputError, match="at least one source"):
        sources_of([])


def test_a_unit_travels_as_text():
    unit = Unit("k", Source("/a/\udcff.mp4", "size:1", "a", 3, "b"), "span", (2, 5), 1)
    assert Unit.from_json(unit.as_json()) == unit and unit.again().tries == 2
    with pytest.raises(ValueError, match="a span of a span alone"):
        Unit("k", unit.source, "whole", (1, 2))


# ---- the question


def test_a_wrong_question_is_said_before_any_work(ask, photos, tmp_path):
    with pytest.raises(InputError, match="did you mean 'background'"):
        Question("video", {"backgroud": "#000000"})
    with pytest.raises(InputError, match="unknown --do 'vidoe'.*did you mean 'video'"):
        Question("vidoe", {})
    with pytest.raises(InputError, match="unknown view"):
        Question("video", {"view": "x-ray"})
    with pytest.raises(InputError, match="aspect as W:H"):
        Question("video", {"aspect": "wide"})
    with pytest.raises(InputError, match="expected a word to look for"):
        Question("clips", {})
    with pytest.raises(UnknownPerson, match="Ada"):
        ask(photos, member="Adda")
    with pytest.raises(InputError, match="there is nothing to do"):
        ask([tmp_path / "gone.png"])
    with pytest.raises(InputError, match="unknown --executor"):
        ask(photos, executor="slurm")
    assert not (tmp_path / "out" / ".batch" / "rows").exists()
    assert set(OPTIONS) == {"video", "segment", "clips", "label", "blur"}


def test_a_job_can_be_a_file(tmp_path):
    file = tmp_path / "batch.toml"
    file.write_text('sources = "a.mp4"\ndo = "video"\n[options]\nmember = ["Ada"]\n', "utf-8")
    assert read_job(file) == {"sources": ["a.mp4"], "do": "video", "options": {"member": ["Ada"]}}
    file.write_text("source = 'a'\n", "utf-8")
    with pytest.raises(InputError, match="did you mean 'sources'"):
        read_job(file)


# ---- doing


def test_videos_are_done_once_and_told_of_in_tables(ask, tmp_path):
    films = tmp_path / "films"
    (films / "2024").mkdir(parents=True)
    make_video(films / "2024" / "a.mp4", walk(10))
    (films / "broken.mp4").write_bytes(b"\0\0\0\x18ftypmp42 and no more")
    (films / "empty.mp4").write_bytes(b"")
    told = []
    given = {"do": "video", "view": "overlay", "masks": True, "told": lambda *what: told.append(what[1:])}
    report = ask([films, tmp_path / "gone.mp4"], **given)
    assert (report.sources, report.done, report.failed, report.kept) == (4, 1, 3, 0)
    assert told[-1] == (4, 4)
    out = tmp_path / "out"
    assert sorted(contents(out)) == ["2024/a.mp4", "2024/a.mp4.masks.jsonl"]
    with VideoReader(out / "2024" / "a.mp4") as reader:
        assert len(list(reader)) == 10
    found = rows(out)
    assert found["a.mp4"]["output"] == "2024/a.mp4" and found["a.mp4"]["frames"] == 10
    assert found["a.mp4"]["on_screen"]["Ada"] == pytest.approx(0.4)
    failed = [json.loads(line) for line in (out / ".batch" / "failed.jsonl").read_text("utf-8").splitlines()]
    assert {Path(row["source"]).name for row in failed} == {"broken.mp4", "empty.mp4", "gone.mp4"}
    assert all(row["reason"] for row in failed) and found["broken.mp4"]["tries"] == 3
    where = [json.loads(line) for line in (out / ".batch" / "people.jsonl").read_text("utf-8").splitlines()]
    assert {(row["person"], Path(row["video"]).name) for row in where} == {("Ada", "a.mp4"), ("Bo", "a.mp4")}
    assert all(row["from"] == 0 and row["to"] == pytest.approx(0.4) and row["similarity"] > 0.6 for row in where)
    before = (out / "2024" / "a.mp4").stat().st_mtime_ns
    again = ask([films, tmp_path / "gone.mp4"], **given)
    assert (again.done, again.kept, again.failed) == (0, 3, 1) and (out / "2024/a.mp4").stat().st_mtime_ns == before
    assert not [p for p in (tmp_path / "scratch").rglob("*") if p.is_file() and "galleries" not in p.parts]


def test_nothing_biometric_is_in_the_destination(ask, photos, gallery, tmp_path):
    ask(photos)
    whole = b"".join(p.read_bytes() for p in (tmp_path / "out").rglob("*") if p.is_file())
    embeddings = next(gallery.glob("gen-*.safetensors")).read_bytes()[-64:]
    assert embeddings not in whole and b"embedding" not in whole and b"safetensors" not in whole


def test_the_ledger_is_read_by_other_programs(ask, photos, tmp_path):
    pytest.importorskip("pyarrow", reason='Parquet needs pyarrow: pip install ".[remote]"')
    duckdb = pytest.importorskip("duckdb", reason="pip install duckdb")
    (photos / "bad.png").write_bytes(b"no picture")
    ask(photos)
    table, people = (str(tmp_path / "out" / ".batch" / f"{name}.parquet") for name in ("ledger", "people"))
    assert duckdb.sql(f"select state, count(*) from '{table}' group by state order by state").fetchall() == [
        ("done", 4), ("failed", 1),
    ]  # fmt: skip
    assert duckdb.sql(f"select person, count(*) from '{people}' group by person order by person").fetchall() == [
        ("Ada", 4), ("Bo", 4),
    ]  # fmt: skip


def test_records_of_a_photo_hold_paths_of_the_destination(ask, photos, tmp_path):
    ask(photos / "p0.png")
    said = json.loads((tmp_path / "out" / "p0" / "result.json").read_text("utf-8"))
    assert said["annotated"] == "p0/annotated.jpg" and said["source"] == str(photos / "p0.png")
    assert all((tmp_path / "out" / f).is_file() for row in said["people"] for f in row["files"].values())


def test_a_source_that_changed_is_done_again_over_its_own_output_alone(ask, photos, tmp_path):
    ask(photos)
    before = contents(tmp_path / "out")
    photo(photos / "p1.png", seed=50)
    report = ask(photos)
    after = contents(tmp_path / "out")
    assert (report.done, report.kept) == (1, 3) and after.keys() == before.keys()
    assert {name for name in after if after[name] != before[name]} >= {"p1/annotated.jpg", "p1/Ada_mask.png"}
    assert all(after[name] == before[name] for name in after if not name.startswith("p1/"))


def test_a_file_that_no_run_made_is_never_written_over(ask, photos, tmp_path):
    mine = tmp_path / "out" / "p1" / "annotated.jpg"
    mine.parent.mkdir(parents=True)
    mine.write_bytes(b"mine")
    report = ask(photos)
    assert (report.done, report.failed) == (3, 1) and mine.read_bytes() == b"mine"
    assert "no run made it" in rows(tmp_path / "out")["p1.png"]["reason"]
    mine.unlink()
    assert ask(photos).kept == 4 and ask(photos, retry_failed=True).done == 1


def test_another_question_on_an_old_destination_is_refused_or_done_beside(ask, photos, tmp_path):
    ask(photos, member="Ada")
    before = contents(tmp_path / "out")
    with pytest.raises(InputError, match=r'member: \["Ada"\] before, \["Bo"\] now.*--new-question'):
        ask(photos, member="Bo")
    assert ask(photos, member="Bo", new_question=True).done == 4
    after = contents(tmp_path / "out")
    assert all(after[name] == content for name, content in before.items())
    beside = [name for name in after if name not in before]
    assert beside and all(name.startswith("question-") for name in beside)
    assert ask(photos, member="Bo").kept == 4 and ask(photos, member="Ada").kept == 4


def test_two_sources_that_want_one_name_are_both_done(ask, photos, tmp_path):
    other = photo(tmp_path / "other" / "p1.png", seed=30)
    ask([photos / "p1.png", other])
    assert {name.split("/")[0] for name in contents(tmp_path / "out")} == {"p1", "p1-2"}
    first = contents(tmp_path / "out")
    assert ask([other, photos / "p1.png"]).kept == 2 and contents(tmp_path / "out") == first
    third = photo(tmp_path / "third" / "p1.png", seed=60)
    assert ask([third]).done == 1
    assert {name.split("/")[0] for name in contents(tmp_path / "out")} == {"p1", "p1-2", "p1-3"}


@pytest.mark.parametrize("do", ["blur", "clips", "label"])
def test_the_other_things_to_do(do, ask, photos, tmp_path, monkeypatch):
    if do == "blur":
        report = ask(photos, do=do)
        assert sorted(contents(tmp_path / "out")) == [f"p{n}.png" for n in range(4)]
    elif do == "clips":
        (tmp_path / "f").mkdir()
        make_video(tmp_path / "f" / "a.mp4", walk(10))
        report = ask(tmp_path / "f", do=do, boxes=["40,40,80,180@0"], frames_per_clip=5)
        made = contents(tmp_path / "out")
        assert {"a/clip_00000/object_001.mp4", "a/clip_00001.json", "a/manifest.jsonl"} <= set(made)
    else:
        import batch_fakes

        from identity_segmentation.labels.job import LabelJob
        from identity_segmentation.labels.marks import Mark

        monkeypatch.setattr(
            batch_fakes,
            "learner",
            lambda s: IdentityAwareSegmentation(segmenter=FakeLearner(), settings=s),
            raising=False,
        )
        LabelJob(tmp_path / "job", FakeLearner()).mark(photos / "p0.png", Mark.box(1, 48, 48, 71, 71))
        report = ask(photos, do=do, job=str(tmp_path / "job"), maker="batch_fakes:learner")
        assert any(name.startswith("p3/") and name.endswith(".png") for name in contents(tmp_path / "out"))
        assert not any("marks" in name for name in contents(tmp_path / "out"))
    assert report.failed == 0 and report.done in (1, 4)


def test_a_long_video_is_shared_out_and_has_the_same_bytes(ask, tmp_path):
    make_video(tmp_path / "long.mp4", walk(60), fps=Fraction(2), sound=True)
    given = {"do": "video", "view": "overlay", "masks": True}
    asked = []

    class Watched(Serial):
        def run(self, units, ended, cancel):
            def told(unit, outcome):
                asked.append((unit.part, unit.span))
                return ended(unit, outcome)

            super().run(units, told, cancel)

    report = ask(tmp_path / "long.mp4", executor=Watched, span=10.0, **given)
    assert (report.done, report.failed) == (1, 0)
    assert asked == [("whole", None), ("span", (0, 0)), ("span", (1, 1)), ("span", (2, 2)), ("join", None)]
    ask(tmp_path / "long.mp4", out=tmp_path / "whole", span=0, **given)
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
    one, other = rows(tmp_path / "out")["long.mp4"], rows(tmp_path / "whole")["long.mp4"]
    assert one["on_screen"] == other["on_screen"] and one["files"] == other["files"] and one["frames"] == 60
    assert not (tmp_path / "out" / ".batch" / "parts").exists() or not any(
        p.is_file() for p in (tmp_path / "out" / ".batch" / "parts").rglob("*")
    )


# ---- faults


def test_what_kills_crashes_or_hangs_a_worker_stops_nothing_else(ask, photos, tmp_path, monkeypatch):
    for name, what in {"crashes": CRASHES, "hangs": HANGS, "once": DIES_ONCE}.items():
        photo(photos / f"{name}.png", what)
    monkeypatch.setattr("identity_segmentation.batch.faults.OTHER_TRIES", 0)
    report = ask(photos, executor=lambda setup: Local(setup, 2, 1, least=2, factor=0), out=tmp_path / "local")
    assert (report.done, report.failed) == (5, 2)
    found = rows(tmp_path / "local")
    assert "SIGSEGV" in found["crashes.png"]["reason"] and "not done after" in found["hangs.png"]["reason"]
    assert found["once.png"]["state"] == "done" and found["once.png"]["tries"] == 2
    assert found["crashes.png"]["tries"] == found["hangs.png"]["tries"] == 1
    for name in ("crashes", "hangs"):
        (photos / f"{name}.png").unlink()
    ask(photos)
    assert contents(tmp_path / "local") == contents(tmp_path / "out")
    assert not list((tmp_path / "local" / ".batch" / "claims").iterdir())


def lives(pid: int) -> bool:
    """Is there such a process, and is it more than a record of how it ended?"""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text("ascii", "replace").rpartition(")")[2].split()[0] not in "ZX"
    return False


def test_a_row_or_a_claim_that_is_being_written_is_not_on_record_yet(tmp_path):
    there = Records(place(tmp_path / "out"))
    there.write_row("ab" * 16, {"state": "done"})
    assert there.claim("cd" * 16)
    for folder in ("rows/ab", "claims"):
        (tmp_path / "out/.batch" / folder / part_name("writing")).write_bytes(b"{")  # as a killed worker leaves it, too
    assert list(there.done()) == ["ab" * 16] and list(there.claimed()) == ["cd" * 16]
    assert all(there.row(key) for key in there.done()) and len(list(there.rows())) == 1


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are looked up in /proc")
def test_a_killed_driver_takes_its_workers_along_and_the_next_goes_on(gallery, tmp_path, ask):
    folder = tmp_path / "photos"
    for n in range(8):
        photo(folder / f"p{n}.png", SLOW, n)
    code = (
        "from identity_segmentation.batch.job import batch\nfrom identity_segmentation import Settings\n"
        f"if __name__ == '__main__':\n    batch({str(folder)!r}, 'segment', {str(tmp_path / 'out')!r}, 'local',"
        f" workers=1, maker={MAKER!r}, settings=Settings(gallery={str(gallery)!r}),"
        f" scratch={str(tmp_path / 'scratch')!r})\n"
    )
    script = tmp_path / "drive.py"
    script.write_text(code)
    places = [str(ROOT / "tests"), *filter(None, sys.path)]
    driver = subprocess.Popen([sys.executable, script], env=os.environ | {"PYTHONPATH": os.pathsep.join(places)})
    there = Records(place(tmp_path / "out"))
    limit = time.monotonic() + 60
    while len(list(there.done())) < 2 and time.monotonic() < limit:
        time.sleep(0.05)
    workers = {int(there.row(key)["worker"].rpartition("-")[2]) for key in there.done()}
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    limit = time.monotonic() + 20
    while any(map(lives, workers)) and time.monotonic() < limit:
        time.sleep(0.05)
    assert workers and not any(map(lives, workers)), "a worker outlived its driver"
    done = len(list(there.done()))
    assert 2 <= done < 8
    report = ask(folder)
    assert (report.kept, report.done, report.failed) == (done, 8 - done, 0)


def test_two_drivers_do_not_do_the_same_twice(ask, photos, tmp_path):
    (first, *_), _ = sources_of([photos])
    ask(photos / "p3.png")
    digest = rows(tmp_path / "out")["p3.png"]["question"]
    mine, other = Records(place(tmp_path / "out")), Records(place(tmp_path / "out"))
    assert other.claim(first.key(digest)) and not mine.claim(first.key(digest))
    report = ask(photos)
    assert (report.done, report.kept, report.elsewhere) == (2, 1, 1)
    claim = tmp_path / "out" / ".batch" / "claims" / first.key(digest)
    held = json.loads(claim.read_text())
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    machine, _, begun = held["process"].split("-")
    claim.write_text(json.dumps(held | {"process": f"{machine}-{ended.pid}-{begun}"}))
    assert ask(photos).done == 1, "the claim of a process that has ended is free"
    claim.write_text(json.dumps(held | {"process": f"{machine}-{os.getpid()}-00000001"}))
    assert mine.claim(first.key(digest)), "another process had this one's number before"
    claim.write_text(json.dumps(held | {"process": "another-1-0", "time": time.time() - LEASE - 1}))
    assert mine.claim(first.key(digest)), "a claim that nobody renewed is free"
    claim.write_text(json.dumps(held | {"process": "another-1-0", "time": time.time()}))
    assert not mine.claim(first.key(digest))
    assert ask(photos).kept == 4 and not claim.exists(), "what is done needs no claim"


def test_many_claim_one_key_and_one_has_it(tmp_path):
    records = [Records(place(tmp_path)) for _ in range(8)]
    got: list[bool] = []
    threads = [threading.Thread(target=lambda r=r: got.append(r.claim("k"))) for r in records]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(got) == 1


def test_a_full_disk_stops_cleanly_and_the_same_command_goes_on(ask, photos, tmp_path, monkeypatch):
    import errno

    real = shutil.copyfile

    def full(source, target, **how):
        if "out" in Path(target).parts and Path(target).parent.name == "p2":
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(source, target, **how)

    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(OutputError, match="no space is left.*run the same command"):
        ask(photos)
    monkeypatch.undo()
    assert sorted(rows(tmp_path / "out")) == ["p0.png", "p1.png"]
    assert not list((tmp_path / "out" / ".batch" / "claims").iterdir())
    report = ask(photos)
    assert (report.kept, report.done) == (2, 2)
    assert not list((tmp_path / "out").rglob("*.part"))


def test_stopping_keeps_what_is_finished(ask, photos, tmp_path):
    cancel = threading.Event()
    with pytest.raises(Cancelled):
        ask(photos, cancel=cancel, told=lambda row, done, total: cancel.set())
    assert len(rows(tmp_path / "out")) == 1 and not list((tmp_path / "out" / ".batch" / "claims").iterdir())
    assert ask(photos).done == 3


def test_a_worker_of_another_version_or_with_other_engines_is_refused(ask, photos, tmp_path):
    given = {"question": {"do": "segment", "options": {}}, "asked": {}, "digest": "", "out": "o", "prefix": "",
             "scratch": "", "settings": {}, "gallery": None, "maker": MAKER}  # fmt: skip
    with pytest.raises(EngineUnavailable, match=r"0\.0\.1; install the same on all machines"):
        worker(**given, version="0.0.1")
    with pytest.raises(EngineUnavailable, match="and the job asks for"):
        ask(photos, maker="batch_fakes:other_engines", executor="local", workers=1)


def test_workers_fit_the_machine(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    assert sized(memory=1) == (8, 1) and sized(memory=1 << 60) == (1, 8)
    assert sized(2) == (2, 4) and sized(None, 4, 1) == (2, 4)


# ---- stores


def test_sources_and_results_can_lie_in_a_store(ask, photos, tmp_path):
    fsspec = pytest.importorskip("fsspec", reason='stores need fsspec: pip install ".[remote]"')
    store = fsspec.filesystem("memory")
    for path in photos.iterdir():
        store.pipe_file(f"/season/{path.name}", path.read_bytes())
    store.pipe_file("/season/bad.png", b"no picture")
    report = ask(["memory://season", "memory://season/gone.png"], out="memory://results")
    assert (report.done, report.failed) == (4, 2)
    ask(photos)
    local = contents(tmp_path / "out")
    far = {
        name.removeprefix("/results/"): store.cat_file(name) for name in store.find("/results") if ".batch" not in name
    }
    pictures = [name for name in local if not name.endswith(".json")]
    assert far.keys() == local.keys() and all(far[name] == local[name] for name in pictures)
    assert ask(["memory://season"], out="memory://results").kept == 5
    with pytest.raises(InputError, match="--executor serial"):
        ask(["memory://season"], out="memory://results", executor="local")
    store.rm("/results", recursive=True)
    store.rm("/season", recursive=True)


def test_a_protocol_that_is_not_installed_is_said(monkeypatch, photos, ask):
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(EngineUnavailable, match=r'pip install "\.\[remote\]"'):
        ask("s3://bucket/a.mp4")


# ---- surfaces


def test_the_package_can_be_called(gallery, photos, tmp_path):
    given = {"do": "segment", "out": tmp_path / "out", "executor": "serial", "maker": MAKER,
             "settings": Settings(gallery=str(gallery)), "scratch": tmp_path / "scratch"}  # fmt: skip
    assert identity_segmentation.batch(photos, **given).done == 4


def test_the_command_line(gallery, photos, tmp_path, monkeypatch, capsys):
    import identity_segmentation.cli.batch as command

    assert with_run(["batch", "a.mp4"]) == ["batch", "run", "a.mp4"] and with_run(["video", "a"]) == ["video", "a"]
    assert with_run(["batch", "status", "d"]) == ["batch", "status", "d"]
    real = batch
    monkeypatch.setattr("identity_segmentation.batch.job.batch", lambda *a, **k: real(*a, maker=MAKER, **k))
    (photos / "bad.png").write_bytes(b"no picture")
    line = ["batch", str(photos), "--do", "segment", "--out", str(tmp_path / "o"), "--executor", "serial"]
    line += ["--gallery", str(gallery), "--scratch", str(tmp_path / "s"), "--member", "Ada", "--set", "crop=true"]
    assert main([*line, "--json"]) == 4
    said = capsys.readouterr()
    report = json.loads(said.out)
    assert report["done"] == 4 and report["failed"] == 1 and "bad.png" in said.err
    asked = json.loads((tmp_path / "o" / ".batch" / "question.json").read_text("utf-8"))
    assert asked["options"] == {"crop": True, "member": ["Ada"]}
    assert command.with_run([]) == []
    assert main(["batch", "run"]) == 1 and "at least one source" in capsys.readouterr().err


def test_the_driver_holds_only_what_is_at_work(tmp_path):
    """Units are pulled as workers get free, and never more than one ahead."""
    pulled, ended = [], []

    def units():
        for n in range(50):
            pulled.append(n)
            assert n <= len(ended) + 1
            yield Unit(f"{n:032x}", Source(f"/{n}", "s", str(n)))

    def end(unit: Unit, outcome: Outcome):
        ended.append(unit)
        return ()

    Serial(Setup("batch_fakes:nothing", {})).run(units(), end, threading.Event())
    assert len(ended) == len(pulled) == 50


def test_the_gallery_travels_by_its_hash(gallery, tmp_path):
    from identity_segmentation.batch.galleries import unpacked

    people = packed(gallery)
    folder = unpacked(people, tmp_path / "g")
    assert folder == unpacked(people, tmp_path / "g") and folder.name == people["hash"]
    assert sorted(p.name for p in folder.iterdir()) == sorted(people["files"])
    assert (folder.stat().st_mode & 0o777) == 0o700 and packed(tmp_path / "none") is None
    assert np.allclose(
        identity_segmentation.Gallery.load(folder).means, identity_segmentation.Gallery.load(gallery).means
    )


def test_what_dies_again_and_again_is_put_aside(tmp_path):
    """The counts of tries, without a process."""
    import io

    from identity_segmentation.batch.job import _Job

    job = _Job(Records(place(tmp_path)), "q", io.StringIO(), None)
    for state, most in {"killed": 4, "error": 3, "timed out": 3, "failed": 1}.items():
        unit, tried = Unit("ab" + "0" * 30, Source("/a", "s", "a")), 1
        job._at_work.add(unit.key)
        while more := list(job._ended(unit, Outcome(state, reason="because"))):
            (unit,), tried = more, tried + 1
        assert tried == most and job.records.row(unit.key)["reason"].startswith("because")
    assert DIES != DIES_ONCE
