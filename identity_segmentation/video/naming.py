"""Tracklets and what their faces say -> names, one-to-one over everybody on screen together. (Notebook section 7.)

Names are given to tracklets, not frames. A tracklet's faces are pooled and compared once; the rule is the one of
pictures, with its calibration for tracks. No name is given twice to people who are on screen together. Who is unnamed
is then linked to somebody named (`linking`), where faces or clothes say so without a doubt.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csr_matrix

from ..people.rule import NamingRule
from ..types import Face

_FULL_FACE = 60.0  # pixels across a face from which more of it is no more evidence
_TURNED = 0.05  # what a face that is turned away says, beside one that looks at the camera


@dataclass(frozen=True)
class TrackName:
    """What is said of who a tracklet is.

    Attributes:
        track: its number.
        name: the person, or None.
        similarity: of its pooled face to `nearest`.
        margin: `similarity` less the runner-up's.
        runner_up, nearest: people, or None.
        faces: number of faces behind it.
        by_hand: a person said so.
        sure: the similarity is what a picture alone would need; if not, the name is worth a look.
        by: what the name rests on: "face"; "hand"; "alike", its face is that of a named tracklet; "clothes", they are
            those of a named tracklet in the same place; "" without a name.
    """

    track: int
    name: str | None
    similarity: float
    margin: float
    runner_up: str | None
    nearest: str | None
    faces: int
    by_hand: bool = False
    sure: bool = True
    by: str = ""


@dataclass(frozen=True, eq=False)
class Evidence:
    """What a tracklet's faces say of who it is.

    Attributes:
        similar: float (P,): similarity of its pooled face to everybody on file.
        faces: how many were pooled.
        weight: sum of their weights; see `face_weight`.
        side: pixels across the middle one.
    """

    similar: np.ndarray
    faces: int
    weight: float
    side: float = np.inf


def face_weight(face: Face) -> float:
    """How much a face says: its detection score, less if it is small, and little if it is turned away."""
    return face.score * min(1.0, face.side / _FULL_FACE) * max(_TURNED, face.facing)


def name_tracks(
    evidence: Mapping[int, Evidence], together: Collection[tuple[int, int]], people: Sequence[str], rule: NamingRule,
    by_hand: Mapping[int, str | None] | None = None,
) -> dict[int, TrackName]:  # fmt: skip
    """Name tracklets one-to-one over everything that is on screen at the same time.

    The assignment is exact: of all that the rule allows it has the largest total of evidence above the thresholds,
    under "one name a tracklet" and "one tracklet a name" for any two that are seen together. Where no two want the
    same name it is each one's own best; the rest falls into small groups (a mixed-integer program each, by HiGHS).

    Args:
        evidence: tracklet -> what its faces say.
        together: pairs of tracklets, the lower number first, that are seen at the same time.
        people: the gallery's names, P of them.
        rule: when a name is given.
        by_hand: track -> the name that a person gave it (None = nobody on file): it stands, and nobody who is seen
            together with it has the same.
    """
    by_hand = by_hand or {}
    wanted = {track: _allowed(seen, rule) for track, seen in evidence.items()} if people else {}
    wanted |= {track: [] for track in by_hand if track in wanted}
    for pair in together:
        for track, other in (pair, pair[::-1]):
            if by_hand.get(other) in people and wanted.get(track):
                wanted[track] = [person for person in wanted[track] if people[person] != by_hand[other]]
    given = _assigned(wanted, evidence, together, rule)
    names = {}
    for track, seen in evidence.items():
        if not len(seen.similar):
            names[track] = TrackName(track, None, 0.0, 0.0, None, None, seen.faces)
            continue
        said = rule.judge(seen.similar, given.get(track), seen.side)
        sure = rule.sure is None or said.similarity >= float(rule.sure[said.person]) - rule.relief(seen.side)
        nearest = people[said.person]
        rival = None if said.runner_up is None else people[said.runner_up]
        name, by = (nearest, "face") if said.accepted else (None, "")
        names[track] = TrackName(
            track, name, said.similarity, said.lead, rival, nearest, seen.faces, sure=sure, by=by
        )  # fmt: skip
    return _corrected(names, by_hand)


def _allowed(seen: Evidence, rule: NamingRule) -> list[int]:
    """Whom the rule would let a tracklet be, the most similar first."""
    enough = np.flatnonzero(seen.similar >= rule.levels - rule.relief(seen.side))
    best = enough[np.argsort(-seen.similar[enough], kind="stable")]
    return [int(person) for person in best if rule.judge(seen.similar, int(person), seen.side).accepted]


def _assigned(
    wanted: Mapping[int, Sequence[int]], evidence: Mapping[int, Evidence], together: Collection[tuple[int, int]],
    rule: NamingRule,
) -> dict[int, int]:  # fmt: skip
    """track -> person index of the best total."""
    given = {track: people[0] for track, people in wanted.items() if people}
    beside: dict[int, set[int]] = {track: set() for track in given}
    for one, other in together:
        if one in beside and other in beside and not set(wanted[one]).isdisjoint(wanted[other]):
            beside[one].add(other)
            beside[other].add(one)
    for group in _groups(beside):
        # Everybody's first wish is the best that can be; only where two have the same is there anything to solve.
        if any(given[one] == given[other] for one in group for other in beside[one]):
            for track in group:
                del given[track]
            given |= _solved(group, wanted, evidence, beside, rule)
    return given


def _groups(beside: Mapping[int, Collection[int]]) -> list[list[int]]:
    """Tracklets that hang together, each group sorted."""
    groups, done = [], set()
    for start in beside:
        if start in done:
            continue
        group, todo = [], [start]
        done.add(start)
        while todo:
            group.append(todo.pop())
            new = [other for other in beside[group[-1]] if other not in done]
            done.update(new)
            todo += new
        groups.append(sorted(group))
    return groups


def _solved(
    group: Sequence[int], wanted: Mapping[int, Sequence[int]], evidence: Mapping[int, Evidence],
    beside: Mapping[int, Collection[int]], rule: NamingRule,
) -> dict[int, int]:  # fmt: skip
    """track -> person index within a group that hangs together."""
    pairs = [(track, person) for track in group for person in wanted[track]]
    column = {pair: i for i, pair in enumerate(pairs)}
    value = []
    for track, person in pairs:
        seen = evidence[track]
        above = float(seen.similar[person]) - float(rule.levels[person]) + rule.relief(seen.side)
        value.append((above + 1e-6) * float(np.sqrt(seen.weight)))
    limits = [[column[track, person] for person in wanted[track]] for track in group]
    limits += [
        [column[one, person], column[other, person]]
        for one in group for other in beside[one] if one < other
        for person in wanted[one] if (other, person) in column
    ]  # fmt: skip
    limits = [row for row in limits if len(row) > 1]
    where = (np.repeat(np.arange(len(limits)), [len(row) for row in limits]), np.concatenate(limits))
    matrix = csr_matrix((np.ones(len(where[0])), where), shape=(len(limits), len(pairs)))
    constraint = LinearConstraint(matrix, -np.inf, 1)
    solved = milp(-np.array(value), integrality=np.ones(len(pairs)), bounds=Bounds(0, 1), constraints=constraint)
    if solved.x is None:
        return {}
    return {track: person for (track, person), chosen in zip(pairs, solved.x > 0.5, strict=True) if chosen}


def _corrected(names: Mapping[int, TrackName], by_hand: Mapping[int, str | None]) -> dict[int, TrackName]:
    """The names with a person's corrections laid over them."""
    changed = dict(names)
    for track, name in by_hand.items():
        before = changed.get(track, TrackName(track, None, 0.0, 0.0, None, None, 0))
        changed[track] = replace(before, name=name, by_hand=True, sure=True, by="hand" if name else "")
    return changed
