"""Few-shot labels with the embedded engine: real defects against two baselines, and the pace and memory of thousands.

    python benchmarks/few_shot.py [--data DIR] [--parts quality light clean drawn marks speed] [--half choose report]
                                  [--counts 1 3 5] [--starts 0 1 2]
    python benchmarks/few_shot.py --parts judge    # prints PRIOR and BIAS of engines/_judge.py

Halves: of a class's pictures, in the files' order, the 1st, 3rd, 5th ... are those that the design was chosen on
("choose"), the others are reported ("report"). They say which pictures are labelled: references come from both.
Quality: for every picture of a class the next 1, 3 or 5 of its class (in the files' order, around the end) are the
references, marked with the ground truth; the class's figure is the mean IoU over its pictures, so that every number of
references is judged on the same pictures. Baselines: Otsu's threshold, on the side - dark or bright - that fits the
references better; and the mean reference mask, resized, where it is one half or more. "ranks" is Spearman's correlation
of the score with the IoU; "off" how far the expected IoU, calibrated by leave-one-out, is from it on average.
Light: the same pictures once more with other gamma, contrast and brightness, three references: mean change of the IoU.
Clean: tiles without any defect, with three references of each class: share of pixels marked, and of pictures in which
anything is, alone and with two other clean tiles among the references (every two in turn; the halves are the 1st, 3rd,
5th tile and the others).
Drawn: what is no steel - a logo, an organ, spots on a leaf.
Marks: a defect's box, or the point deepest within it, turned into a mask by the box segmenter.
Speed: 100 and 1,000 drawn 512 x 512 pictures through the whole job, each in a process of its own.
"""

from __future__ import annotations

import functools
import itertools
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
from scipy.stats import spearmanr
from sklearn.linear_model import Ridge

sys.path.insert(0, str(Path(__file__).resolve().parent))
from _data import parser, require, table
from _drawn_things import DRAWN

from identity_segmentation.engines._judge import DESCRIPTIONS, Judged
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
HALVES = ("choose", "report")
Item = tuple[np.ndarray, np.ndarray]  # picture, mask


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


def references_of(items: Sequence[Item], at: int, count: int, start: int = 0) -> list[Item]:
    """The next so many of a class's pictures, from so many places further on."""
    places = [(at + start + step) % len(items) for step in range(1, count + 1)]
    return [items[place] for place in places if place != at]


def learnt(items: Sequence[Item], at: int, count: int, start: int = 0) -> PixelClassifier:
    """What they teach."""
    chosen = references_of(items, at, count, start)
    return PixelClassifier([Exemplar(picture, {1: mask}) for picture, mask in chosen], "embedded")


def quality(data: Path, half: str, counts: Sequence[int], starts: Sequence[int] = (0,)) -> None:
    rows, means = [], {count: [] for count in counts}
    judged: dict[int, list[tuple[float, float, float]]] = {count: [] for count in counts}
    for name, items in classes(data).items():
        places = range(HALVES.index(half), len(items), 2)
        cells = [name, len(places)]
        for count in counts:
            fits = []
            for at, start in itertools.product(places, starts):
                image, truth = items[at]
                learned = learnt(items, at, count, start)
                found = learned.label(image)[1]
                iou = mask_iou(truth, found.mask)
                if found.area:
                    expected = Calibration.of(learned.trials).expected(found.score)
                    judged[count].append((found.score, found.score if expected is None else expected, iou))
                fits.append((iou, *baselines(references_of(items, at, count, start), image, truth)))
            means[count].append(np.mean(fits, axis=0))
            cells += [" / ".join(f"{v:.2f}" for v in means[count][-1])]
        rows.append(tuple(cells))
    rows.append(("mean of classes", "", *(" / ".join(f"{v:.3f}" for v in np.mean(means[c], axis=0)) for c in counts)))
    head = ("class", "pictures", *(f"{c} reference{'s' * (c > 1)}: ours / Otsu / mean mask" for c in counts))
    print(table(head, rows))
    sure = []
    for count, trials in judged.items():
        scores, expected, ious = (np.array(column) for column in zip(*trials, strict=True))
        off = f"{np.abs(expected - ious).mean():.2f}"
        sure.append((count, len(trials), f"{spearmanr(scores, ious).statistic:.2f}", off))
    print("\n" + table(("references", "labelled", "score ranks IoU", "expected IoU is off by"), sure))


def lit(image: np.ndarray) -> dict[str, np.ndarray]:
    """The picture in another light."""
    grey = image.astype(np.float32)
    changed = {
        "gamma 0.5": 255 * (grey / 255) ** 0.5, "gamma 2": 255 * (grey / 255) ** 2, "contrast x 0.5": grey / 2 + 64,
        "brightness + 60": grey + 60, "brightness - 60": grey - 60,
    }  # fmt: skip
    return {name: np.clip(picture, 0, 255).astype(np.uint8) for name, picture in changed.items()}


def light(data: Path, half: str, counts: Sequence[int]) -> None:
    changes: dict[str, list[float]] = {}
    for items in classes(data).values():
        for at in range(HALVES.index(half), len(items), 2):
            image, truth = items[at]
            learned = learnt(items, at, 3)
            usual = mask_iou(truth, learned.label(image)[1].mask)
            for name, picture in lit(image).items():
                changes.setdefault(name, []).append(mask_iou(truth, learned.label(picture)[1].mask) - usual)
    print(table(("light", "IoU changes by"), [(name, f"{np.mean(found):+.3f}") for name, found in changes.items()]))


def clean_tiles(data: Path) -> list[np.ndarray]:
    """Tiles without a defect."""
    return [cv2.imread(str(p)) for p in sorted((data / "defects/magnetic_tile/MT_Free").glob("*.jpg"))]


def showing_nothing(image: np.ndarray) -> Exemplar:
    """A reference in which nothing is marked."""
    return Exemplar(image, {1: np.zeros(image.shape[:2], bool)})


def clean(data: Path, half: str, counts: Sequence[int]) -> None:
    """Every pair of clean tiles is among the references once, and the others of the half are labelled; which three of
    the class are marked changes with the pair."""
    free = clean_tiles(data)
    pairs = list(itertools.combinations(range(len(free)), 2))
    rows, all_marked = [], []
    for name, items in classes(data).items():
        if name not in TILES:
            continue
        cells = [name]
        for chosen in ([()], pairs):
            shares = []
            for pair in chosen:
                marked = [items[(sum(pair) + step) % len(items)] for step in range(3)]
                references = [Exemplar(p, {1: m}) for p, m in marked] + [showing_nothing(free[n]) for n in pair]
                learned = PixelClassifier(references, "embedded")
                labelled = [n for n in range(HALVES.index(half), len(free), 2) if n not in pair]
                shares += [learned.label(free[n])[1].mask.mean() for n in labelled]
            cells.append(f"{np.mean(shares):.2%} / {np.mean([s > 0 for s in shares]):.0%} of {len(shares)}")
        all_marked += [share > 0 for share in shares]
        rows.append(tuple(cells))
    rows.append(("all", "", f"{np.mean(all_marked):.1%} of {len(all_marked)}"))
    print(table(("class", "pixels / pictures marked", "with two clean references"), rows))


def drawn_things(data: Path, half: str, counts: Sequence[int]) -> None:
    rows = []
    for name, draw in DRAWN.items():
        items = [draw(number) for number in range(8)]
        cells = [
            np.mean([
                mask_iou(items[at][1], learnt(items, at, count).label(items[at][0])[1].mask)
                for at in range(HALVES.index(half), 8, 2)
            ])
            for count in counts
        ]  # fmt: skip
        rows.append((name, *(f"{cell:.2f}" for cell in cells)))
    print(table(("drawn", *(f"{count} reference{'s' * (count > 1)}" for count in counts)), rows))


def judge(data: Path) -> None:
    """Fit the prior of the judge to the half that is chosen on; each class, and clean tiles as one, weigh the same."""
    found: list[tuple[float, Judged]] = []
    tiles = classes(data)
    groups = [list(_judged(items)) for items in tiles.values()]
    groups += [list(_judged([draw(number) for number in range(8)], (0,))) for draw in DRAWN.values()]
    free = clean_tiles(data)
    known = [showing_nothing(image) for image in free[:2]]
    nothing: list[Judged] = []
    for name in TILES:
        marked = [Exemplar(p, {1: m}) for p, m in tiles[name][:3]]
        for references in (marked, marked + known):
            learned = PixelClassifier(references, "embedded")
            for image in free[2::2]:
                nothing += _told(learned, image, np.zeros(image.shape[:2], bool))
    for group in [*groups, nothing]:
        found += [(1 / len(group), one) for one in group]
    names, mean, scale, line, bias = fitted(found)
    print("PRIOR: tuple[tuple[str, float, float, float], ...] = (")
    for row in zip(names, mean, scale, line, strict=True):
        print(f'    ("{row[0]}", {row[1]:.4f}, {row[2]:.4f}, {row[3]:.4f}),')
    print(f")\nBIAS = {bias:.4f}")


def _judged(items: Sequence[Item], starts: Sequence[int] = (0, 1, 2)) -> Iterator[Judged]:
    """Regions of every other picture, found with one and three references that begin at several places after it."""
    for at in range(0, len(items), 2):
        for count in (1, 3):
            for start in starts:
                yield from _told(learnt(items, at, count, start), *items[at])


def _told(learned: PixelClassifier, image: np.ndarray, truth: np.ndarray) -> list[Judged]:
    told = learned.tried_on(Exemplar(image, {1: truth}))[1].judged()
    return [] if told is None else [told]


def fitted(found: Sequence[tuple[float, Judged]]):
    """Names, means, spreads, weights and offset of a ridge regression of the fits."""
    what, fits = (np.concatenate([getattr(one, column) for _, one in found]) for column in ("what", "fits"))
    weights = np.concatenate([share * one.weights for share, one in found])
    mean = np.average(what, axis=0, weights=weights)
    scale = np.sqrt(np.average((what - mean) ** 2, axis=0, weights=weights)) + 1e-3
    model = Ridge(3.0).fit((what - mean) / scale, fits, sample_weight=weights)
    return DESCRIPTIONS, mean, scale, model.coef_, float(model.intercept_)


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
    halved = {"quality": quality, "light": light, "clean": clean, "drawn": drawn_things}
    parts = {"marks": marks, "speed": speed}
    arguments = parser(__doc__.split("\n")[0])
    arguments.add_argument("--parts", nargs="*", choices=[*halved, *parts, "judge"], default=[*halved, *parts])
    arguments.add_argument(
        "--half", nargs="*", choices=HALVES, default=list(HALVES), help="whose pictures are labelled"
    )
    arguments.add_argument("--counts", nargs="*", type=int, default=list(COUNTS), help="how many references")
    arguments.add_argument("--one", nargs="+", help="(used by the speed part) a job and its targets")
    arguments.add_argument(
        "--starts", nargs="*", type=int, default=[0], help="how many places further on the references begin (quality)"
    )
    options = arguments.parse_args()
    halved["quality"] = functools.partial(quality, starts=options.starts)
    if options.one:
        one(Path(options.one[0]), options.one[1:])
        return
    for part in options.parts:
        data = options.data if part == "speed" else require(options.data)
        for half in options.half if part in halved else ("",):
            print(f"\n## {part}{', half: ' * bool(half)}{half}\n", flush=True)
            if half:
                halved[part](data, half, options.counts)
            else:
                (parts | {"judge": judge})[part](data)


if __name__ == "__main__":
    main()
