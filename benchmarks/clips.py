"""Clips: a cow seeded by one box against ground truth, and how time grows with length.

    python benchmarks/clips.py [--data DIR]

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
from video import encode

from identity_segmentation.engines.embedded_faces import EmbeddedFaces
from identity_segmentation.engines.embedded_masks import EmbeddedMasks
from identity_segmentation.geometry import decode_rle, mask_box
from identity_segmentation.video.clip_settings import ClipSettings
from identity_segmentation.video.clips import process_folder
from identity_segmentation.video.files import VideoReader


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
        length(data, Path(scratch))


if __name__ == "__main__":
    main()
