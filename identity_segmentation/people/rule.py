"""Scores of a face or a track against the people on file -> is that enough for a name. (Notebook sections 3 and 7.)

There is one rule. A name is given when the similarity reaches the acceptance threshold and the lead over the runner-up
reaches the least lead. Unless a plain rule was asked for, similarity and lead together must also reach the look-alike
level: what the gallery's own impostors stay below (`Gallery.look_alike_level`). A single threshold that suits six
actors is far too low for six look-alike idols.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..engines.protocols import FaceEngine
from ..errors import InputError
from .gallery import Gallery


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


@dataclass(frozen=True)
class NamingRule:
    """When a name is given; the same for pictures, videos, the notebook and the page.

    Attributes:
        threshold: acceptance threshold, the least similarity, -1..1 on the engine's scale.
        least_lead: least lead over the runner-up. Nobody is given a name when they look more like somebody else.
        level: look-alike level, the least sum of similarity and lead; None = not asked for.
        group_lead: least cost of every other reading of a whole group's picture (`matching.match_faces`);
            None = names by elimination are not given.

    Raises:
        InputError: a threshold that is no cosine.
    """

    threshold: float
    least_lead: float = 0.0
    level: float | None = None
    group_lead: float | None = None

    def __post_init__(self):
        if not -1 <= self.threshold <= 1:
            raise InputError(f"expected a threshold between -1 and 1, got {self.threshold}")

    @classmethod
    def of(
        cls,
        gallery: Gallery,
        threshold: float,
        margin: float | None = None,
        engine_margin: float = 0.05,
        scoring: str = "blend",
    ) -> NamingRule:
        """The rule for a gallery.

        Args:
            gallery: who is on file.
            threshold: least similarity for a name, -1..1.
            margin: None for the look-alike level; a number for a plain "lead over the runner-up by at least this";
                0 for one plain threshold (anybody's lead will do).
            engine_margin: the engine's calibrated margin, the least that the level adds to the threshold.
            scoring: as in `Gallery.similarity`.

        Raises:
            InputError: a threshold that is no cosine.
        """
        if margin is not None:
            return cls(threshold, margin)
        measured = gallery.look_alike_level(scoring)
        # Where no level could be measured, the engine's margin stands in as a lead.
        least = 0.0 if np.isfinite(measured) else engine_margin
        return cls(threshold, least, max(threshold + engine_margin, measured), engine_margin)

    @classmethod
    def of_engine(
        cls, engine: FaceEngine, gallery: Gallery, threshold: float | None = None, margin: float | None = None,
        scoring: str = "blend",
    ) -> NamingRule:  # fmt: skip
        """The rule at an engine's calibrated values, where `threshold` is not given; see `of`.

        Args:
            engine: gives the calibrated threshold and margin.
            gallery: who is on file.
            threshold: least similarity for a name, -1..1; None = the engine's.
            margin, scoring: as in `of`.
        """
        return cls.of(gallery, engine.threshold if threshold is None else threshold, margin, engine.margin, scoring)

    def judge(self, row: np.ndarray, person: int | None) -> Verdict:
        """Judge one face's or track's scores.

        Args:
            row: float (P,), similarity to every person; P >= 1.
            person: whom the one-to-one assignment gave it to; None = nobody, so that the nearest is described and
                not accepted.
        """
        judged = int(row.argmax()) if person is None else person
        rival = runner_up(row, judged)
        similarity = float(row[judged])
        lead = similarity if rival is None else similarity - float(row[rival])
        ahead = rival is None or lead >= self.least_lead
        enough = self.level is None or similarity + lead >= self.level
        return Verdict(judged, rival, similarity, lead, person is not None and ahead and enough)


def runner_up(row: np.ndarray, winner: int) -> int | None:
    """Of one face's (or track's) scores (P,), the best person who is not the winner; None if there is nobody else."""
    if len(row) < 2:
        return None
    top = np.argpartition(-row, 1)[:2]
    best = top[np.argsort(-row[top], kind="stable")]
    return int(best[1] if best[0] == winner else best[0])
