"""A place in a picture -> how much of a head's detail is to be seen there. (What `audit` judges covers by.)

A head is made unrecognisable by taking its fine detail away, whatever the way: a blur and a flat colour have none, and
a mosaic has none within its cells. What is left is measured; what was drawn is not asked.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from .types import as_box

_SIDE = 48  # pixels of the head's longer side at which detail is measured, whatever its size in the picture
_WINDOW = 5  # pixels: eyes, lips and strands are finer than half of it, at this side
_INNER = 0.36  # half-axes of the ellipse that is measured, in the box's sides: within it no cover's soft rim is seen
_LEAST_PIXELS = 30  # of that ellipse within the picture; of less there is nothing to be said
_CELLS = (16, 3)  # a mosaic's cells are this part of a head: no finer, no coarser
_STEPS = tuple(value << k for k in range(1, 9) for value in (2, 3))  # sides that cells have in this package
_RIM = 1  # pixels at a cell's edges that a video codec softens
# Grey levels, after H.264. Of the labelled heads of a clip 98 in 100 have 1.4 or more. Blurred and flat ones have 0.5
# at most; of a mosaic 98 in 100 have less than 0.95 (benchmarks/privacy_audit.py prints these).
BARE = 1.0
BARE_FACE = 0.7  # where a detector sees a face: less will do, but for a mosaic's
# With the source at hand: correlation of both pictures' detail from which it is the same; below which it is another.
SAME, OTHER = 0.6, 0.3
_ALIKE, _CONTRAST = 2.5, 8.0  # grey levels: a codec's mean error at most; deviation of what a cover would have changed


def detail(image_bgr: np.ndarray, box: Sequence[float] | np.ndarray) -> float:
    """Mean fine detail in the middle of a head, in grey levels; 0 = none, `BARE` and more = its features are seen.

    Detail is what a median filter takes away. Edges between flat areas, as a mosaic has them, pass such a filter
    (Huang, Yang and Tang, "A fast two-dimensional median filtering algorithm", IEEE TASSP 27, 1979).

    Args:
        image_bgr: uint8 (H, W, 3).
        box: float (4,), xyxy in pixels: the whole head; it may reach over the picture's edge.
    """
    part = _part(image_bgr, box)
    if part is None:
        return 0.0
    small, inside = part
    fine = float(np.abs(_fine(small))[inside].mean())
    return fine if fine < BARE_FACE else min(fine, _detail_of_cells(image_bgr, as_box(box)))


def unchanged(image_bgr: np.ndarray, source_bgr: np.ndarray, box: Sequence[float] | np.ndarray) -> float:
    """How far a head's detail is the source's, -1..1: the correlation of both; `SAME` and more = it was not covered.

    1 where both are alike to a codec's error, detail or none.

    Args:
        image_bgr: uint8 (H, W, 3), the output.
        source_bgr: uint8 (H, W, 3), the source.
        box: float (4,), xyxy in pixels: the whole head.
    """
    now, before = _part(image_bgr, box), _part(source_bgr, box)
    if now is None or before is None:
        return 0.0
    inside = now[1]
    apart = cv2.absdiff(now[0], before[0])[inside]
    if float(before[0][inside].std()) > _CONTRAST and float(apart.mean()) < _ALIKE:
        return 1.0
    a, b = _fine(now[0])[inside], _fine(before[0])[inside]
    scale = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / scale if scale > 1e-6 else 0.0


def _fine(small: np.ndarray) -> np.ndarray:
    """float32 (H, W): what a median filter takes away from a uint8 (H, W) picture."""
    return small.astype(np.float32) - cv2.medianBlur(small, _WINDOW).astype(np.float32)


def _part(image_bgr: np.ndarray, box: Sequence[float] | np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """A head in grey, uint8, no larger than `_SIDE`, and bool of the same shape: what of it is measured."""
    x0, y0, x1, y1 = (float(v) for v in as_box(box))
    height, width = image_bgr.shape[:2]
    left, top = max(0, round(x0)), max(0, round(y0))
    right, bottom = min(width, round(x1)), min(height, round(y1))
    if right - left < 4 or bottom - top < 4:
        return None
    grey = cv2.cvtColor(image_bgr[top:bottom, left:right], cv2.COLOR_BGR2GRAY)
    factor = min(1.0, _SIDE / max(x1 - x0, y1 - y0))
    if factor < 1:
        size = (max(4, round(grey.shape[1] * factor)), max(4, round(grey.shape[0] * factor)))
        grey = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
    x = (np.arange(grey.shape[1]) + 0.5) * (right - left) / grey.shape[1] + left
    y = (np.arange(grey.shape[0]) + 0.5) * (bottom - top) / grey.shape[0] + top
    across = (x - (x0 + x1) / 2) / (_INNER * (x1 - x0))
    down = (y - (y0 + y1) / 2) / (_INNER * (y1 - y0))
    inside = across[None] ** 2 + down[:, None] ** 2 < 1
    return (grey, inside) if np.count_nonzero(inside) >= _LEAST_PIXELS else None


def _detail_of_cells(image_bgr: np.ndarray, box: np.ndarray) -> float:
    """The least mean deviation from a cell's own grey, over the sizes that a mosaic's cells can have, in grey levels.

    Cells are taken to lie on the picture's own grid, as a mosaic that does not flicker has them.
    """
    x0, y0, x1, y1 = (float(v) for v in box)
    side = max(x1 - x0, y1 - y0)
    finest, coarsest = max(2 * _RIM + 2, int(side / _CELLS[0])), int(side / _CELLS[1])
    sizes = {*range(finest, coarsest + 1, max(1, (coarsest - finest) // 16)), *(s for s in _STEPS if s <= coarsest)}
    grey = cv2.cvtColor(image_bgr, cv2.COLOR_BGR2GRAY) if side >= min(image_bgr.shape[:2]) else None
    least = np.inf
    for cell in sorted(size for size in sizes if size >= finest):
        half_x, half_y = 0.7 * _INNER * (x1 - x0), 0.7 * _INNER * (y1 - y0)
        left, top = (max(0, round(v / cell)) for v in ((x0 + x1) / 2 - half_x, (y0 + y1) / 2 - half_y))
        right = min(image_bgr.shape[1] // cell, round(((x0 + x1) / 2 + half_x) / cell))
        bottom = min(image_bgr.shape[0] // cell, round(((y0 + y1) / 2 + half_y) / cell))
        if right - left < 1 or bottom - top < 1:
            continue
        rows, columns = slice(top * cell, bottom * cell), slice(left * cell, right * cell)
        part = cv2.cvtColor(image_bgr[rows, columns], cv2.COLOR_BGR2GRAY) if grey is None else grey[rows, columns]
        cells = part.reshape(bottom - top, cell, right - left, cell).transpose(0, 2, 1, 3).astype(np.float32)
        cells = cells[:, :, _RIM : cell - _RIM, _RIM : cell - _RIM]
        least = min(least, float(np.abs(cells - cells.mean((2, 3), keepdims=True)).mean()))
    return float(least)
