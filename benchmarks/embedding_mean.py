"""Recompute identity_segmentation/data/embedded_face_mean.json: the mean of the embedded descriptor over people.

    python benchmarks/embedding_mean.py [--data DIR] > identity_segmentation/data/embedded_face_mean.json

One vector per person, so that nobody counts twice: the named sets but `ive` (which the figures rest on), then every
face of at least 24 pixels in the clothing, COCO and pedestrian pictures. Taking the mean off spreads similarities of
different people over the whole scale.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))
from _data import parser, require

from identity_segmentation.engines.embedded_faces import EmbeddedFaces
from identity_segmentation.images import list_photos, read_image

NAMED = ("identity/bbt/refs", "identity/friends/refs", "identity/face_recognition_examples/knn_examples/train")
CROWDS = ("parsing/ccp/photos", "person_masks/coco_subset/images", "person_masks/PennFudanPed/PNGImages")


def main() -> None:
    data = require(parser(__doc__.split("\n")[0]).parse_args().data)
    engine = EmbeddedFaces()
    engine._mean = np.zeros_like(engine._mean)
    people = []
    for root in NAMED:
        for folder in sorted(p for p in (data / root).iterdir() if p.is_dir()):
            found = [engine.faces(read_image(path)) for path in list_photos(folder)]
            people.append(np.mean([max(f, key=lambda face: face.side).embedding for f in found if f], axis=0))
    for root in CROWDS:
        for path in list_photos(data / root):
            people += [f.embedding for f in engine.faces(read_image(path)) if f.side >= 24]
    print(f"{len(people)} people", file=sys.stderr)
    print(json.dumps({"mean": [round(float(v), 4) for v in np.mean(people, axis=0)]}))


if __name__ == "__main__":
    main()
