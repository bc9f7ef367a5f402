"""Named faces -> whose pixels are whose; a box -> a mask. (Notebook sections 4 and 5.)"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ..engines.protocols import BoxSegmenter, FaceEngine
from ..geometry import box_iou, clip_box, face_to_body_bbox, mask_box
from ..types import Face, Match, Segment, Sighting, as_image


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
        others = [f for f in face_engine.faces(image_bgr, embed=False) if not _in_upper_part(f, within)]
    return segmenter.by_box(segmenter.encode(image_bgr), [within], None, others)[0]


def _in_upper_part(face: Face, box: np.ndarray) -> bool:
    x, y = face.centre
    return bool(box[0] <= x <= box[2] and box[1] <= y <= box[1] + 0.5 * (box[3] - box[1]))


def segment_matches(
    image_bgr: np.ndarray,
    matches: Sequence[Match],
    segmenter: BoxSegmenter,
    names: Sequence[str] | None = None,
    **body_scales: float,
) -> list[Sighting]:
    """Draw the masks of named people: one encode, one prompt per person, each pixel at most one person's.

    Args:
        image_bgr: uint8 (H, W, 3).
        matches: every face of the picture, named or not: the unnamed are evidence too.
        segmenter: the engine.
        names: whom to draw; None = everyone who has a name.
        body_scales: passed on to `face_to_body_bbox`.

    Returns:
        One sighting per match, in order; those not asked for have no segment.
    """
    wanted = [i for i, m in enumerate(matches) if m.name and (names is None or m.name in names)]
    drawn = segment_faces(image_bgr, [m.face for m in matches], wanted, segmenter, **body_scales)
    return [Sighting(m, drawn.get(i), None, "face") for i, m in enumerate(matches)]


def segment_faces(
    image_bgr: np.ndarray,
    faces: Sequence[Face],
    wanted: Sequence[int],
    segmenter: BoxSegmenter,
    **body_scales: float,
) -> dict[int, Segment]:
    """The pixels of some of the people whose faces are known: index of the face -> segment.

    Args:
        image_bgr: uint8 (H, W, 3).
        faces: everyone's; those not wanted are evidence too.
        wanted: indices of the faces whose people are drawn.
        segmenter: the engine; one encode, one prompt per person.
        body_scales: passed on to `face_to_body_bbox`.
    """
    if not wanted:
        return {}
    boxes = [face_to_body_bbox(face, image_bgr.shape, **body_scales) for face in faces]
    prompted = list(wanted)
    if not segmenter.uses_neighbours:
        # This engine cannot weigh neighbours itself: draw the near ones too, then settle pixel by pixel.
        near = box_iou(np.stack([boxes[i] for i in wanted]), np.stack(boxes)).max(axis=0) > 0
        prompted += [int(i) for i in np.flatnonzero(near) if i not in wanted]
    mine = [faces[i] for i in prompted]
    rest = [face for i, face in enumerate(faces) if i not in prompted]
    segments = segmenter.by_box(segmenter.encode(image_bgr), [boxes[i] for i in prompted], mine, rest)
    settled = dict(zip(prompted, separate(segments, mine), strict=True))
    return {i: settled[i] for i in wanted}


def separate(segments: Sequence[Segment], faces: Sequence[Face]) -> list[Segment]:
    """Give every contested pixel to one person: to the stronger claim (soft mattes), or, between hard masks, to the
    face nearest in units of its own size.

    Args:
        segments: masks of different people in one picture, any overlap.
        faces: their faces, in the same order.

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
    for k, (segment, face) in enumerate(zip(segments, faces, strict=True)):
        held = segment.mask[rows, columns]
        x, y = face.centre
        distance = np.hypot(columns - x, rows - y) / max(face.side, 1.0)
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
