"""People with hand-drawn masks, as benchmark cases: (image, this person's mask, the other people's mask)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from identity_segmentation.images import read_image


@dataclass
class Case:
    """One person of one picture; masks are bool (H, W)."""

    key: str
    path: Path
    image: np.ndarray
    mask: np.ndarray
    others: np.ndarray


def clothing(data: Path) -> Iterator[Case]:
    """CCP street fashion: one person a picture, every label but background is theirs."""
    for path in sorted((data / "parsing/ccp/photos").glob("*.jpg")):
        labels = cv2.imread(str(data / "parsing/ccp/labels_png" / f"{path.stem}.png"), cv2.IMREAD_UNCHANGED)
        image = read_image(path)
        mask = (labels if labels.ndim == 2 else labels[..., 0]) > 0
        yield Case(f"ccp/{path.stem}", path, image, mask, np.zeros_like(mask))


def coco(data: Path, least_area: int = 3600) -> Iterator[Case]:
    """COCO people that are not crowds and cover at least 60x60 pixels."""
    root = data / "person_masks/coco_subset"
    content = json.loads((root / "instances_subset.json").read_text())
    for picture in content["images"]:
        path = root / "images" / picture["file_name"]
        if not path.is_file():
            continue
        image = read_image(path)
        shape = image.shape[:2]
        rows = [a for a in content["annotations"] if a["image_id"] == picture["id"] and a["category_id"] == 1]
        masks = [_polygons(a["segmentation"], shape) for a in rows if not a["iscrowd"]]
        for index, mask in enumerate(masks):
            if mask.sum() >= least_area:
                rest = [m for j, m in enumerate(masks) if j != index]
                others = np.any(rest, axis=0) & ~mask if rest else np.zeros(shape, bool)
                yield Case(f"coco/{picture['id']}-{index}", path, image, mask, others)


def _polygons(polygons, shape) -> np.ndarray:
    canvas = np.zeros(shape, np.uint8)
    for polygon in polygons:
        cv2.fillPoly(canvas, [np.array(polygon, np.float64).reshape(-1, 2).round().astype(np.int32)], 1)
    return canvas > 0


def penn_fudan(data: Path) -> Iterator[Case]:
    """Penn-Fudan pedestrians."""
    root = data / "person_masks/PennFudanPed"
    for path in sorted((root / "PNGImages").glob("*.png")):
        ids = cv2.imread(str(root / "PedMasks" / f"{path.stem}_mask.png"), cv2.IMREAD_UNCHANGED)
        image = read_image(path)
        for number in range(1, int(ids.max()) + 1):
            mask = ids == number
            if mask.any():
                yield Case(f"penn/{path.stem}-{number}", path, image, mask, (ids > 0) & ~mask)


def breakdance(data: Path) -> Iterator[Case]:
    """Every fourth frame of one who tumbles and stands on his head."""
    root = data / "person_masks/DAVIS"
    for path in sorted((root / "JPEGImages/480p/breakdance").glob("*.jpg"))[::4]:
        mask = cv2.imread(str(root / "Annotations/480p/breakdance" / f"{path.stem}.png"), cv2.IMREAD_GRAYSCALE) > 127
        yield Case(f"breakdance/{path.stem}", path, read_image(path), mask, np.zeros_like(mask))
