"""Tracks and what their faces say -> names, one-to-one over everything on screen together. (Notebook section 7.)

Names are given to tracks, not frames. A track is as similar to a person as the better half of its faces are: turned and
blurred faces are no evidence against anybody. No name is given twice to people who are on screen together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import lil_matrix

from ..people.rule import NamingRule
from ..types import Face

_FULL_FACE = 60.0  # pixels across a face from which more of it is no more evidence


@dataclass(frozen=True)
class TrackName:
    """What a whole track says of who it is.

    Attributes:
        track: its id.
        name: the person, or None.
        similarity: weighted mean of the better half of its faces' similarities to `nearest`.
        margin: `similarity` less the runner-up's.
        runner_up, nearest: people, or None.
        faces: number of faces behind it.
        sure: the similarity is what a picture alone would need; if not, the name is worth a look.
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
    sure: bool = True


class Evidence(NamedTuple):
    """What one face says of a track: its weight, its similarities to everybody (P,), and its size in pixels."""

    weight: float
    similar: np.ndarray
    side: float = np.inf


def name_tracks(
    evidence: dict[int, list[Evidence]],
    together: Sequence[Sequence[int]],
    people: Sequence[str],
    rule: NamingRule,
) -> dict[int, TrackName]:
    """Name tracks one-to-one over everything that is on screen at the same time.

    The assignment is exact: it maximises the total evidence above the threshold, under "one name a track" and "one
    track a name" in every set of tracks that are seen together (a mixed-integer program, solved by HiGHS).

    Args:
        evidence: track -> what each of its faces says of `people`.
        together: sets of tracks that share a sampled frame.
        people: the gallery's names, P of them.
        rule: when a name is given.
    """
    tracks = sorted(evidence)
    scores = {track: _better_half(evidence[track]) for track in tracks}
    sides = {track: float(np.median([e.side for e in evidence[track]])) for track in tracks}
    levels = {track: rule.levels - rule.relief(sides[track]) for track in tracks}
    given = _assign_tracks(tracks, scores, evidence, together, levels) if people else {}
    names = {}
    for track in tracks:
        faces = len(evidence[track])
        if not len(scores[track]):
            names[track] = TrackName(track, None, 0.0, 0.0, None, None, faces)
            continue
        said = rule.judge(scores[track], given.get(track), sides[track])
        sure = rule.sure is None or said.similarity >= float(rule.sure[said.person]) - rule.relief(sides[track])
        nearest = people[said.person]
        rival = None if said.runner_up is None else people[said.runner_up]
        names[track] = TrackName(
            track, nearest if said.accepted else None, said.similarity, said.lead, rival, nearest, faces, sure=sure
        )
    return names


def _better_half(seen: list[Evidence]) -> np.ndarray:
    """For every person the weighted mean of the half of the faces that are most like them: (P,)."""
    rows, weights = np.stack([e.similar for e in seen]), np.array([e.weight for e in seen])
    best = np.argsort(-rows, axis=0, kind="stable")[: (len(seen) + 1) // 2]
    counted = weights[best]
    return (np.take_along_axis(rows, best, 0) * counted).sum(0) / np.maximum(counted.sum(0), 1e-9)


def face_weight(face: Face) -> float:
    """How much a face says: its detection score, less if it is small."""
    return face.score * min(1.0, face.side / _FULL_FACE)


def _assign_tracks(
    tracks: list[int], scores: dict[int, np.ndarray], evidence: dict[int, list[Evidence]],
    together: Sequence[Sequence[int]], levels: dict[int, np.ndarray],
) -> dict[int, int]:  # fmt: skip
    """track -> person index of the best total; only pairs at or above the person's threshold can be."""
    pairs = [(t, int(p)) for t in tracks for p in np.flatnonzero(scores[t] >= levels[t])]
    if not pairs:
        return {}
    column = {pair: i for i, pair in enumerate(pairs)}
    seen = {t: float(np.sqrt(sum(e.weight for e in evidence[t]))) for t in tracks}
    value = np.array([(float(scores[t][p]) - float(levels[t][p]) + 1e-6) * seen[t] for t, p in pairs])
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
