"""MOT Challenge: `gt/gt.txt`, `seqinfo.ini`, and `names.csv`, which says who each id is and what the boxes
are of. (Milan et al., "MOT16: A
benchmark for multi-object tracking", 2016, section 4.2: frames, ids and pixels all count from 1.)

A person has one id throughout the video; strangers, who are people too, have one id for each of their tracks. The
pictures themselves (`img1`) are not written.
"""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np

from ...files import atomic_write, safe_filename
from ..scene import Who
from . import HandOff
from .boxes import Boxes

_PEDESTRIAN = 1  # the class of people


def write(job: HandOff, target: Path) -> None:
    """The folder of a sequence.

    A line of `gt.txt` is frame, id, left, top, width, height, conf, class, visibility. conf is 1, and 0 (not to be
    counted) for a body whose box is reckoned from its head. visibility is the share of the box in the picture, and 0
    where somebody is only thought to be there.

    Args:
        job: what is handed over.
        target: the folder.
    """
    boxes = Boxes(job)
    everybody: list[Who] = [*job.people, *sorted(who for who in job.everybody if isinstance(who, int))]
    ids = {who: number for number, who in enumerate(everybody, 1)}
    width, height = job.analysis.header["width"], job.analysis.header["height"]
    rows = []
    for who, number in ids.items():
        for span in job.everybody[who]:
            for here in boxes.of(span):
                x0, y0, x1, y1 = here.box
                inside = max(0.0, min(x1, width) - max(x0, 0)) * max(0.0, min(y1, height) - max(y0, 0))
                share = inside / max(1e-6, (x1 - x0) * (y1 - y0)) if here.seen else 0.0
                values = f"{x0 + 1:.2f},{y0 + 1:.2f},{x1 - x0:.2f},{y1 - y0:.2f}"
                rows.append(
                    (here.frame + 1, number, f"{values},{int(here.sure)},{_PEDESTRIAN},{np.clip(share, 0, 1):.3f}")
                )
    rows.sort(key=lambda row: row[:2])
    with atomic_write(target / "gt" / "gt.txt") as file:
        file.write("".join(f"{frame},{number},{rest}\n" for frame, number, rest in rows).encode())
    with atomic_write(target / "seqinfo.ini") as file:
        file.write(_info(job).encode())
    with atomic_write(target / "names.csv") as file:
        file.write(_names(job, ids, boxes.kind).encode("utf-8", "replace"))


def _info(job: HandOff) -> str:
    lines = {
        "name": safe_filename(job.title).replace("%", "_"),  # which readers would take for a variable
        "imDir": "img1", "frameRate": job.base.base, "seqLength": job.analysis.frames,
        "imWidth": job.analysis.header["width"], "imHeight": job.analysis.header["height"], "imExt": ".png",
    }  # fmt: skip
    return "\n".join(["[Sequence]", *(f"{key}={value}" for key, value in lines.items()), ""])


def _names(job: HandOff, ids: dict[Who, int], kind: str) -> str:
    text = io.StringIO(newline="")
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(("id", "name", "boxes_of", "tracks"))
    for who, number in ids.items():
        tracks = sorted({track for span in job.everybody[who] for track in span.tracks})
        rows.writerow((number, who if isinstance(who, str) else "", kind, " ".join(map(str, tracks))))
    return text.getvalue()
