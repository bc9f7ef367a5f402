"""Parts of people by the embedded engine: mean IoU on labelled street fashion, against two baselines.

    python benchmarks/parts.py [--data DIR] [--write]

Each photo is judged with a table of places learnt from the other nineteen. "mask given": the person's mask is the
labels' own; "end to end": it is the engine's. Bands: one fixed share of the body box for everybody.
--write writes identity_segmentation/data/part_prior.json, learnt from all of them.

The 59 labels are mapped to the engine's parts: a dress is top above the waist (3.3 face sides below the face) and
bottom below it; legs are trousers, legwear, and skin below the waist; parts of fewer than 300 pixels are not counted.
"""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))
from _data import ROOT, parser, require, table
from _masks_data import clothing

from identity_segmentation.engines._silhouettes import Head
from identity_segmentation.engines.embedded_faces import EmbeddedFaces
from identity_segmentation.engines.embedded_masks import EmbeddedMasks
from identity_segmentation.engines.embedded_parts import CLASSES, find_part, learn_prior, write_prior
from identity_segmentation.masks.segmentation import segment_faces

TOP = (4, 5, 8, 10, 11, 13, 22, 24, 26, 38, 46, 48, 49, 51, 54, 55)
BOTTOM, TROUSERS, LEGWEAR = (25, 30, 31, 40, 42), (25, 31), (27, 45, 53, 44)
SHOES, DRESS, HAIR, SKIN = (7, 12, 16, 21, 28, 32, 36, 39, 43, 58), (6, 14, 23, 35, 50), 19, 41
WAIST = 3.3
JUDGED = ("face", "hair", "skin", "top", "bottom", "legs", "shoes")
BANDS = {
    "face": (0.06, 0.14), "hair": (0, 0.12), "skin": (0, 1), "top": (0.15, 0.5), "bottom": (0.5, 0.8),
    "legs": (0.55, 0.93), "shoes": (0.93, 1),
}  # fmt: skip


def classified(labels: np.ndarray, mask: np.ndarray, head: Head) -> np.ndarray:
    """The 59 labels as indices of CLASSES; -1 is nobody."""
    rows, columns = np.mgrid[: labels.shape[0], : labels.shape[1]]
    down, across = (rows + 0.5 - head.y) / head.side, (columns + 0.5 - head.x) / head.side
    result = np.where(mask, CLASSES.index("other"), -1)
    for name, where in (
        ("top", np.isin(labels, TOP) | (np.isin(labels, DRESS) & (down < WAIST))),
        ("bottom", np.isin(labels, BOTTOM) | (np.isin(labels, DRESS) & (down >= WAIST))),
        ("shoes", np.isin(labels, SHOES)),
        ("hair", labels == HAIR),
        ("skin", labels == SKIN),
        ("face", (labels == SKIN) & (down < 0.75) & (np.abs(across) < 0.8)),
        ("legs", ((labels == SKIN) & (down >= WAIST) & (np.abs(across) < 1)) | np.isin(labels, LEGWEAR)),
    ):
        result[where] = CLASSES.index(name)
    return result


def truth(part: str, labels: np.ndarray, classes: np.ndarray) -> np.ndarray:
    found = classes == CLASSES.index(part)
    if part == "skin":
        found |= classes == CLASSES.index("face")
    if part == "legs":
        found |= np.isin(labels, TROUSERS)
    return found


def in_band(mask: np.ndarray, part: str) -> np.ndarray:
    """The baseline: a fixed share of the body's height, within the person."""
    rows, band = np.flatnonzero(mask.any(1)), np.zeros_like(mask)
    begin, end = (int(rows[0] + share * (rows[-1] + 1 - rows[0])) for share in BANDS[part])
    band[begin:end] = mask[begin:end]
    return band


def iou(a: np.ndarray, b: np.ndarray) -> float:
    return np.count_nonzero(a & b) / max(1, np.count_nonzero(a | b))


def main() -> None:
    arguments = parser(__doc__.split("\n")[0])
    arguments.add_argument("--write", action="store_true", help="write the table that comes with the package")
    options = arguments.parse_args()
    data = require(options.data)
    faces, masks = EmbeddedFaces(), EmbeddedMasks()
    cases = []
    for case in clothing(data):
        labels = cv2.imread(str(data / "parsing/ccp/labels_png" / f"{case.path.stem}.png"), cv2.IMREAD_UNCHANGED)
        labels = labels if labels.ndim == 2 else labels[..., 0]
        face = max(faces.faces(case.image, embed=False), key=lambda f: f.side)
        head = Head.of(face)
        cases.append((case, labels, classified(labels, case.mask, head), face, head))
    if options.write:
        prior = learn_prior((classes, case.mask, head) for case, _, classes, _, head in cases)
        (ROOT / "identity_segmentation/data/part_prior.json").write_text(write_prior(prior))
    scores: dict[tuple[str, str], list[float]] = {}
    for number, (case, labels, classes, face, head) in enumerate(cases):
        rest = [c for i, c in enumerate(cases) if i != number]
        prior = learn_prior((c[2], c[0].mask, c[4]) for c in rest)
        drawn = segment_faces(case.image, [face], [0], masks)[0].mask
        for part in JUDGED:
            wanted = truth(part, labels, classes)
            if np.count_nonzero(wanted) < 300:
                continue
            for label, found in (
                ("given", find_part(case.image, case.mask, head, part, prior) > 0.5),
                ("bands", in_band(case.mask, part)),
                ("mask", case.mask),
                ("end", find_part(case.image, drawn, head, part, prior) > 0.5),
                ("end bands", in_band(drawn, part)),
                ("end mask", drawn),
            ):
                scores.setdefault((part, label), []).append(iou(found, wanted))
    labels = ("given", "bands", "mask", "end", "end bands", "end mask")
    table_rows = [
        (part, len(scores[part, "given"]), *(f"{np.mean(scores[part, label]):.3f}" for label in labels))
        for part in JUDGED
    ]
    print("### Parts of clothed people: mean IoU\n")
    print(
        table(("part", "photos", "mask given", "bands", "whole mask", "end to end", "bands", "whole mask"), table_rows)
    )


if __name__ == "__main__":
    main()
