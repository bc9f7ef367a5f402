"""Video instances in the layout of YouTube-VIS: COCO's, with a list per frame. (Yang et al., "Video instance
segmentation", 2019; https://youtube-vos.org/dataset/vis)

People are the categories, and everybody is one annotation: boxes, areas and masks (COCO run lengths) for every frame of
the video, null where they are not. Those whose masks a render left (`OUT.masks.jsonl`) have them, with the boxes
that are tight around them; of all others the boxes are those of the analysis, and there are no masks.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from ...errors import InputError
from ...files import as_json, atomic_write, safe_filename
from . import HandOff
from .boxes import Boxes


def write(job: HandOff, target: Path) -> None:
    """One file for the whole video.

    Args:
        job: what is handed over.
        target: the file.

    Raises:
        InputError: the file of masks is of another video.
    """
    header, boxes = job.analysis.header, Boxes(job)
    masks = {} if job.masks is None else _masks(job, job.masks)
    stem = safe_filename(job.title)
    video = {
        "id": 1, "width": header["width"], "height": header["height"], "length": job.analysis.frames,
        "file_names": [f"{stem}/{i:08d}.png" for i in range(job.analysis.frames)],
    }  # fmt: skip
    info = {"description": f"people on screen in {job.file_name}", "boxes": boxes.kind}
    categories = [{"id": n, "name": name, "supercategory": "person"} for n, name in enumerate(job.people, 1)]
    with atomic_write(target) as file:
        file.write(b'{"info": ' + as_json(info) + b', "licenses": [],\n"categories": ' + as_json(categories))
        file.write(b',\n"videos": ' + as_json([video]) + b',\n"annotations": [')
        for number, row in enumerate(_annotations(job, boxes, masks)):
            file.write((b",\n" if number else b"\n") + as_json(row))
        file.write(b"\n]}\n")


def _annotations(job: HandOff, boxes: Boxes, masks: dict[str, dict[int, dict]]) -> Iterator[dict[str, Any]]:
    count = job.analysis.frames
    for number, name in enumerate(job.people, 1):
        rows: dict[str, list[Any]] = {key: [None] * count for key in ("bboxes", "areas", "segmentations")}
        found: Iterator[tuple[int, dict | None, tuple[float, float, float, float]]]
        if name in masks:
            found = _measured(masks[name].items())
        else:
            found = ((h.frame, None, h.box) for span in job.everybody[name] for h in boxes.of(span))
        for frame, code, (x0, y0, x1, y1) in found:
            if frame < count:
                rows["bboxes"][frame] = [round(float(v), 2) for v in (x0, y0, x1 - x0, y1 - y0)]
                rows["areas"][frame] = round((x1 - x0) * (y1 - y0), 2) if code is None else code.pop("area")
                rows["segmentations"][frame] = code
        size = {"height": job.analysis.header["height"], "width": job.analysis.header["width"], "length": 1}
        yield {"id": number, "video_id": 1, "category_id": number, "iscrowd": 0, **size, **rows}


def _measured(
    masks: Iterable[tuple[int, dict]],
) -> Iterator[tuple[int, dict | None, tuple[float, float, float, float]]]:
    """(frame, code with its area, box) of masks."""
    from pycocotools import mask as coco

    for frame, code in masks:
        packed = {"size": code["size"], "counts": code["counts"].encode()}
        x, y, width, height = coco.toBbox(packed).tolist()
        yield frame, {**code, "area": int(coco.area(packed))}, (x, y, x + width, y + height)


def _masks(job: HandOff, path: Path) -> dict[str, dict[int, dict]]:
    """person -> frame -> COCO RLE, as a render left them."""
    size = [job.analysis.header["height"], job.analysis.header["width"]]
    found: dict[str, dict[int, dict]] = {}
    with path.open(encoding="utf-8") as file:
        for line in file:
            try:
                row = json.loads(line)
                code = {"size": row["size"], "counts": row["counts"]}
                found.setdefault(row["person"], {})[row["frame"]] = code
            except (ValueError, KeyError, TypeError) as error:
                raise InputError(
                    f"{path} is not a file of masks; make it anew with: idseg video IN OUT --masks"
                ) from error
            if code["size"] != size:
                raise InputError(
                    f"{path} has masks of {code['size'][1]} x {code['size'][0]} pixels, the video that was analysed "
                    f"has {size[1]} x {size[0]}; make it anew with: idseg video IN OUT --masks"
                )
    return found
