"""A region in one picture -> the same thing's region in the pictures that follow. (Notebook section 7.)

For what no face can vouch for: a box drawn by hand, a dancer upside down, an animal. Three witnesses are heard at every
sampled picture: where optical flow carries the last region; colours, learnt as it goes from inside and around it;
and the background model: what the pictures before and after, moved into register, show at the same place. What differs
from it is in motion. Classic parts (background subtraction; colour models as in GrabCut, Rother et al. 2004), put
together for a moving camera and a constant memory. Figures: benchmarks/video.py, part masks.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from scipy.ndimage import gaussian_filter

from ..engines.protocols import BoxSegmenter
from ..geometry import follow_edges, mask_box, mask_iou
from .flow import Flow

_BINS = 16  # per channel of Lab
# Weights of the witnesses, in log-odds. Chosen on DAVIS breakdance (much motion, a crowd) and on Penn-Fudan pedestrians
# shown for two seconds by a slightly shaking camera (no motion at all).
_COLOUR, _COLOUR_MOST = 0.8, 3.0
_BACKGROUND_SAME, _BACKGROUND_SOFT, _BACKGROUND_MOST = 30.0, 10.0, 2.0  # grey levels
# What was propagated far is blurred far: pixels at working size at the least, and share of the way it came.
_PROPAGATED_SOFT = (3.0, 1.0)
_PROPAGATED_MOST = (-3.0, 2.0)
_STEADY = 1.0  # pixels at working size: what moved less is trusted up to three times as much
_OPINION_MOST = 4.0
_AGREES = (0.6, 0.8)  # IoU of the segmenter's opinion with what is believed: below, it is not heard; above, wholly
_REACH, _REACH_FRAMES = (
    8,
    20,
)  # pictures on each side that make the background model, and the frames they are spread over
_LEARN = 0.2  # share of the newest picture in the colours of the thing
_MOVING = (0.3, 0.6)  # share of a region that differs from the background model: below, it rests; above, it moves
_GROWTH = 1.15  # from one sampled picture to the next
_LEAST_ALIKE = 0.35  # likeness of colours with the first picture's below which it is something else
_LEAST_LEFT = 0.15  # below this share of its recent maximum area the object counts as lost
_LEAST_AREA = 30  # pixels at working size
_GAP = 15  # pixels at working size: twice what may lie between two parts of one thing

Opinion = Callable[[int, np.ndarray, np.ndarray], np.ndarray | None]


@dataclass
class _Still:
    """One sampled picture: as it is, and how it lies to the sample before."""

    number: int
    image: np.ndarray
    lab: np.ndarray
    grey: np.ndarray
    back: np.ndarray | None  # float32 (h, w, 2): displacement to the sample before
    register: np.ndarray  # 3 x 3: this picture's still ground -> the sample before's
    region: np.ndarray | None = None


class Propagator:
    """Follow one region through the pictures of a shot; memory does not grow with its length.

    Args:
        flow: shared working size.
    """

    def __init__(self, flow: Flow | None = None):
        self.flow = flow or Flow()

    def follow(
        self,
        pictures: Iterable[tuple[np.ndarray, bool]],
        sampling: int,
        seed: np.ndarray,
        opinion: Opinion | None = None,
        mask: np.ndarray | None = None,
    ) -> Iterator[tuple[int, np.ndarray]]:
        """The region at every sampled picture.

        Args:
            pictures: (BGR at working size (see `Flow.small`), is it sampled) for every frame of one shot; the seed's
                comes first and is sampled.
            sampling: about how many frames lie between two samples; between them flow alone is followed.
            seed: float32 (h, w), log-odds that a pixel of the first picture is the thing's; below -6 it cannot be.
            opinion: a segmenter's word on (number of the picture, picture, xyxy box): float32 (h, w) 0..1, or None.
                It is heard as far as it agrees with the other witnesses.
            mask: bool (h, w), the region in the first picture where it is known already; `seed` is then not used.

        Yields:
            (number of the picture, float32 (h, w) 0..1). Once the thing is lost, zeros.
        """
        stride = max(1, round(_REACH_FRAMES / _REACH / sampling))
        keep = _REACH * stride
        past: deque[_Still] = deque(maxlen=keep)
        ahead: deque[_Still] = deque()
        stills = self._stills(pictures)
        thing: np.ndarray | None = None
        around: np.ndarray | None = None
        first: np.ndarray | None = None
        peak = 0.0
        while True:
            while len(ahead) <= keep and (still := next(stills, None)) is not None:
                ahead.append(still)
            if not ahead:
                return
            now = ahead.popleft()
            if first is not None and (not past or past[-1].region is None):
                yield now.number, np.zeros(now.grey.shape, np.float32)
                continue
            if first is None and mask is not None:
                believed = mask
                propagated = 3 * np.clip(_signed_distance(mask) / _PROPAGATED_SOFT[0], *_PROPAGATED_MOST)
                near = cv2.dilate(mask.astype(np.uint8), np.ones((61, 61), np.uint8)) > 0
                thing, around = _colours(now.lab, mask), _colours(now.lab, near & ~mask)
            elif first is None:
                propagated, believed = seed, seed > -6
            else:
                before, back = past[-1].region, now.back
                assert before is not None and back is not None  # the picture before was followed to here
                believed = self.flow.fetch(before.astype(np.float32), back) > 0.5
                propagated = _propagated(now, believed)
            moving, trust = self._moving(now, list(past)[::-1], list(ahead), stride, believed)
            view = _View(now, propagated + moving, believed)
            region, probability, thing_now, around_now = view.settle(thing, around)
            if first is not None and np.count_nonzero(region) > _GROWTH * np.count_nonzero(believed):
                # Nothing grows so fast: something alike beside it has been taken in. Hold to where it was.
                view.odds += propagated
                region, probability, thing_now, around_now = view.settle(thing, around)
            if opinion is not None and (box := mask_box(believed)) is not None:
                said = opinion(now.number, now.image, box)
                agree = mask_iou(said > 0.5, region) if said is not None else 0.0
                weight = float(np.clip((agree - _AGREES[0]) / (_AGREES[1] - _AGREES[0]), 0, 1))
                if first is None and said is not None:
                    weight = max(weight, 1 - trust)  # nothing moves yet: the segmenter knows better than colours
                if weight and said is not None:
                    view.odds += weight * _log_odds(said)
                    region, probability, thing_now, around_now = view.settle(thing, around)
            alike = 1.0 if first is None else float(np.sqrt(thing_now * first).sum())
            area = int(np.count_nonzero(region))
            peak = max(0.98 * peak, area)
            if area < max(_LEAST_AREA, _LEAST_LEFT * peak) or alike < _LEAST_ALIKE:
                first = thing_now if first is None else first
                past.append(now)
                yield now.number, np.zeros(now.grey.shape, np.float32)
                continue
            first = thing_now if first is None else first
            thing = thing_now if thing is None else (1 - _LEARN) * thing + _LEARN * thing_now
            around = around_now if around is None else (around + around_now) / 2
            now.region = region
            past.append(now)
            yield now.number, probability

    def _stills(self, pictures: Iterable[tuple[np.ndarray, bool]]) -> Iterator[_Still]:
        before, back, last = None, None, None
        for number, (image, sampled) in enumerate(pictures):
            grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
            if last is not None:
                step = self.flow.between(grey, last)
                back = step if back is None else step + self.flow.fetch(back, step)
            last = grey
            if sampled:
                register = np.eye(3) if before is None else _register(grey, before)
                yield _Still(number, image, _binned(image), grey, back, register)
                before, back = grey, None

    def _moving(
        self, now: _Still, past: list[_Still], ahead: list[_Still], stride: int, believed: np.ndarray
    ) -> tuple[np.ndarray, float]:
        """Log-odds that a pixel shows something that is not there before and after, 0 where nothing can be said; and
        how much of what is believed moves, 0..1."""
        box = mask_box(cv2.dilate(believed.astype(np.uint8), np.ones((61, 61), np.uint8)) > 0)
        result = np.zeros(now.grey.shape, np.float32)
        if box is None:
            return result, 0.0
        x0, y0, x1, y1 = (int(v) for v in box)
        stack: list[np.ndarray] = []
        known: list[np.ndarray] = []

        def add(still: _Still, to: np.ndarray) -> None:
            # Moved so that its still ground lies on this picture's, cut to the box.
            shift = np.array([[1, 0, x0], [0, 1, y0], [0, 0, 1]], np.float64)
            size, flags = (x1 - x0, y1 - y0), cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
            stack.append(
                cv2.warpPerspective(still.image, to @ shift, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
            )
            free = np.ones(size[::-1], bool)
            if still.region is not None:
                theirs = cv2.dilate(still.region.astype(np.uint8), np.ones((5, 5), np.uint8))
                free = (
                    cv2.warpPerspective(theirs, to @ shift, size, flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP) == 0
                )
            known.append(free)

        to = now.register
        for i, still in enumerate(past):
            if i % stride == 0:
                add(still, to)
            to = still.register @ to
        count = len(stack)
        to = np.eye(3)
        for i, still in enumerate(ahead):
            to = np.linalg.inv(still.register) @ to
            if i % stride == stride - 1:
                add(still, to)
        if not stack:
            return result, 0.0
        background, sure = _median(np.stack(stack), np.stack(known))
        proven = np.stack(known[:count]).any(0) if count else np.zeros(sure.shape, bool)
        apart = np.abs(now.image[y0:y1, x0:x1].astype(np.float32) - background).max(2)
        odds = (cv2.blur(apart, (3, 3)) - _BACKGROUND_SAME) / _BACKGROUND_SOFT
        odds = np.where(sure, np.clip(odds, -_BACKGROUND_MOST, _BACKGROUND_MOST), 0).astype(np.float32)
        # A background model that looks like most of the thing is a picture of the thing at rest: it is no evidence
        # against it, except where the ground was seen without it.
        inside = believed[y0:y1, x0:x1] & sure
        share = float((odds[inside] > 0).mean()) if inside.any() else 0.0
        trust = float(np.clip((share - _MOVING[0]) / (_MOVING[1] - _MOVING[0]), 0, 1))
        odds = np.where((odds < 0) & ~proven, trust * odds, odds)
        result[y0:y1, x0:x1] = odds
        return result, trust


def box_opinion(segmenter: BoxSegmenter, picture: np.ndarray, box: np.ndarray) -> np.ndarray:
    """What a segmenter makes of a box, as `Propagator.follow` hears it: float32 (h, w) 0..1.

    Args:
        segmenter: the engine.
        picture: uint8 (h, w, 3), BGR.
        box: xyxy pixels of the picture.
    """
    segment = segmenter.by_box(segmenter.encode(picture), [box])[0]
    return (segment.mask if segment.alpha is None else segment.alpha / 255).astype(np.float32)


def box_seed(shape: tuple[int, int], box: np.ndarray) -> np.ndarray:
    """Log-odds (h, w) for `Propagator.follow` from a box, both at working size."""
    odds = np.full(shape, -8.0, np.float32)
    x0, y0, x1, y1 = (round(float(v)) for v in box)
    odds[max(0, y0) : max(y1, y0 + 1), max(0, x0) : max(x1, x0 + 1)] = 1
    return odds


@dataclass
class _View:
    """What is said of one picture before colours are heard: log-odds (h, w), and the region believed so far."""

    still: _Still
    odds: np.ndarray
    believed: np.ndarray

    def settle(self, thing: np.ndarray | None, around: np.ndarray | None):
        """The region that all witnesses agree on: bool, its probability, and the colours of it and around it."""
        region = self.believed
        if thing is None and np.count_nonzero(region & (self.odds > 1.5)) >= _LEAST_AREA:
            region = region & (self.odds > 1.5)
        probability, mine, other = None, None, None
        for _ in range(3 if thing is None else 2):
            near = cv2.dilate(region.astype(np.uint8), np.ones((61, 61), np.uint8)) > 0
            mine, other = _colours(self.still.lab, region), _colours(self.still.lab, near & ~region)
            inside = mine if thing is None else (1 - _LEARN) * thing + _LEARN * mine
            outside = other if around is None else (around + other) / 2
            ratio = np.log((inside[self.still.lab] + 2e-5) / (outside[self.still.lab] + 2e-5))
            odds = _COLOUR * np.clip(ratio, -_COLOUR_MOST, _COLOUR_MOST) + self.odds
            first = (1 / (1 + np.exp(-odds))).astype(np.float32)
            probability = follow_edges(self.still.image, first, 3, 1e-3, rim=False)
            region = main_parts(probability > 0.5, self.believed)
            if not region.any():
                break
        rim = cv2.dilate(region.astype(np.uint8), np.ones((3, 3), np.uint8))
        return region, (probability * rim).astype(np.float32), mine, other


def _propagated(now: _Still, believed: np.ndarray) -> np.ndarray:
    """Log-odds by distance to the edge of what was propagated here; the surer, the less it moved."""
    if now.back is None or not believed.any():
        return np.zeros(believed.shape, np.float32)
    still = cv2.perspectiveTransform(np.argwhere(believed)[:, None, ::-1].astype(np.float64), now.register)[:, 0]
    moved = np.argwhere(believed)[:, ::-1] + now.back[believed] - still
    way = float(np.percentile(np.linalg.norm(moved, axis=1), 75))
    soft = _PROPAGATED_SOFT[0] + _PROPAGATED_SOFT[1] * way
    sure = 1 + 2 * float(np.exp(-way / _STEADY))
    return sure * np.clip(_signed_distance(believed) / soft, *_PROPAGATED_MOST)


def _log_odds(probability: np.ndarray) -> np.ndarray:
    return np.clip(np.log((probability + 1e-3) / (1 - probability + 1e-3)), -_OPINION_MOST, _OPINION_MOST)


def main_parts(found: np.ndarray, believed: np.ndarray) -> np.ndarray:
    """The main part of a region, and the parts near it that are not small and lie where it was propagated to."""
    found = cv2.morphologyEx(found.astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    count, labels, stats, _ = cv2.connectedComponentsWithStats(found)
    if count < 2:
        return found > 0
    area = stats[1:, cv2.CC_STAT_AREA]
    held = np.bincount(labels[believed], minlength=count)[1:]
    if not held.any():
        return np.zeros(found.shape, bool)
    sure = held > 0.2 * area
    main = 1 + int(np.where(sure, area, 0).argmax() if sure.any() else held.argmax())
    near = np.zeros(count, bool)
    near[np.unique(labels[cv2.dilate((labels == main).astype(np.uint8), np.ones((_GAP, _GAP), np.uint8)) > 0])] = True
    keep = near[1:] & (area > 0.02 * area.max()) & (held > 0.2 * area)
    keep[main - 1] = True
    return np.isin(labels, 1 + np.flatnonzero(keep))


def _binned(image: np.ndarray) -> np.ndarray:
    """Index of every pixel's Lab colour among _BINS ** 3."""
    lab = cv2.cvtColor(image, cv2.COLOR_BGR2LAB).astype(np.int32) * _BINS // 256
    return (lab[..., 0] * _BINS + lab[..., 1]) * _BINS + lab[..., 2]


def _colours(binned: np.ndarray, where: np.ndarray) -> np.ndarray:
    """Share of each colour, slightly blurred: float64 (_BINS ** 3,), sum 1 (or 0 of nothing)."""
    counts = np.bincount(binned[where], minlength=_BINS**3).astype(np.float64)
    counts = gaussian_filter(counts.reshape((_BINS,) * 3), 1.0).ravel()
    return counts / max(counts.sum(), 1e-9)


def _signed_distance(mask: np.ndarray) -> np.ndarray:
    """Pixels to the mask's edge: positive inside."""
    mask = mask.astype(np.uint8)
    return cv2.distanceTransform(mask, cv2.DIST_L2, 5) - cv2.distanceTransform(1 - mask, cv2.DIST_L2, 5)


def _register(here: np.ndarray, there: np.ndarray) -> np.ndarray:
    """Homography of the still ground, here -> there (KLT points, RANSAC); identity where there is too little of it."""
    points = cv2.goodFeaturesToTrack(here, 400, 0.01, 6)
    if points is None or len(points) < 12:
        return np.eye(3)
    moved, found, _ = cv2.calcOpticalFlowPyrLK(here, there, points, None)
    good = found.ravel() > 0
    if np.count_nonzero(good) < 12:
        return np.eye(3)
    cv2.setRNGSeed(0)  # the same bytes every time
    matrix, _ = cv2.findHomography(points[good], moved[good], cv2.RANSAC, 2.0)
    return np.eye(3) if matrix is None else matrix


def _median(stack: np.ndarray, known: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Median over the known (n, h, w) of pictures (n, h, w, 3): float32 (h, w, 3), and where there is one."""
    values = np.where(known[..., None], stack, np.uint16(999)).astype(np.uint16)
    values.sort(axis=0)  # the unknown last
    count = known.sum(0)
    middle = np.maximum(count - 1, 0) // 2
    background = np.take_along_axis(values, middle[None, ..., None].repeat(3, -1), 0)[0]
    return background.astype(np.float32), count > 0
