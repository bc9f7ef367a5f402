"""Scores of a face or a track against the people on file -> is that enough for a name. (Notebook sections 3 and 7.)

There is one rule, for pictures, videos, the notebook and the page. A name is given when the similarity reaches the
person's acceptance threshold and leads the runner-up by the least lead. What the threshold is depends on what the
gallery shows.

- A person with look-alikes on file gets the engine's threshold, or the highest score that any of those look-alikes
  reaches against them, whichever is higher. So one bad pair raises the level of that pair alone.
- A person on file alone, or among people who look nothing like them, or with one or two photos, gets the engine's
  strict threshold: nothing on file shows what strangers of their kind reach. With a single photo it is a little more.
- Two people whose photos cannot be told apart (one person under two names, twins) do not raise each other's level.
  Between those two alone a larger lead decides.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from ..engines.protocols import FaceEngine
from ..errors import InputError
from .gallery import Gallery
from .measure import measure

# How much more a person with a single reference needs. One cosine scatters more than a mean does: with SFace 0.15 % of
# look-alike strangers still reach the strict threshold, and none this much more (docs/figures.md, "Levels").
SINGLE = 0.03
LEAST_IMPOSTORS = 200  # impostors' scores before a gallery can calibrate an engine


@dataclass(frozen=True)
class Verdict:
    """What the rule says of one row of scores.

    Attributes:
        person: index of the person judged: the one assigned, or the nearest.
        runner_up: index of the best other person; None if there is nobody else.
        similarity: score of `person`, a cosine in -1..1.
        lead: `similarity` less the runner-up's; `similarity` itself without a runner-up.
        accepted: is that enough for the name.
    """

    person: int
    runner_up: int | None
    similarity: float
    lead: float
    accepted: bool


@dataclass(frozen=True, eq=False)
class NamingRule:
    """When a name is given; see the module.

    Attributes:
        levels: float (P,), the acceptance threshold of each person, -1..1 on the engine's scale.
        floor: least similarity for a name that only the whole group's reading earns (`matching.name_faces`).
        least_lead: least lead over the runner-up. Nobody is given a name when they look more like somebody else.
        pairs: person -> (partner, lead over that partner) of those who cannot be told apart.
        group_lead: least cost of every other reading of a whole group's picture; None = names by elimination are not
            given.
        sure: float (P,), the levels from which a track's name needs no second look; None = `levels`.
        small: as `FaceEngine.small`: small faces score less, a stranger's too, and their level is lower by as much.

    Raises:
        InputError: a threshold that is no cosine.
    """

    levels: np.ndarray
    floor: float
    least_lead: float = 0.0
    pairs: Mapping[int, tuple[tuple[int, float], ...]] = field(default_factory=dict)
    group_lead: float | None = None
    sure: np.ndarray | None = None
    small: tuple[tuple[float, float], ...] = ()

    def __post_init__(self):
        for value in (self.floor, *np.ravel(self.levels).tolist()):
            if not -1 <= value <= 1:
                raise InputError(f"expected a threshold between -1 and 1, got {value}")

    @classmethod
    def plain(cls, people: int, threshold: float, least_lead: float = 0.0) -> NamingRule:
        """One threshold for everybody, and a lead.

        Args:
            people: number of people.
            threshold: least similarity, -1..1.
            least_lead: least lead over the runner-up.
        """
        return cls(np.full(people, float(threshold)), float(threshold), least_lead)

    @classmethod
    def of(
        cls,
        gallery: Gallery,
        threshold: float,
        margin: float | None = None,
        engine_margin: float = 0.05,
        scoring: str = "blend",
        strict: float | None = None,
        floor: float | None = None,
        calibrated: bool = True,
    ) -> NamingRule:
        """The rule for a gallery.

        Args:
            gallery: who is on file.
            threshold: acceptance threshold, -1..1.
            margin: None for the rule of the module; a number for a plain "the threshold, and a lead over the runner-up
                by at least this"; 0 for one plain threshold.
            engine_margin: the engine's calibrated margin, the least lead where `margin` is None.
            scoring: as in `Gallery.similarity`.
            strict: the threshold where the gallery can show nothing; None = `threshold`.
            floor: least similarity for a name by elimination; None = `threshold`.
            calibrated: are the engine's levels measured? If not, a gallery with look-alikes enough raises them to what
                it measures: 0.2 % of its own impostors reach the threshold, as with a calibrated engine.

        Raises:
            InputError: a threshold that is no cosine.
        """
        if margin is not None or not -1 <= threshold <= 1:
            return cls.plain(len(gallery), threshold, margin or 0.0)
        found = measure(gallery, threshold, engine_margin, scoring)
        strict = threshold if strict is None else strict
        if not calibrated and len(found.impostors) >= LEAST_IMPOSTORS:
            by = max(0.0, float(np.quantile(found.impostors, 0.998)) - threshold)
            threshold, strict = threshold + by, strict + by
        more = SINGLE if strict > threshold else 0.0
        alone = np.array([strict + more * (len(person.references) == 1) for person in gallery.people])
        levels = np.maximum(np.where(found.shown, threshold, alone), found.highest)
        pairs: dict[int, tuple[tuple[int, float], ...]] = {}
        for pair in found.pairs:
            for one, other in ((pair.first, pair.second), (pair.second, pair.first)):
                pairs[one] = (*pairs.get(one, ()), (other, pair.lead))
        least = threshold if floor is None else min(floor, threshold)
        return cls(np.minimum(levels, 1.0), least, engine_margin, pairs, engine_margin)

    @classmethod
    def of_engine(
        cls, engine: FaceEngine, gallery: Gallery, threshold: float | None = None, margin: float | None = None,
        scoring: str = "blend", tracks: bool = False,
    ) -> NamingRule:  # fmt: skip
        """The rule at an engine's calibrated values, where `threshold` is not given; see `of`.

        Args:
            engine: gives the calibrated thresholds and margin.
            gallery: who is on file.
            threshold: acceptance threshold, -1..1, instead of the engine's two; None = the engine's.
            margin, scoring: as in `of`.
            tracks: for a video's tracks. Video shows faces worse than photos do, the person's own most of all, and a
                track is seen again by whoever looks through the list of what is worth a look. So the engine's threshold
                is enough for a name, and a track that does not reach the strict one is listed.
        """
        if threshold is not None:
            return cls.of(gallery, threshold, margin, engine.margin, scoring, threshold, engine.floor)

        def at(strict: float) -> NamingRule:
            return cls.of(
                gallery, engine.threshold, margin, engine.margin, scoring, strict, engine.floor, bool(engine.strangers)
            )

        picture = replace(at(engine.strict), small=engine.small)
        return replace(at(engine.threshold), small=engine.small, sure=picture.levels) if tracks else picture

    def relief(self, side: float) -> float:
        """By how much the levels are lower for a face of `side` pixels."""
        if not self.small:
            return 0.0
        sides, values = zip(*self.small, strict=True)
        return float(np.interp(side, sides, values))

    def judge(self, row: np.ndarray, person: int | None, side: float = np.inf) -> Verdict:
        """Judge one face's or track's scores.

        Args:
            row: float (P,), similarity to every person; P >= 1.
            person: whom the one-to-one assignment gave it to; None = nobody, so that the nearest is described and
                not accepted.
            side: pixels across the face.
        """
        judged = int(row.argmax()) if person is None else person
        rival = runner_up(row, judged)
        similarity = float(row[judged])
        lead = similarity if rival is None else similarity - float(row[rival])
        enough = similarity >= float(self.levels[judged]) - self.relief(side) and (
            rival is None or lead >= self.least_lead
        )
        return Verdict(judged, rival, similarity, lead, person is not None and enough and self.tells_apart(row, judged))

    def tells_apart(self, row: np.ndarray, person: int) -> bool:
        """Is a face (scores (P,)) far enough ahead of whoever cannot be told from `person` otherwise?"""
        return all(float(row[person]) - float(row[other]) >= least for other, least in self.pairs.get(person, ()))


def runner_up(row: np.ndarray, winner: int) -> int | None:
    """Of one face's (or track's) scores (P,), the best person who is not the winner; None if there is nobody else."""
    if len(row) < 2:
        return None
    top = np.argpartition(-row, 1)[:2]
    best = top[np.argsort(-row[top], kind="stable")]
    return int(best[1] if best[0] == winner else best[0])
