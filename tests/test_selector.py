"""The window, with a real mouse and keyboard on a screen that Xvfb draws."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import ROOT
from fakes import FakeLearner

from identity_segmentation.errors import EngineUnavailable, InputError
from identity_segmentation.labels.job import LabelJob
from identity_segmentation.labels.marks import Mark

pytest.importorskip("matplotlib", reason="the window's tests need matplotlib: scripts/setup.sh --dev")

WINDOW = """
import json, sys
import matplotlib
matplotlib.use("TkAgg")
sys.path.insert(0, {tests!r})
from fakes import FakeLearner
from identity_segmentation.labels.job import LabelJob
from identity_segmentation.labels.window import SmartSelector
window = SmartSelector(LabelJob({job!r}, FakeLearner()), {pictures!r}, correcting={correcting})
manager = window.figure.canvas.manager
manager.window.geometry("1200x860+0+0")
def tell():
    widget = window.figure.canvas.get_tk_widget()
    left, top = widget.winfo_rootx(), widget.winfo_rooty()
    tall = widget.winfo_height()
    place = window.axes.transData.transform
    (x0, y0), (x1, y1) = place((0, 0)), place((100, 100))
    state = dict(x=left + x0, y=top + tall - y0, step=(x1 - x0) / 100, tool=window.tool, size=window.size,
                 number=window.number, at=window.at, said=window.said,
                 buttons={{b.label.get_text(): [left + b.ax.bbox.x0 + 5, top + tall - b.ax.bbox.y0 - 5]
                           for b in window._buttons}})
    with open({told!r} + ".part", "w") as file:
        json.dump(state, file)
    import os
    os.replace({told!r} + ".part", {told!r})
    manager.window.after(50, tell)
manager.window.after(300, tell)
window.show()
print("closed")
"""


@pytest.fixture(scope="module")
def screen():
    """A screen of its own; skips aloud where there can be none."""
    for tool in ("Xvfb", "xdotool"):
        if shutil.which(tool) is None:
            pytest.skip(f"the window's tests need {tool} (Debian: apt-get install xvfb xdotool)")
    pytest.importorskip("tkinter", reason="the window's tests need Tk (Debian: apt-get install python3-tk)")
    read, write = os.pipe()
    server = subprocess.Popen(
        ["Xvfb", "-displayfd", str(write), "-screen", "0", "1280x960x24", "-nolisten", "tcp", "-noreset"],
        pass_fds=[write], stderr=subprocess.DEVNULL,
    )  # fmt: skip
    os.close(write)
    with os.fdopen(read) as pipe:
        number = pipe.readline().strip()
    yield f":{number}"
    server.terminate()
    server.wait(10)


class Hand:
    """Mouse and keyboard over a window, in the picture's pixels."""

    def __init__(self, display: str, folder: Path, pictures: list[str], correcting: bool = False):
        self.told = folder / "told.json"
        self.told.unlink(missing_ok=True)
        self.environment = {**os.environ, "DISPLAY": display}
        code = WINDOW.format(
            tests=str(Path(__file__).parent), job=str(folder / "job"), pictures=pictures, correcting=correcting,
            told=str(self.told),
        )  # fmt: skip
        self.process = subprocess.Popen(
            [sys.executable, "-c", code],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.wait(lambda: self.told.exists())
        self.wait(lambda: self.state()["step"] > 0)
        time.sleep(0.5)

    def wait(self, done, seconds: float = 20) -> None:
        end = time.monotonic() + seconds
        while not done():
            if self.process.poll() is not None:
                pytest.fail(f"the window went away: {self.process.stderr.read()}")
            if time.monotonic() > end:
                self.picture("stuck")
                state = self.state()
                self.process.kill()
                pytest.fail(f"nothing happened in {seconds} s; the window says {state} {self.process.stderr.read()}")
            time.sleep(0.05)

    def state(self) -> dict:
        return json.loads(self.told.read_text())

    def xdotool(self, *words) -> None:
        subprocess.run(["xdotool", *map(str, words)], env=self.environment, check=True, timeout=20)

    def go(self, x: float, y: float) -> None:
        state = self.state()
        self.xdotool(
            "mousemove", "--sync", round(state["x"] + x * state["step"]), round(state["y"] + y * state["step"])
        )

    def drag(self, *path) -> None:
        self.go(*path[0])
        self.xdotool("mousedown", 1)
        for place in path[1:]:
            self.go(*place)
            time.sleep(0.03)
        self.xdotool("mouseup", 1)

    def click(self, x: float, y: float, button: int = 1) -> None:
        self.go(x, y)
        self.xdotool("click", button)

    def push(self, label: str) -> None:
        x, y = self.state()["buttons"][label]
        self.xdotool("mousemove", "--sync", round(x), round(y), "click", 1)

    def key(self, name: str) -> None:
        self.xdotool("key", name)

    def picture(self, name: str) -> None:
        target = ROOT / "outputs" / "screenshots" / f"selector_{name}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            subprocess.run(["import", "-window", "root", str(target)], env=self.environment, timeout=10, check=False)

    def close(self) -> None:
        self.key("q")
        assert "closed" in self.process.communicate(timeout=20)[0]


@pytest.fixture
def folder(tmp_path):
    for number, name in enumerate(("첫 사진 $x^2$.png", "b.png")):
        image = np.full((150, 200, 3), 90 + 40 * number, np.uint8)
        cv2.rectangle(image, (60, 50), (99, 89), (40, 40, 220), -1)
        cv2.imencode(".png", image)[1].tofile(tmp_path / name)
    return tmp_path


@pytest.fixture
def hand(screen, folder):
    """The window on two pictures."""
    found = Hand(screen, folder, [str(folder / "첫 사진 $x^2$.png"), str(folder / "b.png")])
    yield found
    found.process.kill()
    found.process.communicate()


def marks(folder, number: int = 0) -> list[Mark]:
    """What is on disk."""
    job = LabelJob(folder / "job", FakeLearner())
    return job.open(folder / ("첫 사진 $x^2$.png", "b.png")[number])[0].marks.done


def test_box_points_brush_wheel_undo_save_and_reopen(hand, folder, screen):
    hand.drag((60, 50), (80, 70), (100, 90))
    hand.wait(lambda: len(marks(folder)) == 1)
    box = marks(folder)[0]
    assert box.tool == "box" and np.allclose(box.points, ((60, 50), (100, 90)), atol=1)

    hand.key("p")
    hand.click(150, 30)
    hand.click(20, 20, button=3)
    hand.wait(lambda: len(marks(folder)) == 3)
    inside, outside = marks(folder)[1:]
    assert inside.inside and np.allclose(inside.points, (150, 30), atol=1)
    assert not outside.inside and np.allclose(outside.points, (20, 20), atol=1)

    hand.key("b")
    hand.key("2")
    hand.wait(lambda: hand.state()["tool"] == "brush" and hand.state()["number"] == 2)
    before = hand.state()["size"]
    hand.click(100, 100, button=4)  # the wheel, upwards
    hand.click(100, 100, button=4)
    hand.wait(lambda: hand.state()["size"] > before + 1)
    for _ in range(60):
        hand.xdotool("click", 5)
    hand.wait(lambda: hand.state()["size"] == 1)
    for _ in range(8):
        hand.xdotool("click", 4)
    hand.wait(lambda: hand.state()["size"] == 9)
    hand.drag((20, 120), (40, 125), (60, 120))
    hand.wait(lambda: len(marks(folder)) == 4)
    stroke = marks(folder)[3]
    assert (stroke.tool, stroke.id, stroke.size) == ("brush", 2, 9)
    assert np.allclose(stroke.points[0], (20, 120), atol=1) and np.allclose(stroke.points[-1], (60, 120), atol=1)
    hand.key("e")
    hand.drag((40, 110), (40, 140))
    hand.wait(lambda: len(marks(folder)) == 5)
    time.sleep(0.5)
    hand.picture("marked")

    hand.key("ctrl+z")
    hand.wait(lambda: len(marks(folder)) == 4)
    hand.push("undo")
    hand.wait(lambda: len(marks(folder)) == 3)
    hand.push("redo")
    hand.key("ctrl+y")
    hand.wait(lambda: len(marks(folder)) == 5)
    hand.close()

    again = Hand(screen, folder, [str(folder / "첫 사진 $x^2$.png")])
    try:
        assert len(marks(folder)) == 5
        again.key("ctrl+z")
        again.wait(lambda: len(marks(folder)) == 4)
        again.close()
    finally:
        again.process.kill()
    masks = LabelJob(folder / "job", FakeLearner()).book.references(FakeLearner())[0][1].masks
    assert masks[1][70, 80] and masks[1][30, 150] and masks[2][122, 30]


def test_another_picture_keeps_the_marks_of_the_first(hand, folder):
    hand.drag((60, 50), (100, 90))
    hand.wait(lambda: len(marks(folder)) == 1)
    hand.key("m")
    hand.wait(lambda: hand.state()["at"] == 1)
    hand.key("m")
    hand.wait(lambda: "no other picture" in hand.state()["said"])
    hand.push("none here 0")
    hand.wait(lambda: len(marks(folder, 1)) == 1)
    assert marks(folder, 1)[0].tool == "mask" and len(marks(folder)) == 1
    hand.push("before n")
    hand.wait(lambda: hand.state()["at"] == 0)
    hand.drag((10, 10), (11, 10))
    hand.wait(lambda: "corner to corner" in hand.state()["said"])
    assert len(marks(folder)) == 1
    hand.close()


def test_a_target_is_corrected_in_the_window(screen, folder):
    job = LabelJob(folder / "job", FakeLearner())
    job.mark(folder / "b.png", Mark.box(1, 60, 50, 100, 90))
    job.run([folder / "첫 사진 $x^2$.png"])
    name = job.ranked()[0]["name"]
    hand = Hand(screen, folder, [name], correcting=True)
    try:
        hand.key("b")
        hand.drag((20, 120), (60, 120))
        hand.wait(lambda: len(job.drafts.all()) == 1 and len(job.drafts.all()[0].marks.done) == 2)
        assert not marks(folder), "nobody learns from a correction under way"
        hand.close()
    finally:
        hand.process.kill()
    row = job.row(name)
    assert row["state"] == "corrected" and job.masks(row)[1][120, 40] and job.masks(row)[1][70, 80]


# ---- without a screen


def test_without_a_screen_it_says_what_to_do_instead(folder, monkeypatch):
    import matplotlib

    from identity_segmentation.labels.window import SmartSelector

    matplotlib.use("Agg")
    window = SmartSelector(LabelJob(folder / "job", FakeLearner()), [str(folder / "b.png")])
    try:
        with pytest.raises(EngineUnavailable, match=re.escape("idseg label mark PICTURE --box")):
            window.show()
    finally:
        window.close()
    with pytest.raises(InputError, match="at least one picture"):
        SmartSelector(LabelJob(folder / "job", FakeLearner()), [])
    with pytest.raises(InputError, match="no such file"):
        SmartSelector(LabelJob(folder / "job", FakeLearner()), [str(folder / "nothing.png")])


def test_names_in_every_script_are_drawn(folder):
    import warnings

    import matplotlib

    from identity_segmentation.fonts import missing_scripts
    from identity_segmentation.labels.window import SmartSelector

    if missing_scripts():
        pytest.skip(f"no fonts here for {', '.join(missing_scripts())}")
    matplotlib.use("Agg")
    job = LabelJob(folder / "job", FakeLearner())
    job.name_id(1, "รอยด่าง 긁힘 crack")
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # "Glyph ... missing from font(s)"
        window = SmartSelector(job, [str(folder / "b.png")])
        window.figure.canvas.draw()
    window.close()
