"""What models say of pixels, and their brightness -> regions that may be things, each described as a whole, and the
best of those that overlap.

A region is what hangs together above a level: of log-odds, or of brightness (darker or brighter than what is around).
The first know where to look, the second where a thing ends: borders in a picture are edges of its brightness. Regions
of a higher level lie within those of a lower; those that grow little from level to level are stable (maximally stable
regions: Matas et al., BMVC 2002). Each is described by its log-odds, its contrast with what surrounds it, its border,
its shape, its texture, its growth, and by how far these are from those of the things that were marked. Somebody judges
(`_judge`); of overlapping regions the better judged is taken.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import cv2
import numpy as np

LEVELS = (-4.0, -3.0, -2.0, -1.2, -0.4, 0.4, 1.2, 2.0, 3.0, 4.0, 5.0)  # of log-odds
LIGHTS = (0.3, 0.5, 0.75, 1.0, 1.3, 1.7, 2.2, 2.8, 3.6)  # of brightness, in local spreads
_LEAST_AREA = 4  # pixels; smaller ones have no shape
_MOST = 4000  # regions at a level: more of them are noise
_RING = np.ones((7, 7), np.uint8)  # what surrounds a region: 3 pixels
_RIM = np.ones((3, 3), np.uint8)
_UNIT = 4.0  # log-odds are told in fours, so that all descriptions are of the order of 1
_FAR = 6.0  # descriptions are held within this
_FLAT = 0.05  # least gradient that others are compared with


class View(NamedTuple):
    """A picture as regions are described in it: all float32 (H, W).

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


class Evidence(NamedTuple):
    """What models say of a picture's pixels: all float32 (H, W).

    Attributes:
        odds: log-odds of what is looked for.
        texture: those of the texture alone; 0 without the net.
        unusual: how far the texture is from all that is normal (`_normal`); 0 without the net.
    """

    odds: np.ndarray
    texture: np.ndarray
    unusual: np.ndarray


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
        plane = mask.astype(np.float32)
        found = _regions(np.flatnonzero(mask), mask, view, Evidence(plane, plane, plane))
        if found is None:
            return cls.none()
        what = found.what[:, 1:]
        return cls(np.log(what[AREA]), what[_IN] - what[_AROUND], np.log(what[_LONG]), what[_EDGE], what[_CUT])

    @classmethod
    def all_of(cls, several: Sequence[Marked]) -> Marked:
        return cls(*(np.concatenate(column) for column in zip(*several, strict=True)))

    @property
    def signs(self) -> tuple[int, ...]:
        """Are they brighter (1) or darker (-1) than what is around them, or either?"""
        return tuple(int(sign) for sign in np.unique(np.sign(self.contrast)) if sign)


class Regions(NamedTuple):
    """The regions of one level; number 0 is all the rest.

    Attributes:
        labels: uint16 (H, W), the number of each pixel's region.
        boxes: int (N, 4), left, top, right, bottom of each (right and bottom outside).
        what: float64 (21, N), rows `_MEAN` ... `_GROWTH`.
        by_light: are they of a level of brightness?
    """

    labels: np.ndarray
    boxes: np.ndarray
    what: np.ndarray
    by_light: bool = False

    @property
    def areas(self) -> np.ndarray:
        return self.what[AREA]


(_MEAN, _PEAK, _BESIDE, _IN, _AROUND, _NOISE, _EDGE, _CUT, AREA, _LONG, _THICK, _TEXTURE, _UNUSUAL, _ODDEST,
 _EDGE_IN, _EDGE_BESIDE, _SPREAD, _UNUSUAL_BESIDE, _TEXTURE_BESIDE, _OPEN, _GROWTH) = range(21)  # fmt: skip


def candidates(evidence: Evidence, view: View, signs: Sequence[int]) -> list[Regions]:
    """The regions of a picture: those of log-odds from the lowest level to the highest, then those of brightness.

    Args:
        evidence: what models say.
        view: of the same picture.
        signs: 1 for regions brighter than what is around, -1 for darker ones.
    """
    found = list(_tree(evidence.odds, LEVELS, view, evidence))
    for sign in signs:
        found += [level._replace(by_light=True) for level in _tree(sign * view.light, LIGHTS, view, evidence)]
    return found


def _tree(plane: np.ndarray, levels: Sequence[float], view: View, evidence: Evidence) -> Iterator[Regions]:
    """The regions above each level, with their growth."""
    flat = plane.ravel()
    inside = np.arange(flat.size)
    below: Regions | None = None
    for level in levels:
        inside = inside[flat[inside] > level]
        found = _regions(inside, plane > level, view, evidence)
        if found is None:
            continue
        if below is not None:
            corner = inside[_firsts(found.labels.ravel()[inside], len(found.areas))]
            found.what[_GROWTH, 1:] = np.log(below.areas[below.labels.ravel()[corner]] / found.areas[1:])
        below = found
        yield found


def _firsts(of: np.ndarray, count: int) -> np.ndarray:
    """Where each number 1 ... count - 1 is first seen."""
    firsts = np.empty(count, np.int64)
    firsts[of[::-1]] = np.arange(len(of) - 1, -1, -1)
    return firsts[1:]


def _regions(inside: np.ndarray, above: np.ndarray, view: View, evidence: Evidence) -> Regions | None:
    """Args: the pixels' places in the flat picture (N,), and the same as bool (H, W)."""
    count, labels = cv2.connectedComponents(above.astype(np.uint8))
    if not 1 < count <= _MOST:
        return None
    labels = labels.astype(np.uint16)
    of = labels.ravel()[inside].astype(np.intp)
    area = np.maximum(np.bincount(of, minlength=count), 1)

    def values(plane: np.ndarray) -> np.ndarray:
        return plane.ravel()[inside]

    def mean(values: np.ndarray) -> np.ndarray:
        return np.bincount(of, values, count) / area

    order = np.argsort(labels.ravel()[inside], kind="stable")
    starts = np.searchsorted(of[order], np.arange(1, count))

    def peak(values: np.ndarray) -> np.ndarray:
        found = np.zeros(count)
        found[1:] = np.maximum.reduceat(values[order], starts)
        return found

    believed, unusual, edges = values(evidence.odds), values(evidence.unusual), values(view.edge)
    near = labels.astype(np.float32)
    around, noise, beside = _surroundings(
        near, above, count, view.light, evidence.odds, view.edge, evidence.unusual, evidence.texture
    )
    rows, columns = np.divmod(inside, labels.shape[1])
    cut = (rows == 0) | (columns == 0) | (rows == labels.shape[0] - 1) | (columns == labels.shape[1] - 1)
    rim = (values(cv2.erode(near, _RIM)) != of) | cut
    border = np.maximum(np.bincount(of[rim], minlength=count), 1)
    edge = np.bincount(of[rim], edges[rim], count) / border
    gap = np.bincount(of[rim], edges[rim] <= beside[1][of[rim]], count) / border
    light = values(view.light)
    bright = mean(light)
    long, thick = _axes(mean, rows.astype(np.float64), columns.astype(np.float64))
    what = (
        mean(believed), peak(believed), beside[0], bright, around, noise, edge, np.bincount(of, cut, count) / border,
        area.astype(np.float64), long, thick, mean(values(evidence.texture)), mean(unusual), peak(unusual), mean(edges),
        beside[1], np.sqrt(np.maximum(mean(light * light) - bright**2, 0)), beside[2], beside[3], gap, np.zeros(count),
    )  # fmt: skip
    boxes = np.zeros((count, 4), np.int64)
    for place, bound in enumerate((np.minimum, np.minimum, np.maximum, np.maximum)):
        boxes[1:, place] = bound.reduceat((columns, rows)[place % 2][order], starts) + place // 2
    return Regions(labels, boxes, np.stack(what))


def _surroundings(labels: np.ndarray, above: np.ndarray, count: int, light: np.ndarray, *planes: np.ndarray):
    """Of every region, what lies around it: mean and spread of the light, and the means of the other planes."""
    near = cv2.dilate(labels, _RING)
    ring = np.flatnonzero((near > 0) & ~above)
    of = near.ravel()[ring].astype(np.intp)
    area = np.maximum(np.bincount(of, minlength=count), 1)
    found = light.ravel()[ring]
    mean = np.bincount(of, found, count) / area
    spread = np.sqrt(np.maximum(np.bincount(of, found * found, count) / area - mean**2, 0))
    return mean, spread, [np.bincount(of, plane.ravel()[ring], count) / area for plane in planes]


def _axes(mean, rows: np.ndarray, columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Longer over shorter axis, and the shorter (a standard deviation in pixels), from the second moments."""
    y, x = mean(rows), mean(columns)
    yy, xx = mean(rows * rows) - y * y + 1 / 12, mean(columns * columns) - x * x + 1 / 12
    xy = mean(rows * columns) - x * y
    middle, reach = (xx + yy) / 2, np.hypot((xx - yy) / 2, xy)
    short = np.maximum(middle - reach, 1 / 12)
    return np.sqrt(np.maximum((middle + reach) / short, 1)), np.sqrt(short)


def descriptions(level: Regions, marked: Marked, evidence: Evidence) -> np.ndarray:
    """What is judged: float64 (N, 38), the rows of `_judge.PRIOR`; row 0 is meaningless.

    Args:
        level: the regions.
        marked: what was marked in the references.
        evidence: that of the picture.
    """
    what, top, oddest = level.what, float(evidence.odds.max()), float(evidence.unusual.max())
    area, length, contrast = np.log(what[AREA]), np.log(what[_LONG]), what[_IN] - what[_AROUND]
    usual, typical = float(np.median(marked.contrast)), float(np.median(marked.area))
    edge, own = float(np.median(marked.edge)), np.maximum(what[_EDGE], _FLAT)
    columns = (
        what[_MEAN] / _UNIT, what[_PEAK] / _UNIT, what[_BESIDE] / _UNIT, (what[_MEAN] - what[_BESIDE]) / _UNIT,
        np.maximum(what[_PEAK], 0) / _UNIT, (what[_PEAK] - top) / _UNIT, what[_TEXTURE] / _UNIT,
        np.maximum(typical - area, 0), np.maximum(area - typical, 0), _beyond(area, marked.area),
        np.abs(contrast), contrast * np.sign(usual), np.minimum(np.abs(contrast - usual), 3),
        _beyond(contrast, marked.contrast),
        np.abs(length - np.median(marked.length)), _beyond(length, marked.length),
        what[_EDGE], np.minimum(np.abs(what[_EDGE] - edge), 3), what[_EDGE] / max(edge, _FLAT),
        np.abs(what[_CUT] - marked.cut.mean()), what[_NOISE], np.log(what[_THICK]),
        area - np.log(level.labels.size), (what[_PEAK] - what[_MEAN]) / _UNIT,
        what[_UNUSUAL], what[_ODDEST], what[_ODDEST] - oddest,
        (what[_EDGE] - what[_EDGE_IN]) / own, (what[_EDGE] - what[_EDGE_BESIDE]) / own, what[_OPEN],
        np.full(len(area), float(level.by_light)),
        *(np.minimum(what[_GROWTH], 2) * (level.by_light == by_light) for by_light in (False, True)),
        np.abs(contrast) / np.hypot(what[_SPREAD], what[_NOISE]).clip(_FLAT), what[_SPREAD],
        what[_UNUSUAL] - what[_UNUSUAL_BESIDE], (what[_TEXTURE] - what[_TEXTURE_BESIDE]) / _UNIT,
        (what[_TEXTURE] - float(evidence.texture.max())) / _UNIT,
    )  # fmt: skip
    return np.clip(np.stack(columns, axis=1), -_FAR, _FAR)


def _beyond(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    """How far outside the range of what is known."""
    return np.maximum(0, np.maximum(known.min() - values, values - known.max()))


def fits_of(level: Regions, truth: np.ndarray) -> np.ndarray:
    """The IoU of every region with those parts of a bool mask (H, W) that it touches: float64 (N,)."""
    count, parts = cv2.connectedComponents(truth.astype(np.uint8))
    inside = np.flatnonzero(level.labels.ravel() > 0)
    pairs = level.labels.ravel()[inside].astype(np.int64) * count + parts.ravel()[inside]
    shared = np.bincount(pairs, minlength=len(level.areas) * count).reshape(-1, count)[:, 1:]
    touched = (shared > 0) @ np.bincount(parts.ravel(), minlength=count)[1:]
    total = shared.sum(1).astype(np.float64)
    return total / np.maximum(level.areas + touched - total, 1)


class Taken(NamedTuple):
    """Regions that were taken.

    Attributes:
        mask: bool (H, W), all of them.
        worth: their worth, by area; 0 where there is none.
    """

    mask: np.ndarray
    worth: float


def best_of(levels: Sequence[Regions], worths: Sequence[np.ndarray], least: float) -> Taken:
    """The best regions, none of which overlaps a better one.

    Args:
        levels: of one picture.
        worths: of each level, float64 (N,).
        least: what one must be worth.
    """
    good = [
        (-float(worth[number]), place, int(number))
        for place, worth in enumerate(worths)
        for number in np.flatnonzero(worth > least)
    ]
    mask = np.zeros(levels[0].labels.shape, bool)
    total = 0.0
    for loss, place, number in sorted(good):
        left, top, right, bottom = levels[place].boxes[number]
        window = mask[top:bottom, left:right]
        region = levels[place].labels[top:bottom, left:right] == number
        if not (window & region).any():
            window |= region
            total -= loss * float(levels[place].areas[number])
    return Taken(mask, total / max(1, int(np.count_nonzero(mask))))


def large_enough(level: Regions, least_area: float) -> np.ndarray:
    """bool (N,): are they regions that can be judged, and no specks?"""
    fine = level.areas >= max(_LEAST_AREA, least_area)
    fine[0] = False
    return fine
