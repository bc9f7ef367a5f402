"""Sampled frames -> tracks between cuts -> names over whole tracks. (Notebook section 7.)

A track is one head followed between two cuts. A face carries it; while the face is turned away the body does, as long
as the clothes below still look as they did. After a cut, or where two bodies merge, a new track begins and its name
must be earned again. Names are given to tracks, not frames: every face of a track is evidence, and no name is given
twice to people who are on screen together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
from scipy.optimize import linear_sum_assignment

from ..geometry import box_iou, plain_box
from ..types import Face
from .cuts import colour_likeness

_CLOTHES_BINS = (12, 6, 6)  # hue, saturation, value of the clothes
_CLOTHES_LEAST = 0.70  # Bhattacharyya coefficient below which the clothes alone are somebody else's
_CLOTHES_OTHER = 0.50  # ... and below which even a face in the right place is (one person: 0.78 and more)
_MERGED = 0.5  # IoU of two people's upper bodies above which a turned-away one is lost in the other
_GATE = 1.5  # face sides that a head may move between samples beyond what was predicted


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
    clothes: list[float] | None = None


class SimpleTracker:
    """Follow heads through the samples of one shot; call `reset` at a cut.

    Association is by IoU and distance to where the head was predicted to be (constant velocity), Hungarian. A head
    without a face lives on while its clothes are recognised, and is dropped after `max_lost` samples without either.

    Args:
        max_lost: samples that a track outlives without evidence.
    """

    def __init__(self, max_lost: int = 5):
        self.max_lost = max_lost
        self._next = 1
        self._live: list[_Live] = []

    def reset(self) -> None:
        """Forget all live tracks; ids go on counting."""
        self._live = []

    def state(self) -> dict:
        """Everything needed to go on from here, as plain JSON values."""
        # In the file the clothes are called "look", as they always were there.
        live = [
            {"id": t.id, "box": t.box, "velocity": t.velocity, "lost": t.lost, "look": t.clothes} for t in self._live
        ]
        return {"next": self._next, "live": live}

    def restore(self, state: dict) -> None:
        """Take up a state that `state` gave."""
        self._next = int(state["next"])
        self._live = [_Live(t["id"], t["box"], t["velocity"], t["lost"], t["look"]) for t in state["live"]]

    def update(self, faces: Sequence[Face], image_bgr: np.ndarray | None = None) -> list[TrackPoint]:
        """Follow on to the next sample.

        Args:
            faces: of this sample; embeddings are not needed.
            image_bgr: uint8 (H, W, 3), for the clothes; without it faces alone are followed.

        Returns:
            One point per track that is seen; tracks that are only waited for have none.
        """
        predicted = [_moved(t.box, t.velocity) for t in self._live]
        clothes = [None if image_bgr is None else _clothes_colours(image_bgr, face.box) for face in faces]
        matched = self._associate(faces, clothes, predicted)
        points: list[TrackPoint] = []
        taken = set()
        for index, track in enumerate(self._live):
            k = matched.get(index)
            if k is None:
                continue
            taken.add(k)
            box = plain_box(faces[k].box)
            step = np.array(_centre(box)) - _centre(track.box)
            # Half of the surprise: a nod must not throw the head out of the picture.
            track.velocity = [float(v) for v in 0.5 * np.array(track.velocity) + 0.5 * step / (track.lost + 1)]
            track.box, track.lost = list(box), 0
            alike = _likeness(track.clothes, clothes[k])
            track.clothes = _blend(track.clothes, clothes[k])
            points.append(TrackPoint(track.id, box, "face", k, alike))
        for k, face in enumerate(faces):
            if k not in taken:
                box = plain_box(face.box)
                self._live.append(_Live(self._next, list(box), clothes=_blend(None, clothes[k])))
                points.append(TrackPoint(self._next, box, "face", k))
                self._next += 1
        points += self._by_body(points, image_bgr, matched, predicted)
        self._live = [t for t in self._live if t.lost <= self.max_lost]
        return points

    def _associate(self, faces: Sequence[Face], clothes: list, predicted: list[list[float]]) -> dict[int, int]:
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
            for k, seen in enumerate(clothes):
                if seen is None or track.clothes is None:
                    continue
                if colour_likeness(seen, np.array(track.clothes)) < _CLOTHES_OTHER:
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
            if image_bgr is None or track.clothes is None or not _inside(box, image_bgr.shape):
                continue
            if others and box_iou(_body(box), np.stack(others)).max() > _MERGED:
                track.lost = self.max_lost + 1  # two bodies in one place: whoever comes out must earn the name again
                continue
            seen_now = _clothes_colours(image_bgr, box)
            alike = 0.0 if seen_now is None else colour_likeness(seen_now, np.array(track.clothes))
            if alike >= _CLOTHES_LEAST:
                track.box = box
                track.velocity = [0.5 * v for v in track.velocity]
                track.lost = 0 if track.lost <= 1 else track.lost - 1
                found.append(TrackPoint(track.id, plain_box(box), "body", None, alike))
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


def _clothes_colours(image_bgr: np.ndarray, box) -> np.ndarray | None:
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
    histogram = cv2.calcHist([hsv], [0, 1, 2], None, list(_CLOTHES_BINS), [0, 180, 0, 256, 0, 256]).ravel()
    return histogram / max(float(histogram.sum()), 1e-9)


def _likeness(before: list[float] | None, now: np.ndarray | None) -> float:
    """How much the clothes look as they did, 0..1; 1 where nothing can be said."""
    return 1.0 if before is None or now is None else colour_likeness(now, np.array(before))


def _blend(old: list[float] | None, new: np.ndarray | None) -> list[float] | None:
    """A running mean of the clothes' colours, as plain numbers; the past weighs four fifths."""
    if new is None:
        return old
    return new.tolist() if old is None else (0.8 * np.array(old) + 0.2 * new).tolist()
