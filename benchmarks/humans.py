"""Where a face lies in the box of its body, as `humans.paired` matches them: what its limits are set by.

Also how far from the face the head is that the pose net finds on the body, or that is reckoned from the body's box.

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
from identity_segmentation.engines.embedded_heads import BodyHeads
from identity_segmentation.engines.embedded_objects import EmbeddedObjects
from identity_segmentation.images import read_image
from identity_segmentation.masks.humans import find_humans
from identity_segmentation.video.files import VideoReader
from identity_segmentation.video.tracking import head_of


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
    heads, tops, asides = BodyHeads(), [], []
    found: dict[str, list[tuple[float, float]]] = {"found on the body": [], "reckoned from its box": []}
    for image in pictures(require(options.data)):
        for human in find_humans(image, faces.faces(image, embed=False), detector):
            if human.face is None or human.body is None:
                continue
            x0, y0, x1, _ = human.body
            if y0 > 2:
                tops.append((human.face.box[1] - y0) / human.face.side)
            asides.append((human.face.centre[0] - (x0 + x1) / 2) / (x1 - x0))
            head = heads.head(image, human.body)
            for label, box in (("found on the body", head), ("reckoned from its box", head_of(human.body))):
                if box is not None:
                    apart = np.hypot(*((box[:2] + box[2:]) / 2 - human.face.centre)) / human.face.side
                    found[label].append((float(apart), float(box[2] - box[0]) / human.face.side))
    rows = [
        (label, len(values), *(f"{v:.2f}" for v in np.percentile(values, [5, 50, 95])))
        for label, values in (("top, in face sides", tops), ("aside, in widths of the body", asides))
    ]
    print(table(("face in the box of its body", "people", "5 %", "median", "95 %"), rows))
    print("\nHeads of people whose face is seen, from their bodies alone; distance and size in face sides:\n")
    lines = []
    for label, values in found.items():
        apart, size = np.array(values).T
        shares = [f"{v:.2f}" for v in (*np.percentile(apart, [50, 90]), np.median(size))]
        lines.append((label, len(values), *shares))
    print(table(("head", "people", "median distance", "90 %", "median size"), lines))


if __name__ == "__main__":
    main()
