"""Engines that see drawn pictures, so that tests can make their own people with known answers.

A "face" is a solid 24-pixel square whose colour says who it is; its embedding is a fixed function of the colour, so
that alike colours are alike people. A "body" is everything of the face's colour.
"""

from __future__ import annotations

import cv2
import numpy as np

from identity_segmentation.geometry import mask_box
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
    threshold = strict = 0.6
    floor = 0.5
    margin = 0.05
    outlier = 0.3
    strangers = ((0.5, 1.0), (0.6, 0.2))
    small = ()

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


class FakeLearner:
    """Learns one colour per id - the mean of what was marked - and labels every pixel near it. Boxes and points mark
    what is in them: a box itself, a point a disc of five pixels."""

    id = "fake-learner"

    def __init__(self):
        self.learnt_from: list[int] = []
        self.labelled = 0

    def encode(self, image_bgr):
        return image_bgr

    def by_points(self, encoded, points, inside, box=None):
        mask = np.zeros(encoded.shape[:2], bool)
        if box is not None:
            x0, y0, x1, y1 = (int(v) for v in box)
            mask[y0:y1, x0:x1] = True
        rows, columns = np.mgrid[: mask.shape[0], : mask.shape[1]]
        for (x, y), on in zip(points, inside, strict=True):
            mask[np.hypot(columns - x, rows - y) <= 5] = on
        return Segment(mask, 0.5, [0, 0, mask.shape[1], mask.shape[0]], self.id)

    def learn(self, references):
        from identity_segmentation.engines._examples import held_out, ids_of, trials_of

        self.learnt_from.append(len(references))
        outer = self

        class Learnt:
            parallel = True
            ids = ids_of(references)

            def __init__(self, references, trials=()):
                self.colours = {
                    i: np.mean(
                        [r.image[r.masks[i]].mean(0) for r in references if i in r.masks and r.masks[i].any()], 0
                    )
                    for i in self.ids
                    if any(i in r.masks and r.masks[i].any() for r in references)
                }
                self.trials = tuple(trials)

            def label(self, image):
                outer.labelled += 1
                found = {}
                for i in self.ids:
                    far = np.abs(image.astype(float) - self.colours.get(i, np.full(3, 999.0))).max(-1)
                    mask = far < 40
                    score = float(1 - far[mask].mean() / 40) if mask.any() else 0.9
                    box = mask_box(mask)
                    whole = [0, 0, image.shape[1], image.shape[0]]
                    found[i] = Segment(mask, score, whole if box is None else box, outer.id)
                return found

        trials = [
            trial
            for left_out, others in held_out(references)
            for reference in left_out
            for trial in trials_of(reference, Learnt(others).label(reference.image))
        ]
        return Learnt(references, trials)
