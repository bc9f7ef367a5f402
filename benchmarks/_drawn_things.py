"""Drawn pictures of what is no steel - a logo, an organ in a scan, spots on a leaf - and their masks."""

from __future__ import annotations

import cv2
import numpy as np


def _soft_noise(rng: np.random.Generator, shape: tuple[int, int], scale: float) -> np.ndarray:
    """float32 (H, W), spread 1."""
    noise = cv2.GaussianBlur(rng.normal(0, 1, shape).astype(np.float32), (0, 0), scale)
    return noise / noise.std()


def logo(number: int) -> tuple[np.ndarray, np.ndarray]:
    """A red ring with a bar on a coloured, uneven ground, with other shapes beside it; 240 x 320."""
    rng = np.random.default_rng(1000 + number)
    ground = np.empty((240, 320, 3), np.float32)
    for channel in range(3):
        ground[..., channel] = rng.integers(70, 170) + 18 * _soft_noise(rng, (240, 320), 30)
    for _ in range(6):
        x, y = (int(v) for v in (rng.integers(0, 320), rng.integers(0, 240)))
        colour = tuple(float(v) for v in rng.integers(40, 220, 3))
        cv2.rectangle(ground, (x, y), (x + int(rng.integers(15, 60)), y + int(rng.integers(15, 60))), colour, -1)
    mask = np.zeros((240, 320), np.uint8)
    radius = int(rng.integers(16, 34))
    x, y = int(rng.integers(40, 280)), int(rng.integers(40, 200))
    cv2.circle(mask, (x, y), radius, 1, max(3, radius // 4))
    cv2.line(mask, (x - radius, y), (x + radius, y), 1, max(3, radius // 4))
    ground[mask > 0] = np.array((40, 30, 200), np.float32) * rng.uniform(0.8, 1.2)
    return _finished(ground, rng), mask > 0


def organ(number: int) -> tuple[np.ndarray, np.ndarray]:
    """A soft bright ellipse in a body with a darker one and a bone; grey, 256 x 256."""
    rng = np.random.default_rng(2000 + number)
    plane = np.full((256, 256), 20, np.float32)
    cv2.ellipse(plane, (128, 128), (110, 85), 0, 0, 360, 95.0, -1)
    mask = np.zeros((256, 256), np.uint8)
    centre = (int(rng.integers(75, 105)), int(rng.integers(105, 150)))
    cv2.ellipse(mask, centre, (int(rng.integers(24, 38)), int(rng.integers(16, 26))), float(rng.integers(0, 180)),
                0, 360, 1, -1)  # fmt: skip
    cv2.ellipse(plane, (int(rng.integers(165, 190)), int(rng.integers(110, 150))), (24, 18), 30, 0, 360, 65.0, -1)
    plane[mask > 0] = 130
    cv2.circle(plane, (128, 195), 12, 215.0, -1)
    plane = cv2.GaussianBlur(plane, (0, 0), 2) * rng.uniform(0.8, 1.2) + 5 * _soft_noise(rng, (256, 256), 3)
    return _finished(np.dstack([plane] * 3), rng), mask > 0


def leaf_spots(number: int) -> tuple[np.ndarray, np.ndarray]:
    """Brown spots on a green leaf with veins, on soil; 240 x 320."""
    rng = np.random.default_rng(3000 + number)
    picture = np.empty((240, 320, 3), np.float32)
    picture[:] = (50, 75, 95)
    picture += 12 * _soft_noise(rng, (240, 320), 2)[..., None]
    leaf = np.zeros((240, 320), np.uint8)
    cv2.ellipse(leaf, (160, 120), (140, 80), float(rng.integers(-15, 15)), 0, 360, 1, -1)
    picture[leaf > 0] = (60, 150, 80)
    picture[leaf > 0] += (10 * _soft_noise(rng, (240, 320), 12)[..., None])[leaf > 0]
    for at in range(40, 300, 35):
        cv2.line(picture, (at, 120), (at + 40, int(rng.integers(50, 190))), (80, 175, 110), 1)
    mask = np.zeros((240, 320), np.uint8)
    for _ in range(rng.integers(2, 7)):
        x, y = int(rng.integers(60, 260)), int(rng.integers(80, 160))
        cv2.ellipse(mask, (x, y), tuple(int(v) for v in rng.integers(4, 13, 2)), float(rng.integers(0, 180)),
                    0, 360, 1, -1)  # fmt: skip
    mask &= leaf
    picture[mask > 0] = np.array((45, 75, 120), np.float32) * rng.uniform(0.85, 1.15)
    return _finished(picture, rng), mask > 0


def _finished(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    soft = cv2.GaussianBlur(picture, (0, 0), 0.8) + rng.normal(0, 4, picture.shape[:2])[..., None]
    return np.clip(soft * rng.uniform(0.75, 1.15), 0, 255).astype(np.uint8)


DRAWN = {"logo": logo, "organ": organ, "leaf spots": leaf_spots}
