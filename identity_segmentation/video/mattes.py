"""Who is to be drawn, and where they were seen -> everyone's matte in every frame. (Notebook section 7.)

Between the sampled frames mattes are propagated: by optical flow from both sides, or by the segmenter's own tracker
where it has one. Both are smoothed along the motion. A part of a video begins anew, so that a resumed run draws the
same as an undisturbed one.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import cv2
import numpy as np

from ..engines import any_detector
from ..engines.protocols import BoxSegmenter, ObjectDetector, VideoTracker
from ..errors import Cancelled
from ..geometry import decode_rle, soft_alpha
from ..images import shrink_to, unpacked
from ..masks.possession import thing_of
from ..masks.segmentation import segment_humans
from ..types import Face, Frame, Human, Segment
from .analysis import TRULY_SEEN, Analysis, Sample
from .cuts import first_of_shot
from .flow import Flow, TemporalSmoother, propagate, to_full, to_working
from .naming import TrackName, face_weight

_TRACKER_SIDE = 1280  # pixels; the trackers see 1008
_JUMP = 8.0  # mean grey levels between two frames that are two shots, at the least
_ON_FACE = 0.5  # share of the middle of a face that a person's matte must cover

Span = tuple[list[Frame], bool]  # frames from one sample to the next, and is it the last run
Who = str | int  # a name, or the track number of a stranger


@dataclass(frozen=True)
class Scene:
    """What to draw of a video.

    Attributes:
        analysis, names: who is where.
        drawn: whom to draw: names, or track numbers of strangers.
        segmenter: the engine.
        smoothing: frames of temporal smoothing.
        thing: "" for whole people, or a word for a thing of theirs.
        detector: gives the engine that finds things by their nouns, or None.
        flow: shared working size.
    """

    analysis: Analysis
    names: dict[int, TrackName]
    drawn: Sequence[Who]
    segmenter: BoxSegmenter
    smoothing: int
    thing: str = ""
    detector: Callable[[], ObjectDetector | None] = any_detector
    flow: Flow = field(default_factory=Flow)

    @property
    def sampling(self) -> int:
        return self.analysis.header["sampling"]


def can_track(segmenter: BoxSegmenter) -> bool:
    """Has the engine a video tracker of its own?"""
    return isinstance(segmenter, VideoTracker) and segmenter.can_track


def spans_between(frames: Iterator[Frame], sampling: int) -> Iterator[Span]:
    """(frames from one sample to the next, both included; is this the video's last run).

    A frame on a boundary is in two runs and belongs to the second; the last run owns all of its frames.
    """
    run: list[Frame] = []
    for frame in frames:
        run.append(frame)
        if frame.index % sampling == 0 and len(run) > 1:
            yield run, False
            run = [frame]
    if run:
        yield run, True


def until(spans: Iterator[Span], end: int) -> Iterator[Span]:
    """The spans that begin before `end`; stops right after the last of them, so the next caller goes on."""
    for span, final in spans:
        yield span, final
        if span[-1].index >= end:
            return


class Mattes:
    """Mattes of one part's frames, span by span, propagated by optical flow."""

    def __init__(self, scene: Scene, samples: dict[int, Sample]):
        self.scene, self.samples = scene, samples
        self.smoothers: dict[Who, TemporalSmoother] = {}
        self.keys: tuple[int, dict] | None = None
        self.present: set[Who] = set()
        self.cut_at: dict[int, int] = {}  # index of the sample after a cut -> first frame of its shot

    def frames(self, spans: Iterable[Span]) -> Iterator[tuple[Frame, dict[Who, np.ndarray]]]:
        """(frame, {person: uint8 matte}) for every frame of the part."""
        for span, final in spans:
            yield from self._span(span, final)

    def _span(self, span: list[Frame], whole: bool) -> Iterator[tuple[Frame, dict[Who, np.ndarray]]]:
        ends = span[-1].index in self.samples and len(span) > 1
        greys = [self.scene.flow.grey(f.image) for f in span]
        cut = since = len(span)  # where the old shot ends, and where that of the next sample begins
        if ends and self.samples[span[-1].index].cut:
            begins = [shot.begin - span[0].index for shot in self.scene.analysis.shots]
            inside = [i for i in begins if 0 < i < len(span)] or [first_of_shot(greys)]
            cut, since = inside[0], inside[-1]
            self.cut_at[span[-1].index] = span[since].index
        mattes = self._mattes(span, greys, cut, ends)
        for matte in mattes.values():
            matte[cut:since] = [np.zeros_like(greys[0], np.float32)] * (since - cut)  # nobody was looked for there
        for track, known in self.scene.analysis.regions.items():
            who = self.scene.names[track].name
            if who in self.scene.drawn:
                mattes[who] = self._between(span, greys, known, cut)
        count = len(span) if whole else len(span) - 1
        for i, frame in enumerate(span[:count]):
            if i == cut:
                self._forget()
            self.present = set() if cut <= i < since else self._present(span, i, cut)
            result = {}
            for person in self.scene.drawn:
                matte = mattes[person][i] if person in mattes else np.zeros_like(greys[i], np.float32)
                smoother = self.smoothers.setdefault(person, TemporalSmoother(self.scene.smoothing, self.scene.flow))
                matte = smoother.update(matte, greys[i])
                if (matte > 0.02).any():
                    result[person] = to_full(matte, frame.image)
            yield frame, result
        if count < len(span) and cut == count:  # the cut is at the next span's first frame
            self._forget()

    def _forget(self) -> None:
        for smoother in self.smoothers.values():
            smoother.reset()

    def _mattes(self, span: list[Frame], greys: list[np.ndarray], cut: int, ends: bool) -> dict:
        """{person: float32 matte at working size for every frame of the span}."""
        first = self._key(span[0])
        last = self._key(span[-1]) if ends else {}
        people = [p for p in self.scene.drawn if p in first or p in last]
        return {p: self._propagated(greys, first.get(p), last.get(p), cut, ends) for p in people}

    def _between(
        self, span: list[Frame], greys: list[np.ndarray], known: dict[int, dict], cut: int
    ) -> list[np.ndarray]:
        """Mattes of a followed region: where it was found as it was found, propagated over the frames between and up to
        a cut or the end."""
        shape = greys[0].shape
        result = [np.zeros(shape, np.float32)] * len(span)
        for begin, end in ((0, cut), (cut, len(span))):
            found = [i for i in range(begin, end) if span[i].index in known]
            for i in found:
                result[i] = to_working(decode_rle(known[span[i].index]).astype(np.uint8) * 255, shape)
            for a, b in pairwise(found):
                result[a : b + 1] = propagate(greys[a : b + 1], result[a], result[b], self.scene.flow)
            if not found:
                continue
            a, b = found[0], found[-1]
            if begin and a > begin:
                result[begin : a + 1] = propagate(greys[begin : a + 1], None, result[a], self.scene.flow)
            if b < end - 1 and (end < len(span) or span[-1].index == self.scene.analysis.frames - 1):
                result[b:end] = propagate(greys[b:end], result[b], None, self.scene.flow)
        return result

    def _propagated(self, greys, first, last, cut: int, ends: bool) -> list[np.ndarray]:
        shape = greys[0].shape
        first = None if first is None else to_working(first, shape)
        last = None if last is None else to_working(last, shape)
        flow, empty = self.scene.flow, np.zeros(shape, np.float32)
        if cut < len(greys):
            before = propagate(greys[:cut], first, None, flow)
            return before + propagate(greys[cut:], None, last, flow)
        mattes = propagate(greys, first, last, flow)
        if ends and (first is None) != (last is None):
            # Seen at one end only: they came or went somewhere between, at a guess half-way.
            half = len(greys) / 2
            mattes = [m if (i < half) == (first is not None) else empty for i, m in enumerate(mattes)]
        return mattes

    def _present(self, span, i: int, cut: int) -> set:
        near = 0 if i < min(cut, (len(span) + 1) / 2) else len(span) - 1
        sample = self.samples.get(span[near].index) or self.samples.get(span[0].index)
        return set() if sample is None else {who for who, *_ in people_in(self.scene, sample)}

    def _key(self, frame: Frame) -> dict:
        """{person: uint8 matte} at a sampled frame."""
        if self.keys is None or self.keys[0] != frame.index:
            sample = self.samples.get(frame.index)
            found = {} if sample is None else segmented(self.scene, frame.image, sample)
            self.keys = (frame.index, {who: soft_alpha(segment) for who, segment in found.items()})
        return self.keys[1]


class TrackedMattes(Mattes):
    """Mattes of one part's frames, propagated by the segmenter's own video tracker.

    In every shot each person is seeded with their mask at their clearest face, propagated forward and backward,
    and held against every face seen: a mask that is not on the person's face, or is on somebody else's while theirs is
    not to be seen, is thrown away around that sample, and the person is seeded anew there.
    """

    def __init__(
        self,
        scene: Scene,
        samples: dict[int, Sample],
        frames: Iterator[Frame],
        cancel: threading.Event | None = None,
    ):
        super().__init__(scene, samples)
        self.cancel = cancel
        self.store = _FrameStore()
        self.known: dict[int, dict[Who, bytes]] = {}
        greys = []
        for frame in frames:
            self.store.add(frame)
            greys.append(scene.flow.grey(frame.image))
        if not greys:
            return
        self.shape, step, count = greys[0].shape, scene.sampling, len(greys)
        begins = [shot.begin - self.store.first for shot in scene.analysis.shots]
        bounds = [0, *(begin for begin in begins if 0 < begin < count)]
        for i in range(step, count + 1, step) if not begins else ():
            sample = samples.get(self.store.first + i)
            if sample is not None and sample.cut:
                # A cut into the next part's first frame: that frame is not here, so the part's own jump is looked for.
                bounds.append(i - step + _cut_between(greys[i - step : i + 1], beyond=i == count))
        bounds = [b for b in bounds if b < count]
        for begin, end in pairwise([*bounds, count]):
            self._follow(begin, end)

    def _mattes(self, span, greys, cut, ends):
        result: dict[Who, list[np.ndarray]] = {}
        for i, frame in enumerate(span):
            for who, data in self.known.get(frame.index, {}).items():
                result.setdefault(who, [np.zeros(self.shape, np.float32)] * len(span))[i] = _unpacked(data) / 255
        return result

    def _present(self, span, i, cut):
        return super()._present(span, i, cut) | set(self.known.get(span[i].index, ()))

    def _follow(self, begin: int, end: int) -> None:
        """Track everyone through one shot of the part, and again where the faces say otherwise."""
        faces: dict[Who, dict[int, Face]] = {}  # who -> frame of the part -> their face
        turned: dict[Who, dict[int, Face]] = {}  # ... and where their body alone was seen
        for i in range(begin, end):
            sample = self.samples.get(self.store.first + i)
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
            found = segmented(self.scene, self.store.image(index), sample, mine, self.store.factor)
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
                    values = cv2.resize(soft_alpha(segment), self.shape[::-1], interpolation=cv2.INTER_AREA)
                    packed = cv2.imencode(".png", values)[1].tobytes()
                    self.known.setdefault(self.store.first + low + index, {})[who] = packed

    def _contradicted(self, who: Who, faces: dict[Who, dict[int, Face]]) -> set[int]:
        """Samples at which the matte is not on the person's face, or is on another's while theirs is not seen."""
        wrong = {i for i, face in faces[who].items() if self._cover(i, who, face) < _ON_FACE}
        for other, seen in faces.items():
            if other != who:
                hidden = (i for i in seen if i not in faces[who])
                wrong |= {i for i in hidden if self._cover(i, who, seen[i]) >= _ON_FACE}
        return wrong

    def _cover(self, index: int, who: Who, face: Face) -> float:
        """How much of the middle of a face the person's matte covers, 0..1."""
        data = self.known.get(self.store.first + index, {}).get(who)
        if data is None:
            return 0.0
        scale = self.shape[1] / self.scene.analysis.header["width"]
        x, y = (v * scale for v in face.centre)
        reach = max(1.0, face.side * scale / 4)
        x0, y0 = int(max(0, x - reach)), int(max(0, y - reach))
        part = _unpacked(data)[y0 : int(y + reach) + 1, x0 : int(x + reach) + 1]
        return float((part > 127).mean()) if part.size else 0.0


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
    return unpacked(data, cv2.IMREAD_GRAYSCALE).astype(np.float32)


def _cut_between(greys: list[np.ndarray], beyond: bool = False) -> int:
    """The first frame of the new shot, where there is a cut between the first and the last of these; with `beyond`, the
    frame after the last, if none of these is far from the one before."""
    if beyond:
        steps = [float(cv2.absdiff(a, b).mean()) for a, b in pairwise(greys)]
        if not steps or max(steps) < max(_JUMP, 3 * float(np.median(steps))):
            return len(greys)
    return first_of_shot(greys)


def segmented(
    scene: Scene, image: np.ndarray, sample: Sample, whom: Sequence[Who] | None = None, factor: float = 1.0
) -> dict[Who, Segment]:
    """The people to be drawn (or those of them in `whom`) in a sampled frame; `image` may be smaller by `factor`.

    Args:
        scene: what to draw.
        image: uint8 (H, W, 3), BGR; it may be smaller than the video's frames by `factor`.
        sample: who is in it.
        whom: those of the people to be drawn; None = all of them.
        factor: scale of `image`, 0..1.
    """
    seen = [one for one in people_in(scene, sample) if one[3] != "region"]
    faces = [face if factor == 1 else face.scaled(factor) for _, face, *_ in seen]
    humans = _humans(scene, sample, [track for _, _, track, _ in seen], faces, factor)
    asked = scene.drawn if whom is None else whom
    wanted = [i for i, (who, *_) in enumerate(seen) if who in asked]
    # Whose thing it is can only be said beside everybody.
    drawn = range(len(humans)) if scene.thing and wanted else wanted
    found = segment_humans(image, humans, drawn, scene.segmenter)
    result: dict[Who, Segment] = {}
    for i in wanted:
        who, segment = seen[i][0], found[i]
        if scene.thing:
            people = [found[k] for k in range(len(humans))]
            found_thing = thing_of(image, scene.segmenter, scene.thing, people, i, faces[i], scene.detector)
            segment = found_thing.segment
        if who not in result or segment.area > result[who].area:
            result[who] = segment
    return result


def _humans(scene: Scene, sample: Sample, tracks: Sequence[int], faces: Sequence[Face], factor: float) -> list[Human]:
    """Everybody in a sampled frame: those with these faces, on these tracks, in order, then the bodies of no track."""
    bodies = {t: np.array(b) * factor for b, t in sample.bodies if t is not None}
    rest = [Human(None, np.array(box) * factor, 0.5) for box, track in sample.bodies if track is None]
    return [Human(f, bodies.get(t), f.score) for f, t in zip(faces, tracks, strict=True)] + rest


def people_in(scene: Scene, sample: Sample) -> list[tuple[Who, Face, int, str]]:
    """(who, their face, their track, what that rests on; see `TrackPoint.evidence`) of everyone in a sample.

    Nobody is in it twice: who is truly seen is not where they are only thought to be.
    """
    found = []
    name_of = {track: said.name for track, said in scene.names.items()}
    seen = {name_of.get(point.track) for point in sample.tracks if point.evidence in TRULY_SEEN}
    for point in sample.tracks:
        name = name_of.get(point.track)
        if name is not None and point.evidence == "between" and name in seen:
            continue
        value = sample.faces[point.face].face() if point.face is not None else Face(np.array(point.box), 0.5)
        height, width = scene.analysis.header["height"], scene.analysis.header["width"]
        x, y = value.centre
        if 0 <= x < width and 0 <= y < height:
            found.append((name or point.track, value, point.track, point.evidence))
    return found


def heads_at(
    scene: Scene, index: int, samples: dict[int, Sample], cut_at: dict[int, int] | None = None
) -> dict[Who, tuple[int, np.ndarray]]:
    """person -> (track, head box) at any frame, between samples by interpolation; at a cut, of the frame's own shot.

    Args:
        cut_at: first frame of the shot of a sample that follows a cut, where it is known.
    """
    before = samples.get(index - index % scene.sampling)
    after = samples.get(index - index % scene.sampling + scene.sampling)
    share = (index % scene.sampling) / scene.sampling
    if before is None:
        return {}
    here = {track: (who, face.box) for who, face, track, _ in people_in(scene, before)}
    if after is not None and after.cut:
        begin = (cut_at or {}).get(after.index, after.index)
        new_shot = index >= begin
        if not new_shot and any(before.index < shot.begin <= index for shot in scene.analysis.shots):
            return {}  # a shot in which no frame was looked at
        held = {track: (who, face.box) for who, face, track, _ in people_in(scene, after)} if new_shot else here
        return {who: (track, box) for track, (who, box) in held.items()}
    there = {track: (who, face.box) for who, face, track, _ in people_in(scene, after)} if after else {}
    heads = {}
    for track in here.keys() | there.keys():
        if track in here and track in there:
            box = (1 - share) * here[track][1] + share * there[track][1]
        elif track in here and share < 0.5:
            box = here[track][1]
        elif track in there and share >= 0.5:
            box = there[track][1]
        else:
            continue
        heads[(here.get(track) or there[track])[0]] = (track, box)
    return heads


def strangers_at(
    scene: Scene, index: int, samples: dict[int, Sample]
) -> tuple[list[np.ndarray], list[tuple[np.ndarray, int | None]]]:
    """Boxes of faces near a frame that are in nobody's track (somebody who stepped in between, say), and (box, track or
    None) of all bodies.

    The samples before and after the frame both count, also where a cut lies between them: rather too much is covered.

    Args:
        scene: what is drawn.
        index: of the frame.
        samples: index of a frame -> what was seen in it.
    """
    faces: list[np.ndarray] = []
    bodies: list[tuple[np.ndarray, int | None]] = []
    near = index - index % scene.sampling
    for at in (near, near + scene.sampling):
        sample = samples.get(at)
        if sample is not None:
            owned = {point.face for point in sample.tracks}
            faces += [np.array(record.box) for i, record in enumerate(sample.faces) if i not in owned]
            bodies += [(np.array(box), track) for box, track in sample.bodies]
    return faces, bodies
