"""What is to be drawn of a video, and who and whose heads are where in its frames. (Notebook section 7.)"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from ..engines import any_detector
from ..engines.protocols import BoxSegmenter, EdgeRefiner, ObjectDetector, VideoTracker
from ..geometry import plain_box
from ..types import Face
from .analysis import TRULY_SEEN, Analysis, Sample
from .belonging import Present
from .flow import Flow
from .naming import TrackName
from .runs import shots_of
from .shots import Shot, shot_around
from .tracking import Box, TrackPoint

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
        edges: gives key frames finer edges, or None.
        fading: mattes fade with their shot where two are mixed; False = both are there in full, to cover people.
    """

    analysis: Analysis
    names: dict[int, TrackName]
    drawn: Sequence[Who]
    segmenter: BoxSegmenter
    smoothing: int
    thing: str = ""
    detector: Callable[[], ObjectDetector | None] = any_detector
    flow: Flow = field(default_factory=Flow)
    edges: EdgeRefiner | None = None
    fading: bool = True

    @cached_property
    def name_of(self) -> dict[int, str | None]:
        """track -> name."""
        return {track: said.name for track, said in self.names.items()}

    @cached_property
    def shots(self) -> list[Shot]:
        """Of the video, in order."""
        return shots_of(self.analysis)

    @cached_property
    def begins(self) -> list[int]:
        """First frames of the shots."""
        return [shot.begin for shot in self.shots]

    def is_mixed(self, index: int) -> bool:
        """Are two shots mixed in a frame?"""
        near = bisect_right(self.begins, index)
        return any(shot.mixes(index) for shot in self.shots[max(0, near - 1) : near + 1])

    @property
    def sampling(self) -> int:
        return self.analysis.header["sampling"]


def can_track(segmenter: BoxSegmenter) -> bool:
    """Has the engine a video tracker of its own?"""
    return isinstance(segmenter, VideoTracker) and segmenter.can_track


def people_in(scene: Scene, sample: Sample) -> list[tuple[Who, Face, int, str]]:
    """(who, their face, their track, what that rests on; see `TrackPoint.evidence`) of everyone in a sample.

    Nobody is in it twice: who is truly seen is not where they are only thought to be.
    """
    return named_in(scene.analysis, scene.name_of, sample)


def named_in(analysis: Analysis, name_of: Mapping[int, str | None], sample: Sample) -> list[tuple[Who, Face, int, str]]:
    """What `people_in` says, without a scene.

    Args:
        analysis: of the video.
        name_of: track -> name.
        sample: of the video.
    """
    found = []
    seen = {name_of.get(point.track) for point in sample.tracks if point.evidence in TRULY_SEEN}
    for point in sample.tracks:
        name = name_of.get(point.track)
        if name is not None and point.evidence == "between" and name in seen:
            continue
        value = sample.faces[point.face].face() if point.face is not None else Face(np.array(point.box), 0.5)
        height, width = analysis.header["height"], analysis.header["width"]
        x, y = value.centre
        if 0 <= x < width and 0 <= y < height:
            found.append((name or point.track, value, point.track, point.evidence))
    return found


@dataclass(frozen=True, eq=False)
class HeadHere:
    """Somebody's head in a frame, sampled or not.

    Attributes:
        track: theirs.
        box: float (4,), xyxy pixels.
        near: the sample nearest to the frame, in its own shot, has them.
        both: the samples before and after have them; False = they come or go between them.
    """

    track: int
    box: np.ndarray
    near: bool
    both: bool


def heads_at(scene: Scene, index: int, samples: dict[int, Sample]) -> dict[Who, HeadHere]:
    """person -> their head at any frame: between samples by interpolation; of the frame's own shot alone.

    Args:
        scene: what is drawn.
        index: of the frame.
        samples: index of a frame -> what was seen in it.
    """
    step = scene.sampling
    at, share = index - index % step, (index % step) / step
    begin, end = shot_around(scene.begins, index)
    before = samples.get(at) if at >= begin else None
    after = samples.get(at + step) if share and at + step < end else None
    alone = before is None and after is None
    if alone:  # nothing was looked at in this shot: rather somebody of another one than nobody
        before, after = samples.get(at), samples.get(at + step)
    here, there = (
        {} if sample is None else {track: (who, face.box) for who, face, track, _ in people_in(scene, sample)}
        for sample in (before, after)
    )
    heads = {}
    for track in here.keys() | there.keys():
        who = (here.get(track) or there[track])[0]
        if track in here and track in there and not alone:
            heads[who] = HeadHere(track, (1 - share) * here[track][1] + share * there[track][1], True, True)
        elif track in here:
            # Nothing was looked at after it, in this shot: they are still there.
            last = after is None and not alone
            if who not in heads or not heads[who].near:
                heads[who] = HeadHere(track, here[track][1], last or (share < 0.5 and not alone), last)
        elif who not in heads or not heads[who].near:
            first = before is None and not alone
            heads[who] = HeadHere(track, there[track][1], first or (share >= 0.5 and not alone), first)
    return heads


def between_samples(before: Sample, after: Sample, index: int) -> Sample:
    """What two samples say of a frame between them: who is in both is on the way, all others are where they were seen.

    Args:
        before: the sample before the frame.
        after: the sample after it.
        index: of the frame.
    """
    share = (index - before.index) / (after.index - before.index)

    def way(a: Box, b: Box) -> Box:
        return plain_box((1 - share) * np.array(a) + share * np.array(b))

    near, far = (before, after) if share < 0.5 else (after, before)
    elsewhere = {point.track: point for point in far.tracks}
    points = []
    for point in near.tracks:
        other = elsewhere.pop(point.track, None)
        box = (
            point.box if other is None else way(*((point.box, other.box) if near is before else (other.box, point.box)))
        )
        same = other is not None and point.evidence == other.evidence
        points.append(TrackPoint(point.track, box, point.evidence if same else "between"))
    points += [TrackPoint(point.track, point.box, "between") for point in elsewhere.values()]
    there = {track: box for box, track in far.bodies if track is not None}
    bodies = [
        (way(*((box, there[track]) if near is before else (there[track], box))) if track in there else box, track)
        for box, track in near.bodies
    ]
    owned = {point.face for point in near.tracks}
    faces = tuple(face for k, face in enumerate(near.faces) if k not in owned)
    time_s = (1 - share) * before.time_s + share * after.time_s
    return Sample(index, time_s, False, faces, tuple(points), tuple(bodies))


def presents_in(scene: Scene, sample: Sample, factor: float = 1.0) -> dict[Who | None, list[Present]]:
    """Everybody in a sample as masks are held against them: those on tracks by who they are, all others under None.

    Args:
        scene: what is drawn.
        sample: of the video.
        factor: scale of the picture, 0..1.
    """
    bodies = {track: np.array(box) for box, track in sample.bodies if track is not None}
    found: dict[Who | None, list[Present]] = {}
    for who, face, track, evidence in people_in(scene, sample):
        if evidence != "region":
            head = face.box.astype(np.float64)
            person = Present(head, evidence in ("face", "hand"), evidence == "body", bodies.get(track))
            found.setdefault(who, []).append(person.scaled(factor))
    owned = {point.face for point in sample.tracks}
    rest = [Present(np.array(r.box), True, False, None) for i, r in enumerate(sample.faces) if i not in owned]
    rest += [Present(None, False, False, np.array(box)) for box, track in sample.bodies if track is None]
    if rest:
        found[None] = [person.scaled(factor) for person in rest]
    return found


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
