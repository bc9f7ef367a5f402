"""People who overlap: how much of a mask lies on somebody else, and how many pixels two masks claim.

    python benchmarks/overlaps.py [--data DIR]

Scenes are put together from street-fashion photos with hand-drawn masks: two, or six people side by side, each of whom
hides a part of the next, in a depth order drawn by lot, over a street. The truth is what is seen of each. "faces": all
the faces that are found, given together; "boxes": the true boxes, given together, without faces. Leak: share of a mask
on other people's true pixels. Twice: share of all people's pixels in two masks, before contested pixels are settled.
The weights of the embedded engine were chosen on scenes of the even photos.
"""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))
from _data import parser, require, table
from _masks_data import Case, clothing, penn_fudan

from identity_segmentation.engines.embedded_faces import EmbeddedFaces
from identity_segmentation.engines.embedded_masks import EmbeddedMasks
from identity_segmentation.geometry import face_to_body_bbox, mask_box

_HEIGHT, _SCENE = 640, 720  # of a person and of a scene, in pixels


def people(data: Path) -> list[tuple[np.ndarray, np.ndarray]]:
    """(picture, mask) of everybody, cut to their box, of one height."""
    cut = []
    for case in clothing(data):
        x0, y0, x1, y1 = mask_box(case.mask).astype(int)
        size = (max(1, round((x1 - x0) * _HEIGHT / (y1 - y0))), _HEIGHT)
        picture = cv2.resize(case.image[y0:y1, x0:x1], size, interpolation=cv2.INTER_AREA)
        mask = cv2.resize(case.mask[y0:y1, x0:x1].astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0
        cut.append((picture, mask))
    return cut


def scene(cut: list, street: Case, count: int, rng: np.random.Generator) -> tuple[np.ndarray, list[np.ndarray]]:
    """A picture of `count` people, and what is seen of each."""
    chosen = rng.choice(len(cut), count, replace=False)
    step = 0.55 if count == 2 else 0.62
    widths = [cut[i][0].shape[1] for i in chosen]
    places = np.concatenate([[0], np.cumsum([step * w for w in widths[:-1]])]).astype(int) + 60
    width = int(places[-1] + widths[-1] + 60)
    image = cv2.GaussianBlur(cv2.resize(street.image, (width, _SCENE), interpolation=cv2.INTER_LINEAR), (0, 0), 2)
    seen = [np.zeros(image.shape[:2], bool) for _ in chosen]
    for k in rng.permutation(count):
        picture, mask = cut[chosen[k]]
        top = int(rng.integers(20, _SCENE - _HEIGHT - 10))
        rows, columns = slice(top, top + _HEIGHT), slice(int(places[k]), int(places[k]) + widths[k])
        soft = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), 0.8)[..., None]
        image[rows, columns] = (picture * soft + image[rows, columns] * (1 - soft)).round().astype(np.uint8)
        for other in seen:
            other[rows, columns] &= ~mask
        seen[k][rows, columns] |= mask
    return image, seen


def measured(masks: list[np.ndarray], seen: list[np.ndarray], owners: list[int]) -> list[tuple[float, float, float]]:
    """(IoU, leak, share claimed twice) of every mask; the last is the scene's."""
    claims = np.sum(masks, axis=0) if masks else 0
    twice = np.count_nonzero(claims > 1) / max(1, np.count_nonzero(np.any(seen, axis=0)))
    rows = []
    for mask, k in zip(masks, owners, strict=True):
        others = np.any([s for j, s in enumerate(seen) if j != k], axis=0)
        both, either = np.count_nonzero(mask & seen[k]), np.count_nonzero(mask | seen[k])
        rows.append((both / max(1, either), np.count_nonzero(mask & others) / max(1, np.count_nonzero(mask)), twice))
    return rows


def main() -> None:
    arguments = parser(__doc__.split("\n")[0])
    arguments.add_argument("--scenes", type=int, default=20)
    options = arguments.parse_args()
    data = require(options.data)
    faces_engine, engine = EmbeddedFaces(), EmbeddedMasks()
    cut, streets = people(data), list(penn_fudan(data))
    rows = []
    for count in (2, 6):
        for half in (0, 1):
            found: dict[str, list] = {"faces": [], "boxes": []}
            for number in range(half, options.scenes, 2):
                rng = np.random.default_rng([count, number])
                image, seen = scene(cut[half::2], streets[int(rng.integers(len(streets)))], count, rng)
                encoded = engine.encode(image)
                faces = faces_engine.faces(image, embed=False)
                owned = {}
                for face in faces:
                    x, y = (int(v) for v in face.centre)
                    owners = [k for k, mask in enumerate(seen) if mask[min(y, _SCENE - 1), min(x, image.shape[1] - 1)]]
                    if owners:
                        owned.setdefault(owners[0], face)
                mine = [owned[k] for k in sorted(owned)]
                boxes = [face_to_body_bbox(face, image.shape) for face in mine]
                if boxes:
                    masks = [s.mask for s in engine.by_box(encoded, boxes, mine)]
                    found["faces"] += measured(masks, seen, sorted(owned))
                tight = [(k, mask_box(mask)) for k, mask in enumerate(seen) if np.count_nonzero(mask) > 3600]
                masks = [
                    s.mask for s in engine.by_box(encoded, [box for _, box in tight], None, [box for _, box in tight])
                ]
                found["boxes"] += measured(masks, seen, [k for k, _ in tight])
            for given, values in found.items():
                iou, leak, twice = np.array(values).T
                label = ("even", "odd")[half]
                rows.append((count, label, given, len(iou), f"{iou.mean():.3f}", int((iou < 0.5).sum()),
                             f"{100 * leak.mean():.1f} %", f"{100 * twice.mean():.1f} %"))  # fmt: skip
    print(table(("people", "photos", "given", "n", "IoU", "< 0.5", "leak", "claimed twice"), rows))


if __name__ == "__main__":
    main()
