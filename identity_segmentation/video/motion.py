"""How the frames of a run move: optical flow between neighbours, composed over any distance. (Notebook section 7.)

One flow a pair of neighbours serves everybody who is drawn. A matte is brought from its key frame to another frame in
one step, along the composed flow: moved frame by frame it would be blurred a little more in each.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from ..geometry import mask_box
from .flow import Flow, grid

_SAME_GREY = 20.0  # grey levels within which two pictures show the same thing
_OUTSIDE = 2.0  # pixels at working size that a place may lie beyond the picture's border
# Squared pixels that the way there and back may miss by, and share of its squared length (Sundaram et al., ECCV 2010).
_ROUND = (0.5, 0.02)
_PARTS = 32.0  # of a pixel, in which motion is kept
_REFINED = 5  # frames after which a composed motion is found once more
_ROOM = 3  # pixels at working size around what is brought

_BLACK = 24  # of 255: video's black, with its noise
_FAINT = 4  # of 255: what is less is nothing

Patch = tuple[int, int, int, int]  # x0, y0, x1, y1 at the size of mattes


@dataclass(frozen=True, eq=False)
class Soft:
    """A matte of one frame, less what is empty around it.

    Attributes:
        patch: where it is.
        part: uint8 (y1 - y0, x1 - x0).
    """

    patch: Patch
    part: np.ndarray

    def within(self, patch: Patch) -> np.ndarray:
        """The matte within another patch: uint8."""
        if patch == self.patch:
            return self.part
        result = np.zeros((patch[3] - patch[1], patch[2] - patch[0]), np.uint8)
        shared = common(patch, self.patch)
        if shared is not None:
            x0, y0, x1, y1 = shared
            mine = self.part[y0 - self.patch[1] : y1 - self.patch[1], x0 - self.patch[0] : x1 - self.patch[0]]
            result[y0 - patch[1] : y1 - patch[1], x0 - patch[0] : x1 - patch[0]] = mine
        return result


class Motion:
    """Motion within a run of frames.

    Args:
        greys: uint8 (h, w), the run's pictures at working size; see `Flow.grey`.
        flow: what finds it.
        size: (W, H) of the mattes that are moved: the working size, or a multiple of it.
    """

    def __init__(self, greys: Sequence[np.ndarray], flow: Flow, size: tuple[int, int]):
        self.greys, self.size = greys, size
        self._flow = flow
        self.shape = greys[0].shape
        self._scale = np.array([size[0] / self.shape[1], size[1] / self.shape[0]], np.float32)
        self._moved: dict[tuple[int, int], np.ndarray] = {}
        self._alike: dict[tuple[int, int], np.ndarray] = {}
        self._steady: dict[tuple[int, int], np.ndarray] = {}

    def between(self, here: int, there: int) -> np.ndarray:
        """For each pixel of a frame how far it is away in another: float32 (h, w, 2), in working pixels.

        Args:
            here: a frame of the run.
            there: another one.
        """
        if here == there:
            return np.zeros((*self.shape, 2), np.float32)
        known = self._moved.get((here, there))
        if known is not None:
            return _as_pixels(known)
        way = 1 if there > here else -1
        if abs(there - here) == 1:
            moved = self._flow.between(self.greys[here], self.greys[there])
        elif (here, there - way) in self._moved:  # a step further than is known
            moved = self.between(here, there - way)
            moved = moved + _fetched(self.between(there - way, there), moved)
        else:
            for at in range(there - 2 * way, here, -way):  # one after the other: they rest on each other
                if (at, there) not in self._moved:
                    self.between(at, there)
            step = self.between(here, here + way)
            moved = step + _fetched(self.between(here + way, there), step)
        if abs(there - here) > 1 and abs(there - here) % _REFINED == 0:
            moved = self._refined(here, there, moved)
        # Half the memory: up to 1024 pixels, in 32nds of one.
        self._moved[here, there] = kept = cv2.multiply(moved, _PARTS, dtype=cv2.CV_16S)
        return _as_pixels(kept)  # the same whether it was known or not

    def _refined(self, here: int, there: int, moved: np.ndarray) -> np.ndarray:
        """A composed motion found once more from the two pictures alone, where they match better then: the errors of
        its steps go one way and add up."""
        again = self._flow.between(self.greys[here], self.greys[there], np.ascontiguousarray(moved, np.float32))
        before, after = (
            cv2.blur(cv2.absdiff(self.greys[here], _fetched(self.greys[there], way)), (5, 5)) for way in (moved, again)
        )
        return np.where((after <= before)[..., None], again, moved)

    def likeness(self, here: int, there: int) -> np.ndarray:
        """How far a frame shows the same as another where the motion leads: float32 (h, w), 0..1; 0 where it leads out
        of the picture. Ground that somebody has uncovered is like nothing that was there before.

        Args:
            here: a frame of the run.
            there: another one.
        """
        if here == there:
            return np.ones(self.shape, np.float32)
        key = (here, there)
        if key not in self._alike:
            moved = self.between(here, there)
            apart = cv2.absdiff(self.greys[here], _fetched(self.greys[there], moved))
            apart = cv2.blur(apart, (3, 3)).astype(np.float32) / _SAME_GREY
            x, y = grid(self.shape)
            height, width = self.shape
            inside = (np.abs(x + moved[..., 0] - (width - 1) / 2) < width / 2 + _OUTSIDE) & (
                np.abs(y + moved[..., 1] - (height - 1) / 2) < height / 2 + _OUTSIDE
            )
            self._alike[key] = np.rint(255 * np.exp(-apart * apart) * inside).astype(np.uint8)
        return self._alike[key].astype(np.float32) / 255

    def steady(self, here: int, there: int) -> np.ndarray:
        """Where the way to another frame and back ends where it began: bool (h, w). What was hidden, or moved too far
        to be followed, does not come back.

        Args:
            here: a frame of the run.
            there: another one.
        """
        if (here, there) not in self._steady:
            moved = self.between(here, there)
            back = _fetched(self.between(there, here), moved)
            error, way = (np.einsum("hwc,hwc->hw", v, v) for v in (moved + back, moved))
            self._steady[here, there] = error <= _ROUND[0] + _ROUND[1] * way
        return self._steady[here, there]

    def soft(self, matte: np.ndarray) -> Soft | None:
        """A matte of any size, uint8, as it is moved; None if nothing is in it."""
        box = mask_box(matte > _FAINT)
        if box is None:
            return None
        scale = np.array([self.size[0] / matte.shape[1], self.size[1] / matte.shape[0]])
        patch = self._patch(box[:2] * scale / self._scale, box[2:] * scale / self._scale)
        x0, y0, x1, y1 = patch
        if matte.shape == self.size[::-1]:
            return Soft(patch, matte[y0:y1, x0:x1])
        part = cv2.resize(matte, self.size, interpolation=cv2.INTER_AREA)[y0:y1, x0:x1]
        return Soft(patch, part)

    def reach(self, soft: Soft, here: int, there: int) -> Patch | None:
        """Where a matte of frame `there` comes to lie in frame `here`, with some room; None if it leaves the picture.

        Args:
            soft: the matte.
            here: the frame that it is wanted for.
            there: the frame that it is of.
        """
        if here == there:
            return soft.patch
        small = np.zeros(self.shape, np.uint8)
        a, b, c, d = self._small_patch(soft.patch)
        small[b:d, a:c] = cv2.resize(soft.part, (c - a, d - b), interpolation=cv2.INTER_AREA)
        box = mask_box(_fetched(small, self.between(here, there), cv2.BORDER_CONSTANT) > _FAINT)
        return None if box is None else self._patch(box[:2], box[2:])

    def around(self, box: np.ndarray) -> Patch | None:
        """A box at the size of mattes as a patch, with some room; None outside the picture."""
        x0, y0, x1, y1 = patch = self._patch(box[:2] / self._scale, box[2:] / self._scale)
        return patch if x1 > x0 and y1 > y0 else None

    def _patch(self, low: np.ndarray, high: np.ndarray) -> Patch:
        """A box at working size, with some room, in whole working pixels, at the size of mattes."""
        low = np.maximum(np.floor(low) - _ROOM, 0) * self._scale
        high = np.minimum(np.ceil(high) + _ROOM, self.shape[::-1]) * self._scale
        (x0, y0), (x1, y1) = low.round().astype(int).tolist(), high.round().astype(int).tolist()
        return x0, y0, x1, y1

    def _small_patch(self, patch: Patch) -> Patch:
        x0, y0, x1, y1 = (np.array(patch) / np.tile(self._scale, 2)).round().astype(int).tolist()
        return x0, y0, x1, y1

    def part(self, values: np.ndarray, patch: Patch) -> np.ndarray:
        """Values at working size, float32 (h, w) or (h, w, 2), within a patch, at the size of mattes.

        Args:
            values: of a frame.
            patch: where they are wanted.
        """
        x0, y0, x1, y1 = patch
        if self.size == self.shape[::-1]:
            return values[y0:y1, x0:x1]
        a, b, c, d = self._small_patch(patch)
        return cv2.resize(values[b:d, a:c], (x1 - x0, y1 - y0), interpolation=cv2.INTER_LINEAR)

    def brought(self, soft: Soft, here: int, there: int, patch: Patch) -> np.ndarray:
        """A matte of frame `there` brought to frame `here`, within a patch: uint8.

        Args:
            soft: the matte.
            here: the frame that it is wanted for.
            there: the frame that it is of.
            patch: where it is wanted.
        """
        x0, y0, x1, y1 = patch
        if here == there:
            return soft.within(patch)
        moved = self.part(self.between(here, there), patch) * self._scale
        x, y = (along[y0:y1, x0:x1] for along in grid(self.size[::-1]))
        left, top = np.float32(soft.patch[0]), np.float32(soft.patch[1])
        return cv2.remap(
            soft.part, x + (moved[..., 0] - left), y + (moved[..., 1] - top), cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_CONSTANT,
        )  # fmt: skip


def _as_pixels(kept: np.ndarray) -> np.ndarray:
    return cv2.multiply(kept, 1 / _PARTS, dtype=cv2.CV_32F)


def without_bars(greys: Sequence[np.ndarray], size: tuple[int, int]) -> Patch:
    """Where a run's pictures are, without black bars: rows and columns at the border that are black in all of them.

    Args:
        greys: uint8 (h, w), the run's pictures at working size.
        size: (W, H) of the mattes.
    """
    brightest = np.maximum.reduce(list(greys))
    rows, columns = (np.flatnonzero(brightest.max(axis) > _BLACK) for axis in (1, 0))
    if not len(rows):
        return 0, 0, *size
    box = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]) * np.tile(size, 2)
    x0, y0, x1, y1 = (box / np.tile(brightest.shape[::-1], 2)).round().astype(int).tolist()
    return x0, y0, x1, y1


def common(a: Patch, b: Patch) -> Patch | None:
    """Where two patches overlap; None where they do not."""
    x0, y0, x1, y1 = max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])
    return (x0, y0, x1, y1) if x1 > x0 and y1 > y0 else None


def union(patches: Iterable[Patch | None]) -> Patch | None:
    """The patch that holds all of these; None if there is none."""
    known = [patch for patch in patches if patch is not None]
    if not known:
        return None
    x0, y0, x1, y1 = zip(*known, strict=True)
    return min(x0), min(y0), max(x1), max(y1)


def _fetched(values: np.ndarray, moved: np.ndarray, border: int = cv2.BORDER_REPLICATE) -> np.ndarray:
    """Values of another frame brought here along the motion. At the border they go on as they are there."""
    x, y = grid(moved.shape[:2])
    return cv2.remap(values, x + moved[..., 0], y + moved[..., 1], cv2.INTER_LINEAR, borderMode=border)
