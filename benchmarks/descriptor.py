"""The embedded face descriptor against dlib itself: the same numbers, and how much faster, in one run.

    pip install dlib-bin; python benchmarks/descriptor.py

Needs dlib, which the package itself does not. Faces are those of InsightFace's example picture.
"""

from __future__ import annotations

import sys
import time

import numpy as np

from identity_segmentation import read_image
from identity_segmentation.engines._dlib_descriptor import CHIP, Descriptor, weights_path
from identity_segmentation.files import package_folder


def main() -> None:
    try:
        import dlib
    except ImportError:
        sys.exit("this benchmark compares with dlib; install it with: pip install dlib-bin")
    image = np.ascontiguousarray(read_image(package_folder("insightface") / "data/images/t1.jpg")[:, :, ::-1])
    shape = dlib.shape_predictor(str(weights_path().parent / "shape_predictor_5_face_landmarks.dat"))
    theirs, ours = dlib.face_recognition_model_v1(str(weights_path())), Descriptor(threads=2)
    shapes = [shape(image, box) for box in dlib.get_frontal_face_detector()(image, 1)]
    chips = np.stack([dlib.get_face_chip(image, s, CHIP, 0.25) for s in shapes])
    ours(chips)
    pairs = []
    for _ in range(5):
        started = time.perf_counter()
        a = np.array([theirs.compute_face_descriptor(image, s) for s in shapes])
        middle = time.perf_counter()
        b = ours(chips)
        pairs.append((middle - started, time.perf_counter() - middle))
    slow, fast = np.min(pairs, axis=0) / len(shapes) * 1000
    print(f"{len(shapes)} faces: greatest difference {np.abs(a - b).max():.1e}")
    print(f"dlib {slow:.1f} ms a face, ONNX Runtime {fast:.1f} ms, ratio {slow / fast:.1f}")


if __name__ == "__main__":
    main()
