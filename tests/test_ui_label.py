"""Labelling on the web page."""

from __future__ import annotations

import json
import shutil
import threading
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from page_fixtures import choose, picture_of, shot, waits

from identity_segmentation.errors import InputError
from identity_segmentation.geometry import mask_iou
from identity_segmentation.labels.job import LabelJob
from identity_segmentation.labels.marks import Mark

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


def cell(found, name: str, state: str | None = None):
    """A picture in the grid, by its name; in a state, if one is given."""
    cells = found.locator(f'#label_grid .cell[data-name="{name}"]')
    return cells.filter(has=found.locator(f'[data-state="{state}"]')) if state else cells


def looked_at(found, name: str, large: bool = True) -> None:
    """Wait until a picture is the one that is looked at, with its large picture."""
    said = "element.dataset.looking" if large else "element.querySelector('.look .name').textContent"
    found.wait_for_function(
        f"name => {{ const element = document.querySelector('#label_grid [data-looking], #label_grid[data-looking]');"
        f" return element && {said} === name; }}",
        arg=name, timeout=20_000,
    )  # fmt: skip


def recorded(job: LabelJob, name: str, state: str) -> None:
    """Wait until a decision is on record."""
    for _ in range(200):
        if job.row(name)["state"] == state:
            return
        time.sleep(0.05)
    raise AssertionError(f"{name} is {job.row(name)['state']}")


def order(found) -> list[str]:
    return found.locator("#label_grid .cell").evaluate_all("cells => cells.map((cell) => cell.dataset.name)")


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
    cell(found, "t2").wait_for(timeout=20_000)
    for name in ("t1", "t2", "t3_bx"):
        record = job.row(name)
        truth = truths["t3 <b>x" if name.startswith("t3") else name]
        assert mask_iou(job.masks(record)[1], truth) > 0.6, name
    assert order(found) == [record["name"] for record in job.ranked()], "the least sure first"
    assert found.locator("#label_grid .count").inner_text() == "0 of 3 looked at"

    cell(found, "t1").click()
    looked_at(found, "t1")
    assert picture_of(found, "label_grid .large", tmp_path).shape[:2] == (200, 300)
    found.locator("#label_grid [data-do=accept]").click()
    cell(found, "t1", "accepted").wait_for(timeout=20_000)
    recorded(job, "t1", "accepted")
    cell(found, "t2").click()
    looked_at(found, "t2")
    found.evaluate("scrollTo(0, document.body.scrollHeight)")
    found.keyboard.press("e")
    found.locator("#label_canvas [data-do=done]").wait_for(timeout=20_000)
    found.wait_for_timeout(1200)
    box, height = found.locator("#label_canvas canvas").bounding_box(), found.viewport_size["height"]
    assert box["y"] >= 0 and box["y"] + box["height"] <= height, "the whole picture came into view"
    assert found.evaluate("document.activeElement.tagName") == "CANVAS", "and the keys with it"
    hand.tool("brush")
    hand.drag((20, 180), (40, 180))
    hand.saved()
    assert not (job.folder / "marks" / "t2.json").exists() and job.row("t2")["state"] == "proposed"
    found.locator("#label_canvas [data-do=done]").click()
    cell(found, "t2", "corrected").wait_for(timeout=20_000)
    assert job.masks(job.row("t2"))[1][180, 30]
    looked_at(found, "t3_bx")
    assert found.locator("#label_grid .count").inner_text() == "2 of 3 looked at"
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
    found.get_by_role("tab", name="Label", exact=True).filter(visible=True).first.click()
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
    found.locator("#label_targets input[type=file]").set_input_files(str(plates[0] / "t1.png"))
    found.wait_for_timeout(800)
    found.locator("#label_run").click()
    assert "nothing is marked" in waits(found, "label_status", "nothing is marked", 20)
    assert found.locator("#label_status textarea").is_visible()


def made_job(served, folder: Path, name: str, number: int) -> LabelJob:
    """A job with a marked picture and labels of small plates, made without the page."""
    rng = np.random.default_rng(number)
    job = LabelJob(Path(served[1].settings.output) / "labels" / name, served[1].segmenter)
    (folder / "small").mkdir()
    for count in range(number + 1):
        truth = np.zeros((60, 80), np.uint8)
        cv2.circle(truth, (int(rng.integers(15, 65)), int(rng.integers(15, 45))), int(rng.integers(4, 11)), 1, -1)
        grey = np.clip(150 + rng.normal(0, 6, truth.shape) - rng.integers(30, 90) * truth, 0, 255).astype(np.uint8)
        path = folder / ("small" if count else "") / f"s{count}.png"
        cv2.imwrite(str(path), np.dstack([grey] * 3))
        if count == 0:
            job.mark(path, Mark.of_mask(1, truth > 0))
    job.run([folder / "small"])
    return job


def open_job(found, name: str) -> None:
    box = found.locator("#label_job input")
    box.fill(name)
    box.press("Enter")
    found.locator("#label_grid .cell").first.wait_for(timeout=20_000)


def looking(found) -> str:
    return found.locator("#label_grid .look .name").inner_text()


def thumbnails(found) -> int:
    return found.locator("#label_grid .cell img").count()


def test_browser_a_grid_of_many_fetches_what_is_in_sight_and_is_filtered_by_state(tab, served, tmp_path):
    job = made_job(served, tmp_path, "many", 70)
    names = [row["name"] for row in job.ranked()]
    job.accept(names[1:3])
    found = tab("Label")
    open_job(found, "many")
    found.wait_for_function("() => document.querySelectorAll('#label_grid .cell img').length > 5", timeout=20_000)
    found.wait_for_timeout(1000)
    before = thumbnails(found)
    assert before < 45 and order(found) == names[:60], "those in sight, and the rows after them when they are wanted"
    size = found.locator("#label_grid .cell img").first.evaluate("image => [image.naturalWidth, image.naturalHeight]")
    assert size == [80, 60]
    found.locator("#label_grid .cells").evaluate("cells => { cells.scrollTop = cells.scrollHeight; }")
    found.wait_for_function("n => document.querySelectorAll('#label_grid .cell img').length > n", arg=before)
    assert order(found) == names
    assert found.locator("#label_grid .count").inner_text() == "2 of 70 looked at"
    assert looking(found) == names[0]
    assert cell(found, names[1]).get_attribute("aria-label").startswith(f"{names[1]}, Accepted, sure 0.")
    found.locator("#label_grid [data-filter=accepted]").click()
    assert order(found) == names[1:3] and looking(found) == names[1]
    found.locator("#label_grid [data-filter=proposed]").click()
    assert order(found)[:2] == [names[0], names[3]]
    found.locator("#label_grid [data-do=reject]").click()
    found.wait_for_function("name => !document.querySelector(`#label_grid .cell[data-name='${name}']`)", arg=names[0])
    assert looking(found) == names[3], "the next that nobody has looked at"
    recorded(job, names[0], "rejected")


def test_browser_keys_decide_on_any_keyboard_but_not_while_somebody_writes(tab, served, tmp_path):
    job = made_job(served, tmp_path, "keys", 7)
    names = [row["name"] for row in job.ranked()]
    found = tab("Label")
    open_job(found, "keys")
    looked_at(found, names[0])
    field = found.locator("#label_id_name input, #label_id_name textarea").first
    field.fill("")
    field.type("area")
    assert field.input_value() == "area" and looking(found) == names[0]
    found.locator("#label_grid .cell").first.focus()
    found.keyboard.press("a")
    looked_at(found, names[1])
    assert found.evaluate("document.activeElement.dataset.name") == names[1], "the keys go with it"
    for key, code in (("ㄱ", "KeyR"), ("ฟ", "KeyA")):  # r of a Korean keyboard, a of a Thai one
        found.evaluate(
            "([key, code]) => document.body.dispatchEvent(new KeyboardEvent('keydown', {key, code, bubbles: true}))",
            [key, code],
        )
    looked_at(found, names[3])
    for name, state in zip(names, ("accepted", "rejected", "accepted"), strict=False):
        recorded(job, name, state)
    found.keyboard.press("p")
    assert looking(found) == names[2]
    found.keyboard.press("n")
    found.keyboard.press("n")
    assert looking(found) == names[4]
    found.keyboard.press("Home")
    assert looking(found) == names[0]
    found.keyboard.press("ArrowRight")
    found.keyboard.press("End")
    assert looking(found) == names[6]
    assert found.locator("#label_grid .cell[tabindex='0']").count() == 1
    found.keyboard.press("Control+a")
    found.get_by_role("tab", name="Segment member").filter(visible=True).first.click()
    found.keyboard.press("a")
    found.wait_for_timeout(700)
    assert job.row(names[6])["state"] == "proposed"


@pytest.mark.parametrize(
    ("language", "tab_name", "count"),
    [("th-TH", "ติดป้าย", "ตรวจแล้ว 3 จาก 3 ภาพ")],
)
def test_browser_keyboard_alone_marks_labels_looks_corrects_and_exports(
    browser, served, plates, tmp_path, language, tab_name, count
):
    folder, truths = plates
    context = browser.new_context(locale=language, viewport={"width": 1280, "height": 900})
    found = context.new_page()
    broken: list[str] = []
    found.on("pageerror", lambda error: broken.append(str(error)))
    found.goto(served[0])
    found.get_by_role("tab", name=tab_name, exact=True).filter(visible=True).first.click(timeout=60_000)
    found.set_viewport_size({"width": 390, "height": 844})
    name = f"keys {language}"
    hand = begin(found, name, folder, "표시 1", "표시 2")
    job = LabelJob(Path(served[1].settings.output) / "labels" / name.replace(" ", "_"), served[1].segmenter)
    canvas = found.locator("#label_canvas canvas")
    assert canvas.get_attribute("role") == "application" and canvas.get_attribute("aria-describedby")

    def boxed(corner, other) -> None:  # from the middle, 3 pixels of the picture a key, 30 with Shift
        canvas.focus()
        at = [150, 100]
        for place in (corner, other):
            for axis, (more, less) in enumerate((("ArrowRight", "ArrowLeft"), ("ArrowDown", "ArrowUp"))):
                while at[axis] != place[axis]:
                    gap = place[axis] - at[axis]
                    far = "Shift+" if abs(gap) >= 30 else ""
                    found.keyboard.press(far + (more if gap > 0 else less))
                    at[axis] += (30 if far else 3) * (1 if gap > 0 else -1)
            found.keyboard.press("Space")
        hand.saved()
        found.locator("#label_canvas [data-tool=box]").focus()

    boxed((66, 46), (135, 115))
    boxed((201, 130), (240, 169))
    marks = job.book.all()[0].marks.done
    assert [(m.tool, m.points) for m in marks] == [
        ("box", ((66, 46), (135, 115))), ("box", ((201, 130), (240, 169)))
    ]  # fmt: skip
    choose(found, "label_reference", "표시_2.png")
    found.wait_for_timeout(1500)
    boxed((123, 73), (177, 127))
    found.locator("#label_targets input[type=file]").set_input_files(
        [str(folder / f"{n}.png") for n in truths if "t" in n]
    )
    found.wait_for_timeout(800)
    found.locator("#label_run").press("Enter")
    waits(found, "label_status", "ติดป้าย 3", 90)
    cell(found, "t2").wait_for(timeout=20_000)
    names = order(found)
    assert names == [row["name"] for row in job.ranked()]
    cell(found, names[0]).focus()
    found.keyboard.press("a")
    looked_at(found, names[1], large=False)
    found.keyboard.press("r")
    looked_at(found, names[2], large=False)
    found.keyboard.press("e")
    found.wait_for_function("() => document.activeElement.tagName === 'CANVAS'", timeout=20_000)
    found.keyboard.press("b")
    for key in ("Space", *["Shift+ArrowLeft"] * 4, "Space"):
        found.keyboard.press(key)
    hand.saved()
    found.locator("#label_canvas [data-do=done]").press("Enter")
    cell(found, names[2], "corrected").wait_for(timeout=20_000)
    assert found.locator("#label_grid .count").inner_text() == count
    assert found.evaluate("() => document.documentElement.scrollWidth") <= 400, "nothing sticks out sideways"
    shot(found, f"label_{language}_phone")
    found.locator("#label_export").press("Enter")
    link = found.locator("#label_exported a[download]").first
    link.wait_for(timeout=20_000)
    with found.expect_download() as download:
        link.click()
    assert not broken
    file = tmp_path / "coco.json"
    shutil.copyfile(download.value.path(), file)
    context.close()
    exported_is_right(file, job, names, truths)


def exported_is_right(file: Path, job: LabelJob, names: list[str], truths: dict) -> None:
    """Read the export back with the format's own library: the rejected one is out, the stroke is in, pixel by pixel."""
    coco = pytest.importorskip("pycocotools.coco").COCO(str(file))
    files = {image["file_name"]: image["id"] for image in coco.dataset["images"]}
    assert set(files) == {f"{name}.png" for name in (names[0], names[2])}
    for name in (names[0], names[2]):
        mask = np.zeros((200, 300), bool)
        for annotation in coco.loadAnns(coco.getAnnIds(imgIds=[files[f"{name}.png"]])):
            mask |= coco.annToMask(annotation) > 0
        assert np.array_equal(mask, job.masks(job.row(name))[1])
        truth = truths["t3 <b>x" if name.startswith("t3") else name]
        if name == names[2]:
            assert mask[100, 30:151].all()
            mask[85:116] &= truth[85:116]
        assert mask_iou(mask, truth) > 0.6


def test_browser_drags_that_begin_outside_the_picture_count(tab, served, plates):
    found = tab("Label", has_touch=True)
    hand = begin(found, "outside", plates[0], "표시 1")
    job = LabelJob(Path(served[1].settings.output) / "labels" / "outside", served[1].segmenter)
    hand.drag((-12, -9), (120, 100))
    hand.saved()
    box = job.book.all()[0].marks.done[-1]
    assert box.tool == "box" and np.allclose(box.points, ((0, 0), (120, 100)), atol=1)
    hand.tool("brush")
    hand.drag((-14, 60), (-7, 60), (40, 60))
    hand.saved()
    stroke = job.book.all()[0].marks.done[-1]
    assert stroke.tool == "brush" and np.allclose((stroke.points[0], stroke.points[-1]), ((0, 60), (40, 60)), atol=1)
    hint = found.locator("#label_canvas .keys").bounding_box()
    found.mouse.move(hint["x"] + 250, hint["y"] + 4)  # over words: a drag that would choose text
    found.mouse.down()
    found.mouse.move(*hand.at(150, 150), steps=6)
    found.mouse.up()
    hand.saved()
    stroke = job.book.all()[0].marks.done[-1]
    assert stroke.points[0][1] == pytest.approx(200, abs=1) and stroke.points[-1][1] == pytest.approx(150, abs=1)
    assert found.evaluate("getSelection().toString()") == ""
    hand.tool("box")
    touch = found.context.new_cdp_session(found)
    for kind, *place in (("touchStart", -6, 190), ("touchMove", 20, 170), ("touchMove", 60, 150), ("touchEnd",)):
        points = [dict(zip("xy", hand.at(*place), strict=True))] if place else []
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    hand.saved()
    box = job.book.all()[0].marks.done[-1]
    assert box.tool == "box" and np.allclose(box.points, ((0, 150), (60, 190)), atol=1)
    before = len(job.book.all()[0].marks.done)
    hand.drag((-12, 50), (-12, 150))
    found.mouse.move(*hand.at(50, 50))
    found.wait_for_timeout(500)
    assert len(job.book.all()[0].marks.done) == before, "one that never comes in is none"


def test_browser_a_run_outlives_a_reload_fills_the_grid_and_cancel_keeps_what_is_done(
    tab, served, tmp_path, monkeypatch
):
    job = made_job(served, tmp_path, "long", 12)
    names = [row["name"] for row in job.ranked()]
    gate, real = threading.Semaphore(4), LabelJob._one

    def one(self, *args):
        gate.acquire(timeout=60)
        return real(self, *args)

    monkeypatch.setattr(LabelJob, "_one", one)
    job.name_id(1, "긁힘")
    job.mark(tmp_path / "s0.png", Mark.stroke(1, [(5, 5)], 3))  # other marks: all is proposed anew
    found = tab("Label")
    open_job(found, "long")
    found.locator("#label_relearn").click()
    found.wait_for_function("() => document.querySelector('#label_grid progress')?.value > 0", timeout=30_000)
    last = names[-1]
    found.reload()
    found.get_by_role("tab", name="Label", exact=True).filter(visible=True).first.click()
    found.locator("#label_grid .cell").first.wait_for(timeout=30_000)
    assert found.locator("#label_grid .running").is_visible(), "the open job, and its run, are found again"
    cell(found, last).click()
    found.keyboard.press("a")
    cell(found, last, "accepted").wait_for(timeout=20_000)
    found.locator("#label_cancel").click()
    found.wait_for_timeout(600)
    for _ in range(30):
        gate.release()
    said = waits(found, "label_status", "stopped; what was finished is kept", 30)
    done = int(said.split("kept. ")[1].split(" labelled")[0])
    assert 0 < done < 12
    key = job.cache_key()
    assert sum(row["question"] == key for row in job.rows()) == done
    assert found.locator("#label_grid .running").is_hidden()


@pytest.fixture
def label(page, tmp_path):
    label = LabelPage(page)
    label.folder = tmp_path / "labels"
    return label


def gesture(number: int, where: str, **what) -> dict:
    return {"n": number, "where": where, "id": 1, **what}


def labelled(label, session: str, *pictures: Path) -> dict:
    """Label pictures in the server's own time; the page's job, ended."""
    return ended(label, session, label.begin(session, [str(picture) for picture in pictures]))


def ended(label, session: str, job: str) -> dict:
    for _ in range(1200):
        found = label.page.jobs.get(session, job)
        if found["state"] not in ("waiting", "running"):
            return found
        time.sleep(0.05)
    raise AssertionError(found)


def decided(label, name: str, state: str, job: str = "job", **more) -> dict:
    """What the grid is answered when something is decided."""
    return label.grid.answer({"n": 1, "job": job, "decide": [{"n": 1, "name": name, "state": state, **more}]})


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
    labelled(label, "s", plates[0] / "t1.png")
    suffixes = {
        k: Path(label.export("s", k, False, False)).suffix for k in ("coco", "yolo", "voc", "cvat", "label-studio")
    }
    assert suffixes == {"coco": ".json", "yolo": ".zip", "voc": ".zip", "cvat": ".xml", "label-studio": ".zip"}
    with pytest.raises(InputError, match="no labels to export"):
        label.export("s", "coco", False, True)
    for call, reason in (
        (lambda: label.correct("s", {"job": "job"}), "choose a picture"), (lambda: label.show("s", "x"), "not among"),
        (lambda: label.open("s", " "), "a name first"), (lambda: label.begin("new", []), "open a labelling job"),
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
    labelled(label, "s", plates[0] / "t1.png")
    job = label._sessions["s"].job
    view = label.show("s", "t1", correcting=True)
    assert view["correcting"]
    label.gesture("s", [gesture(2, view["where"], tool="brush", points=[[5, 5]], size=9)])
    assert not decided(label, "t1", "rejected")["said"]
    assert len(job.book.all()) == 1 and not job.drafts.all()
    view = label.show("s", "t1", correcting=True)
    stroke = gesture(3, view["where"], tool="brush", points=[[250, 150]], size=9)
    answer = label.gesture("s", [stroke, gesture(4, view["where"], tool="done")])
    assert not answer["said"] and label.finished("s") == "t1"
    assert job.masks(job.row("t1"))[1][150, 250], "the stroke before it is in"


def test_new_targets_are_labelled_after_new_marks_without_another_word(label, plates):
    where = opened(label, "s", "job", plates[0] / "표시 1.png")
    label.gesture("s", [gesture(1, where, tool="box", points=[[64, 44], [136, 116]])])
    assert "1 labelled" in labelled(label, "s", plates[0] / "t1.png")["said"]
    label.gesture("s", [gesture(2, where, tool="brush", points=[[220, 150]], size=30)])
    assert "2 labelled" in labelled(label, "s", plates[0] / "t2.png")["said"]


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


def prepared(label, plates) -> LabelJob:
    """A job, open in session "s", with labels of t1 and t2."""
    where = opened(label, "s", "job", plates[0] / "표시 1.png")
    label.gesture("s", [gesture(1, where, tool="box", points=[[64, 44], [136, 116]])])
    assert labelled(label, "s", plates[0] / "t1.png", plates[0] / "t2.png")["state"] == "done"
    return label._sessions["s"].job


def test_the_grid_is_told_what_is_new_and_no_path_of_the_server(label, page, plates):
    job = prepared(label, plates)
    told = label.rows("s")
    assert [row["name"] for row in told["rows"]] == [row["name"] for row in job.ranked()] and told["running"] is None
    assert str(job.folder.parent) not in json.dumps(told)
    again = label.grid.answer({"n": 7, "job": "job", "stamp": told["stamp"], "thumbs": ["t1", "gone"], "look": ["t2"]})
    assert again["ack"] == 7 and "rows" not in again and again["thumbs"]["gone"] is None
    for file, side in ((again["thumbs"]["t1"], 240), (again["look"]["t2"], 300)):
        path = Path(file["path"])
        assert page.folder in path.parents and max(cv2.imread(str(path)).shape) == side
    small = cv2.imread(again["thumbs"]["t1"]["path"])
    truth = cv2.resize(plates[1]["t1"].astype(np.uint8), small.shape[1::-1]) > 0
    assert np.ptp(small[truth].mean(0)) > 30 > np.ptp(small[~truth].mean(0)), "the mask is drawn over"
    first = Path(again["thumbs"]["t1"]["path"]).stat().st_mtime_ns
    again = label.grid.answer({"n": 8, "job": "job", "thumbs": ["t1"]})
    assert Path(again["thumbs"]["t1"]["path"]).stat().st_mtime_ns == first and len(again["rows"]) == 2
    shutil.rmtree(Path(again["thumbs"]["t1"]["path"]).parent)
    again = label.grid.answer({"n": 9, "job": "job", "thumbs": ["t1"]})
    assert Path(again["thumbs"]["t1"]["path"]).exists(), "swept, and made again"
    for job_name in ("../job", "/etc", None, 5):
        with pytest.raises(InputError, match="not a labelling job"):
            label.grid.answer({"n": 1, "job": job_name})
    with pytest.raises(InputError, match="not a labelling job"):
        label.grid.answer("nonsense")


def test_decisions_are_heard_once_each_and_only_about_labels_that_were_seen(label, plates):
    job = prepared(label, plates)
    seen = {row["name"]: row["seen"] for row in label.rows("s")["rows"]}
    answer = decided(label, "t1", "accepted", seen=seen["t1"])
    assert answer["decided"] == 1 and answer["changed"][0]["state"] == "accepted" and not answer["said"]
    assert job.row("t1")["state"] == "accepted"
    assert "have changed meanwhile" in decided(label, "t2", "accepted", seen="other")["said"]
    assert "no labels of" in decided(label, "t9", "accepted")["said"]
    assert "expected one of" in decided(label, "t2", "corrected")["said"]
    assert job.row("t2")["state"] == "proposed"
    assert label.grid.answer({"n": 1, "job": "job", "decide": [None, 5, {}]})["said"]


def held_run(monkeypatch) -> tuple[threading.Event, threading.Event]:
    """Hold runs at their first picture: (what lets them go on, what tells that one has begun)."""
    gate, begun, real = threading.Event(), threading.Event(), LabelJob._one

    def one(self, *args):
        begun.set()
        gate.wait(30)
        return real(self, *args)

    monkeypatch.setattr(LabelJob, "_one", one)
    return gate, begun


def test_what_is_decided_during_a_run_waits_until_it_is_over(label, plates, monkeypatch):
    job = prepared(label, plates)
    gate, begun = held_run(monkeypatch)
    # t3 is new: the run leaves the labels of t1 and t2 as they are.
    run = label.begin("s", [str(plates[0] / "t3 <b>x.png")])
    assert begun.wait(30)
    with pytest.raises(InputError, match="is being labelled already"):
        label.begin("s", anew=True)
    assert decided(label, "t1", "accepted")["rows"][-1]["name"] in ("t1", "t2")
    told = {row["name"]: row["state"] for row in label.rows("s")["rows"]}
    assert told == {"t1": "accepted", "t2": "proposed"} and label.rows("s")["running"]["stopping"] is False
    assert job.row("t1")["state"] == "proposed", "the records are the run's"
    label.leave("s")
    gate.set()
    assert ended(label, "s", run)["state"] == "done"
    assert {row["name"]: row["state"] for row in job.rows()} == {
        "t1": "accepted", "t2": "proposed", "t3_b_x": "proposed"
    }  # fmt: skip
    assert not (job.folder / "decided.json").exists()


def test_a_decision_of_a_run_is_dropped_where_the_labels_became_others(label, plates, monkeypatch):
    job = prepared(label, plates)
    gate, begun = held_run(monkeypatch)
    where = label.show("s", "표시_1.png")["where"]
    label.gesture("s", [gesture(5, where, tool="brush", points=[[220, 150]], size=30)])
    run = label.begin("s", anew=True)
    assert begun.wait(30)
    decided(label, "t1", "accepted")
    gate.set()
    assert ended(label, "s", run)["state"] == "done"
    assert {row["state"] for row in job.rows()} == {"proposed"}, "nobody has seen the labels that are there now"


def test_a_run_that_waits_can_be_stopped(label, page, plates):
    job = prepared(label, plates)
    gate = threading.Event()
    page.jobs.start("s", "labels", "another", lambda at_work: gate.wait(30) and None)
    where = label.show("s", "표시_1.png")["where"]
    label.gesture("s", [gesture(5, where, tool="brush", points=[[220, 150]], size=30)])
    run = label.begin("s", anew=True)
    assert label.rows("s")["running"] == {"done": 0, "total": 0, "left": None, "stopping": False}
    label.stop("s")
    gate.set()
    assert ended(label, "s", run)["state"] == "cancelled" and label.rows("s")["running"] is None
    assert all(row["question"] != job.cache_key() for row in job.rows())


# ---- what to mark next


def test_browser_five_that_would_teach_most_are_shown_with_their_reasons_and_lead_to_the_canvas(tab, served, tmp_path):
    job = made_job(served, tmp_path, "advice", 24)
    job.accept([job.ranked()[0]["name"]])
    found = tab("Label")
    open_job(found, "advice")
    button = found.locator("#label_grid [data-filter=advised]")
    assert button.inner_text() == "These five would teach most" and button.get_attribute("aria-pressed") == "false"
    button.click()
    found.locator("#label_grid [data-filter=advised][aria-pressed=true]").wait_for(timeout=60_000)
    wanted = job.suggest().pictures
    assert order(found) == [one.name for one in wanted] and len(wanted) == 5
    assert found.locator("#label_grid .cell .why").all_inner_texts() == [one.reason for one in wanted]
    looked_at(found, wanted[0].name)
    assert found.locator("#label_grid .look .why").inner_text() == wanted[0].reason
    assert "5 pictures whose marks would teach most" in found.locator("#label_grid .said").inner_text()
    assert wanted[0].reason in cell(found, wanted[0].name).get_attribute("aria-label")
    found.wait_for_timeout(800)
    found.locator("#label_grid").scroll_into_view_if_needed()
    shot(found, "label_advice")
    found.locator("#label_grid [data-do=correct]").click()
    found.locator("#label_canvas [data-do=done]").wait_for(timeout=20_000)
    found.wait_for_timeout(1200)
    hand = Hand(found, (80, 60))
    hand.tool("brush")
    hand.drag((10, 50), (20, 50))
    hand.saved()
    found.locator("#label_canvas [data-do=done]").click()
    cell(found, wanted[0].name, "corrected").wait_for(timeout=20_000)
    looked_at(found, wanted[1].name)
    assert len(job.book.all()) == 2, "it is a reference now"
    button.click()
    found.wait_for_function(
        "name => !document.querySelector(`#label_grid .cell[data-name='${name}']`)", arg=wanted[0].name, timeout=60_000
    )
    found.locator("#label_grid [data-filter=all]").click()
    assert len(order(found)) == 24 and not found.locator("#label_grid .look .why").is_visible()
    assert set(found.locator("#label_grid .cell .why").all_inner_texts()) == {""}


def test_advice_is_of_labelled_pictures_and_says_what_is_wrong(label, plates):
    job = prepared(label, plates)
    told = label.advise("s", {"job": "job"})
    assert [one["name"] for one in told["advice"]] == [one.name for one in job.suggest().pictures] and not told["said"]
    assert str(job.folder.parent) not in json.dumps(told) and told["rows"]
    job.accept([row["name"] for row in job.rows()])
    assert label.advise("lost", {"job": "job"})["advice"] == [], "a new session opens the job again"
    assert "no pictures among" in label.advise("s", {"job": "new"})["said"]
    with pytest.raises(InputError):
        label.advise("s", "nonsense")


def test_browser_before_anything_is_marked_the_page_says_which_reference_to_mark_first(tab, plates):
    found = tab("Label")
    begin(found, "cold", plates[0], "표시 1", "표시 2", "t1", "t2", "t3 <b>x")
    found.locator("#label_suggest").click()
    box = found.locator("#label_reference input")
    found.wait_for_function(
        "() => document.querySelector('#label_reference input').value.includes('typical of these pictures')",
        timeout=60_000,
    )
    box.click()
    shown = found.locator("#label_reference [role=option]").all_inner_texts()
    assert len(shown) == 5 and sum("stands for pictures unlike" in text for text in shown) == 4
    shot(found, "label_cold")
    picture = box.input_value().split(": ")[0]
    found.keyboard.press("Escape")
    hand = Hand(found)
    hand.tool("brush")
    hand.drag((60, 60), (70, 60))
    hand.saved()
    found.locator("#label_suggest").click()
    found.wait_for_function(
        "name => { const value = document.querySelector('#label_reference input').value;"
        " return value && !value.startsWith(name); }",
        arg=picture, timeout=60_000,
    )  # fmt: skip


def test_what_to_mark_first_is_of_uploaded_pictures_and_ends_when_all_are_marked(label, plates):
    label.open("s", "job")
    with pytest.raises(InputError, match="upload some reference pictures first"):
        label.suggest("s")
    label.upload("s", [str(plates[0] / f"{name}.png") for name in ("표시 1", "표시 2", "t1", "t2", "t3 <b>x")])
    names = label.references("s")
    choices, first = label.suggest("s")
    assert sorted(name for _, name in choices) == sorted(names) and first == choices[0][1]
    assert choices[0][0] == f"{first}: typical of these pictures"
    assert str(plates[0]) not in json.dumps(choices) and str(label.folder) not in json.dumps(choices)
    for number, name in enumerate(names):
        where = label.show("s", name)["where"]
        label.gesture("s", [gesture(number + 1, where, tool="box", points=[[40, 40], [80, 80]])])
        choices, first = label.suggest("s")
        left = [choice for choice, known in choices if choice != known]
        assert len(choices) == 5 and len(left) <= 4 - number and (first is None) == (not left)
    assert first is None and [shown for shown, _ in choices] == names
