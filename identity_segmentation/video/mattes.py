"""Who is to be drawn, and where they were seen -> everyone's matte in every frame. (Notebook section 7.)

A video is worked through in runs of about a second, each within one shot. A person is segmented where they are first
and last seen in a run, and between wherever the two do not agree on what lies between them: the mattes of both ends are
carried there along the motion, and where they differ, or are not on the person's head, a new key frame is made. So a
calm person costs two masks a second and a dancer as many as there are samples. Every key frame is held against the
heads and bodies of its frame (`belonging`) and against its neighbours in time: what two of three say, holds.

A part of a video begins anew, so that a resumed run draws the same as an undisturbed one.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from itertools import combinations, pairwise
from typing import NamedTuple

import cv2
import numpy as np

from ..errors import Cancelled
from ..geometry import decode_rle, drop_specks, soft_alpha, soft_at_edge
from ..types import Frame
from .analysis import Sample
from .belonging import Present, cover
from .carrying import between, difference, voted
from .clicks import touched
from .flow import to_full
from .motion import Motion, Patch, Soft, common, union, without_bars
from .runs import Run, Spanned
from .scene import HeadHere, Scene, Who, between_samples, heads_at, presents_in
from .segmenting import Segmenting

# Of what two carried mattes cover, the share in which they differ ...
_LOST = 0.12  # ... where the motion between is lost, from which it takes a key frame between them
_WRONG = 0.35  # ... anywhere, from which one of them is wrong and it takes one as well
_UNSURE = 0.2  # ... anywhere, from which a third one in a run has the casting vote
_ON_HEAD = 0.5  # share of a head's middle that a carried matte must cover
_CLEAR = 0.93  # mean likeness of neighbours from which nothing moves fast
_SAME_PLACE = 1.0  # sides of a head that another may be away a sample later and be the same one
_HALVED = 4  # frames between two samples from which it pays to look between them
_DETAIL, _LARGE = 2, 1000  # mattes have twice the working size, where a frame's longer side has more pixels
_FORGET = 0.9  # a frame: who is in front is settled over about ten
_IN_FRONT = 48  # of 255: by how much a matte must be surer to take pixels from somebody in front
_SAME = 0.37  # likeness (one standard distance of grey levels) from which the past has a say
_SOFT = 0.015  # of a person's height: how far an edge is soft
_SPECKS = 0.005  # of their area: what is a speck
_FAINT = 5  # of 255: a matte with nothing above it is none


class Placed(NamedTuple):
    """A frame, who is where in it, the size of the picture that their mattes are placed in, everybody's heads, and who
    should be seen."""

    frame: Frame
    softs: dict[Who, Soft]
    size: tuple[int, int]
    heads: dict[Who, HeadHere]
    present: set[Who]

    def mattes(self) -> dict[Who, np.ndarray]:
        """Everybody's matte at the size of the frame, uint8; empty ones are left out."""
        return {
            who: to_full(soft.part, soft.patch, self.size, self.frame.image)
            for who, soft in self.softs.items()
            if int(soft.part.max(initial=0)) > _FAINT
        }


def detail(image: np.ndarray) -> int:
    """How many times the working size mattes of frames like this have."""
    return _DETAIL if max(image.shape[:2]) > _LARGE else 1


class Mattes:
    """Mattes of one part's frames, run by run, carried along the optical flow.

    Args:
        scene: what to draw.
        samples: index of a frame -> what was seen in it.
        cancel: set it to stop before the next mask.
    """

    def __init__(self, scene: Scene, samples: dict[int, Sample], cancel: threading.Event | None = None):
        self.scene, self.samples, self.cancel = scene, samples, cancel
        self.segmenting = Segmenting(scene)
        self._before: dict[Who, Soft] = {}  # settled mattes of the last frame that two runs share
        self._last: dict[Who, Soft] = {}  # mattes of the newest frame, smoothed
        self._leaving: dict[Who, Soft] = {}  # people of the shot before, while it is mixed with this one
        self._front: dict[tuple[Who, Who], float] = {}
        self._ahead: dict[tuple[Who, Who], bool] = {}

    def runs(self, runs: Iterable[Spanned]) -> Iterator[list[Placed]]:
        """The frames of every run of the part with everybody's mattes.

        Args:
            runs: of the part, in order.
        """
        for run, pictured in runs:
            yield self._run(run, [frame for frame, _ in pictured], [grey for _, grey in pictured])

    def _run(self, run: Run, frames: list[Frame], greys: list[np.ndarray]) -> list[Placed]:
        height, width = greys[0].shape
        by = detail(frames[0].image)
        motion = Motion(greys, self.scene.flow, (by * width, by * height))
        if run.begins:
            self._leaving = {who: _solid(soft) for who, soft in self._last.items()}
            self._before, self._last, self._front, self._ahead = {}, {}, {}, {}
        mattes = {**self._carried(run, frames, motion), **self._regions(frames, motion)}
        whole = min(max(0, run.mixed[1] - run.begin), len(frames) - 1)  # the first frame that is not mixed
        placed, picture = [], without_bars(greys, motion.size)
        for i, frame in enumerate(frames):
            found = ((who, _cut_to(softs[max(i, whole)], picture)) for who, softs in mattes.items())
            here = self._settled({who: soft for who, soft in found if soft is not None})
            here = self._touched(here, frame.index, motion)
            self._last = {who: self._smoothed(who, soft, motion, i) for who, soft in here.items()}
            if i < len(frames) - run.shared:
                heads = heads_at(self.scene, frame.index, self.samples)
                present = {who for who, head in heads.items() if head.near}
                present |= set(here) if frame.index >= run.mixed[1] else set()
                placed.append(Placed(frame, self._faded(run, frame.index), motion.size, heads, present))
        return placed

    # ---- carried from key frames

    def _carried(self, run: Run, frames: list[Frame], motion: Motion) -> dict[Who, list[Soft | None]]:
        """{person: their matte, or None, in every frame of the run}."""
        present = {
            i: presents_in(self.scene, self.samples[frame.index])
            for i, frame in enumerate(frames)
            if frame.index in self.samples and (frame.index >= run.mixed[1] or not run.mixed[1])
        }
        seen = {who: [i for i, people in present.items() if who in people] for who in self.scene.drawn}
        keys: dict[Who, dict[int, Soft]] = {}
        for who, places in seen.items():
            if places:
                keys[who] = _Keys(self, frames, motion, who, places, present).found()
        keys = self._helped({who: voted(mattes, motion) for who, mattes in keys.items()}, frames, motion, present)
        self._before = {
            who: mattes[len(frames) - 1] for who, mattes in keys.items() if run.shared and len(frames) - 1 in mattes
        }
        self.segmenting.forget()
        unseen = {who: [i for i in present if i not in places] for who, places in seen.items()}
        for who, places in seen.items():
            unseen[who] += _taken_over(who, places, present)
        return {who: between(mattes, unseen[who], len(frames), motion) for who, mattes in keys.items() if mattes}

    def _helped(
        self, keys: dict[Who, dict[int, Soft]], frames: list[Frame], motion: Motion,
        present: dict[int, dict[Who | None, list[Present]]],
    ) -> dict[Who, dict[int, Soft]]:  # fmt: skip
        """Everybody's key frames in a run, and more of them where something better than the motion has a say."""
        return keys

    def key(self, who: Who, frame: Frame, motion: Motion, sample: Sample | None = None) -> Soft | None:
        """Somebody's matte in a frame where they are seen; None where no mask is theirs.

        Args:
            who: whose.
            frame: of the run.
            motion: of the run.
            sample: who is seen in it; None = as the analysis has it.

        Raises:
            Cancelled: that was asked for.
        """
        if self.cancel is not None and self.cancel.is_set():
            raise Cancelled
        segment = self.segmenting.of(who, frame, sample or self.samples[frame.index])
        return None if segment is None else motion.soft(soft_alpha(segment))

    def settled(self, who: Who) -> Soft | None:
        """Somebody's settled matte in the first frame of a run, where it is the last one of the run before."""
        return self._before.get(who)

    def _regions(self, frames: list[Frame], motion: Motion) -> dict[Who, list[Soft | None]]:
        """Mattes of followed regions: as they were found where they were found, carried to the frames between."""
        result: dict[Who, list[Soft | None]] = {}
        for track, known in self.scene.analysis.regions.items():
            who = self.scene.names[track].name
            if who is None or who not in self.scene.drawn:
                continue
            found = {
                i: motion.soft(decode_rle(known[frame.index]).astype(np.uint8) * 255)
                for i, frame in enumerate(frames)
                if frame.index in known
            }
            mattes = {i: soft for i, soft in found.items() if soft is not None}
            if mattes:
                # It was looked for in every second frame: further away from where it was found it was not seen.
                gone = [i for i in range(len(frames)) if all(abs(i - k) > 1 for k in mattes)]
                result[who] = between(mattes, gone, len(frames), motion)
        return result

    # ---- between people, and over time

    def _settled(self, softs: dict[Who, Soft]) -> dict[Who, Soft]:
        """The same mattes, every pixel at most one person's: of two claims the surer one, or that of the one in front.

        Who is in front shows in many frames; a single one does not change it.
        """
        result = dict(softs)
        for a, b in combinations((who for who in self.scene.drawn if who in softs), 2):
            patch = common(result[a].patch, result[b].patch)
            if patch is None:
                continue
            one, other = result[a].within(patch), result[b].within(patch)
            both = (one > 0) & (other > 0)
            lead = one.astype(np.int16) - other
            sure = both & (one > 127) & (other > 127)
            if sure.any():
                mean = _FORGET * self._front.get((a, b), 0.0) + (1 - _FORGET) * float(lead[sure].mean())
                self._front[a, b] = mean
                if abs(mean) > _IN_FRONT / 4:  # near nothing the newest frame would say who it is
                    self._ahead[a, b] = mean > 0
            if not both.any():
                continue
            mine = lead + (_IN_FRONT if self._ahead.get((a, b), True) else -_IN_FRONT) >= 0
            result[a] = _less(result[a], patch, np.where(both & ~mine, 255 - other, 255).astype(np.uint8))
            result[b] = _less(result[b], patch, np.where(both & mine, 255 - one, 255).astype(np.uint8))
        return result

    def _touched(self, softs: dict[Who, Soft], index: int, motion: Motion) -> dict[Who, Soft]:
        """The same mattes with what was clicked added and taken out. Clicks are of whole people, not of things."""
        clicks = () if self.scene.thing else self.scene.analysis.clicks
        result = dict(softs)
        for who in {click.name for click in clicks if click.name in self.scene.drawn}:
            added, taken = touched(clicks, who, index, motion.shape)
            if added is not None and (soft := motion.soft(_coded(added))) is not None:
                patch = union([soft.patch, result[who].patch if who in result else None])
                assert patch is not None
                before = result[who].within(patch) if who in result else np.uint8(0)
                result[who] = Soft(patch, np.maximum(soft.within(patch), before))
            if taken is not None and who in result and (soft := motion.soft(_coded(taken))) is not None:
                result[who] = _less(result[who], result[who].patch, 255 - soft.within(result[who].patch))
        return result

    def _smoothed(self, who: Who, soft: Soft, motion: Motion, i: int) -> Soft:
        """An exponential average along the motion, of a span of `smoothing` frames: the newest weighs 2 / (span + 1).
        Where the pictures do not match, the past has nothing to say."""
        before = self._last.get(who)
        newest = 2 / (self.scene.smoothing + 1)
        if before is None or newest >= 1:
            return soft
        past = before.within(soft.patch) if i == 0 else motion.brought(before, i, i - 1, soft.patch)
        known = 1.0 if i == 0 else motion.part(motion.likeness(i, i - 1), soft.patch) > _SAME
        share = (1 - newest) * known
        mixed = soft.part + share * (past.astype(np.float32) - soft.part)
        return Soft(soft.patch, np.rint(mixed).astype(np.uint8))

    def _faded(self, run: Run, index: int) -> dict[Who, Soft]:
        """The newest mattes as shown; while two shots are mixed, those of both, by how much is seen of each."""
        begin, end = run.mixed
        shown = {who: _solid(soft) for who, soft in self._last.items()}
        if not begin <= index < end:
            return shown
        share = (index - begin + 1) / (end - begin + 1)
        leaving, coming = (max(0.0, 1 - 2 * share), max(0.0, 2 * share - 1)) if run.dark else (1 - share, share)
        if not self.scene.fading:
            leaving = coming = 1.0
        faded = {who: _weaker(soft, coming) for who, soft in shown.items()}
        for who, soft in self._leaving.items():
            old = _weaker(soft, leaving)
            if who in faded:
                patch = union([old.patch, faded[who].patch])
                assert patch is not None
                old = Soft(patch, np.maximum(old.within(patch), faded[who].within(patch)))
            faded[who] = old
        return faded


class _Keys:
    """One person's key frames in a run: as few as will do."""

    def __init__(
        self, mattes: Mattes, frames: list[Frame], motion: Motion, who: Who, seen: list[int],
        present: dict[int, dict[Who | None, list[Present]]],
    ):  # fmt: skip
        self.mattes, self.frames, self.motion, self.who, self.seen = mattes, frames, motion, who, seen
        self.present = present
        self.known: dict[int, Soft | None] = {}

    def found(self) -> dict[int, Soft]:
        """frame of the run -> matte there."""
        seen = list(self.seen)
        while seen and self._at(seen[0]) is None:
            del seen[0]
        while seen and self._at(seen[-1]) is None:
            del seen[-1]
        if seen:
            self._refine(seen, True)
        return {i: soft for i, soft in sorted(self.known.items()) if soft is not None}

    def _at(self, i: int) -> Soft | None:
        if i not in self.known:
            before = self.mattes.settled(self.who) if i == 0 else None
            self.known[i] = before or self.mattes.key(self.who, self.frames[i], self.motion)
        return self.known[i]

    def _refine(self, seen: Sequence[int], whole: bool = False) -> None:
        """More key frames between two, where what they say of the samples between is doubtful."""
        first, last = self._at(seen[0]), self._at(seen[-1])
        if first is None or last is None:
            return
        if len(seen) < 3:
            self._halve(seen[0], first, seen[-1], last)
            return
        wrong, ends = _UNSURE if whole else _WRONG, (seen[0], first, seen[-1], last)
        # What goes to and fro faster than it is sampled agrees in the samples, and not between them.
        halves = ((a + b) // 2 for a, b in pairwise(seen) if b - a >= _HALVED)
        halves = (i for i in halves if not self._clear(i, first.patch))
        if not any(self._doubtful(i, *ends, wrong) for i in seen[1:-1]) and not any(
            difference(self.motion, i, *ends)[1] > _LOST for i in halves
        ):
            return
        middle = len(seen) // 2
        order = sorted(range(1, len(seen) - 1), key=lambda k: abs(k - middle))
        chosen = next((k for k in order if self._at(seen[k]) is not None), None)
        if chosen is not None:
            self._refine(seen[: chosen + 1])
            self._refine(seen[chosen:])

    def _clear(self, i: int, patch: Patch) -> bool:
        """Does a frame show what the one before it does, where the motion leads?"""
        return float(self.motion.part(self.motion.likeness(i, i - 1), patch).mean()) > _CLEAR

    def _halve(self, a: int, first: Soft, b: int, last: Soft) -> None:
        """A key frame half-way between two samples that are neighbours, where fast motion has lost a hand or a foot."""
        middle = (a + b) // 2
        if b - a < _HALVED or any(a < i < b for i in self.present):
            return
        if difference(self.motion, middle, a, first, b, last)[1] < _LOST:
            return
        before, after = (self.mattes.samples[self.frames[i].index] for i in (a, b))
        made = between_samples(before, after, self.frames[middle].index)
        soft = self.mattes.key(self.who, self.frames[middle], self.motion, made)
        if soft is not None:
            self.known[middle] = soft

    def _doubtful(self, i: int, a: int, first: Soft, b: int, last: Soft, wrong: float) -> bool:
        """Do the mattes of two key frames, carried to a sample, differ, or miss the head, or lie on another's?"""
        motion = self.motion
        differ, lost = difference(motion, i, a, first, b, last)
        if differ > wrong or lost > _LOST:
            return True
        if self.mattes.scene.thing:
            return False  # a thing is not on its owner's head
        scale = motion.size[0] / self.frames[i].image.shape[1]

        def covered(person: Present) -> float:
            assert person.head is not None
            head = person.head * scale
            patch = motion.around(head)
            if patch is None:
                return 0.0
            one, other = motion.brought(first, i, a, patch), motion.brought(last, i, b, patch)
            return cover(cv2.addWeighted(one, 0.5, other, 0.5, 0), head - np.tile(patch[:2], 2))

        mine = self.present[i][self.who][0]
        if mine.seen and covered(mine) < _ON_HEAD:
            return True
        others = (p for who, people in self.present[i].items() if who != self.who for p in people)
        return any(p.seen and p.apart_from(mine) and covered(p) >= _ON_HEAD for p in others)


def _taken_over(who: Who, seen: Sequence[int], present: dict[int, dict[Who | None, list[Present]]]) -> list[int]:
    """Frames half-way to the samples before and after somebody is seen, where somebody else's head is in the place of
    theirs by then: one body that changes its name is nobody's twice.

    Args:
        who: the person.
        seen: frames in which they are seen, in order.
        present: frame that was looked at -> everybody in it.
    """
    found = []
    for edge, beyond in ((seen[:1], [i for i in present if seen and i < seen[0]][-1:]),
                         (seen[-1:], [i for i in present if seen and i > seen[-1]][:1])):  # fmt: skip
        for a, b in zip(edge, beyond, strict=False):
            mine = present[a][who][0].head
            others = (person.head for people in present[b].values() for person in people)
            if mine is not None and any(o is not None and _apart(mine, o) < _SAME_PLACE for o in others):
                found.append(-(-(a + b) // 2) - (b < a))
    return found


def _apart(head: np.ndarray, other: np.ndarray) -> float:
    """How far two heads are from one another, in sides of the first."""
    way = (head[:2] + head[2:] - other[:2] - other[2:]) / 2
    return float(np.hypot(*way)) / max(1.0, float((head[2:] - head[:2]).mean()))


def _cut_to(soft: Soft | None, picture: Patch) -> Soft | None:
    """What of a matte is in the picture."""
    patch = None if soft is None else common(soft.patch, picture)
    return None if soft is None or patch is None else Soft(patch, soft.within(patch))


def _coded(share: np.ndarray) -> np.ndarray:
    return cv2.convertScaleAbs(share, alpha=255)


def _less(soft: Soft, patch: tuple[int, int, int, int], most: np.ndarray) -> Soft:
    """A matte, at most so much within a patch."""
    part = soft.part.copy()
    x0, y0 = soft.patch[:2]
    view = part[patch[1] - y0 : patch[3] - y0, patch[0] - x0 : patch[2] - x0]
    np.minimum(view, most, out=view)
    return Soft(soft.patch, part)


def _solid(soft: Soft) -> Soft:
    """A matte that is soft at its edge alone, without specks: where mattes of several frames differ, their mean is half
    there all over, and nobody is."""
    inside = soft.part > 127
    area = int(np.count_nonzero(inside))
    if not area:
        return Soft(soft.patch, np.zeros_like(soft.part))
    inside = drop_specks(inside, _SPECKS * area)
    share = soft_at_edge(soft.part.astype(np.float32) / 255, inside, _SOFT * float(inside.any(1).sum()))
    return Soft(soft.patch, _coded(share))


def _weaker(soft: Soft, share: float) -> Soft:
    return Soft(soft.patch, cv2.convertScaleAbs(soft.part, alpha=share))
