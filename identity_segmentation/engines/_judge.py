"""Descriptions of regions -> the IoU to be expected of each with what is looked for.

A line through what is usual of things and specks, whatever was marked (`PRIOR`), is bent by what the references say:
regions found in each by what the others taught are judged too, and their fit is known. That is ridge regression towards
the prior (Hoerl and Kennard, Technometrics 1970), or Bayesian regression with a Gaussian prior, in closed form.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

# Description, its mean and spread, and the weight of one spread. Printed by `benchmarks/few_shot.py --parts judge`:
# fitted to regions of the pictures of the half of the benchmark that is chosen on, of clean tiles of that half, and of
# drawn things, found with one and three references.
PRIOR: tuple[tuple[str, float, float, float], ...] = (
    ("mean", -0.8788, 1.0646, 0.0265),
    ("peak", 0.0206, 1.1646, 0.0077),
    ("beside", -1.3051, 0.7379, 0.0098),
    ("rise", 0.4263, 0.5794, 0.0362),
    ("sure peak", 0.5069, 0.6750, 0.0301),
    ("below top", -0.8691, 0.9978, 0.0077),
    ("texture", -0.9039, 0.9860, 0.0314),
    ("smaller", 0.4532, 0.7887, -0.0205),
    ("larger", 1.2652, 1.5227, 0.0045),
    ("size unlike", 1.1974, 1.2997, -0.0090),
    ("contrast", 0.9348, 0.5883, -0.0007),
    ("contrast as marked", 0.7994, 0.7625, -0.0018),
    ("contrast off", 0.6596, 0.5126, 0.0018),
    ("contrast unlike", 0.4142, 0.4372, -0.0096),
    ("length off", 0.7271, 0.6546, -0.0073),
    ("length unlike", 0.4602, 0.6075, 0.0014),
    ("edge", 0.1440, 0.1185, 0.0166),
    ("edge off", 0.1330, 0.1050, 0.0019),
    ("edge ratio", 0.7620, 0.6381, -0.0117),
    ("cut off", 0.1516, 0.1590, -0.0112),
    ("noise", 0.3470, 0.2764, 0.0055),
    ("thickness", 2.2406, 1.1981, 0.0023),
    ("share", -3.3244, 1.7314, 0.0158),
    ("spread", 0.8994, 0.6500, -0.0296),
    ("unusual", 0.1492, 0.1828, 0.0151),
    ("oddest", 0.4320, 0.2449, -0.0128),
    ("below oddest", -0.2195, 0.2199, 0.0194),
    ("edge over inside", 0.1823, 0.2690, 0.0246),
    ("edge over beside", -0.1220, 0.3821, 0.0054),
    ("open", 0.5758, 0.2323, -0.0219),
    ("by light", 0.7089, 0.4553, -0.0232),
    ("growth", 0.1061, 0.3273, -0.0197),
    ("growth by light", 0.4081, 0.6446, 0.0043),
    ("separate", 1.6927, 0.6279, 0.0384),
    ("spread of light", 0.4770, 0.3272, -0.0091),
    ("unusual rise", 0.0393, 0.0638, 0.0077),
    ("texture rise", 0.2806, 0.4331, 0.0221),
    ("texture below top", -1.7869, 0.8585, 0.0220),
)
BIAS = 0.1627
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
