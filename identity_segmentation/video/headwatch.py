"""Where heads are in every frame of a video, rather too many than one too few. (Notebook section 7.)

Every second frame is looked at. What is seen once is followed along optical flow before and after; gaps are bridged;
nothing goes over a cut. Which of them are covered is said elsewhere (`covering`).
"""

from __future__ import annotations

import json
import os
import threading
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from ..errors import Cancelled
from ..files import as_json, atomic_write
from ..images import shrink_to
from ..types import Frame
from .analysis import Analysis, rounded
from .files import VideoReader, prefetched
from .runs import shots_of

STEP = 2  # every n-th frame is looked at,
_FULL = 2  # ... and every n-th of these in full, the others where heads are expected
MARGIN_S = 0.5  # seconds a head is covered before it is first seen, and after it was last seen
_DOUBT_S = 2.0  # ... and up to this much further, to the end of its shot, if it is not seen to leave
_BRIDGED_S = 1.5  # seconds that a head may be missed and still be the same one
_NEAR = 0.7  # distance of two heads' middles, in the larger one's side, up to which they are one head's
_AS_LARGE = 1.9  # ratio of their sides up to which they are
_SMALL = 480  # long side of the pictures that flow is reckoned on
_GROWTH = 0.005  # by which a head's box grows for every frame that it is followed unseen,
_GROWN = 1.2  # ... and how many times as large it becomes at the most
_SAME = 0.5  # distance from another head that is seen, in sides of the larger, up to which an unseen one was that one
_VERSION = 1

Box = np.ndarray  # float32 (4,), xyxy pixels


class Search(Protocol):
    """What looks for heads in a picture; see `masks.heads.HeadSearch`."""

    @property
    def id(self) -> str:
        """What finds them, for keys."""

    def find(self, image_bgr: np.ndarray, expected: Sequence[np.ndarray] = ()) -> list:
        """Every head: things with a `box` of float (4,) xyxy."""

    def quick(self, image_bgr: np.ndarray, expected: Sequence[np.ndarray] = ()) -> list:
        """The heads that a cheap look finds."""


@dataclass(eq=False)
class Chain:
    """One head, as far as it was followed.

    Attributes:
        number: from 1, in the order of their begin.
        at: frame -> box of the whole head, float32 (4,); of frames that were looked at.
        first, last: the first and the last frame it was truly seen in.
    """

    number: int
    at: dict[int, Box] = field(default_factory=dict)
    first: int = 0
    last: int = 0

    @cached_property
    def frames(self) -> list[int]:
        """The frames of `at` in order, once it was followed to its end."""
        return sorted(self.at)

    @property
    def side(self) -> float:
        """Pixels of the longer side, where the head is largest."""
        return max(float(max(b[2] - b[0], b[3] - b[1])) for b in self.at.values())


@dataclass(frozen=True, eq=False)
class Heads:
    """All heads of a video, at every frame.

    Attributes:
        finder: what found them.
        chains: every head.
        looked: how many frames were looked at.
    """

    finder: str
    chains: Sequence[Chain]
    looked: int

    def at(self, index: int) -> list[tuple[Chain, Box]]:
        """(head, its box) of every head in a frame."""
        found = []
        for chain in self._near.get(index // _BUCKET, ()):
            box = box_at(chain, index)
            if box is not None:
                found.append((chain, box))
        return found

    def __post_init__(self) -> None:
        near: dict[int, list[Chain]] = {}
        for chain in self.chains:
            for bucket in range(min(chain.at) // _BUCKET, max(chain.at) // _BUCKET + 1):
                near.setdefault(bucket, []).append(chain)
        object.__setattr__(self, "_near", near)

    _near: Mapping[int, list[Chain]] = field(init=False, repr=False, default_factory=dict)


_BUCKET = 64  # frames


def box_at(chain: Chain, index: int) -> Box | None:
    """A head's box at a frame, on the straight way between frames that were looked at; None before it and after it.

    Args:
        chain: the head.
        index: of the frame.
    """
    if index in chain.at:
        return chain.at[index]
    place = bisect_left(chain.frames, index)
    if place == 0 or place == len(chain.frames):
        return None
    before, after = chain.frames[place - 1], chain.frames[place]
    share = (index - before) / (after - before)
    return (1 - share) * chain.at[before] + share * chain.at[after]


def watch(
    source: str | os.PathLike, search: Search, analysis: Analysis, path: Path, margin: float = MARGIN_S,
    progress: Callable[[int, int], None] | None = None, cancel: threading.Event | None = None,
) -> Heads:  # fmt: skip
    """Look for heads all through a video; what was found is kept beside the analysis and read from there again.

    Args:
        source: the video.
        search: what looks.
        analysis: of the video; its shots count, and the heads in it as places to look at.
        path: the file that keeps what was found.
        margin: seconds a head is there before it is first seen, and after it was last seen; 0 or more.
        progress: called with (frames done, frames in all).
        cancel: set it to stop; what was seen is kept.

    Raises:
        VideoError, OutputError: see `VideoReader` and `files.atomic_write`; `errors.Cancelled` if cancelled.
    """
    header = {"kind": "heads", "version": _VERSION, "finder": search.id, "step": STEP, "margin": round(margin, 3)}
    kept = _read(path, header)
    if kept is not None:
        return kept
    following = _Following(analysis, margin)
    looked = 0
    with VideoReader(source) as reader:
        frames = prefetched(reader.frames(0, STEP), depth=3)
        try:
            for number, frame in enumerate(frames):
                if cancel is not None and cancel.is_set():
                    raise Cancelled
                expected = following.expected(frame.index)
                found = (
                    search.find(frame.image, expected) if number % _FULL == 0 else search.quick(frame.image, expected)
                )
                following.take(frame, [np.asarray(head.box, np.float32) for head in found])
                looked += 1
                if progress:
                    progress(frame.index + 1, analysis.frames)
        finally:
            frames.close()
    following.end()
    heads = Heads(search.id, following.chains(), looked)
    _write(path, header, heads)
    # As the file has them, in hundredths of pixels: who goes on after a kill reads that, and has to cover the same.
    return _read(path, header) or heads


def _read(path: Path, header: Mapping) -> Heads | None:
    try:
        with path.open(encoding="utf-8") as file:
            lines = [json.loads(line) for line in file]
        if not lines or lines[-1].get("kind") != "end" or any(lines[0].get(k) != v for k, v in header.items()):
            return None
        chains = [
            Chain(n, {int(i): np.array(box, np.float32) for i, *box in at}, first, last)
            for n, at, first, last in ((line["n"], line["at"], line["first"], line["last"]) for line in lines[1:-1])
        ]
        return Heads(lines[0]["finder"], chains, lines[-1]["looked"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _write(path: Path, header: Mapping, heads: Heads) -> None:
    with atomic_write(path) as file:
        file.write(as_json(dict(header)) + b"\n")
        for chain in heads.chains:
            at = [[i, *rounded(box)] for i, box in sorted(chain.at.items())]
            line = {"kind": "head", "n": chain.number, "first": chain.first, "last": chain.last, "at": at}
            file.write(as_json(line) + b"\n")
        file.write(as_json({"kind": "end", "looked": heads.looked}) + b"\n")


class _Following:
    """Heads of one frame after the other, joined into chains."""

    def __init__(self, analysis: Analysis, margin: float):
        rate = float(analysis.fps)
        self.margin = max(1, round(margin * rate)) if margin > 0 else 0
        self.doubt, self.bridged = self.margin + round(_DOUBT_S * rate), round(_BRIDGED_S * rate)
        self.shots = shots_of(analysis)
        self.begins = [shot.begin for shot in self.shots]
        self.frames = analysis.frames
        self.size = (analysis.header["width"], analysis.header["height"])
        self.open: list[Chain] = []
        self.done: list[Chain] = []
        self.count = 0
        self.shot = -1
        # Small grey pictures of the last frames, to follow a head back to before it was first seen.
        self.past: deque[tuple[int, np.ndarray]] = deque(maxlen=max(2, self.doubt // STEP + 1))
        self.samples = {sample.index: sample for sample in analysis.samples}
        self.sampling = analysis.header["sampling"]

    def expected(self, index: int) -> list[Box]:
        """Where heads should be: where they were, and where the analysis has some."""
        boxes = [chain.at[self.past[-1][0]] for chain in self.open]
        sample = self.samples.get(index - index % self.sampling)
        if sample is not None:
            boxes += [np.array(point.box, np.float32) for point in sample.tracks]
        return boxes

    def take(self, frame: Frame, found: Sequence[Box]) -> None:
        """The heads that were found in the next frame."""
        small, self.factor = shrink_to(cv2.cvtColor(frame.image, cv2.COLOR_BGR2GRAY), _SMALL)
        index = frame.index
        shot = int(np.searchsorted(self.begins, index, "right"))
        if shot != self.shot:
            self.end()
            self.shot = shot
            self.past.clear()
        # Everybody is carried on first: that is where they are looked for, and where they are if nobody is found.
        carried = {chain.number: self._moved(chain.at[self.past[-1][0]], small) for chain in self.open}
        left = list(found)
        for chain in sorted(self.open, key=lambda one: -one.last):
            place = carried[chain.number]
            best = min(left, key=lambda box: _apart(place, box), default=None)
            if best is not None and _apart(place, best) <= _NEAR:
                left = [box for box in left if box is not best]
                chain.at[index], chain.last = best, index
            elif self._is_lost(chain, place, index) or any(_off(place, box) <= _SAME for box in found):
                self.done.append(chain)
            else:
                chain.at[index] = _grown(place, chain.at[chain.last])
        self.open = [chain for chain in self.open if index in chain.at]
        for box in left:
            self.count += 1
            chain = Chain(self.count, {index: box}, index, index)
            self._back(chain, small)
            self.open.append(chain)
        self.past.append((index, small))

    def _is_lost(self, chain: Chain, place: Box, index: int) -> bool:
        """Is a head that is not found followed no further?"""
        unseen = index - chain.last
        if unseen <= self.margin:
            return False
        x, y = (place[0] + place[2]) / 2, (place[1] + place[3]) / 2
        away = not (0 <= x < self.size[0] and 0 <= y < self.size[1])
        # Seen once or twice, it is more likely nothing; of others it is not known where they went.
        return away or unseen > max(self.bridged if chain.last > chain.first + STEP else 0, self.margin)

    def _back(self, chain: Chain, small: np.ndarray) -> None:
        """Follow a new head to before it was seen."""
        box, after = chain.at[chain.first], small
        for index, before in reversed(self.past):
            if chain.first - index > self.margin:
                break
            box = _grown(_carried(box, after, before, self.factor), chain.at[chain.first])
            chain.at[index], after = box, before

    def _moved(self, box: Box, small: np.ndarray) -> Box:
        return _carried(box, self.past[-1][1], small, self.factor) if self.past else box

    def end(self) -> None:
        """The shot, or the video, is over."""
        self.done += self.open
        self.open = []

    def _bounds(self, number: int) -> tuple[int, int]:
        """The first frame in which a shot is to be seen, and the one after its last; where two are mixed both are."""
        mixed = self.shots[number].mixed
        begin = mixed[0] if mixed[1] > mixed[0] else self.begins[number]
        if number + 1 == len(self.shots):
            return begin, self.frames
        mixed = self.shots[number + 1].mixed
        return begin, mixed[1] if mixed[1] > mixed[0] else self.begins[number + 1]

    def chains(self) -> list[Chain]:
        """All that were followed, to the ends of their shots where that is not far."""
        for chain in self.done:
            number = max(0, int(np.searchsorted(self.begins, chain.first, "right")) - 1)
            begin, end = self._bounds(number)
            first, last = min(chain.at), max(chain.at)
            # To the borders of the shot: frames that were not looked at, those in which two shots are mixed, and, of a
            # head that was seen well, as far as it is not known where it came from or went to.
            far = self.doubt if chain.last > chain.first + STEP else STEP
            if 0 < first - begin <= max(far, self.begins[number] - begin + STEP):
                chain.at[begin] = chain.at[first]
            following = self.begins[number + 1] if number + 1 < len(self.begins) else end
            if 0 < end - 1 - last <= max(far, end - following + STEP):
                chain.at[end - 1] = chain.at[last]
        return sorted(self.done, key=lambda one: one.number)


def _apart(one: Box, other: Box) -> float:
    """How far two heads are apart, in sides of the larger; more than can be where their sizes differ."""
    sides = [max(float(b[2] - b[0]), float(b[3] - b[1]), 1.0) for b in (one, other)]
    if max(sides) > _AS_LARGE * min(sides):
        return 9.0
    return _off(one, other)


def _off(one: Box, other: Box) -> float:
    """Distance of two heads' middles, in sides of the larger."""
    side = max(float(max(b[2] - b[0], b[3] - b[1])) for b in (one, other))
    middle = (one[:2] + one[2:] - other[:2] - other[2:]) / 2
    return float(np.hypot(*middle)) / max(side, 1.0)


def _grown(box: Box, seen: Box) -> Box:
    """A head's box a little larger, as it is less known where it is.

    Args:
        box: where it is followed to.
        seen: where it was truly seen.
    """
    share = min(_GROWTH * STEP, _GROWN * float(seen[2] - seen[0]) / max(float(box[2] - box[0]), 1.0) - 1)
    room = max(0.0, share) * (box[2:] - box[:2]) / 2
    return np.concatenate([box[:2] - room, box[2:] + room]).astype(np.float32)


def _carried(box: Box, before: np.ndarray, after: np.ndarray, factor: float) -> Box:
    """A box moved along with what is in it: the median of Lucas and Kanade's flow over a grid of points.

    Args:
        box: in the picture `before`, in full pixels.
        before, after: uint8 (h, w), grey, of `factor` times the full size.
    """
    x0, y0, x1, y1 = (float(v) * factor for v in box)
    xs, ys = np.linspace(x0, x1, 7)[1:-1], np.linspace(y0, y1, 7)[1:-1]
    points = np.array([(x, y) for y in ys for x in xs], np.float32)
    height, width = before.shape
    inside = (points[:, 0] >= 0) & (points[:, 0] < width) & (points[:, 1] >= 0) & (points[:, 1] < height)
    if inside.sum() < 4:
        return box
    points = points[inside].reshape(-1, 1, 2)
    moved, there, _ = cv2.calcOpticalFlowPyrLK(
        before, after, points, np.empty_like(points), winSize=(15, 15), maxLevel=3
    )
    good = there.ravel() == 1
    if good.sum() < 4:
        return box
    shift = np.median((moved - points).reshape(-1, 2)[good], axis=0) / factor
    return (box + np.tile(shift, 2)).astype(np.float32)
