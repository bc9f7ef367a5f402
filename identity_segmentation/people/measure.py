"""What a gallery shows about itself: how near its people come to each other. (Notebook section 3.)

Every reference in turn plays an impostor to all the other people. That says, for each person, how high somebody else
of their kind scores; and which two people on file cannot be told apart, because they are one person under two names,
or twins. `rule.NamingRule` is made from it, and `check` prints it.
"""

from __future__ import annotations

from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np

from .gallery import EXHAUSTIVE, Gallery, blended

# Similarity from which somebody is of a person's kind. Of people who look nothing like each other 99 % stay below 0.26;
# half of the look-alikes are above 0.33 (SFace) or 0.37 (the mini packs): benchmarks/identity.py, "Levels".
KIND = 0.28
# What a person needs to show what look-alikes reach: references, others of their kind, and references of those.
_LEAST_REFERENCES, _LEAST_ALIKE, _LEAST_PROBES = 3, 2, 6
_SAMPLE, _SAMPLE_LARGE = 1500, 200  # references that play impostor; fewer against very many people


@dataclass(frozen=True)
class Pair:
    """Two people on file who are as near to each other as each is to themselves.

    Attributes:
        first, second: their indices in the gallery.
        similarity: median score of either's references against the other.
        lead: how far a face must be ahead of the one to be given the other's name; more than any of their own
            references is on the wrong side.
    """

    first: int
    second: int
    similarity: float
    lead: float


@dataclass(frozen=True)
class Astray:
    """A reference that looks like somebody other than the one it is filed under.

    Attributes:
        reference: its row in the gallery.
        person: whom it looks like.
        similarity: its score against that person.
        own: its score against the other references of the one it is filed under.
    """

    reference: int
    person: int
    similarity: float
    own: float


@dataclass(frozen=True, eq=False)
class Measured:
    """See the module.

    Attributes:
        highest: float (P,), the highest score that anybody else's reference reaches against each person, partners of a
            `Pair` apart; -1 where there is nobody else.
        shown: bool (P,), are there references and look-alikes enough to show what strangers of their kind reach.
        pairs: people who cannot be told apart.
        impostors: float (N,), what references score against others of their kind.
        astray: references that are somebody else's by the looks of them.
    """

    highest: np.ndarray
    shown: np.ndarray
    pairs: tuple[Pair, ...]
    impostors: np.ndarray
    astray: tuple[Astray, ...] = ()


_measured: WeakKeyDictionary[Gallery, dict[tuple[str, float, float], Measured]] = WeakKeyDictionary()


def measure(gallery: Gallery, threshold: float, margin: float = 0.05, scoring: str = "blend") -> Measured:
    """Measure a gallery; once for each state of it.

    Args:
        gallery: the people on file.
        threshold: acceptance threshold; two people who stay below it are never a pair.
        margin: least lead over the runner-up.
        scoring: as in `Gallery.similarity`.
    """
    known = _measured.setdefault(gallery, {})
    asked = (scoring, threshold, margin)
    if asked not in known:
        known[asked] = _measure(gallery, threshold, margin, scoring)
    return known[asked]


def _measure(gallery: Gallery, threshold: float, margin: float, scoring: str) -> Measured:
    count = len(gallery)
    if count < 2:
        return Measured(np.full(count, -1.0), np.zeros(count, bool), (), np.zeros(0))
    rows = np.arange(len(gallery.references))
    most = _SAMPLE if count <= EXHAUSTIVE else _SAMPLE_LARGE
    if len(rows) > most:
        rows = np.sort(np.random.default_rng(0).choice(rows, most, replace=False))
    everyones = gallery.owners
    scores, owners = gallery.similarity(gallery.references[rows], scoring), everyones[rows]
    present, own, astray = np.unique(owners), np.empty(len(rows)), np.zeros(scores.shape, bool)
    # (owner of the references, person): the middle and the top of what the one's references score against the other.
    middle = np.full((len(present), count), -1.0)
    top = np.full((len(present), count), -1.0)
    for place, owner in enumerate(present.tolist()):
        mine = owners == owner
        block, first = scores[mine], int(np.searchsorted(everyones, owner))
        # A single reference says nothing of itself. One that is nearer to somebody else than to its own person's other
        # references is that person's face in the wrong folder, and no impostor of theirs.
        own[mine] = np.array(own_scores(gallery, owner, scoring) or [np.inf])[rows[mine] - first]
        astray[mine] = block >= own[mine][:, None]
        astray[mine, owner] = False
        middle[place], top[place] = np.median(block, axis=0), np.where(astray[mine], -1.0, block).max(axis=0)
        middle[place, owner] = top[place, owner] = -1.0
    pairs = _pairs(gallery, present, middle, threshold, margin, scoring)
    place_of = {int(owner): place for place, owner in enumerate(present)}
    for pair in pairs:
        for one, other in ((pair.first, pair.second), (pair.second, pair.first)):
            middle[place_of[one], other] = top[place_of[one], other] = -1.0
    sizes = np.array([len(person.references) for person in gallery.people])
    alike = middle >= KIND
    probes = (alike * sizes[present][:, None]).sum(axis=0)
    shown = (sizes >= _LEAST_REFERENCES) & (alike.sum(axis=0) >= _LEAST_ALIKE) & (probes >= _LEAST_PROBES)
    row_of = np.searchsorted(present, owners)
    paired = {(pair.first, pair.second) for pair in pairs} | {(pair.second, pair.first) for pair in pairs}
    found = [
        Astray(int(rows[row]), int(person), float(scores[row, person]), float(own[row]))
        for row, person in np.argwhere(astray & (scores >= threshold) & (scores >= own[:, None] + margin)).tolist()
        if (int(owners[row]), person) not in paired
    ]
    return Measured(top.max(axis=0), shown, tuple(pairs), scores[alike[row_of] & ~astray], tuple(found))


def _pairs(
    gallery: Gallery, present: np.ndarray, middle: np.ndarray, threshold: float, margin: float, scoring: str
) -> list[Pair]:
    """People whose references score against the other as high as nine tenths of their own against themselves."""
    place_of = {int(owner): place for place, owner in enumerate(present)}
    found = []
    for place, first in enumerate(present.tolist()):
        for second in np.flatnonzero(middle[place] >= threshold).tolist():
            if second <= first or second not in place_of:
                continue
            both = (middle[place, second] + middle[place_of[second], first]) / 2
            own = [*own_scores(gallery, first, scoring), *own_scores(gallery, second, scoring)]
            if both >= max(threshold, float(np.quantile(own, 0.1)) if own else -1.0):
                found.append(Pair(first, second, float(both), _lead(gallery, first, second, margin, scoring)))
    return found


def _lead(gallery: Gallery, first: int, second: int, margin: float, scoring: str) -> float:
    """A lead that is larger than any with which one of the two's own references is on the wrong side."""
    worst = 0.0
    for one, other in ((first, second), (second, first)):
        theirs = gallery.person_references(one)
        own = own_scores(gallery, one, scoring)
        if own:
            against = blended(theirs, gallery.person_references(other), scoring)
            worst = max(worst, float(np.max(against - np.array(own))))
    return margin + worst


def own_scores(gallery: Gallery, person: int, scoring: str = "blend") -> list[float]:
    """What each of a person's references scores against the others (leave-one-out); empty for a single reference.

    Args:
        gallery: the people on file.
        person: their index.
        scoring: as in `Gallery.similarity`.
    """
    references = gallery.person_references(person)
    if len(references) < 2:
        return []
    return [
        float(blended(row[None], np.delete(references, index, 0), scoring)[0]) for index, row in enumerate(references)
    ]
