"""Few-shot labelling as it is used: mark, run, look, correct, relearn, resume; and what bad input gets."""

from __future__ import annotations

import errno
import json
import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import cv2
import numpy as np
import pytest
from fakes import FakeLearner
from PIL import Image

from identity_segmentation.cli.command import main
from identity_segmentation.errors import EngineUnavailable, ImageError, InputError, OutputError
from identity_segmentation.images import read_image
from identity_segmentation.labels.calibration import Calibration
from identity_segmentation.labels.canvas import Canvas
from identity_segmentation.labels.job import LabelJob
from identity_segmentation.labels.markbook import MarkBook
from identity_segmentation.labels.marks import Mark, Marks
from identity_segmentation.labels.report import LabelReport
from identity_segmentation.pace import in_order, pool_of
from identity_segmentation.types import Trial

RED, BLUE, GREY = (40, 40, 220), (220, 60, 40), (120, 125, 120)


def draw(path: Path, *spots, size=(60, 80), noise: int = 6, seed: int = 0) -> Path:
    """A grey picture with a disc per (colour, x, y, radius)."""
    rng = np.random.default_rng(seed)
    image = np.full((*size, 3), GREY, np.uint8)
    for colour, x, y, radius in spots:
        cv2.circle(image, (x, y), radius, colour, -1)
    image = np.clip(image.astype(int) + rng.integers(-noise, noise + 1, image.shape), 0, 255).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imencode(".png", image)[1].tofile(path)
    return path


@pytest.fixture
def folder(tmp_path):
    """Two references and four targets: red and blue discs."""
    draw(tmp_path / "refs/a.png", (RED, 30, 30, 10), (BLUE, 60, 20, 7))
    draw(tmp_path / "refs/b.png", (RED, 50, 40, 8), seed=1)
    for number in range(4):
        draw(tmp_path / f"targets/t{number}.png", (RED, 20 + 10 * number, 30, 6 + number), seed=2 + number)
    return tmp_path


@pytest.fixture
def job(folder):
    job = LabelJob(folder / "job", FakeLearner())
    job.mark(folder / "refs/a.png", Mark.box(1, 22, 22, 38, 38))
    job.mark(folder / "refs/b.png", Mark.stroke(1, [(50, 40)], 14))
    return job


def rows(job):
    return {row["name"]: row for row in job.rows()}


# ---- marking


def test_marks_are_on_disk_as_they_are_made_and_come_back(folder):
    job = LabelJob(folder / "job", FakeLearner())
    picture = folder / "refs/a.png"
    before = picture.read_bytes()
    canvas = Canvas(job, str(picture))
    for mark in (
        Mark.box(2, 70, 30, 50, 10), Mark.point(1, 30.5, 30.25), Mark.point(1, 3, 3, inside=False),
        Mark.stroke(1, [(10, 50), (20, 50)], 6), Mark.stroke(1, [(12, 50)], 3, erase=True),
    ):  # fmt: skip
        canvas.add(mark)
        assert Canvas(job, str(picture)).marked.marks.done == canvas.marked.marks.done
    canvas.undo()
    again = Canvas(LabelJob(folder / "job", FakeLearner()), str(picture))
    assert [m.tool for m in again.marked.marks.done] == ["box", "point", "point", "brush"]
    again.redo()
    assert again.marked.marks.done[-1].tool == "eraser" and again.marked.marks.done[0].points == ((50, 10), (70, 30))
    masks = again.masks()
    assert masks[2].sum() == 20 * 20 and masks[1][30, 30] and masks[1][50, 20] and not masks[1][50, 12]
    assert picture.read_bytes() == before and sorted(p.name for p in picture.parent.iterdir()) == ["a.png", "b.png"]


def test_a_new_mark_ends_what_could_be_redone():
    marks = Marks((10, 10), [Mark.point(1, 2, 2)])
    assert marks.undo() and not marks.undo() and marks.redo() and not marks.redo()
    marks.undo()
    marks.add(Mark.point(1, 5, 5))
    assert not marks.redo() and [m.points for m in marks.done] == [((5, 5),)]


def test_the_brush_paints_a_disc_of_its_size_and_the_eraser_takes_it():
    image = np.zeros((120, 120, 3), np.uint8)
    for size in (1, 2, 5, 20, 100):
        marks = Marks((120, 120), [Mark.stroke(1, [(60, 60)], size)])
        mask = marks.masks(image, None)[1]
        assert 0.6 * np.pi * size**2 / 4 <= mask.sum() <= 1.4 * np.pi * size**2 / 4 + 3, size
        marks.add(Mark.stroke(1, [(60, 60)], size, erase=True))
        assert not marks.masks(image, None)[1].any()


def test_a_mask_replaces_what_was_drawn_before_it():
    image, mask = np.zeros((20, 20, 3), np.uint8), np.zeros((20, 20), bool)
    mask[3:6, 3:6] = True
    marks = Marks((20, 20), [Mark.stroke(1, [(15, 15)], 4), Mark.of_mask(1, mask)])
    assert np.array_equal(marks.masks(image, None)[1], mask)
    marks.add(Mark.stroke(1, [(12, 15), (15, 15)], 4))
    assert marks.masks(image, None)[1][15, 13]


@pytest.mark.parametrize(
    ("mark", "reason"),
    [
        (lambda: Mark.point(1, 80, 30), "outside the 80x60"),
        (lambda: Mark.point(1, -1, 30), "outside the 80x60"),
        (lambda: Mark.box(1, 90, 5, 120, 50), "covers part of the 80x60"),
        (lambda: Mark.stroke(1, [(200, 200), (220, 220)], 10), "outside the 80x60"),
        (lambda: Mark.of_mask(1, np.zeros((5, 5), bool)), "80, 60"),
        (lambda: Mark.point(17, 5, 5), "between 1 and 16, got 17"),
        (lambda: Mark.point(0, 5, 5), "between 1 and 16"),
        (lambda: Mark.stroke(1, [(5, 5)], 101), "1 to 100"),
        (lambda: Mark.stroke(1, [], 10), "got 0"),
        (lambda: Mark.point(1, float("nan"), 5), "finite"),
        (lambda: Mark(1, "lasso", ((1, 1),)), "unknown tool"),
    ],
)
def test_marks_that_cannot_be_are_refused_and_change_nothing(folder, mark, reason):
    job = LabelJob(folder / "job", FakeLearner())
    with pytest.raises(InputError, match=reason):
        Canvas(job, str(folder / "refs/a.png")).add(mark())
    assert not (folder / "job").exists()


def test_a_mark_partly_outside_is_clipped(folder):
    canvas = Canvas(LabelJob(folder / "job", FakeLearner()), str(folder / "refs/a.png"))
    canvas.add(Mark.box(1, 70, 50, 500, 500))
    canvas.add(Mark.stroke(2, [(-3, 10), (4, 10)], 10))
    assert canvas.masks()[1].sum() == 100 and canvas.masks()[2].any()


def test_boxes_without_a_segmenter_that_takes_them_are_refused(folder):
    class Blind:
        id = "blind"

        def encode(self, image):
            return image

    canvas = Canvas(LabelJob(folder / "job", Blind()), str(folder / "refs/a.png"))
    with pytest.raises(EngineUnavailable, match="use the brush"):
        canvas.add(Mark.box(1, 5, 5, 20, 20))
    canvas.add(Mark.stroke(1, [(5, 5)], 4))
    assert [m.tool for m in canvas.marked.marks.done] == ["brush"]


def test_a_picture_is_known_by_its_content(folder, job):
    (folder / "refs/a.png").rename(folder / "refs/renamed.png")
    with pytest.raises(InputError, match="no such file.*idseg label unmark"):
        job.run([folder / "targets"])
    assert job.open(folder / "refs/renamed.png")[0].marks.ids == (1,)
    assert job.run([folder / "targets"]).done == 4, "it was found again"
    assert job.unmark(folder / "refs/renamed.png") and not job.unmark(folder / "refs/renamed.png")
    assert [m.path.name for m in job.book.all()] == ["b.png"]


def test_a_reference_that_changed_is_refused(folder, job):
    draw(folder / "refs/a.png", (BLUE, 30, 30, 10))
    with pytest.raises(InputError, match="changed since it was marked"):
        job.run([folder / "targets"])
    job.mark(folder / "refs/a.png", Mark.box(1, 22, 22, 38, 38))
    assert job.run([folder / "targets"]).references == 2


@pytest.mark.parametrize("content", ["", "{}", '{"schema": 9}', '{"schema": 1, "size": [3, 4], "marks": [{"id": 1}]}'])
def test_a_damaged_file_of_marks_is_named(folder, job, content):
    file = sorted((folder / "job/marks").glob("*.json"))[0]
    file.write_text(content)
    with pytest.raises(InputError, match=file.name):
        job.run([folder / "targets"])


def test_seventeen_ids_are_one_too_many(folder):
    job = LabelJob(folder / "job", FakeLearner())
    for number in range(1, 17):
        job.mark(folder / "refs/a.png", Mark.stroke(number, [(number * 4, 30)], 2))
    assert len(job.names) == 16
    with pytest.raises(InputError, match="got 17"):
        job.mark(folder / "refs/a.png", Mark.stroke(17, [(5, 5)], 2))
    with pytest.raises(InputError, match="got 17"):
        job.name_id(17, "x")


def test_ids_have_names_in_any_script(folder, job):
    job.name_id(1, "  균열  ")
    assert job.names == {1: "균열"}
    with pytest.raises(InputError, match="another id"):
        job.name_id(2, "균열")
    job.name_id(1, "")
    assert job.names == {1: "id 1"}


# ---- labelling


def test_everything_is_written_at_full_size_under_its_own_name(folder, job):
    job.mark(folder / "refs/a.png", Mark.box(2, 54, 14, 66, 26))
    job.name_id(1, "red <b>")
    draw(folder / "targets/t0.png", (RED, 20, 30, 6), (BLUE, 50, 20, 5))
    report = job.run([folder / "targets"])
    assert (report.done, report.kept, report.unreadable, report.references) == (4, 0, {}, 2)
    out = folder / "job"
    image = read_image(folder / "targets/t0.png")
    red, blue = (read_image(out / f"id_masks/{i}/t0.png")[..., 0] for i in (1, 2))
    assert set(np.unique(red)) == {0, 255} and red.shape == image.shape[:2]
    indexed = Image.open(out / "masks/t0.png")
    values = np.asarray(indexed)
    assert indexed.mode == "P" and np.array_equal(values == 1, red > 0) and np.array_equal(values == 2, blue > 0)
    assert json.loads((out / "bboxes/t0.json").read_text()) == [[1, 14, 24, 27, 37], [2, 45, 15, 56, 26]]
    assert read_image(out / "overlays/t0.jpg").shape == image.shape
    manifest = [json.loads(line) for line in (out / "manifest.jsonl").read_text("utf-8").splitlines()]
    assert [row["name"] for row in manifest] == ["t0", "t1", "t2", "t3"]
    first = manifest[0]
    assert [o["name"] for o in first["objects"]] == ["red <b>", "id 2"] and first["absent"] == {}
    assert all(0 < o["score"] <= 1 and 0 <= o["expected_iou"] <= 1 for o in first["objects"])
    assert manifest[1]["absent"] == {"2": 0.9} and not read_image(out / "id_masks/2/t1.png").any()


def test_a_reference_given_as_target_returns_its_own_mark(folder, job):
    copy = folder / "targets/copy of a.png"
    copy.write_bytes((folder / "refs/a.png").read_bytes())
    job.run([folder / "targets", folder / "refs/b.png"])
    found = rows(job)
    for name, reference in (("targets/copy of a", "a.png"), ("b", "b.png")):
        marked, image = job.open(folder / "refs" / reference)
        row = found[name]
        assert row["state"] == "corrected" and row["sure"] == 1.0
        assert np.array_equal(job.masks(row)[1], marked.marks.masks(image, job.segmenter)[1])


def test_marks_on_one_picture_are_enough_and_say_that_scores_are_not_calibrated(folder):
    job = LabelJob(folder / "job", FakeLearner())
    job.mark(folder / "refs/a.png", Mark.box(1, 22, 22, 38, 38))
    report = job.run([folder / "targets"])
    assert report.done == 4 and "not calibrated" in str(report.calibration)
    assert rows(job)["t1"]["objects"][0]["expected_iou"] is None


def test_without_marks_or_targets_it_says_what_is_missing(folder, job):
    empty = LabelJob(folder / "empty", FakeLearner())
    with pytest.raises(InputError, match="nothing is marked"):
        empty.run([folder / "targets"])
    with pytest.raises(InputError, match="no labels yet"):
        job.relearn()
    with pytest.raises(InputError, match="no labels to export"):
        job.export("coco")
    (folder / "nothing").mkdir()
    with pytest.raises(InputError, match="no pictures among the targets"):
        job.run([folder / "nothing"])
    with pytest.raises(InputError, match="no such picture"):
        job.run([folder / "not there"])
    cleared = LabelJob(folder / "cleared", FakeLearner())
    Canvas(cleared, str(folder / "refs/a.png")).clear(1)
    with pytest.raises(InputError, match="nothing is marked in any reference"):
        cleared.run([folder / "targets"])


def test_a_segmenter_that_does_not_learn_is_refused(folder, fake_masks):
    job = LabelJob(folder / "job", fake_masks)
    job.mark(folder / "refs/a.png", Mark.stroke(1, [(30, 30)], 10))
    with pytest.raises(EngineUnavailable, match="does not learn"):
        job.run([folder / "targets"])


def test_names_in_korean_spaces_and_the_same_stem_twice(folder, job):
    for seed, name in enumerate(("모음 1/결함 사진.png", "모음 2/결함 사진.png", "모음 2/결함 사진.PNG.png", "x.png")):
        draw(folder / "more" / name, (RED, 30, 30, 9), seed=seed)
    Image.open(folder / "more/x.png").save(folder / "more/x.bmp")
    Image.open(folder / "more/x.png").save(folder / "more/x.jpg")
    assert job.run([folder / "more"]).done == 6
    names = {
        "x", "x.jpg", "x.png", "모음 1/결함 사진", "모음 2/결함 사진", "모음 2/결함 사진.PNG"
    }  # fmt: skip
    assert set(rows(job)) == names
    assert all((folder / "job/masks" / f"{name}.png").is_file() for name in names)
    again = LabelJob(folder / "job", FakeLearner())
    draw(folder / "more/a new one.png", (RED, 30, 30, 9))
    assert again.run([folder / "more"]).kept == 6 and set(rows(again)) == {*names, "a new one"}


def test_two_folders_with_the_same_names_keep_apart(folder, job):
    for place in ("p/one", "q/one"):
        draw(folder / place / "t.png", (RED, 30, 30, 9))
    job.run([folder / "p/one", folder / "q/one"])
    assert set(rows(job)) == {"one/t", "one/t-2"}
    assert {Path(r["picture"]).parent.parent.name for r in rows(job).values()} == {"p", "q"}


def test_pictures_of_every_kind(folder, job):
    base = Image.open(draw(folder / "base.png", (RED, 30, 30, 10)))
    kinds = folder / "kinds"
    kinds.mkdir()
    alpha = base.convert("RGBA")
    alpha.putalpha(Image.fromarray(np.full((60, 80), 255, np.uint8)))
    alpha.save(kinds / "rgba.png")
    base.convert("CMYK").save(kinds / "cmyk.jpg", quality=95)
    Image.fromarray(np.asarray(base.convert("L")).astype(np.uint16) * 257).save(kinds / "deep.png")
    base.convert("L").save(kinds / "grey.png")
    turned = base.rotate(90, expand=True)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees to the right when shown
    turned.save(kinds / "turned.jpg", exif=exif, quality=95)
    report = job.run([kinds])
    assert report.done == 5 and not report.unreadable
    found = rows(job)
    assert (found["turned"]["width"], found["turned"]["height"]) == (80, 60)
    for name in ("rgba", "cmyk", "turned"):
        assert found[name]["objects"][0]["box"] == pytest.approx([20, 20, 41, 41], abs=2), name
    assert found["grey"]["objects"] == [] and found["deep"]["width"] == 80


def test_one_unreadable_picture_is_reported_and_passed_over_and_tried_again(folder, job):
    whole = (folder / "targets/t1.png").read_bytes()
    (folder / "targets/t1.png").write_bytes(whole[:200])
    (folder / "targets/t2.png").write_bytes(b"")
    report = job.run([folder / "targets"])
    assert report.done == 2 and len(report.unreadable) == 2
    assert {r["name"] for r in job.ranked(["unreadable"])} == {"t1", "t2"} and not (
        folder / "job/masks/t1.png"
    ).exists()
    with pytest.raises(InputError, match="could not be read"):
        job.accept(["t1"])
    (folder / "targets/t1.png").write_bytes(whole)
    report = job.run([folder / "targets"])
    assert (report.done, report.kept, len(report.unreadable)) == (1, 2, 1)
    assert len((folder / "job/manifest.jsonl").read_text().splitlines()) == 4


def test_running_again_does_nothing_twice_and_a_changed_picture_anew(folder, job):
    job.run([folder / "targets"])
    stamps = {p: p.stat().st_mtime_ns for p in (folder / "job/masks").iterdir()}
    report = job.run([folder / "targets"])
    assert (report.done, report.kept) == (0, 4) and job.segmenter.labelled == 4 + 2
    assert stamps == {p: p.stat().st_mtime_ns for p in (folder / "job/masks").iterdir()}
    draw(folder / "targets/t1.png", (RED, 60, 20, 12), size=(60, 90))
    report = job.run([folder / "targets"])
    assert (report.done, report.kept) == (1, 3) and rows(job)["t1"]["width"] == 90


def test_a_killed_run_goes_on_where_it_was(folder, tmp_path):
    for number in range(30):
        draw(folder / f"many/{number:02d}.png", (RED, 30, 30, 9), seed=number)
    script = f"""
import os, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from fakes import FakeLearner
from identity_segmentation.labels.job import LabelJob
from identity_segmentation.labels.marks import Mark
job = LabelJob({str(folder / "job")!r}, FakeLearner())
job.mark({str(folder / "refs/a.png")!r}, Mark.box(1, 22, 22, 38, 38))
job.run([{str(folder / "many")!r}], progress=lambda done, total, left: done == 12 and os._exit(9), workers=2)
"""
    assert subprocess.run([sys.executable, "-c", script], timeout=120).returncode == 9
    manifest = folder / "job/manifest.jsonl"
    for number in (12, 13, 14):  # written, and killed before that was on record
        (folder / f"job/masks/{number}.png").write_bytes(b"half a run")
    assert len(manifest.read_text().splitlines()) == 12
    with manifest.open("ab") as file:
        file.write(b'{"picture": "torn in the mid')
    job = LabelJob(folder / "job", FakeLearner())
    report = job.run([folder / "many"])
    assert (report.done, report.kept) == (18, 12) and job.segmenter.labelled == 18
    assert sorted(rows(job)) == [f"{n:02d}" for n in range(30)] and "torn" not in manifest.read_text()


def test_serial_and_scaled_out_runs_write_the_same_bytes(folder, job):
    other = LabelJob(folder / "other", FakeLearner())
    other.mark(folder / "refs/a.png", Mark.box(1, 22, 22, 38, 38))
    other.mark(folder / "refs/b.png", Mark.stroke(1, [(50, 40)], 14))
    job.run([folder / "targets"], workers=1)
    other.run([folder / "targets"], workers=4)
    for path in (folder / "job").rglob("*.png"):
        assert path.read_bytes() == (folder / "other" / path.relative_to(folder / "job")).read_bytes()
    assert (folder / "job/manifest.jsonl").read_text() == (folder / "other/manifest.jsonl").read_text()


def test_pictures_side_by_side_have_one_core_each():
    """Libraries that shared one picture between cores would only wait; afterwards they may again."""
    from threadpoolctl import threadpool_info, threadpool_limits

    def threads(_=None):
        return {one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas"}

    np.ones((4, 4)) @ np.ones((4, 4))
    with threadpool_limits(2, "blas"):
        before = threads()
        for parallel in (True, False):
            with pool_of(2, parallel) as pool:
                assert list(in_order(pool, threads, range(5), 2)) == [{1} if parallel else before] * 5
            assert threads() == before


def test_two_jobs_at_once_give_the_cores_back_when_both_are_over():
    """The first to begin is the first to end: the second must not put back what the first had set."""
    from threadpoolctl import threadpool_info, threadpool_limits

    def threads():
        return cv2.getNumThreads(), {one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas"}

    usual = cv2.getNumThreads()
    try:
        cv2.setNumThreads(2)
        with threadpool_limits(2, "blas"):
            before, first, second = threads(), pool_of(2, True), pool_of(2, True)
            first.__enter__()
            second.__enter__()
            first.__exit__(None, None, None)
            assert threads() == (1, {1})
            second.__exit__(None, None, None)
            assert threads() == before
    finally:
        cv2.setNumThreads(usual)


def test_where_something_is_found_in_most_pictures_one_is_asked_to_mark_some_that_show_nothing(folder, job):
    report = job.run([folder / "targets", folder / "refs"])
    assert (report.done, report.by_engine, report.found, report.showing_nothing) == (6, 4, 4, 0)
    assert "something was found in 4 of 4 pictures" in report.advice and "--nothing" in report.advice
    draw(folder / "targets/plain.png", seed=9)
    assert job.run([folder / "targets"]).advice == "", "one picture is no pattern"
    job.mark(draw(folder / "refs/c.png", seed=8), Mark.of_mask(1, np.zeros((60, 80), bool)))
    again = job.run([folder / "targets"], overwrite=True)
    assert LabelReport(by_engine=8, found=7).advice and not LabelReport(by_engine=8, found=6).advice
    assert again.showing_nothing == 1 and again.by_engine == 5 and again.advice == ""


def test_progress_tells_the_time_left_and_a_cancelled_run_keeps_what_it_has(folder, job):
    for number in range(20):
        draw(folder / f"many/{number:02d}.png", (RED, 30, 30, 9), seed=number)
    cancel, told = threading.Event(), []

    def progress(done, total, left):
        told.append((done, total, left))
        if done == 3:
            cancel.set()

    report = job.run([folder / "many"], progress=progress, cancel=cancel, workers=1)
    assert report.cancelled and 3 <= report.done < 10
    assert told[0][:2] == (1, 20) and all(left >= 0 for _, _, left in told)
    report = job.run([folder / "many"])
    assert report.done + report.kept == 20 and not report.cancelled


def test_the_jobs_own_pictures_are_no_targets(folder):
    job = LabelJob(folder / "targets/job", FakeLearner())
    job.mark(folder / "refs/a.png", Mark.box(1, 22, 22, 38, 38))
    assert job.run([folder / "targets"]).done == 4
    assert job.run([folder / "targets"]).kept == 4 and len(rows(job)) == 4
    assert LabelJob(folder / "targets", FakeLearner()).book.all() == []


# ---- earlier results


def test_labels_of_other_marks_are_kept_unless_told_otherwise(folder, job):
    job.run([folder / "targets"])
    before = {p: p.read_bytes() for p in (folder / "job").rglob("*") if p.is_file() and "marks" not in str(p)}
    job.mark(folder / "refs/b.png", Mark.stroke(1, [(10, 10)], 5))
    with pytest.raises(InputError, match=r"relearn.*--overwrite"):
        job.run([folder / "targets"])
    assert all(p.read_bytes() == data for p, data in before.items())
    assert job.run([folder / "targets"], overwrite=True).done == 4


def test_files_that_the_job_did_not_write_are_kept(folder, job):
    mine = folder / "job/masks/t1.png"
    mine.parent.mkdir(parents=True)
    mine.write_bytes(b"somebody's work")
    with pytest.raises(InputError, match="did not write it"):
        job.run([folder / "targets"])
    assert mine.read_bytes() == b"somebody's work" and not (folder / "job/manifest.jsonl").exists()
    assert job.run([folder / "targets"], overwrite=True).done == 4


@pytest.mark.parametrize(
    "content", ["not json\n", '{"state": "proposed"}\n', "[1, 2]\n", '{"picture": "a", "state": 3, "name": "a"}\n']
)
def test_a_manifest_of_something_else_is_refused(folder, job, content):
    (folder / "job/manifest.jsonl").write_text(content)
    with pytest.raises(InputError, match=r"manifest\.jsonl"):
        job.run([folder / "targets"])
    assert (folder / "job/manifest.jsonl").read_text() == content


def test_a_full_disk_loses_nothing(folder, job, monkeypatch):
    job.run([folder / "targets/t0.png"])
    real, written = os.fsync, []

    def full(handle):
        written.append(handle)
        if len(written) > 9:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(handle)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match="No space left"):
        job.run([folder / "targets"], workers=1)
    monkeypatch.undo()
    out = folder / "job"
    assert not list(out.rglob("*.part"))
    finished = rows(job)
    assert "t0" in finished and all((out / f"overlays/{name}.jpg").is_file() for name in finished)
    report = job.run([folder / "targets"])
    assert report.done + report.kept == 4 and report.kept == len(finished)


def test_a_mark_that_cannot_be_saved_leaves_those_before_it(folder, job, monkeypatch):
    def full(handle):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OutputError, match="No space left"):
            job.mark(folder / "refs/a.png", Mark.point(1, 3, 3))
    assert [m.tool for m in job.open(folder / "refs/a.png")[0].marks.done] == ["box"]


def test_two_runs_into_one_folder_are_refused(folder, job):
    caught = []

    def progress(done, total, left):
        try:
            LabelJob(folder / "job", FakeLearner()).run([folder / "refs"])
        except OutputError as error:
            caught.append(str(error))

    job.run([folder / "targets"], progress=progress, workers=1)
    assert caught and "another run" in caught[0]


# ---- looking and correcting


def test_the_least_sure_come_first(folder, job):
    draw(folder / "targets/t2.png", ((70, 60, 190), 40, 30, 8), seed=9)  # a red less like what was marked
    job.run([folder / "targets"])
    ranked = job.ranked()
    assert ranked[0]["name"] == "t2" and [r["sure"] for r in ranked] == sorted(r["sure"] for r in ranked)


def test_accepted_stay_corrected_teach_and_rejected_are_left_out(folder, job):
    job.run([folder / "targets"])
    assert job.accept(["t0", "t0"]) == 1 and job.accept(["t0"]) == 0
    assert job.reject([str(folder / "targets/t1.png")]) == 1
    accepted = (folder / "job/masks/t0.png").read_bytes()
    marked, image = job.to_correct("t2")
    assert [m.tool for m in marked.marks.done] == ["mask"]
    marked.marks.add(Mark.stroke(1, [(5, 5)], 8))
    row = job.correct(marked, image)
    assert row["state"] == "corrected" and row["sure"] == 1 and job.masks(row)[1][5, 5]
    exported = json.loads((job.export("coco") / "annotations.json").read_text())
    assert [i["file_name"] for i in exported["images"]] == ["t0.png", "t2.png", "t3.png"]
    exported = json.loads((job.export("coco", states=("accepted", "corrected")) / "annotations.json").read_text())
    assert [i["file_name"] for i in exported["images"]] == ["t0.png", "t2.png"]
    report = job.relearn()
    assert (report.done, report.kept, report.references) == (2, 2, 3) and job.segmenter.learnt_from[-1] == 3
    states = {name: row["state"] for name, row in rows(job).items()}
    assert states == {"t0": "accepted", "t1": "proposed", "t2": "corrected", "t3": "proposed"}
    assert (folder / "job/masks/t0.png").read_bytes() == accepted
    job.reject(["t2"])
    assert len(job.book.all()) == 2 and list((folder / "job/marks").glob("*.removed"))


def test_the_canvas_corrects_a_target(folder, job):
    job.run([folder / "targets"])
    canvas = Canvas(job, "t1", correcting=True)
    assert canvas.masks()[1].any() and len(job.book.all()) == 2
    canvas.clear(1)
    row = canvas.finish()
    assert row["state"] == "corrected" and row["objects"] == [] and rows(job)["t1"]["state"] == "corrected"
    assert canvas.undo() and canvas.finish()["objects"]


def test_a_target_that_is_not_there_is_named(job):
    for call in (job.row, job.to_correct, lambda name: job.accept([name])):
        with pytest.raises(InputError, match="no labels of 'nobody'"):
            call("nobody")


# ---- how sure


def test_expected_iou_follows_the_trials_and_never_leaves_its_range():
    sure = Calibration.of([Trial(1, 0.9, 0.45), Trial(1, 0.8, 0.4), Trial(1, 0.95, 0.5)] * 10)
    assert sure.expected(0.9) == pytest.approx(0.45, abs=0.05) and sure.error < 0.1
    few = Calibration.of([Trial(1, 0.9, 0.2)])
    assert 0.2 < few.expected(0.9) < 0.9, "one trial is not the whole truth"
    assert Calibration.of([Trial(1, 0.9, 0.1), Trial(1, 0.1, 0.9)] * 5).slope >= 0
    assert all(0 <= sure.expected(s) <= 1 for s in (-5, 0, 1, 5))
    assert Calibration.of([]).expected(0.7) is None and "not calibrated" in str(Calibration())


# ---- the command


def idseg(*words) -> int:
    return main([str(w) for w in words])


def test_the_command_marks_runs_fixes_relearns_and_exports(folder, capsys):
    out = ("--out", folder / "job", "--segmenter", "embedded")
    assert idseg("label", "mark", folder / "refs/a.png", "--box", "18,18,42,42", "--name", "빨강", *out) == 0
    assert "빨강" in capsys.readouterr().out
    mask = np.zeros((60, 80), np.uint8)
    cv2.circle(mask, (50, 40), 8, 255, -1)
    cv2.imwrite(str(folder / "mask.png"), mask)
    assert idseg("label", "mark", folder / "refs/b.png", "--mask", folder / "mask.png", *out) == 0
    assert idseg("label", "run", folder / "targets", "--format", "coco", "yolo", "--json", *out) == 0
    report = json.loads(capsys.readouterr().out.split("\n", 1)[1])
    assert report["done"] == 4 and len(report["exports"]) == 2 and report["calibration"]["trials"] == 2
    assert "something was found in 4 of 4 pictures" in report["advice"]
    assert idseg("label", "run", folder / "targets", "--overwrite", *out) == 0
    assert "something was found in" not in capsys.readouterr().out, "nothing was labelled"
    for number in range(4):
        truth = np.zeros((60, 80), np.uint8)
        cv2.circle(truth, (20 + 10 * number, 30), 6 + number, 1, -1)
        found = read_image(folder / f"job/id_masks/1/t{number}.png")[..., 0] > 127
        assert (found & (truth > 0)).sum() / (found | (truth > 0)).sum() > 0.7, number
    assert idseg("label", "list", "--json", *out) == 0
    listed = json.loads(capsys.readouterr().out)
    assert len(listed) == 4
    assert idseg("label", "accept", "t0", *out) == 0
    assert idseg("label", "reject", "t1", *out) == 0
    assert idseg("label", "fix", "t2", "--nothing", *out) == 0
    assert "a reference now" in capsys.readouterr().out
    assert idseg("label", "relearn", *out) == 0
    told = capsys.readouterr().out
    assert "2 pictures labelled, 2 were done before" in told and "something was found in" not in told
    assert idseg("label", "list", "--state", "corrected", "accepted", *out) == 0
    text = capsys.readouterr().out
    assert "t0" in text and "t2  corrected  nothing found" in text
    assert idseg("label", "export", "voc", "--accepted", *out) == 0
    assert (Path(capsys.readouterr().out.strip()) / "ImageSets/Main/train.txt").read_text().split() == ["t0", "t2"]


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("mark", "{a}", "--id", "17", "--box", "1,1,9,9"), "between 1 and 16, got 17"),
        (("mark", "{a}", "--box", "1,1,9"), "X0,Y0,X1,Y1"),
        (("mark", "{a}", "--point", "500,5"), "outside the 80x60"),
        (("mark", "{a}", "--mask", "{a}x"), "no such file"),
        (("mark", "{a}", "{a}", "--box", "1,1,9,9"), "expected one PICTURE"),
        (("run", "{t}"), "nothing is marked"),
        (("run", "{t}", "--format", "excel"), "unknown format 'excel'"),
        (("list", "--out", "{a}"), "is a file; expected a folder"),
        (("relearn",), "no labels yet"),
        (("export", "coco"), "no labels to export"),
    ],
)  # fmt: skip
def test_a_wrong_command_says_so_in_a_sentence(folder, capsys, words, reason):
    words = [w.format(a=folder / "refs/a.png", t=folder / "targets") for w in words]
    out = [] if "--out" in words else ["--out", folder / "job"]
    assert idseg("label", *words, *out, "--segmenter", "embedded") == 1
    assert re.search(reason, capsys.readouterr().err)


def test_the_help_names_every_format_and_state(capsys):
    from identity_segmentation.cli.label import LABEL_STATES
    from identity_segmentation.labels.export import FORMATS
    from identity_segmentation.labels.manifest import STATES

    assert LABEL_STATES == STATES  # said twice, so that --help loads nothing

    with pytest.raises(SystemExit):
        idseg("label", "export", "--help")
    text = " ".join(capsys.readouterr().out.split())
    assert ", ".join(FORMATS) in text


def test_unreadable_targets_are_status_four(folder, capsys):
    (folder / "targets/t1.png").write_bytes(b"no picture")
    out = ("--out", folder / "job", "--segmenter", "embedded")
    assert idseg("label", "mark", folder / "refs/a.png", "--box", "18,18,42,42", *out) == 0
    assert idseg("label", "run", folder / "targets", *out) == 4
    captured = capsys.readouterr()
    assert "t1.png" in captured.err and "1 passed over" in captured.out


def test_a_book_of_marks_survives_what_is_not_its_own(folder):
    book = MarkBook(folder / "marks")
    assert book.all() == [] and book.remove("0" * 64) is False
    with pytest.raises(InputError, match="nothing is marked"):
        book.references(None)
    (folder / "marks").mkdir()
    (folder / "marks/notes.txt").write_text("mine")
    assert book.all() == []
    with pytest.raises(ImageError):
        book.open(folder / "marks/notes.txt")


# ---- found by breaking it


def test_exports_never_touch_the_pictures_and_keep_two_of_a_name_apart(folder, job):
    """Two folders' a.png were one file in an export, and the second was written through a link into the first."""
    for place in ("one", "two"):
        draw(folder / place / "a.png", (RED, 30, 30, 9), seed=ord(place[0]))
        draw(folder / place / "b.jpg", (RED, 30, 30, 9), seed=9)
    Image.open(folder / "one/a.png").save(folder / "one/a.bmp")
    pictures = [*(folder / "one").iterdir(), *(folder / "two").iterdir()]
    before = {p: p.read_bytes() for p in pictures}
    job.run([folder / "one"])
    job.run([folder / "two"])
    for kind in ("coco", "yolo", "voc", "cvat", "label-studio"):
        out = job.export(kind)
        if kind == "coco":
            names = [i["file_name"] for i in json.loads((out / "annotations.json").read_text())["images"]]
            assert len({n.casefold() for n in names}) == 5 and {"a.bmp", "a.png", "b.jpg"} <= set(names)
        for part in {"yolo": ("images/train", "labels/train"), "voc": ("JPEGImages", "Annotations")}.get(kind, ()):
            assert len(list((out / part).iterdir())) == 5
    assert all(p.read_bytes() == data for p, data in before.items())


def test_a_jobs_exports_do_not_pile_up(folder, job):
    job.run([folder / "targets"])
    first = job.export("yolo")
    assert job.export("yolo") == first and os.listdir(first.parent) == ["yolo"]
    whole = (first / "data.yaml").stat().st_mtime_ns
    other = LabelJob(folder / "job", FakeLearner())  # the job, opened again by another command
    assert other.export("yolo") == first and (first / "data.yaml").stat().st_mtime_ns == whole
    job.reject(["t0"])
    assert job.export("yolo") == first and len(list((first / "labels/train").iterdir())) == 3
    job.name_id(1, "빨강")
    assert job.export("yolo") == first and "빨강" in (first / "data.yaml").read_text("utf-8")
    assert job.export("yolo", parts=True).name == "yolo-2"
    job.accept(["t1"])
    assert job.export("yolo", states=("accepted",)).name == "yolo-3"
    draw(folder / "targets/t2.png", (RED, 50, 20, 9), seed=77)
    before = (first / "images/train/t2.png").read_bytes()
    assert job.export("yolo") == first and (first / "images/train/t2.png").read_bytes() != before
    (first / "data.yaml").write_text("mine")
    assert job.export("yolo").name == "yolo-4" and (first / "data.yaml").read_text() == "mine"


def test_what_was_accepted_stays_while_the_pictures_are_out_of_reach_or_touched(folder, job):
    job.run([folder / "targets"])
    job.accept(["t0", "t1"])
    (folder / "targets").rename(folder / "away")
    job.relearn()
    assert rows(job)["t0"]["state"] == "accepted"
    (folder / "away").rename(folder / "targets")
    os.utime(folder / "targets/t0.png")
    report = job.run([folder / "targets"])
    assert rows(job)["t0"]["state"] == "accepted" and not report.unreadable
    draw(folder / "targets/t1.png", (RED, 60, 20, 12), seed=50)
    report = job.run([folder / "targets"])
    assert "changed since it was accepted" in next(iter(report.unreadable.values()))
    assert rows(job)["t1"]["state"] == "accepted"


def test_targets_that_were_moved_keep_what_was_decided(folder, job):
    job.run([folder / "targets"])
    job.accept(["t0"])
    (folder / "targets").rename(folder / "elsewhere")
    report = job.run([folder / "elsewhere"])
    assert report.kept == 4 and rows(job)["t0"]["state"] == "accepted" and len(rows(job)) == 4
    assert "elsewhere" in rows(job)["t0"]["picture"]


def test_rejecting_never_takes_marks_made_as_references(folder, job):
    job.run([folder / "targets", folder / "refs/a.png"])
    with pytest.raises(InputError, match="one of the references"):
        job.reject(["targets/t0", "a"])
    assert rows(job)["targets/t0"]["state"] == "proposed" and len(job.book.all()) == 2
    for _ in range(2):
        marked, image = job.to_correct("targets/t1")
        marked.marks.add(Mark.stroke(1, [(5, 5)], 8))
        job.correct(marked, image)
        (folder / "targets/t1.png").rename(folder / "gone.png")
        job.reject(["targets/t1"])
        (folder / "gone.png").rename(folder / "targets/t1.png")
        job.relearn()
    assert len(list((folder / "job/marks").glob("*.removed*"))) == 2


@pytest.mark.parametrize("mine", ["overlays/t0.jpg", "id_masks/1/t1.png", "bboxes/t2.json", "id_masks/9/t3.png"])
def test_a_file_of_any_kind_that_the_job_did_not_write_is_kept(folder, job, mine):
    path = folder / "job" / mine
    path.parent.mkdir(parents=True)
    path.write_bytes(b"mine")
    with pytest.raises(InputError, match="did not write it"):
        job.run([folder / "targets"])
    assert path.read_bytes() == b"mine"


def test_marks_made_at_once_are_all_kept(folder, job):
    other = LabelJob(folder / "job", FakeLearner())

    def work(which, start):
        for number in range(15):
            which.mark(folder / "refs/b.png", Mark.point(2, start + number, 10))

    threads = [threading.Thread(target=work, args=(j, s)) for j, s in ((job, 0), (job, 20), (other, 40))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(job.open(folder / "refs/b.png")[0].marks.done) == 1 + 45


def test_two_canvases_on_one_picture_lose_nothing(folder, job):
    one, two = Canvas(job, str(folder / "refs/a.png")), Canvas(job, str(folder / "refs/a.png"))
    one.add(Mark.point(1, 5, 5))
    two.add(Mark.point(1, 6, 6))
    one.add(Mark.point(1, 7, 7))
    assert [m.points[0][0] for m in one.marked.marks.done[1:]] == [5, 6, 7]


def test_a_correction_that_is_not_finished_teaches_nobody(folder, job):
    job.run([folder / "targets"])
    canvas = Canvas(job, "t1", correcting=True)
    canvas.add(Mark.stroke(1, [(5, 5)], 4))
    assert len(job.book.all()) == 2 and job.run([folder / "targets"]).kept == 4
    assert Canvas(job, "t1", correcting=True).marked.marks.done == canvas.marked.marks.done, "the draft is there"
    assert canvas.undo() and not canvas.undo(), "what was proposed is no gesture"
    assert not canvas.changed and canvas.redo() and canvas.changed
    job.reject(["t1"])
    assert [m.tool for m in Canvas(job, "t1", correcting=True).marked.marks.done] == ["mask"]


def test_a_fix_with_one_bad_mark_changes_nothing(folder, job, capsys):
    job.run([folder / "targets"])
    out = ("--out", folder / "job", "--segmenter", "embedded")
    assert idseg("label", "fix", "t1", "--point", "30,30", "--point", "900,9", *out) == 1
    assert "outside" in capsys.readouterr().err
    assert not job.drafts.all() and len(job.book.all()) == 2


def test_a_correction_that_is_broken_off_is_made_good(folder, job, monkeypatch):
    job.run([folder / "targets"])
    job.accept(["t1"])
    marked, image = job.to_correct("t1")
    marked.marks.add(Mark.stroke(1, [(5, 5)], 8))

    def killed(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(LabelJob, "_written", killed)
        with pytest.raises(KeyboardInterrupt):
            job.correct(marked, image)
    job.relearn()
    row = rows(job)["t1"]
    assert row["state"] == "corrected" and job.masks(row)[1][5, 5]


def test_a_job_among_its_targets_under_another_spelling_feeds_on_nothing(folder, monkeypatch):
    monkeypatch.chdir(folder / "refs")
    job = LabelJob("../targets/job", FakeLearner())
    job.mark("a.png", Mark.box(1, 22, 22, 38, 38))
    assert job.run([folder / "targets"]).done == 4
    (folder / "link").symlink_to(folder / "targets")
    assert job.run([folder / "link"]).kept == 4 and len(rows(job)) == 4
    (folder / "targets/deep").symlink_to(folder / "refs")
    (folder / "refs/round").symlink_to(folder / "targets")
    assert job.run([folder / "targets"]).done == 2, "linked folders are looked into, circles are not"


def test_masks_of_an_id_that_is_not_marked_any_more_go_and_exports_know_the_accepted(folder, job):
    job.mark(folder / "refs/a.png", Mark.box(2, 54, 14, 66, 26))
    draw(folder / "targets/t0.png", (RED, 20, 30, 6), (BLUE, 50, 20, 5))
    job.run([folder / "targets"])
    job.accept(["t0"])
    canvas = Canvas(job, str(folder / "refs/a.png"))
    assert canvas.undo()
    job.relearn()
    assert (folder / "job/id_masks/2/t0.png").exists() and not (folder / "job/id_masks/2/t1.png").exists()
    for kind in ("coco", "yolo", "voc", "cvat", "label-studio"):
        job.export(kind)
    coco = json.loads((folder / "job/exports/coco/annotations.json").read_text())
    assert [c["id"] for c in coco["categories"]] == [1, 2]


def test_masks_of_zeros_and_ones_are_masks_and_dark_pictures_are_none(folder, capsys):
    mask = np.zeros((60, 80), np.uint8)
    mask[10:20, 10:20] = 1
    cv2.imwrite(str(folder / "ones.png"), mask)
    out = ("--out", folder / "job", "--segmenter", "embedded")
    assert idseg("label", "mark", folder / "refs/a.png", "--mask", folder / "ones.png", *out) == 0
    assert "100 pixels" in capsys.readouterr().out
    cv2.imwrite(str(folder / "dark.png"), np.arange(60, dtype=np.uint8)[:, None].repeat(80, 1))
    assert idseg("label", "mark", folder / "refs/a.png", "--mask", folder / "dark.png", *out) == 1
    assert "dark all over" in capsys.readouterr().err


def test_a_killed_run_can_be_gone_on_with_after_another(folder, job):
    job.run([folder / "targets/t0.png"])
    (folder / "job/.begun").write_text('["t1", "t0"]')
    (folder / "job/masks/t1.png").write_bytes(b"of the killed run")
    job.run([folder / "targets/t2.png"])
    assert json.loads((folder / "job/.begun").read_text()) == ["t1"]
    assert job.run([folder / "targets"]).done == 2 and not (folder / "job/.begun").exists()


def test_one_picture_of_an_impossible_shape_does_not_end_the_run(folder, job):
    Image.fromarray(np.full((1, 70000), 120, np.uint8)).save(folder / "targets/line.png")
    report = job.run([folder / "targets"])
    assert report.done == 4 and len(report.unreadable) == 1


def test_a_picture_beside_a_folder_of_its_labels_name(folder, job):
    draw(folder / "more/x.jpg", (RED, 30, 30, 9))
    draw(folder / "more/x.png/y.png", (RED, 30, 30, 9))
    report = job.run([folder / "more"])
    assert report.done == 2 and not report.unreadable


def test_a_name_that_is_no_utf8_is_found_again(folder, job):
    name = os.fsdecode(b"caf\xe9.png")
    try:
        (folder / "targets" / name).write_bytes((folder / "targets/t0.png").read_bytes())
    except OSError:
        pytest.skip("this file system takes UTF-8 only")
    job.run([folder / "targets"])
    job.mark(folder / "refs/b.png", Mark.point(1, 50, 41))
    report = job.relearn()
    assert report.done == 5 and not report.unreadable


@pytest.mark.parametrize(
    "rle",
    [{"size": 5, "counts": "x"}, {"size": [60, 80], "counts": 5}, {"size": [60, 80], "counts": "\u00ff"}],
)
def test_a_damaged_mask_is_a_sentence(folder, job, rle):
    file = sorted((folder / "job/marks").glob("a-*.json"))[0]
    content = json.loads(file.read_text())
    content["marks"] = [{"id": 1, "tool": "mask", "rle": rle}]
    file.write_text(json.dumps(content))
    with pytest.raises(InputError, match="damaged|run lengths"):
        job.run([folder / "targets"])


def test_the_list_can_be_read_while_it_is_written(folder, job):
    job.run([folder / "targets"])
    stop, failed = threading.Event(), []

    def read():
        while not stop.is_set():
            try:
                assert len(list(job.rows())) == 4
            except Exception as error:
                failed.append(error)

    thread = threading.Thread(target=read)
    thread.start()
    for number in range(30):
        (job.accept if number % 2 else job.reject)(["t0", "t1", "t2"])
    stop.set()
    thread.join()
    assert not failed


def test_numbers_and_names_that_cannot_be_are_sentences(folder, job):
    with pytest.raises(InputError, match="one worker"):
        job.run([folder / "targets"], workers=-1)
    with pytest.raises(InputError, match="another id"):
        job.name_id(1, "id 3")
    job.name_id(1, os.fsdecode(b"\xff\xfe x"))
    job.run([folder / "targets"])
    with pytest.raises(InputError, match=r"\(accepted, corrected\)"):
        job.export("coco", states=("accepted", "corrected"))
    (folder / "targets/t0.png").unlink()
    with pytest.raises(ImageError, match=r"t0\.png"):
        job.export("yolo")


def test_cancel_before_the_learning_learns_nothing(folder, job):
    cancel = threading.Event()
    cancel.set()
    report = job.run([folder / "targets"], cancel=cancel)
    assert report.done == 0 and report.cancelled and job.segmenter.learnt_from == []


def test_relearning_takes_new_targets_along(folder, job):
    job.run([folder / "targets/t0.png"])
    job.mark(folder / "refs/b.png", Mark.point(1, 50, 41))
    assert job.relearn([folder / "targets"]).done == 4


def test_references_hold_no_pixels(folder, job):
    import tracemalloc

    for number in range(12):
        draw(folder / f"large/{number}.png", (RED, 300, 300, 60), size=(900, 1200), seed=number)
        job.mark(folder / f"large/{number}.png", Mark.stroke(1, [(300, 300)], 100))
    tracemalloc.start()
    references = [r for _, r in job.book.references(job.segmenter)]
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 1_000_000 and len(references) == 14, "a picture alone is three times that"
    large = next(r for r in references if r.path.name == "3.png")
    image, masks = large
    assert image.shape == (900, 1200, 3) and masks[1][300, 300] and np.array_equal(masks[1], large.masks[1])


def test_labels_that_are_marks_change_with_them(folder, job):
    job.run([folder / "targets", folder / "refs/a.png"])
    marked, image = job.to_correct("targets/t1")
    marked.marks.add(Mark.stroke(1, [(5, 5)], 8))
    job.correct(marked, image)
    job.mark(folder / "targets/t1.png", Mark.stroke(1, [(70, 50)], 8))
    job.mark(folder / "refs/a.png", Mark.stroke(1, [(70, 50)], 8))
    job.relearn()
    for name in ("targets/t1", "a"):
        row = rows(job)[name]
        assert row["state"] == "corrected" and job.masks(row)[1][50, 70], name
    job.unmark(folder / "refs/a.png")
    job.relearn()
    assert rows(job)["a"]["state"] == "proposed" and rows(job)["targets/t1"]["state"] == "corrected"
