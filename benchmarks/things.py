"""Things by their nouns, in single pictures: mean IoU of the mask in a box, beside simpler ways in the same run.

    python benchmarks/things.py [--data DIR]

72 things of 25 COCO pictures that are no people and cover at least 30 x 30 pixels, and every fifth frame of DAVIS cows;
the true box, and the detector's where one of that noun has a score of .2 and an IoU of .5 with it (what the detector
missed is left out there, and counted). COCO pictures by turns, DAVIS frames before and after the 52nd: the limits were
chosen on the first half.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))
from _data import parser, require, table

from identity_segmentation.engines._salience import Salience
from identity_segmentation.engines.embedded_objects import NOUNS, EmbeddedObjects
from identity_segmentation.engines.embedded_things import thing_at, thing_in_box
from identity_segmentation.geometry import box_iou, mask_box, mask_iou
from identity_segmentation.images import read_image

_LEAST_AREA = 900
_NO_POINTS = np.zeros((0, 2), np.float32), np.zeros(0, bool)


@dataclass
class Thing:
    """One thing of one picture; mask is bool (H, W)."""

    source: str
    half: int
    image: np.ndarray
    noun: str
    mask: np.ndarray


def coco_things(data: Path) -> list[Thing]:
    from pycocotools import mask as coco

    root = data / "person_masks/coco_subset"
    content = json.loads((root / "instances_subset.json").read_text())
    nouns = {c["id"]: c["name"] for c in content["categories"]}
    found = []
    pictures = sorted(p["file_name"] for p in content["images"] if (root / "images" / p["file_name"]).is_file())
    for picture in content["images"]:
        image = read_image(root / "images" / picture["file_name"])
        for row in content["annotations"]:
            noun = nouns[row["category_id"]]
            if row["image_id"] != picture["id"] or row["iscrowd"] or noun == "person" or noun not in NOUNS:
                continue
            code = coco.merge(coco.frPyObjects(row["segmentation"], *image.shape[:2]))
            mask = np.ascontiguousarray(coco.decode(code)) > 0
            if np.count_nonzero(mask) >= _LEAST_AREA:
                found.append(Thing("COCO", pictures.index(picture["file_name"]) % 2, image, noun, mask))
    return found


def davis_cows(data: Path) -> list[Thing]:
    root, found = data / "person_masks/DAVIS", []
    for path in sorted((root / "JPEGImages/480p/cows").glob("*.jpg"))[::5]:
        mask = cv2.imread(str(root / "Annotations/480p/cows" / f"{path.stem}.png"), cv2.IMREAD_GRAYSCALE) > 0
        found.append(Thing("DAVIS cows", int(int(path.stem) >= 52), read_image(path), "cow", mask))
    return found


def rectangle(image: np.ndarray, box: np.ndarray) -> np.ndarray:
    mask = np.zeros(image.shape[:2], bool)
    mask[int(box[1]) : int(np.ceil(box[3])), int(box[0]) : int(np.ceil(box[2]))] = True
    return mask


def main() -> None:
    options = parser(__doc__.split("\n")[0]).parse_args()
    data = require(options.data)
    detector, salience = EmbeddedObjects(), Salience()
    ways = {
        "the box itself": rectangle,
        "few-shot's `thing_at`": lambda image, box: thing_at(image, *_NO_POINTS, box),
        "GrabCut from the core": lambda image, box: thing_in_box(image, box, None)[0],
        "embedded": lambda image, box: thing_in_box(image, box, salience)[0],
    }
    scores: dict[tuple, list[float]] = {}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    seen: dict[tuple, list[bool]] = {}
    for thing in coco_things(data) + davis_cows(data):
        true = mask_box(thing.mask)
        near = [d.box for d in detector.detect(thing.image, (thing.noun,), least=0.2)]
        best = max(near, key=lambda b: box_iou(b, true)[0, 0], default=None)
        hit = best is not None and box_iou(best, true)[0, 0] >= 0.5
        seen.setdefault((thing.source, thing.half), []).append(hit)
        for given, box in (("true box", true), ("detector", best if hit else None)):
            for name, way in ways.items() if box is not None else ():
                started = time.perf_counter()
                mask = way(thing.image, box)
                seconds[name].append(time.perf_counter() - started)
                scores.setdefault((thing.source, given, name, thing.half), []).append(mask_iou(mask, thing.mask))
    rows = []
    for source, given, name in dict.fromkeys(key[:3] for key in scores):
        halves = [scores.get((source, given, name, half), []) for half in (0, 1)]
        figures = [f"{np.mean(v):.3f} ({len(v)})" for v in halves]
        rows.append((source, given, name, *figures, f"{np.median(seconds[name]):.2f}"))
    print("### Masks of things\n")
    print(table(("things", "given", "way", "chosen on: IoU (n)", "the other half", "s"), rows))
    found = [(s, ("chosen on", "the other half")[h], f"{sum(v)}/{len(v)}") for (s, h), v in sorted(seen.items())]
    print("\n### Found by the detector at all (score .2, IoU .5)\n")
    print(table(("things", "half", "found"), found))


if __name__ == "__main__":
    main()
