"""Small pictures of every frame of a video -> where shots change: cuts, dissolves, fades. (Notebook section 7.)

Told from flashes, light changes, whip pans and motion by what a change of shot is:

* cut: the new picture is not the old one moved, its colours differ or the change stands out from the motion around;
  where the pictures after come back to those before, the picture between has details of its own (a flash has none);
* dissolve: the pictures between two unlike ones, X and Y, lie *between* them, on the way from one to the other, and
  have less detail than both, as mixtures do; neither motion nor light does that;
* fade: there is no picture at all for a while (black, white, any one colour), and after it another than before it.

"Like" compares details (soft light does not count) where both pictures match best when shifted, without black bars.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple

import cv2
import numpy as np

from .clothes import colour_likeness

THUMBNAIL = (64, 36)  # width, height of the pictures, whatever the video's shape is

_LIKE = 0.65  # likeness from which two pictures show one shot. Seen across cuts: 0.0-0.63, half of them below 0.3
_UNLIKE = 0.5  # likeness of a dissolve's ends, below; they are further apart in time, so motion counts more
_COLOURS = 0.93  # colour likeness of neighbours within a shot is above (seen: 0.95, light apart), of most cuts below
_STANDS_OUT = 6.0  # times the change between the frames around it
_BACK = 8  # frames that a flash may last, and that a new shot must
_DARK = 28  # black in video is 16 of 255 plus noise
_WHITE, _BLEACHED = 240, 0.15  # from where on a pixel has no details; how much more of a picture has none in a flash
_BLANK = 3.0  # contrast (standard deviation) below which there is no picture
_SPANS = (9, 14, 20, 28, 38, 50)  # frames between the ends tried for a dissolve
_CHANGE = 2.0  # grey levels that the ends of a dissolve differ by, at least
_BENT = 1.0  # 0: exactly a mixture; 1: X, M, Y make a right angle; 3: all three equally unlike
_DIP = 0.6  # detail lost by mixing, of what two unrelated pictures lose; 0 for motion
_EXPLAINED = 0.5  # of the details between, by those of the ends
_LONGEST = 60  # frames of one fade, in or out
# Correlation of the layouts of two shots from one camera: seen 0.85 and 0.93; of others 0.46 at the most.
_ONE_PLACE = 0.75


@dataclass(frozen=True)
class Shot:
    """Where a shot begins, and how.

    Attributes:
        begin: its first frame; of a dissolve or fade the middle one.
        kind: "begin" of the video, "cut", "dissolve" or "fade".
        mixed: (first frame, frame after the last one) in which it is mixed with the shot before it; empty at a cut.
    """

    begin: int
    kind: str = "cut"
    mixed: tuple[int, int] = (0, 0)

    def mixes(self, index: int) -> bool:
        """Is a frame one of those in which it is mixed with the shot before it?"""
        return self.mixed[0] <= index < self.mixed[1]

    @classmethod
    def after(cls, transition: Transition) -> Shot:
        """The shot that a transition leads to."""
        if transition.kind == "cut":
            return cls(transition.end)
        return cls((transition.first + transition.end) // 2, transition.kind, (transition.first, transition.end))


def shot_around(begins: Sequence[int], index: int) -> tuple[int, int]:
    """(first frame, frame after the last one) of the shot that a frame is in; the last shot has no end.

    Args:
        begins: first frames of the shots, in order.
        index: of the frame.
    """
    after = bisect_right(begins, index)
    return begins[after - 1] if after else 0, begins[after] if after < len(begins) else 1 << 40


class Transition(NamedTuple):
    """A change of shot. `first`: the first frame that is not wholly the old shot; `end`: the first wholly the new."""

    kind: str  # "cut", "dissolve" or "fade"
    first: int
    end: int


@dataclass
class _Picture:
    index: int
    bgr: np.ndarray
    contrast: float
    blank: bool


class ShotDetector:
    """Feed every frame's thumbnail to `update`; it returns the transitions that have become certain by then."""

    def __init__(self) -> None:
        self._count = 0
        self._recent: deque[_Picture] = deque(maxlen=max(_SPANS) + _LONGEST)
        self._flat = np.zeros((max(_SPANS) + 1, 18 * 32 * 3), np.float32)  # rings of small pictures
        self._fine = np.zeros((max(_SPANS) + 1, 18 * 32), np.float32)  # and of their details
        self._cuts: list[int] = []  # candidates waiting for what comes after
        self._dissolve: tuple[float, Transition] | None = None  # best so far of those that overlap
        self._fade: tuple[int, int, _Picture] | None = None  # first frame, first blank frame, picture before
        self._blank_end = 0
        self._free = 0  # frames before this one belong to a transition already told

    def update(self, thumbnail: np.ndarray) -> list[Transition]:
        """uint8 (36, 64, 3) BGR -> transitions told now, at most about 60 frames late."""
        now = self._add(thumbnail)
        told: list[Transition] = []
        if self._in_fade(now, told):
            return told
        if len(self._recent) > 1 and not like(self._recent[-2].bgr, now.bgr):
            self._cuts.append(now.index)
        while self._cuts and self._cuts[0] + _BACK <= now.index:
            self._tell_cut(self._cuts.pop(0), told)
        if now.index % 3 == 0:
            self._seek_dissolve(now.index)
        if self._dissolve is not None and now.index > self._dissolve[1].end + max(_SPANS) // 2:
            self._tell_dissolve(self._dissolve[1], told)
        return told

    def finish(self) -> list[Transition]:
        """What is left at the end of the video."""
        told: list[Transition] = []
        for cut in self._cuts:
            self._tell_cut(cut, told)
        if self._fade is not None and self._blank_end:
            self._tell_fade(self._recent[-1], told)
        if self._dissolve is not None:
            self._tell_dissolve(self._dissolve[1], told)
        return sorted(told, key=lambda t: t.first)

    def _add(self, bgr: np.ndarray) -> _Picture:
        last = next((p for p in reversed(self._recent) if not p.blank), None)
        box = picture_area(last.bgr if last else bgr, bgr)
        contrast = float(cv2.meanStdDev(cv2.cvtColor(np.ascontiguousarray(bgr[box]), cv2.COLOR_BGR2GRAY))[1][0, 0])
        now = _Picture(self._count, bgr, contrast, contrast < _BLANK)
        self._recent.append(now)
        place = self._count % len(self._flat)
        self._flat[place] = cv2.resize(bgr, (32, 18), interpolation=cv2.INTER_AREA).ravel()
        self._fine[place] = cv2.resize(_details(bgr, 1.2), (32, 18), interpolation=cv2.INTER_AREA).ravel()
        self._count += 1
        return now

    def _at(self, index: int) -> _Picture:
        return self._recent[index - self._count]

    def _oldest(self) -> int:
        return self._count - len(self._recent)

    # ---- fades

    def _in_fade(self, now: _Picture, told: list[Transition]) -> bool:
        """Follow a fade; True while there is one, and nothing else is looked for."""
        if now.blank:
            if self._fade is None and now.index > 0:
                first = now.index
                while first - 1 > max(self._oldest(), self._free, now.index - _LONGEST) and (
                    self._at(first - 2).contrast > 1.01 * self._at(first - 1).contrast
                ):
                    first -= 1
                self._fade = (first, now.index, self._at(max(first - 1, self._oldest())))
            self._blank_end = 0
            return True
        if self._fade is None:
            return False
        self._blank_end = self._blank_end or now.index
        rising = now.contrast > 1.015 * self._recent[-2].contrast or self._recent[-2].blank
        if rising and now.index - self._blank_end < _LONGEST:
            return True
        self._tell_fade(now, told)
        return True

    def _tell_fade(self, now: _Picture, told: list[Transition]) -> None:
        assert self._fade is not None
        first, blank, before = self._fade
        end = max(now.index - 1, self._blank_end)
        if not before.blank and not like(before.bgr, now.bgr):
            for cut in [c for c in self._cuts if c < first]:
                self._tell_cut(cut, told)
            sudden = first >= blank and end <= self._blank_end
            self._tell(Transition("cut" if sudden else "fade", first, end), told)
        self._cuts = [c for c in self._cuts if c < first]
        self._fade, self._blank_end = None, 0

    # ---- cuts

    def _tell_cut(self, cut: int, told: list[Transition]) -> None:
        oldest, newest = max(self._oldest(), self._free), self._count - 1
        if cut <= oldest:
            return
        before = [self._at(i) for i in (cut - 1, cut - 3, cut - 6, cut - _BACK) if i >= oldest]
        after = [self._at(i) for i in (cut, cut + 2, cut + 5, cut + _BACK) if i <= newest]
        old, new = before[0].bgr, after[0].bgr
        back = any(like(a.bgr, b.bgr) for a, b in product(before, after) if not (a.blank or b.blank))
        if back and (bleached(old, new) or bleached(new, old)):
            return
        if colours_alike(old, new) >= _COLOURS:
            sides = (range(cut - 3, cut), range(cut + 1, cut + 4))  # motion on one side only does not hide a cut
            usual = min(self._motion([i for i in side if oldest < i <= newest]) for side in sides)
            if 1 - likeness(old, new) < _STANDS_OUT * (usual + 0.02):
                return
        self._tell(Transition("cut", cut, cut), told)

    def _motion(self, indices: list[int]) -> float:
        changes = [1 - likeness(self._at(i - 1).bgr, self._at(i).bgr) for i in indices]
        return max(changes, default=1.0)

    def _tell(self, transition: Transition, told: list[Transition]) -> None:
        waiting, self._dissolve = self._dissolve, None
        if waiting is not None and waiting[1].end < transition.first:  # it ended before this one, so nothing beats it
            self._tell_dissolve(waiting[1], told)
        if transition.first >= self._free:
            told.append(transition)
            self._free = transition.end

    # ---- dissolves

    def _seek_dissolve(self, now: int) -> None:
        for span in _SPANS:
            start = now - span
            if start < self._free:
                break
            order = np.arange(start, now + 1) % len(self._flat)
            away = self._flat[order] - self._flat[order[0]]
            way = away[-1]
            square = float(way @ way)
            if square < _CHANGE**2 * way.size:
                continue
            share = away @ way / square  # of the way from X to Y
            step = np.diff(share)
            middle = (share > 0.15) & (share < 0.85)
            if middle.sum() < 3 or step.max() > 0.4 or step.min() < -0.1:
                continue
            mixed = (share * (1 - share))[middle].sum()
            bent = float((np.einsum("ij,ij->i", away, away) / square - share**2)[middle].sum() / mixed)
            if bent > _BENT or not self._is_mixture(order, share, middle, mixed):
                continue
            x, y = self._at(start), self._at(now)
            if x.blank or y.blank or likeness(x.bgr, y.bgr, _UNLIKE) >= _UNLIKE:
                continue
            first = start + int(np.argmax(share > 0.04))
            end = start + len(share) - int(np.argmax(share[::-1] < 0.96))
            score = square * (1 - bent)
            if self._dissolve is None or score > self._dissolve[0]:
                self._dissolve = (score, Transition("dissolve", first, end))

    def _is_mixture(self, order: np.ndarray, share: np.ndarray, middle: np.ndarray, mixed: float) -> bool:
        """Do the details between the ends come from both, and is there less of them than in both?"""
        fine = self._fine[order]
        ends = fine[[0, -1]]
        energy = np.einsum("ij,ij->i", fine, fine)
        lost = ((1 - share) * energy[0] + share * energy[-1] - energy)[middle].sum()
        if lost < _DIP * mixed * ((ends[1] - ends[0]) ** 2).sum():
            return False
        onto = ends @ fine[middle].T
        parts = np.linalg.solve(ends @ ends.T + 1e-3 * np.eye(2), onto)
        return bool((parts * onto).sum() > _EXPLAINED * energy[middle].sum())

    def _tell_dissolve(self, dissolve: Transition, told: list[Transition]) -> None:
        self._cuts = [c for c in self._cuts if not dissolve.first <= c <= dissolve.end]
        self._dissolve = None
        self._tell(dissolve, told)


def bleached(before: np.ndarray, now: np.ndarray) -> bool:
    """Has a flash, or a lamp that goes out, taken the details of a picture: more of it is white or black than before,
    or half of it is as it was? A short shot between two of one camera has details of its own everywhere.

    Args:
        before, now: uint8 (36, 64, 3).
    """
    box = picture_area(before, now)
    gone = [float(((p[box].max(2) > _WHITE) | (p[box].max(2) < _DARK)).mean()) for p in (before, now)]
    if gone[1] > gone[0] + _BLEACHED:
        return True
    height, width = (side // 2 for side in before.shape[:2])
    every = slice(None)
    halves = (
        (slice(0, height), every),
        (slice(height, None), every),
        (every, slice(0, width)),
        (every, slice(width, None)),
    )
    return any(likeness(before[half], now[half], _LIKE) >= _LIKE for half in halves)


def picture_area(a: np.ndarray, b: np.ndarray) -> tuple[slice, slice]:
    """The rows and columns without black bars: bars are the outer lines that are dark in both pictures.

    Args:
        a, b: uint8 (h, w, 3), of one size.
    """
    lit = np.maximum(a, b).max(2) > _DARK
    slices = []
    for axis, length in ((1, lit.shape[0]), (0, lit.shape[1])):
        lines = np.flatnonzero(lit.mean(axis) > 0.1)
        if len(lines) < length // 4:
            return slice(None), slice(None)
        low, high = int(lines[0]), int(lines[-1]) + 1
        slices.append(slice(low + (low > 0), high - (high < length)))  # the line at the edge is half bar
    return slices[0], slices[1]


def like(a: np.ndarray, b: np.ndarray) -> bool:
    """Are these two pictures of one shot?

    Args:
        a, b: uint8 (36, 64, 3).
    """
    return float(cv2.norm(a, b, cv2.NORM_L1)) < 1.5 * a.size or likeness(a, b, _LIKE) >= _LIKE


def likeness(a: np.ndarray, b: np.ndarray, enough: float = 1.0) -> float:
    """Correlation of two pictures' details where they match best when shifted; 1 = the same.

    Args:
        a, b: uint8 (h, w, 3), of one size.
        enough: nothing better is sought once this is reached.
    """
    rows, columns = picture_area(a, b)
    a, b = (_details(picture[rows, columns]) for picture in (a, b))
    h, w = a.shape
    top, side = int(0.15 * h), int(0.15 * w)
    best = -1.0
    for left in (side, 0, 2 * side):  # the middle of `a` is sought in `b`, then its left part (a pan), then its right
        part = a[top : h - top, left : left + w - 2 * side]
        best = max(best, float(cv2.matchTemplate(b, part, cv2.TM_CCOEFF_NORMED).max()))
        if best >= enough:
            break
    return best


def colours_alike(a: np.ndarray, b: np.ndarray) -> float:
    """How much the colours of two pictures have in common, 0..1 (Bhattacharyya), without black bars.

    Args:
        a, b: uint8 (h, w, 3), of one size.
    """
    box = picture_area(a, b)
    histograms = []
    for picture in (a, b):
        hsv = cv2.cvtColor(np.ascontiguousarray(picture[box]), cv2.COLOR_BGR2HSV)
        histogram = cv2.calcHist([hsv], [0, 1, 2], None, [12, 4, 4], [0, 180, 0, 256, 0, 256])
        histograms.append(histogram / histogram.sum())
    return colour_likeness(histograms[0], histograms[1])


def _details(bgr: np.ndarray, finest: float = 0.8) -> np.ndarray:
    grey = cv2.cvtColor(np.ascontiguousarray(bgr), cv2.COLOR_BGR2GRAY).astype(np.float32)
    return cv2.GaussianBlur(grey, (0, 0), finest) - cv2.GaussianBlur(grey, (0, 0), 5.0)


# ---- places


def places_of(shots: Sequence[Shot], layouts: Sequence[tuple[int, np.ndarray]]) -> list[int]:
    """Number of the place that each shot shows: shots from one camera, as it stood before and after others, are one.

    Args:
        shots: of a video, in order; the first begins at frame 0.
        layouts: (index of a frame, uint8 (h, w) small grey picture of it), in order.
    """
    if not layouts:
        return [0] * len(shots)
    lit = np.max([picture for _, picture in layouts], axis=0) > _DARK
    rows, columns = lit.mean(axis=1) > 0.1, lit.mean(axis=0) > 0.1
    if rows.sum() < 4 or columns.sum() < 4:
        rows, columns = np.ones_like(rows), np.ones_like(columns)
    indices = [index for index, _ in layouts]
    ends: list[np.ndarray] = []  # of every shot its first and its last picture, normalised
    for number, shot in enumerate(shots):
        until = shots[number + 1].begin if number + 1 < len(shots) else indices[-1] + 1
        mine = [k for k, index in enumerate(indices) if shot.begin <= index < until]
        mine = [k for k in mine if not any(one.mixes(indices[k]) for one in shots[number : number + 2])] or mine
        pictures = [layouts[k][1][np.ix_(rows, columns)].astype(np.float32).ravel() for k in (mine[:1] + mine[-1:])]
        ends.append(
            np.stack([normalised(p) for p in pictures]) if pictures else np.zeros((1, rows.sum() * columns.sum()))
        )
    places: list[int] = []
    for number, pair in enumerate(ends):
        alike = [float((ends[k] @ pair.T).max()) for k in range(number)]
        best = int(np.argmax(alike)) if alike else -1
        places.append(places[best] if best >= 0 and alike[best] >= _ONE_PLACE else max(places, default=-1) + 1)
    return places


def normalised(values: np.ndarray) -> np.ndarray:
    """The same values about their mean, of unit length: the product of two is their correlation.

    Args:
        values: float (N,).
    """
    values = values - values.mean()
    return values / max(float(np.linalg.norm(values)), 1e-6)
