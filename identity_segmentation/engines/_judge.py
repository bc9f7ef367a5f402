"""Descriptions of regions -> the IoU to be expected of each with what is looked for.

A line through what is usual of things and specks, whatever was marked (`PRIOR`), is bent by what the references say:
regions found in each by what the others taught are judged too, and their fit is known. That is ridge regression towards
the prior (Hoerl and Kennard, Technometrics 1970), or Bayesian regression with a Gaussian prior, in closed form.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

# Description, its mean and spread, and the weight of one spread. Fitted to regions of most of the pictures of the half
# of the benchmark that is chosen on, of clean tiles of that half, and of drawn things, found with one, three or five
# references. `benchmarks/few_shot.py --parts judge` fits such rows anew, to all of that half and the drawn things.
PRIOR: tuple[tuple[str, float, float, float], ...] = (
    ("mean", 0.1559, 0.7078, 0.0544),
    ("peak", 0.7588, 0.8662, 0.0203),
    ("beside", -0.8331, 0.4977, -0.0159),
    ("rise", 0.989, 0.5788, 0.0802),
    ("sure peak", 0.8633, 0.7224, 0.0213),
    ("below top", -0.3116, 0.5429, 0.0327),
    ("texture", -0.0533, 0.8908, 0.0422),
    ("smaller", 0.5767, 0.862, -0.0456),
    ("larger", 0.4004, 0.6698, 0.0034),
    ("size unlike", 0.4981, 0.6203, -0.0151),
    ("contrast", 0.9427, 0.6773, 0.0152),
    ("contrast as marked", 0.8751, 0.7628, -0.0031),
    ("contrast off", 0.512, 0.4061, -0.0152),
    ("contrast unlike", 0.2918, 0.3733, -0.0077),
    ("length off", 0.5346, 0.5122, -0.0271),
    ("length unlike", 0.2978, 0.4404, 0.0123),
    ("edge", 0.2039, 0.1476, 0.0235),
    ("edge off", 0.0885, 0.0839, -0.001),
    ("edge ratio", 0.899, 0.4701, 0.0133),
    ("cut off", 0.0631, 0.1038, -0.0381),
    ("noise", 0.563, 0.3502, -0.0283),
    ("thickness", 1.8163, 1.1103, 0.0361),
    ("share", -4.0543, 1.6543, -0.0166),
    ("spread", 0.6029, 0.3791, -0.0553),
)
BIAS = 0.3854
DESCRIPTIONS = tuple(name for name, *_ in PRIOR)
_HOLD = 3.0  # how strongly the prior holds, in references


class Judged(NamedTuple):
    """Regions whose fit is known.

    Attributes:
        what: float64 (N, F), `_candidates.descriptions`.
        fits: float64 (N,), their IoU.
        weights: float64 (N,); those of a picture sum to one.
    """

    what: np.ndarray
    fits: np.ndarray
    weights: np.ndarray


class Judge:
    """Says what regions are worth.

    Args:
        known: regions of the references, found by what the others taught; none with one reference.
    """

    def __init__(self, known: Sequence[Judged] = ()):
        _, mean, scale, weight = (np.array(column) for column in zip(*PRIOR, strict=True))
        self._mean, self._scale = mean, scale
        self._line = np.append(weight, BIAS)
        if known:
            what = self._scaled(np.concatenate([k.what for k in known]))
            weights = np.concatenate([k.weights for k in known])
            missed = np.concatenate([k.fits for k in known]) - what @ self._line
            normal = what.T @ (what * weights[:, None]) + _HOLD * np.eye(what.shape[1])
            self._line = np.round(self._line + np.linalg.solve(normal, what.T @ (weights * missed)), 5)

    def worth(self, what: np.ndarray) -> np.ndarray:
        """Expected IoU of regions, float64 (N,), for their descriptions (N, F)."""
        return np.round(self._scaled(what) @ self._line, 4)

    def _scaled(self, what: np.ndarray) -> np.ndarray:
        return np.column_stack([(what - self._mean) / self._scale, np.ones(len(what))])
