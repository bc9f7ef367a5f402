"""Tracks and what their faces say -> names, one-to-one over everything on screen together. (Notebook section 7.)

Names are given to tracks, not frames. Every face of a track is evidence, and no name is given twice to people who are
on screen together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

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
