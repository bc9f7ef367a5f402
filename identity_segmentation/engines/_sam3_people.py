"""Faces and boxes -> whose pixels are whose, by whichever implementation of SAM 3: what it is asked, and which answer
counts.

The word "person" gives everybody's tight mask in one pass over the picture, and it is what SAM 3 was trained for; a box
reckoned from a face is far outside of its training. So faces are given instances of the word, one to one. Only who is
left without one, or shares one, is asked for by a box and points. A point on somebody else that makes the model less
sure is left out. The first answer is refined by a second one, to its own tight box and logits (as training went on from
the logits of the answer before; Kirillov et al., Segment Anything, 2023, appendix A).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment

from ..geometry import mask_box
from ..types import BoxLike, Face
from . import _sam3
from ._sam3 import Prompt
from .protocols import face_of_each

WORD = "person"
_HELD = 0.5  # share of a face in a mask from which the mask holds it
_UPPER = 0.6  # share of a mask's height, from the top, in which its own face is; of a close-up little more is seen


@dataclass(frozen=True)
class Picture:
    """One encoded picture, as either implementation can be asked about it.

    Attributes:
        shape: (H, W) of the picture.
        decode: answers N prompts with equally many points, P: boxes float32 (N, 4) in xyxy pixels, points float32
            (N, P, 2) in pixels, inside bool (N, P), and maybe the low-resolution logits float32 (N, h, w) of first
            answers -> logits float32 (N, h, w), predicted IoU (N,), 0..1.
        instances: everything that a word names: logits float32 (K, h, w), scores (K,), 0..1, no two the same pixels.
        points: False for a model that knows no points: it is asked once for each box.
    """

    shape: tuple[int, int]
    decode: Callable[..., tuple[np.ndarray, np.ndarray]]
    instances: Callable[[str], tuple[np.ndarray, np.ndarray]]
    points: bool = True


class Drawn(NamedTuple):
    """What somebody was drawn as.

    Attributes:
        logits: float32 (h, w), at low resolution.
        score: the model's confidence, 0..1.
        box: float32 (4,), xyxy pixels: what was asked.
    """

    logits: np.ndarray
    score: float
    box: np.ndarray


def drawn(
    picture: Picture,
    boxes: np.ndarray | Sequence[BoxLike],
    faces: Sequence[Face | None] | None,
    others: Sequence[Face | BoxLike],
    kind: str = _sam3.PROMPTS[0],
) -> list[Drawn]:
    """Everybody who is asked for, in order.

    Args:
        picture: whose people they are.
        boxes: (N, 4) xyxy pixels.
        faces: for each box the face of the person meant, or None: such a box is asked once, as it is.
        others: further people in the picture, by face or by box; boxes are not used.
        kind: of `_sam3.PROMPTS`.

    Raises:
        InputError: as `_sam3.checked_prompts`.
    """
    if not len(boxes):
        return []
    prompts = _sam3.checked_prompts(boxes, faces, others, picture.shape, kind if picture.points else "box")
    owners = face_of_each(prompts, faces)
    result: list[Drawn | None] = [None] * len(prompts)
    careful = [i for i, own in enumerate(owners) if own is not None] if kind == "people" else []
    if careful:
        own = [face for face in owners if face is not None]
        strangers = [other for other in others if isinstance(other, Face)]
        found = _by_word(picture, own, strangers)
        for i, (one, box) in zip(careful, found, strict=True):
            result[i] = one
            if one is None and box is not None and picture.points:
                prompts[i] = _sam3.prompt_for(box, owners[i], own + strangers)
            elif one is None and box is not None:
                prompts[i] = prompts[i]._replace(box=box)
    left = [i for i, one in enumerate(result) if one is None]
    for ask, some in (
        (_carefully if picture.points else _once, [i for i in left if i in careful]),
        (_once, [i for i in left if i not in careful]),
    ):
        for i, one in zip(some, ask(picture, [prompts[i] for i in some]), strict=True):
            result[i] = one
    return [one for one in result if one is not None]


# ---- by the word


def _by_word(
    picture: Picture, own: Sequence[Face], strangers: Sequence[Face]
) -> list[tuple[Drawn | None, np.ndarray | None]]:
    """For every own face the instance that is theirs alone; or None, and the box of the instance that they share."""
    logits, scores = picture.instances(WORD)
    # What is hardly a face, or a picture of one, takes nobody's instance away.
    known = [
        other for other in strangers
        if not any(_sam3.is_same_face(other, face) for face in own)
        and any(_sam3.is_real_beside(other, face) for face in own)
    ]  # fmt: skip
    everyone = [*own, *known]
    held = _held(everyone, logits, picture.shape)
    given = assigned(everyone, logits, picture.shape)
    result: list[tuple[Drawn | None, np.ndarray | None]] = []
    for i, face in enumerate(own):
        k = given[i]
        if k is None:  # nobody's, or with somebody in one
            shared = int(held[i].argmax()) if len(logits) and held[i].max() >= _HELD else None
            result.append((None, None if shared is None else _box_of(logits[shared], picture.shape)))
            continue
        beside = [
            n for n, other in enumerate(everyone)
            if n != i and given[n] is None and held[n, k] >= _HELD and _sam3.is_real_beside(other, face)
        ]  # fmt: skip
        box = _box_of(logits[k], picture.shape)
        assert box is not None  # it holds a face
        result.append((None, box) if beside else (Drawn(logits[k], float(scores[k]), box), None))
    return result


def assigned(faces: Sequence[Face], logits: np.ndarray, shape: tuple[int, int]) -> list[int | None]:
    """The instance that is each face's, one to one: the most faces' worth of pixels where heads belong.

    Args:
        faces: of one picture.
        logits: float32 (K, h, w), instances of people at low resolution.
        shape: (H, W) of the picture.

    Returns:
        For each face the number of its instance; None where none that is left holds it in its upper part.
    """
    if not faces or not len(logits):
        return [None] * len(faces)
    held = _held(faces, logits, shape)
    worth = np.zeros(held.shape)
    for k, mask in enumerate(logits):
        box = _box_of(mask, shape)
        if box is None:
            continue
        depth = np.array([(face.centre[1] - box[1]) / max(1.0, float(box[3] - box[1])) for face in faces])
        theirs = (held[:, k] >= _HELD) & (depth <= _UPPER)
        worth[:, k] = np.where(theirs, held[:, k] * (1 - np.clip(depth, 0, 1)), 0)
    found: list[int | None] = [None] * len(faces)
    for i, k in zip(*linear_sum_assignment(worth, maximize=True), strict=True):
        if worth[i, k] > 0:
            found[int(i)] = int(k)
    return found


def _held(faces: Sequence[Face], logits: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Share of every face's box in every mask: float (faces, K)."""
    held = np.zeros((len(faces), len(logits)))
    across, down = logits.shape[-1] / shape[1], logits.shape[-2] / shape[0]
    for i, face in enumerate(faces):
        x0, y0, x1, y1 = np.asarray(face.box) * (across, down, across, down)
        left, top = int(np.clip(x0, 0, logits.shape[-1] - 1)), int(np.clip(y0, 0, logits.shape[-2] - 1))
        part = logits[:, top : max(top + 1, int(np.ceil(y1))), left : max(left + 1, int(np.ceil(x1)))]
        held[i] = (part > 0).mean((1, 2))
    return held


def _box_of(logits: np.ndarray, shape: tuple[int, int]) -> np.ndarray | None:
    """The tight box of a low-resolution mask (h, w), xyxy in pixels of a picture (H, W); None if it is empty."""
    box = mask_box(logits > 0)
    if box is None:
        return None
    scale = (shape[1] / logits.shape[1], shape[0] / logits.shape[0])
    return (box * np.tile(scale, 2)).astype(np.float32)


# ---- by box and points


def _once(picture: Picture, prompts: Sequence[Prompt]) -> list[Drawn]:
    if not prompts:
        return []
    logits, scores = _sam3.asked(prompts, picture.decode)
    return [Drawn(mask, score, prompt.box) for mask, score, prompt in zip(logits, scores, prompts, strict=True)]


def _carefully(picture: Picture, prompts: Sequence[Prompt]) -> list[Drawn]:
    """Answers to prompts that may hold others: without the points that make it less sure, and then refined."""
    best = _with_helpful_points(picture, prompts)
    boxes = {i: _box_of(one.logits, picture.shape) for i, (_, one) in enumerate(best)}
    tight = {i: box for i, box in boxes.items() if box is not None}
    result = [one for _, one in best]
    if not tight:
        return result
    refined = [best[i][0]._replace(box=box) for i, box in tight.items()]
    logits, scores = _sam3.asked(refined, picture.decode, [best[i][1].logits for i in tight])
    for i, mask, score in zip(tight, logits, scores, strict=True):
        if score >= result[i].score and (mask > 0).any():
            result[i] = Drawn(mask, score, result[i].box)
    return result


def _with_helpful_points(picture: Picture, prompts: Sequence[Prompt]) -> list[tuple[Prompt, Drawn]]:
    """For every prompt that of its points, and its answer, which the model is surest of: each point on somebody else is
    left out in turn, and those without which the model is surer are left out together."""
    best = list(zip(prompts, _once(picture, prompts), strict=True))
    turns = [(i, n) for i, prompt in enumerate(prompts) for n in np.flatnonzero(~prompt.inside)]
    tried = [_without(prompts[i], [n]) for i, n in turns]
    harmful: dict[int, list[int]] = {}
    first = [one.score for _, one in best]
    for (i, n), prompt, one in zip(turns, tried, _once(picture, tried), strict=True):
        if one.score > first[i]:
            harmful.setdefault(i, []).append(int(n))
            if one.score > best[i][1].score:
                best[i] = (prompt, one)
    several = [i for i, points in harmful.items() if len(points) > 1]
    fewer = [_without(prompts[i], harmful[i]) for i in several]
    for i, prompt, one in zip(several, fewer, _once(picture, fewer), strict=True):
        if one.score > best[i][1].score:
            best[i] = (prompt, one)
    return best


def _without(prompt: Prompt, points: Sequence[int]) -> Prompt:
    return Prompt(prompt.box, np.delete(prompt.points, points, 0), np.delete(prompt.inside, points))
