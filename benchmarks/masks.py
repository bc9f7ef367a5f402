"""How well people are cut out: instance IoU against hand-drawn masks, beside simpler methods in the same run.

    python benchmarks/masks.py [--data DIR]

From the face: the picture's faces are found, and the person is the one whose true mask holds exactly one of them, at
least 18 pixels across (clothing pictures: the topmost). From the box: the true box alone, nothing else known. Leak:
share of a mask that lies on another true person, over all, and over people who have any beside them (n). The silhouette
prior and the weights of the nets were set on other pictures of CCP and COCO and on some of these, so those two are
mildly optimistic.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))
from _data import parser, require, table
from _masks_data import Case, clothing, coco, penn_fudan

from identity_segmentation import face_to_body_bbox
from identity_segmentation.engines._silhouettes import Head, silhouette
from identity_segmentation.engines.embedded_faces import EmbeddedFaces
from identity_segmentation.engines.embedded_masks import EmbeddedMasks, grabcut_person
from identity_segmentation.geometry import mask_box
from identity_segmentation.images import shrink_to


def faces_of(case: Case, engine: EmbeddedFaces, cache: dict):
    if case.path not in cache:
        cache[case.path] = engine.faces(case.image, embed=False)
    faces = cache[case.path]
    height, width = case.mask.shape
    inside = [
        f for f in faces if case.mask[int(np.clip(f.centre[1], 0, height - 1)), int(np.clip(f.centre[0], 0, width - 1))]
    ]
    if case.key.startswith("ccp") and inside:
        inside = [min(inside, key=lambda f: f.centre[1])]
    if len(inside) != 1 or inside[0].side < 18:
        return None, []
    return inside[0], [f for f in faces if f is not inside[0]]


def rectangle(case: Case, box, face, others) -> np.ndarray:
    mask = np.zeros(case.mask.shape, bool)
    x0, y0, x1, y1 = (round(float(v)) for v in box)
    mask[y0:y1, x0:x1] = True
    return mask


def plain_grabcut(case: Case, box, face, others) -> np.ndarray:
    small, factor = shrink_to(case.image, 480)
    x0, y0, x1, y1 = (round(float(v) * factor) for v in box)
    height, width = small.shape[:2]
    x0, y0, x1, y1 = max(1, x0), max(1, y0), min(width - 1, x1), min(height - 1, y1)
    state = np.zeros((height, width), np.uint8)
    if x1 - x0 > 2 and y1 - y0 > 2:
        rect = (x0, y0, x1 - x0, y1 - y0)
        cv2.grabCut(small, state, rect, np.zeros((1, 65)), np.zeros((1, 65)), 3, cv2.GC_INIT_WITH_RECT)
    return enlarged(np.isin(state, (cv2.GC_FGD, cv2.GC_PR_FGD)), case)


def seeded_grabcut(case: Case, box, face, others) -> np.ndarray:
    small, factor = shrink_to(case.image, 480)
    head = Head.of(face, factor)
    mask = grabcut_person(small, silhouette(small.shape[:2], head), head, [Head.of(f, factor) for f in others])
    return enlarged(mask, case)


def enlarged(mask: np.ndarray, case: Case) -> np.ndarray:
    return cv2.resize(mask.astype(np.uint8), case.mask.shape[::-1], interpolation=cv2.INTER_LINEAR) > 0


def main() -> None:
    options = parser(__doc__.split("\n")[0]).parse_args()
    data = require(options.data)
    faces_engine, masks_engine, cache = EmbeddedFaces(), EmbeddedMasks(), {}

    def embedded(case: Case, box, face, others) -> np.ndarray:
        encoded = masks_engine.encode(case.image)
        segment = masks_engine.by_box(encoded, [box], None if face is None else [face], others)[0]
        segment_score[0] = segment.score
        return segment.mask

    rows, scores, segment_score = [], {}, [0.0]
    for label, cases, given in (
        ("CCP clothing", clothing(data), "face"),
        ("COCO people", coco(data), "face"),
        ("Penn-Fudan", penn_fudan(data), "box"),
        ("COCO people", coco(data), "box"),
        ("CCP clothing", clothing(data), "box"),
    ):
        methods = {"rectangle": rectangle, "GrabCut, plain box": plain_grabcut}
        if given == "face":
            methods["GrabCut, silhouette seeds"] = seeded_grabcut
        methods["embedded"] = embedded
        results = {name: [] for name in methods}
        for case in cases:
            face, others = faces_of(case, faces_engine, cache) if given == "face" else (None, [])
            if given == "face" and face is None:
                continue
            box = face_to_body_bbox(face, case.image.shape) if face is not None else mask_box(case.mask)
            for name, method in methods.items():
                started = time.perf_counter()
                mask = method(case, box, face, others)
                seconds = time.perf_counter() - started
                iou = (mask & case.mask).sum() / max(1, (mask | case.mask).sum())
                leak = (mask & case.others).sum() / max(1, mask.sum()) if case.others.any() else np.nan
                results[name].append((iou, leak, seconds))
                if name == "embedded":
                    scores.setdefault((given, segment_score[0]), []).append(iou)
        for name, found in results.items():
            iou, leak, seconds = np.array(found).T
            beside = np.isfinite(leak)
            crowd = "-"
            if beside.any():
                crowd = f"{np.nan_to_num(leak).mean():.3f}, {leak[beside].mean():.3f} ({beside.sum()})"
            rows.append(
                (label, given, len(iou), name, f"{iou.mean():.3f}", f"{np.median(iou):.3f}", int((iou < 0.5).sum()),
                 crowd, f"{seconds.mean():.3f}")
            )  # fmt: skip
    print(table(("people", "given", "n", "method", "IoU", "median", "< 0.5", "leak, beside others (n)", "s"), rows))
    print("\nWhat the embedded engine's score is worth:\n")
    print(
        table(
            ("given", "score", "masks", "IoU", "share above 0.8"),
            [
                (*s, len(v), f"{np.mean(v):.3f}", f"{np.mean(np.array(v) > 0.8):.2f}")
                for s, v in sorted(scores.items(), reverse=True)
            ],
        )
    )


if __name__ == "__main__":
    main()
