"""Label Studio: `tasks.json` with pre-annotations (predictions), and `config.xml`, the labelling set-up that fits.

(https://labelstud.io/guide/predictions, tags BrushLabels and RectangleLabels.) Brush masks are bit-packed run lengths
of the mask as RGBA bytes: the format of the browser's @thi.ng/rle-pack. Browsers turn a picture as its EXIF says (CSS
Images 3, image-orientation), and so do masks and boxes here.
"""

from __future__ import annotations

import itertools
import json
import urllib.parse
from collections.abc import Iterator
from xml.sax.saxutils import quoteattr

import numpy as np

from ...files import atomic_write
from ..marks import hex_of_id
from . import Job, Labelled, LabelledObject, printable

_WORD = 8
_SIZES = (3, 4, 8, 16)  # bits of a run's length: the shortest that holds it is taken


def write(job: Job) -> None:
    """Serve the pictures to Label Studio as local files of the folder that the targets were in."""
    labels = "".join(
        f"    <Label value={quoteattr(printable(name))} background={quoteattr(hex_of_id(i))}/>\n"
        for i, name in sorted(job.names.items())
    )
    with atomic_write(job.folder / "config.xml") as file:
        file.write(
            '<View>\n  <Image name="image" value="$image"/>\n'
            f'  <BrushLabels name="mask" toName="image">\n{labels}  </BrushLabels>\n'
            f'  <RectangleLabels name="box" toName="image">\n{labels}  </RectangleLabels>\n</View>\n'.encode()
        )
    with atomic_write(job.folder / "tasks.json") as file:
        file.write(b"[\n")
        for number, picture in enumerate(job.pictures()):
            task = json.dumps(_task(job, picture), ensure_ascii=False).encode()
            file.write((b",\n" if number else b"") + task)
        file.write(b"\n]\n")


def _task(job: Job, picture: Labelled) -> dict:
    regions: list[dict] = []
    scores: list[float] = []
    for number, thing in enumerate(job.things(picture)):
        regions += _regions(picture, thing, printable(job.names[thing.id]), number)
        scores.append(thing.score)
    prediction = {"model_version": "few-shot", "score": round(min(scores, default=0.0), 4), "result": regions}
    return {
        "data": {"image": "/data/local-files/?d=" + urllib.parse.quote(picture.file_name)}, "predictions": [prediction]
    }  # fmt: skip


def _regions(picture: Labelled, thing: LabelledObject, name: str, number: int) -> Iterator[dict]:
    width, height = picture.size
    common = {
        "to_name": "image", "original_width": width, "original_height": height, "image_rotation": 0,
        "score": round(thing.score, 4),
    }  # fmt: skip
    x0, y0, x1, y1 = thing.box
    yield common | {
        "id": f"mask{number}", "from_name": "mask", "type": "brushlabels",
        "value": {"format": "rle", "rle": packed(thing.mask), "brushlabels": [name]},
    }  # fmt: skip
    yield common | {
        "id": f"box{number}", "from_name": "box", "type": "rectanglelabels",
        "value": {
            "x": 100 * x0 / width, "y": 100 * y0 / height, "width": 100 * (x1 - x0) / width,
            "height": 100 * (y1 - y0) / height, "rotation": 0, "rectanglelabels": [name],
        },
    }  # fmt: skip


def packed(mask: np.ndarray) -> list[int]:
    """A bool (H, W) mask as Label Studio's bytes.

    The stream, highest bit first: 32 bits number of bytes that were packed (4 a pixel); 5 bits word size less one; four
    times 4 bits size of a run's length less one; then the runs: a set bit, 2 bits which of the sizes, the length less
    one, and the byte.
    """
    flat = mask.ravel()
    ends = np.flatnonzero(np.diff(flat)) + 1
    bounds = np.concatenate([[0], ends, [flat.size]])
    bits = [f"{4 * flat.size:032b}", f"{_WORD - 1:05b}", *(f"{size - 1:04b}" for size in _SIZES)]
    most = 1 << _SIZES[-1]
    for begin, end in itertools.pairwise(bounds.tolist()):
        byte = f"{255 if flat[begin] else 0:08b}"
        left = 4 * int(end - begin)
        while left:
            length = min(left, most)
            which = next(i for i, size in enumerate(_SIZES) if length <= 1 << size)
            bits.append(f"1{which:02b}{length - 1:0{_SIZES[which]}b}{byte}")
            left -= length
    stream = "".join(bits)
    stream += "0" * (-len(stream) % 8)
    return list(int(stream, 2).to_bytes(len(stream) // 8, "big"))
