"""A picture and a word -> every instance of the thing, whosever it is. (Notebook section 5.)

There is one answer to "every person in a picture": those whose face is seen, each drawn from their face, and those of
whom only a body is - a back is a person too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from .. import engines
from ..engines.protocols import (
    BoxSegmenter,
    FaceEngine,
    ObjectDetector,
    PartSegmenter,
    TextSegmenter,
    ThingSegmenter,
)
from ..errors import EngineUnavailable
from ..geometry import mask_box
from ..phrases import KINDS_OF_PEOPLE
from ..types import Detection, Segment
from .humans import find_humans
from .segmentation import segment_humans

_SAME_PERSON = 0.5  # share of the smaller of two masks in the other from which both are one person
CERTAIN = 0.5  # a detector's score from which a thing is there for sure
MANY = 6  # things in one picture from which each is drawn quickly


@dataclass(frozen=True)
class Instances:
    """Everything that was found for a word.

    Attributes:
        segments: best first, or one per person.
        sure: False if all of them are proposals.
    """

    segments: tuple[Segment, ...]
    sure: bool = True


def every(
    image_bgr: np.ndarray,
    thing: str,
    segmenter: BoxSegmenter,
    face_engine: Callable[[], FaceEngine],
    detector: Callable[[], ObjectDetector | None],
) -> Instances:
    """Every instance of a thing in a picture.

    Args:
        image_bgr: uint8 (H, W, 3).
        thing: in English.
        segmenter: an engine that knows words, or parts of people.
        face_engine: gives the engine that finds the faces; called only where faces are needed.
        detector: gives the engine that finds bodies and things, or None; likewise.

    Raises:
        EngineUnavailable: the segmenter knows no words, or not this one.
    """
    if isinstance(segmenter, TextSegmenter):
        return Instances(tuple(segmenter.by_text(segmenter.encode(image_bgr), thing)))
    if not isinstance(segmenter, PartSegmenter):
        raise EngineUnavailable(f"the segmenter {segmenter.id} knows no words; choose --segmenter sam3-hf")
    if thing.casefold() in KINDS_OF_PEOPLE:
        raise EngineUnavailable(
            f"the embedded engine cannot tell a {thing} from other people; ask for 'person', or use SAM 3: "
            "--segmenter sam3-hf"
        )
    noun = noun_of(thing)
    if noun is not None and isinstance(segmenter, ThingSegmenter):
        finder = detector() or engines.object_detector()
        found = things(image_bgr, finder.detect(image_bgr, (noun,)), segmenter)
        return Instances(tuple(found), not found or any(thing.score >= CERTAIN for thing in found))
    part = engines.part_named(thing)  # an unknown word is an error, whoever is in the picture
    if part == "person":
        return Instances(tuple(everyone(image_bgr, segmenter, face_engine(), detector())))
    faces = face_engine().faces(image_bgr, embed=False)
    humans = find_humans(image_bgr, faces, detector())
    drawn = segment_humans(image_bgr, humans, range(len(faces)), segmenter)
    encoded = segmenter.encode(image_bgr)
    parts = [segmenter.by_part(encoded, drawn[i], face, thing) for i, face in enumerate(faces)]
    found = [segment for segment in parts if segment.area]
    sure = [segment for segment in found if segment.score >= segmenter.sure]
    return Instances(tuple(sure or found), bool(sure or not found))


def noun_of(thing: str) -> str | None:
    """The detector's noun for a thing that is no person, or None."""
    noun = engines.noun_named(thing)
    return None if noun == "person" else noun


def everyone(
    image_bgr: np.ndarray, segmenter: BoxSegmenter, face_engine: FaceEngine, detector: ObjectDetector | None
) -> list[Segment]:
    """Every person in a picture: those whose face is seen, then bodies that are none of them.

    Args:
        image_bgr: uint8 (H, W, 3).
        segmenter: draws the people.
        face_engine: finds the faces; nobody is named.
        detector: finds the bodies; None = there are only the faces.
    """
    humans = find_humans(image_bgr, face_engine.faces(image_bgr, embed=False), detector)
    drawn = segment_humans(image_bgr, humans, range(len(humans)), segmenter)
    found: list[Segment] = []
    for i, human in enumerate(humans):
        # A face is somebody, whatever the mask is worth; a body may be a part of somebody who is there already.
        if drawn[i].area and (human.face is not None or all(_shared(drawn[i], p) < _SAME_PERSON for p in found)):
            found.append(drawn[i])
    return found


def things(image_bgr: np.ndarray, detections: Sequence[Detection], segmenter: ThingSegmenter) -> list[Segment]:
    """Masks of things that a detector found; each pixel is one thing's: of two claims, the nearer middle's.

    Args:
        image_bgr: uint8 (H, W, 3).
        detections: of this picture.
        segmenter: draws them.

    Returns:
        One segment per detection that has pixels, with the detector's score.
    """
    if not detections:
        return []
    boxes = [detection.box for detection in detections]
    drawn = segmenter.by_thing(segmenter.encode(image_bgr), boxes, quick=len(boxes) >= MANY)
    masks = one_owner([segment.mask for segment in drawn], boxes)
    found = []
    for detection, segment, mask in zip(detections, drawn, masks, strict=True):
        tight = mask_box(mask)
        if tight is not None:
            found.append(replace(segment, mask=mask, box=tight, score=detection.score))
    return found


def one_owner(masks: Sequence[np.ndarray], boxes: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Masks that share no pixel: a contested one goes to the thing whose middle is nearer, in half axes of its box.

    Args:
        masks: bool (H, W) each.
        boxes: xyxy pixels, of each.
    """
    if len(masks) < 2:
        return list(masks)
    count = np.sum(masks, axis=0, dtype=np.uint8)
    rows, columns = np.nonzero(count > 1)
    away = np.full((len(masks), len(rows)), np.inf)
    for k, (mask, box) in enumerate(zip(masks, boxes, strict=True)):
        x = (columns + 0.5 - (box[0] + box[2]) / 2) / max(1.0, (box[2] - box[0]) / 2)
        y = (rows + 0.5 - (box[1] + box[3]) / 2) / max(1.0, (box[3] - box[1]) / 2)
        away[k] = np.where(mask[rows, columns], np.hypot(x, y), np.inf)
    owner = away.argmin(0)
    settled = []
    for k, mask in enumerate(masks):
        own = mask.copy()
        own[rows[owner != k], columns[owner != k]] = False
        settled.append(own)
    return settled


def _shared(a: Segment, b: Segment) -> float:
    """Pixels two segments have in common, as a share of the smaller one."""
    return int(np.count_nonzero(a.mask & b.mask)) / max(1, min(a.area, b.area))
