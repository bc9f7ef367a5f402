"""Mattes carried through a shot by the segmenter's own video tracker, held against every face. (Notebook section 7.)"""

from __future__ import annotations

import threading
from collections.abc import Hashable, Iterable, Iterator, Sequence
from itertools import pairwise

import cv2
import numpy as np

from ..engines.protocols import VideoTracker
from ..errors import Cancelled
from ..geometry import soft_alpha
from ..images import shrink_to, unpacked
from ..types import Face, Frame
from .analysis import Sample
from .belonging import cover
from .mattes import Mattes, detail
from .motion import Motion, Soft
from .naming import face_weight
from .runs import Run
from .scene import Scene, Who, people_in, presents_in

_TRACKER_SIDE = 1280  # pixels; the trackers see 1008
_ON_FACE = 0.5  # share of the middle of a face that a person's matte must cover


class TrackedMattes(Mattes):
    """Mattes of one part's frames, propagated by the segmenter's own video tracker.

    In every shot each person is seeded with their mask at their clearest face, propagated forward and backward,
    and held against every face seen, of whomever: a mask that is not on the person's face, or is on somebody else's
    while theirs is not to be seen, is thrown away around that sample, and the person is seeded anew there.
    """

    def __init__(
        self,
        scene: Scene,
        samples: dict[int, Sample],
        frames: Iterator[Frame],
        cancel: threading.Event | None = None,
    ):
        super().__init__(scene, samples, cancel)
        self.store = _FrameStore()
        self.known: dict[int, dict[Who, bytes]] = {}
        self._nobodys: dict[int, list[np.ndarray]] = {}  # frame of the part -> faces there that are in no track
        count = 0
        for frame in frames:
            self.store.add(frame)
            if not count:
                height, width = scene.flow.grey(frame.image).shape
                by = detail(frame.image)
                self.size = (by * width, by * height)
            count += 1
        if not count:
            return
        begins = [shot.begin - self.store.first for shot in scene.shots]
        bounds = [0, *(begin for begin in begins if 0 < begin < count)]
        for begin, end in pairwise([*bounds, count]):
            self._follow(begin, end)

    def _carried(self, run: Run, frames: list[Frame], motion: Motion) -> dict[Who, list[Soft | None]]:
        result: dict[Who, list[Soft | None]] = {}
        for i, frame in enumerate(frames):
            for who, data in self.known.get(frame.index, {}).items():
                result.setdefault(who, [None] * len(frames))[i] = motion.soft(_unpacked(data))
        return result

    def _follow(self, begin: int, end: int) -> None:
        """Track everyone through one shot of the part, and again where the faces say otherwise."""
        faces: dict[Who, dict[int, Face]] = {}  # who -> frame of the part -> their face
        turned: dict[Who, dict[int, Face]] = {}  # ... and where their body alone was seen
        self._nobodys = {}
        for i in range(begin, end):
            sample = self.samples.get(self.store.first + i)
            if sample is not None:
                strangers = presents_in(self.scene, sample).get(None, [])
                self._nobodys[i] = [p.head for p in strangers if p.seen and p.head is not None]
            for who, face, _, seen in people_in(self.scene, sample) if sample is not None else ():
                if seen != "region":
                    (faces if seen == "face" else turned).setdefault(who, {})[i] = face
        drawn = [who for who in faces if who in self.scene.drawn]
        clearest = {who: _clearest(faces[who], faces[who]) for who in drawn}
        for who in turned:  # turned away through the whole shot: begun in the middle of what was seen
            if who in self.scene.drawn and who not in faces:
                clearest[who] = sorted(turned[who])[len(turned[who]) // 2]
        self._track(clearest, dict.fromkeys(clearest, (begin, end)))
        for who in drawn:
            reach = self._drop_contradicted(who, faces, clearest[who], begin, end)
            anew = [i for i in reach if i in faces[who]]
            if anew:
                best = _clearest(faces[who], anew)
                self._track({who: best}, {who: reach[best]})
                self._drop_contradicted(who, faces, best, begin, end)

    def _drop_contradicted(self, who: Who, faces, seed: int, begin: int, end: int) -> dict[int, tuple[int, int]]:
        """Throw a person's mattes away half-way around every sample that speaks against them; returns the samples,
        with the frames thrown away around each."""
        wrong = self._contradicted(who, faces) - {seed}
        good = [begin - 1, *sorted(set(faces[who]) - wrong), end]
        reach = {}
        for i in sorted(wrong):
            low, high = max(g for g in good if g < i), min(g for g in good if g > i)
            reach[i] = (max(begin, (low + i + 1) // 2), min(end, (i + high + 1) // 2))
            for index in range(*reach[i]):
                self.known.get(self.store.first + index, {}).pop(who, None)
        return reach

    def _track(self, whom: dict[Who, int], where: dict[Who, tuple[int, int]]) -> None:
        """Seed people at frames of the part, and write down what the tracker makes of the frames in `where`."""
        seeds: dict[int, dict[Hashable, np.ndarray]] = {}
        for index in sorted(set(whom.values())):
            mine = [who for who, at in whom.items() if at == index]
            sample = self.samples[self.store.first + index]
            found = self.segmenting.among(mine, self.store.image(index), sample, None, self.store.factor)
            masks: dict[Hashable, np.ndarray] = {
                who: found[who].mask for who in mine if who in found and found[who].area
            }
            if masks:
                seeds[index] = masks
        if not seeds:
            return
        low, high = min(b for b, _ in where.values()), max(e for _, e in where.values())
        part = {index - low: masks for index, masks in seeds.items()}
        tracker = self.scene.segmenter
        if not isinstance(tracker, VideoTracker):
            return
        for index, tracked in tracker.track(_Part(self.store, low, high), part):
            if self.cancel is not None and self.cancel.is_set():
                raise Cancelled
            for who, (begin, end) in where.items():
                segment = tracked.get(who)
                if segment is not None and segment.area and begin <= low + index < end:
                    values = cv2.resize(soft_alpha(segment), self.size, interpolation=cv2.INTER_AREA)
                    packed = cv2.imencode(".png", values)[1].tobytes()
                    self.known.setdefault(self.store.first + low + index, {})[who] = packed

    def _contradicted(self, who: Who, faces: dict[Who, dict[int, Face]]) -> set[int]:
        """Samples at which the matte is not on the person's face, or is on another's while theirs is not seen."""
        wrong = {i for i, face in faces[who].items() if self._cover(i, who, face.box) < _ON_FACE}
        unseen = ((i, heads) for i, heads in self._nobodys.items() if i not in faces[who])
        wrong |= {i for i, heads in unseen if any(self._cover(i, who, head) >= _ON_FACE for head in heads)}
        for other, seen in faces.items():
            if other != who:
                hidden = (i for i in seen if i not in faces[who])
                wrong |= {i for i in hidden if self._cover(i, who, seen[i].box) >= _ON_FACE}
        return wrong

    def _cover(self, index: int, who: Who, head: np.ndarray) -> float:
        """How much of the middle of a face (xyxy pixels of the video) the person's matte covers, 0..1."""
        data = self.known.get(self.store.first + index, {}).get(who)
        if data is None:
            return 0.0
        scale = self.size[0] / self.scene.analysis.header["width"]
        return cover(_unpacked(data), head * scale)


def _clearest(faces: dict[int, Face], among: Iterable[int]) -> int:
    """Of some frames, the one whose face says most."""
    return max(among, key=lambda i: face_weight(faces[i]))


class _FrameStore:
    """The frames of a part, small and compressed: all that a tracker sees, and ten seconds of it in 60 MB."""

    def __init__(self):
        self.first, self.factor = 0, 1.0
        self._data: list[bytes] = []

    def add(self, frame: Frame) -> None:
        """The next frame."""
        if not self._data:
            self.first = frame.index
        small, self.factor = shrink_to(frame.image, _TRACKER_SIDE)
        self._data.append(cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes())

    def image(self, index: int) -> np.ndarray:
        """A frame, by its place in the part."""
        return unpacked(self._data[index])


class _Part(Sequence[np.ndarray]):
    """Some frames of a store, unpacked as they are asked for."""

    def __init__(self, store: _FrameStore, begin: int, end: int):
        self._store, self._begin, self._end = store, begin, end

    def __len__(self) -> int:
        return self._end - self._begin

    def __getitem__(self, index):
        if not 0 <= index < len(self):
            raise IndexError(index)
        return self._store.image(self._begin + index)


def _unpacked(data: bytes) -> np.ndarray:
    return unpacked(data, cv2.IMREAD_GRAYSCALE)
