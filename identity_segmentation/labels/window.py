"""A window to mark pictures in, for people with a screen: Matplotlib, any of its interactive backends.

    SmartSelector(LabelJob("outputs/labels", segmenter), ["a.png", "b.png"]).show()

Tools (keys): box `x` (drag), points `p` (left on the thing, right beside it), brush `b` and eraser `e` (wheel: size).
`1`..`9` and the wheel with Shift choose the id; Ctrl+Z and Ctrl+Y undo and redo; `n` and `m` the picture before and
after; `0` says that nothing of the id is here; `q` closes. Every gesture is saved as it is made.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from ..errors import EngineUnavailable, IdentitySegmentationError, InputError
from ..fonts import name_fonts
from .canvas import Canvas
from .job import LabelJob
from .marks import BRUSH_SIZES, MOST_IDS, Mark, checked_id, colour_of_id

_TOOLS = {"x": "box", "p": "point", "b": "brush", "e": "eraser"}
_SCREENLESS = "agg", "cairo", "pdf", "pgf", "ps", "svg", "template"
_INSTEAD = "mark on the web page (idseg ui), or with options: idseg label mark PICTURE --box X0,Y0,X1,Y1"
_LONGEST = 1600  # pixels of the picture on the screen; marks are in the picture's own pixels


class SmartSelector:
    """Mark things on pictures, one after the other.

    Args:
        job: where the marks go.
        pictures: paths; in correcting, names of targets of the job.
        number: the id that is marked first.
        correcting: begin with the labels that were proposed; leaving a picture makes its marks its labels.

    Raises:
        EngineUnavailable: Matplotlib is not installed.
        InputError: no pictures.
    """

    def __init__(self, job: LabelJob, pictures: Sequence[str], number: int = 1, correcting: bool = False):
        if not pictures:
            raise InputError("expected at least one picture to mark")
        try:
            import matplotlib.pyplot as plt
        except ImportError as error:
            raise EngineUnavailable('the window needs matplotlib; run: pip install ".[notebook]"') from error
        self.job, self.pictures, self.correcting = job, [str(p) for p in pictures], correcting
        self.number, self.tool, self.size = checked_id(number), "box", 20
        self.at, self.said = 0, ""
        self._path: list[tuple[float, float]] = []
        self.canvas = Canvas(job, self.pictures[0], correcting)  # before the window: a broken picture opens none
        try:
            self.figure = plt.figure("idseg label", figsize=(12, 8.6))
        except ImportError as error:  # a back end that was asked for, and no screen for it
            raise EngineUnavailable(f"Matplotlib cannot open a window here ({error}); {_INSTEAD}") from error
        self._plt = plt
        self._lay_out()
        self._draw()

    def _lay_out(self) -> None:
        from matplotlib.patches import Circle, Rectangle
        from matplotlib.widgets import Button

        figure = self.figure
        keys = getattr(figure.canvas.manager, "key_press_handler_id", None)
        if keys is not None:  # Matplotlib's own keys: s saves the figure, p pans, q quits
            figure.canvas.mpl_disconnect(keys)
        toolbar = getattr(figure.canvas.manager, "toolbar", None)
        if toolbar is not None and hasattr(toolbar, "pack_forget"):
            toolbar.pack_forget()  # its zoom and pan would take the drags
        self.axes = figure.add_axes((0.01, 0.09, 0.98, 0.86))
        self.axes.set_axis_off()
        self._shown: Any = None
        self._band = self.axes.add_patch(Rectangle((0, 0), 0, 0, fill=False, lw=1.5, visible=False))
        self._ring = self.axes.add_patch(Circle((0, 0), 1, fill=False, lw=1.2, visible=False))
        (self._line,) = self.axes.plot([], [], lw=2, solid_capstyle="round")
        self._points = self.axes.scatter([], [], s=60, zorder=5, linewidths=1.5, edgecolors="white")
        self._title = figure.text(0.01, 0.965, "", fontsize=11, family=_families())
        self._buttons = []
        does = {
            "box x": lambda: self._choose("box"), "point p": lambda: self._choose("point"),
            "brush b": lambda: self._choose("brush"), "eraser e": lambda: self._choose("eraser"),
            "undo": self.undo, "redo": self.redo, "id -": lambda: self._id(-1), "id +": lambda: self._id(1),
            "none here 0": self.nothing, "before n": lambda: self.go(-1), "after m": lambda: self.go(1),
        }  # fmt: skip
        wide = 0.98 / len(does)
        for index, (label, do) in enumerate(does.items()):
            button = Button(figure.add_axes((0.01 + index * wide, 0.015, wide * 0.94, 0.05)), label)
            button.label.set_fontsize(9)
            button.on_clicked(partial(_call, do))
            self._buttons.append(button)
        self._colour = self._buttons[0].color
        for event, handler in (
            ("button_press_event", self._press), ("motion_notify_event", self._move),
            ("button_release_event", self._release), ("scroll_event", self._scroll), ("key_press_event", self._key),
            ("close_event", self._closed),
        ):  # fmt: skip
            figure.canvas.mpl_connect(event, handler)

    def show(self) -> None:
        """Open the window and stay until it is closed.

        Raises:
            EngineUnavailable: there is no screen.
        """
        import matplotlib

        if matplotlib.get_backend().lower().removeprefix("module://") in _SCREENLESS:
            raise EngineUnavailable(f"there is no screen for the window here; {_INSTEAD}")
        self._plt.show(block=True)

    def close(self) -> None:
        """Close the window; everything is saved."""
        self._plt.close(self.figure)

    # ---- what a hand does

    def add(self, mark: Mark) -> None:
        """A finished gesture."""
        self._safely(lambda: self.canvas.add(mark))

    def undo(self) -> None:
        """Take the last gesture back."""
        self._safely(lambda: None if self.canvas.undo() else self._say("nothing to undo"))

    def redo(self) -> None:
        """Do again what was undone."""
        self._safely(lambda: None if self.canvas.redo() else self._say("nothing to redo"))

    def nothing(self) -> None:
        """Nothing of the chosen id is in this picture."""
        self._safely(lambda: self.canvas.clear(self.number))

    def go(self, step: int) -> None:
        """Another picture."""
        wanted = self.at + step
        if not 0 <= wanted < len(self.pictures):
            self._say("there is no other picture that way")
            self._draw()
            return

        def turn() -> None:
            self._leave()
            self.canvas, self.at = Canvas(self.job, self.pictures[wanted], self.correcting), wanted
            self._shown = None

        self._safely(turn)

    def _leave(self) -> None:
        if self.correcting and self.canvas.changed:
            self.canvas.finish()

    def _closed(self, _) -> None:
        try:
            self._leave()
        except IdentitySegmentationError as error:
            print(f"idseg: {error}; the correction is kept as a draft: fix it again", file=sys.stderr)

    def _choose(self, tool: str) -> None:
        self.tool = tool
        self._draw()

    def _id(self, step: int) -> None:
        self.number = (self.number - 1 + step) % MOST_IDS + 1
        self._draw()

    def _safely(self, do) -> None:
        self.said = ""
        try:
            do()
        except IdentitySegmentationError as error:
            self._say(str(error))
        self._draw()

    def _say(self, text: str) -> None:
        self.said = text

    # ---- events

    def _key(self, event) -> None:
        if self._path:  # a drag ends as what it began as, on the picture it began on
            return
        key = (event.key or "").lower()
        if key in _TOOLS:
            self._choose(_TOOLS[key])
        elif key in ("ctrl+z", "cmd+z"):
            self.undo()
        elif key in ("ctrl+y", "ctrl+shift+z", "cmd+shift+z"):
            self.redo()
        elif key == "0":
            self.nothing()
        elif key.isdigit():
            self.number = int(key)
            self._draw()
        elif key in ("n", "left", "m", "right"):
            self.go(-1 if key in ("n", "left") else 1)
        elif key == "q":
            self.close()

    def _scroll(self, event) -> None:
        if event.key == "shift":
            self._id(1 if event.step > 0 else -1)
            return
        step = max(1, self.size // 10) * (1 if event.step > 0 else -1)
        self.size = int(np.clip(self.size + step, *BRUSH_SIZES))
        self._place_ring(event)
        self._draw()

    def _press(self, event) -> None:
        if event.inaxes is not self.axes or event.xdata is None or event.button == 2:
            return
        if self.tool == "point":
            self.add(Mark.point(self.number, event.xdata, event.ydata, inside=event.button == 1))
        elif event.button == 1:
            self._path = [(event.xdata, event.ydata)]

    def _move(self, event) -> None:
        self._place_ring(event)
        if self._path and event.xdata is not None and event.inaxes is self.axes:
            self._path.append((event.xdata, event.ydata))
            if self.tool == "box":
                (x0, y0), (x1, y1) = self._path[0], self._path[-1]
                self._band.set_bounds(min(x0, x1), min(y0, y1), abs(x1 - x0), abs(y1 - y0))
                self._band.set(visible=True, edgecolor=self._rgb())
            else:
                self._line.set_data(*np.array(self._path).T)
                self._line.set(
                    color="white" if self.tool == "eraser" else self._rgb(), alpha=0.8, lw=self._points_wide()
                )
        if self._path or self.tool in ("brush", "eraser"):
            self.figure.canvas.draw_idle()

    def _release(self, event) -> None:
        path, self._path = self._path, []
        if not path or event.button != 1:
            return
        end = self.axes.transData.inverted().transform((event.x, event.y))  # outside too: a box then ends at the border
        path.append(tuple(np.clip(end, 0, self.canvas.size).tolist()))
        self._band.set_visible(False)
        self._line.set_data([], [])
        if self.tool == "box":
            (x0, y0), (x1, y1) = path[0], path[-1]
            if abs(x1 - x0) < 2 or abs(y1 - y0) < 2:
                self._safely(lambda: self._say("drag from corner to corner to make a box"))
                return
            self.add(Mark.box(self.number, x0, y0, x1, y1))
        elif self.tool in ("brush", "eraser"):
            self.add(Mark.stroke(self.number, path, self.size, erase=self.tool == "eraser"))

    # ---- drawing

    def _rgb(self) -> tuple[float, ...]:
        return tuple(v / 255 for v in colour_of_id(self.number)[::-1])

    def _points_wide(self) -> float:
        """The brush's width in points, Matplotlib's unit for lines."""
        pixels = self.axes.transData.transform([(0, 0), (self.size, 0)])
        return float(pixels[1][0] - pixels[0][0]) * 72 / self.figure.dpi

    def _place_ring(self, event) -> None:
        there = event.inaxes is self.axes and self.tool in ("brush", "eraser") and event.xdata is not None
        self._ring.set_visible(there)
        if there:
            self._ring.set(center=(event.xdata, event.ydata), radius=self.size / 2, edgecolor=self._rgb())

    def _draw(self) -> None:
        width, height = self.canvas.size
        view = np.ascontiguousarray(self.canvas.view(_LONGEST)[:, :, ::-1])
        if self._shown is None:
            for image in list(self.axes.images):
                image.remove()
            self._shown = self.axes.imshow(view, extent=(0, width, height, 0), aspect="equal", zorder=0)
            self.axes.set(xlim=(0, width), ylim=(height, 0))
        else:
            self._shown.set_data(view)
        for button, tool in zip(self._buttons, _TOOLS.values(), strict=False):
            button.color = self._rgb() if tool == self.tool else self._colour
            button.ax.set_facecolor(button.color)
        clicks = [m for m in self.canvas.prompts() if m.tool == "point"]
        self._points.set_offsets(np.array([m.points[0] for m in clicks]).reshape(-1, 2))
        self._points.set_facecolors(["#22bb33" if m.inside else "#dd2222" for m in clicks])
        name = self.job.names_of([self.number])[self.number]
        size = f", {self.size} px" if self.tool in ("brush", "eraser") else ""
        where = f"{self.at + 1}/{len(self.pictures)}"
        # Text of Matplotlib reads $ as mathematics: names are names.
        text = f"{where}   {name} ({self.number})   {self.tool}{size}   {self.said}".replace("$", r"\$")
        self._title.set(text=text, color="crimson" if self.said else "black")
        self.figure.canvas.draw_idle()


def _families() -> list[str]:
    """Matplotlib's families for names in any script: our fonts in turn, then its own."""
    from matplotlib import font_manager

    families = []
    for path in name_fonts():
        font_manager.fontManager.addfont(str(path))
        families.append(font_manager.FontProperties(fname=str(path)).get_name())
    return [*dict.fromkeys(families), "sans-serif"]


def _call(do: Callable[[], None], _: object) -> None:
    """A button's action; Matplotlib hands over an event that says nothing more."""
    do()
