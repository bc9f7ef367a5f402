"""COCO: `annotations.json`, with run lengths (holes and all) or polygons. (https://cocodataset.org/#format-data)

Where EXIF turns any picture, upright copies of all of them lie in `images/` under the same names, and "info" says so:
readers take pixels as they lie in the file.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable

import numpy as np

from ...files import atomic_write
from ...geometry import encode_rle, mask_rings
from . import Job
from .upright import is_turned, place

_TURNED = "few-shot labels; EXIF turns some of the pictures, so upright copies of all of them are in images/"


def write(job: Job) -> None:
    """Run lengths: exact."""
    _write(job, encode_rle)


def write_polygons(job: Job) -> None:
    """Polygons, one per connected part; holes are cut open to the outline."""
    _write(job, lambda mask: [np.round(ring, 2).ravel().tolist() for ring in mask_rings(mask, 3)])


def _write(job: Job, encoded: Callable[[np.ndarray], object]) -> None:
    turned = any(is_turned(picture.picture) for picture in job.pictures())
    if turned:
        for picture in job.pictures():
            place(picture.picture, job.folder / "images" / picture.file_name)
    info = {"description": _TURNED if turned else "few-shot labels"}
    with atomic_write(job.folder / "annotations.json") as file:

        def rows(key: str, values: Iterable[dict], last: bool = False) -> None:
            # Row by row: a hundred thousand masks need no memory.
            file.write(f'"{key}": [\n'.encode())
            for number, value in enumerate(values):
                file.write((",\n" if number else "").encode() + json.dumps(value, ensure_ascii=False).encode())
            file.write(b"\n]" + (b"\n" if last else b",\n"))

        file.write(f'{{"info": {json.dumps(info)}, "licenses": [],\n'.encode())
        rows("categories", ({"id": i, "name": name, "supercategory": ""} for i, name in sorted(job.names.items())))
        rows(
            "images",
            (
                {"id": number, "file_name": p.file_name, "width": p.size[0], "height": p.size[1]}
                for number, p in enumerate(job.pictures(), 1)
            ),
        )
        rows("annotations", _annotations(job, encoded), last=True)
        file.write(b"}\n")


def _annotations(job: Job, encoded):
    serial = 0
    for number, picture in enumerate(job.pictures(), 1):
        for thing in job.things(picture):
            serial += 1
            x0, y0, x1, y1 = thing.box
            yield {
                "id": serial, "image_id": number, "category_id": thing.id, "segmentation": encoded(thing.mask),
                "area": int(thing.mask.sum()), "bbox": [x0, y0, x1 - x0, y1 - y0], "iscrowd": 0,
                "score": round(thing.score, 4),
            }  # fmt: skip
