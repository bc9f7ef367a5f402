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
from typing import Protocol

import cv2
import numpy as np
from scipy.ndimage import gaussian_filter

from ..errors import EngineUnavailable

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

# Bins of the table, in face sides: down from the face, across from it, up from the lowest pixel of the mask.
_STEP, _TOP, _ROWS, _COLUMNS, _FEET = 0.25, -2.0, 48, 13, 10
_SIDE = 24  # pixels of a face at working size
_COLOUR, _FEET_WEIGHT, _MOST = 1.6, 0.3, 3.0
_LEGS_BOOST, _LEGS_SKIN = 3.0, 0.9  # bare legs are rarer than they are asked for, and look like the face
_WHOLE = 5.5  # face sides from a face down to feet, at the least; who ends above is cut off or sits
_HAIR_BELOW = 0.2  # how much of what hangs beside and below the face is heard on the colour of hair
_ROUNDS = 3
_ANKLES = (0.9, 2.2)  # face sides above the feet, where trousers still are and skirts are not


@dataclass(frozen=True)
class Prior:
    """How probable each class is at a place: rows (8, 48, 13) by the face, feet (8, 10) by the feet."""

    rows: np.ndarray
    feet: np.ndarray


class Head(Protocol):
    """Where a head is: `embedded_masks.Head`, as far as parts are measured by it."""

    @property
    def x(self) -> float: ...

    @property
    def y(self) -> float: ...

    @property
    def side(self) -> float: ...


def part_named(thing: str) -> str:
    """The part that a word means.

    Raises:
        EngineUnavailable: none; the message has the list, and how to have any word.
    """
    part = _PART_OF.get(thing.casefold())
    if part is None:
        raise EngineUnavailable(
            f"the embedded engine does not know {thing!r}. It knows: {', '.join(sorted(_PART_OF))}. For any other word "
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
    return (wanted / np.maximum(wanted + rest, 1e-6) * mask).astype(np.float32)


def classes(image: np.ndarray, mask: np.ndarray, head: Head, prior: Prior) -> np.ndarray:
    """Share of each of `CLASSES` at every pixel: float32 (8, H, W).

    Args:
        image: uint8 (H, W, 3), BGR.
        mask: bool (H, W), the person.
        head: their `Head`.
        prior: where parts lie.
    """
    factor = min(1.0, _SIDE / head.side)
    size = tuple(max(8, round(side * factor)) for side in mask.shape[::-1])
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    inside = cv2.resize(mask.astype(np.uint8), size, interpolation=cv2.INTER_AREA) > 0
    down, across = _places(inside.shape, head, factor)
    rows, columns, feet = _bins(inside, down, across)
    start = np.log(prior.rows[:, rows, columns])
    if inside.any() and down[np.flatnonzero(inside.any(1))[-1], 0] > _WHOLE:
        start += _FEET_WEIGHT * np.log(prior.feet[:, feet] + 0.02)
    start[CLASSES.index("legs")] += np.log(_LEGS_BOOST)
    share = _softmax(start)
    calm = cv2.cvtColor(cv2.bilateralFilter(small, 5, 25, 5), cv2.COLOR_BGR2LAB).astype(np.int32) // 16
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


def _in_trousers(shares: np.ndarray, mask: np.ndarray, head: Head) -> bool:
    """Is most of what is just above the feet what the hips wear?"""
    lowest = np.flatnonzero(mask.any(1))
    if not len(lowest):
        return False
    up = (lowest[-1] + 1 - (np.arange(mask.shape[0]) + 0.5)) / head.side
    zone = mask & ((up > _ANKLES[0]) & (up < _ANKLES[1]))[:, None]
    likeliest = shares.argmax(0)
    worn = np.count_nonzero(zone & (likeliest == CLASSES.index("bottom")))
    return bool(worn > 0.5 * np.count_nonzero(zone & (likeliest != CLASSES.index("shoes"))))


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


def _softmax(odds: np.ndarray) -> np.ndarray:
    share = np.exp(odds - odds.max(0))
    return share / share.sum(0)


def _histogram(colour: np.ndarray, weights: np.ndarray) -> np.ndarray:
    counts = np.bincount(colour.ravel(), weights=weights.ravel(), minlength=4096).reshape(16, 16, 16)
    counts = gaussian_filter(counts, 0.7).ravel() + 1e-3
    return counts / counts.sum()
