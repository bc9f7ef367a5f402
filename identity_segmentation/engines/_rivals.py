"""Two bodies and one pixel -> whose it is: by what the nets drew of each, by where face or box is, and by colours.

A net that draws one body at a time often draws a piece of the neighbour with it. Nobody is taken to be in front: each
contested pixel has a lead, in log-odds, of one person over the other. Figures: benchmarks/overlaps.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from scipy.ndimage import gaussian_filter

from ._silhouettes import Head, log_odds, silhouette

# Weights were chosen on scenes of one half of the people of benchmarks/overlaps.py.
_BY_PLACE, _PLACE_MOST = 0.4, 3.0  # of the silhouettes around two faces, and the most they may say
_BY_COLOUR, _COLOUR_MOST = 2.0, 4.0
_CORE, _CORE_PLACE = 0.6, 1.0  # probability, and lead by place, from which a pixel teaches a person's colours
_CORE_LEAST = 50  # pixels to learn from
_BANDS, _LEVELS = 8, 16  # rows of the picture that have colours of their own; steps of L, a and b
_CONTESTED = 0.3  # probability of the other's from which a pixel is contested
_THEIRS = -0.5  # lead below which a pixel is plainly the other's
_MUCH = 0.03  # share of a body that is plainly others' from which it was drawn wrongly
_NEVER = -4.0


@dataclass(frozen=True)
class Drawn:
    """A body as it was drawn by itself.

    Attributes:
        body: float32 (H, W), probability map.
        place: float32 (H, W), log-odds from the place of the face, or the box, alone.
        head: None where no face is seen.
    """

    body: np.ndarray
    place: np.ndarray
    head: Head | None = None

    @cached_property
    def odds(self) -> np.ndarray:
        """float32 (H, W), log-odds of the body."""
        return log_odds(self.body)

    @classmethod
    def below(cls, head: Head, body: np.ndarray) -> Drawn:
        """The body under a head."""
        return cls(body, log_odds(silhouette(body.shape, head)), head)


@dataclass(frozen=True)
class Claim:
    """A neighbour's claim on pixels of one person's.

    Attributes:
        head: the neighbour's, or None.
        body: float32 (H, W), probability map of the neighbour's body.
        lead: float32 (H, W), log-odds by which a pixel is rather the person's than the neighbour's.
    """

    head: Head | None
    body: np.ndarray
    lead: np.ndarray


def colour_bins(image: np.ndarray) -> np.ndarray:
    """int32 (H, W): the colour of every pixel, and how far down it is, as the number of a bin.

    Args:
        image: uint8 (H, W, 3), BGR.
    """
    lab = cv2.cvtColor(cv2.bilateralFilter(image, 5, 25, 5), cv2.COLOR_BGR2LAB).astype(np.int32) * _LEVELS // 256
    band = (np.arange(image.shape[0], dtype=np.int32) * _BANDS // image.shape[0])[:, None]
    return ((band * _LEVELS + lab[..., 0]) * _LEVELS + lab[..., 1]) * _LEVELS + lab[..., 2]


def claims_on(own: Drawn, others: Sequence[Drawn], bins: np.ndarray) -> list[Claim]:
    """What neighbours claim of one person's.

    Args:
        own: the person.
        others: the neighbours.
        bins: of the picture, as `colour_bins` gives them.
    """
    claims = []
    for other in others:
        place = np.clip(own.place - other.place, -_PLACE_MOST, _PLACE_MOST)
        lead = own.odds - other.odds + _BY_PLACE * place
        mine = (own.body > _CORE) & (place > _CORE_PLACE)
        theirs = (other.body > _CORE) & (place < -_CORE_PLACE)
        if min(np.count_nonzero(mine), np.count_nonzero(theirs)) >= _CORE_LEAST:
            lead = lead + _BY_COLOUR * _colour_lead(bins, mine, theirs)
        claims.append(Claim(other.head, other.body, lead.astype(np.float32)))
    return claims


def settled(odds: np.ndarray, claims: Sequence[Claim], head: Head | None) -> np.ndarray:
    """Log-odds of a person's pixels, with what others claim taken into account; a neighbour's head is never theirs.

    Args:
        odds: float32 (H, W).
        claims: of the neighbours.
        head: of the person; None where no face is seen.
    """
    for claim in claims:
        odds = np.where(claim.body > _CONTESTED, np.minimum(odds, claim.lead), odds)
        if claim.head is not None:
            theirs = claim.head.ellipse(odds.shape, 0.45, 0.65)
            odds[theirs if head is None else theirs & ~head.ellipse(odds.shape, 0.5, 0.7)] = _NEVER
    return odds


def drawn_over(body: np.ndarray, claims: Sequence[Claim], head: Head) -> np.ndarray | None:
    """Where a body was drawn over others, as bool (H, W): to be hidden, and the body drawn again. None if it was not.

    Args:
        body: float32 (H, W), probability map.
        claims: of the neighbours on it.
        head: of the person.
    """
    theirs = np.zeros(body.shape, bool)
    for claim in claims:
        theirs |= (claim.body > 0.5) & (claim.lead < _THEIRS)
    theirs &= ~head.ellipse(body.shape, 0.6, 0.9)
    mine = body > 0.5
    return theirs if np.count_nonzero(theirs & mine) > _MUCH * np.count_nonzero(mine) else None


def _colour_lead(bins: np.ndarray, mine: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """float32 (H, W): log-odds of a pixel's colour, at its height, on one person against the other."""
    a, b = _colours(bins, mine), _colours(bins, theirs)
    lead = np.log((a + 1e-4) / (b + 1e-4)).astype(np.float32)[bins]
    return np.clip(cv2.GaussianBlur(lead, (0, 0), 1.5), -_COLOUR_MOST, _COLOUR_MOST)


def _colours(bins: np.ndarray, where: np.ndarray) -> np.ndarray:
    """Share of each colour at each height. A band with few pixels says little."""
    shape = (_BANDS, _LEVELS, _LEVELS, _LEVELS)
    counts = np.bincount(bins[where], minlength=int(np.prod(shape))).astype(np.float32).reshape(shape)
    counts = gaussian_filter(counts, (1.0, 0.7, 0.7, 0.7))
    return (counts / (counts.sum((1, 2, 3), keepdims=True) + 5)).ravel()
