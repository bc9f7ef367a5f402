"""How far a possession can be believed: of things shown as sure, how many are wrong; of right ones, how many are sure.

    python benchmarks/possession.py [--data DIR] [--kinds]

CCP street fashion, each photo whole and cut off at six heights below the face (the truth is cut likewise), end to end:
face, mask and part by the engine, the table of places learnt from the other nineteen photos. A thing is absent where
fewer than 0.05 face squares of it are left; wrong: IoU below 0.3, or absent. Limits were set on the even photos.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))
import parts
from _data import parser, require, table
from _masks_data import clothing

from identity_segmentation.engines import embedded_parts
from identity_segmentation.engines._silhouettes import Head
from identity_segmentation.engines.embedded_belief import SURE
from identity_segmentation.engines.embedded_faces import EmbeddedFaces
from identity_segmentation.engines.embedded_masks import EmbeddedMasks
from identity_segmentation.masks.segmentation import segment_faces

CUTS = (2.0, 3.3, 4.5, 6.0, 7.5, 8.7, 99.0)  # face sides below the face
WORDS = ("hair", "face", "skin", "top", "bottom", "legs", "shoes", "clothes")
KINDS = {
    "trousers": (25, 27, 31), "jeans": (25,), "skirt": (42,), "shorts": (40,), "dress": (14,), "coat": (13,),
    "jacket": (24,), "blazer": (4,), "sweater": (48,), "shirt": (38,), "blouse": (5,), "vest": (55,), "boots": (7,),
}  # fmt: skip
_LEGGINGS, _LEAST, _RIGHT = 27, 0.05, 0.3


@dataclass(frozen=True)
class Outcome:
    """One word asked of one person; iou is None where the thing is absent, found None where nothing was returned."""

    number: int
    cut: float
    word: str
    belief: float
    iou: float | None

    @property
    def sure(self) -> bool:
        return self.belief >= SURE

    @property
    def right(self) -> bool:
        return self.iou is not None and self.iou >= _RIGHT


def truth(word: str, labels: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """bool (H, W): where the thing is by the labels; the engine counts leggings as a bottom."""
    if word in KINDS:
        return np.isin(labels, KINDS[word])
    if word == "clothes":
        return np.isin(labels, parts.TOP + parts.BOTTOM + parts.DRESS + parts.LEGWEAR)
    found = parts.truth(word, labels, classes)
    return found | (labels == _LEGGINGS) if word == "bottom" else found


def asked(data: Path, words: tuple[str, ...], cuts: tuple[float, ...]) -> list[Outcome]:
    """Every word, of every photo, at every height."""
    faces, masks = EmbeddedFaces(), EmbeddedMasks()
    cases = []
    for case in clothing(data):
        labels = cv2.imread(str(data / "parsing/ccp/labels_png" / f"{case.path.stem}.png"), cv2.IMREAD_UNCHANGED)
        labels = labels if labels.ndim == 2 else labels[..., 0]
        head = Head.of(max(faces.faces(case.image, embed=False), key=lambda f: f.side))
        cases.append((case, labels, parts.classified(labels, case.mask, head), head))
    outcomes = []
    for number, (case, labels, classes, head) in enumerate(cases):
        rest = [c for i, c in enumerate(cases) if i != number]
        prior = embedded_parts.learn_prior((c[2], c[0].mask, c[3]) for c in rest)
        embedded_parts.read_prior = lambda prior=prior: prior
        for cut in cuts:
            end = int(min(case.image.shape[0], head.y + cut * head.side))
            image = np.ascontiguousarray(case.image[:end])
            seen = faces.faces(image, embed=False)
            face = min(seen, key=lambda f: np.hypot(f.centre[0] - head.x, f.centre[1] - head.y))
            person = segment_faces(image, [face], [0], masks)[0]
            encoded = masks.encode(image)
            for word in words:
                found = masks.by_part(encoded, person, face, word)
                wanted = truth(word, labels, classes)[:end]
                there = np.count_nonzero(wanted) >= _LEAST * head.side**2
                overlap = parts.iou(found.mask, wanted) if there else None
                outcomes.append(Outcome(number, cut, word, found.score, overlap))
    return outcomes


def rows(outcomes: list[Outcome], words: tuple[str, ...]) -> list[tuple]:
    """A row per word, and one of all: shares as percentages with their counts."""
    lines = []
    for word in (*words, "all"):
        mine = [o for o in outcomes if word in (o.word, "all")]
        sure, right = [o for o in mine if o.sure], [o for o in mine if o.right]
        whole = [o for o in right if o.cut == CUTS[-1]]
        absent = [o for o in mine if o.iou is None]
        lines.append(
            (
                word, _share([o for o in sure if not o.right], sure), _share([o for o in right if o.sure], right),
                _share([o for o in whole if o.sure], whole), _share([o for o in absent if not o.belief], absent),
                _share([o for o in absent if o.sure], absent),
            )
        )  # fmt: skip
    return lines


def _share(some: list, every: list) -> str:
    return f"{100 * len(some) / len(every):.1f} % ({len(some)}/{len(every)})" if every else "-"


def show(outcomes: list[Outcome], words: tuple[str, ...], title: str) -> None:
    head = ("word", "sure: wrong", "right: sure", "right, whole: sure", "absent: no_thing", "absent: sure")
    print(f"\n### {title}\n\n" + table(head, rows(outcomes, words)))


def main() -> None:
    arguments = parser(__doc__.split("\n")[0])
    arguments.add_argument("--kinds", action="store_true", help="ask for kinds of clothes as well")
    options = arguments.parse_args()
    data = require(options.data)
    outcomes = asked(data, WORDS, CUTS)
    for half in (0, 1):
        mine = [o for o in outcomes if o.number % 2 == half]
        show(mine, WORDS, f"{('Even', 'Odd')[half]} photos ({('limits set on these', 'judged on these')[half]})")
    if options.kinds:
        words = tuple(KINDS)
        show(asked(data, words, CUTS[-1:]), words, "Kinds of clothes, whole photos, asked of everybody")


if __name__ == "__main__":
    main()
