"""YOLO-seg: `labels/train/NAME.txt` beside `images/train/NAME`, and `data.yaml`.

(https://docs.ultralytics.com/datasets/segment) A line is one closed polygon, so every connected part is an object here;
holes are cut open to the outline.
"""

from __future__ import annotations

import json

from ...files import atomic_write
from ...geometry import mask_rings
from . import Job
from .upright import place


def write(job: Job) -> None:
    """The folder that `yolo segment train data=data.yaml` takes. The pictures are copied, upright."""
    classes = {number: index for index, number in enumerate(sorted(job.names))}
    for picture in job.pictures():
        width, height = picture.size
        lines = []
        for thing in job.things(picture, parts=True):
            for ring in mask_rings(thing.mask):
                numbers = (ring / (width, height)).ravel()
                lines.append(f"{classes[thing.id]} " + " ".join(f"{v:.6f}" for v in numbers) + "\n")
        place(picture.picture, job.folder / "images" / "train" / picture.placed_name)
        label = (job.folder / "labels" / "train" / picture.placed_name).with_suffix(".txt")
        with atomic_write(label) as file:
            file.write("".join(lines).encode())
    with atomic_write(job.folder / "data.yaml") as file:
        # A JSON string is a YAML string, whatever is in it.
        names = "".join(f"  {classes[i]}: {json.dumps(n, ensure_ascii=False)}\n" for i, n in sorted(job.names.items()))
        file.write(f"train: images/train\nval: images/train\nnames:\n{names}".encode())
