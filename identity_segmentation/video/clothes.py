"""What somebody wears, as colours: it tells people apart within a shot, where clothes differ. (Notebook section 7.)"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

_BINS = (12, 6, 6)  # hue, saturation, value


def colour_likeness(a: np.ndarray, b: np.ndarray) -> float:
    """How much two normalised histograms have in common, 0..1: the Bhattacharyya coefficient.

    Args:
        a, b: of the same bins; each sums to 1.
    """
    return float(np.sqrt(a * b).sum())


def clothes_colours(image_bgr: np.ndarray, head: Sequence[float] | np.ndarray) -> np.ndarray | None:
    """Colours of the clothes below a head: a normalised histogram, or None if they are out of the picture.

    Args:
        image_bgr: uint8 (H, W, 3).
        head: xyxy pixels.
    """
    x, side = (head[0] + head[2]) / 2, head[2] - head[0]
    return _colours(image_bgr, (x - 0.8 * side, head[3] + 0.3 * side, x + 0.8 * side, head[3] + 2.0 * side))


def torso_of(body: Sequence[float] | np.ndarray) -> np.ndarray:
    """The middle of the upper half of a body's box, xyxy: clothes, whichever way somebody is turned.

    Args:
        body: xyxy pixels.
    """
    x0, y0, x1, y1 = (float(v) for v in body)
    width, height = x1 - x0, y1 - y0
    return np.array([x0 + 0.25 * width, y0 + 0.22 * height, x1 - 0.25 * width, y0 + 0.55 * height])


def torso_colours(image_bgr: np.ndarray, body: Sequence[float] | np.ndarray) -> np.ndarray | None:
    """Colours of a body's torso, as `clothes_colours`.

    Args:
        image_bgr: uint8 (H, W, 3).
        body: xyxy pixels.
    """
    return _colours(image_bgr, torso_of(body))


def _colours(image_bgr: np.ndarray, box: Sequence[float] | np.ndarray) -> np.ndarray | None:
    height, width = image_bgr.shape[:2]
    x0, x1 = int(max(0, box[0])), int(min(width, box[2]))
    y0, y1 = int(max(0, box[1])), int(min(height, box[3]))
    if x1 - x0 < 6 or y1 - y0 < 6:
        return None
    patch = image_bgr[y0:y1, x0:x1]
    factor = min(1.0, 48 / max(patch.shape[:2]))
    patch = cv2.resize(patch, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA) if factor < 1 else patch
    hsv = cv2.cvtColor(patch, cv2.COLOR_BGR2HSV)
    histogram = cv2.calcHist([hsv], [0, 1, 2], None, list(_BINS), [0, 180, 0, 256, 0, 256]).ravel()
    return histogram / max(float(histogram.sum()), 1e-9)


def blended(old: list[float] | None, new: np.ndarray | None) -> list[float] | None:
    """A running mean of the clothes' colours, as plain numbers; the past weighs four fifths.

    Args:
        old: as this function gave it; None = nothing yet.
        new: a normalised histogram; None = nothing was seen.
    """
    if new is None:
        return old
    return new.tolist() if old is None else (0.8 * np.array(old) + 0.2 * new).tolist()
