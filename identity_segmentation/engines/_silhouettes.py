"""Where a person's pixels lie, from the place of their face or from a box around them: tables measured on people.

Both are what is known before a net has looked: a tie-break between neighbours, and what stands in where the nets fail.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from ..types import Face
from .nets import sigmoid

# Silhouette of people around a face, measured on 350 hand-drawn masks. Unit: the side of the face square; y runs down
# from its centre. Rows: y, the half width inside which half of the people are, how softly that falls off.
_PRIOR = np.array(
    [
        (-1.45, -0.35, 0.22), (-1.2, -0.05, 0.22), (-1.0, 0.3, 0.2), (-0.75, 0.58, 0.15), (-0.5, 0.65, 0.15),
        (0, 0.75, 0.2), (0.5, 0.75, 0.26), (0.75, 1.0, 0.3), (1.0, 1.25, 0.35), (1.25, 1.5, 0.33), (2, 1.55, 0.38),
        (3, 1.6, 0.42), (4, 1.5, 0.5), (5, 1.38, 0.6), (6, 1.25, 0.65), (7, 1.0, 0.7), (8, 0.87, 0.75), (9, 0.7, 0.8),
        (10, 0.6, 0.8), (11, 0.3, 0.8), (12.5, -0.3, 0.8),
    ]
)  # fmt: skip

# Share of people who have a pixel at a place in their own box: rows from top to bottom, columns from a side to the
# middle. Mean of 124 hand-drawn masks (Penn-Fudan, COCO, CCP).
_IN_BOX = np.array(
    [
        (0.10, 0.10, 0.19, 0.35, 0.53, 0.66),
        (0.10, 0.21, 0.39, 0.57, 0.75, 0.86),
        (0.20, 0.46, 0.66, 0.80, 0.90, 0.93),
        (0.26, 0.54, 0.72, 0.82, 0.90, 0.94),
        (0.27, 0.51, 0.67, 0.79, 0.89, 0.94),
        (0.20, 0.41, 0.60, 0.78, 0.86, 0.93),
        (0.11, 0.28, 0.51, 0.71, 0.80, 0.83),
        (0.10, 0.25, 0.46, 0.68, 0.74, 0.67),
        (0.13, 0.29, 0.44, 0.56, 0.59, 0.54),
        (0.15, 0.30, 0.37, 0.41, 0.44, 0.46),
    ]
)  # fmt: skip
_IN_BOX_WEIGHT = 0.6  # chosen on Penn-Fudan with a table of the other two sets, and the other way round
_BEYOND = (3.0, 0.04)  # log-odds lost where this share of the box's side beyond its border is reached


@dataclass(frozen=True)
class Head:
    """A face as the body below it is measured: centre and side of a square from brows to chin, in pixels."""

    x: float
    y: float
    side: float

    @classmethod
    def of(cls, face: Face, factor: float = 1.0) -> Head:
        """From the landmarks, which all detectors agree on to 5 %; from the box where there are none.

        The ratios (eye distance and eye-to-mouth distance to the width of a BlazeFace box, and that
        to the square) are medians over 66 faces.
        """
        if face.landmarks is not None:
            eyes, mouth = face.landmarks[:2].mean(0), face.landmarks[3:].mean(0)
            apart = float(np.linalg.norm(face.landmarks[1] - face.landmarks[0]))
            width = max(apart / 0.395, float(np.linalg.norm(mouth - eyes)) / 0.429)
            centre = (eyes + mouth) / 2
        else:
            width = float(face.box[2] - face.box[0])
            centre = np.array([face.centre[0], face.box[3] - 0.55 * width])
        x, y = centre * factor
        return cls(float(x), float(y), max(2.0, 0.955 * width * factor))

    def ellipse(self, shape: tuple[int, ...], across: float, down: float) -> np.ndarray:
        """bool mask of an ellipse around the head, half axes in face sides.

        Args:
            shape: (H, W) of the mask.
            across, down: half axes, in face sides.
        """
        canvas = np.zeros(shape, np.uint8)
        self.fill(canvas, across, down, (1,))
        return canvas > 0

    def fill(self, canvas: np.ndarray, across: float, down: float, colour: tuple[int, ...]) -> None:
        """Fill an ellipse around the head; see `ellipse`.

        Args:
            canvas: uint8 (H, W) or (H, W, 3), drawn on.
            across, down: half axes, in face sides.
            colour: a value per channel.
        """
        axes = (max(1, int(across * self.side)), max(1, int(down * self.side)))
        cv2.ellipse(canvas, (int(self.x), int(self.y)), axes, 0, 0, 360, colour, -1)

    def window(self, shape: tuple[int, ...], across: float, up: float, down: float) -> tuple[int, int, int, int]:
        """Integer xyxy box around the head, reaches in face sides, clipped to the image.

        Args:
            shape: (H, W) of the image.
            across, up, down: reach to either side, above and below, in face sides.
        """
        height, width = shape
        x0, x1 = self.x - across * self.side, self.x + across * self.side
        y0, y1 = self.y - up * self.side, self.y + down * self.side
        return int(max(0, x0)), int(max(0, y0)), int(min(width, np.ceil(x1))), int(min(height, np.ceil(y1)))


def silhouette(shape: tuple[int, int], head: Head) -> np.ndarray:
    """float32 (H, W): how probable a pixel is to be the person's, from the face's place alone."""
    y = (np.arange(shape[0]) + 0.5 - head.y) / head.side
    x = np.abs(np.arange(shape[1]) + 0.5 - head.x) / head.side
    down, width, softness = _PRIOR.T
    half = np.interp(y, down, width, -2, -2)
    soft = 0.45 * np.interp(y, down, softness)
    # How often people reach this far down at all: sitters and cropped pictures end early.
    present = np.interp(y, [-1, -0.75, 4, 6, 8, 10, 12], [0.7, 0.97, 0.93, 0.8, 0.65, 0.55, 0.3])
    return (sigmoid((half[:, None] - x) / soft[:, None]) * present[:, None]).astype(np.float32)


def log_odds(probability: np.ndarray) -> np.ndarray:
    """Log-odds of probabilities, held within 2 % of certainty: no net may outvote all the others."""
    clipped = np.clip(probability, 0.02, 0.98)
    return np.log(clipped / (1 - clipped))


def box_odds(shape: tuple[int, int], box: np.ndarray) -> np.ndarray:
    """float32 (H, W): log-odds that a pixel is the person's, from their box alone.

    The box is a hint: it may be a little too small or too large. What lies beyond loses by the square of the distance;
    a side that lies on the picture's own border cuts nobody off.

    Args:
        shape: (H, W).
        box: xyxy pixels.
    """
    table = np.concatenate([_IN_BOX, _IN_BOX[:, ::-1]], 1)
    size = box[2:] - box[:2]
    x, y = (np.arange(side, dtype=np.float32) + 0.5 for side in shape[::-1])
    column = ((x - box[0]) / size[0] * table.shape[1] - 0.5).clip(0, table.shape[1] - 1)
    row = ((y - box[1]) / size[1] * table.shape[0] - 0.5).clip(0, table.shape[0] - 1)
    across, down = np.meshgrid(column.astype(np.float32), row.astype(np.float32))
    odds = cv2.remap(_IN_BOX_WEIGHT * log_odds(table).astype(np.float32), across, down, cv2.INTER_LINEAR)
    low, high = np.array(box[:2], np.float64), np.array(box[2:], np.float64)
    low[low < 1] = -np.inf
    high[high > np.array(shape[::-1]) - 1] = np.inf
    weight, reach = _BEYOND
    beside = np.maximum(low[0] - x, x - high[0]).clip(0) / (reach * size[0])
    beyond = np.maximum(low[1] - y, y - high[1]).clip(0) / (reach * size[1])
    return (odds - weight * np.maximum(beside[None], beyond[:, None]) ** 2).astype(np.float32)
