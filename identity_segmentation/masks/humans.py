"""Faces and bodies of one picture -> human beings: which face is on which body, one-to-one. (Notebook section 5.)

A body has its head at the top, near the middle. Where two readings are about as good - two heads in one body's box, a
face that fits two bodies - nothing is said: a face without a body, and a body without a face, are better than a name on
somebody else's back.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.optimize import linear_sum_assignment

from ..engines.protocols import ObjectDetector
from ..errors import InputError
from ..geometry import box_iou, face_to_body_bbox
from ..types import Detection, Face, Human

# From the body's top to the face's, in sides of the face: median 0.56, nine in ten between 0.21 and 1.01; from the
# body's middle to the face's, in widths of the body: nine in ten within 0.31 (95 people; benchmarks/humans.py).
_HAIR = 0.55
_TOP_SPREAD, _MIDDLE_SPREAD = 0.6, 0.28  # where the cost is 1
_ASIDE = 0.33  # widths from the body's middle from which a face is somebody else's, who stands beside
_MOST = 3.0  # cost from which a face is not on a body
_CLEAR = 0.5  # by how much the second-best reading must be worse
_TWICE = 0.3  # IoU with somebody's body from which a box that their face fits too is that body, found again
_CUT_OFF = 4.0  # width in sides of the face up to which a body at the border may be cut off
_NARROWEST, _WIDEST = 0.8, 9.0  # width of a body in sides of its face


def find_humans(image_bgr: np.ndarray, faces: Sequence[Face], detector: ObjectDetector | None) -> list[Human]:
    """Everybody in a picture: first those whose face is seen, in the order of the faces, then those whose is not.

    Args:
        image_bgr: uint8 (H, W, 3).
        faces: of the picture; embeddings are not needed.
        detector: finds the bodies; None = there are only the faces.
    """
    if detector is None:
        return [Human.by_face(face) for face in faces]
    return paired(faces, detector.detect(image_bgr), image_bgr.shape)


def paired(faces: Sequence[Face], bodies: Sequence[Detection], shape: Sequence[int]) -> list[Human]:
    """Which face is on which body; see the module.

    Args:
        faces: of a picture.
        bodies: of the same picture.
        shape: (H, W) or (H, W, 3) of it.

    Returns:
        One human per face, in order, then one per body that is nobody's of these.
    """
    bodies = list(bodies)
    cost = np.array([[_cost(face, body, shape[1]) for body in bodies] for face in faces]).reshape(
        len(faces), len(bodies)
    )
    body_of: dict[int, int] = {}
    if cost.size:
        for i, k in zip(*linear_sum_assignment(np.minimum(cost, _MOST)), strict=True):
            if cost[i, k] < _MOST and _is_clear(cost, int(i), int(k)):
                body_of[int(i)] = int(k)
    humans = [
        Human(face, bodies[body_of[i]].box, bodies[body_of[i]].score) if i in body_of else Human.by_face(face)
        for i, face in enumerate(faces)
    ]
    without = [i for i in range(len(faces)) if i not in body_of]
    for k, body in enumerate(bodies):
        if k in body_of.values() or any(cost[i, k] < _MOST for i in without):
            continue  # matched, or it may be the body of a face that none was matched to
        twice = any(cost[i, k] < _MOST and box_iou(body.box, bodies[m].box)[0, 0] > _TWICE for i, m in body_of.items())
        if not twice and not _is_seen(body, humans[: len(faces)], shape):
            humans.append(Human(None, body.box, body.score))
    return humans


def _cost(face: Face, body: Detection, picture: int) -> float:
    """How badly a face fits a body: 0 is the head at the top middle of a sure body; infinite where it cannot be.

    Args:
        face: of a picture.
        body: of the same picture.
        picture: its width, in pixels.
    """
    x0, y0, x1, y1 = (float(v) for v in body.box)
    x, y = face.centre
    side, width = face.side, x1 - x0
    if not (x0 <= x <= x1 and y0 <= y <= y1) or not _NARROWEST * side <= width <= _WIDEST * side:
        return np.inf
    aside = (x - (x0 + x1) / 2) / width
    # Half of somebody at the picture's border may be out of it; who has room for two beside the face is not cut off.
    cut_off = (x0 < 2 if aside < 0 else x1 > picture - 2) and width < _CUT_OFF * side
    if y1 - y0 < side or (abs(aside) > _ASIDE and not cut_off):
        return np.inf
    top = (float(face.box[1]) - y0) / side - _HAIR
    if y0 < 2:  # the picture cuts the head off: it may well be further up
        top = max(top, 0.0)
    # A raised arm lifts the top of the body's box: below is forgiven more than above.
    down = top / (_TOP_SPREAD * (2.0 if top > 0 else 1.0))
    return float(np.hypot(down, aside / _MIDDLE_SPREAD)) + 1 - body.score


def _is_clear(cost: np.ndarray, i: int, k: int) -> bool:
    """Is no other face as good for this body, and no other body for this face? Those that have better do not count."""
    faces = [j for j in range(len(cost)) if j != i and cost[j, k] < cost[i, k] + _CLEAR]
    bodies = [m for m in range(cost.shape[1]) if m != k and cost[i, m] < cost[i, k] + _CLEAR]
    return not any(cost[j, k] <= np.delete(cost[j], k).min(initial=_MOST) for j in faces) and not any(
        cost[i, m] <= np.delete(cost[:, m], i).min(initial=_MOST) for m in bodies
    )


def _is_seen(body: Detection, humans: Sequence[Human], shape: Sequence[int]) -> bool:
    """Is a body that no face was matched to somebody who is there already, found a second time?"""
    expected = [human.body if human.body is not None else _reckoned(human, shape) for human in humans]
    return any(box is not None and box_iou(body.box, box)[0, 0] > 0.6 for box in expected)


def _reckoned(human: Human, shape: Sequence[int]) -> np.ndarray | None:
    if human.face is None:
        return None
    try:
        return face_to_body_bbox(human.face, tuple(shape))
    except InputError:  # a face outside the picture
        return None
