"""How well people are cut out: instance IoU against hand-drawn masks, beside simpler methods in the same run.

    python benchmarks/masks.py [--data DIR]

From the face: the picture's faces are found, and the person is the one whose true mask holds exactly one of them, at
least 18 pixels across (clothing pictures: the topmost). From the box: the true box alone, nothing else known. Leak:
share of a mask that lies on another true person, over all, and over people who have any beside them (n). The silhouette
prior and the weights of the nets were set on other pictures of CCP and COCO and on some of these, so those two are
mildly optimistic.

Everybody: the people that `instances.everyone` finds in a picture with a mask IoU above .5. Boxes that are not tight:
the true box, 8 % larger and smaller, and the detector's own where one has an IoU of .5 with the true one.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))
from _data import parser, require, table
from _masks_data import Case, breakdance, clothing, coco, penn_fudan

from identity_segmentation import face_to_body_bbox
from identity_segmentation.engines._silhouettes import Head, silhouette
from identity_segmentation.engines.embedded_edges import FineEdges
from identity_segmentation.engines.embedded_faces import EmbeddedFaces
from identity_segmentation.engines.embedded_masks import EmbeddedMasks, grabcut_person
from identity_segmentation.engines.embedded_objects import EmbeddedObjects
from identity_segmentation.geometry import box_iou, mask_box
from identity_segmentation.images import shrink_to
from identity_segmentation.masks.instances import everyone


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


def grown(box: np.ndarray, share: float, shape: tuple[int, int]) -> np.ndarray:
    """A box with its sides moved out (or in) until it is larger (or smaller) by a share, within the picture."""
    step = share / 2 * np.tile(box[2:] - box[:2], 2) * (-1, -1, 1, 1)
    return (box + step).clip(0, np.tile(shape[::-1], 2)).astype(np.float32)


def iou(a: np.ndarray, b: np.ndarray) -> float:
    return np.count_nonzero(a & b) / max(1, np.count_nonzero(a | b))


def band_iou(found: np.ndarray, truth: np.ndarray) -> float:
    """IoU within 5 pixels of the true edge on either side."""
    inside = cv2.distanceTransform(truth.astype(np.uint8), cv2.DIST_L2, 3)
    outside = cv2.distanceTransform((~truth).astype(np.uint8), cv2.DIST_L2, 3)
    near = (inside <= 5) & (outside <= 5)
    return iou(found & near, truth & near)


def boxes_that_are_not_tight(data: Path, engine: EmbeddedMasks, detector: EmbeddedObjects) -> None:
    """What a loose box costs, and people who lie, tumble and stand on their heads."""
    rows = []
    cases = {"Penn-Fudan": penn_fudan(data), "COCO people": coco(data), "CCP clothing": clothing(data)}
    for label, found in (*cases.items(), ("DAVIS breakdance", breakdance(data))):
        scores: dict[str, list[float]] = {"true box": [], "+8 %": [], "-8 %": [], "detector": [], "true, same": []}
        for case in found:
            box, encoded = mask_box(case.mask), engine.encode(case.image)
            given = {
                "true box": box,
                "+8 %": grown(box, 0.08, case.mask.shape),
                "-8 %": grown(box, -0.08, case.mask.shape),
            }
            near = [d.box for d in detector.detect(case.image) if box_iou(d.box, box)[0, 0] >= 0.5]
            if near:
                given["detector"] = max(near, key=lambda b: box_iou(b, box)[0, 0])
            for name, asked in given.items():
                scores[name].append(iou(engine.by_box(encoded, [asked])[0].mask, case.mask))
            if near:
                scores["true, same"].append(scores["true box"][-1])
        rows.append((label, len(scores["true box"]), *(f"{np.mean(v):.3f}" for v in scores.values())))
    print("\n### Boxes that are not tight\n")
    print(table(("people", "n", "true box", "+8 %", "-8 %", "detector", "true box, the same people"), rows))


def found_people(data: Path, engine: EmbeddedMasks, faces: EmbeddedFaces, detector: EmbeddedObjects) -> None:
    """Of the people in a picture, how many are found with a mask IoU above .5."""
    rows = []
    for label, cases in (("Penn-Fudan", penn_fudan(data)), ("COCO people", coco(data))):
        pictures: dict[Path, list[Case]] = {}
        for case in cases:
            pictures.setdefault(case.path, []).append(case)
        hits, shown, total = 0, 0, 0
        for mine in pictures.values():
            segments = everyone(mine[0].image, engine, faces, detector)
            shown, total = shown + len(segments), total + len(mine)
            hits += sum(any(iou(s.mask, case.mask) > 0.5 for s in segments) for case in mine)
        rows.append((label, total, hits, f"{hits / total:.3f}", shown))
    print("\n### Everybody, with a face or without\n")
    print(table(("people", "n", "found", "share", "shown in all (also people without a truth)"), rows))


def fine_edges(data: Path, engine: EmbeddedMasks, faces: EmbeddedFaces) -> None:
    """What fine edges add, on clothing pictures."""
    edges, scores = FineEdges(), {}
    for case in clothing(data):
        encoded, seen = engine.encode(case.image), faces.faces(case.image, embed=False)
        face = max(seen, key=lambda f: f.side)
        for given, segment in (
            ("box", engine.by_box(encoded, [mask_box(case.mask)])[0]),
            ("face", engine.by_box(encoded, [face_to_body_bbox(face, case.image.shape)], [face])[0]),
        ):
            started = time.perf_counter()
            fine = edges.refine(case.image, segment)
            seconds = time.perf_counter() - started
            for name, mask in (("fast", segment.mask), ("fine", fine.mask)):
                row = (iou(mask, case.mask), band_iou(mask, case.mask), seconds if name == "fine" else 0.0)
                scores.setdefault((given, name), []).append(row)
    print("\n### Fine edges, CCP: the band is 10 pixels wide, along the true edge\n")
    rows = [(*key, *(f"{v:.3f}" for v in np.mean(value, axis=0))) for key, value in scores.items()]
    print(table(("given", "edges", "IoU", "IoU in the band", "s more"), rows))


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
    detector = EmbeddedObjects()
    found_people(data, masks_engine, faces_engine, detector)
    boxes_that_are_not_tight(data, masks_engine, detector)
    fine_edges(data, masks_engine, faces_engine)


if __name__ == "__main__":
    main()
