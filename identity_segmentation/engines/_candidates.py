"""Log-odds of pixels -> regions that may be things, each described as a whole, and the best of those that overlap.

A region is what hangs together above a level of log-odds; regions of a higher level lie within those of a lower, so
that all of them form a tree (maximally stable regions are chosen from such a tree: Matas et al., BMVC 2002). Each is
described by its log-odds, its contrast with what surrounds it, its border and its shape, and by how far these are from
those of the things that were marked. Somebody judges (`_judge`); of overlapping regions the better judged is taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

LEVELS = (-4.0, -3.0, -2.0, -1.2, -0.4, 0.4, 1.2, 2.0, 3.0, 4.0, 5.0)
_LEAST_AREA = 4  # pixels; smaller ones have no shape
_MOST = 4000  # regions at a level: more of them are noise
_RING = np.ones((7, 7), np.uint8)  # what surrounds a region: 3 pixels
_RIM = np.ones((3, 3), np.uint8)
_UNIT = 4.0  # log-odds are told in fours, so that all descriptions are of the order of 1
_FAR = 6.0  # descriptions are held within this
_FLAT = 0.05  # least gradient that others are compared with


class View(NamedTuple):
    """A picture as regions are described in it: both float32 (H, W).

    Attributes:
        light: brightness in the picture's own terms.
        edge: length of its gradient.
    """

    light: np.ndarray
    edge: np.ndarray

    @classmethod
    def of(cls, light: np.ndarray) -> View:
        soft = cv2.GaussianBlur(light, (0, 0), 1.5)
        across = cv2.Sobel(soft, cv2.CV_32F, 1, 0, scale=1 / 8)
        return cls(light, cv2.magnitude(across, cv2.Sobel(soft, cv2.CV_32F, 0, 1, scale=1 / 8)))


class Marked(NamedTuple):
    """What the marked parts of the references are like, a value for each part: float64 (N,).

    Attributes:
        area: log of their pixels.
        contrast: light inside less light around.
        length: log of their longer over their shorter axis.
        edge: gradient along their border.
        cut: share of their border that is the picture's.
    """

    area: np.ndarray
    contrast: np.ndarray
    length: np.ndarray
    edge: np.ndarray
    cut: np.ndarray

    @classmethod
    def none(cls) -> Marked:
        return cls(*(np.empty(0) for _ in cls._fields))

    @classmethod
    def of(cls, view: View, mask: np.ndarray) -> Marked:
        """The parts of one reference's mask, bool (H, W)."""
        found = _regions(mask.astype(np.float32), 0.5, view)
        if found is None:
            return cls.none()
        what = found.what[:, 1:]
        return cls(np.log(what[_AREA]), what[_IN] - what[_AROUND], np.log(what[_LONG]), what[_EDGE], what[_CUT])

    @classmethod
    def all_of(cls, several: Sequence[Marked]) -> Marked:
        return cls(*(np.concatenate(column) for column in zip(*several, strict=True)))


class Regions(NamedTuple):
    """The regions of one level; number 0 is all the rest.

    Attributes:
        labels: int32 (H, W), the number of each pixel's region.
        what: float64 (11, N), rows `_MEAN` ... `_THICK`.
        first: int (N,), a pixel of each, as an index into the flat picture.
        parents: int (N,), the number of the region of the level below that each lies in.
    """

    labels: np.ndarray
    what: np.ndarray
    first: np.ndarray
    parents: np.ndarray

    @property
    def areas(self) -> np.ndarray:
        return self.what[_AREA]


_MEAN, _PEAK, _BESIDE, _IN, _AROUND, _NOISE, _EDGE, _CUT, _AREA, _LONG, _THICK = range(11)


def candidates(odds: np.ndarray, view: View) -> list[Regions]:
    """The regions of a picture, from the lowest level to the highest.

    Args:
        odds: float32 (H, W), log-odds.
        view: of the same picture.
    """
    levels: list[Regions] = []
    for level in LEVELS:
        found = _regions(odds, level, view)
        if found is not None:
            below = levels[-1].labels.ravel()[found.first] if levels else found.parents
            levels.append(found._replace(parents=below))
    return levels


def _regions(odds: np.ndarray, level: float, view: View) -> Regions | None:
    count, labels = cv2.connectedComponents((odds > level).astype(np.uint8))
    if not 1 < count <= _MOST:
        return None
    flat = labels.ravel()
    inside = np.flatnonzero(flat)
    of = flat[inside]
    area = np.maximum(np.bincount(of, minlength=count), 1)

    def mean(values: np.ndarray) -> np.ndarray:
        return np.bincount(of, values, count) / area

    believed, light = odds.ravel()[inside], view.light.ravel()[inside]
    order = np.argsort(of, kind="stable")
    starts = np.searchsorted(of[order], np.arange(1, count))
    peak, first = np.zeros(count), np.zeros(count, np.int64)
    peak[1:] = np.maximum.reduceat(believed[order], starts)
    first[1:] = inside[order][starts]
    beside, around, noise = _surroundings(labels, odds, view, count)
    rim = cv2.erode(labels.astype(np.float32), _RIM).ravel()[inside] != of
    rows, columns = np.divmod(inside, labels.shape[1])
    cut = (rows == 0) | (columns == 0) | (rows == labels.shape[0] - 1) | (columns == labels.shape[1] - 1)
    border = np.maximum(np.bincount(of[rim | cut], minlength=count), 1)
    edge = np.bincount(of[rim | cut], view.edge.ravel()[inside][rim | cut], count) / border
    long, thick = _axes(mean, rows.astype(np.float64), columns.astype(np.float64))
    what = (mean(believed), peak, beside, mean(light), around, noise, edge, np.bincount(of, cut, count) / border)
    return Regions(labels, np.stack([*what, area.astype(np.float64), long, thick]), first, np.zeros(count, np.int64))


def _surroundings(labels: np.ndarray, odds: np.ndarray, view: View, count: int):
    """Of every region, what lies around it: mean log-odds, mean light, and the spread of the light."""
    near = cv2.dilate(labels.astype(np.float32), _RING).ravel()
    ring = np.flatnonzero((near > 0) & (labels.ravel() == 0))
    of = near[ring].astype(np.int64)
    area = np.maximum(np.bincount(of, minlength=count), 1)
    light = view.light.ravel()[ring]
    mean = np.bincount(of, light, count) / area
    spread = np.sqrt(np.maximum(np.bincount(of, light * light, count) / area - mean**2, 0))
    return np.bincount(of, odds.ravel()[ring], count) / area, mean, spread


def _axes(mean, rows: np.ndarray, columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Longer over shorter axis, and the shorter (a standard deviation in pixels), from the second moments."""
    y, x = mean(rows), mean(columns)
    yy, xx = mean(rows * rows) - y * y + 1 / 12, mean(columns * columns) - x * x + 1 / 12
    xy = mean(rows * columns) - x * y
    middle, reach = (xx + yy) / 2, np.hypot((xx - yy) / 2, xy)
    short = np.maximum(middle - reach, 1 / 12)
    return np.sqrt(np.maximum((middle + reach) / short, 1)), np.sqrt(short)


def descriptions(level: Regions, texture: np.ndarray, marked: Marked, top: float) -> np.ndarray:
    """What is judged: float64 (N, 24), the rows of `_judge.PRIOR`; row 0 is meaningless.

    Args:
        level: the regions.
        texture: float64 (N,), mean log-odds of their texture.
        marked: what was marked in the references.
        top: the highest log-odds in the picture.
    """
    what = level.what
    area, length, contrast = np.log(what[_AREA]), np.log(what[_LONG]), what[_IN] - what[_AROUND]
    usual, typical = float(np.median(marked.contrast)), float(np.median(marked.area))
    edge = float(np.median(marked.edge))
    columns = (
        what[_MEAN] / _UNIT, what[_PEAK] / _UNIT, what[_BESIDE] / _UNIT, (what[_MEAN] - what[_BESIDE]) / _UNIT,
        np.maximum(what[_PEAK], 0) / _UNIT, (what[_PEAK] - top) / _UNIT, texture / _UNIT,
        np.maximum(typical - area, 0), np.maximum(area - typical, 0), _beyond(area, marked.area),
        np.abs(contrast), contrast * np.sign(usual), np.minimum(np.abs(contrast - usual), 3),
        _beyond(contrast, marked.contrast),
        np.abs(length - np.median(marked.length)), _beyond(length, marked.length),
        what[_EDGE], np.minimum(np.abs(what[_EDGE] - edge), 3), what[_EDGE] / max(edge, _FLAT),
        np.abs(what[_CUT] - marked.cut.mean()), what[_NOISE], np.log(what[_THICK]),
        area - np.log(level.labels.size), (what[_PEAK] - what[_MEAN]) / _UNIT,
    )  # fmt: skip
    return np.clip(np.stack(columns, axis=1), -_FAR, _FAR)


def _beyond(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    """How far outside the range of what is known."""
    return np.maximum(0, np.maximum(known.min() - values, values - known.max()))


def means(level: Regions, plane: np.ndarray) -> np.ndarray:
    """Mean of a plane (H, W) in each region: float64 (N,)."""
    inside = np.flatnonzero(level.labels)
    sums = np.bincount(level.labels.ravel()[inside], plane.ravel()[inside], len(level.areas))
    return sums / level.areas


def overlaps(level: Regions, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """With a bool mask (H, W): the pixels that every region shares with it, and its IoU with those parts of the mask
    that it touches; float64 (N,) both."""
    count, parts = cv2.connectedComponents(truth.astype(np.uint8))
    inside = np.flatnonzero(level.labels)
    pairs = level.labels.ravel()[inside].astype(np.int64) * count + parts.ravel()[inside]
    shared = np.bincount(pairs, minlength=len(level.areas) * count).reshape(-1, count)[:, 1:]
    touched = (shared > 0) @ np.bincount(parts.ravel(), minlength=count)[1:]
    total = shared.sum(1).astype(np.float64)
    return total, total / np.maximum(level.areas + touched - total, 1)


class Node(NamedTuple):
    """The regions of one level, as far as choosing among them goes: each (N,); see `Regions`."""

    areas: np.ndarray
    parents: np.ndarray
    worth: np.ndarray


def best_of(levels: Sequence[Node], least: float) -> list[np.ndarray]:
    """Of each level, which regions are taken, bool (N,): none within another.

    A region is taken where it is worth more than `least` and no less than the best within it, by area.

    Args:
        levels: from the lowest to the highest.
        least: what one must be worth.
    """
    taken: list[np.ndarray] = []
    value = area = np.empty(0)
    for number in range(len(levels) - 1, -1, -1):
        areas, _, worth = levels[number]
        within: np.ndarray = np.full(len(worth), -np.inf)
        size: np.ndarray = np.zeros(len(worth))
        if taken:
            of = levels[number + 1].parents
            good = value > least
            size = np.bincount(of, np.where(good, area, 0), len(worth))
            total = np.bincount(of, np.where(good, value, 0) * area, len(worth))
            within = np.where(size > 0, total / np.maximum(size, 1), -np.inf)
        own = (worth > least) & (worth >= within)
        own[0] = False
        taken.insert(0, own)
        value, area = np.where(own, worth, within), np.where(own, areas, size)
    covered = np.zeros(0, bool)
    for number, own in enumerate(taken):
        above = covered[levels[number].parents] if number else np.zeros(len(own), bool)
        own &= ~above
        covered = above | own
    return taken


def large_enough(level: Regions, least_area: float) -> np.ndarray:
    """bool (N,): are they regions that can be judged, and no specks?"""
    fine = level.areas >= max(_LEAST_AREA, least_area)
    fine[0] = False
    return fine
