"""Optical flow at a small working size, and what is averaged along it. (Notebook section 7.)"""

from __future__ import annotations

from collections import deque
from functools import lru_cache

import cv2
import numpy as np

from ..geometry import follow_edges

_SAME_GREY = 20  # grey levels within which two pictures show the same thing
_REACH = 2.0  # pixels of a matte within which an edge is moved onto the picture's
_FILTER_RADIUS = 2  # pixels of the shrunk picture that the filter works in
_SIDE = 480  # pixels; finer flow costs more than it gives
_LEAST = 32  # pixels; OpenCV's DIS crashes on pictures that are wide and lower than that


@lru_cache(maxsize=8)
def grid(shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Columns and rows of a picture's pixels: two float32 (h, w), not to be written to."""
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    return x, y


class Flow:
    """Dense motion between two pictures (DIS; Kroeger et al., ECCV 2016), at a small working size.

    Args:
        side: the working pictures' longer side, in pixels.
    """

    def __init__(self, side: int = _SIDE):
        self.side = side
        # One that is given a first guess keeps something of it for a call without one: each kind has its own.
        self._dis, self._guided = (cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST) for _ in range(2))

    def small(self, image_bgr: np.ndarray) -> np.ndarray:
        """The picture at working size: uint8 (h, w, 3), its longer side `side` at most; neither is under 32 pixels."""
        factor = min(1.0, self.side / max(image_bgr.shape[:2]))
        size = (max(_LEAST, round(image_bgr.shape[1] * factor)), max(_LEAST, round(image_bgr.shape[0] * factor)))
        return cv2.resize(image_bgr, size, interpolation=cv2.INTER_AREA)

    def grey(self, image_bgr: np.ndarray) -> np.ndarray:
        """The working picture: uint8 (h, w)."""
        return cv2.cvtColor(self.small(image_bgr), cv2.COLOR_BGR2GRAY)

    def between(self, here: np.ndarray, there: np.ndarray, about: np.ndarray | None = None) -> np.ndarray:
        """For each pixel of `here` how far away it is in `there`: float32 (h, w, 2), in working pixels.

        Args:
            here: uint8 (h, w).
            there: uint8 (h, w).
            about: what is thought of it, float32 (h, w, 2); None = nothing.
        """
        if about is None:
            return self._dis.calc(here, there, None)
        return self._guided.calc(here, there, about.copy())

    @staticmethod
    def fetch(values: np.ndarray, flow: np.ndarray) -> np.ndarray:
        """Values (h, w) or (h, w, 2) of the other picture brought here along the flow, at working size."""
        x, y = grid(flow.shape[:2])
        return cv2.remap(values, x + flow[..., 0], y + flow[..., 1], cv2.INTER_LINEAR)


def to_full(part: np.ndarray, patch: tuple[int, int, int, int], size: tuple[int, int], image: np.ndarray) -> np.ndarray:
    """A part of a matte as a whole one at the size of an image, its edge moved onto the image's edges.

    Args:
        part: uint8 (y1 - y0, x1 - x0).
        patch: where it is: x0, y0, x1, y1 of a picture of `size`.
        size: (W, H) of that picture.
        image: uint8 (H, W, 3), BGR.

    Returns:
        uint8 (H, W).
    """
    height, width = image.shape[:2]
    result = np.zeros((height, width), np.uint8)
    # Only the person's part is worked on, whole pixels of the matte at a time so that nothing shifts.
    scale = np.array([width / size[0], height / size[1]])
    (x0, y0), (x1, y1) = ((np.array(v) * scale).round().astype(int) for v in (patch[:2], patch[2:]))
    if x1 <= x0 or y1 <= y0:
        return result
    full = cv2.resize(part, (x1 - x0, y1 - y0), interpolation=cv2.INTER_LINEAR)
    if scale[0] > 1:
        radius = max(2, round(_REACH * scale[0]))
        values = full.astype(np.float32) / 255
        share = follow_edges(image[y0:y1, x0:x1], values, radius, shrink=max(1, radius // _FILTER_RADIUS))
        full = cv2.convertScaleAbs(share, alpha=255)  # of 0..1: rounds, and stops at 255
    result[y0:y1, x0:x1] = full
    return result


class TemporalSmoother:
    """A motion-compensated average over the last frames: each past matte is warped to the present before averaging.

    A plain average leaves ghosts behind a moving arm; this one moves the past along. Resettable; call `reset` at
    a cut.

    Args:
        window: frames averaged, this one included; 1 does nothing.
        flow: shared working size.
    """

    def __init__(self, window: int = 5, flow: Flow | None = None):
        self.window, self.flow = max(1, window), flow or Flow()
        self._past: deque[np.ndarray] = deque(maxlen=self.window - 1 or None) if self.window > 1 else deque(maxlen=0)
        self._grey: np.ndarray | None = None

    def reset(self) -> None:
        """Forget the past."""
        self._past.clear()
        self._grey = None

    def update(self, matte: np.ndarray, grey: np.ndarray) -> np.ndarray:
        """The smoothed matte of this frame; float32 (h, w) 0..1, both at working size.

        Where the person was not, or is not any more, nothing is averaged: an empty matte stays empty.
        """
        if self.window == 1:
            return matte
        if not (matte > 0.5).any():
            self.reset()
            return matte
        result = matte
        if self._grey is not None and len(self._past):
            motion = self.flow.between(grey, self._grey)
            # Ground that somebody has just uncovered was theirs a moment ago: where the pictures do not match along
            # the motion, the past has nothing to say.
            apart = cv2.absdiff(grey, self.flow.fetch(self._grey, motion))
            known = cv2.blur(apart, (3, 3)) < _SAME_GREY
            warped = (np.where(known, self.flow.fetch(p, motion), matte) for p in self._past)
            self._past = deque(warped, maxlen=self.window - 1)
            weights = np.arange(1, len(self._past) + 1, dtype=np.float32)  # the older, the less
            total = float(weights.sum()) + self.window
            result = (matte * self.window + sum(w * p for w, p in zip(weights, self._past, strict=True))) / total
        self._past.append(matte)
        self._grey = grey
        return result
