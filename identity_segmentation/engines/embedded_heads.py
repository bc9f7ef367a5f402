"""A body whose face no detector sees -> where its head is; no GPU, no hub.

MediaPipe's pose net, drawn straight from the body's box, knows noses and ears of people seen from the side and from
behind.
"""

from __future__ import annotations

import numpy as np

from ..types import as_image
from .nets import Net, by_size, sigmoid, square_crop, thread_count

_AROUND = 1.1  # side of the square that the net sees, in the body's longer side
_PRESENT = 0.2  # belief of the net below which it sees nobody
_VISIBLE = 0.5  # ... and of a joint, below which it is a guess
_FACE_JOINTS = slice(0, 11)  # nose, eyes, ears, mouth
# Side of a face's box, in the larger extent of the face's joints, by which the median of 88 people is right; where the
# net is in doubt the joints crowd, and the body says how small a head can be. In nine of ten the middle is within 0.24
# sides of the face's; of a place reckoned from the body's box within 1.12 (benchmarks/humans.py).
_OF_JOINTS = 1.35
_LEAST_OF_BODY = (0.2, 0.12)  # of the body's width and height; a head is no smaller than the lesser of both


class BodyHeads:
    """Finds heads on bodies; see the module."""

    id = "embedded"

    def __init__(self, threads: int | None = None):
        self._pose = Net("pose_landmark", threads or thread_count())

    def describe(self) -> str:
        return "heads on bodies (pose net) on the CPU"

    def head(self, image_bgr: np.ndarray, body: np.ndarray) -> np.ndarray | None:
        """The head's box, float32 xyxy in pixels, of the size that a face detector gives it; None where the net sees
        nobody.

        Args:
            image_bgr: uint8 (H, W, 3).
            body: float (4,), xyxy in pixels.
        """
        x0, y0, x1, y1 = (float(v) for v in body)
        side = _AROUND * max(x1 - x0, y1 - y0, 8.0)
        crop, back = square_crop(as_image(image_bgr), ((x0 + x1) / 2, (y0 + y1) / 2), side, 0.0, self._pose.size)
        outputs = self._pose(crop)
        if float(by_size(outputs, 1).ravel()[0]) < _PRESENT:
            return None
        points = by_size(outputs, 39 * 5).reshape(39, 5).astype(np.float64)
        joints = points[:, :2] @ back[:, :2].T + back[:, 2]
        face = joints[_FACE_JOINTS]
        if float(sigmoid(points[0, 3])) < _VISIBLE:
            return None
        least = min(_LEAST_OF_BODY[0] * (x1 - x0), _LEAST_OF_BODY[1] * (y1 - y0))
        size = max(_OF_JOINTS * float(np.ptp(face, axis=0).max()), least, 4.0)
        middle = (face.min(axis=0) + face.max(axis=0)) / 2
        if not (x0 - size <= middle[0] <= x1 + size and y0 - size <= middle[1] <= y1):
            return None
        return np.concatenate([middle - size / 2, middle + size / 2]).astype(np.float32)
