"""A mask that is right already -> a matte whose edge follows hair and cloth; no GPU, no hub.

What stands out in the surroundings of one mask (`_salience`) is heard only in the mask's rim, and only where it is the
same thing, as it is not in a crowd. Figures: docs/figures.md, printed by benchmarks/masks.py.
"""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from ..geometry import grown_box, mask_box, soft_alpha
from ..types import Segment, as_image
from ._salience import Salience
from ._silhouettes import log_odds
from .nets import sigmoid

_AROUND = 0.08  # room around the mask's box, in its longer side
_RIM = 0.03  # half width of the rim, in the height of the mask's box
_AGREES = 0.85  # IoU with the mask, within its rim, from which the net is heard
_HEARD = 0.8  # weight in the rim: the other nets saw 256 pixels of more than this person


class FineEdges:
    """Refines the edges of masks; raises `EngineUnavailable` as `Salience`."""

    id = "embedded"

    def __init__(self, threads: int | None = None):
        self._salience = Salience(threads)

    def describe(self) -> str:
        return "fine edges (U2NetP) on the CPU"

    def refine(self, image_bgr: np.ndarray, segment: Segment, others: np.ndarray | None = None) -> Segment:
        """The same segment with a finer edge, or as it is where the net sees something else.

        Args:
            image_bgr: uint8 (H, W, 3).
            segment: of this picture.
            others: bool (H, W): where other people are or may be; nothing is gained there.
        """
        box = mask_box(segment.mask)
        if box is None:
            return segment
        side = float(max(box[2:] - box[:2]))
        x0, y0, x1, y1 = grown_box(box, _AROUND * side, segment.mask.shape)
        crop = as_image(image_bgr)[y0:y1, x0:x1]
        before = soft_alpha(segment)[y0:y1, x0:x1].astype(np.float32) / 255
        mask = segment.mask[y0:y1, x0:x1]
        seen = self._salience(crop)
        rim = max(2, int(_RIM * float(box[3] - box[1])))
        # Distances are cheap at any width; dilating by a disc of 3 % of a tall person is not.
        outside = (
            cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, 3) if not mask.all() else np.zeros(mask.shape)
        )
        inside = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 3)
        near = (outside <= rim) & (inside <= rim)
        theirs = (seen > 0.5) & (outside <= rim)
        if np.count_nonzero(theirs & mask) < _AGREES * np.count_nonzero(theirs | mask):
            return segment
        mixed = sigmoid(_HEARD * log_odds(seen) + (1 - _HEARD) * log_odds(before))
        share = np.where(near, mixed, mask).astype(np.float32)
        if others is not None:
            share = np.where(others[y0:y1, x0:x1] & ~mask, 0, share)
        fine = np.clip((share - 0.08) / 0.84, 0, 1)
        alpha, whole = np.zeros(segment.mask.shape, np.uint8), np.zeros(segment.mask.shape, bool)
        alpha[y0:y1, x0:x1] = (fine * 255).round().astype(np.uint8)
        whole[y0:y1, x0:x1] = share > 0.5
        tight = mask_box(whole)
        return replace(segment, mask=whole, alpha=alpha, box=segment.box if tight is None else tight)
