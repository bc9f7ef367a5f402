"""Do the pictures that `idseg label suggest` names teach more than pictures taken at random?

    python benchmarks/suggest.py [--data DIR] [--parts first next pace] [--draws N]

Every draw splits a set of pictures in two halves by chance: one to choose references from, one to be labelled. Either
way of choosing then gets its marks (the ground truth) from the same half, the same engine learns, and the mean IoU is
taken over the same other half; where a thing is not there, finding nothing counts 1 and anything else 0.
First: five references, nothing marked before: suggested, against five at random, three times.
Next: two references at random; from them the half is labelled; then three more: suggested, the three least sure, or
three at random, three times.
Pace: 1,000 drawn pictures, described for the first time and again.
The sets: magnetic tiles with five kinds of defects and without any, as one thing; steel with three kinds of defects, as
three things; and, without the data, drawn plates: most have spots, one in six a scratch, one in six is coarse.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))
from _data import parser, table

from identity_segmentation.engines.embedded_masks import EmbeddedMasks
from identity_segmentation.engines.embedded_pixels import PixelClassifier
from identity_segmentation.geometry import mask_iou
from identity_segmentation.labels.job import LabelJob
from identity_segmentation.labels.marks import Mark
from identity_segmentation.types import Exemplar

RANDOM = 3  # draws of references at random, for every split


@dataclass(frozen=True)
class Item:
    """A picture, its file, and the truth: id -> bool (H, W)."""

    path: Path
    image: np.ndarray
    masks: dict[int, np.ndarray]


def tiles(data: Path) -> list[Item]:
    found = []
    for path in sorted((data / "defects/magnetic_tile").glob("MT_*/*.jpg")):
        image, mask = cv2.imread(str(path)), cv2.imread(str(path.with_suffix(".png")), 0)
        found.append(Item(path, image, {1: np.zeros(image.shape[:2], bool) if mask is None else mask > 127}))
    return found


def steel(data: Path) -> list[Item]:
    found = []
    for path in sorted((data / "defects/neu_seg/images").glob("*.jpg")):
        labels = cv2.imread(str(data / f"defects/neu_seg/masks/{path.stem}.png"), 0)
        found.append(Item(path, cv2.imread(str(path)), {number: labels == number for number in (1, 2, 3)}))
    return found


def drawn(folder: Path, count: int) -> list[Item]:
    """Plates of 256 x 256: spots on most, a scratch on one in six, a coarse plate with spots one in six."""
    found = []
    for number in range(count):
        rng = np.random.default_rng(number)
        kind = number % 6
        noise = rng.normal(0, 6, (256, 256))
        if kind == 1:
            noise = 5 * cv2.GaussianBlur(rng.normal(0, 12, (256, 256)), (0, 0), 3)
        plate = 130 + 25 * np.sin(np.arange(256)[None] / 90 + rng.random() * 6) + noise
        mask = np.zeros((256, 256), np.uint8)
        if kind == 0:
            x0, y0, x1, y1 = (int(v) for v in rng.integers(10, 246, 4))
            cv2.line(mask, (x0, y0), (x1, y1), 1, 3)
        for _ in range(0 if kind == 0 else int(rng.integers(1, 4))):
            cv2.circle(mask, tuple(int(v) for v in rng.integers(20, 236, 2)), int(rng.integers(5, 12)), 1, -1)
        plate[mask > 0] += 50 if kind == 0 else -50
        image = np.dstack([np.clip(plate, 0, 255).astype(np.uint8)] * 3)
        path = folder / f"{number:04d}.png"
        cv2.imwrite(str(path), image, [cv2.IMWRITE_PNG_COMPRESSION, 1])
        found.append(Item(path, image, {1: mask > 0}))
    return found


def fit(references: Sequence[Item], others: Sequence[Item]) -> float:
    """Mean IoU over the others."""
    exemplars = [Exemplar(item.image, item.masks) for item in references]
    if not any(mask.any() for item in references for mask in item.masks.values()):
        return float(np.mean([not mask.any() for item in others for mask in item.masks.values()]))
    learned, ious = PixelClassifier(exemplars, "embedded"), []
    for item in others:
        found = learned.label(item.image)
        for number, truth in item.masks.items():
            mask = found[number].mask if number in found else np.zeros_like(truth)
            ious.append(mask_iou(truth, mask) if truth.any() else float(not mask.any()))
    return float(np.mean(ious))


def mark(job: LabelJob, items: Sequence[Item]) -> None:
    for item in items:
        job.mark(item.path, *(Mark.of_mask(number, mask) for number, mask in item.masks.items()))


def chosen(job: LabelJob, pool: Sequence[Item], count: int) -> list[Item]:
    named = [s.picture.resolve() for s in job.suggest([item.path for item in pool], count).pictures]
    by_path = {item.path.resolve(): item for item in pool}
    return [by_path[path] for path in named]


def some(rng: np.random.Generator, items: Sequence[Item], count: int) -> list[Item]:
    return [items[n] for n in rng.choice(len(items), count, replace=False)]


def first(pool: list[Item], rest: list[Item], job: LabelJob, rng: np.random.Generator) -> dict[str, float]:
    by_chance = [fit(some(rng, pool, 5), rest) for _ in range(RANDOM)]
    return {"suggested": fit(chosen(job, pool, 5), rest), "at random": float(np.mean(by_chance))}


def following(pool: list[Item], rest: list[Item], job: LabelJob, rng: np.random.Generator) -> dict[str, float]:
    begun = some(rng, pool, 2)
    while not any(mask.any() for item in begun for mask in item.masks.values()):
        begun = some(rng, pool, 2)
    mark(job, begun)
    job.run([item.path for item in pool])
    left = [item for item in pool if all(item is not one for one in begun)]
    ranked = {row["picture"]: number for number, row in enumerate(job.ranked())}
    unsure = sorted(left, key=lambda item: ranked[str(item.path.resolve())])[:3]
    by_chance = [fit(begun + some(rng, left, 3), rest) for _ in range(RANDOM)]
    return {
        "suggested": fit(begun + chosen(job, pool, 3), rest),
        "least sure": fit(begun + unsure, rest), "at random": float(np.mean(by_chance)),
    }  # fmt: skip


def compared(way: Callable[..., dict[str, float]], sets: dict[str, list[Item]], draws: int) -> None:
    rows: list[tuple] = []
    for name, items in sets.items():
        figures: dict[str, list[float]] = {}
        for draw in range(draws):
            rng = np.random.default_rng(draw)
            order = rng.permutation(len(items))
            half = [items[n] for n in sorted(order[: len(items) // 2])]
            rest = [items[n] for n in order[len(items) // 2 :]]
            with tempfile.TemporaryDirectory() as folder:
                for key, value in way(half, rest, LabelJob(folder, EmbeddedMasks()), rng).items():
                    figures.setdefault(key, []).append(value)
            said = ", ".join(f"{key} {values[-1]:.3f}" for key, values in figures.items())
            print(f"{name}, draw {draw + 1}: {said}", file=sys.stderr, flush=True)
        ahead = np.array(figures["suggested"]) - np.array(figures["at random"])
        cells = [f"{np.mean(values):.3f}" for values in figures.values()]
        spread = ahead.std(ddof=1) / len(ahead) ** 0.5 if len(ahead) > 1 else float("nan")
        rows.append((name, len(items), *cells, f"{ahead.mean():+.3f} ± {spread:.3f}", f"{(ahead > 0).sum()}/{draws}"))
    head = ("set", "pictures", *figures, "ahead of random, ± standard error", "draws ahead")
    print(table(head, rows), flush=True)


def pace() -> None:
    with tempfile.TemporaryDirectory() as folder:
        pictures = Path(folder) / "pictures"
        pictures.mkdir()
        items = drawn(pictures, 1000)
        job = LabelJob(Path(folder) / "job", EmbeddedMasks())
        rows = []
        for what in ("nothing is marked", "again"):
            begun = time.monotonic()
            job.suggest([pictures])
            rows.append((what, f"{time.monotonic() - begun:.1f}"))
        mark(job, items[:5])
        begun = time.monotonic()
        job.suggest([pictures])
        rows.append(("five are marked, no labels: 200 are labelled for a look", f"{time.monotonic() - begun:.1f}"))
        print(table(("1,000 pictures of 256 x 256", "seconds"), rows))


def main() -> None:
    arguments = parser(__doc__.split("\n")[0])
    arguments.add_argument("--parts", nargs="*", choices=("first", "next", "pace"), default=["first", "next", "pace"])
    arguments.add_argument("--draws", type=int, default=6, help="splits of each set (default: 6)")
    arguments.add_argument("--sets", nargs="*", default=["tiles", "steel", "drawn plates"])
    options = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        sets = {"drawn plates": drawn(Path(folder), 60)}
        if (options.data / "defects").is_dir():
            sets = {"tiles": tiles(options.data), "steel": steel(options.data)} | sets
        sets = {name: items for name, items in sets.items() if name in options.sets}
        for part, way in (("first", first), ("next", following)):
            if part in options.parts:
                print(f"\n## {part}\n", flush=True)
                compared(way, sets, options.draws)
    if "pace" in options.parts:
        print("\n## pace\n", flush=True)
        pace()


if __name__ == "__main__":
    main()
