"""Clips: a cow seeded by one box against ground truth, and how time grows with length.

    python benchmarks/clips.py [--data DIR]

By the word: "cow", with nothing else given. DAVIS cows: the mean IoU of the one object that overlaps most, over all
frames but the first. The herd: cows drawn by eye on eight frames (benchmarks/_herd.py), one-to-one with the boxes of
the masks that are shown there. Whoever drew them had seen boxes of the detector, and chose the limits of tracking on
them.
Cow: DAVIS cows, the box of the first frame, 41 frames in clips of 20 (the last of one frame); region J is the mean IoU
over all frames but the first. Length: a video of people, and the same repeated ten times, in one run.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))
from _data import parser, require, table
from _herd import CLEAR, HIDDEN
from scipy.optimize import linear_sum_assignment
from video import encode

from identity_segmentation.engines.embedded_faces import EmbeddedFaces
from identity_segmentation.engines.embedded_masks import EmbeddedMasks
from identity_segmentation.geometry import box_iou, decode_rle, mask_box, mask_iou
from identity_segmentation.video.clip_settings import ClipSettings
from identity_segmentation.video.clips import process_folder
from identity_segmentation.video.files import VideoReader
from identity_segmentation.video.finders import finder_for


def cow(data: Path, scratch: Path) -> None:
    folder = data / "person_masks/DAVIS"
    pictures = [cv2.imread(str(p)) for p in sorted((folder / "JPEGImages/480p/cows").glob("*.jpg"))[:41]]
    truth = [cv2.imread(str(p), 0) > 0 for p in sorted((folder / "Annotations/480p/cows").glob("*.png"))[:41]]
    encode(scratch / "cows.mp4", iter(pictures), 24, {"preset": "fast", "crf": "14"})
    box = (*(float(v) for v in mask_box(truth[0])), 0)
    rows = []
    for step in (1, 4):
        out = scratch / f"cows_{step}"
        settings = ClipSettings(boxes=(box,), frames_per_clip=20, frame_step=step)
        process_folder(scratch / "cows.mp4", out, settings, EmbeddedMasks())
        scores = []
        for path in sorted(out.glob("*/clip_*.json")):
            record = json.loads(path.read_bytes())
            for index, frame in enumerate(record["frames"]):
                drawn = np.zeros_like(truth[0])
                for one in record["objects"]:
                    if index in one["at"]:
                        drawn |= decode_rle(one["masks"][one["at"].index(index)])
                if frame:
                    scores.append((drawn & truth[frame]).sum() / max(1, (drawn | truth[frame]).sum()))
        rows.append((step, len(scores), f"{np.mean(scores):.3f}", f"{min(scores):.3f}"))
    print("### A cow from one box: DAVIS cows\n")
    print(table(("frame step", "frames", "region J", "worst frame"), rows))


def by_word(data: Path, scratch: Path) -> None:
    """A cow out of a video, from the word alone."""
    folder = data / "person_masks/DAVIS"
    pictures = [cv2.imread(str(p)) for p in sorted((folder / "JPEGImages/480p/cows").glob("*.jpg"))]
    truth = [cv2.imread(str(p), 0) > 0 for p in sorted((folder / "Annotations/480p/cows").glob("*.png"))]
    encode(scratch / "all_cows.mp4", iter(pictures), 24, {"preset": "fast", "crf": "14"})
    rows = []
    for step in (1, 4):
        out = scratch / f"word_{step}"
        settings = ClipSettings(prompt="cow", frames_per_clip=20, frame_step=step)
        started = time.perf_counter()
        process_folder(scratch / "all_cows.mp4", out, settings, EmbeddedMasks())
        seconds = time.perf_counter() - started
        masks: dict[int, dict[int, np.ndarray]] = {}
        for path in sorted(out.glob("*/clip_*.json")):
            record = json.loads(path.read_bytes())
            for one in record["objects"]:
                for at, code in zip(one["at"], one["masks"], strict=True):
                    masks.setdefault(one["id"], {})[record["frames"][at]] = decode_rle(code)
        frames = range(step, len(truth), step)
        scores = {k: [mask_iou(m[f], truth[f]) if f in m else 0.0 for f in frames] for k, m in masks.items()}
        best = max(scores, key=lambda k: float(np.mean(scores[k])))
        lengths = ", ".join(str(len(m)) for _, m in sorted(masks.items()))
        rows.append((step, len(frames), f"{np.mean(scores[best]):.3f}", f"{min(scores[best]):.3f}", lengths,
                     f"{seconds / len(frames):.2f}"))  # fmt: skip
    print("\n### A cow from the word alone: DAVIS cows\n")
    print(table(("frame step", "frames", "region J", "worst frame", "frames of each object", "s a frame"), rows))


def herd(data: Path) -> None:
    """How many cows of a herd are shown, against cows drawn by eye."""
    finder = finder_for(ClipSettings(prompt="cow", frame_step=4), EmbeddedMasks(), None)
    with VideoReader(data / "videos/cow_herd.mp4") as reader:
        frames = list(reader.frames(0, 4))
    started = time.perf_counter()
    found = finder.find([f.image for f in frames], [], {})
    seconds = (time.perf_counter() - started) / len(frames)
    rows, total = [], np.zeros(5, int)
    for at in sorted(CLEAR):
        index = min(range(len(frames)), key=lambda i: abs(frames[i].index - at))
        boxes = np.array([seen[index][1] for seen in found.values() if index in seen]).reshape(-1, 4)
        clear, every = np.array(CLEAR[at], np.float32), np.array(CLEAR[at] + HIDDEN[at], np.float32)
        overlap, to_any = box_iou(clear, boxes), box_iou(every, boxes)
        pairs = overlap[linear_sum_assignment(-overlap)]
        own = int((to_any[linear_sum_assignment(-to_any)] >= 0.3).sum())
        row = (len(clear), int((pairs >= 0.5).sum()), int((pairs >= 0.3).sum()), len(boxes), len(boxes) - own)
        rows.append((at, *row))
        total += row
    print("\n### Cows of a herd, from the word alone\n")
    names = (
        "frame",
        "clear cows by eye",
        "found at IoU .5",
        "at .3",
        "objects shown",
        "of them without a cow of their own",
    )
    print(table(names, [*rows, ("all", *(int(v) for v in total))]))
    print(f"\n{len(found)} ids; {seconds:.2f} s a sampled frame")


def length(data: Path, scratch: Path) -> None:
    with VideoReader(data / "videos/sam3_bedroom.mp4") as reader:
        frames = [cv2.resize(f.image, (640, 360)) for f in reader]
    rows, times = [], []
    for repeats in (1, 10):
        path = scratch / f"x{repeats}.mp4"
        encode(path, (f for _ in range(repeats) for f in frames), 30, {"preset": "ultrafast", "crf": "20"})
        settings = ClipSettings(prompt="person", frames_per_clip=20, frame_step=4)
        started = time.perf_counter()
        (outcome,) = process_folder(path, scratch / f"x{repeats}", settings, EmbeddedMasks(), EmbeddedFaces())
        times.append(time.perf_counter() - started)
        rows.append((len(frames) * repeats, outcome.clips, outcome.crops, f"{times[-1]:.1f} s"))
    print(f"\n### Length: ten times the video in {times[1] / times[0]:.2f} times the time\n")
    print(table(("frames", "clips", "crops", "time"), rows))


def main() -> None:
    options = parser(__doc__.split("\n")[0]).parse_args()
    data = require(options.data)
    with tempfile.TemporaryDirectory() as scratch:
        cow(data, Path(scratch))
        by_word(data, Path(scratch))
        herd(data)
        length(data, Path(scratch))


if __name__ == "__main__":
    main()
