"""Mattes of key frames -> mattes of the frames around them, along the motion. (Notebook section 7.)"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import cv2
import numpy as np

from .motion import Motion, Soft, union

_BRIDGED = 0.25  # share in which two mattes differ, up to which somebody who was not seen between is there all the same
_SHOWN = 0.5  # ... if so much of each is like what is seen there
_VOTE = 0.75  # weight of a neighbouring key frame: one alone does not outvote a mask, two that agree do
_UNLIKE = 0.02  # weight of a carried matte where the pictures do not match along the motion
_GATE = 0.3  # likeness below which a matte that is carried beyond where its person was seen fades out
_ELSEWHERE = 0.2  # mean likeness of two pictures below which they do not show one place
_LEFT = 0.25  # share of a matte's size below which what is carried on is no longer worth it


def voted(keys: dict[int, Soft], motion: Motion) -> dict[int, Soft]:
    """Key frames' mattes held against their neighbours in time: what two of three say of a pixel, holds."""
    result = {}
    order = sorted(keys)
    for n, i in enumerate(order):
        # The first and the last have neighbours on one side only: two of these.
        ways = (n - 1, n + 1) if 0 < n < len(order) - 1 else (n + 1, n + 2) if n == 0 else (n - 1, n - 2)
        beside = [order[k] for k in ways if 0 <= k < len(order)]
        patch = union([keys[i].patch, *(motion.reach(keys[j], i, j) for j in beside)])
        assert patch is not None
        total: np.ndarray = keys[i].within(patch).astype(np.float32)
        weight: np.ndarray = np.ones_like(total)
        for j in beside:
            share = _VOTE * motion.part(motion.likeness(i, j) * motion.steady(i, j), patch)
            total = total + share * motion.brought(keys[j], i, j, patch)
            weight = weight + share
        result[i] = Soft(patch, np.rint(total / weight).astype(np.uint8))
    return result


def between(keys: dict[int, Soft], unseen: Sequence[int], count: int, motion: Motion) -> list[Soft | None]:
    """Mattes of all frames of a run from those of its key frames.

    Between two, both are carried, the nearer one weighs more, and each where the pictures match. Where the person was
    looked for and not seen, they are still there if both agree. Otherwise a matte is carried up to there, as long as
    its person is to be seen.

    Args:
        keys: frame of the run -> matte.
        unseen: frames in which the person was looked for and not seen.
        count: frames of the run.
        motion: of the run.
    """
    result: list[Soft | None] = [None] * count
    order = sorted(keys)
    for i in order:
        result[i] = keys[i]

    def go_on(edge: int, end: int) -> None:
        step = 1 if end > edge else -1
        for i in range(edge + step, end, step):
            result[i] = _gone_on(keys[edge], edge, i, motion)
            if result[i] is None:
                return

    for a, b in pairwise(order):
        hidden = [i for i in unseen if a < i < b]
        there = all(_is_there(motion, i, k, keys[k]) for i in hidden for k in (a, b))
        if there and all(difference(motion, i, a, keys[a], b, keys[b])[0] <= _BRIDGED for i in hidden):
            for i in range(a + 1, b):
                result[i] = _mixed(keys, a, b, i, motion)
        else:
            go_on(a, hidden[0])
            go_on(b, hidden[-1])
    first, last = order[0], order[-1]
    go_on(first, max((i for i in unseen if i < first), default=-1))
    go_on(last, min((i for i in unseen if i > last), default=count))
    return result


def _is_there(motion: Motion, i: int, at: int, key: Soft) -> bool:
    """Does a frame show what a matte of another one is of, or somebody else in the same place?"""
    patch = motion.reach(key, i, at)
    if patch is None:
        return False
    carried = motion.brought(key, i, at, patch)
    return bool((carried * motion.part(motion.likeness(i, at), patch)).sum() >= _SHOWN * carried.sum(dtype=np.int64))


def difference(motion: Motion, i: int, a: int, first: Soft, b: int, last: Soft) -> tuple[float, float]:
    """Two mattes carried to a frame between theirs: (share of what they cover in which they differ, 0..1; the part of
    it where the motion from the one or the other is lost). A segmenter's own noise differs where the motion is clear;
    another key frame would only be another opinion. Neither in the picture: (1, 1).

    Args:
        motion: of the run.
        i: the frame that both are carried to.
        a: frame of the first one.
        first: a matte.
        b: frame of the last one.
        last: another matte.
    """
    patch = union([motion.reach(first, i, a), motion.reach(last, i, b)])
    if patch is None:
        return 1.0, 1.0
    one, other = motion.brought(first, i, a, patch), motion.brought(last, i, b, patch)
    apart = cv2.absdiff(one, other)
    most = max(1, int(np.maximum(one, other).sum(dtype=np.int64)))
    clear = np.minimum(*(motion.likeness(i, k) * motion.steady(i, k) for k in (a, b)))
    lost = float((apart * (1 - motion.part(clear, patch))).sum())
    return int(apart.sum(dtype=np.int64)) / most, lost / most


def _mixed(keys: dict[int, Soft], a: int, b: int, i: int, motion: Motion) -> Soft | None:
    patch = union([motion.reach(keys[a], i, a), motion.reach(keys[b], i, b)])
    if patch is None:
        return None
    share = (i - a) / (b - a)
    first = (1 - share) * (motion.part(motion.likeness(i, a), patch) + _UNLIKE)
    last = share * (motion.part(motion.likeness(i, b), patch) + _UNLIKE)
    one, other = motion.brought(keys[a], i, a, patch), motion.brought(keys[b], i, b, patch)
    mixed = (first * one + last * other) / (first + last)
    return Soft(patch, np.rint(mixed).astype(np.uint8))


def _gone_on(key: Soft, at: int, i: int, motion: Motion) -> Soft | None:
    """A matte carried beyond the last frame in which its person was seen; None where they are no longer there."""
    patch = motion.reach(key, i, at)
    likeness = motion.likeness(i, at)
    if patch is None or float(likeness.mean()) < _ELSEWHERE:
        return None
    alike = cv2.blur(likeness, (9, 9))
    carried = motion.brought(key, i, at, patch) * np.minimum(motion.part(alike, patch) / _GATE, 1)
    if carried.sum() < _LEFT * key.part.sum(dtype=np.int64):
        return None
    return Soft(patch, np.rint(carried).astype(np.uint8))
