"""Somebody's thing: a person's pixels and a word -> the pixels of what is theirs. (Notebook section 5.)

With an engine that knows words (SAM 3), every such thing around the person is found, and each instance goes to the one
it lies on or touches most; pixels that lie on somebody else are theirs. With the embedded engine the thing is a part of
the person's own mask, of a short list, with how far to believe it; or one of the nouns that a detector finds near them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from .. import engines
from ..engines.protocols import BoxSegmenter, ObjectDetector, PartSegmenter, TextSegmenter, ThingSegmenter
from ..errors import EngineUnavailable
from ..geometry import mask_box, mask_extent, soft_alpha
from ..types import Face, Segment
from .instances import CERTAIN, noun_of, things

_AROUND = 0.5  # how far beyond the person's box to look, in its longer side: bags and hats stick out
_TOUCH = 0.03  # reach within which a thing touches a person, in the longer side of their box
_LEAST_SHARE = 0.15  # of a thing's pixels on or at a person, below which it is nobody's


@dataclass(frozen=True)
class Possession:
    """What was found.

    Attributes:
        status: "ok"; "not_sure" (the segment is a proposal); "no_thing" (nothing of the kind near the person);
            "not_theirs" (found, but another's).
        segment: the thing and theirs; empty if there is none.
        instances: everything of the kind that was seen around the person, best first.
        owners: for each instance the index of its owner among the people, or None.
    """

    status: str
    segment: Segment
    instances: tuple[Segment, ...] = ()
    owners: tuple[int | None, ...] = ()


def thing_of(
    image_bgr: np.ndarray,
    segmenter: BoxSegmenter,
    thing: str,
    people: Sequence[Segment],
    mine: int,
    face: Face,
    detector: Callable[[], ObjectDetector | None],
) -> Possession:
    """The thing of one person.

    Args:
        image_bgr: uint8 (H, W, 3).
        segmenter: one that knows words or parts.
        thing: in English.
        people: everybody's masks, for ownership.
        mine: whose thing: index in `people`.
        face: theirs.
        detector: gives the engine that finds things by their nouns; called only where it is needed.

    Raises:
        EngineUnavailable: the engine knows no words, or not this one.
    """
    person = people[mine]
    if isinstance(segmenter, TextSegmenter):
        words = segmenter
        return _nearby(image_bgr, segmenter.id, people, mine, lambda crop: words.by_text(words.encode(crop), thing))
    noun = noun_of(thing)
    if noun is not None and isinstance(segmenter, ThingSegmenter):
        draw = segmenter
        finder = detector() or engines.object_detector()
        found = _nearby(
            image_bgr, segmenter.id, people, mine, lambda crop: things(crop, finder.detect(crop, (noun,)), draw)
        )
        return replace(found, status="not_sure") if found.status == "ok" and found.segment.score < CERTAIN else found
    if isinstance(segmenter, PartSegmenter):
        part = segmenter.by_part(segmenter.encode(image_bgr), person, face, thing)
        if not part.area:
            return Possession("no_thing", part)
        return Possession("ok" if part.score >= segmenter.sure else "not_sure", part, (part,), (mine,))
    raise EngineUnavailable(f"the segmenter {segmenter.id} knows no words; choose --segmenter sam3-hf or embedded")


def _nearby(
    image_bgr: np.ndarray,
    engine: str,
    people: Sequence[Segment],
    mine: int,
    find: Callable[[np.ndarray], Sequence[Segment]],
) -> Possession:
    """What `find` sees in the surroundings of one person, and is theirs."""
    person = people[mine]
    nothing = Segment(np.zeros(person.mask.shape, bool), 0.0, person.box, engine)
    if not person.area:
        return Possession("no_thing", nothing)
    x0, y0, x1, y1 = around(person.mask)
    crop = np.ascontiguousarray(image_bgr[y0:y1, x0:x1])
    found = find(crop)
    instances = tuple(_placed(segment, person.mask.shape, x0, y0) for segment in found)
    owners = tuple(owner_of(instance, people) for instance in instances)
    alpha = np.zeros(person.mask.shape, np.uint8)
    score = 0.0
    others = np.zeros(person.mask.shape, bool)
    for i, other in enumerate(people):
        if i != mine:
            others |= other.mask & ~person.mask
    for instance, owner in zip(instances, owners, strict=True):
        if owner == mine:
            part = soft_alpha(instance).copy()
            part[others] = 0  # of one thing seen across two people, each has their own pixels
            np.maximum(alpha, part, out=alpha)
            score = max(score, instance.score)
    mask = alpha > 127
    box = mask_box(mask)
    if box is None:
        return Possession("not_theirs" if instances else "no_thing", nothing, instances, owners)
    return Possession("ok", Segment(mask, score, box, engine, alpha), instances, owners)


def around(mask: np.ndarray) -> tuple[int, int, int, int]:
    """The surroundings of a person: their box, grown by half of its longer side, within the picture."""
    x0, y0, x1, y1 = mask_extent(mask)
    reach = int(_AROUND * max(x1 - x0, y1 - y0))
    return max(0, x0 - reach), max(0, y0 - reach), min(mask.shape[1], x1 + reach), min(mask.shape[0], y1 + reach)


def owner_of(instance: Segment, people: Sequence[Segment]) -> int | None:
    """Whom a thing lies on or touches most; None if it is at nobody."""
    area = instance.area
    if not area:
        return None
    shares = []
    for person in people:
        box = mask_box(person.mask)
        if box is None:
            shares.append(0.0)
            continue
        reach = 2 * max(1, int(_TOUCH * max(box[2] - box[0], box[3] - box[1]))) + 1
        held = np.count_nonzero(instance.mask & person.mask)
        near = cv2.dilate(person.mask.astype(np.uint8), np.ones((reach, reach), np.uint8)) > 0
        touched = np.count_nonzero(instance.mask & near)
        # What lies on a person counts in full, what is only beside them by half.
        shares.append((held + 0.5 * (touched - held)) / area)
    best = int(np.argmax(shares))
    if shares[best] >= _LEAST_SHARE:
        return best
    # A bag at the end of an arm, a long train: most of it is away from the body, but it hangs on one person only.
    touching = [i for i, share in enumerate(shares) if share > 0.01]
    return touching[0] if len(touching) == 1 else None


def _placed(segment: Segment, shape, x0: int, y0: int) -> Segment:
    """A segment of a crop in the whole picture."""
    height, width = segment.mask.shape
    mask, alpha = np.zeros(shape, bool), np.zeros(shape, np.uint8)
    mask[y0 : y0 + height, x0 : x0 + width] = segment.mask
    alpha[y0 : y0 + height, x0 : x0 + width] = soft_alpha(segment)
    return Segment(mask, segment.score, segment.box + np.array([x0, y0, x0, y0], np.float32), segment.engine, alpha)
