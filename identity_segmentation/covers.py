"""A head, or any shape, made unrecognisable: by a blur, a mosaic, a flat colour or a drawn ellipse.

How strong a cover must be goes by the head's size in pixels. A recogniser scales every face to one size, so what counts
is how many cells a cover leaves across a head, not how many pixels a cell has. The numbers below are measured:
docs/privacy.md says how, and what they give.

Cells lie on a grid that begins at the picture's corner, and their sides go in steps. So a box that moves by a pixel
from one frame to the next changes which pixels are covered, and not what they are covered with.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from .errors import InputError
from .images import mixed

WAYS = ("blur", "mosaic", "solid", "ellipse")
VERSION = 1  # of how covers look, for cache keys

# The most cells across a head: of a mosaic, and of the grid that a blur softens further.
_CELLS = {"blur": 6.0, "mosaic": 6.0}
_STEPS = sorted({value << k for k in range(13) for value in (2, 3)})  # 2, 3, 4, 6, 8, 12, ...: a third to a half apart
_SOFTENED = 5  # cells across the Gaussian of a blur, whose sigma is then 1.1 cells (OpenCV: 0.3 * (k / 2 - 1) + 0.8)
_AROUND = 4  # cells beyond a part that decide the part's blur: the Gaussian's two, enlarging's one, and one that is cut
_SOLID = (64, 64, 64)  # (b, g, r): the same for everybody, so that it tells nothing

# Half-axes of a head's ellipse, in halves of the head's box. An outline of hair, ears and chin is squarer than an
# ellipse: |x|^3 + |y|^3 = 1 needs 1.12. A box that is out by 8 % of its side at either end needs 1.16 times that.
_WHOLLY = 1.31
_RIM = 1.43  # where the soft rim, which lies wholly outside that, ends
_CORE = 0.9


@dataclass(frozen=True, eq=False)
class Cover:
    """What is to be covered at one place.

    Attributes:
        hide: uint8 (h, w), a part of a picture: 255 = wholly covered, 0 = not.
        box: (x0, y0, x1, y1) of the part, in whole pixels, within the picture.
        size: the head's longer side in pixels, which decides how strong a cover is.
    """

    hide: np.ndarray
    box: tuple[int, int, int, int]
    size: float


def covered(
    image: np.ndarray, hide: np.ndarray, size: float, way: str = "blur",
    box: tuple[int, int, int, int] | None = None,
) -> np.ndarray:  # fmt: skip
    """The picture with a shape made unrecognisable; see the module.

    Args:
        image: uint8 (H, W, 3), BGR.
        hide: uint8 (H, W), or the part of it in `box`: 255 = wholly covered, 0 = not.
        size: the longer side of the head in pixels, above 0. Of several heads under one `hide`, the largest's.
        way: one of `WAYS`. "solid" covers whatever `hide` touches wholly; the others follow a soft rim.
        box: (x0, y0, x1, y1), whole pixels within the picture; None = `hide` is of the whole picture.

    Returns:
        A new picture of the same shape. Where `hide` is 0 its pixels are the picture's own.

    Raises:
        InputError: an unknown way, a size that is no number above 0, or a `hide` that is not its box's size.
    """
    place = (0, 0, image.shape[1], image.shape[0]) if box is None else box
    return covered_all(image, [Cover(hide, place, size)], way)


def covered_all(image: np.ndarray, covers: Iterable[Cover], way: str = "blur") -> np.ndarray:
    """`covered` for many places with one copy of the picture.

    The largest goes first, and each is laid over what was covered before. So a small head's fine cells never show a
    piece of a large head that it overlaps.

    Args:
        image: uint8 (H, W, 3), BGR.
        covers: any number; none gives a plain copy.
        way: one of `WAYS`.

    Raises:
        InputError: as `covered`.
    """
    check_way(way)
    result = image.copy()
    for cover in sorted(covers, key=lambda cover: -cover.size):
        _check(cover, image.shape)
        _lay(result, cover, way)
    return result


def check_way(way: str) -> None:
    """`InputError` for a way of covering that there is not."""
    if way not in WAYS:
        raise InputError(f"unknown way to cover {way!r}; expected {', '.join(WAYS)}")


def head_shape(box: Sequence[float] | np.ndarray, shape: Sequence[int]) -> tuple[np.ndarray, tuple[int, int, int, int]]:
    """The ellipse that covers a whole head, with a soft rim.

    Args:
        box: xyxy pixels of the whole head: hair, chin and ears; it may reach out of the picture.
        shape: (H, W, ...) of the picture.

    Returns:
        (uint8 (h, w), 255 where the head may be; (x0, y0, x1, y1) of that part in whole pixels). The part is empty
        (0, 0) where nothing of the head lies in the picture.

    Raises:
        InputError: a box without an area.
    """
    return _ellipse(box, shape, _WHOLLY, _RIM)


def head_core(box: Sequence[float] | np.ndarray, shape: Sequence[int]) -> tuple[np.ndarray, tuple[int, int, int, int]]:
    """As `head_shape`, but the ellipse within the box: what is hardly anybody else's.

    Args:
        box: xyxy pixels of the whole head.
        shape: (H, W, ...) of the picture.
    """
    return _ellipse(box, shape, _CORE, 1.0)


def _ellipse(
    box: Sequence[float] | np.ndarray, shape: Sequence[int], wholly: float, rim: float
) -> tuple[np.ndarray, tuple[int, int, int, int]]:
    """An ellipse of half-axes `wholly` in halves of a box, that falls off to nothing at `rim`."""
    left, top, right, bottom = (float(value) for value in box)
    if not (right > left and bottom > top and np.isfinite([left, top, right, bottom]).all()):
        raise InputError(f"expected the box of a head as (x0, y0, x1, y1) with x1 > x0 and y1 > y0, got {list(box)}")
    x, y, across, down = (left + right) / 2, (top + bottom) / 2, (right - left) / 2, (bottom - top) / 2
    x0, x1 = (int(np.clip(v, 0, shape[1])) for v in (np.floor(x - rim * across), np.ceil(x + rim * across)))
    y0, y1 = (int(np.clip(v, 0, shape[0])) for v in (np.floor(y - rim * down), np.ceil(y + rim * down)))
    if x1 <= x0 or y1 <= y0:
        return np.zeros((0, 0), np.uint8), (0, 0, 0, 0)
    columns = ((np.arange(x0, x1, dtype=np.float32) + np.float32(0.5 - x)) / np.float32(across)) ** 2
    rows = ((np.arange(y0, y1, dtype=np.float32) + np.float32(0.5 - y)) / np.float32(down)) ** 2
    slope = 255 / (rim**2 - wholly**2)
    within = np.float32(rim**2 * slope) - columns[None] * np.float32(slope) - rows[:, None] * np.float32(slope)
    return np.clip(within, 0, 255).astype(np.uint8), (x0, y0, x1, y1)


def cell_of(size: float, way: str = "blur") -> int:
    """The side of a cell in pixels for a head of `size` pixels; it goes in steps and never falls as a head grows.

    Args:
        size: the head's longer side in pixels.
        way: "blur" or "mosaic".
    """
    return _STEPS[min(bisect.bisect_left(_STEPS, size / _CELLS[way]), len(_STEPS) - 1)]


def _check(cover: Cover, shape: Sequence[int]) -> None:
    x0, y0, x1, y1 = cover.box
    if not (0 <= x0 <= x1 <= shape[1] and 0 <= y0 <= y1 <= shape[0]):
        raise InputError(f"expected a box within the picture of {shape[1]}x{shape[0]} pixels, got {cover.box}")
    if cover.hide.shape != (y1 - y0, x1 - x0) or cover.hide.dtype != np.uint8:
        raise InputError(f"expected hide as uint8 {(y1 - y0, x1 - x0)}, got {cover.hide.dtype} {cover.hide.shape}")
    if not (np.isfinite(cover.size) and cover.size > 0):
        raise InputError(f"expected the head's size in pixels, above 0, got {cover.size}")


def _lay(image: np.ndarray, cover: Cover, way: str) -> None:
    """Cover one place of a picture, in place."""
    tight = cv2.boundingRect(cover.hide) if cover.hide.size else (0, 0, 0, 0)
    if not tight[2]:
        return
    x, y, width, height = tight
    hide = cover.hide[y : y + height, x : x + width]
    x0, y0 = cover.box[0] + x, cover.box[1] + y
    place = (x0, y0, x0 + width, y0 + height)
    if way == "solid":
        hide = cv2.compare(hide, 0, cv2.CMP_GT)
    part = image[y0 : y0 + height, x0 : x0 + width]
    if way in ("solid", "ellipse"):
        colour = _SOLID if way == "solid" else _surroundings(image, hide, place, cover.size)
        above = np.empty_like(part)
        above[:] = colour
    else:
        above = _in_cells(image, place, cell_of(cover.size, way), smooth=way == "blur")
    part[:] = mixed(part, above, hide)


def _surroundings(
    image: np.ndarray, hide: np.ndarray, place: tuple[int, int, int, int], size: float
) -> tuple[int, int, int]:
    """The mean colour around a shape: of what its box, grown by a quarter of the head, has outside it."""
    by = max(2, int(size / 4))
    x0, y0, x1, y1 = place
    left, top = max(0, x0 - by), max(0, y0 - by)
    around = image[top : min(image.shape[0], y1 + by), left : min(image.shape[1], x1 + by)]
    outside = np.full(around.shape[:2], 255, np.uint8)
    outside[y0 - top : y1 - top, x0 - left : x1 - left] = cv2.compare(hide, 0, cv2.CMP_EQ)
    if not outside.any():
        return _SOLID
    blue, green, red, _ = cv2.mean(around, outside)
    return round(blue), round(green), round(red)


def _in_cells(image: np.ndarray, place: tuple[int, int, int, int], cell: int, smooth: bool) -> np.ndarray:
    """A part of a picture as the means of the picture's cells: as blocks, or smooth."""
    x0, y0, x1, y1 = place
    more = _AROUND if smooth else 0
    left, top = max(0, x0 // cell - more) * cell, max(0, y0 // cell - more) * cell
    right, bottom = (-(-x1 // cell) + more) * cell, (-(-y1 // cell) + more) * cell
    height, width = image.shape[:2]
    # A cell that the picture's border cuts is filled up with the border's own pixels.
    right, bottom = min(right, -(-width // cell) * cell), min(bottom, -(-height // cell) * cell)
    part = image[top:bottom, left:right]
    beyond = (bottom - top - part.shape[0], right - left - part.shape[1])
    if any(beyond):
        part = cv2.copyMakeBorder(part, 0, beyond[0], 0, beyond[1], cv2.BORDER_REPLICATE)
    cells = ((right - left) // cell, (bottom - top) // cell)
    small = cv2.resize(part, cells, interpolation=cv2.INTER_AREA)
    if smooth:
        small = cv2.GaussianBlur(small, (_SOFTENED, _SOFTENED), 0, borderType=cv2.BORDER_REPLICATE)
    how = cv2.INTER_LINEAR if smooth else cv2.INTER_NEAREST
    large = cv2.resize(small, part.shape[1::-1], interpolation=how)
    return large[y0 - top : y1 - top, x0 - left : x1 - left]
