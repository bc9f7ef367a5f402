"""Clicks or a box -> the one thing meant; for the embedded engine, whose nets of bodies know people only.

Points: regions of the points' own colour, at several tolerances. A box: what differs from the colours around it, or all
of it. Each such guess is settled by GrabCut (Rother et al., SIGGRAPH 2004), and the one that stands out most from
what lies right around it is the answer. Median IoU in benchmarks/few_shot.py, part marks.

A box that a detector drew around a thing of a known kind says more: the thing reaches its four sides and covers its
middle. What stands out in the box is the thing if it fills the box; if not, GrabCut starts from the middle.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from ..geometry import box_iou, drop_specks, fill_holes, mask_box, touching

_AROUND = 0.4  # of the box's longer side: the ring whose colours are the background's
_SIDES = (96, 320)  # the window's long side at work, in pixels: smaller ones are enlarged, larger ones shrunk
_DISC = 1  # radius of a point, in pixels at work
_ROUNDS = 4  # of GrabCut
_ON, _OFF = 2, 1
_WHOLE = 0.5  # in a box the contrast is weighed with this power of the area: the box was drawn around all of it
_LEVELS = (6, 10, 15, 22, 32, 45)  # distances in Lab, 8 bits
_FILLS = 0.97  # share of the box from which an answer is no answer

# Chosen on one half of the things of benchmarks/things.py.
_BESIDE = 0.08  # of a side of the box: how far beyond it the thing may reach
_STANDS_OUT = 0.4  # of what stands out most in the box
_TIGHT = 0.8  # IoU of what stands out, boxed, with the box, from which it is the thing
_ROOM = 0.15  # of a side of the box: the ground around it that GrabCut sees
_CORE, _LIKELY = 0.4, 0.95  # of the half axes of the box: the ellipses that are the thing, and likely the thing
# What a mask is worth, by what drew it: share of such masks above IoU 0.8.
_SCORE_SALIENT, _SCORE_CORE = 0.4, 0.2


def thing_at(image: np.ndarray, points: np.ndarray, inside: np.ndarray, box: np.ndarray | None) -> np.ndarray:
    """Pixels of one thing.

    Args:
        image: uint8 (H, W, 3).
        points: float32 (N, 2), (x, y) in pixels.
        inside: bool (N,), is the point on the thing.
        box: float32 (4,) within the picture, or None.

    Returns:
        bool (H, W); nothing outside the box.
    """
    height, width = image.shape[:2]
    x0, y0, x1, y1 = 0, 0, width, height
    if box is not None:
        room = _AROUND * float(max(box[2:] - box[:2])) + 4
        x0, y0 = np.maximum(np.floor(box[:2] - room), 0).astype(int)
        x1, y1 = np.minimum(np.ceil(box[2:] + room), (width, height)).astype(int)
    part = image[y0:y1, x0:x1]
    longest = max(part.shape[:2])
    factor = float(np.clip(longest, *_SIDES)) / longest
    size = tuple(max(4, round(side * factor)) for side in part.shape[1::-1])
    small = cv2.resize(part, size, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR)
    scale = np.array(size, np.float32) / part.shape[1::-1]
    marks = ((points - (x0, y0)) * scale).reshape(-1, 2)
    seeds = np.zeros(small.shape[:2], np.uint8)
    for (x, y), on in zip(marks, inside, strict=True):
        cv2.circle(seeds, (int(x), int(y)), _DISC, _ON if on else _OFF, -1)
    within = np.ones(small.shape[:2], bool)
    if box is not None:
        left, top = np.round((box[:2] - (x0, y0)) * scale).astype(int)
        right, bottom = np.round((box[2:] - (x0, y0)) * scale).astype(int)
        within[:] = False
        within[top : max(bottom, top + 1), left : max(right, left + 1)] = True
        guesses = [_unlike_its_surroundings(small, within), within]
    else:
        guesses = _floods(small, seeds)
    found = max(
        (_settled(small, guess, seeds, within) for guess in guesses),
        key=lambda f: _contrast(small, f, 0.0 if box is None else _WHOLE),
    )
    if box is None and (found & (seeds == _ON)).any():
        found = touching(found, seeds == _ON)
    elif (seeds == _OFF).any():
        beside = cv2.dilate((seeds == _OFF).astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
        found &= ~touching(found, beside) | touching(found, seeds == _ON)
    mask = np.zeros((height, width), bool)
    grown = cv2.resize(found.astype(np.float32), part.shape[1::-1], interpolation=cv2.INTER_LINEAR) > 0.5
    mask[y0:y1, x0:x1] = grown
    if box is not None:
        allowed = np.zeros_like(mask)
        allowed[int(box[1]) : int(np.ceil(box[3])), int(box[0]) : int(np.ceil(box[2]))] = True
        mask &= allowed
    return mask


def thing_in_box(
    image: np.ndarray, box: np.ndarray, salience: Callable[[np.ndarray], np.ndarray] | None
) -> tuple[np.ndarray, float]:
    """Pixels of the one thing that a detector's box is around.

    Args:
        image: uint8 (H, W, 3).
        box: (4,) xyxy pixels, within the picture.
        salience: uint8 (h, w, 3) -> float32 (h, w), 0..1: how much each pixel of a crop stands out. None: colours only.

    Returns:
        bool (H, W), and what it is worth, 0..1.
    """
    box = np.asarray(box, np.float64)
    mask = np.zeros(image.shape[:2], bool)
    if salience is not None:
        x0, y0, x1, y1 = _around(box, _BESIDE, image.shape)
        mask[y0:y1, x0:x1] = salience(image[y0:y1, x0:x1]) > _STANDS_OUT
        tight = mask_box(mask)
        if tight is not None and box_iou(tight, box)[0, 0] >= _TIGHT:
            area = np.count_nonzero(mask)
            return drop_specks(fill_holes(mask, 0.002 * area), 0.01 * area), _SCORE_SALIENT
    x0, y0, x1, y1 = _around(box, _ROOM, image.shape)
    part = image[y0:y1, x0:x1]
    factor = min(1.0, _SIDES[1] / max(part.shape[:2]))
    size = tuple(max(8, round(side * factor)) for side in part.shape[1::-1])
    small = cv2.resize(part, size, interpolation=cv2.INTER_AREA)
    scale = np.tile(np.array(size) / part.shape[1::-1], 2)
    found = _grown_from_core(small, (box - (x0, y0, x0, y0)) * scale)
    mask[:] = False
    mask[y0:y1, x0:x1] = cv2.resize(found.astype(np.float32), part.shape[1::-1], interpolation=cv2.INTER_LINEAR) > 0.5
    return mask, _SCORE_CORE


def _from_centre(box: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """float32 (H, W): distance of each pixel from a box's centre, in the half axes of the ellipse in the box."""
    x = (np.arange(shape[1]) + 0.5 - (box[0] + box[2]) / 2) / max(1.0, (box[2] - box[0]) / 2)
    y = (np.arange(shape[0]) + 0.5 - (box[1] + box[3]) / 2) / max(1.0, (box[3] - box[1]) / 2)
    return np.hypot(x[None], y[:, None]).astype(np.float32)


def _grown_from_core(image: np.ndarray, box: np.ndarray) -> np.ndarray:
    """GrabCut that knows the middle of a box to be the thing, and all beyond it not to be."""
    away = _from_centre(box, image.shape[:2])
    state = np.where(away < _LIKELY, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    beside = 0.05 * (box[2:] - box[:2])
    x0, y0 = np.maximum(np.floor(box[:2] - beside), 0).astype(int)
    x1, y1 = np.ceil(box[2:] + beside).astype(int)
    outside = np.ones(state.shape, bool)
    outside[y0:y1, x0:x1] = False
    state[outside] = cv2.GC_BGD
    state[away < _CORE] = cv2.GC_FGD
    likely = away < _LIKELY
    if likely.sum() < 10 or (~likely).sum() < 10:  # GrabCut has five colours a side
        return ~outside
    cv2.setRNGSeed(0)
    cv2.grabCut(image, state, None, np.zeros((1, 65)), np.zeros((1, 65)), _ROUNDS - 1, cv2.GC_INIT_WITH_MASK)
    found = np.isin(state, (cv2.GC_FGD, cv2.GC_PR_FGD))
    area = np.count_nonzero(found)
    return drop_specks(fill_holes(found, 0.01 * area), 0.05 * area)


def _around(box: np.ndarray, share: float, shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    """A box with room beside it, in shares of its sides and 2 pixels: whole numbers within an image of `shape`."""
    room = np.tile(share * (box[2:] - box[:2]) + 2, 2) * (-1, -1, 1, 1)
    x0, y0 = np.maximum(np.floor((box + room)[:2]), 0).astype(int)
    x1, y1 = np.minimum(np.ceil((box + room)[2:]), shape[1::-1]).astype(int)
    return int(x0), int(y0), int(x1), int(y1)


def _unlike_its_surroundings(image: np.ndarray, within: np.ndarray) -> np.ndarray:
    """What in the box is further from the colours around it than Otsu's threshold."""
    lab = cv2.cvtColor(image, cv2.COLOR_BGR2Lab).astype(np.float32)
    around = ~within
    if around.mean() < 0.05:  # the box is the picture: its rim must do
        around = np.ones_like(within)
        around[2:-2, 2:-2] = False
    colours = lab[around]
    middle = np.median(colours, axis=0)
    spread = np.median(np.abs(colours - middle), axis=0) + 2.0
    far = np.sqrt((((lab - middle) / spread) ** 2).sum(-1))
    coded = np.clip(far * (255 / max(1e-3, float(far[within].max()))), 0, 255).astype(np.uint8)
    level, _ = cv2.threshold(coded[within].reshape(-1, 1), 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    return within & (coded > level)


def _floods(image: np.ndarray, seeds: np.ndarray) -> list[np.ndarray]:
    """Regions around the points on the thing: what can be reached from them without a step in colour above a level, for
    several levels, and short of the points beside it."""
    soft = cv2.GaussianBlur(cv2.cvtColor(image, cv2.COLOR_BGR2Lab), (0, 0), 1.0).astype(np.float32)
    own = np.median(soft[seeds == _ON], axis=0)
    far = np.sqrt(((soft - own) ** 2).sum(-1))
    floods = []
    for level in _LEVELS:
        near = ((far < level) & (seeds != _OFF)) | (seeds == _ON)
        region = touching(near, seeds == _ON)
        if region.mean() < 0.6:
            floods.append(region)
    return floods or [seeds == _ON]


def _contrast(image: np.ndarray, found: np.ndarray, power: float) -> float:
    """How unlike a region is to what lies right around it: distance of the mean colours along its rim, in their spread,
    weighed with a power of the region's share of the picture."""
    if not found.any() or found.all():
        return -1.0
    lab = cv2.cvtColor(image, cv2.COLOR_BGR2Lab).astype(np.float32)
    code = found.astype(np.uint8)
    inner = found & (cv2.erode(code, np.ones((7, 7), np.uint8), borderValue=1) == 0)
    outer = ~found & (cv2.dilate(code, np.ones((7, 7), np.uint8)) > 0)
    if not inner.any() or not outer.any():
        return -1.0
    a, b = lab[inner], lab[outer]
    return (
        float(np.linalg.norm(a.mean(0) - b.mean(0)) / (a.std(0).mean() + b.std(0).mean() + 2.0))
        * float(found.mean()) ** power
    )


def _settled(image: np.ndarray, guess: np.ndarray, seeds: np.ndarray, within: np.ndarray) -> np.ndarray:
    state = np.where(guess, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    state[~within] = cv2.GC_BGD
    state[seeds == _OFF] = cv2.GC_BGD
    state[seeds == _ON] = cv2.GC_PR_FGD  # with a few sure pixels OpenCV's GrabCut collapses onto them
    thing, rest = np.isin(state, (cv2.GC_FGD, cv2.GC_PR_FGD)), np.isin(state, (cv2.GC_BGD, cv2.GC_PR_BGD))
    if thing.sum() < 5 or rest.sum() < 5:  # GrabCut has five colours a side
        return thing if thing.any() else within.copy()
    cv2.setRNGSeed(0)
    cv2.grabCut(image, state, None, np.zeros((1, 65)), np.zeros((1, 65)), _ROUNDS, cv2.GC_INIT_WITH_MASK)
    found = np.isin(state, (cv2.GC_FGD, cv2.GC_PR_FGD))
    share = np.count_nonzero(found) / np.count_nonzero(within)
    if share == 0 or share > _FILLS:
        found = thing
    area = np.count_nonzero(found)
    return drop_specks(fill_holes(found, 0.01 * area), 0.05 * area)
