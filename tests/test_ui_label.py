"""Labelling on the web page."""

from __future__ import annotations

import json
import shutil
import threading
from pathlib import Path

import cv2
import numpy as np
import pytest
from page_fixtures import choose, picture_of, shot, shown, waits

from identity_segmentation.errors import InputError
from identity_segmentation.geometry import mask_iou
from identity_segmentation.labels.job import LabelJob

pytest.importorskip("gradio", reason="the web page's tests need gradio: scripts/setup.sh --dev")

from identity_segmentation.ui.label import LabelPage

HOSTILE = "<img src=x onerror=alert(1)>"


@pytest.fixture
def plates(tmp_path):
    """Grey plates with dark discs: two to mark, three to label; (folder, name -> truth)."""
    rng = np.random.default_rng(3)
    truths = {}
    for name, spots in {
        "표시 1": [(100, 80, 30), (220, 150, 18)], "표시 2": [(150, 100, 24)], "t1": [(60, 60, 20)],
        "t2": [(200, 120, 28), (90, 150, 14)], "t3 <b>x": [(250, 60, 22)],
    }.items():  # fmt: skip
        truth = np.zeros((200, 300), np.uint8)
        for x, y, radius in spots:
            cv2.circle(truth, (x, y), radius, 1, -1)
        grey = 150 + rng.normal(0, 5, truth.shape) - 80 * truth
        image = np.dstack([np.clip(grey, 0, 255).astype(np.uint8)] * 3)
        cv2.imencode(".png", image)[1].tofile(tmp_path / f"{name}.png")
        truths[name] = truth > 0
    return tmp_path, truths


class Hand:
    """The mouse over the canvas, in the picture's pixels."""

    def __init__(self, found, size=(300, 200)):
        self.found, self.size = found, size
        self.canvas = found.locator("#label_canvas canvas")

    def at(self, x: float, y: float) -> tuple[float, float]:
        box = self.canvas.bounding_box()
        return box["x"] + x * box["width"] / self.size[0], box["y"] + y * box["height"] / self.size[1]

    def drag(self, *path) -> None:
        mouse = self.found.mouse
        mouse.move(*self.at(*path[0]))
        mouse.down()
        for place in path[1:]:
            mouse.move(*self.at(*place), steps=4)
        mouse.up()

    def tool(self, name: str) -> None:
        self.found.locator(f"#label_canvas [data-tool={name}]").click()

    def saved(self) -> None:
        self.found.wait_for_function(
            "() => document.querySelector('#label_canvas .status').textContent === '✓'", timeout=20_000
        )


def begin(found, name: str, folder: Path, *pictures: str) -> Hand:
    """Open a job and upload references; the first is on the canvas."""
    box = found.locator("#label_job input")
    box.fill(name)
    box.press("Enter")
    found.wait_for_timeout(800)
    found.locator("#label_references input[type=file]").set_input_files([str(folder / f"{p}.png") for p in pictures])
    found.locator("#label_canvas [data-shown], #label_canvas[data-shown]").first.wait_for(timeout=20_000)
    found.wait_for_timeout(500)
    found.locator("#label_canvas").scroll_into_view_if_needed()
    return Hand(found)


def row(found, text: str):
    return found.locator("#label_table").get_by_text(text, exact=True).locator("visible=true").first


def test_browser_mark_label_look_correct_relearn_and_download(tab, served, plates, tmp_path):
    folder, truths = plates
    found = tab("Label")
    hand = begin(found, "결함 찾기", folder, "표시 1", "표시 2")
    job = LabelJob(Path(served[1].settings.output) / "labels" / "결함_찾기", served[1].segmenter)
    hand.drag((64, 44), (136, 116))
    hand.saved()
    marks = job.book.all()[0].marks.done
    assert [m.tool for m in marks] == ["box"] and np.allclose(marks[0].points, ((64, 44), (136, 116)), atol=1)
    hand.tool("brush")
    found.mouse.move(*hand.at(20, 20))
    found.mouse.wheel(0, -100)
    hand.drag((213, 150), (227, 150))
    hand.saved()
    hand.drag((10, 10), (20, 10))
    hand.saved()
    found.keyboard.press("Control+z")
    hand.saved()
    marks = job.book.all()[0].marks.done
    assert [m.tool for m in marks] == ["box", "brush"] and 20 < marks[1].size < 30
    found.locator("#label_id_name input, #label_id_name textarea").first.fill(HOSTILE)
    found.locator("#label_id_name input, #label_id_name textarea").first.press("Enter")
    found.locator("#label_canvas .ids span").get_by_text(HOSTILE).wait_for(timeout=20_000)
    shot(found, "label_marked")

    found.locator("#label_targets input[type=file]").set_input_files(
        [str(folder / f"{n}.png") for n in truths if "t" in n]
    )
    found.wait_for_timeout(800)
    found.locator("#label_run").click()
    status = waits(found, "label_status", "3 labelled", 60)
    assert "not calibrated" in status
    row(found, "t2").wait_for(timeout=20_000)
    for name in ("t1", "t2", "t3_bx"):
        record = job.row(name)
        truth = truths["t3 <b>x" if name.startswith("t3") else name]
        assert mask_iou(job.masks(record)[1], truth) > 0.6, name

    row(found, "t1").click()
    shown(found, "label_overlay")
    assert picture_of(found, "label_overlay", tmp_path).shape[:2] == (200, 300)
    found.locator("#label_accept").click()
    row(found, "accepted").wait_for(timeout=20_000)
    row(found, "t2").click()
    found.wait_for_timeout(1000)
    shown(found, "label_overlay")
    found.locator("#label_fix").click()
    found.wait_for_timeout(1500)
    hand.tool("brush")
    hand.drag((20, 180), (40, 180))
    hand.saved()
    assert not (job.folder / "marks" / "t2.json").exists() and job.row("t2")["state"] == "proposed"
    found.locator("#label_canvas [data-do=done]").click()
    row(found, "corrected").wait_for(timeout=20_000)
    assert job.masks(job.row("t2"))[1][180, 30]
    accepted = (job.folder / "masks/t1.png").read_bytes()
    found.locator("#label_relearn").click()
    status = waits(found, "label_status", "1 labelled, 2 kept", 60)
    assert "leave-one-out" in status and (job.folder / "masks/t1.png").read_bytes() == accepted
    found.locator("#label_export").click()
    link = found.locator("#label_exported a[download]").first
    link.wait_for(timeout=20_000)
    with found.expect_download() as download:
        link.click()
    coco = json.loads(Path(download.value.path()).read_text("utf-8"))
    assert [i["file_name"] for i in coco["images"]] == ["t1.png", "t2.png", "t3_bx.png"]
    assert coco["categories"][0]["name"] == HOSTILE and len(coco["annotations"]) == 3
    shot(found, "label")


def test_browser_points_and_fast_strokes_all_arrive_in_order(tab, served, plates):
    found = tab("Label")
    hand = begin(found, "fast", plates[0], "표시 2")
    job = LabelJob(Path(served[1].settings.output) / "labels" / "fast", served[1].segmenter)
    hand.tool("point")
    found.mouse.click(*hand.at(150, 100))
    found.mouse.click(*hand.at(20, 30), button="right")
    hand.tool("brush")
    found.locator("#label_canvas [data-id='3']").click()
    for number in range(5):
        hand.drag((30 + 40 * number, 170), (40 + 40 * number, 175))
    hand.saved()
    done = job.book.all()[0].marks.done
    assert [m.tool for m in done] == ["point", "point", *["brush"] * 5]
    assert [m.inside for m in done[:2]] == [True, False] and {m.id for m in done[2:]} == {3}
    assert [round(m.points[0][0]) for m in done[2:]] == pytest.approx([30, 70, 110, 150, 190], abs=1)
    found.locator("#label_canvas [data-do=clear]").click()
    hand.saved()
    assert job.book.all()[0].marks.done[-1].tool == "mask"
    found.reload()
    found.get_by_role("tab", name="Label", exact=True).click()
    choose(found, "label_job", "fast")
    found.locator("#label_canvas [data-shown], #label_canvas[data-shown]").first.wait_for(timeout=20_000)
    assert len(job.book.all()[0].marks.done) == 8


def test_browser_a_new_job_has_an_empty_canvas_and_a_switch_loses_no_gesture(tab, served, plates, monkeypatch):
    slow, real = threading.Event(), type(served[1].segmenter).by_points

    def by_points(self, *args):
        slow.wait(2.0)
        return real(self, *args)

    monkeypatch.setattr(type(served[1].segmenter), "by_points", by_points)
    found = tab("Label")
    hand = begin(found, "switch", plates[0], "표시 1", "표시 2")
    hand.drag((64, 44), (136, 116))
    hand.tool("brush")
    hand.drag((212, 150), (228, 150))
    choose(found, "label_reference", "표시_2.png")
    found.wait_for_timeout(3500)
    hand.saved()
    job = LabelJob(Path(served[1].settings.output) / "labels" / "switch", served[1].segmenter)
    assert {m.path.name: len(m.marks.done) for m in job.book.all()} == {"표시_1.png": 2}
    box = found.locator("#label_job input")
    box.fill("switched")
    box.press("Enter")
    found.wait_for_timeout(1500)
    assert found.locator("#label_canvas img").get_attribute("src") is None
    hand = Hand(found)
    found.locator("#label_references input[type=file]").wait_for(state="attached")
    assert found.locator("#label_references").get_by_text("표").count() == 0, "the other job's uploads are gone"


def test_browser_mistakes_in_labelling_are_sentences(tab, plates):
    found = tab("Label")
    found.locator("#label_run").click()
    found.get_by_text("open a labelling job first").wait_for(timeout=20_000)
    begin(found, "mistakes", plates[0], "표시 1")
    found.locator("#label_fix").click()
    found.get_by_text("click a row of the table first").first.wait_for(timeout=20_000)
    found.locator("#label_targets input[type=file]").set_input_files(str(plates[0] / "t1.png"))
    found.wait_for_timeout(800)
    found.locator("#label_run").click()
    found.get_by_text("nothing is marked").wait_for(timeout=20_000)


@pytest.fixture
def label(page, tmp_path):
    label = LabelPage(page)
    label.folder = tmp_path / "labels"
    return label


def gesture(number: int, where: str, **what) -> dict:
    return {"n": number, "where": where, "id": 1, **what}


def opened(label, session: str, job: str, picture: Path) -> str:
    """Open a job and put a picture on the canvas; the canvas's word for where it is."""
    label.open(session, job)
    new, refused = label.upload(session, [picture])
    assert not refused
    return label.show(session, (new or [label.references(session)[-1]])[0])["where"]


def test_gestures_are_counted_checked_and_never_lost(label, plates):
    picture = opened(label, "s", "job", plates[0] / "표시 1.png")
    box = gesture(5, picture, tool="box", points=[[64, 44], [136, 116]])
    assert label.gesture("s", [box])["ack"] == 5 and label.gesture("s", [box])["ack"] == 5, "sent twice, taken once"
    job = label._sessions["s"].job
    assert len(job.book.all()[0].marks.done) == 1
    for number, bad in enumerate(
        (
            {"tool": "box", "points": [[500, 500], [600, 600]]}, {"tool": "lasso"}, {"tool": "brush", "points": []},
            {"tool": "brush", "points": [["a", 1]]}, {"tool": "point", "points": [[1, 2]], "id": 99},
            {"tool": "box", "points": [[1, 2]]}, {"tool": "clear", "id": "x"}, {"tool": "box", "points": None},
            {"tool": "mask", "rle": {"size": [1, 1], "counts": "x"}}, {"tool": "point", "points": [[None, {}]]},
            {"tool": "brush", "points": [[1, 2]], "size": 1e9}, {}, {"tool": "brush", "points": 5},
        ),
        10,
    ):  # fmt: skip
        answer = label.gesture("s", [gesture(number, picture, **bad)])
        assert answer["ack"] == number and answer["said"], bad
    assert len(job.book.all()[0].marks.done) == 1
    assert (
        label.gesture("s", "nonsense")["ack"] == 22
        and label.gesture("s", [7, None, {"n": "x"}, {"n": 1 << 63}])["ack"] == 22
    )
    for number, where in enumerate(
        ("another", '["job", "/etc/passwd", false]', '["../x", "a", false]', "[1]", None), 30
    ):
        answer = label.gesture("s", [gesture(number, where, tool="undo")])
        assert answer["ack"] == number and answer["said"] and len(job.book.all()[0].marks.done) == 1
    label.gesture("s", [gesture(40, picture, tool="brush", points=[[5, 5], [1e300, 5]], size=3)])
    assert job.book.all()[0].marks.done[-1].points[-1][0] < 310
    label.gesture("s", [gesture(41, picture, tool="undo")])
    label.gesture("s", [gesture(51, picture, tool="undo")])
    assert not job.book.all()
    assert label.gesture("s", [gesture(52, picture, tool="redo")])["marks"][0]["tool"] == "box"


def test_two_pages_have_two_canvases_and_one_job(label, plates):
    for session, name in (("a", "표시 1"), ("b", "표시 2")):
        where = opened(label, session, "together", plates[0] / f"{name}.png")
        value = label.gesture(session, [gesture(1, where, tool="brush", points=[[50, 50]], size=9)])
        assert value["ack"] == 1 and not value["said"]
    assert len(label._sessions["a"].job.book.all()) == 2 and label.jobs() == ["together"]
    label.leave("a")
    assert "a" not in label._sessions and label.references("b")


def test_what_is_served_is_a_copy_and_the_job_is_not(label, page, plates):
    job = label.open("s", "../../etc/ 한글 job")
    assert job.folder.parent == label.folder and "한글" in job.folder.name
    new, _ = label.upload("s", [plates[0] / "표시 1.png"])
    value = label.show("s", new[0])
    assert page.folder in Path(value["image"]["path"]).parents and page.folder not in job.folder.parents
    assert label.upload("s", [plates[0] / "표시 1.png"]) == ([], []) and new == ["표시_1.png"]
    assert str(job.folder.absolute()) not in json.dumps([value["where"], label.references("s")])
    with pytest.raises(InputError, match="not among the references"):
        label.show("s", str(plates[0] / "t1.png"))


def test_every_format_can_be_downloaded(label, plates):
    where = opened(label, "s", "job", plates[0] / "표시 1.png")
    label.gesture("s", [gesture(1, where, tool="box", points=[[64, 44], [136, 116]])])
    label.arm("s")
    label.run("s", [plates[0] / "t1.png"], lambda *a: None)
    suffixes = {
        k: Path(label.export("s", k, False, False)).suffix for k in ("coco", "yolo", "voc", "cvat", "label-studio")
    }
    assert suffixes == {"coco": ".json", "yolo": ".zip", "voc": ".zip", "cvat": ".xml", "label-studio": ".zip"}
    with pytest.raises(InputError, match="no labels to export"):
        label.export("s", "coco", False, True)
    for call, reason in (
        (lambda: label.decide("s", None, "accepted"), "click a row"), (lambda: label.show("s", "x"), "not among"),
        (lambda: label.open("s", " "), "a name first"), (lambda: label.run("new", [], None), "open a labelling job"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=reason):
            call()


def test_a_gesture_finds_its_picture_again_after_a_lost_connection_a_restart_and_a_sweep(label, page, plates):
    first = opened(label, "s", "job", plates[0] / "표시 1.png")
    second = opened(label, "s", "job", plates[0] / "표시 2.png")
    label.leave("s")
    answer = label.gesture("s", [gesture(1, first, tool="brush", points=[[50, 50]], size=9)])
    assert answer["where"] == first and not answer["said"]
    shutil.rmtree(label._sessions["s"].served)
    answer = label.gesture("s", [gesture(2, first, tool="brush", points=[[60, 50]], size=9)])
    assert answer["overlay"] and Path(answer["image"]["path"]).exists()
    other = type(label)(page)  # the server, started again
    other.folder = label.folder
    batch = [gesture(3, first, tool="undo"), gesture(4, second, tool="brush", points=[[70, 70]], size=9)]
    assert other.gesture("s", batch)["where"] == second
    marks = {m.path.name: len(m.marks.done) for m in other._opened("job").book.all()}
    assert marks == {"표시_1.png": 1, "표시_2.png": 1}, "each on its own picture"
    assert len(label._sessions) == 1
    for number in range(60):
        label.gesture(f"made up {number}", [])
    assert len(label._sessions) <= 32


def test_a_correction_is_a_draft_until_it_is_done(label, plates):
    where = opened(label, "s", "job", plates[0] / "표시 1.png")
    label.gesture("s", [gesture(1, where, tool="box", points=[[64, 44], [136, 116]])])
    label.arm("s")
    label.run("s", [plates[0] / "t1.png"], lambda *a: None)
    job = label._sessions["s"].job
    view = label.show("s", "t1", correcting=True)
    assert view["correcting"]
    label.gesture("s", [gesture(2, view["where"], tool="brush", points=[[5, 5]], size=9)])
    label.decide("s", "t1", "rejected")
    assert len(job.book.all()) == 1 and not job.drafts.all()
    view = label.show("s", "t1", correcting=True)
    stroke = gesture(3, view["where"], tool="brush", points=[[250, 150]], size=9)
    answer = label.gesture("s", [stroke, gesture(4, view["where"], tool="done")])
    assert not answer["said"] and label.finished("s") == "t1"
    assert job.masks(job.row("t1"))[1][150, 250], "the stroke before it is in"


def test_new_targets_are_labelled_after_new_marks_without_another_word(label, plates):
    where = opened(label, "s", "job", plates[0] / "표시 1.png")
    label.gesture("s", [gesture(1, where, tool="box", points=[[64, 44], [136, 116]])])
    label.arm("s")
    assert "1 labelled" in label.run("s", [plates[0] / "t1.png"], lambda *a: None)
    label.gesture("s", [gesture(2, where, tool="brush", points=[[220, 150]], size=30)])
    assert "2 labelled" in label.run("s", [plates[0] / "t2.png"], lambda *a: None)
    label.arm("s")
    label.stop("s")
    label.gesture("s", [gesture(3, where, tool="undo")])
    assert label.run("s", [], lambda *a: None).startswith("stopped"), "stopped while it waited"


def test_what_is_no_picture_is_refused_at_the_door_and_a_missing_one_does_not_shut_the_job(label, plates, tmp_path):
    (tmp_path / "bad.png").write_text("no picture")
    where = opened(label, "s", "job", plates[0] / "표시 1.png")
    new, refused = label.upload("s", [tmp_path / "bad.png", tmp_path / "gone.png", plates[0] / "표시 2.png"])
    assert new == ["표시_2.png"] and len(refused) == 2 and str(tmp_path) not in refused[0]
    label.gesture("s", [gesture(1, where, tool="brush", points=[[50, 50]], size=9)])
    (label._sessions["s"].job.folder / "pictures/표시_1.png").unlink()
    assert len(label.references("s")) == 2
    with pytest.raises(InputError, match="no such file"):
        label.show("s", "표시_1.png")
    assert label.show("s", "표시_2.png")["where"] and label.show("s", None)["where"] is None


def test_a_thin_stroke_on_a_large_picture_is_seen(label, tmp_path):
    cv2.imwrite(str(tmp_path / "large.png"), np.full((2000, 4500, 3), 90, np.uint8))
    where = opened(label, "s", "job", tmp_path / "large.png")
    answer = label.gesture("s", [gesture(1, where, tool="brush", points=[[100, 100], [4000, 1500]], size=1)])
    layer = cv2.imdecode(np.fromfile(answer["overlay"]["path"], np.uint8), cv2.IMREAD_UNCHANGED)
    assert np.count_nonzero(layer[..., 3]) > 1000


def test_boxes_are_segmented_once(label, plates, monkeypatch):
    from identity_segmentation.engines.embedded_masks import EmbeddedMasks

    asked, real = [], EmbeddedMasks.by_points
    monkeypatch.setattr(EmbeddedMasks, "by_points", lambda self, *a: asked.append(a) or real(self, *a))
    where = opened(label, "s", "job", plates[0] / "표시 1.png")
    for number, (x, y) in enumerate(((64, 44), (200, 130))):
        label.gesture("s", [gesture(number + 1, where, tool="box", points=[[x, y], [x + 60, y + 60]])])
    for number in range(5):
        label.gesture("s", [gesture(number + 10, where, tool="brush", points=[[50, 50]], size=9)])
    label.gesture("s", [gesture(20, where, tool="undo")])
    assert len(asked) == 2
