"""Mattes carried along the motion, with the segmenter's video tracker where that is doubtful. (Notebook section 7.)

A window lies between two key frames of a person. Where what both say of the frames between is doubtful, people who are
known in one end are followed to the other, from either end, together with those they touch. What is found becomes key
frames of its own where both ways arrive at what is known there; otherwise the carried mattes stay.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Hashable, Iterator, Mapping
from itertools import pairwise

import cv2
import numpy as np

from ..engines.protocols import VideoTracker
from ..errors import Cancelled
from ..geometry import soft_alpha
from ..images import shrink_to
from ..types import Frame, Segment
from .analysis import Sample
from .belonging import Present, cover
from .carrying import difference
from .flow import to_full
from .mattes import Mattes
from .motion import Motion, Soft, common, union
from .scene import Scene, Who

logger = logging.getLogger(__name__)

_TRACKER_SIDE = 1280  # pixels; the trackers see 1008
_SHORTEST = 2  # frames from one end of a window to the other
_OFFERED = 12  # frames of a window that the tracker is shown, about: every n-th of a longer one
_UNSURE = 0.2  # share in which two carried mattes differ, from which what is between is doubtful
_THIN = 0.1  # similarity by which a person's name leads, below which half of that share is enough
_ON_HEAD = 0.5  # share of a head's middle that a matte must cover
_NEAR = 0.01  # of the picture's longer side: how near two people touch
_SURE = 0.8  # probability of the tracker that the person is there, from which it is believed
_ARRIVES = 0.7  # IoU with what is known at the other end, from which it has arrived there

Presence = Mapping[int, Mapping[Who | None, list[Present]]]


class WindowedMattes(Mattes):
    """Mattes of one part's frames, carried along the optical flow, and by a tracker in windows; see the module.

    Attributes:
        calls: how often the tracker was asked; twice a window.
        windows: how many windows were doubtful.
        taken: of these, how many the tracker settled.
    """

    def __init__(self, scene: Scene, samples: dict[int, Sample], cancel: threading.Event | None = None):
        super().__init__(scene, samples, cancel)
        self.calls = self.windows = self.taken = 0

    def _helped(
        self, keys: dict[Who, dict[int, Soft]], frames: list[Frame], motion: Motion, present: Presence
    ) -> dict[Who, dict[int, Soft]]:
        tracker = self.scene.segmenter
        if not isinstance(tracker, VideoTracker):
            return keys
        run = _Known(self.scene, keys, frames, motion, present)
        result = {who: dict(mattes) for who, mattes in keys.items()}
        for who, mattes in keys.items():
            for a, b in pairwise(sorted(mattes)):
                rivals = run.rivals(who, a, b)
                if b - a >= _SHORTEST and (rivals or run.doubtful(who, a, b)):
                    result[who] |= self._settle(tracker, run, [who, *rivals], a, b)
        if self.windows:
            logger.debug("the tracker settled %d of %d windows in %d calls", self.taken, self.windows, self.calls)
        return result

    def _settle(self, tracker: VideoTracker, run: _Known, people: list[Who], a: int, b: int) -> dict[int, Soft]:
        """Key frames of the first of some people between two of theirs; none where the tracker is not believed."""
        self.windows += 1
        who = people[0]
        places = [*range(a, b, max(1, (b - a) // _OFFERED)), b]
        images = [run.small(i) for i in places]
        ways = {}
        for seed, far in ((0, len(places) - 1), (len(places) - 1, 0)):
            masks: dict[Hashable, np.ndarray] = {
                one: mask for one in people if (mask := run.mask(one, places[seed])) is not None
            }
            ways[seed] = self._followed(tracker, images, {seed: masks}, who)
            arrived = ways[seed].get(far)
            if arrived is None or arrived.score < _SURE or run.likeness(who, places[far], arrived) < _ARRIVES:
                return {}
        found = {}
        for place, i in enumerate(places[1:-1], start=1):
            segment = ways[0 if i - a <= b - i else len(places) - 1].get(place)
            if segment is not None and segment.score >= _SURE and run.may_be(who, i, segment):
                soft = run.motion.soft(soft_alpha(segment))
                if soft is not None:
                    found[i] = soft
        self.taken += bool(found)
        return found

    def _followed(
        self, tracker: VideoTracker, images: list[np.ndarray], seeds: Mapping[int, Mapping[Hashable, np.ndarray]],
        who: Who,
    ) -> dict[int, Segment]:  # fmt: skip
        self.calls += 1
        result = {}
        for place, tracked in tracker.track(images, seeds):
            if self.cancel is not None and self.cancel.is_set():
                raise Cancelled
            if (segment := tracked.get(who)) is not None and segment.area:
                result[place] = segment
        return result


class _Known:
    """What the key frames of a run say of everybody."""

    def __init__(
        self, scene: Scene, keys: dict[Who, dict[int, Soft]], frames: list[Frame], motion: Motion, present: Presence
    ):
        self.scene, self.keys, self.frames, self.motion, self.present = scene, keys, frames, motion, present
        self._near = max(1, round(_NEAR * max(motion.size)))
        leads = {said.name: said.margin for said in scene.names.values() if said.name is not None and not said.by_hand}
        self._thin = {name for name, lead in leads.items() if lead < _THIN}

    def _between(self, a: int, b: int) -> Iterator[int]:
        """The samples between two frames, and the frame in their middle."""
        yield from sorted({*(i for i in self.present if a < i < b), (a + b) // 2} - {a, b})

    def doubtful(self, who: Who, a: int, b: int) -> bool:
        """Do the mattes of two key frames, carried to the frames between, differ, or miss the face that is there?"""
        first, last = self.keys[who][a], self.keys[who][b]
        most = _UNSURE / 2 if who in self._thin else _UNSURE
        for i in self._between(a, b):
            if difference(self.motion, i, a, first, b, last)[0] > most:
                return True
            heads = self._heads(i, who)
            if heads and self._covered(who, i, heads[0]) < _ON_HEAD:
                return True
        return False

    def rivals(self, who: Who, a: int, b: int) -> list[Who]:
        """Who touches somebody at either end of a window, or between."""
        return [
            other
            for other in self.keys
            if other != who and any(self._touch(who, other, i) for i in (a, *self._between(a, b), b))
        ]

    def _touch(self, who: Who, other: Who, i: int) -> bool:
        one, two = self._carried(who, i), self._carried(other, i)
        patch = None if one is None or two is None else common(one.patch, two.patch)
        if one is None or two is None or patch is None:
            return False
        wide = cv2.dilate(one.within(patch), np.ones((2 * self._near + 1,) * 2, np.uint8))
        return bool(((wide > 127) & (two.within(patch) > 127)).any())

    def _carried(self, who: Who, i: int) -> Soft | None:
        """Somebody's matte in a frame, carried from their nearest key frame of the run."""
        at = min(self.keys[who], key=lambda k: abs(k - i), default=None)
        if at is None:
            return None
        if at == i:
            return self.keys[who][at]
        patch = self.motion.reach(self.keys[who][at], i, at)
        return None if patch is None else Soft(patch, self.motion.brought(self.keys[who][at], i, at, patch))

    def _heads(self, i: int, who: Who) -> list[np.ndarray]:
        """The faces of somebody that are truly seen in a frame, at the size of mattes."""
        people = self.present.get(i, {}).get(who, [])
        scale = self.motion.size[0] / self.frames[i].image.shape[1]
        return [person.head * scale for person in people if person.seen and person.head is not None]

    def _covered(self, who: Who, i: int, head: np.ndarray) -> float:
        soft, patch = self._carried(who, i), self.motion.around(head)
        if soft is None or patch is None:
            return 0.0
        return cover(soft.within(patch), head - np.tile(patch[:2], 2))

    def small(self, i: int) -> np.ndarray:
        """A frame, as the tracker is shown it."""
        return shrink_to(self.frames[i].image, _TRACKER_SIDE)[0]

    def mask(self, who: Who, i: int) -> np.ndarray | None:
        """Somebody's mask in a frame, bool, at the size that the tracker is shown; None where there is none."""
        soft = self._carried(who, i)
        if soft is None:
            return None
        mask = to_full(soft.part, soft.patch, self.motion.size, self.small(i)) > 127
        return mask if mask.any() else None

    def likeness(self, who: Who, i: int, segment: Segment) -> float:
        """IoU of what the tracker found in a key frame with what is known there."""
        soft = self.motion.soft(soft_alpha(segment))
        patch = None if soft is None else union([soft.patch, self.keys[who][i].patch])
        if soft is None or patch is None:
            return 0.0
        one, two = soft.within(patch) > 127, self.keys[who][i].within(patch) > 127
        return int(np.count_nonzero(one & two)) / max(1, int(np.count_nonzero(one | two)))

    def may_be(self, who: Who, i: int, segment: Segment) -> bool:
        """Does a mask contradict no face that is seen in its frame: is it on the own one, and on nobody else's?

        Faces in no track count too: they are somebody's, and not this person's.
        """
        if i not in self.present:
            return True
        scale = segment.mask.shape[1] / self.motion.size[0]
        mine = [cover(segment.mask, head * scale) for head in self._heads(i, who)]
        if mine:
            return mine[0] >= _ON_HEAD
        others = (head for other in self.present[i] if other != who for head in self._heads(i, other))  # type: ignore[arg-type]
        return all(cover(segment.mask, head * scale) < _ON_HEAD for head in others)
