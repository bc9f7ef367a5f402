"""Sampled frames -> tracklets of persons between cuts. (Notebook section 7.)

A tracklet is one person followed through one shot, by face, by body, or by both. What is known of them decides who goes
on in the next sample: where they were going, how large they are, what they wear, and whose face it is. Body evidence
expires, and where two people cross and nothing tells them apart, both tracklets end: what comes out of the crossing
must earn its name again. Nothing here names anybody.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
from scipy.optimize import linear_sum_assignment

from ..engines.protocols import HeadFinder
from ..geometry import box_iou, plain_box
from ..masks.humans import paired
from ..types import Detection, Face, Human
from .clothes import blended, clothes_colours, colour_likeness, torso_colours, torso_of

Box = tuple[float, float, float, float]  # xyxy pixels, plain numbers as JSON has them

_CLOTHES_LEAST = 0.70  # Bhattacharyya coefficient below which the clothes alone are somebody else's
_CLOTHES_OTHER = 0.50  # ... and below which even a face in the right place is (one person: 0.78 and more)
_CLOTHES_SURE = 0.85  # ... below which a clear face that is not theirs is somebody else's
_CLOTHES_LEAD = 0.15  # by how much clothes must be more alike to say which of two people it is
_FACE_LEAD = 0.10  # ... and by how much a face must be, in cosines
_CLOTHES_SEEN = 0.25  # IoU of two people's upper bodies from which the clothes below a head may be either's
MERGED = 0.5  # IoU of two people's upper bodies above which one who is turned away is lost in the other
_GATE = 1.5  # sides that a head may be from where it was expected, while nothing is known of how they move here
_SIZE_GATE = 0.69  # ... and the logarithm of how much larger or smaller it may be
_MOTION = 4.0  # how many times as far as is usual here it may be
_MOTION_LEAST, _SIZE_LEAST = 0.2, 0.1  # ... and this much more
_KNOWN = 10  # matches from which "usual here" is known
_REMEMBERED = 60  # ... and how many of the last ones say what is usual
_PATIENCE = 0.3  # how much further for every sample in which somebody was not seen
_SPAN = 6  # samples that say where somebody is going
_BODY_LEAST = 0.4  # IoU of a body with where it was expected
_TIE = 0.3  # how much worse another reading must be, in sides, for a crossing to be clear
_FACES = 2  # faces before colours, or a body that was never seen with its face, may carry a tracklet
_CARRIED = 1  # samples that colours alone carry a tracklet
_FACELESS = 50  # samples that a detected body in the same clothes carries a tracklet whose face is not seen
_UNSHOWN = 5  # ... and one whose clothes are not seen either: of boxes alone one in nine is then another's (TUD)
_TORSO_HIDDEN = 0.2  # share of a torso in somebody else's from which its colours are not one person's
_BODY_SCORE = 0.5  # least score of a body that begins a tracklet
_IMPOSSIBLE = 1e3
CLEAR = 0.4  # `Face.facing` from which a face says who somebody is: turned by some 35 degrees at the most


@dataclass(frozen=True)
class TrackPoint:
    """One tracklet in one sampled frame.

    Attributes:
        box: the head, xyxy pixels; reckoned from the body where no face is seen.
        evidence: what it rests on: "face"; "body", one that the detector saw; "clothes", colours alone; "between", seen
            in the samples before and after; "hand", a person pointed at it; or "region", one that was followed.
        face: index among the sample's faces, or None.
        clothes: how much the clothes look as they did, 0..1; 1 where nothing can be said.
        body: index among the sample's bodies, or None.
    """

    track: int
    box: Box
    evidence: str
    face: int | None = None
    clothes: float = 1.0
    body: int | None = None


@dataclass(frozen=True, eq=False)
class Seen:
    """One person in one sample, before they are followed.

    Attributes:
        head: float (4,), xyxy pixels: the face's box; without a face where the head is thought to be.
        face: index among the sample's faces, or None.
        body: float (4,), xyxy pixels, or None.
        body_index: index of it among the sample's bodies, or None.
        score: of the face, or of the body where no face is seen.
        found: a head that was found; False = only reckoned from the body's box.
        clothes: colours of the clothes below the head; see `clothes.clothes_colours`.
        torso: colours of the body's torso where nobody else is before or behind it; see `clothes.torso_colours`.
        embedding: float32 (D,), unit length, or None.
        facing: of the face, 0..1; see `types.Face.facing`.
    """

    head: np.ndarray
    face: int | None = None
    body: np.ndarray | None = None
    body_index: int | None = None
    score: float = 1.0
    found: bool = True
    clothes: np.ndarray | None = None
    torso: np.ndarray | None = None
    embedding: np.ndarray | None = None
    facing: float = 1.0


def seen_in(
    image_bgr: np.ndarray | None, faces: Sequence[Face], bodies: Sequence[Detection] = (),
    heads: HeadFinder | None = None,
) -> list[Seen]:  # fmt: skip
    """Everybody in a sample: those with a face, in order, then the bodies of nobody whose face is seen.

    Args:
        image_bgr: uint8 (H, W, 3); None = clothes say nothing.
        faces: of the sample; embeddings help and are not needed.
        bodies: of the sample.
        heads: finds the heads of those whose face is not seen; None = they are reckoned from the bodies.
    """
    shape = (1 << 20, 1 << 20) if image_bgr is None else image_bgr.shape
    humans = paired(faces, bodies, shape) if bodies else [Human.by_face(face) for face in faces]
    index_of = {body.box.tobytes(): i for i, body in enumerate(bodies)}
    people = []
    for k, human in enumerate(humans):
        face = faces[k] if k < len(faces) else None
        head, found = _head(human, image_bgr, heads)
        people.append(
            Seen(
                head, None if face is None else k, human.body,
                None if human.body is None else index_of.get(human.body.tobytes()),
                human.score if face is None else face.score, found,
                embedding=None if face is None else face.embedding, facing=1.0 if face is None else face.facing,
            )
        )  # fmt: skip
    people = _whole(people)
    return people if image_bgr is None else _dressed(image_bgr, people)


def _whole(people: Sequence[Seen]) -> list[Seen]:
    """The same people, less bodies on which a head was found that is a face's: the face's own body, where it has none
    yet, or one that the detector saw twice."""
    kept = [person for person in people if person.face is not None]
    middles = np.array([_centre(person.head) for person in kept]).reshape(-1, 2)
    for person in people:
        if person.face is not None:
            continue
        inside = (middles >= person.head[:2]) & (middles <= person.head[2:])
        mine = np.flatnonzero(inside.all(axis=1)) if person.found else np.zeros(0, int)
        if not len(mine):
            kept.append(person)
        elif len(mine) == 1 and kept[int(mine[0])].body is None:
            kept[int(mine[0])] = _joined(kept[int(mine[0])], person)
    return kept


def _head(human: Human, image_bgr: np.ndarray | None, heads: HeadFinder | None) -> tuple[np.ndarray, bool]:
    """(box of somebody's head, was it found?)."""
    if human.face is not None:
        return np.array(human.face.box), True
    assert human.body is not None  # a human has the one or the other
    found = None if heads is None or image_bgr is None else heads.head(image_bgr, human.body)
    return (head_of(human.body), False) if found is None else (found, True)


def _dressed(image_bgr: np.ndarray, people: Sequence[Seen]) -> list[Seen]:
    """The same people with the colours of their clothes."""
    torsos = [None if person.body is None else torso_of(person.body) for person in people]
    found = []
    for i, person in enumerate(people):
        mine = torsos[i]
        hidden = mine is None or any(
            _share(mine, other) > _TORSO_HIDDEN for k, other in enumerate(torsos) if k != i and other is not None
        )
        torso = None if hidden or person.body is None else torso_colours(image_bgr, person.body)
        found.append(replace(person, clothes=clothes_colours(image_bgr, person.head), torso=torso))
    return found


def _share(box: np.ndarray, other: np.ndarray) -> float:
    """How much of a box another one covers, 0..1."""
    size = np.minimum(box[2:], other[2:]) - np.maximum(box[:2], other[:2])
    return float(np.prod(np.clip(size, 0, None)) / max(float(np.prod(box[2:] - box[:2])), 1e-9))


@dataclass
class _Live:
    """A tracklet while it is followed; plain numbers, so that it can be stored and taken up again.

    Attributes:
        seen: [number of the sample, x and y of the head's middle, its width, its height] of the last samples.
        last, faced, shown: numbers of the last samples in which anything, a face, and a face or the torso's clothes
            were seen.
        faces: how many were seen.
        carried: samples in a row that colours alone stand for.
        pool: sum of its faces' embeddings.
    """

    id: int
    seen: list[list[float]]
    body: list[float] | None
    last: int
    faced: int
    shown: int
    faces: int = 0
    carried: int = 0
    clothes: list[float] | None = None
    torso: list[float] | None = None
    pool: list[float] | None = None

    def expected(self, number: int) -> np.ndarray:
        """The head's box in a sample: constant velocity, and less of it the fewer samples speak for it."""
        rows = np.array(self.seen)
        size = np.median(rows[:, 3:], axis=0)
        at = rows[:, 0] - rows[:, 0].mean()
        steep = float((at**2).sum())
        velocity = np.zeros(2) if not steep else (at[:, None] * rows[:, 1:3]).sum(0) / steep
        velocity *= len(rows) / (len(rows) + 2)
        middle = rows[-1, 1:3] + velocity * (number - rows[-1, 0])
        return np.concatenate([middle - size / 2, middle + size / 2])

    def head_on(self, body: np.ndarray) -> np.ndarray:
        """Where the head is on a body on which none was found: where it was on the last one."""
        before = np.array(self.body)
        middle, size = np.array(self.seen[-1][1:3]), np.array(self.seen[-1][3:])
        middle = middle + [(body[0] + body[2] - before[0] - before[2]) / 2, body[1] - before[1]]
        return np.concatenate([middle - size / 2, middle + size / 2])


def head_of(body: np.ndarray) -> np.ndarray:
    """Where a head is expected on a body of which no more is known, xyxy: at the top, in the middle.

    Args:
        body: xyxy.
    """
    width, height = float(body[2] - body[0]), float(body[3] - body[1])
    side = min(width / 2.5, height / 3)  # medians of people seen whole and of half-length figures lie near
    x, top = float(body[0] + body[2]) / 2, float(body[1]) + 0.3 * side
    return np.array([x - side / 2, top, x + side / 2, top + side])


class SimpleTracker:
    """Follow people through the samples of one shot; call `reset` at a cut.

    Association is by distance to where the head was expected to be, by IoU with where the body was, by clothes and by
    faces; one-to-one (Hungarian). How far somebody may be from where they were expected is learnt from how far people
    here usually are.

    Args:
        max_lost: samples that a tracklet outlives without evidence.
        same_face: cosine of two embeddings above which they are one person's; see `FaceEngine.strict`.
        other_face: cosine of two clear faces below which they are not, unless the clothes say so.
    """

    def __init__(self, max_lost: int = 10, same_face: float = 0.5, other_face: float = 0.3):
        self.max_lost, self.same_face, self.other_face = max_lost, same_face, other_face
        self._next, self._number = 1, 0
        self._live: list[_Live] = []
        self._surprises: deque[tuple[float, float]] = deque(maxlen=_REMEMBERED)

    def reset(self) -> None:
        """Forget all live tracklets; ids go on counting."""
        self._live = []

    def state(self) -> dict:
        """Everything needed to go on from here, as plain JSON values."""
        return {
            "next": self._next, "number": self._number, "surprises": [list(s) for s in self._surprises],
            "live": [asdict(track) for track in self._live],
        }  # fmt: skip

    def restore(self, state: dict) -> None:
        """Take up a state that `state` gave."""
        self._next, self._number = int(state["next"]), int(state["number"])
        self._surprises.clear()
        self._surprises.extend((float(a), float(b)) for a, b in state["surprises"])
        self._live = [_Live(**track) for track in state["live"]]

    def update(
        self, faces: Sequence[Face], image_bgr: np.ndarray | None = None, bodies: Sequence[Detection] = ()
    ) -> list[TrackPoint]:
        """Follow on to the next sample.

        Args:
            faces: of this sample; embeddings help where people cross, and are not needed.
            image_bgr: uint8 (H, W, 3), for the clothes; without it they say nothing.
            bodies: of this sample.

        Returns:
            One point per tracklet that is seen; tracklets that are only waited for have none.
        """
        points = self.follow(seen_in(image_bgr, faces, bodies))
        if image_bgr is not None:
            points += self._by_clothes(points, image_bgr)
        return points

    def follow(self, people: Sequence[Seen]) -> list[TrackPoint]:
        """Follow on to the next sample, in which these people are seen: one point each, of a body that is too doubtful
        to begin a tracklet none."""
        self._number += 1
        self._live = [t for t in self._live if self._number - t.last <= self.max_lost + 1]
        matched, joined = self._matched(people)
        points = []
        for i, k in matched.items():
            person = people[k] if i not in joined else _joined(people[k], people[joined[i]])
            points.append(self._seen(self._live[i], person))
        taken = {*matched.values(), *joined.values()}
        for k, person in enumerate(people):
            if k not in taken and (person.face is not None or person.score >= _BODY_SCORE):
                track = _Live(self._next, [], None, self._number, self._number, self._number)
                self._next += 1
                self._live.append(track)
                points.append(self._seen(track, person))
        return points

    # ---- who goes on as whom

    def _matched(self, people: Sequence[Seen]) -> tuple[dict[int, int], dict[int, int]]:
        """(index of a live tracklet -> index of the person it goes on as; index of a live tracklet -> index of the rest
        of that person, where face and body were taken for two). Tracklets that end in a crossing are gone."""
        if not self._live or not people:
            return {}, {}
        cost, surprise = self._costs(people)
        chosen = {int(i): int(k) for i, k in zip(*linear_sum_assignment(cost), strict=True) if cost[i, k] < _IMPOSSIBLE}
        ended = self._crossings(cost, chosen, people)
        for i, k in chosen.items():
            if i not in ended and self._live[i].last == self._number - 1 and np.isfinite(surprise[i, k]).all():
                self._surprises.append((float(surprise[i, k, 0]), float(surprise[i, k, 1])))
        joined = _halves(cost, chosen, people)
        kept = [i for i in range(len(self._live)) if i not in ended]
        self._live = [self._live[i] for i in kept]
        return (
            {kept.index(i): k for i, k in chosen.items() if i not in ended},
            {kept.index(i): k for i, k in joined.items() if i not in ended},
        )

    def _costs(self, people: Sequence[Seen]) -> tuple[np.ndarray, np.ndarray]:
        """((tracklets, people): cost in sides of the head; (tracklets, people, 2): how far each face is from where the
        head was expected, in sides and in logarithms of size, infinite where no face is seen)."""
        expected = np.stack([t.expected(self._number) for t in self._live]).astype(np.float32)
        dressed = np.array([[_likeness(t.clothes, p.clothes, np.nan) for p in people] for t in self._live])
        faces = np.stack([self._face_likeness(person) for person in people], axis=1)
        cost, surprise = self._costs_of_heads(people, expected, (dressed >= _CLOTHES_LEAST) | (faces >= self.same_face))
        for i, track in enumerate(self._live):
            for k, person in enumerate(people):
                if person.body is None or track.body is None or not (person.face is not None or self._carries(track)):
                    continue
                if person.face is None and _likeness(track.torso, person.torso) < _CLOTHES_LEAST:
                    continue  # a body in other clothes is another body, wherever it is
                before = np.array(track.body)
                moved = before + np.tile(np.array(_centre(expected[i])) - track.seen[-1][1:3], 2)
                overlap = float(box_iou(np.stack([before, moved]), person.body).max())
                if overlap > _BODY_LEAST:
                    cost[i, k] = min(cost[i, k], 1 - 2 * overlap)
        # Where a head is only thought to be, the clothes below it may be a neighbour's.
        faced = np.array([[t.faced == t.last and p.face is not None for p in people] for t in self._live])
        cost[faced & (dressed < _CLOTHES_OTHER)] = _IMPOSSIBLE
        cost[(faces > -1) & (faces < self.other_face) & ~(dressed >= _CLOTHES_SURE)] = _IMPOSSIBLE
        for k in range(len(people)):
            # A face that is clearly one tracklet's is no other's. A low cosine says nothing: faces turn away.
            best = int(np.argmax(faces[:, k]))
            if faces[best, k] >= self.same_face and cost[best, k] < _IMPOSSIBLE:
                cost[faces[:, k] < faces[best, k] - _FACE_LEAD, k] = _IMPOSSIBLE
        return cost, surprise

    def _costs_of_heads(
        self, people: Sequence[Seen], expected: np.ndarray, alike: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """As `_costs`, by the heads alone; who is `alike` (tracklets, people) may have moved more than is usual here:
        heads turn and nod."""
        cost = np.full((len(self._live), len(people)), _IMPOSSIBLE)
        surprise = np.full((*cost.shape, 2), np.inf)
        faced = [k for k, person in enumerate(people) if person.face is not None]
        if not faced:
            return cost, surprise
        heads = np.stack([people[k].head for k in faced]).astype(np.float32)
        lost = np.array([self._number - t.last - 1 for t in self._live])[:, None]
        far, larger = self._gates()
        side = (expected[:, 2] - expected[:, 0])[:, None]
        apart = np.linalg.norm(_centres(expected)[:, None] - _centres(heads)[None], axis=-1) / side
        sizes = np.abs(np.log((heads[:, 3] - heads[:, 1])[None] / (expected[:, 3] - expected[:, 1])[:, None]))
        possible = apart < np.where(alike[:, faced], _GATE, far) * (1 + _PATIENCE * lost)
        possible &= sizes < np.where(alike[:, faced], _SIZE_GATE, larger) * (1 + _PATIENCE / 2 * lost)
        cost[:, faced] = np.where(possible, apart - box_iou(expected, heads), _IMPOSSIBLE)
        surprise[:, faced, 0], surprise[:, faced, 1] = apart, sizes
        return cost, surprise

    def _face_likeness(self, person: Seen) -> np.ndarray:
        """Cosine of a face with every live tracklet's pooled one; -1 where there is none, or the face is turned away:
        profiles of different people are more alike than two views of one."""
        alike = np.full(len(self._live), -1.0)
        if person.embedding is not None and person.facing >= CLEAR:
            for i, track in enumerate(self._live):
                if track.pool is not None:
                    pool = np.array(track.pool)
                    alike[i] = float(person.embedding @ pool) / max(float(np.linalg.norm(pool)), 1e-9)
        return alike

    def _gates(self) -> tuple[float, float]:
        """How far a head may be from where it was expected, in sides and in logarithms of size."""
        if len(self._surprises) < _KNOWN:
            return _GATE, _SIZE_GATE
        far, larger = np.median(np.array(self._surprises), axis=0)
        return (
            float(min(_MOTION * far + _MOTION_LEAST, _GATE)),
            float(min(_MOTION * larger + _SIZE_LEAST, _SIZE_GATE)),
        )

    def _crossings(self, cost: np.ndarray, chosen: dict[int, int], people: Sequence[Seen]) -> set[int]:
        """Tracklets that end here: of two that cross, nothing says which is which."""
        ended: set[int] = set()
        boxes = np.stack([upper_body(t.expected(self._number)) for t in self._live])
        near = box_iou(boxes, boxes)
        for i, k in chosen.items():
            for j in range(len(self._live)):
                m = chosen.get(j)
                if i == j or not near[i, j] or (m is not None and j < i):
                    continue
                dressed = near[i, j] < _CLOTHES_SEEN
                if m is None:
                    swapped, told = cost[j, k] - cost[i, k], self._told_apart(i, j, people[k], dressed)
                else:
                    swapped = cost[j, k] + cost[i, m] - cost[i, k] - cost[j, m]
                    told = self._told_apart(i, j, people[k], dressed) or self._told_apart(j, i, people[m], dressed)
                # One of two in one place is seen, and not where it was expected: it may be either.
                lost = m is None and near[i, j] > MERGED and cost[i, k] > 0
                if (swapped <= _TIE or lost) and not told:
                    ended |= {i, j}
        return ended

    def _told_apart(self, i: int, j: int, person: Seen, dressed: bool) -> bool:
        """Do the face or, where they are `dressed` in clothes of their own, the clothes say that a person is tracklet
        `i` and not `j`?"""
        alike = self._face_likeness(person)
        if alike[i] >= self.same_face and alike[i] - alike[j] > _FACE_LEAD:
            return True
        one, other = (_likeness(self._live[n].clothes, person.clothes) for n in (i, j))
        return dressed and one - other > _CLOTHES_LEAD

    def _carries(self, track: _Live) -> bool:
        """May a detected body go on for a tracklet whose face is not seen? Not after a while out of sight: it may be
        that of whoever hid them."""
        if self._number - track.last > 1 + _CARRIED or self._number - track.shown > _UNSHOWN:
            return False
        return track.faces == 0 or self._number - track.faced <= _FACELESS

    # ---- what is written down

    def _seen(self, track: _Live, person: Seen) -> TrackPoint:
        head = person.head
        if person.face is not None:
            track.faces, track.faced = track.faces + 1, self._number
            if person.embedding is not None and person.facing >= CLEAR:
                before = np.zeros(len(person.embedding)) if track.pool is None else np.array(track.pool)
                track.pool = (before + person.embedding).tolist()
        elif not person.found and track.seen and track.body is not None and person.body is not None:
            head = track.head_on(person.body)
        x, y = _centre(head)
        here = [self._number, x, y, float(head[2] - head[0]), float(head[3] - head[1])]
        track.seen = [*track.seen[1 - _SPAN :], here]
        track.body = None if person.body is None else [float(v) for v in person.body]
        track.last, track.carried = self._number, 0
        if person.face is not None or person.torso is not None:
            track.shown = self._number
        track.torso = blended(track.torso, person.torso)
        alike = _likeness(track.clothes, person.clothes)
        track.clothes = blended(track.clothes, person.clothes)
        evidence = "body" if person.face is None else "face"
        return TrackPoint(track.id, plain_box(head), evidence, person.face, alike, person.body_index)

    def _by_clothes(self, points: Sequence[TrackPoint], image_bgr: np.ndarray) -> list[TrackPoint]:
        """Tracklets that are seen in their clothes alone, for as long as these may carry them."""
        found = []
        seen = {p.track for p in points}
        others = [p.box for p in points]
        for track in self._live:
            if track.id in seen:
                continue
            box = track.expected(self._number)
            if is_taken(box, others):
                track.last = self._number - self.max_lost - 1  # two in one place: whoever comes out earns the name
                continue
            if track.faces < _FACES or track.carried >= _CARRIED or track.clothes is None:
                continue
            colours = clothes_colours(image_bgr, box) if _inside(box, image_bgr.shape) else None
            if colours is not None and colour_likeness(colours, np.array(track.clothes)) >= _CLOTHES_LEAST:
                track.carried += 1
                alike = colour_likeness(colours, np.array(track.clothes))
                found.append(TrackPoint(track.id, plain_box(box), "clothes", None, alike))
        return found


def _halves(cost: np.ndarray, chosen: dict[int, int], people: Sequence[Seen]) -> dict[int, int]:
    """Index of a tracklet -> the face of the body, or the body of the face, that it goes on as: of a head that is bent
    or turned no one else can say whose body is below it, but who it was before can."""
    joined: dict[int, int] = {}
    free = set(range(len(people))) - set(chosen.values())
    for i, k in chosen.items():
        if (people[k].face is None) == (people[k].body is None):
            continue  # whole already
        others = [
            m
            for m in free
            if cost[i, m] < _IMPOSSIBLE
            and (people[m].face is None) != (people[k].face is None)
            and (people[m].body is None) != (people[k].body is None)
            and _on(*((people[k], people[m]) if people[m].face is None else (people[m], people[k])))
        ]
        if len(others) == 1:
            joined[i] = others[0]
            free.discard(others[0])
    return joined


def _on(face: Seen, body: Seen) -> bool:
    """Is a head on the upper half of a body?"""
    assert body.body is not None
    x, y = _centre(face.head)
    x0, y0, x1, y1 = body.body
    return bool(x0 <= x <= x1 and y0 <= y <= (y0 + y1) / 2)


def _joined(one: Seen, other: Seen) -> Seen:
    """One person of a face and a body."""
    face, body = (one, other) if one.face is not None else (other, one)
    return replace(face, body=body.body, body_index=body.body_index)


def upper_body(box: Sequence[float] | np.ndarray) -> np.ndarray:
    """The upper body under a head's box: what two people cannot share.

    Args:
        box: xyxy of the head.
    """
    x, _ = _centre(box)
    side = box[2] - box[0]
    return np.array([x - 1.2 * side, box[1], x + 1.2 * side, box[3] + 2.2 * side], np.float32)


def _likeness(before: list[float] | None, now: np.ndarray | None, unknown: float = 1.0) -> float:
    """How much the clothes look as they did, 0..1; `unknown` where nothing can be said."""
    return unknown if before is None or now is None else colour_likeness(now, np.array(before))


def is_taken(box: Sequence[float] | np.ndarray, others: Sequence[Sequence[float] | np.ndarray]) -> bool:
    """Is somebody else where a head would be?

    Args:
        box: xyxy of the head.
        others: xyxy of other heads.
    """
    if not others:
        return False
    return bool(box_iou(upper_body(box), np.stack([upper_body(other) for other in others])).max() > MERGED)


def _centre(box) -> tuple[float, float]:
    return float(box[0] + box[2]) / 2, float(box[1] + box[3]) / 2


def _centres(boxes: np.ndarray) -> np.ndarray:
    return (boxes[:, :2] + boxes[:, 2:]) / 2


def _inside(box, shape) -> bool:
    x, y = _centre(box)
    return 0 <= x < shape[1] and 0 <= y < shape[0]
