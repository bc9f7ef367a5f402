"""Few-shot labels with the embedded engine: real defects against two baselines, and the pace and memory of thousands.

    python benchmarks/few_shot.py [--data DIR] [--parts quality clean marks speed]

Quality: for every picture of a class the next 1, 3 or 5 of its class (in the files' order, around the end) are the
references, marked with the ground truth; the class's figure is the mean IoU over its pictures, so that every number of
references is judged on the same pictures. Baselines: Otsu's threshold, on the side - dark or bright - that fits the
references better; and the mean reference mask, resized, where it is one half or more. "ranks" is Spearman's correlation
of the score with the IoU; "off" how far the expected IoU, calibrated by leave-one-out, is from it on average.
Clean: tiles without any defect, with three references of each class: share of pixels marked, and of pictures in which
anything is, alone and with two other clean tiles among the references.
Marks: a defect's box, or the point deepest within it, turned into a mask by the box segmenter.
Speed: 100 and 1,000 drawn 512 x 512 pictures through the whole job, each in a process of its own.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
from scipy.stats import spearmanr

sys.path.insert(0, str(Path(__file__).resolve().parent))
from _data import parser, require, table

from identity_segmentation.engines.embedded_masks import EmbeddedMasks
from identity_segmentation.engines.embedded_pixels import PixelClassifier
from identity_segmentation.geometry import mask_box, mask_iou
from identity_segmentation.labels.calibration import Calibration
from identity_segmentation.labels.job import LabelJob
from identity_segmentation.labels.marks import Mark
from identity_segmentation.types import Exemplar

TILES = ("Blowhole", "Break", "Crack", "Fray", "Uneven")
STEEL = {1: "inclusion", 2: "patches", 3: "scratches"}
COUNTS = (1, 3, 5)


def classes(data: Path) -> dict[str, list[tuple[np.ndarray, np.ndarray]]]:
    """Class -> (picture, mask) of all its pictures."""
    found: dict[str, list] = {}
    for name in TILES:
        for path in sorted((data / f"defects/magnetic_tile/MT_{name}").glob("*.jpg")):
            found.setdefault(name, []).append(
                (cv2.imread(str(path)), cv2.imread(str(path.with_suffix(".png")), 0) > 127)
            )
    for path in sorted((data / "defects/neu_seg/images").glob("*.jpg")):
        labels = cv2.imread(str(data / f"defects/neu_seg/masks/{path.stem}.png"), 0)
        for number, name in STEEL.items():
            if (labels == number).any():
                found.setdefault(name, []).append((cv2.imread(str(path)), labels == number))
    return found


def otsu(image: np.ndarray, bright: bool) -> np.ndarray:
    level, _ = cv2.threshold(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), 0, 255, cv2.THRESH_OTSU)
    grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    return grey > level if bright else grey <= level


def baselines(references, image: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    fits = [np.mean([mask_iou(mask, otsu(picture, side)) for picture, mask in references]) for side in (False, True)]
    size = truth.shape[::-1]
    mean = np.mean([cv2.resize(m.astype(np.float32), size, interpolation=cv2.INTER_AREA) for _, m in references], 0)
    return mask_iou(truth, otsu(image, bool(np.argmax(fits)))), mask_iou(truth, mean >= 0.5)


def quality(data: Path) -> None:
    rows, means = [], {count: [] for count in COUNTS}
    judged: dict[int, list[tuple[float, float | None, float]]] = {count: [] for count in COUNTS}
    for name, items in classes(data).items():
        cells = [name, len(items)]
        for count in COUNTS:
            fits = []
            for at, (image, truth) in enumerate(items):
                references = [items[(at + step) % len(items)] for step in range(1, count + 1)]
                learned = PixelClassifier([Exemplar(p, {1: m}) for p, m in references], "embedded")
                found = learned.label(image)[1]
                iou = mask_iou(truth, found.mask)
                if found.area:
                    judged[count].append((found.score, Calibration.of(learned.trials).expected(found.score), iou))
                fits.append((iou, *baselines(references, image, truth)))
            means[count].append(np.mean(fits, axis=0))
            cells += [" / ".join(f"{v:.2f}" for v in means[count][-1])]
        rows.append(tuple(cells))
    rows.append(("mean of classes", "", *(" / ".join(f"{v:.3f}" for v in np.mean(means[c], axis=0)) for c in COUNTS)))
    head = ("class", "pictures", *(f"{c} reference{'s' * (c > 1)}: ours / Otsu / mean mask" for c in COUNTS))
    print(table(head, rows))
    sure = []
    for count, trials in judged.items():
        scores, expected, ious = (list(column) for column in zip(*trials, strict=True))
        off = "-" if count == 1 else f"{np.mean(np.abs(np.array(expected) - ious)):.2f}"
        sure.append((count, len(trials), f"{spearmanr(scores, ious).statistic:.2f}", off))
    print("\n" + table(("references", "labelled", "score ranks IoU", "expected IoU is off by"), sure))


def clean(data: Path) -> None:
    free = [cv2.imread(str(p)) for p in sorted((data / "defects/magnetic_tile/MT_Free").glob("*.jpg"))]
    known = [Exemplar(image, {1: np.zeros(image.shape[:2], bool)}) for image in free[:2]]
    rows = []
    for name, items in classes(data).items():
        if name not in TILES:
            continue
        cells = [name]
        for more in ([], known):
            learned = PixelClassifier([Exemplar(p, {1: m}) for p, m in items[:3]] + more, "embedded")
            shares = [learned.label(image)[1].mask.mean() for image in free[2:]]
            cells.append(f"{np.mean(shares):.2%} / {np.mean([s > 0 for s in shares]):.0%}")
        rows.append(tuple(cells))
    print(table(("class", "pixels / pictures marked", "with two clean references"), rows))


def marks(data: Path) -> None:
    engine = EmbeddedMasks()
    rows = []
    for name, items in classes(data).items():
        boxed, clicked = [], []
        for image, truth in items:
            count, labels, stats, _ = cv2.connectedComponentsWithStats(truth.astype(np.uint8))
            state = engine.encode(image)
            for number in range(1, count):
                if stats[number, cv2.CC_STAT_AREA] < 30:
                    continue
                part = labels == number
                boxed.append(mask_iou(part, engine.by_points(state, [], [], mask_box(part)).mask))
                deep = cv2.distanceTransform(np.pad(part, 1).astype(np.uint8), cv2.DIST_L2, 3)[1:-1, 1:-1]
                y, x = np.unravel_index(int(deep.argmax()), deep.shape)
                clicked.append(mask_iou(part, engine.by_points(state, [[x, y]], [True]).mask))
        rows.append((name, len(boxed), f"{np.median(boxed):.2f}", f"{np.median(clicked):.2f}"))
    print(table(("class", "parts", "box: median IoU", "one point: median IoU"), rows))


def drawn(number: int) -> tuple[np.ndarray, np.ndarray]:
    """A rough grey plate with spots and a scratch, 512 x 512."""
    rng = np.random.default_rng(number)
    columns = np.arange(512, dtype=np.float32)[None]
    plate = 130 + 30 * np.sin(columns / 170 + rng.random() * 6) + rng.normal(0, 7, (512, 512)).astype(np.float32)
    mask = np.zeros((512, 512), np.uint8)
    for _ in range(rng.integers(1, 6)):
        cv2.circle(mask, tuple(int(v) for v in rng.integers(20, 490, 2)), int(rng.integers(4, 16)), 1, -1)
    x0, y0, x1, y1 = (int(v) for v in rng.integers(20, 490, 4))
    cv2.line(mask, (x0, y0), (x1, y1), 1, 3)
    plate[mask > 0] -= 60
    return np.dstack([np.clip(plate, 0, 255).astype(np.uint8)] * 3), mask > 0


def speed(data: Path) -> None:
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        for number in range(1000):
            path = folder / ("few" if number < 100 else "more") / f"{number:04d}.png"
            path.parent.mkdir(exist_ok=True)
            cv2.imwrite(str(path), drawn(10 + number)[0], [cv2.IMWRITE_PNG_COMPRESSION, 1])
        for targets in ([folder / "few"], [folder / "few", folder / "more"]):
            command = [sys.executable, __file__, "--one", str(folder / f"job{len(targets)}"), *map(str, targets)]
            done = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
            rows.append(tuple(done))
    print(table(("pictures", "learning, s", "pictures/s after it", "of the cores busy", "peak memory, MB"), rows))
    print(f"peak memory at 1,000 over that at 100: {float(rows[1][4]) / float(rows[0][4]):.3f}")


def one(job: Path, targets: list[str]) -> None:
    """One job; prints pictures, seconds of learning, pictures a second, share of the cores busy, peak memory in MB."""
    labels = LabelJob(job, EmbeddedMasks())
    for number in range(3):
        image, mask = drawn(number)
        path = job.with_name(f"{job.name}-reference{number}.png")
        cv2.imwrite(str(path), image)
        labels.mark(path, Mark.of_mask(1, mask))
    begun, used = time.monotonic(), time.process_time()
    report = labels.run(targets)
    wall, cpu = time.monotonic() - begun, time.process_time() - used
    rate = report.done / (report.seconds - report.learning_seconds)
    busy = (cpu - report.learning_seconds) / (wall - report.learning_seconds) / (os.cpu_count() or 1)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    print(report.done, f"{report.learning_seconds:.1f}", f"{rate:.1f}", f"{busy:.0%}", f"{peak:.0f}")


def main() -> None:
    parts = {"quality": quality, "clean": clean, "marks": marks, "speed": speed}
    arguments = parser(__doc__.split("\n")[0])
    arguments.add_argument("--parts", nargs="*", choices=parts, default=list(parts))
    arguments.add_argument("--one", nargs="+", help="(used by the speed part) a job and its targets")
    options = arguments.parse_args()
    if options.one:
        one(Path(options.one[0]), options.one[1:])
        return
    for part in options.parts:
        print(f"\n## {part}\n", flush=True)
        parts[part](options.data if part == "speed" else require(options.data))


if __name__ == "__main__":
    main()
