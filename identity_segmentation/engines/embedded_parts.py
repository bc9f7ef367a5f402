"""A person's mask and face -> their hair, top, shoes ...: what the embedded engine knows of words.

Where parts are found on people, relative to the face and to the feet, is a table measured on labelled street-fashion
photos (data/part_prior.json, written by benchmarks/parts.py); what they look like is learnt from the picture itself,
by expectation-maximisation over colours from that table on. The face's own skin is the model of skin elsewhere.
Figures: docs/figures.md.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources

import cv2
import numpy as np
from scipy.ndimage import gaussian_filter, maximum_filter1d

from ..errors import EngineUnavailable
from ._silhouettes import Head
from .embedded_objects import NOUNS
from .nets import sigmoid

CLASSES = ("face", "hair", "skin", "top", "bottom", "legs", "shoes", "other")
_WORDS = {
    "person": ("person", "body", "woman", "man", "girl", "boy", "child"),
    "face": ("face",),
    "hair": ("hair",),
    "skin": ("skin",),
    "top": (
        "top", "shirt", "t-shirt", "blouse", "sweater", "sweatshirt", "hoodie", "cardigan", "jacket", "blazer", "coat",
        "padded jacket", "vest", "tank top", "crop top",
    ),
    "bottom": ("bottom", "skirt", "mini skirt", "trousers", "pants", "jeans", "shorts", "leggings"),
    "legs": ("leg", "legs"),
    "shoes": ("shoes", "sneakers", "boots", "high heels", "sandals", "slippers"),
    "clothes": ("clothes", "outfit", "dress", "gown", "suit", "uniform", "school uniform", "jumpsuit", "hanbok"),
}  # fmt: skip
_PART_OF = {word: part for part, words in _WORDS.items() for word in words}
WORDS = tuple(sorted(_PART_OF))

# Bins of the table, in face sides: down from the face, across from it, up from the lowest pixel of the mask.
_STEP, _TOP, _ROWS, _COLUMNS, _FEET = 0.25, -2.0, 48, 13, 10
_SIDE = 24  # pixels of a face at working size
_COLOUR, _FEET_WEIGHT, _MOST = 1.6, 0.3, 3.0
_LEGS_BOOST, _LEGS_SKIN = 3.0, 0.9  # bare legs are rarer than they are asked for, and look like the face
_WHOLE = 5.5  # face sides from a face down to feet, at the least; who ends above is cut off or sits
_HAIR_BELOW = 0.2  # how much of what hangs beside and below the face is heard on the colour of hair
_ROUNDS = 3
_LOWER = ("bottom", "legs", "shoes", "clothes")  # what shoes take pixels from, and give them back to
_FEET_LEAST = 8.8  # face sides down to which somebody cut off by the picture's edge still has no feet in it
_ANKLES = (0.9, 2.2)  # face sides above the feet, where trousers still are and skirts are not
_CUT_LEGS = (0.0, 1.3)  # the same, above where the picture cuts the legs off

# Shoes end where the colours of the lower legs change most. Unit: face sides above the sole of that foot.
_SHAFTS = np.arange(0.15, 2.31, 0.1)  # heights of shoes that are tried
_SHAFT_MOST, _SHAFT_SOFT = 1.7, 0.25  # shoes are seldom higher, and how seldom
_SHIN, _FOOT, _DEPTH = 2.3, 0.8, 1.7  # height that is looked at; width of a foot; how much higher the other foot may be
_SHOE_STEPS = np.array([24, 8, 8])  # bins of L, a, b: light and shade change along a leg, its colours do not
_SHOE_PIXELS = 0.03  # independent witnesses per pixel of the working size
_SHOE_COLOUR = 0.7  # how much a pixel's own colour says beside its height
_SHOE_PARTS = 0.35  # how much the shares of all the parts say beside both


@dataclass(frozen=True)
class Prior:
    """How probable each class is at a place: rows (8, 48, 13) by the face, feet (8, 10) by the feet."""

    rows: np.ndarray
    feet: np.ndarray


def part_named(thing: str) -> str:
    """The part that a word means.

    Raises:
        EngineUnavailable: none; the message has the list, with the nouns of the detector, and how to have any word.
    """
    part = _PART_OF.get(thing.casefold())
    if part is None:
        raise EngineUnavailable(
            f"the embedded engine does not know {thing!r}. It knows: {', '.join(WORDS)}; and of things: "
            f"{', '.join(noun for noun in NOUNS if noun not in _PART_OF)}. For any other word "
            "use SAM 3: --segmenter sam3-hf (idseg doctor says what it needs)"
        )
    return part


def find_part(image: np.ndarray, mask: np.ndarray, head: Head, part: str, prior: Prior | None = None) -> np.ndarray:
    """Where a part of a person is.

    Args:
        image: uint8 (H, W, 3), BGR.
        mask: bool (H, W), the person.
        head: their `Head`.
        part: as `part_named` gives it.

    Returns:
        float32 (H, W) 0..1, nothing outside the mask.
    """
    if part == "person":
        return mask.astype(np.float32)
    shares = classes(image, mask, head, prior or read_prior())
    index = {name: i for i, name in enumerate(CLASSES)}
    if part in _LOWER:
        shares = _with_shoes(image, mask, head, shares)
    if part == "shoes":
        return shares[index[part]]
    if part == "skin":
        wanted = shares[index["skin"]] + shares[index["face"]]
    elif part == "clothes":
        wanted = shares[index["top"]] + shares[index["bottom"]] + shares[index["legs"]]
    elif part == "legs":
        wanted = shares[index["legs"]]
        if _in_trousers(shares, mask, head):
            wanted = wanted + shares[index["bottom"]]
    else:
        wanted = shares[index[part]]
    rest = 1 - wanted
    if part not in ("skin", "clothes", "legs"):  # the likeliest of all classes, not a majority
        rest = np.delete(shares, index[part], 0).max(0)
    return _against(wanted, rest, mask)


def classes(image: np.ndarray, mask: np.ndarray, head: Head, prior: Prior) -> np.ndarray:
    """Share of each of `CLASSES` at every pixel: float32 (8, H, W).

    Args:
        image: uint8 (H, W, 3), BGR.
        mask: bool (H, W), the person.
        head: their `Head`.
        prior: where parts lie.
    """
    look, inside, factor = _working(image, mask, head)
    down, across = _places(inside.shape, head, factor)
    rows, columns, feet = _bins(inside, down, across)
    start = np.log(prior.rows[:, rows, columns])
    if has_feet(mask, head):
        start += _FEET_WEIGHT * np.log(prior.feet[:, feet] + 0.02)
    start[CLASSES.index("legs")] += np.log(_LEGS_BOOST)
    share = _softmax(start)
    calm = look // 16
    colour = (calm[..., 0] * 16 + calm[..., 1]) * 16 + calm[..., 2]
    core = ((across / 0.33) ** 2 + (down / 0.42) ** 2 < 1) & inside
    every = _histogram(colour, inside.astype(np.float64))
    for _ in range(_ROUNDS):
        skin = _histogram(colour, (share[0] + share[2]) * inside + 3.0 * core)
        evidence = []
        for i, name in enumerate(CLASSES):
            weight = share[i] * inside
            if name == "hair":
                weight = weight * np.where(down < 0, 1.0, _HAIR_BELOW)
            look = skin if name in ("face", "skin") else _histogram(colour, weight)
            if name == "legs":
                look = _LEGS_SKIN * skin + (1 - _LEGS_SKIN) * look
            evidence.append(np.log((look + 1e-5) / (every + 1e-5))[colour])
        share = _softmax(start + _COLOUR * np.clip(np.stack(evidence), -_MOST, _MOST))
        share = np.stack([cv2.GaussianBlur(s.astype(np.float32), (0, 0), 1.0) for s in share])
    return np.stack([cv2.resize(s, mask.shape[::-1], interpolation=cv2.INTER_LINEAR) for s in share])


def learn_prior(examples: Iterable[tuple[np.ndarray, np.ndarray, Head]]) -> Prior:
    """The table from labelled people.

    Args:
        examples: (labels (H, W), index in `CLASSES` or -1; person bool (H, W); their `Head`).
    """
    rows = np.zeros((len(CLASSES), _ROWS, _COLUMNS))
    feet = np.zeros((len(CLASSES), _FEET))
    for labels, mask, head in examples:
        r, c, f = _bins(mask, *_places(mask.shape, head, 1.0))
        for i in range(len(CLASSES)):
            here = labels == i
            np.add.at(rows[i], (r[here], c[here]), 1 / head.side**2)
            np.add.at(feet[i], f[here], 1 / head.side**2)
    rows = np.stack([gaussian_filter(r, 0.8) for r in rows]) + 2e-3
    feet = feet + 0.05
    feet /= feet.sum(0)
    return Prior(rows / rows.sum(0), feet / np.maximum(feet[:, -1:], 1e-2))


def write_prior(prior: Prior) -> str:
    """The table as JSON text."""
    return json.dumps({"rows": np.round(prior.rows, 4).tolist(), "feet": np.round(prior.feet, 4).tolist()})


@lru_cache(maxsize=1)
def read_prior() -> Prior:
    """The table that comes with the package."""
    text = resources.files("identity_segmentation").joinpath("data/part_prior.json").read_text("utf-8")
    content = json.loads(text)
    return Prior(np.array(content["rows"]) + 1e-6, np.array(content["feet"]))


def has_feet(mask: np.ndarray, head: Head) -> bool:
    """Could feet be in the picture? Not where the mask ends too near to the face, or early at the lower edge.

    Args:
        mask: bool (H, W), the person; its last row is the picture's, or background.
        head: their `Head`.
    """
    if not mask.any():
        return False
    depth = (np.flatnonzero(mask.any(1))[-1] + 0.5 - head.y) / head.side
    return bool(depth > _WHOLE and (depth > _FEET_LEAST or not mask[-2:].any()))


def _against(wanted: np.ndarray, rest: np.ndarray, mask: np.ndarray) -> np.ndarray:
    return (wanted / np.maximum(wanted + rest, 1e-6) * mask).astype(np.float32)


def _with_shoes(image: np.ndarray, mask: np.ndarray, head: Head, shares: np.ndarray) -> np.ndarray:
    """The shares with shoes seen again; what they lose or win is the other classes' in proportion."""
    index = CLASSES.index("shoes")
    before, rest = shares[index], np.delete(shares, index, 0).max(0)
    shoes = _against(before, rest, mask)
    after = _shod(image, mask, head, shoes) if has_feet(mask, head) else np.zeros_like(shoes)
    result = shares * np.minimum((1 - after) / np.maximum(1 - before, 1e-3), 1e3)
    result[index] = after
    return result


def _shod(image: np.ndarray, mask: np.ndarray, head: Head, share: np.ndarray) -> np.ndarray:
    """The share of shoes, seen again by the one height at which both lower legs change colour most."""
    look, inside, factor = _working(image, mask, head)
    up = _above_soles(inside, head.side * factor)
    bins = (look // _SHOE_STEPS).astype(int)
    size = 256 // _SHOE_STEPS + 1
    colour = np.ravel_multi_index([bins[..., i] for i in range(3)], tuple(size))
    zone = inside & (up >= 0) & (up < _SHIN)
    if not zone.any():
        return np.zeros_like(share)
    height, seen = up[zone], colour[zone]
    every = _spread(seen, None, size) / len(seen)
    score, evidence = np.zeros(len(_SHAFTS)), np.zeros((len(_SHAFTS), every.size))
    for i, shaft in enumerate(_SHAFTS):
        shoe, leg = (_spread(seen, side.astype(float), size) + 5 * every for side in (height < shaft, height >= shaft))
        evidence[i] = np.log((shoe / shoe.sum() + 1e-9) / (leg / leg.sum() + 1e-9))
        likely = np.where(height < shaft, (shoe / shoe.sum())[seen], (leg / leg.sum())[seen])
        score[i] = _SHOE_PIXELS * np.log(likely + 1e-9).sum()
    score -= 0.5 * (np.maximum(_SHAFTS - _SHAFT_MOST, 0) / _SHAFT_SOFT) ** 2
    weight = _softmax(score)
    below = sum(w * sigmoid((shaft - up) / 0.08) for w, shaft in zip(weight, _SHAFTS, strict=True))
    odds = _odds(below) + _SHOE_COLOUR * np.clip((weight @ evidence)[colour], -3, 3)
    odds = cv2.resize(np.where(inside, odds, -7).astype(np.float32), mask.shape[::-1], interpolation=cv2.INTER_LINEAR)
    mixed = (1 - _SHOE_PARTS) * odds + _SHOE_PARTS * _odds(share)
    return (sigmoid(mixed) * mask).astype(np.float32)


def _above_soles(inside: np.ndarray, side: float) -> np.ndarray:
    """How high every pixel is above the sole of the foot below it, in face sides; far above where no foot is."""
    rows = np.arange(inside.shape[0])
    lowest = np.where(inside.any(0), rows[-1] - inside[::-1].argmax(0), -(10**6))
    sole = maximum_filter1d(lowest, 2 * int(_FOOT * side / 2) + 1)
    sole = np.where(sole > lowest.max() - _DEPTH * side, sole, 10**6)
    return (sole[None] + 0.5 - rows[:, None]) / side


def _in_trousers(shares: np.ndarray, mask: np.ndarray, head: Head) -> bool:
    """Is most of what is just above the feet (or at the end of legs that are cut off) what the hips wear?"""
    lowest = np.flatnonzero(mask.any(1))
    if not len(lowest):
        return False
    up = (lowest[-1] + 1 - (np.arange(mask.shape[0]) + 0.5)) / head.side
    begin, end = _ANKLES if has_feet(mask, head) else _CUT_LEGS
    zone = mask & ((up > begin) & (up < end))[:, None]
    likeliest = shares.argmax(0)
    worn = np.count_nonzero(zone & (likeliest == CLASSES.index("bottom")))
    return bool(worn > 0.5 * np.count_nonzero(zone & (likeliest != CLASSES.index("shoes"))))


def _working(image: np.ndarray, mask: np.ndarray, head: Head) -> tuple[np.ndarray, np.ndarray, float]:
    """(calmed Lab int32, mask, factor) at the size that is worked at."""
    factor = min(1.0, _SIDE / head.side)
    size = tuple(max(8, round(side * factor)) for side in mask.shape[::-1])
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    inside = cv2.resize(mask.astype(np.uint8), size, interpolation=cv2.INTER_AREA) > 0
    return cv2.cvtColor(cv2.bilateralFilter(small, 5, 25, 5), cv2.COLOR_BGR2LAB).astype(np.int32), inside, factor


def _places(shape: Sequence[int], head: Head, factor: float) -> tuple[np.ndarray, np.ndarray]:
    """(down, across) of every pixel from the face, in face sides."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    return ((rows + 0.5) / factor - head.y) / head.side, ((columns + 0.5) / factor - head.x) / head.side


def _bins(mask: np.ndarray, down: np.ndarray, across: np.ndarray):
    lowest = down[np.flatnonzero(mask.any(1))[-1], 0] if mask.any() else 8.0
    return (
        np.clip(((down - _TOP) / _STEP).astype(int), 0, _ROWS - 1),
        np.clip((np.abs(across) / _STEP).astype(int), 0, _COLUMNS - 1),
        np.clip(((lowest - down) / _STEP).astype(int), 0, _FEET - 1),
    )


def _odds(share: np.ndarray) -> np.ndarray:
    return np.log((share + 1e-3) / (1.001 - share))


def _spread(colour: np.ndarray, weights: np.ndarray | None, size: np.ndarray) -> np.ndarray:
    """Share of every colour bin, a little blurred."""
    counts = np.bincount(colour, weights=weights, minlength=int(size.prod())).reshape(tuple(size)).astype(float)
    counts = gaussian_filter(counts, 0.4).ravel()
    return counts


def _softmax(odds: np.ndarray) -> np.ndarray:
    share = np.exp(odds - odds.max(0))
    return share / share.sum(0)


def _histogram(colour: np.ndarray, weights: np.ndarray) -> np.ndarray:
    counts = np.bincount(colour.ravel(), weights=weights.ravel(), minlength=4096).reshape(16, 16, 16)
    counts = gaussian_filter(counts, 0.7).ravel() + 1e-3
    return counts / counts.sum()
