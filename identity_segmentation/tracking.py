"""Sampled frames -> tracks between cuts -> names over whole tracks. (Notebook section 7.)

A track is one head followed between two cuts. A face carries it; while the face is turned away the body does, as long
as the clothes below still look as they did. After a cut, or where two bodies merge, a new track begins and its name
must be earned again. Names are given to tracks, not frames: every face of a track is evidence, and no name is given
twice to people who are on screen together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

import cv2
import numpy as np
from scipy.optimize import Bounds, LinearConstraint, linear_sum_assignment, milp
from scipy.sparse import lil_matrix

from .geometry import box_iou
from .rule import NamingRule
from .types import Face

_LOOK_BINS = (12, 6, 6)  # hue, saturation, value of the clothes
_LOOK_LEAST = 0.70  # Bhattacharyya coefficient below which the clothes alone are somebody else's
_LOOK_OTHER = 0.50  # ... and below which even a face in the right place is (one person: 0.78 and more)
# Correlation of two samples' layout, and likeness of their colours, below which they are two shots. Across real cuts
# 0.0-0.4 and 0.7-0.85, within shots above 0.4 (fast pans) and 0.93 were seen.
_CUT_LAYOUT, _CUT_COLOURS = 0.5, 0.92
_MERGED = 0.5  # IoU of two people's upper bodies above which a turned-away one is lost in the other
_GATE = 1.5  # face sides that a head may move between samples beyond what was predicted
_FULL_FACE = 60.0  # pixels across a face from which more of it is no more evidence


@dataclass(frozen=True)
class TrackPoint:
    """One track in one sampled frame.

    Attributes:
        box: the head, xyxy pixels.
        evidence: what it rests on, "face" or "body".
        face: index among the sample's faces, or None.
        clothes: how much the clothes look as they did, 0..1; 1 where nothing can be said.
    """

    track: int
    box: tuple[float, float, float, float]
    evidence: str
    face: int | None = None
    clothes: float = 1.0


@dataclass
class _Live:
    """A track while it is followed; plain numbers, so that it can be stored and taken up again."""

    id: int
    box: list[float]
    velocity: list[float] = field(default_factory=lambda: [0.0, 0.0])
    lost: int = 0
    look: list[float] | None = None


class SimpleTracker:
    """Follow heads through the samples of one shot; call `reset` at a cut.

    Association is by IoU and distance to where the head was predicted to be (constant velocity), Hungarian. A head
    without a face lives on while its clothes are recognised, and is dropped after `max_lost` samples without either.

    Args:
        max_lost: samples that a track outlives without evidence.
    """

    def __init__(self, max_lost: int = 5):
        self.max_lost = max_lost
        self._next, self._live = 1, []

    def reset(self) -> None:
        """Forget all live tracks; ids go on counting."""
        self._live = []

    def state(self) -> dict:
        """Everything needed to go on from here, as plain JSON values."""
        return {"next": self._next, "live": [vars(t).copy() for t in self._live]}

    def restore(self, state: dict) -> None:
        """Take up a state that `state` gave."""
        self._next, self._live = int(state["next"]), [_Live(**t) for t in state["live"]]

    def update(self, faces: Sequence[Face], image_bgr: np.ndarray | None = None) -> list[TrackPoint]:
        """Follow on to the next sample.

        Args:
            faces: of this sample; embeddings are not needed.
            image_bgr: uint8 (H, W, 3), for the clothes; without it faces alone are followed.

        Returns:
            One point per track that is seen; tracks that are only waited for have none.
        """
        predicted = [_moved(t.box, t.velocity) for t in self._live]
        looks = [None if image_bgr is None else _look(image_bgr, face.box) for face in faces]
        matched = self._associate(faces, looks, predicted)
        points: list[TrackPoint] = []
        taken = set()
        for index, track in enumerate(self._live):
            k = matched.get(index)
            if k is None:
                continue
            taken.add(k)
            box = [float(v) for v in faces[k].box]
            step = np.array(_centre(box)) - _centre(track.box)
            # Half of the surprise: a nod must not throw the head out of the picture.
            track.velocity = [float(v) for v in 0.5 * np.array(track.velocity) + 0.5 * step / (track.lost + 1)]
            track.box, track.lost = box, 0
            alike = 1.0 if looks[k] is None or track.look is None else _alike(looks[k], np.array(track.look))
            track.look = _blend(track.look, looks[k])
            points.append(TrackPoint(track.id, tuple(box), "face", k, alike))
        for k, face in enumerate(faces):
            if k not in taken:
                box = [float(v) for v in face.box]
                self._live.append(_Live(self._next, box, look=_blend(None, looks[k])))
                points.append(TrackPoint(self._next, tuple(box), "face", k))
                self._next += 1
        points += self._by_body(points, image_bgr, matched, predicted)
        self._live = [t for t in self._live if t.lost <= self.max_lost]
        return points

    def _associate(self, faces: Sequence[Face], looks: list, predicted: list[list[float]]) -> dict[int, int]:
        if not faces or not predicted:
            return {}
        boxes = np.stack([f.box for f in faces])
        expected = np.array(predicted, np.float32)
        overlap = box_iou(expected, boxes)
        apart = np.linalg.norm(_centres(expected)[:, None] - _centres(boxes)[None], axis=-1)
        side = (expected[:, 2] - expected[:, 0])[:, None]
        sizes = (boxes[:, 2] - boxes[:, 0])[None] / side
        patience = np.array([1 + 0.3 * t.lost for t in self._live])[:, None]
        possible = (apart < _GATE * side * patience) & (sizes > 0.5) & (sizes < 2.0)
        for i, track in enumerate(self._live):
            for k, look in enumerate(looks):
                if look is not None and track.look is not None and _alike(look, np.array(track.look)) < _LOOK_OTHER:
                    possible[i, k] = False
        cost = np.where(possible, apart / side - overlap, 1e3)
        rows, columns = linear_sum_assignment(cost)
        return {int(r): int(c) for r, c in zip(rows, columns, strict=True) if cost[r, c] < 1e3}

    def _by_body(self, points, image_bgr, matched, predicted) -> list[TrackPoint]:
        found: list[TrackPoint] = []
        seen = {p.track for p in points}
        others = [_body(p.box) for p in points]
        for index, track in enumerate(self._live[: len(predicted)]):
            if track.id in seen or index in matched:
                continue
            track.lost += 1
            box = predicted[index]
            if image_bgr is None or track.look is None or not _inside(box, image_bgr.shape):
                continue
            if others and box_iou(_body(box), np.stack(others)).max() > _MERGED:
                track.lost = self.max_lost + 1  # two bodies in one place: whoever comes out must earn the name again
                continue
            look = _look(image_bgr, box)
            alike = 0.0 if look is None else _alike(look, np.array(track.look))
            if alike >= _LOOK_LEAST:
                track.box = box
                track.velocity = [0.5 * v for v in track.velocity]
                track.lost = 0 if track.lost <= 1 else track.lost - 1
                found.append(TrackPoint(track.id, tuple(box), "body", None, alike))
        return found


def _centre(box) -> tuple[float, float]:
    return (box[0] + box[2]) / 2, (box[1] + box[3]) / 2


def _centres(boxes: np.ndarray) -> np.ndarray:
    return (boxes[:, :2] + boxes[:, 2:]) / 2


def _moved(box, velocity) -> list[float]:
    dx, dy = velocity
    return [box[0] + dx, box[1] + dy, box[2] + dx, box[3] + dy]


def _body(box) -> np.ndarray:
    """The upper body under a head: what two people cannot share."""
    x, _ = _centre(box)
    side = box[2] - box[0]
    return np.array([x - 1.2 * side, box[1], x + 1.2 * side, box[3] + 2.2 * side], np.float32)


def _inside(box, shape) -> bool:
    x, y = _centre(box)
    return 0 <= x < shape[1] and 0 <= y < shape[0]


def _look(image_bgr: np.ndarray, box) -> np.ndarray | None:
    """Colours of the clothes below a head: a normalised histogram, or None if they are out of the picture."""
    height, width = image_bgr.shape[:2]
    x, side = _centre(box)[0], box[2] - box[0]
    x0, x1 = int(max(0, x - 0.8 * side)), int(min(width, x + 0.8 * side))
    y0, y1 = int(max(0, box[3] + 0.3 * side)), int(min(height, box[3] + 2.0 * side))
    if x1 - x0 < 6 or y1 - y0 < 6:
        return None
    patch = image_bgr[y0:y1, x0:x1]
    factor = min(1.0, 48 / max(patch.shape[:2]))
    patch = cv2.resize(patch, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA) if factor < 1 else patch
    hsv = cv2.cvtColor(patch, cv2.COLOR_BGR2HSV)
    histogram = cv2.calcHist([hsv], [0, 1, 2], None, list(_LOOK_BINS), [0, 180, 0, 256, 0, 256]).ravel()
    return histogram / max(float(histogram.sum()), 1e-9)


def _blend(old, new):
    """A running mean of looks, as plain numbers; the past weighs four fifths."""
    if new is None:
        return old
    return new.tolist() if old is None else (0.8 * np.array(old) + 0.2 * new).tolist()


def _alike(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.sqrt(a * b).sum())


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
        colours, correlation = _alike(histogram, before[0]), float((layout * before[1]).mean())
        return (correlation < _CUT_LAYOUT and colours < _CUT_COLOURS) or colours < 0.5


def first_of_shot(pictures: Sequence[np.ndarray]) -> int:
    """Where the new shot begins, if there is one cut between the first and the last of these (grey or colour)."""
    if len(pictures) < 2:
        return 0
    return 1 + int(np.argmax([float(cv2.absdiff(a, b).mean()) for a, b in pairwise(pictures)]))


# ---- names over tracks


@dataclass(frozen=True)
class TrackName:
    """What a whole track says of who it is.

    Attributes:
        track: its id.
        name: the person, or None.
        similarity: weighted mean of its faces' similarities to `nearest`.
        margin: `similarity` less the runner-up's.
        runner_up, nearest: people, or None.
        faces: number of faces behind it.
        by_hand: a person said so.
    """

    track: int
    name: str | None
    similarity: float
    margin: float
    runner_up: str | None
    nearest: str | None
    faces: int
    by_hand: bool = False


def name_tracks(
    evidence: dict[int, list[tuple[float, np.ndarray]]],
    together: Sequence[Sequence[int]],
    people: Sequence[str],
    rule: NamingRule,
) -> dict[int, TrackName]:
    """Name tracks one-to-one over everything that is on screen at the same time.

    The assignment is exact: it maximises the total evidence above the threshold, under "one name a track" and "one
    track a name" in every set of tracks that are seen together (a mixed-integer program, solved by HiGHS).

    Args:
        evidence: track -> [(weight, similarities to `people` (P,))], one per face seen.
        together: sets of tracks that share a sampled frame.
        people: the gallery's names, P of them.
        rule: when a name is given.
    """
    tracks = sorted(evidence)
    scores = {}
    for track in tracks:
        weights = np.array([w for w, _ in evidence[track]])
        rows = np.stack([s for _, s in evidence[track]])
        scores[track] = (rows * weights[:, None]).sum(0) / max(weights.sum(), 1e-9)
    given = _assign_tracks(tracks, scores, evidence, together, rule.threshold) if people else {}
    names = {}
    for track in tracks:
        faces = len(evidence[track])
        if not len(scores[track]):
            names[track] = TrackName(track, None, 0.0, 0.0, None, None, faces)
            continue
        said = rule.judge(scores[track], given.get(track))
        nearest = people[said.person]
        rival = None if said.runner_up is None else people[said.runner_up]
        names[track] = TrackName(
            track, nearest if said.accepted else None, said.similarity, said.lead, rival, nearest, faces
        )
    return names


def face_weight(face: Face) -> float:
    """How much a face says: its detection score, less if it is small."""
    return face.score * min(1.0, face.side / _FULL_FACE)


def _assign_tracks(tracks, scores, evidence, together, threshold) -> dict[int, int]:
    """track -> person index of the best total; only pairs at or above the threshold can be."""
    pairs = [(t, int(p)) for t in tracks for p in np.flatnonzero(scores[t] >= threshold)]
    if not pairs:
        return {}
    column = {pair: i for i, pair in enumerate(pairs)}
    seen = {t: float(np.sqrt(sum(w for w, _ in evidence[t]))) for t in tracks}
    value = np.array([(float(scores[t][p]) - threshold + 1e-6) * seen[t] for t, p in pairs])
    groups = {frozenset(g) & set(tracks) for g in together}
    limits = [[column[t, p] for p in range(len(scores[t])) if (t, p) in column] for t in tracks]
    people = sorted({p for _, p in pairs})
    for group in groups:
        if len(group) > 1:
            limits += [[column[t, p] for t in group if (t, p) in column] for p in people]
    limits = [row for row in limits if len(row) > 1]
    constraints = []
    if limits:
        matrix = lil_matrix((len(limits), len(pairs)))
        for i, row in enumerate(limits):
            matrix[i, row] = 1
        constraints = [LinearConstraint(matrix.tocsr(), -np.inf, 1)]
    solved = milp(-value, integrality=np.ones(len(pairs)), bounds=Bounds(0, 1), constraints=constraints)
    if solved.x is None:
        return {}
    return {t: p for (t, p), chosen in zip(pairs, solved.x > 0.5, strict=True) if chosen}


def corrected(names: dict[int, TrackName], by_hand: dict[int, str | None]) -> dict[int, TrackName]:
    """The names with a person's corrections laid over them."""
    changed = dict(names)
    for track, name in by_hand.items():
        before = changed.get(track, TrackName(track, None, 0.0, 0.0, None, None, 0))
        changed[track] = replace(before, name=name, by_hand=True)
    return changed
