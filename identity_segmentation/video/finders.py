"""The pictures of a clip -> the objects in it, followed: by words, people, faces, or boxes drawn by hand.

Every finder gives: local id -> index of the frame -> (mask bool (H, W), box, score).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Sequence
from itertools import takewhile

import cv2
import numpy as np
from scipy.optimize import linear_sum_assignment

from ..engines import any_detector, known_nouns, noun_named, object_detector
from ..engines.protocols import (
    BoxSegmenter,
    FaceEngine,
    ObjectDetector,
    TextSegmenter,
    ThingSegmenter,
    WordTracker,
)
from ..errors import EngineUnavailable
from ..geometry import box_mask, mask_box, mask_iou, suppress_duplicates
from ..masks.instances import MANY, everyone, one_owner
from ..phrases import KINDS_OF_PEOPLE, parse_phrase
from ..types import Segment
from .box_tracks import BoxTracks
from .clip_settings import ClipSettings
from .cuts import CutDetector
from .flow import Flow
from .propagation import Propagator, box_opinion, box_seed

# Of a noun's boxes, chosen on a video of a herd; see `BoxTracks`.
_SURE, _FAINT = 0.4, 0.2
_ONE_THING = 0.45  # IoU from which two boxes of one picture are one thing's
_REDRAWN = 3  # frames from one drawing of a mask to the next
_STILL_ITSELF = 0.5  # IoU with the mask carried here from which a new drawing is averaged with it
_BESIDE = 0.08  # of the box's longer side: how far beyond it the thing may reach
_SAME = 0.2  # IoU of two masks in neighbouring sampled frames from which they are one object
_LOST = 5  # sampled frames that an object outlives unseen
Seen = dict[int, tuple[np.ndarray, np.ndarray, float]]


class Finder(ABC):
    """Finds the objects of a clip and follows each.

    Attributes:
        id: what finds: part of the cache key of a clip.
        keeps_ids: does `find` go on with the ids of the clip before, rather than give new ones?
    """

    keeps_ids = False

    def __init__(self, engines: str):
        self.id = f"{type(self).__name__} {engines}"

    @abstractmethod
    def find(
        self, images: list[np.ndarray], seeds: list[tuple[int, Sequence[float]]], known: dict[int, np.ndarray]
    ) -> dict[Hashable, Seen]:
        """Every object of a clip: local id -> where it was seen.

        Args:
            images: the clip's pictures, uint8 (H, W, 3), of one size.
            seeds: (index of a picture, xyxy box) of boxes drawn by hand in this clip.
            known: id -> bool (H, W) in the last picture of the clip before.
        """


class _ByTracker(Finder):
    """The engine's own word tracker: one pass, several instances, late comers included."""

    def __init__(self, tracker: WordTracker, thing: str, threshold: float):
        super().__init__(tracker.id)
        self.tracker, self.thing, self.threshold = tracker, thing, threshold

    def find(self, images, seeds, known) -> dict[Hashable, Seen]:
        found: dict[Hashable, Seen] = {}
        for index, row in enumerate(self.tracker.follow_words(images, [self.thing], self.threshold)):
            for _, number, segment in row:
                found.setdefault(number, {})[index] = (segment.mask, segment.box, segment.score)
        return found


class _EveryFrame(Finder):
    """Instances of every frame, joined by overlap; an object unseen for a while is taken up again where it was."""

    threshold = 0.0

    @abstractmethod
    def segments(self, image: np.ndarray) -> list[Segment]:
        """Every instance in one picture."""

    def find(self, images, seeds, known) -> dict[Hashable, Seen]:
        found: dict[Hashable, Seen] = {}
        last: dict[Hashable, tuple[int, np.ndarray]] = {}
        cuts = CutDetector()
        for index, image in enumerate(images):
            if cuts.update(image):
                last = {}
            segments = [s for s in self.segments(image) if s.score >= self.threshold and s.area]
            keys = [k for k, (when, _) in last.items() if index - when <= _LOST]
            matched = dict(matched_masks([s.mask for s in segments], [last[k][1] for k in keys]))
            for i, segment in enumerate(segments):
                number = keys[matched[i]] if i in matched else len(found) + 1
                found.setdefault(number, {})[index] = (segment.mask, segment.box, segment.score)
                last[number] = (index, segment.mask)
        return found


class _ByWords(_EveryFrame):
    """What an engine finds for a word."""

    def __init__(self, segmenter: TextSegmenter, thing: str, threshold: float):
        super().__init__(segmenter.id)
        self.segmenter, self.thing, self.threshold = segmenter, thing, threshold

    def segments(self, image: np.ndarray) -> list[Segment]:
        return self.segmenter.by_text(self.segmenter.encode(image), self.thing)


class _People(_EveryFrame):
    """Everybody, by engines that know no words. A person who was found is one, whatever the mask is worth."""

    def __init__(self, segmenter: BoxSegmenter, face_engine: FaceEngine, detector: ObjectDetector | None):
        super().__init__(f"{segmenter.id} {face_engine.id} {detector.id if detector else None}")
        self.segmenter, self.face_engine, self.detector = segmenter, face_engine, detector

    def segments(self, image: np.ndarray) -> list[Segment]:
        return everyone(image, self.segmenter, self.face_engine, self.detector)


class _Faces(_EveryFrame):
    """Every face, as the oval in its box."""

    def __init__(self, face_engine: FaceEngine, threshold: float):
        super().__init__(face_engine.id)
        self.face_engine, self.threshold = face_engine, threshold

    def segments(self, image: np.ndarray) -> list[Segment]:
        ovals = []
        for face in self.face_engine.faces(image, embed=False):
            x, y = face.centre
            mask = _oval(image.shape, face.box)
            box = mask_box(mask)
            if box is not None and 0 <= x < image.shape[1] and 0 <= y < image.shape[0]:
                ovals.append(Segment(mask, face.score, box, self.face_engine.id))
        return ovals


class _Things(Finder):
    """Everything that a detector has a noun for: boxes in every picture, joined to tracks, a mask in each box.

    Masks are drawn anew in every few pictures, and carried along the optical flow in between.
    """

    keeps_ids = True

    def __init__(self, detector: ObjectDetector, segmenter: ThingSegmenter, noun: str, frame_step: int):
        super().__init__(f"{segmenter.id} {detector.id}")
        self.detector, self.segmenter, self.noun = detector, segmenter, noun
        self.redrawn = max(1, round(_REDRAWN / frame_step))

    def find(self, images, seeds, known) -> dict[Hashable, Seen]:
        tracks = BoxTracks(_SURE, _FAINT)
        for number, mask in known.items():
            if (box := mask_box(mask)) is not None:
                tracks.begin(number, box, images[0])
        cuts = CutDetector()
        shots = []
        for index, image in enumerate(images):
            shots.append(cuts.update(image))
            if shots[-1]:
                tracks.cut()
            found = self.detector.detect(image, (self.noun,), least=_FAINT)
            boxes, scores = np.array([d.box for d in found]).reshape(-1, 4), np.array([d.score for d in found])
            kept = suppress_duplicates(boxes, scores, _ONE_THING, contained=False)
            tracks.update(index, image, [found[k].box for k in kept], [found[k].score for k in kept])
        return self._drawn(images, shots, tracks.things())

    def _drawn(self, images, shots, things) -> dict[Hashable, Seen]:
        """A mask in every box of every track; each pixel is one thing's at the most."""
        found: dict[Hashable, Seen] = {}
        flow = Flow()
        grey: np.ndarray | None = None
        shares: dict[Hashable, np.ndarray] = {}
        for index, image in enumerate(images):
            before, grey = grey, flow.grey(image)
            back = None if before is None or shots[index] else flow.between(grey, before)
            here = {key: seen[index] for key, seen in things.items() if index in seen}
            carried = {k: flow.fetch(shares[k], back) for k in here if k in shares and back is not None}
            due = [k for k in here if k not in carried or (index - min(things[k])) % self.redrawn == 0]
            shares = {k: self._blended(carried.get(k), d) for k, d in self._draw(image, here, due, flow).items()}
            shares |= {k: share for k, share in carried.items() if k not in shares}
            boxes = [here[k][0] for k in shares]
            masks = [_within(flow, shares[k], box, image.shape) for k, box in zip(shares, boxes, strict=True)]
            for key, mask in zip(shares, one_owner(masks, boxes), strict=True):
                if (tight := mask_box(mask)) is not None:
                    found.setdefault(key, {})[index] = (mask, tight, here[key][1])
        return found

    def _draw(self, image, here, due: list[Hashable], flow: Flow) -> dict[Hashable, np.ndarray]:
        """float32 (h, w) 0..1 at working size, for each thing that is due."""
        if not due:
            return {}
        shape = flow.small(image).shape[1::-1]
        boxes = [here[key][0] for key in due]
        segments = self.segmenter.by_thing(self.segmenter.encode(image), boxes, quick=len(here) >= MANY)
        return {
            key: cv2.resize(s.mask.astype(np.float32), shape, interpolation=cv2.INTER_AREA)
            for key, s in zip(due, segments, strict=True)
        }

    @staticmethod
    def _blended(carried: np.ndarray | None, drawn: np.ndarray) -> np.ndarray:
        """A new drawing, steadied by the mask that was carried here if both show the same."""
        if carried is None or mask_iou(carried > 0.5, drawn > 0.5) < _STILL_ITSELF:
            return drawn
        return 0.5 * (carried + drawn)


def _within(flow: Flow, share: np.ndarray, box: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """bool (H, W): a share at working size as a mask, not far beyond its box."""
    full = cv2.resize(share, (shape[1], shape[0]), interpolation=cv2.INTER_LINEAR) > 0.5
    return full & box_mask(shape, box, _BESIDE * float(max(box[2:] - box[:2])) + 2)


class _Boxes(Finder):
    """What is in boxes drawn by hand, from the clip that holds the box on."""

    keeps_ids = True

    def __init__(self, segmenter: BoxSegmenter, frame_step: int):
        super().__init__(segmenter.id)
        self.segmenter, self.frame_step = segmenter, frame_step

    def find(self, images, seeds, known) -> dict[Hashable, Seen]:
        propagator = Propagator()
        found: dict[Hashable, Seen] = {}
        small = [propagator.flow.small(image) for image in images]
        shape = small[0].shape[:2]
        for number, mask in known.items():
            region = cv2.resize(mask.astype(np.uint8), shape[::-1], interpolation=cv2.INTER_AREA) > 0
            self._follow(found, number, small, images, 0, 1, np.zeros(shape, np.float32), propagator, region)
        for start, box in seeds:
            factor = np.tile(np.array(shape[::-1]) / images[0].shape[1::-1], 2)
            odds = box_seed(shape, np.array(box) * factor)
            for step in (1, -1):
                self._follow(found, ("box", start, *box), small, images, start, step, odds, propagator)
        return found

    def _follow(
        self, found: dict[Hashable, Seen], number: Hashable, small, images, start: int, step: int, odds: np.ndarray,
        propagator: Propagator, mask: np.ndarray | None = None,
    ) -> None:  # fmt: skip
        order = list(range(start, len(small) if step > 0 else -1, step))
        cuts = CutDetector()
        order = list(takewhile(lambda i: not cuts.update(small[i]), order))

        def opinion(n: int, picture: np.ndarray, box: np.ndarray) -> np.ndarray | None:
            return box_opinion(self.segmenter, picture, box)

        pictures = ((small[i], True) for i in order)
        for n, region in propagator.follow(pictures, self.frame_step, odds, opinion, mask):
            full = cv2.resize(region, images[0].shape[1::-1], interpolation=cv2.INTER_LINEAR) > 0.5
            box = mask_box(full)
            if box is not None:
                found.setdefault(number, {})[order[n]] = (full, box, float(region[region > 0.5].mean()))


def finder_for(
    settings: ClipSettings,
    segmenter: BoxSegmenter,
    face_engine: FaceEngine | None,
    detector: Callable[[], ObjectDetector | None] = any_detector,
) -> Finder:
    """Who finds what the settings ask for.

    Args:
        settings: a word, or boxes.
        segmenter: draws what is found.
        face_engine: finds people and faces, where the segmenter knows no words; None = it cannot.
        detector: gives the engine that finds bodies and things, likewise, or None; called only where it is needed.

    Raises:
        EngineUnavailable: the engines do not know the word; the message has what they know.
    """
    if settings.boxes:
        return _Boxes(segmenter, settings.frame_step)
    thing = parse_phrase(settings.prompt, {}).thing or ""
    if isinstance(segmenter, WordTracker) and segmenter.can_track:
        return _ByTracker(segmenter, thing, settings.threshold)
    if isinstance(segmenter, TextSegmenter):
        return _ByWords(segmenter, thing, settings.threshold)
    if thing == "person" and face_engine is not None:
        return _People(segmenter, face_engine, detector())
    if thing == "face" and face_engine is not None:
        return _Faces(face_engine, settings.threshold)
    noun = noun_named(thing)
    if noun is not None and isinstance(segmenter, ThingSegmenter):
        return _Things(detector() or object_detector(), segmenter, noun, settings.frame_step)
    hint = "it cannot tell them from other people; " if thing in ("person", *KINDS_OF_PEOPLE) else ""
    raise EngineUnavailable(
        f"the segmenter {segmenter.id} cannot look for {thing!r} in videos: {hint}it knows face, "
        f"{', '.join(known_nouns())}, and what a box is drawn around (--box x0,y0,x1,y1@frame). For any word use "
        "SAM 3: --segmenter sam3-hf"
    )


def _oval(shape, box: np.ndarray) -> np.ndarray:
    canvas = np.zeros(shape[:2], np.uint8)
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    axes = (max(1, int((box[2] - box[0]) / 2)), max(1, int((box[3] - box[1]) / 1.8)))
    cv2.ellipse(canvas, (int(x), int(y)), axes, 0, 0, 360, 1, -1)
    return canvas > 0


def matched_masks(a: Sequence[np.ndarray], b: Sequence[np.ndarray]) -> list[tuple[int, int]]:
    """Masks that are each other's: the assignment of the largest total IoU, from `_SAME` on."""
    if not a or not b:
        return []
    overlap = np.array([[mask_iou(x, y) for y in b] for x in a])
    rows, columns = linear_sum_assignment(-overlap)
    return [(int(r), int(c)) for r, c in zip(rows, columns, strict=True) if overlap[r, c] >= _SAME]
