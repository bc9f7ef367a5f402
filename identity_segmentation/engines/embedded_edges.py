"""A mask that is right already -> a matte whose edge follows hair and cloth; no GPU, no hub.

U2-Net (small version; Qin et al., "U2-Net: Going Deeper with Nested U-Structure for Salient Object Detection", Pattern
Recognition 2020; Apache-2.0) finds what stands out in a picture at 320 x 320 pixels, whoever it is. It is asked about
the surroundings of one mask, heard only in the mask's rim, and only where it sees the same thing, as it does not in a
crowd. Figures: docs/figures.md, printed by benchmarks/masks.py.
"""

from __future__ import annotations

import os
from dataclasses import replace

import cv2
import numpy as np

from ..errors import EngineUnavailable
from ..geometry import grown_box, mask_box, soft_alpha
from ..types import Segment, as_image
from ._silhouettes import log_odds
from .nets import FETCH_COMMAND, find_net, sigmoid

_SIZE = 320
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, as the net was trained
_AROUND = 0.08  # room around the mask's box, in its longer side
_RIM = 0.05  # half width of the rim, in the height of the mask's box
_AGREES = 0.85  # IoU with the mask, within its rim, from which the net is heard
_HEARD = 0.8  # weight in the rim: the other nets saw 256 pixels of more than this person


class FineEdges:
    """The net, loaded once.

    Raises:
        EngineUnavailable: its file is not there, or is not what it should be; the message has the command.
    """

    id = "embedded"

    def __init__(self, threads: int | None = None):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or min(4, os.cpu_count() or 1)
        options.log_severity_level = 3
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        path = find_net("edges")
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime raises many kinds for a damaged file
            raise EngineUnavailable(
                f"{path} cannot be loaded ({type(error).__name__}); delete it and fetch it again with: {FETCH_COMMAND}"
            ) from error
        self._input, self._output = self._session.get_inputs()[0].name, self._session.get_outputs()[0].name

    def describe(self) -> str:
        return "fine edges (U2NetP) on the CPU"

    def refine(self, image_bgr: np.ndarray, segment: Segment) -> Segment:
        """The same segment with a finer edge, or as it is where the net sees something else.

        Args:
            image_bgr: uint8 (H, W, 3).
            segment: of this picture.
        """
        box = mask_box(segment.mask)
        if box is None:
            return segment
        side = float(max(box[2:] - box[:2]))
        x0, y0, x1, y1 = grown_box(box, _AROUND * side, segment.mask.shape)
        crop = as_image(image_bgr)[y0:y1, x0:x1]
        before = soft_alpha(segment)[y0:y1, x0:x1].astype(np.float32) / 255
        mask = segment.mask[y0:y1, x0:x1]
        seen = self._standing_out(crop)
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
        fine = np.clip((share - 0.08) / 0.84, 0, 1)
        alpha, whole = np.zeros(segment.mask.shape, np.uint8), np.zeros(segment.mask.shape, bool)
        alpha[y0:y1, x0:x1] = (fine * 255).round().astype(np.uint8)
        whole[y0:y1, x0:x1] = share > 0.5
        tight = mask_box(whole)
        return replace(segment, mask=whole, alpha=alpha, box=segment.box if tight is None else tight)

    def _standing_out(self, crop: np.ndarray) -> np.ndarray:
        """float32 (H, W), 0..1: how much each pixel belongs to what stands out."""
        small = cv2.resize(crop, (_SIZE, _SIZE), interpolation=cv2.INTER_AREA)[:, :, ::-1].astype(np.float32)
        values = (small / max(1e-6, float(small.max())) - _MEAN) / _STD
        (output,) = self._session.run([self._output], {self._input: values.transpose(2, 0, 1)[None].astype(np.float32)})
        found = output[0, 0]
        found = (found - found.min()) / max(1e-9, float(np.ptp(found)))
        return cv2.resize(found, crop.shape[1::-1], interpolation=cv2.INTER_LINEAR)
