"""Named faces -> whose pixels are whose; a box -> a mask. (Notebook sections 4 and 5.)"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..engines.protocols import BoxSegmenter, FaceEngine
from ..geometry import box_iou, clip_box, face_to_body_bbox, mask_box
from ..types import Face, Human, Match, Segment, Sighting, as_image

_WEAK = 0.5  # score of a mask below which a body's box may say more than the face


def segment_by_box(
    image_bgr: np.ndarray,
    box: Sequence[float] | np.ndarray,
    segmenter: BoxSegmenter,
    face_engine: FaceEngine | None = None,
) -> Segment:
    """The one person (or thing) in a box.

    Args:
        image_bgr: uint8 (H, W, 3).
        box: xyxy pixels; clipped to the image.
        segmenter: the engine.
        face_engine: if given, faces are found first (not named), so that the pixels of people whose face is
            elsewhere stay out of the mask.

    Raises:
        InputError: a box with no area, or wholly outside the image.
    """
    image_bgr = as_image(image_bgr)
    within = clip_box(box, image_bgr.shape)
    others: list[Face] = []
    if face_engine is not None:
        others = [f for f in face_engine.faces(image_bgr, embed=False) if not in_upper_part(f, within)]
    return segmenter.by_box(segmenter.encode(image_bgr), [within], None, others)[0]


def in_upper_part(face: Face, box: np.ndarray) -> bool:
    """Is a face where the head of the body in a box would be?"""
    x, y = face.centre
    return bool(box[0] <= x <= box[2] and box[1] <= y <= box[1] + 0.5 * (box[3] - box[1]))


def segment_matches(
    image_bgr: np.ndarray,
    matches: Sequence[Match],
    segmenter: BoxSegmenter,
    names: Sequence[str] | None = None,
    humans: Sequence[Human] | None = None,
    **body_scales: float,
) -> list[Sighting]:
    """Draw the masks of named people: one encode, one prompt per person, each pixel at most one person's.

    Args:
        image_bgr: uint8 (H, W, 3).
        matches: every face of the picture, named or not: the unnamed are evidence too.
        segmenter: the engine.
        names: whom to draw; None = everyone who has a name.
        humans: everybody in the picture, those of the matches first, in order, as `humans.paired` gives them; None =
            nothing is known but the faces.
        body_scales: passed on to `face_to_body_bbox`.

    Returns:
        One sighting per match, in order, then one per human without a face; those not asked for have no segment.
    """
    everybody = list(humans) if humans is not None else [Human.by_face(m.face) for m in matches]
    wanted = [i for i, m in enumerate(matches) if m.name and (names is None or m.name in names)]
    drawn = segment_humans(image_bgr, everybody, wanted, segmenter, **body_scales)
    return sightings_of(matches, everybody, drawn)


def sightings_of(matches: Sequence[Match], humans: Sequence[Human], drawn: Mapping[int, Segment]) -> list[Sighting]:
    """One sighting per match, in order, then one per human without a face: nobody names a back.

    Args:
        matches: of a picture.
        humans: everybody in it, those of the matches first, in order.
        drawn: index of a human -> their segment, of those who were drawn.
    """
    named = [Sighting(m, drawn.get(i), None, "face", humans[i].body) for i, m in enumerate(matches)]
    return named + [Sighting(None, None, None, "body", human.body) for human in humans[len(matches) :]]


def segment_faces(
    image_bgr: np.ndarray,
    faces: Sequence[Face],
    wanted: Sequence[int],
    segmenter: BoxSegmenter,
    **body_scales: float,
) -> dict[int, Segment]:
    """`segment_humans` where only the faces are known: index of the face -> segment.

    Args:
        image_bgr: uint8 (H, W, 3).
        faces: everyone's; those not wanted are evidence too.
        wanted: indices of the faces whose people are drawn.
        segmenter: the engine; one encode, one prompt per person.
        body_scales: passed on to `face_to_body_bbox`.
    """
    humans = [Human.by_face(face) for face in faces]
    return segment_humans(image_bgr, humans, wanted, segmenter, **body_scales)


def segment_humans(
    image_bgr: np.ndarray,
    humans: Sequence[Human],
    wanted: Sequence[int],
    segmenter: BoxSegmenter,
    encoded: Any = None,
    **body_scales: float,
) -> dict[int, Segment]:
    """The pixels of some of the people in a picture: index of the human -> segment.

    A body is drawn from its face where there is one, and from its box where not. A mask that was drawn from a face and
    is worth little is drawn again from the body's box.

    Args:
        image_bgr: uint8 (H, W, 3).
        humans: everybody; those not wanted are evidence too.
        wanted: indices of those who are drawn.
        segmenter: the engine; one encode, one prompt per person.
        encoded: what the engine makes of the picture, where that is known; None = it is asked.
        body_scales: passed on to `face_to_body_bbox`, where no body was found.
    """
    if not wanted:
        return {}
    boxes = [_body_box(human, image_bgr.shape, body_scales) for human in humans]
    prompted = list(wanted)
    if not segmenter.uses_neighbours:
        # This engine cannot weigh neighbours itself: draw the near ones too, then settle pixel by pixel.
        near = box_iou(np.stack([boxes[i] for i in wanted]), np.stack(boxes)).max(axis=0) > 0
        prompted += [int(i) for i in np.flatnonzero(near) if i not in wanted]
    mine = [humans[i] for i in prompted]
    rest: list[Face | np.ndarray] = [h.face for i, h in enumerate(humans) if i not in prompted and h.face is not None]
    rest += [h.body for h in humans if h.face is None and h.body is not None]
    encoded = segmenter.encode(image_bgr) if encoded is None else encoded
    segments = segmenter.by_box(encoded, [boxes[i] for i in prompted], [h.face for h in mine], rest)
    for n, (human, segment) in enumerate(zip(mine, segments, strict=True)):
        if segmenter.uses_neighbours and human.face is not None and human.body is not None and segment.score < _WEAK:
            others = [h.face for h in humans if h.face is not None and h is not human]
            again = segmenter.by_box(encoded, [human.body], None, others)[0]
            if again.score > segment.score and _holds(again, human.face):
                segments[n] = again
    settled = dict(zip(prompted, separate(segments, mine), strict=True))
    return {i: settled[i] for i in wanted}


def _body_box(human: Human, shape: Sequence[int], body_scales: dict[str, float]) -> np.ndarray:
    """The box to look for a body in: the one that was found, or what is expected below the face."""
    if human.body is not None and (human.face is None or not body_scales):
        return human.body
    assert human.face is not None  # `Human` has a face, a body, or both
    return face_to_body_bbox(human.face, tuple(shape), **body_scales)


def _holds(segment: Segment, face: Face) -> bool:
    height, width = segment.mask.shape
    x, y = face.centre
    return bool(segment.mask[int(np.clip(y, 0, height - 1)), int(np.clip(x, 0, width - 1))])


def separate(segments: Sequence[Segment], humans: Sequence[Human]) -> list[Segment]:
    """Give every contested pixel to one person: to the stronger claim (soft mattes), or, between hard masks, to the
    head nearest in units of its own size.

    Args:
        segments: masks of different people in one picture, any overlap.
        humans: whose they are, in the same order.

    Returns:
        Segments whose masks share no pixel, in order.
    """
    if len(segments) < 2:
        return list(segments)
    count = np.zeros(segments[0].mask.shape, np.uint8)
    for segment in segments:
        count += segment.mask
    rows, columns = np.nonzero(count > 1)
    if not len(rows):
        return list(segments)
    claims = np.full((len(segments), len(rows)), -np.inf, np.float32)
    for k, (segment, human) in enumerate(zip(segments, humans, strict=True)):
        held = segment.mask[rows, columns]
        x, y, side = _head(human)
        distance = np.hypot(columns - x, rows - y) / max(side, 1.0)
        strength = segment.alpha[rows, columns] / 255.0 if segment.alpha is not None else 1.0
        # Distance only breaks ties: 1 % of a full claim at 20 face sides.
        claims[k, held] = (strength - 0.0005 * distance)[held]
    owner = claims.argmax(axis=0)
    result = []
    for k, segment in enumerate(segments):
        lost = (owner != k) & segment.mask[rows, columns]
        if not lost.any():
            result.append(segment)
            continue
        mask = segment.mask.copy()
        mask[rows[lost], columns[lost]] = False
        alpha = None
        if segment.alpha is not None:
            alpha = segment.alpha.copy()
            alpha[rows[lost], columns[lost]] = 0
        tight = mask_box(mask)
        result.append(replace(segment, mask=mask, alpha=alpha, box=segment.box if tight is None else tight))
    return result


def _head(human: Human) -> tuple[float, float, float]:
    """(x, y, side) of a head: of the face, or where it is expected at the top of a body."""
    if human.face is not None:
        return *human.face.centre, human.face.side
    assert human.body is not None
    x0, y0, x1, y1 = (float(v) for v in human.body)
    side = min((x1 - x0) / 2, (y1 - y0) / 7)
    return (x0 + x1) / 2, y0 + side / 2, side
