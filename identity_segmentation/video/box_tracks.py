"""Boxes found in one picture after another -> tracks: which box is whose, from picture to picture.

The two thresholds of ByteTrack (Zhang et al., ECCV 2022): a sure box begins a track, a faint one only goes on with one.
Boxes and tracks are matched one to one, by overlap with where the track should be by now, distance, and colours. A
track counts once it was seen several times, so that what flickers up in one picture is no object.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
from scipy.optimize import linear_sum_assignment

from ..geometry import box_iou
from .clothes import colour_likeness
from .flow import Flow

LOST = 12  # sampled pictures that a track outlives unseen
_COUNTS = 3  # sightings from which a track is an object
_OVERLAPS = 0.5  # IoU from which a box may be a track's
_FAR = 0.2  # of the box's side: how far the centre may lie from where the track should be, where the overlap is small
_RESIZED = 1.5  # and how many times larger or smaller its sides may be
_ALIKE = 0.6  # likeness of colours below which a box is not the track's
_NEWEST = 0.2  # share of the newest sighting in a track's colours
_INSET = 0.2  # of a box's sides: what is left off on each side, its middle is the thing's
_SAMPLES = 48  # pixels a side at which colours are counted
_TAKEN = 0.35  # IoU with a box that is taken from which a box is no thing of its own
_BINS = (8, 8, 8)  # of Lab
_PART, _WEAKER = 0.7, 0.8  # a track this far inside another one, with this share of its score, is a part of that thing

Sighting = tuple[np.ndarray, float]  # box float32 (4,), score 0..1


@dataclass
class _Track:
    """One thing: when it was last seen, where it should be in the newest picture, and everything seen of it."""

    key: Hashable
    at: int
    box: np.ndarray
    colours: np.ndarray
    known: bool
    seen: dict[int, Sighting] = field(default_factory=dict)

    def see(self, index: int, box: np.ndarray, score: float, colours: np.ndarray) -> None:
        self.box, self.at = box.astype(np.float64), index
        self.colours = (1 - _NEWEST) * self.colours + _NEWEST * colours
        self.seen[index] = (box, score)


class BoxTracks:
    """Tracks of the boxes of one kind of thing through a clip.

    Args:
        sure: score from which a box begins a track.
        faint: score from which a box goes on with one.
    """

    def __init__(self, sure: float, faint: float):
        self.sure, self.faint = sure, faint
        self._flow = Flow()
        self._grey: np.ndarray | None = None
        self._tracks: list[_Track] = []
        self._pictures = 0
        self._shot = 0

    def begin(self, key: Hashable, box: np.ndarray, image: np.ndarray) -> None:
        """A track that is known from the picture before the first one.

        Args:
            key: the id of the thing.
            box: xyxy pixels.
            image: uint8 (H, W, 3), the first picture; the colours there are taken for its own.
        """
        self._tracks.append(_Track(key, -1, box.astype(np.float64), _colours(image, box), True))

    def cut(self) -> None:
        """Whatever was followed ends here: another shot begins."""
        self._shot, self._grey = len(self._tracks), None

    def update(self, index: int, image: np.ndarray, boxes: Sequence[np.ndarray], scores: Sequence[float]) -> None:
        """Match the boxes of the next picture.

        Args:
            index: of the picture.
            image: uint8 (H, W, 3).
            boxes: float32 (4,) each, xyxy pixels.
            scores: 0..1, of each box.
        """
        self._pictures += 1
        free = [t for t in self._tracks[self._shot :] if index - t.at <= LOST]
        self._carry(free, image)
        colours = [_colours(image, box) for box in boxes]
        strong = [i for i, score in enumerate(scores) if score >= self.sure]
        weak = [i for i, score in enumerate(scores) if self.faint <= score < self.sure]
        held: list[tuple[np.ndarray, float]] = []
        for chosen in (strong, weak):
            pairs = _matched(free, [boxes[i] for i in chosen], [colours[i] for i in chosen])
            for t, b in pairs:
                i = chosen[b]
                free[t].see(index, boxes[i], scores[i], colours[i])
                held.append((boxes[i], scores[i]))
            if chosen is strong:
                fresh = [i for n, i in enumerate(strong) if n not in {b for _, b in pairs}]
            free = [t for n, t in enumerate(free) if n not in {t for t, _ in pairs}]
        for i in sorted(fresh, key=lambda i: -scores[i]):
            if _is_new(boxes[i], scores[i], held):
                track = _Track(("thing", len(self._tracks)), index, boxes[i], colours[i], False)
                track.see(index, boxes[i], scores[i], colours[i])
                self._tracks.append(track)
                held.append((boxes[i], scores[i]))

    def _carry(self, tracks: Sequence[_Track], image: np.ndarray) -> None:
        """Move the boxes of tracks along the optical flow from the picture before to this one."""
        grey = self._flow.grey(image)
        before, self._grey = self._grey, grey
        if before is None or not tracks:
            return
        motion = self._flow.between(before, grey)
        scale = np.array(image.shape[1::-1]) / grey.shape[::-1]
        for track in tracks:
            x0, y0, x1, y1 = _middle(track.box / np.tile(scale, 2), grey.shape)
            track.box = track.box + np.tile(np.median(motion[y0:y1, x0:x1].reshape(-1, 2), axis=0) * scale, 2)

    def things(self) -> dict[Hashable, dict[int, Sighting]]:
        """Every track that counts, with what lies between its sightings filled in: key -> index -> (box, score)."""
        least = min(_COUNTS, self._pictures)
        counted = {t.key: t.seen for t in self._tracks if len(t.seen) >= (1 if t.known else least)}
        return {key: _filled(seen) for key, seen in _without_doubles(counted).items()}


def _is_new(box: np.ndarray, score: float, held: Sequence[tuple[np.ndarray, float]]) -> bool:
    """Is a box a thing of its own: none of those that are held, no weaker part of one, no group of them?"""
    if not held:
        return True
    others = np.array([b for b, _ in held], np.float64)
    shared = np.clip(np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2]), 0, None).prod(1)
    own, theirs = float((box[2:] - box[:2]).prod()), (others[:, 2:] - others[:, :2]).prod(1)
    if (shared / (own + theirs - shared) > _TAKEN).any():
        return False
    if ((shared / own > _PART) & (score < _WEAKER * np.array([s for _, s in held]))).any():
        return False
    return int(np.count_nonzero(shared / theirs > _PART)) < 2


def _matched(
    tracks: Sequence[_Track], boxes: Sequence[np.ndarray], colours: Sequence[np.ndarray]
) -> list[tuple[int, int]]:
    """One-to-one pairs (track, box) of the largest total likeness."""
    if not tracks or not boxes:
        return []
    there, here = np.array([t.box for t in tracks], np.float64), np.array(boxes, np.float64)
    overlap = box_iou(there, here)
    side = np.sqrt((there[:, 2:] - there[:, :2]).clip(1).prod(1))[:, None]
    middles, places = (there[:, :2] + there[:, 2:]) / 2, (here[:, :2] + here[:, 2:]) / 2
    away = np.linalg.norm(middles[:, None] - places[None], axis=-1) / side
    sizes = np.log((here[:, 2:] - here[:, :2]).clip(1))[None] - np.log((there[:, 2:] - there[:, :2]).clip(1))[:, None]
    alike = np.array([[colour_likeness(t.colours, c) for c in colours] for t in tracks])
    near = (away < _FAR) & (np.abs(sizes).max(-1) < np.log(_RESIZED))
    allowed = ((overlap >= _OVERLAPS) | near) & (alike >= _ALIKE)
    likeness = np.where(allowed, overlap + 0.5 * np.clip(1 - away, 0, 1) + 0.5 * alike, 0.0)
    rows, columns = linear_sum_assignment(-likeness)
    return [(int(r), int(c)) for r, c in zip(rows, columns, strict=True) if allowed[r, c]]


def _without_doubles(tracks: Mapping[Hashable, dict[int, Sighting]]) -> dict[Hashable, dict[int, Sighting]]:
    """Tracks less those that, most of their time, follow a part of a better one."""
    kept: dict[Hashable, dict[int, Sighting]] = {}
    order = sorted(tracks, key=lambda k: -sum(score for _, score in tracks[k].values()))
    for key in order:
        mine = tracks[key]
        if not any(_doubles(mine, theirs) for theirs in kept.values()):
            kept[key] = mine
    return {key: kept[key] for key in tracks if key in kept}


def _doubles(mine: dict[int, Sighting], theirs: dict[int, Sighting]) -> bool:
    common = sorted(set(mine) & set(theirs))
    if len(common) < 0.6 * len(mine):
        return False
    a, b = (np.array([seen[i][0] for i in common], np.float64) for seen in (mine, theirs))
    shared = np.clip(np.minimum(a[:, 2:], b[:, 2:]) - np.maximum(a[:, :2], b[:, :2]), 0, None).prod(1)
    own = (a[:, 2:] - a[:, :2]).prod(1)
    scores = [np.mean([seen[i][1] for i in common]) for seen in (mine, theirs)]
    return float(np.mean(shared / own)) > _PART and bool(scores[0] < _WEAKER * scores[1])


def _filled(seen: dict[int, Sighting]) -> dict[int, Sighting]:
    """Sightings, with boxes on straight lines where some are missing between two."""
    indices = sorted(seen)
    boxes = np.array([seen[i][0] for i in indices], np.float64)
    scores = np.array([seen[i][1] for i in indices])
    whole = range(indices[0], indices[-1] + 1)
    lines = np.stack([np.interp(whole, indices, boxes[:, k]) for k in range(4)], 1).astype(np.float32)
    heights = np.interp(whole, indices, scores)
    return {index: (lines[n], float(heights[n])) for n, index in enumerate(whole)}


def _middle(box: np.ndarray, shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    """The middle of a box, 1 pixel at the least, within an image of `shape`: whole numbers, xyxy."""
    inset = np.tile(_INSET * (box[2:] - box[:2]), 2) * (1, 1, -1, -1)
    x0, y0, x1, y1 = (round(float(v)) for v in box + inset)
    left, top = min(max(0, x0), shape[1] - 1), min(max(0, y0), shape[0] - 1)
    return left, top, min(max(x1, left + 1), shape[1]), min(max(y1, top + 1), shape[0])


def _colours(image: np.ndarray, box: np.ndarray) -> np.ndarray:
    """Colours of the middle of a box: shares (N,), sum 1."""
    x0, y0, x1, y1 = _middle(box, image.shape)
    part = image[y0:y1, x0:x1]
    size = (min(_SAMPLES, x1 - x0), min(_SAMPLES, y1 - y0))
    lab = cv2.cvtColor(cv2.resize(part, size, interpolation=cv2.INTER_AREA), cv2.COLOR_BGR2Lab)
    counts = cv2.calcHist([lab], [0, 1, 2], None, list(_BINS), [0, 256, 96, 192, 96, 192]).ravel() + 1e-6
    return counts / counts.sum()
