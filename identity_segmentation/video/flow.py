"""Masks of key frames -> masks of every frame: propagated by optical flow, smoothed over time. (Notebook section 7.)"""

from __future__ import annotations

from collections import deque

import cv2
import numpy as np

from ..geometry import follow_edges, mask_box

_SAME_GREY = 20  # grey levels within which two pictures show the same thing
_FLOW_WIDTH = 480  # pixels; finer flow costs more than it gives


class Flow:
    """Dense motion between two pictures (DIS; Kroeger et al., ECCV 2016), at a small working size.

    Args:
        width: working width in pixels.
    """

    def __init__(self, width: int = _FLOW_WIDTH):
        self.width = width
        self._dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)

    def small(self, image_bgr: np.ndarray) -> np.ndarray:
        """The picture at working size: uint8 (h, w, 3), `width` wide at most."""
        factor = min(1.0, self.width / image_bgr.shape[1])
        size = (max(16, round(image_bgr.shape[1] * factor)), max(16, round(image_bgr.shape[0] * factor)))
        return cv2.resize(image_bgr, size, interpolation=cv2.INTER_AREA)

    def grey(self, image_bgr: np.ndarray) -> np.ndarray:
        """The working picture: uint8 (h, w)."""
        return cv2.cvtColor(self.small(image_bgr), cv2.COLOR_BGR2GRAY)

    def between(self, here: np.ndarray, there: np.ndarray) -> np.ndarray:
        """For each pixel of `here` (grey), where it is in `there`: float32 (h, w, 2), in working pixels."""
        return self._dis.calc(here, there, None)

    @staticmethod
    def fetch(values: np.ndarray, flow: np.ndarray) -> np.ndarray:
        """Values (h, w) or (h, w, 2) of the other picture brought here along the flow, at working size."""
        y, x = np.mgrid[: flow.shape[0], : flow.shape[1]].astype(np.float32)
        return cv2.remap(values, x + flow[..., 0], y + flow[..., 1], cv2.INTER_LINEAR)


def to_working(alpha: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """A matte (uint8, full size) as float32 0..1 at working size."""
    return cv2.resize(alpha, shape[::-1], interpolation=cv2.INTER_AREA).astype(np.float32) / 255


def to_full(values: np.ndarray, image: np.ndarray) -> np.ndarray:
    """A working matte (float32 0..1) as uint8 at the size of an image, its edge moved onto the image's edges."""
    height, width = image.shape[:2]
    result = np.zeros((height, width), np.uint8)
    near = mask_box(values > 0.02)
    if near is None:
        return result
    # Only the person's part is worked on, whole working pixels at a time so that nothing shifts.
    scale = np.array([width / values.shape[1], height / values.shape[0]])
    low = np.maximum(near[:2].astype(int) - 3, 0)
    high = np.minimum(near[2:].astype(int) + 3, values.shape[::-1])
    (x0, y0), (x1, y1) = (low * scale).round().astype(int), (high * scale).round().astype(int)
    part = cv2.resize(values[low[1] : high[1], low[0] : high[0]], (x1 - x0, y1 - y0), interpolation=cv2.INTER_LINEAR)
    if scale[0] > 1:
        part = follow_edges(image[y0:y1, x0:x1], part, max(2, round(1.5 * scale[0])))
    result[y0:y1, x0:x1] = (np.clip(part, 0, 1) * 255).round()
    return result


def propagate(
    greys: list[np.ndarray], first: np.ndarray | None, last: np.ndarray | None, flow: Flow
) -> list[np.ndarray]:
    """Mattes for all frames of a span from those of its two ends.

    Each end's matte is propagated towards the other frame by frame; in between the two are blended, the nearer end
    weighing more. Where one end has none (the person comes or goes), the other is propagated alone.

    Args:
        greys: working pictures of the span, ends included (n of them, n >= 1).
        first, last: float32 mattes at working size of the first and last frame, or None.

    Returns:
        n float32 mattes.
    """
    count = len(greys)
    empty = np.zeros(greys[0].shape, np.float32)
    forward: list[np.ndarray | None] = [first, *[None] * (count - 1)]
    backward: list[np.ndarray | None] = [*[None] * (count - 1), last]
    for i in range(1, count):
        if (before := forward[i - 1]) is not None:
            forward[i] = flow.fetch(before, flow.between(greys[i], greys[i - 1]))
    for i in range(count - 2, -1, -1):
        if (after := backward[i + 1]) is not None:
            backward[i] = flow.fetch(after, flow.between(greys[i], greys[i + 1]))
    result: list[np.ndarray] = []
    for i in range(count):
        a, b = forward[i], backward[i]
        if a is not None and b is not None:
            share = i / max(1, count - 1)
            result.append((1 - share) * a + share * b)
        else:
            only = a if b is None else b
            result.append(empty if only is None else only)
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
