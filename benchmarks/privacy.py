"""Heads that a cover would miss, and covers on nothing: our search beside `deface`, on the same frames in one run.

    python benchmarks/privacy.py [--data DIR] [--deface COMMAND] [--parts heads ingredients speed followed]

A head is bare where less than 3/4 of its ellipse is covered; "half" counts those of which 1/2 is, as covers of faces
alone leave the hair. A found head covers the ellipse that `covers.head_shape` draws. A ghost is what is covered further
than a head from every labelled head, as a share of the picture. "With a face": labelled face, turned or partial, but no
back. Between full looks, every second frame is looked at quickly, knowing the heads of the frame before. `deface`
(PyPI, MIT) is run as a command with its defaults; its boxes, which hold the ellipses that it blurs, are what it covers.

Clips: every 6th frame of a sitcom, all heads labelled by eye (benchmarks/labels/friends_heads.json); every 12th of
three dancers and of two children, labelled by their faces; a crowd made of pedestrians' pictures, whose heads of 20
pixels and more are the tops of their masks, while smaller ones count as ghosts; the sitcom beside its mirror image; the
same enlarged to, and pasted into, 3840x2160. The rules of `masks/heads.py` were made on the sitcom and on the first
half of the crowd, one of them after the dancers' false giants; the other clips had no part in them.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))
from _data import ROOT, parser, require, table

from identity_segmentation import IdentityAwareSegmentation
from identity_segmentation.covers import head_shape
from identity_segmentation.engines.embedded_faces import EmbeddedFaces
from identity_segmentation.engines.embedded_heads import BodyHeads
from identity_segmentation.engines.embedded_masks import EmbeddedMasks
from identity_segmentation.engines.embedded_objects import EmbeddedObjects
from identity_segmentation.engines.insightface_faces import InsightFaceEngine
from identity_segmentation.images import read_image
from identity_segmentation.masks import heads
from identity_segmentation.masks.heads import HeadSearch
from identity_segmentation.video.files import VideoReader

COVER = 1.28  # half-axes of a head's cover, in halves of its box
COVERED = 0.75  # share of a head's ellipse
SMALLEST = 20  # pixels of a head in the crowd

Row = tuple[float, float, float, float, str]  # xyxy pixels of a head, and what is seen of it

LABELS = ROOT / "benchmarks/labels/friends_heads.json"


@dataclass
class Shot:
    """A labelled picture, and the one before it where there is one."""

    image: np.ndarray
    rows: list[Row]
    before: np.ndarray | None = None


def sitcom(data: Path) -> Iterator[Shot]:
    labels = json.loads((ROOT / "benchmarks/labels/friends_heads.json").read_text())
    before = None
    with VideoReader(data / "identity/friends/friends.mp4") as reader:
        for frame in reader:
            if str(frame.index) in labels:
                yield Shot(frame.image, [tuple(row) for row in labels[str(frame.index)]], before)
            before = frame.image


def faces_of(data: Path, clip: str, video: str) -> Iterator[Shot]:
    """Clips whose faces are labelled; of a head, that is the part that matters."""
    labels = json.loads((ROOT / f"benchmarks/labels/{clip}_identity.json").read_text())
    before = None
    with VideoReader(data / video) as reader:
        for frame in reader:
            if str(frame.index) in labels:
                rows = [(*row["box"], row["view"]) for row in labels[str(frame.index)]]
                yield Shot(frame.image, rows, before)
            before = frame.image


def pedestrians(data: Path) -> Iterator[tuple[np.ndarray, list[Row]]]:
    """Penn-Fudan's pictures; a head is the uppermost seventh of a mask."""
    root = data / "person_masks/PennFudanPed"
    for path in sorted((root / "PNGImages").glob("*.png")):
        ids = cv2.imread(str(root / "PedMasks" / f"{path.stem}_mask.png"), cv2.IMREAD_UNCHANGED)
        rows: list[Row] = []
        for number in range(1, int(ids.max()) + 1):
            lines = np.flatnonzero((ids == number).any(axis=1))
            if len(lines):
                top, side = float(lines[0]), (lines[-1] + 1 - lines[0]) / 7
                middle = float(np.median(np.nonzero(ids[int(top) : int(top + side)] == number)[1]))
                rows.append((middle - 0.4 * side, top, middle + 0.4 * side, top + side, "head"))
        yield read_image(path), rows


def crowd(data: Path, numbers: Sequence[int] = (0, 1, 2, 3)) -> Iterator[Shot]:
    """1920x1080 pictures of many pictures of pedestrians, in rows of several heights."""
    pictures = list(pedestrians(data))
    for number in numbers:
        chance = np.random.default_rng(number)
        canvas, rows = np.full((1080, 1920, 3), 90, np.uint8), list[Row]()
        order, y = list(chance.permutation(len(pictures))), 0
        while y < 900 and order:
            height, x = int(chance.choice([330, 420, 560])), 0
            while order:
                image, labels = pictures[order.pop()]
                scale = height / image.shape[0]
                small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)[: 1080 - y]
                if x + small.shape[1] > 1920:
                    break
                canvas[y : y + small.shape[0], x : x + small.shape[1]] = small
                moved = [placed(row, scale, x, y) for row in labels if row[3] * scale < small.shape[0]]
                rows += [row for row in moved if row[3] - row[1] >= SMALLEST]
                x += small.shape[1]
            y += height
        yield Shot(canvas, rows)


def placed(row: Row, scale: float, x: float, y: float) -> Row:
    """A head of a picture that was scaled and moved."""
    x0, y0, x1, y1, kind = row
    return x0 * scale + x, y0 * scale + y, x1 * scale + x, y1 * scale + y, kind


def mirror(data: Path) -> Iterator[Shot]:
    for shot in islice(sitcom(data), 3, None, 6):
        width = shot.image.shape[1]
        there = [(2 * width - x1, y0, 2 * width - x0, y1, kind) for x0, y0, x1, y1, kind in shot.rows]
        yield Shot(np.hstack([shot.image, shot.image[:, ::-1]]), shot.rows + there)


def large(data: Path) -> Iterator[Shot]:
    """3840x2160: enlarged sixfold, and pasted as they are."""
    for number, shot in enumerate(islice(sitcom(data), 2, None, 9)):
        if number % 2:
            enlarged = cv2.resize(shot.image, (3840, 2160), interpolation=cv2.INTER_CUBIC)
            yield Shot(enlarged, [placed(row, 6, 0, 0) for row in shot.rows])
            continue
        canvas, x, y = np.full((2160, 3840, 3), 70, np.uint8), 300 + 370 * number, 200 + 190 * number
        canvas[y : y + 360, x : x + 640] = shot.image
        yield Shot(canvas, [placed(row, 1, x, y) for row in shot.rows if row[0] >= 0 and row[2] <= 640])


def ellipse(box: Sequence[float], shape: Sequence[int], grown: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """(rows, columns) of the pixels in a box's ellipse, grown from its middle."""
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    across, down = grown * (box[2] - box[0]) / 2, grown * (box[3] - box[1]) / 2
    x0, x1 = (int(np.clip(v, 0, shape[1])) for v in (x - across, np.ceil(x + across)))
    y0, y1 = (int(np.clip(v, 0, shape[0])) for v in (y - down, np.ceil(y + down)))
    lines, columns = np.mgrid[y0:y1, x0:x1]
    inside = ((columns + 0.5 - x) / across) ** 2 + ((lines + 0.5 - y) / down) ** 2 <= 1
    return lines[inside], columns[inside]


def covered_by(boxes: Sequence[np.ndarray], shape: Sequence[int]) -> np.ndarray:
    """bool (H, W): what the covers of heads cover."""
    mask = np.zeros(tuple(shape[:2]), bool)
    for box in boxes:
        mask[ellipse([float(v) for v in box], shape, COVER)] = True
    return mask


@dataclass
class Tally:
    """Heads, those of them that are bare, and the covers on nothing."""

    total: int = 0
    bare: int = 0
    half: int = 0
    faces: int = 0
    frames: int = 0
    ghosts: float = 0.0

    def add(self, covered: np.ndarray, rows: Sequence[Row]) -> None:
        near = np.zeros_like(covered)
        for row in rows:
            pixels = ellipse(row[:4], covered.shape)
            near[ellipse(row[:4], covered.shape, 2.0)] = True
            self.total += 1
            share = float(covered[pixels].mean()) if len(pixels[0]) else 1.0
            self.half += share >= 0.5
            if share < COVERED:
                self.bare += 1
                self.faces += row[4] != "back"
        self.frames += 1
        self.ghosts += float((covered & ~near).mean())

    def cells(self) -> tuple[str, ...]:
        recall = f"{100 * (1 - self.bare / max(1, self.total)):.1f} %"
        half = f"{100 * self.half / max(1, self.total):.1f} %"
        return recall, half, str(self.bare), str(self.faces), f"{100 * self.ghosts / max(1, self.frames):.1f} %"


def defaced(images: Sequence[np.ndarray], command: str) -> list[np.ndarray]:
    """bool (H, W) each: the boxes in which `deface` blurs an ellipse."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        paths = [folder / f"{number:04d}.png" for number in range(len(images))]
        for path, image in zip(paths, images, strict=True):
            cv2.imwrite(str(path), np.maximum(image, 1))  # what is black afterwards is a box
        subprocess.run([command, *map(str, paths), "--replacewith", "solid"], check=True, capture_output=True)
        made = [cv2.imread(str(path.with_name(f"{path.stem}_anonymized.png"))) for path in paths]
    return [(image == 0).all(axis=2) for image in made]


def part_heads(data: Path, command: str | None, engines: dict[str, HeadSearch]) -> None:
    """Recall and ghosts of every clip."""
    clips: dict[str, Callable[[Path], Iterator[Shot]]] = {
        "sitcom": sitcom,
        "dancers": partial(faces_of, clip="dance", video="videos/dance_3people.mp4"),
        "children": partial(faces_of, clip="bedroom", video="videos/sam3_bedroom.mp4"),
        "crowd, 1st half": partial(crowd, numbers=(0, 1)),
        "crowd, 2nd half": partial(crowd, numbers=(2, 3)),
        "mirror": mirror,
        "4K": large,
    }
    lines = []
    for clip, shots_of in clips.items():
        shots = list(shots_of(data))
        for name, search in engines.items():
            full, quick = Tally(), Tally()
            for shot in shots:
                full.add(covered_by([h.box for h in search.find(shot.image)], shot.image.shape), shot.rows)
                if shot.before is not None:
                    expected = [head.box for head in search.find(shot.before)]
                    found = search.quick(shot.image, expected)
                    quick.add(covered_by([h.box for h in found], shot.image.shape), shot.rows)
            lines.append((clip, f"{name}, full look", full.total, *full.cells()))
            if quick.frames:
                lines.append((clip, f"{name}, quick look", quick.total, *quick.cells()))
        if command is not None:
            theirs = Tally()
            for shot, covered in zip(shots, defaced([s.image for s in shots], command), strict=True):
                theirs.add(covered, shot.rows)
            lines.append((clip, "deface", theirs.total, *theirs.cells()))
        print(f"{clip} done", file=sys.stderr)
    print(table(("clip", "finder", "heads", "covered", "half", "bare", "with a face", "ghosts"), lines))


def part_ingredients(data: Path, search: HeadSearch, only_faces: HeadSearch, coarse: HeadSearch) -> None:
    """What each ingredient adds and costs: the full look without it."""
    tiles, beyond = heads._tiles, heads._beyond
    shots = {"sitcom": list(islice(sitcom(data), 0, None, 2)), "crowd": list(crowd(data, (0, 1)))}
    lines = []

    def measure(label: str, by: HeadSearch) -> None:
        for clip, pictures in shots.items():
            tally, begin = Tally(), time.perf_counter()
            found = [[head.box for head in by.find(shot.image)] for shot in pictures]
            spent = (time.perf_counter() - begin) / len(pictures)
            for shot, boxes in zip(pictures, found, strict=True):
                tally.add(covered_by(boxes, shot.image.shape), shot.rows)
            lines.append((label, clip, *tally.cells(), f"{1000 * spent:.0f} ms"))

    measure("all", search)
    measure("no bodies", only_faces)
    measure("no finest tiles", coarse)
    heads._tiles = lambda shape, smallest, thorough: tiles(shape, smallest, thorough)[:2]
    measure("two tiles only", search)
    heads._tiles, heads._beyond = tiles, lambda shape, shares: []
    measure("nothing beyond the border", search)
    heads._beyond = beyond
    print(table(("without", "clip", "covered", "half", "bare", "with a face", "ghosts", "a picture"), lines))


def five_people(data: Path, count: int) -> list[np.ndarray]:
    """1920x1080: the sitcom's four people, and a fifth beside them."""
    with VideoReader(data / "identity/friends/friends.mp4") as reader:
        frames = [frame.image for frame in islice(reader, 300)]
    fifth = cv2.resize(frames[240], (1920, 1080), interpolation=cv2.INTER_CUBIC)[:, 700:1060]
    clip = []
    for image in frames[: 2 * count : 2]:
        wide = cv2.resize(image, (1920, 1080), interpolation=cv2.INTER_CUBIC)
        clip.append(np.hstack([wide[:, :1560], fifth]))
    return clip


def seconds_of(command: str, images: Sequence[np.ndarray], folder: Path) -> float:
    """Seconds that `deface` takes for a clip of these frames."""
    path = folder / f"{len(images)}.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), 25, images[0].shape[1::-1])
    for image in images:
        writer.write(image)
    writer.release()
    begin = time.perf_counter()
    subprocess.run([command, str(path)], check=True, capture_output=True)
    return time.perf_counter() - begin


def part_speed(data: Path, command: str | None, engines: dict[str, HeadSearch], count: int = 16) -> None:
    """Frames a second at 1920x1080 with five people; of `deface`, what a frame more costs, so without its start."""
    images, lines = five_people(data, count), []
    for name, search in engines.items():
        for every in (1, 2):
            expected: list[np.ndarray] = []
            begin = time.perf_counter()
            for number, image in enumerate(images):
                look = search.quick if number % every else search.find
                expected = [head.box for head in look(image, expected)]
            way = "full look every frame" if every == 1 else f"full look every {every}nd frame"
            lines.append((f"{name}, {way}", f"{count / (time.perf_counter() - begin):.2f}"))
    if command is not None:
        with tempfile.TemporaryDirectory() as folder:
            spent = seconds_of(command, images, Path(folder)) - seconds_of(command, images[:1], Path(folder))
        lines.append(("deface", f"{(count - 1) / spent:.2f}"))
    print(table(("finder", "frames/s"), lines))


def part_followed(data: Path) -> None:
    """The whole way of a video: labelled heads that are bare after following, and faces that should stay open."""
    clip, rows = data / "identity/friends/friends.mp4", []
    labels = {int(i): row for i, row in json.loads(LABELS.read_text()).items()}
    with tempfile.TemporaryDirectory() as scratch:
        people = IdentityAwareSegmentation(EmbeddedFaces(), EmbeddedMasks(), gallery=Path(scratch) / "g")
        people.build_gallery(data / "identity/friends/refs")
        out, kept = Path(scratch) / "out.mp4", Path(scratch) / "kept.mp4"
        people.process_video(clip, out, view="anonymise")
        bare, count = 0, 0
        for line in _record(out):
            shape = (360, 640)
            hidden = np.zeros(shape, bool)
            for *box, _ in line["covered"]:
                hide, (x0, y0, x1, y1) = head_shape(box, shape)
                hidden[y0:y1, x0:x1] |= hide > 127
            for *box, _ in labels.get(line["i"], ()):
                inside = hidden[ellipse(box, shape)]
                count, bare = count + 1, bare + (inside.size > 0 and inside.mean() < 0.75)
        rows.append(("labelled heads, of them bare", count, bare))
        people.process_video(clip, kept, ["Rachel", "Ross"], view="blur-others")
        shares = []
        with VideoReader(clip) as before, VideoReader(kept) as after:
            for line, one, other in zip(_record(kept), before, after, strict=True):
                for *box, _ in line["kept"]:
                    x0, y0, x1, y1 = (max(0, int(v)) for v in box)
                    changed = np.abs(one.image[y0:y1, x0:x1].astype(int) - other.image[y0:y1, x0:x1]).max(-1) > 40
                    shares += [changed.mean()] if changed.size else []
        over = sum(share > 0.01 for share in shares)
        rows.append(("kept faces, of them changed by more than 40 levels in over 1 %", len(shares), over))
    print("\n### Followed over time: the sitcom, all its frames\n")
    print(table(("what", "in all", "wrong"), rows))


def _record(output: Path) -> list[dict]:
    return [json.loads(line) for line in Path(f"{output}.covers.jsonl").read_text("utf-8").splitlines()[1:]]


def main() -> None:
    options = parser(__doc__.split("\n")[0])
    options.add_argument("--deface", default="deface", help="the command to compare with")
    options.add_argument("--engines", nargs="+", default=["embedded", "insightface"], help="finders of faces")
    options.add_argument("--parts", nargs="+", default=["heads", "ingredients", "speed", "followed"])
    given = options.parse_args()
    data = require(given.data)
    command = shutil.which(given.deface)
    if command is None:
        print(f"no {given.deface} here, so nothing to compare with: pip install deface", file=sys.stderr)
    faces, detector, poses = EmbeddedFaces(), EmbeddedObjects(), BodyHeads()
    search = HeadSearch(faces, detector, poses)
    engines = {"embedded": search} if "embedded" in given.engines else {}
    if "insightface" in given.engines:
        pack = InsightFaceEngine("mini_2.5g", data / "weights/insightface")
        engines["insightface (mini_2.5g)"] = HeadSearch(pack, detector, poses)
    if "heads" in given.parts:
        part_heads(data, command, engines)
    if "ingredients" in given.parts:
        coarse = HeadSearch(faces, detector, poses, thorough=False)
        part_ingredients(data, search, HeadSearch(faces), coarse)
    if "speed" in given.parts:
        part_speed(data, command, engines)
    if "followed" in given.parts:
        part_followed(data)


if __name__ == "__main__":
    main()
