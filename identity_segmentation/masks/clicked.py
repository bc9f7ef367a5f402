"""Clicks in one picture -> the pixels that are to be added to a mask, or taken out of it. (Notebook section 7.)"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import cv2
import numpy as np

from ..engines.protocols import PointSegmenter
from ..errors import InputError
from ..geometry import fill_holes, touching

_MOST = 0.5  # share of the picture from which what is to be added is no thing but the scene
_REACH = 3.0  # sides of the largest head, from a click: how far what is taken out reaches
_REACH_BARE = 1 / 4  # ... of the picture's longer side where no head is near in time
_ROOM = 1 / 12  # of the longer side: what the segmenter is shown around the points at first
_WIDEST = 1 / 3  # ... and how far from the points what is added may reach
_BEYOND = 0.05  # share of the rim of what it is shown from which the thing runs on beyond it
_HOLE = 0.05  # share of a thing up to which a hole in it is none: light on a helmet, print on a shirt


class Clicked:
    """What a segmenter makes of clicks in one picture.

    It is shown a small part of the picture around them first, where a small thing is large, and a larger one while
    what it finds runs on beyond that.

    Args:
        segmenter: the engine.
        image: uint8 (H, W, 3), BGR.
        heads: xyxy boxes of everybody's. One that was not clicked is beside whatever was.
    """

    def __init__(self, segmenter: PointSegmenter, image: np.ndarray, heads: Sequence[np.ndarray]):
        self.segmenter, self.image, self.heads = segmenter, image, heads

    def added(self, points: np.ndarray, inside: np.ndarray) -> np.ndarray:
        """bool (H, W): the thing, or the things, under the points inside; none of them under nothing.

        Args:
            points: float (N, 2), (x, y) in pixels.
            inside: bool (N,); one at least.
        """
        widest = _WIDEST * max(self.image.shape[:2])
        on, beside = points[inside], points[~inside]
        mask, runs_on = self._thing(on, beside, widest)
        missed = [p for p in on if runs_on or not (mask & _discs([p], mask.shape)).any()]
        if missed and len(on) > 1:  # two things, or one of two colours: each by itself
            answers = [self._thing(p[None], beside, widest) for p in missed]
            mask = np.logical_or.reduce([part for part, _ in answers] if runs_on else [mask, *(m for m, _ in answers)])
            runs_on = any(far for _, far in answers)
        if runs_on or mask.mean() > _MOST:
            raise InputError(
                f"what was clicked runs on over {mask.mean():.0%} of the picture, so nothing was written; say what is "
                "beside it with --not-point X,Y, once or several times"
            )
        for point in on:
            if not (mask & _discs([point], mask.shape)).any():
                raise nothing_at(point)
        return mask

    def taken(self, points: np.ndarray) -> np.ndarray:
        """bool (H, W): what lies under each point (N, 2), as far as it is near. A click on a bag takes nobody's face
        away: a head is only taken out where it was clicked itself."""
        sides = [float(max(head[2:] - head[:2])) for head in self.heads]
        reach = _REACH * max(sides) if sides else _REACH_BARE * max(self.image.shape[:2])
        mask, near = np.zeros(self.image.shape[:2], bool), np.zeros(self.image.shape[:2], np.uint8)
        for x, y in points:
            found, _ = self._thing(np.array([[x, y]]), np.zeros((0, 2)), reach)
            if not found.any():
                raise nothing_at((x, y))
            mask |= found
            cv2.circle(near, (int(x), int(y)), round(reach), 1, -1)
        for head in self._beside(points):
            (x, y), half = _middle(head), (head[2:] - head[:2]) / 2
            cv2.ellipse(near, (int(x), int(y)), (int(half[0]), int(half[1])), 0, 0, 360, 0, -1)
        return mask & (near > 0)

    def _beside(self, points: np.ndarray) -> list[np.ndarray]:
        """The heads that no point is on."""
        return [h for h in self.heads if not ((points >= h[:2]) & (points <= h[2:])).all(1).any()]

    def _thing(self, on: np.ndarray, beside: np.ndarray, widest: float) -> tuple[np.ndarray, bool]:
        """What is under some points: bool (H, W); and does it run on further than it may?

        Args:
            on, beside: (N, 2) points on the thing, and not.
            widest: pixels, from the points on it, that it may reach.
        """
        beside = np.vstack([beside, *(_middle(head) for head in self._beside(on))])
        longest = float(max(self.image.shape[:2]))
        room, within = min(_ROOM * longest, widest), self._window(on, widest)
        while True:
            mask, runs_on = self._answer(on, beside, room)
            if (mask.any() and not runs_on) or room >= widest:
                break
            room = min(2 * room, widest)
        if runs_on or not mask.any():  # what is blurred is told best from far off
            far, _ = self._answer(on, beside, longest)
            if far.any() and np.count_nonzero(far[within]) == np.count_nonzero(far):
                return far, False
        return mask, runs_on

    def _window(self, points: np.ndarray, room: float) -> tuple[slice, slice]:
        """Rows and columns up to so many pixels from points."""
        height, width = self.image.shape[:2]
        x0, y0 = np.maximum(np.floor(points.min(0) - room), 0).astype(int)
        x1, y1 = np.minimum(np.ceil(points.max(0) + room) + 1, (width, height)).astype(int)
        return slice(int(y0), int(y1)), slice(int(x0), int(x1))

    def _answer(self, on: np.ndarray, beside: np.ndarray, room: float) -> tuple[np.ndarray, bool]:
        """What the segmenter says, shown so many pixels around the points on a thing: bool (H, W), the parts that hold
        a click; and do they run on beyond what it was shown?"""
        rows, columns = window = self._window(on, room)
        corner = np.array([columns.start, rows.start])
        part = np.ascontiguousarray(self.image[window])
        local = beside - corner
        local = local[((local >= 0) & (local < part.shape[1::-1])).all(1)]
        labels = [True] * len(on) + [False] * len(local)
        mask = self.segmenter.by_points(self.segmenter.encode(part), np.vstack([on - corner, local]), labels).mask
        mask = touching(mask, _discs(on - corner, mask.shape))
        mask = fill_holes(mask, _HOLE * np.count_nonzero(mask))
        height, width = self.image.shape[:2]
        rims = (
            (columns.start > 0, mask[:, 0]), (columns.stop < width, mask[:, -1]),
            (rows.start > 0, mask[0]), (rows.stop < height, mask[-1]),
        )  # fmt: skip
        beyond = sum(int(np.count_nonzero(rim)) for inner, rim in rims if inner)
        whole = np.zeros((height, width), bool)
        whole[window] = mask
        return whole, beyond > _BEYOND * sum(mask.shape)


def _discs(points: Iterable[np.ndarray], shape: tuple[int, ...], radius: int = 2) -> np.ndarray:
    """bool (h, w): where points are, and right beside them."""
    canvas = np.zeros(shape[:2], np.uint8)
    for x, y in points:
        cv2.circle(canvas, (int(x), int(y)), radius, 1, -1)
    return canvas > 0


def _middle(box: np.ndarray) -> np.ndarray:
    return (box[:2] + box[2:]) / 2


def nothing_at(point: Iterable[float]) -> InputError:
    """What is to be said where the segmenter sees nothing under a click at (x, y)."""
    x, y = point
    return InputError(
        f"nothing can be made out at ({x:.0f}, {y:.0f}), so nothing was written; click another place of the thing, or "
        "give what is to be added a further --point X,Y on it and --not-point X,Y beside it"
    )
