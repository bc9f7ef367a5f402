"""CVAT for images 1.1: `annotations.xml` with a mask and a box per object.

(https://docs.cvat.ai/docs/dataset_management/formats/format-cvat) A mask's run lengths go row by row through its own
box and begin with background. CVAT turns a picture as its EXIF says, and so do masks and boxes here.
"""

from __future__ import annotations

import itertools
from xml.sax.saxutils import quoteattr

import numpy as np

from ...files import atomic_write
from ..marks import hex_of_id
from . import Job, printable


def write(job: Job) -> None:
    """One file, to be taken in under "Upload annotations" of a task that has the pictures under the same names."""
    with atomic_write(job.folder / "annotations.xml") as file:
        count = sum(1 for _ in job.pictures())
        file.write(b'<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n <version>1.1</version>\n')
        file.write(f" <meta><task><id>0</id><name>labels</name><size>{count}</size><mode>annotation</mode>".encode())
        file.write(b"<labels>")
        for number, name in sorted(job.names.items()):
            score = "<attribute><name>score</name><mutable>False</mutable><input_type>text</input_type></attribute>"
            file.write(
                f"<label><name>{_text(name)}</name><color>{hex_of_id(number)}</color><type>any</type>"
                f"<attributes>{score}</attributes></label>".encode()
            )
        file.write(b"</labels></task></meta>\n")
        for index, picture in enumerate(job.pictures()):
            width, height = picture.size
            file.write(
                f' <image id="{index}" name={_value(picture.file_name)} width="{width}" height="{height}">\n'.encode()
            )
            for thing in job.things(picture):
                x0, y0, x1, y1 = thing.box
                runs = ", ".join(map(str, run_lengths(thing.mask[y0:y1, x0:x1])))
                common = f'label={_value(job.names[thing.id])} source="auto" occluded="0" z_order="0"'
                score = f'<attribute name="score">{thing.score:.4f}</attribute>'
                file.write(
                    f'  <mask {common} rle="{runs}" left="{x0}" top="{y0}" width="{x1 - x0}" height="{y1 - y0}">{score}'
                    f'</mask>\n  <box {common} xtl="{x0:.2f}" ytl="{y0:.2f}" xbr="{x1:.2f}" ybr="{y1:.2f}">{score}'
                    "</box>\n".encode()
                )
            file.write(b" </image>\n")
        file.write(b"</annotations>\n")


def run_lengths(mask: np.ndarray) -> list[int]:
    """Row by row, background first: 0 where the first pixel is set."""
    runs = [(value, len(list(group))) for value, group in itertools.groupby(mask.ravel().tolist())]
    return ([0] if runs[0][0] else []) + [length for _, length in runs]


def _text(text: str) -> str:
    return _value(text)[1:-1]


def _value(text: str) -> str:
    """An attribute's value in double quotes, whatever the text holds."""
    return '"' + quoteattr(printable(text), {'"': "&quot;"})[1:-1] + '"'
