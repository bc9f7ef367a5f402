"""Draw docs/overview.png: six drawn look-alikes, found, named, overlaid and cut out by the package's own code.

    python scripts/readme_picture.py

The people are drawings, so that the project's front page shows nobody's face. Everything after the drawing is the
real thing: the embedded engines learn each of them from three other drawings, name them one-to-one, and
segment them. Prints what was found; what is not found is not in the picture.
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from identity_segmentation import IdentityAwareSegmentation, annotate, cutout, overlay, write_image

ROOT = Path(__file__).resolve().parent.parent
SCALE = 2  # drawn larger, then shrunk: smooth edges


@dataclass(frozen=True)
class Look:
    """How a drawn person differs from the next; all lengths in units of the head's width."""

    name: str
    hair: tuple[int, int, int]
    skin: tuple[int, int, int]
    dress: tuple[int, int, int]
    eye_gap: float
    eye: float
    nose: float
    mouth: float
    chin: float
    brow: float
    long_hair: float


CAST = (
    Look("Yujin", (40, 30, 30), (241, 205, 180), (70, 90, 160), 0.40, 0.105, 0.20, 0.30, 1.34, 0.030, 1.7),
    Look("원영", (70, 45, 35), (250, 218, 196), (80, 100, 170), 0.46, 0.130, 0.16, 0.24, 1.28, 0.018, 2.2),
    Look("Gaeul", (25, 25, 30), (236, 196, 168), (60, 80, 150), 0.38, 0.090, 0.24, 0.28, 1.22, 0.040, 0.7),
    Look("ลิซ", (205, 165, 95), (252, 222, 202), (75, 95, 165), 0.50, 0.110, 0.18, 0.34, 1.40, 0.022, 1.4),
    Look("Leeseo", (50, 32, 28), (245, 208, 184), (66, 86, 156), 0.43, 0.120, 0.26, 0.22, 1.30, 0.028, 1.9),
    Look("Rei", (120, 70, 60), (248, 212, 190), (72, 92, 162), 0.35, 0.135, 0.14, 0.27, 1.18, 0.020, 1.1),
)


def shade(colour, factor: float):
    return tuple(int(np.clip(c * factor, 0, 255)) for c in colour)


def draw_person(canvas: Image.Image, look: Look, x: float, y: float, w: float, tilt: float = 0.0) -> None:
    """Draw one person, head centre at (x, y), head width w, onto an RGB canvas."""
    layer = Image.new("RGBA", canvas.size)
    d = ImageDraw.Draw(layer)

    def oval(cx, cy, rx, ry, fill):
        d.ellipse((x + (cx - rx) * w, y + (cy - ry) * w, x + (cx + rx) * w, y + (cy + ry) * w), fill=fill)

    def shape(points, fill):
        d.polygon([(x + a * w, y + b * w) for a, b in points], fill=fill)

    skin, dark = look.skin, shade(look.skin, 0.86)
    h = look.chin / 2
    # hair behind, neck, arms, legs, dress, shoes
    oval(0, -0.08, 0.62, h + 0.14, look.hair)
    shape([(-0.6, 0), (0.6, 0), (0.68, look.long_hair), (-0.68, look.long_hair)], look.hair)
    shape([(-0.2, 0.3), (0.2, 0.3), (0.24, 1.05), (-0.24, 1.05)], dark)
    for side in (-1, 1):
        arm = [(0.72, 1.05), (0.98, 1.2), (1.12, 2.6), (0.92, 2.62), (0.72, 1.5)]
        shape([(side * a, b) for a, b in arm], skin)
        oval(side * 1.02, 2.72, 0.13, 0.2, skin)
        shape([(side * 0.1, 3.6), (side * 0.48, 3.6), (side * 0.4, 5.9), (side * 0.16, 5.9)], skin)
        shape([(side * 0.1, 5.8), (side * 0.44, 5.8), (side * 0.56, 6.15), (side * 0.08, 6.15)], (50, 50, 60))
    dress = [(0.3, 0.92), (0.9, 1.12), (0.66, 2.1), (0.95, 3.9)]
    shape([(-a, b) for a, b in dress] + dress[::-1], look.dress)
    shape([(-0.64, 2.05), (0.64, 2.05), (0.66, 2.2), (-0.66, 2.2)], shade(look.dress, 0.6))
    # head
    oval(0, 0, 0.5, h, skin)
    oval(-0.5, 0.05, 0.07, 0.13, dark), oval(0.5, 0.05, 0.07, 0.13, dark)
    gap = look.eye_gap / 2
    for side in (-1, 1):
        oval(side * 0.27, 0.26, 0.12, 0.08, (skin[0], int(skin[1] * 0.9), int(skin[2] * 0.9)))  # blush
        oval(side * gap, -0.02, look.eye, look.eye * 0.55, (252, 252, 252))
        oval(side * gap, -0.02, look.eye * 0.5, look.eye * 0.52, (60, 38, 28))
        oval(side * gap + 0.012, -0.035, look.eye * 0.15, look.eye * 0.15, (255, 255, 255))
        box = [x + (side * gap - look.eye) * w, y + (-0.02 - look.eye * 0.62) * w,
               x + (side * gap + look.eye) * w, y + (-0.02 + look.eye * 0.5) * w]  # fmt: skip
        d.arc(box, 190, 350, fill=(40, 25, 22), width=max(1, int(0.022 * w)))
        brow = [(side * (gap - look.eye), -0.17), (side * (gap + look.eye * 1.1), -0.19)]
        d.line([(x + a * w, y + b * w) for a, b in brow], fill=shade(look.hair, 0.9), width=max(1, int(look.brow * w)))
    shape([(-0.035, 0), (0.035, 0), (0.085, look.nose), (0, look.nose + 0.035), (-0.085, look.nose)], shade(skin, 0.93))
    oval(-0.05, look.nose, 0.022, 0.014, shade(skin, 0.6)), oval(0.05, look.nose, 0.022, 0.014, shade(skin, 0.6))
    oval(0, 0.36, look.mouth / 2, 0.06, (196, 84, 88))
    lips = [(x - look.mouth / 2 * w, y + 0.355 * w), (x + look.mouth / 2 * w, y + 0.355 * w)]
    d.line(lips, fill=(130, 50, 55), width=max(1, int(0.014 * w)))
    # fringe
    d.chord((x - 0.55 * w, y - (h + 0.1) * w, x + 0.55 * w, y + 0.5 * w), 203, 337, fill=look.hair)
    if tilt:
        layer = layer.rotate(tilt, center=(x, y + 3 * w), resample=Image.Resampling.BICUBIC)
    canvas.paste(layer, mask=layer.getchannel("A"))


def background(width: int, height: int) -> Image.Image:
    y, x = np.mgrid[:height, :width] / height
    light = 0.75 + 0.25 * np.exp(-(((x - 0.5 * width / height) ** 2) / 0.5 + (y - 0.4) ** 2 / 0.3))
    rgb = np.array([150, 178, 205]) * light[..., None]
    rgb[y > 0.86] *= 0.8
    return Image.fromarray(rgb.clip(0, 255).astype(np.uint8))


def finish(canvas: Image.Image, width: int, height: int, seed: int) -> np.ndarray:
    small = canvas.resize((width, height), Image.Resampling.LANCZOS).filter(ImageFilter.GaussianBlur(0.4))
    noise = np.random.default_rng(seed).normal(0, 2.0, (height, width, 1))
    return (np.asarray(small)[:, :, ::-1] + noise).clip(0, 255).astype(np.uint8)


def draw_stage() -> np.ndarray:
    """All of them side by side: uint8 (400, 1320, 3), BGR."""
    width, height, head = 1320, 400, 70
    stage = background(width * SCALE, height * SCALE)
    for i, look in enumerate(CAST):
        draw_person(stage, look, (115 + 218 * i) * SCALE, (112 + 22 * (i % 2)) * SCALE, head * SCALE)
    return finish(stage, width, height, 0)


def draw_dataset(folder: Path) -> Path:
    """Three portraits of each, one folder per person."""
    for number, look in enumerate(CAST, 1):
        for shot, (size, tilt) in enumerate(((150, 0), (120, 4), (170, -4))):
            canvas = background(480 * SCALE, 560 * SCALE)
            draw_person(canvas, look, 240 * SCALE, 200 * SCALE, size * SCALE, tilt)
            write_image(folder / look.name / f"{shot}.png", finish(canvas, 480, 560, number * 10 + shot))
    return folder


def main() -> int:
    scene = draw_stage()
    with tempfile.TemporaryDirectory() as folder:
        dataset = draw_dataset(Path(folder) / "Dataset")
        people = IdentityAwareSegmentation("embedded", "embedded", gallery=Path(folder) / "gallery")
        print(people.build_gallery(dataset).report.table())
        seen = people.look(scene)
        colour = people.colour_of
        wanted = seen.of("원영")
        alone = cutout(scene, wanted.segment if wanted else None)
    for s in sorted(seen.sightings, key=lambda s: s.match.face.centre[0]):
        print(f"{s.name}: similarity {s.match.similarity:.2f}, margin {s.match.margin:+.2f}, {s.match.basis}")
    y, x = np.indices(scene.shape[:2]) // 20
    board = np.where((x + y) % 2, 235, 190)[..., None]
    alpha = alone[..., 3:] / 255.0
    alone = (alone[..., :3] * alpha + board * (1 - alpha)).astype(np.uint8)
    sheet = np.vstack(
        [
            np.hstack([scene, annotate(scene, seen.sightings, colour)]),
            np.hstack([overlay(scene, seen.sightings, colour), alone]),
        ]
    )
    path = write_image(
        ROOT / "docs" / "overview.png", cv2.resize(sheet, None, fx=0.6, fy=0.6, interpolation=cv2.INTER_AREA)
    )
    print(f"written to {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
