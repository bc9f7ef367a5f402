"""Pictures of a video -> where a new shot begins. (Notebook section 7.)"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import cv2
import numpy as np

from .clothes import colour_likeness

# Correlation of two samples' layout, and likeness of their colours, below which they are two shots. Across real cuts
# 0.0-0.4 and 0.7-0.85, within shots above 0.4 (fast pans) and 0.93 were seen.
_CUT_LAYOUT, _CUT_COLOURS = 0.5, 0.92


class CutDetector:
    """Tell a cut from motion: the layout no longer correlates, and the colours have changed as well.

    Works on samples, so what lies between them does not matter. A false cut costs little (names must be
    earned again), a missed one could carry a name to somebody else: the limits lean towards cutting.
    """

    def __init__(self):
        self._before: tuple[np.ndarray, np.ndarray] | None = None

    def update(self, image_bgr: np.ndarray) -> bool:
        """Is there a cut between the last sample and this one? The first sample is no cut."""
        small = cv2.resize(image_bgr, (64, 36), interpolation=cv2.INTER_AREA)
        hsv = cv2.cvtColor(small, cv2.COLOR_BGR2HSV)
        histogram = cv2.calcHist([hsv], [0, 1, 2], None, [12, 4, 4], [0, 180, 0, 256, 0, 256]).ravel()
        histogram /= histogram.sum()
        layout = cv2.GaussianBlur(cv2.cvtColor(small, cv2.COLOR_BGR2GRAY), (5, 5), 0).astype(np.float32)
        layout = (layout - layout.mean()) / (layout.std() + 1e-6)
        before, self._before = self._before, (histogram, layout)
        if before is None:
            return False
        colours, correlation = colour_likeness(histogram, before[0]), float((layout * before[1]).mean())
        return (correlation < _CUT_LAYOUT and colours < _CUT_COLOURS) or colours < 0.5


def first_of_shot(pictures: Sequence[np.ndarray]) -> int:
    """Where the new shot begins, if there is one cut between the first and the last of these (grey or colour)."""
    if len(pictures) < 2:
        return 0
    return 1 + int(np.argmax([float(cv2.absdiff(a, b).mean()) for a, b in pairwise(pictures)]))
