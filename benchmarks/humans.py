"""Where a face lies in the box of its body, as `humans.paired` matches them: what its limits are set by.

    python benchmarks/humans.py [--data DIR]

Street fashion, group pictures, and every 20th frame of two clips. The top is counted where the picture does not cut it.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))
from _data import parser, require, table

from identity_segmentation.engines.embedded_faces import EmbeddedFaces
from identity_segmentation.engines.embedded_objects import EmbeddedObjects
from identity_segmentation.images import read_image
from identity_segmentation.masks.humans import find_humans
from identity_segmentation.video.files import VideoReader


def pictures(data: Path):
    groups = [*sorted((data / "identity/bbt/group").glob("*.jpg")), data / "identity/ive/group/group_a.jpg"]
    groups.append(data / "identity/face_recognition_examples/two_people.jpg")
    for path in [*sorted((data / "parsing/ccp/photos").glob("*.jpg")), *groups]:
        yield read_image(path)
    for video in ("identity/friends/friends.mp4", "videos/dance_3people.mp4"):
        with VideoReader(data / video) as reader:
            for frame in reader.frames(0, 20):
                yield frame.image


def main() -> None:
    options = parser(__doc__.split("\n")[0]).parse_args()
    faces, detector = EmbeddedFaces(), EmbeddedObjects()
    tops, asides = [], []
    for image in pictures(require(options.data)):
        for human in find_humans(image, faces.faces(image, embed=False), detector):
            if human.face is None or human.body is None:
                continue
            x0, y0, x1, _ = human.body
            if y0 > 2:
                tops.append((human.face.box[1] - y0) / human.face.side)
            asides.append((human.face.centre[0] - (x0 + x1) / 2) / (x1 - x0))
    rows = [
        (label, len(values), *(f"{v:.2f}" for v in np.percentile(values, [5, 50, 95])))
        for label, values in (("top, in face sides", tops), ("aside, in widths of the body", asides))
    ]
    print(table(("face in the box of its body", "people", "5 %", "median", "95 %"), rows))


if __name__ == "__main__":
    main()
