"""Engines that see drawn pictures, so that tests can make their own people with known answers.

A "face" is a solid 24-pixel square whose colour says who it is; its embedding is a fixed function of the colour, so
that alike colours are alike people. A "body" is everything of the face's colour.
"""

from __future__ import annotations

import cv2
import numpy as np

from identity_segmentation.types import Face, Segment, unit

SIDE = 24
DIM = 16
# Colours far apart, so people are plainly different; BACKGROUND is nobody.
PEOPLE = {"Ada": (40, 40, 230), "Bo": (40, 230, 40), "Cy": (230, 40, 40), "Di": (230, 230, 40), "Ed": (40, 230, 230)}
BACKGROUND = (128, 128, 128)


def draw(*people: tuple[tuple[int, int, int], int, int], size=(240, 320)) -> np.ndarray:
    """A picture with a face (square) and a body (rectangle below it) for each (colour, x, y) given."""
    image = np.full((*size, 3), BACKGROUND, np.uint8)
    for colour, x, y in people:
        cv2.rectangle(image, (x - SIDE, y + SIDE), (x + SIDE, min(size[0] - 1, y + 5 * SIDE)), colour, -1)
        cv2.rectangle(image, (x - SIDE // 2, y - SIDE // 2), (x + SIDE // 2 - 1, y + SIDE // 2 - 1), colour, -1)
    return image


def near(colour, step: int = 6) -> tuple[int, int, int]:
    """The same person in another light."""
    return tuple(int(np.clip(c + step * (-1) ** i, 0, 255)) for i, c in enumerate(colour))


def embedding(colour) -> np.ndarray:
    """A unit vector that turns smoothly with the colour."""
    basis = np.random.default_rng(7).normal(size=(3, DIM))
    return unit((np.asarray(colour, np.float64) - 128) @ basis)


class FakeFaces:
    id = "fake"
    model_hash = "0123456789abcdef"
    dim = DIM
    threshold = 0.6
    margin = 0.05
    outlier = 0.3

    def __init__(self):
        self.calls = 0

    def describe(self) -> str:
        return "fake faces"

    def faces(self, image_bgr, embed: bool = True):
        self.calls += 1
        codes = image_bgr.astype(np.int32) @ [1, 256, 65536]
        values, counts = np.unique(codes, return_counts=True)
        found = []
        for code in values[np.argsort(-counts, kind="stable")]:
            colour = (int(code) & 255, int(code) >> 8 & 255, int(code) >> 16)
            if colour == BACKGROUND:
                continue
            count, _, stats, _ = cv2.connectedComponentsWithStats((codes == code).astype(np.uint8))
            for x, y, w, h, _ in stats[1:count]:
                if w == SIDE and h == SIDE:
                    box = np.array([x, y, x + w, y + h], np.float32)
                    found.append(Face(box, 0.9, embedding(colour) if embed else None))
        return found


class FakeMasks:
    """Everything in the box that has the colour of the box's upper middle; no idea of neighbours."""

    id = "fake-masks"
    uses_neighbours = False

    def __init__(self):
        self.encodes = 0
        self.prompts = 0

    def describe(self) -> str:
        return "fake masks"

    def encode(self, image_bgr):
        self.encodes += 1
        return image_bgr

    def by_box(self, encoded, boxes, faces=None, others=()):
        segments = []
        for i, box in enumerate(np.asarray(boxes, np.float32).reshape(-1, 4)):
            self.prompts += 1
            x0, y0, x1, y1 = (int(v) for v in box)
            centre = faces[i].centre if faces and faces[i] is not None else ((x0 + x1) / 2, y0 + (y1 - y0) / 4)
            colour = encoded[int(centre[1]), int(centre[0])]
            mask = np.zeros(encoded.shape[:2], bool)
            mask[y0:y1, x0:x1] = (encoded[y0:y1, x0:x1] == colour).all(-1)
            segments.append(Segment(mask, 0.9, box, self.id))
        return segments
