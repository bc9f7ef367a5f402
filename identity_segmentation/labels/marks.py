"""What a hand draws on reference pictures -> masks; saved as it is drawn, apart from the pictures.

A `Mark` is one gesture: a box, a point, a stroke of the brush or of the eraser, or a mask brought along. `Marks` are
one picture's gestures, with undo and redo. A `MarkBook` is a folder that keeps the marks of many pictures, one small
JSON file each, written anew at every gesture. Boxes and points become masks through the segmenter; strokes are pixels.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np

from ..engines.protocols import PointSegmenter
from ..errors import EngineUnavailable, InputError
from ..geometry import decode_rle, encode_rle
from ..types import as_image

MOST_IDS = 16
BRUSH_SIZES = (1, 100)  # diameter, in pixels of the picture
TOOLS = ("box", "point", "brush", "eraser", "mask")
# One colour per id (BGR): the eight that Okabe and Ito chose to be told apart by the colour-blind, then lighter ones.
COLOURS = (
    (0, 159, 230), (233, 180, 86), (115, 158, 0), (66, 228, 240), (178, 114, 0), (0, 94, 213), (167, 121, 204),
    (150, 150, 150), (128, 207, 243), (244, 217, 170), (185, 206, 128), (160, 241, 247), (216, 184, 128),
    (128, 174, 234), (211, 188, 229), (90, 90, 200),
)  # fmt: skip


def colour_of_id(number: int) -> tuple[int, int, int]:
    """(b, g, r) of an id."""
    return COLOURS[(number - 1) % len(COLOURS)]


def hex_of_id(number: int) -> str:
    """ "#rrggbb" of an id."""
    blue, green, red = colour_of_id(number)
    return f"#{red:02x}{green:02x}{blue:02x}"


def checked_id(number: object) -> int:
    """An id 1..16, or `InputError`."""
    if isinstance(number, bool) or not isinstance(number, int | np.integer) or not 1 <= number <= MOST_IDS:
        raise InputError(f"expected an id between 1 and {MOST_IDS}, got {number!r}")
    return int(number)


@dataclass(frozen=True)
class Mark:
    """One gesture on a picture, in its pixels.

    Attributes:
        id: whose it is, 1..16.
        tool: one of `TOOLS`.
        points: (x, y) each: two corners of a box, one point, or the path of a stroke; none for a mask.
        inside: of a point: on the thing (True) or beside it.
        size: diameter of brush and eraser, 1..100.
        rle: of a mask: COCO run lengths; it is laid over what was drawn before it, and replaces it.
    """

    id: int
    tool: str
    points: tuple[tuple[float, float], ...] = ()
    inside: bool = True
    size: int = 10
    rle: Mapping | None = None

    def __post_init__(self):
        checked_id(self.id)
        if self.tool not in TOOLS:
            raise InputError(f"unknown tool {self.tool!r}; expected {', '.join(TOOLS)}")
        try:
            points = tuple((float(x), float(y)) for x, y in self.points)
        except (TypeError, ValueError) as error:
            raise InputError(f"expected points as (x, y) in pixels, got {self.points!r}") from error
        if not np.isfinite(np.array(points)).all():
            raise InputError(f"expected points of finite numbers, got {self.points!r}")
        object.__setattr__(self, "points", points)
        wanted = {"box": len(points) == 2, "point": len(points) == 1, "mask": not points}.get(
            self.tool, len(points) > 0
        )
        if not wanted:
            needed = {"box": "2 points", "point": "1 point", "mask": "no points"}.get(self.tool, "1 point or more")
            raise InputError(f"expected {needed} for a {self.tool}, got {len(points)}")
        if self.tool == "mask":
            size, counts = (self.rle or {}).get("size"), (self.rle or {}).get("counts")
            if not isinstance(counts, str) or not isinstance(size, list | tuple) or len(size) != 2:
                raise InputError("expected a mask as COCO run lengths: size [H, W] and counts")
        if not isinstance(self.size, int) or not BRUSH_SIZES[0] <= self.size <= BRUSH_SIZES[1]:
            raise InputError(f"expected a brush of {BRUSH_SIZES[0]} to {BRUSH_SIZES[1]} pixels, got {self.size!r}")

    @classmethod
    def box(cls, number: int, x0: float, y0: float, x1: float, y1: float) -> Mark:
        """A box, whichever corner comes first.

        Args:
            number: the id, 1..16.
            x0, y0, x1, y1: two opposite corners, in pixels.
        """
        return cls(number, "box", ((min(x0, x1), min(y0, y1)), (max(x0, x1), max(y0, y1))))

    @classmethod
    def point(cls, number: int, x: float, y: float, inside: bool = True) -> Mark:
        """A point on the thing, or beside it.

        Args:
            number: the id, 1..16.
            x, y: pixels.
            inside: on the thing (True) or beside it.
        """
        return cls(number, "point", ((x, y),), bool(inside))

    @classmethod
    def stroke(cls, number: int, path: Sequence[Sequence[float]], size: int = 10, erase: bool = False) -> Mark:
        """A stroke of the brush or of the eraser.

        Args:
            number: the id, 1..16.
            path: (x, y) in pixels, each.
            size: diameter, in pixels.
            erase: the eraser rather than the brush.
        """
        return cls(number, "eraser" if erase else "brush", tuple((x, y) for x, y in path), size=int(size))

    @classmethod
    def of_mask(cls, number: int, mask: np.ndarray) -> Mark:
        """A whole mask, bool (H, W); an empty one says that nothing of this id is here."""
        return cls(number, "mask", rle=encode_rle(mask))

    def as_json(self) -> dict:
        """For a file; `from_json` reads it."""
        row: dict = {"id": self.id, "tool": self.tool}
        if self.points:
            row["points"] = [[round(x, 2), round(y, 2)] for x, y in self.points]
        if self.tool == "point":
            row["inside"] = self.inside
        if self.tool in ("brush", "eraser"):
            row["size"] = self.size
        if self.rle is not None:
            row["rle"] = dict(self.rle)
        return row

    @classmethod
    def from_json(cls, row: Mapping) -> Mark:
        """A mark out of a file or a browser; `InputError` for anything else."""
        try:
            return cls(
                row["id"], row["tool"], tuple(tuple(p) for p in row.get("points", ())), row.get("inside", True) is True,
                row.get("size", 10), row.get("rle"),
            )  # fmt: skip
        except (KeyError, TypeError, AttributeError) as error:
            raise InputError(f"not a mark: {str(row)[:100]} ({error!r})") from error


class Marks:
    """One picture's marks: what was done, and what was undone.

    Args:
        shape: (H, W) of the picture.
    """

    def __init__(self, shape: tuple[int, int], done: Sequence[Mark] = (), undone: Sequence[Mark] = ()):
        self.shape = (int(shape[0]), int(shape[1]))
        self.done: list[Mark] = [self._checked(mark) for mark in done]
        self.undone: list[Mark] = [self._checked(mark) for mark in undone]

    def add(self, mark: Mark) -> None:
        """One more; what was undone can then no longer be redone.

        Raises:
            InputError: it lies outside the picture.
        """
        self.done.append(self._checked(mark))
        self.undone.clear()

    def undo(self) -> bool:
        """Take the last one back; False if there is none."""
        if self.done:
            self.undone.append(self.done.pop())
            return True
        return False

    def redo(self) -> bool:
        """Do again what was undone last; False if there is nothing."""
        if self.undone:
            self.done.append(self.undone.pop())
            return True
        return False

    def digest(self) -> str:
        """Changes when any of the marks does."""
        text = json.dumps([mark.as_json() for mark in self.done], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def copy(self) -> Marks:
        """The same marks, to be changed apart."""
        return Marks(self.shape, self.done, self.undone)

    @property
    def ids(self) -> tuple[int, ...]:
        """Ids that are marked here, in rising order."""
        return tuple(sorted({mark.id for mark in self.done}))

    def _checked(self, mark: Mark) -> Mark:
        height, width = self.shape
        if mark.tool == "mask":
            size = list((mark.rle or {})["size"])
            if size != [height, width]:
                raise InputError(f"a mask of {size[::-1]} was given for a picture of {[width, height]} pixels")
            return mark
        points = np.array(mark.points)
        if mark.tool == "box":
            points = np.clip(points, 0, (width, height))
            if (points[1] - points[0] < 1).any():
                raise InputError(f"expected a box that covers part of the {width}x{height} picture, got {mark.points}")
            return replace(mark, points=tuple(map(tuple, points.tolist())))
        reach = 0 if mark.tool == "point" else mark.size / 2
        inside = (points > -reach - 1e-6) & (points < np.array([width, height]) + reach)
        if mark.tool == "point" and not ((points >= 0) & (points < (width, height))).all():
            inside[:] = False
        if not inside.all(axis=1).any():
            raise InputError(f"the {mark.tool} at {mark.points[0]} lies outside the {width}x{height} picture")
        held = np.clip(points, -reach, np.array([width, height]) + reach)
        return mark if np.array_equal(held, points) else replace(mark, points=tuple(map(tuple, held.tolist())))

    # ---- masks

    def masks(self, image_bgr: np.ndarray, segmenter: object | None, encoded: Any = None) -> dict[int, np.ndarray]:
        """id -> bool (H, W) of everything that is marked.

        Boxes and points of an id make its ground: every box a thing of its own, with the points that lie in it; points
        outside all boxes one thing more. Masks and strokes are laid over that in their order.

        Args:
            image_bgr: the picture.
            segmenter: turns boxes and points into masks; may be None where there are none.
            encoded: what `segmenter.encode` made of the picture, if it was encoded before.

        Raises:
            EngineUnavailable: there are boxes or points, and the segmenter takes none.
        """
        as_image(image_bgr)
        return {number: self.mask(number, image_bgr, segmenter, encoded) for number in self.ids}

    def mask(self, number: int, image_bgr: np.ndarray, segmenter: object | None, encoded: Any = None) -> np.ndarray:
        """One id's mask; see `masks`."""
        own = [mark for mark in self.done if mark.id == number]
        last = max((i for i, mark in enumerate(own) if mark.tool == "mask"), default=-1)
        prompts = [mark for mark in own[last + 1 :] if mark.tool in ("box", "point")]
        mask = np.zeros(self.shape, bool)
        if last >= 0:
            try:
                mask = decode_rle(dict(own[last].rle or {}))
            except (ValueError, TypeError, KeyError, AttributeError, UnicodeError) as error:
                raise InputError(f"a mask of id {number} is damaged ({error}); take its file of marks away") from error
        if prompts:
            if not isinstance(segmenter, PointSegmenter):
                raise no_points(str(getattr(segmenter, "id", "none")))
            state = encoded if encoded is not None else segmenter.encode(image_bgr)
            for points, inside, box in _prompted(prompts):
                mask = mask | segmenter.by_points(state, points, inside, box).mask
        for mark in own[last + 1 :]:
            if mark.tool in ("brush", "eraser"):
                mask = stroked(mask, mark)
        return mask


def no_points(engine: str) -> EngineUnavailable:
    """What is said of a segmenter, by its id, that takes no boxes and points."""
    return EngineUnavailable(
        f"the segmenter {engine} makes no masks of boxes and points; use the brush, or --segmenter embedded"
    )


def _prompted(prompts: Sequence[Mark]) -> Iterator[tuple[np.ndarray, list[bool], np.ndarray | None]]:
    """(points, inside, box) of every thing that boxes and points ask for."""
    boxes = [np.array(mark.points, np.float32).reshape(4) for mark in prompts if mark.tool == "box"]
    clicks = [mark for mark in prompts if mark.tool == "point"]
    free = list(clicks)
    for box in boxes:
        held = [
            m for m in clicks if box[0] <= m.points[0][0] <= box[2] and box[1] <= m.points[0][1] <= box[3]
        ]  # fmt: skip
        free = [m for m in free if m not in held]
        yield np.array([m.points[0] for m in held], np.float32).reshape(-1, 2), [m.inside for m in held], box
    if any(m.inside for m in free):
        yield np.array([m.points[0] for m in free], np.float32), [m.inside for m in free], None


def stroked(mask: np.ndarray, mark: Mark) -> np.ndarray:
    """The mask, bool (H, W), after a stroke of the brush or of the eraser."""
    canvas = mask.astype(np.uint8)
    value = int(mark.tool == "brush")
    points = np.array(mark.points)
    if len(points) > 1:
        path = np.floor(points).astype(np.int32)
        cv2.polylines(canvas, [path.reshape(-1, 1, 2)], False, value, mark.size)
    for x, y in (points[0], points[-1]):  # exact round ends; of a dot there is nothing else
        reach = mark.size / 2
        x0, y0 = max(0, int(x - reach)), max(0, int(y - reach))
        part = canvas[y0 : int(y + reach) + 1, x0 : int(x + reach) + 1]
        rows, columns = np.mgrid[y0 : y0 + part.shape[0], x0 : x0 + part.shape[1]] + 0.5
        part[np.hypot(columns - x, rows - y) <= max(reach, 0.71)] = value
    return canvas.astype(bool)
