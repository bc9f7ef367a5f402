"""A crop -> what stands out in it, whatever it is: U2NetP on ONNX Runtime, as it lies in a wheel.

U2-Net, small version (Qin et al., "U2-Net: Going Deeper with Nested U-Structure for Salient Object Detection", Pattern
Recognition 2020; Apache-2.0).
"""

from __future__ import annotations

import cv2
import numpy as np

from .nets import find_net, onnx_session, thread_count

_SIZE = 320
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # RGB, of ImageNet, as the net was trained


class Salience:
    """The net, loaded once.

    Args:
        threads: of ONNX Runtime; None = one a core, four at the most.

    Raises:
        EngineUnavailable: its file is not there, or is not what it should be; the message has the command.
    """

    def __init__(self, threads: int | None = None):
        # The net's activations are large; they need not stay.
        self._session = onnx_session(find_net("edges"), threads or thread_count(), arena=False)
        self._input, self._output = self._session.get_inputs()[0].name, self._session.get_outputs()[0].name

    def __call__(self, image_bgr: np.ndarray) -> np.ndarray:
        """How much each pixel stands out, stretched over the whole range: float32 (H, W), 0..1."""
        small = cv2.resize(image_bgr, (_SIZE, _SIZE), interpolation=cv2.INTER_AREA)[:, :, ::-1].astype(np.float32)
        values = (small / max(1.0, float(small.max())) - _MEAN) / _STD
        (output,) = self._session.run([self._output], {self._input: values.transpose(2, 0, 1)[None].astype(np.float32)})
        found = output[0, 0]
        found = (found - found.min()) / max(1e-6, float(np.ptp(found)))
        return cv2.resize(found, image_bgr.shape[1::-1], interpolation=cv2.INTER_LINEAR)
