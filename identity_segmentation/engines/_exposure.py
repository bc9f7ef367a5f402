"""A picture that is darker or brighter than every reference -> the same as if it had been taken in their light.

What is told of pixels does not depend on contrast and brightness as long as these change all of a picture alike; a
gamma curve does not. It is undone where that brings the spread of a picture's brightness nearer to that of the
references: a picture that is merely darker by the same amount everywhere is left as it is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np

_BLACK, _WHITE = 0.02, 0.98  # medians are held within these: of black there is no logarithm
_MOST = 3.0  # and gamma within this and its inverse
_LOW, _HIGH = 10, 90  # percentiles whose distance is the spread
_STEP = 2  # every so many pixels are looked at


class Exposure:
    """The light of the references.

    Args:
        images: uint8 (H, W, 3), BGR; one or more.
    """

    def __init__(self, images: Sequence[np.ndarray]):
        medians, spreads = zip(*map(_measured, images), strict=True)
        self._medians = min(medians), max(medians)
        self._spreads = min(spreads), max(spreads)

    def matched(self, image: np.ndarray) -> np.ndarray:
        """The picture in that light, uint8 (H, W, 3), BGR."""
        median, spread = _measured(image)
        wanted = min(max(median, self._medians[0]), self._medians[1])
        if wanted == median:
            return image
        gamma = min(max(math.log(wanted) / math.log(median), 1 / _MOST), _MOST)
        curve = np.rint(255 * (np.arange(256) / 255) ** gamma).astype(np.uint8)
        lit = cv2.LUT(image, curve)
        return lit if self._off(_measured(lit)[1]) < self._off(spread) else image

    def _off(self, spread: float) -> float:
        return max(0.0, self._spreads[0] - spread, spread - self._spreads[1])


def _measured(image: np.ndarray) -> tuple[float, float]:
    """Median brightness, 0..1, and the logarithm of how far its levels spread."""
    grey = cv2.cvtColor(np.ascontiguousarray(image[::_STEP, ::_STEP]), cv2.COLOR_BGR2GRAY)
    low, median, high = np.percentile(grey, (_LOW, 50, _HIGH))
    return min(max(float(median) / 255, _BLACK), _WHITE), math.log(max(1.0, float(high - low)))
