"""What was seen in every sample -> tracklets: who goes on as whom, split where they change. (Notebook section 7.)

Looking is costly and is done once; this is cheap, and is done when the whole video has been looked at and its shots are
known. Every tracklet's faces are pooled: the weighted sum of their embeddings, compared once, says more than the mean
of single comparisons. The embeddings themselves go no further than this.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby, pairwise
from typing import NamedTuple

import numpy as np

from ..geometry import plain_box
from ..people.gallery import Gallery
from ..types import Face, unit
from .naming import face_weight
from .shots import Shot
from .tracking import CLEAR, Seen, SimpleTracker, TrackPoint, is_taken

_PIECE = 4  # faces that are pooled together, at the most: how finely a tracklet can be split by hand
_CLEAR_FACES = 2  # clear faces on either side of a change of person
_BRIDGED = 1  # samples in a row without evidence that lie between two with it


@dataclass(frozen=True, eq=False)
class SampleSeen:
    """A sample before anybody is followed.

    Attributes:
        index: of the frame.
        faces: of the frame, with embeddings.
        people: who is there; see `tracking.seen_in`.
    """

    index: int
    faces: Sequence[Face]
    people: Sequence[Seen]

    def clothes_of(self, point: TrackPoint) -> np.ndarray | None:
        """What somebody wears, where their face or their body was seen."""
        for person in self.people:
            if (point.face is not None and person.face == point.face) or (
                point.face is None and point.body is not None and person.body_index == point.body
            ):
                return person.torso
        return None


class Levels(NamedTuple):
    """What two tracklets' faces are compared with.

    Attributes:
        same: cosine from which two faces are one person's.
        other: cosine below which two clear faces are not.
        margin: lead that tells two people on file apart.
    """

    same: float
    other: float
    margin: float


class FaceSeen(NamedTuple):
    """A face that is evidence.

    Attributes:
        frame: index of its frame.
        vector: float32 (D,), its embedding, times its weight.
        weight: how much it says; see `naming.face_weight`.
        side: pixels across.
        clear: does it look at the camera?
    """

    frame: int
    vector: np.ndarray
    weight: float
    side: float
    clear: bool


@dataclass(eq=False)
class Piece:
    """Some faces of a tracklet in a row, pooled.

    Attributes:
        begin, end: indices of the first and the last frame.
        total: sum of the embeddings, weighted.
        faces, clear: how many faces, and how many of them look at the camera.
        weight: sum of their weights.
        sides: pixels across each.
    """

    begin: int
    end: int
    total: np.ndarray
    faces: int = 0
    clear: int = 0
    weight: float = 0.0
    sides: list[float] = field(default_factory=list)

    @property
    def pooled(self) -> np.ndarray:
        """float32 (D,), unit length: its faces."""
        return unit(self.total)


@dataclass(eq=False)
class Tracklet:
    """What is known of a tracklet.

    Attributes:
        track: its number.
        shot: index of its shot.
        pieces: its faces, pooled; empty where none was seen.
        looks: sum of the embeddings of its clear faces, weighted, or None.
        clothes: sum of the colours of its clothes, or None.
        dressed: samples that these are of.
    """

    track: int
    shot: int
    pieces: list[Piece] = field(default_factory=list)
    looks: np.ndarray | None = None
    clothes: np.ndarray | None = None
    dressed: int = 0

    @property
    def pooled(self) -> np.ndarray | None:
        """float32 (D,), unit length: all its faces; None without any."""
        return unit(np.sum([piece.total for piece in self.pieces], axis=0)) if self.pieces else None

    def add_face(self, seen: FaceSeen) -> None:
        """One more face, of a later sample."""
        if not self.pieces or self.pieces[-1].faces >= _PIECE:
            self.pieces.append(Piece(seen.frame, seen.frame, np.zeros_like(seen.vector)))
        piece = self.pieces[-1]
        piece.end, piece.faces, piece.clear = seen.frame, piece.faces + 1, piece.clear + seen.clear
        piece.weight += seen.weight
        piece.total = piece.total + seen.vector
        piece.sides.append(seen.side)
        if seen.clear:
            self.looks = seen.vector if self.looks is None else self.looks + seen.vector

    def add_clothes(self, colours: np.ndarray | None) -> None:
        """The colours of the clothes in one more sample; None = they were not seen."""
        if colours is not None:
            self.clothes = colours if self.clothes is None else self.clothes + colours
            self.dressed += 1


def followed(
    samples: Iterable[SampleSeen], shots: Sequence[Shot], levels: Levels, gallery: Gallery
) -> Iterator[tuple[int, list[TrackPoint]] | Tracklet]:
    """The points of every sample, (index, points) in order, and after each shot its tracklets.

    Args:
        samples: in order; one shot of them is held at a time.
        shots: of the video, in order; the first begins at frame 0.
        levels: of the face engine.
        gallery: who is on file: where a tracklet is clearly one of them and then clearly another, it is split.
    """
    tracker = SimpleTracker(same_face=levels.same, other_face=levels.other)
    begins = [shot.begin for shot in shots]
    numbers: dict[tuple[int, int], int] = {}  # (the tracker's number, frame from which on) -> number
    for shot, group in groupby(samples, lambda s: int(np.searchsorted(begins, s.index, "right")) - 1):
        tracker.reset()
        held = list(group)
        rows = [tracker.follow(sample.people) for sample in held]
        _bridge(held, rows)
        near = shots[shot : shot + 2]
        mixed = {s.index for s in held if any(one.mixes(s.index) for one in near)}
        faces = _faces(held, rows, mixed)
        begins_of: dict[int, list[int]] = {}
        for track in sorted({point.track for row in rows for point in row}):
            begins_of[track] = [0, *_changes(faces.get(track, []), levels, gallery)]
            for begin in begins_of[track]:
                numbers[track, begin] = len(numbers) + 1
        for sample, row in zip(held, rows, strict=True):
            row[:] = [
                replace(p, track=numbers[p.track, max(b for b in begins_of[p.track] if b <= sample.index)]) for p in row
            ]
        for sample, row in zip(held, rows, strict=True):
            yield sample.index, row
        yield from _tracklets(shot, held, rows, mixed)


def _bridge(held: Sequence[SampleSeen], rows: list[list[TrackPoint]]) -> None:
    """Somebody who is seen before and after a sample, and whose place nobody else has, is there in it too."""
    last: dict[int, tuple[int, TrackPoint]] = {}
    for at, row in enumerate(rows):
        for point in list(row):
            before = last.get(point.track)
            last[point.track] = (at, point)
            if before is None or not 1 < at - before[0] <= 1 + _BRIDGED:
                continue
            for between in range(before[0] + 1, at):
                share = (held[between].index - held[before[0]].index) / (held[at].index - held[before[0]].index)
                box = (1 - share) * np.array(before[1].box) + share * np.array(point.box)
                if not is_taken(box, [p.box for p in rows[between]]):
                    rows[between].append(TrackPoint(point.track, plain_box(box), "between"))


def _faces(
    held: Sequence[SampleSeen], rows: Sequence[Sequence[TrackPoint]], mixed: set[int]
) -> dict[int, list[FaceSeen]]:
    """track -> its faces that are evidence: those that a dissolve mixes with others are none."""
    found: dict[int, list[FaceSeen]] = {}
    for sample, row in zip(held, rows, strict=True):
        for point in row if sample.index not in mixed else ():
            face = None if point.face is None else sample.faces[point.face]
            if face is not None and face.embedding is not None:
                weight = face_weight(face)
                seen = FaceSeen(sample.index, weight * face.embedding, weight, face.side, face.facing >= CLEAR)
                found.setdefault(point.track, []).append(seen)
    return found


# ---- a change of person


def _changes(faces: Sequence[FaceSeen], levels: Levels, gallery: Gallery) -> list[int]:
    """Frames from which on a tracklet is somebody else's, in order.

    Only clear faces speak: a head that turns away looks like nobody, and like everybody else who turns away.
    """
    clear = [seen for seen in faces if seen.clear]
    if len(clear) < 2 * _CLEAR_FACES:
        return []
    vectors = np.stack([seen.vector for seen in clear])
    at = _other_after(vectors, levels, gallery) or _other_within(vectors, levels)
    if not at:
        return []
    # The frame half-way from the last clear face of the one to the first of the other.
    bounds = [(clear[k - 1].frame + clear[k].frame) // 2 + 1 for k in at]
    parts = [
        [seen for seen in faces if low <= seen.frame < high]
        for low, high in pairwise([-1, *bounds, clear[-1].frame + 1])
    ]
    changes = []
    for bound, part in zip([*bounds, None], parts, strict=True):
        changes += _changes(part, levels, gallery)
        changes += [] if bound is None else [bound]
    return changes


def _other_after(vectors: np.ndarray, levels: Levels, gallery: Gallery) -> list[int]:
    """[the first clear face of somebody else, who stays], or []."""
    before = np.cumsum(vectors, axis=0)[_CLEAR_FACES - 1 : len(vectors) - _CLEAR_FACES]
    after = vectors.sum(axis=0) - before
    before, after = unit(before), unit(after)
    alike = (before * after).sum(axis=1)
    worst = int(np.argmin(alike))
    if alike[worst] >= levels.other:
        worst = _other_person(gallery.similarity(before), gallery.similarity(after), levels) if len(gallery) else -1
    return [worst + _CLEAR_FACES] if worst >= 0 else []


def _other_within(vectors: np.ndarray, levels: Levels) -> list[int]:
    """[the first clear face of somebody who steps in, the first after them], or []: faces in a row that are not like
    the rest of the tracklet."""
    apart = unit(vectors) @ unit(vectors.sum(axis=0)) < levels.other
    starts = [k for k in range(len(apart)) if apart[k] and (k == 0 or not apart[k - 1])]
    for start in starts:
        end = next((k for k in range(start, len(apart)) if not apart[k]), len(apart))
        rest = vectors.sum(axis=0) - vectors[start:end].sum(axis=0)
        if end - start < _CLEAR_FACES or len(vectors) - (end - start) < _CLEAR_FACES:
            continue
        if float(unit(vectors[start:end].sum(axis=0)) @ unit(rest)) < levels.other:
            return [k for k in (start, end) if 0 < k < len(vectors)]
    return []


def _other_person(before: np.ndarray, after: np.ndarray, levels: Levels) -> int:
    """Where two people on file, who look alike, follow each other: the split at which both are told apart best, or -1.

    Args:
        before, after: float (splits, P): similarity of what is before and after each split to everybody.
        levels: of the face engine.
    """
    if before.shape[1] < 2:
        return -1
    one, other = before.argmax(axis=1), after.argmax(axis=1)
    rows = np.arange(len(before))
    leads = np.minimum(before[rows, one] - before[rows, other], after[rows, other] - after[rows, one])
    sure = np.minimum(before[rows, one], after[rows, other]) >= levels.same
    leads = np.where(sure & (one != other), leads, -1.0)
    best = int(np.argmax(leads))
    return best if leads[best] >= levels.margin else -1


# ---- what is known of a tracklet


def _tracklets(
    shot: int, held: Sequence[SampleSeen], rows: Sequence[Sequence[TrackPoint]], mixed: set[int]
) -> Iterator[Tracklet]:
    known: dict[int, Tracklet] = {}
    for sample, row in zip(held, rows, strict=True):
        for point in row:
            found = known.setdefault(point.track, Tracklet(point.track, shot))
            if sample.index not in mixed:
                found.add_clothes(sample.clothes_of(point))
    for track, faces in _faces(held, rows, mixed).items():
        for seen in faces:
            known[track].add_face(seen)
    yield from (known[track] for track in sorted(known))
