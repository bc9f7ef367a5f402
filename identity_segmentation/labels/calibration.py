"""Scores of the references, each labelled by the others -> what a score is worth: the IoU to be expected of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..types import Trial


@dataclass(frozen=True)
class Calibration:
    """What a score was worth on the references, each labelled by the others (leave-one-out).

    A straight line through the trials, and through two made-up ones that say "the score is the IoU", which is what is
    believed before any trial: with three trials the line is mostly theirs, and never runs wild.

    Attributes:
        slope, offset: expected IoU = offset + slope * score, within 0..1.
        error: mean distance of the trials from the line; None where there were none.
        trials: how many there were.
    """

    slope: float = 1.0
    offset: float = 0.0
    error: float | None = None
    trials: int = 0

    @classmethod
    def of(cls, trials: Sequence[Trial]) -> Calibration:
        """The line for these trials; without any, scores are not calibrated."""
        if not trials:
            return cls()
        scores = np.array([t.score for t in trials] + [0.0, 1.0])
        values = np.array([t.iou for t in trials] + [0.0, 1.0])
        spread = scores - scores.mean()
        slope = max(0.0, float((spread * (values - values.mean())).sum() / max(1e-9, (spread**2).sum())))
        offset = float(values.mean() - slope * scores.mean())
        found = np.clip(offset + slope * scores[:-2], 0, 1)
        return cls(slope, offset, float(np.abs(found - values[:-2]).mean()), len(trials))

    def expected(self, score: float) -> float | None:
        """The IoU to be expected of a score; None if nothing is known of it."""
        return None if not self.trials else float(np.clip(self.offset + self.slope * score, 0, 1))

    def __str__(self) -> str:
        if not self.trials:
            return "scores are not calibrated: that takes marks on two pictures or more"
        return (
            f"scores calibrated on {self.trials} leave-one-out trials; expected IoU is {self.error:.2f} off on average"
        )
