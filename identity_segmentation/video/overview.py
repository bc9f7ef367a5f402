"""An analysed video and names -> rows for a timeline, and small pictures of every tracklet's head over time.

What asks for a person's answer comes first: those nobody named who are on screen for long. Pictures are made in one
pass over the video, are written as they come, and are found again when tracklets were split or joined by hand.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from ..errors import Cancelled
from ..images import write_image
from .analysis import Analysis, Sample
from .files import VideoReader
from .naming import TrackName
from .review import by_track, check_source, head_picture, spans_to_review
from .spans import on_screen
from .tracking import TrackPoint

_LONG_S = 1.0  # seconds on screen from which somebody without a name is offered first
_LONG_SHARE = 0.2  # ... or this share of a shorter video
_CROPS = 10  # pictures of a tracklet at the most
_SIDE = 96  # pixels


@dataclass(frozen=True)
class Strip:
    """A tracklet on a timeline.

    Attributes:
        track: its number.
        spans: (from, to), seconds, in order.
        said: what is said of who it is.
        why: what is doubtful about that; empty = nothing.
    """

    track: int
    spans: tuple[tuple[float, float], ...]
    said: TrackName
    why: str = ""

    @property
    def seconds(self) -> float:
        """How long it is on screen."""
        return sum(end - begin for begin, end in self.spans)


@dataclass(frozen=True)
class Row:
    """One line of a timeline: a person with a name, or one tracklet without.

    Attributes:
        name: the person; None = nobody knows.
        strips: their tracklets, in order of time.
        short: nobody's, and on screen too shortly to ask who it is, or nobody on file by what a person said.
    """

    name: str | None
    strips: tuple[Strip, ...]
    short: bool = False

    @property
    def seconds(self) -> float:
        """How long they are on screen."""
        return sum(strip.seconds for strip in self.strips)


@dataclass(frozen=True)
class Crop:
    """A small picture of a head.

    Attributes:
        index: of the frame.
        time_s: seconds.
        path: the picture, JPEG.
    """

    index: int
    time_s: float
    path: Path


def rows_of(analysis: Analysis, names: Mapping[int, TrackName]) -> list[Row]:
    """Everybody in a video: first the tracklets without a name that are on screen for long, the longest first, then
    the people with a name as they come in, then the rest.

    Args:
        analysis: of the video.
        names: what is said of each tracklet.
    """
    nameless = {track: TrackName(track, None, 0.0, 0.0, None, None, 0) for track in analysis.tracks}
    doubts = {row["track"]: row["why"] for row in spans_to_review(analysis, names)}
    strips = [
        Strip(int(track), tuple((s.from_s, s.to_s) for s in spans), names.get(int(track), nameless[int(track)]),
              doubts.get(track, ""))
        for track, spans in on_screen(analysis, nameless).items()
    ]  # fmt: skip
    strips.sort(key=lambda strip: (strip.spans[0][0], strip.track))
    people: dict[str, list[Strip]] = {}
    for strip in strips:
        if strip.said.name is not None:
            people.setdefault(strip.said.name, []).append(strip)
    least = min(_LONG_S, _LONG_SHARE * analysis.seconds)
    unknown = sorted((strip for strip in strips if strip.said.name is None), key=lambda strip: -strip.seconds)
    short = [strip.said.by_hand or strip.seconds < least for strip in unknown]
    return [
        *(Row(None, (strip,)) for strip, folded in zip(unknown, short, strict=True) if not folded),
        *(Row(name, tuple(mine)) for name, mine in people.items()),
        *(Row(None, (strip,), True) for strip, folded in zip(unknown, short, strict=True) if folded),
    ]


def crops_over_time(
    analysis: Analysis,
    source: str | Path,
    folder: Path,
    progress: Callable[[int, int], None] | None = None,
    cancel: threading.Event | None = None,
) -> dict[int, tuple[Crop, ...]]:
    """Up to ten pictures of every tracklet's head, spread over its time; of each stretch the clearest face.

    The video is read once, and not at all where every tracklet has a picture from an earlier time.

    Args:
        analysis: of the video.
        source: the video.
        folder: of the pictures of this video; those that lie there are not made again.
        progress: called with (frames read, frames in all).
        cancel: set it to stop; pictures that were made are kept.

    Raises:
        InputError: another video.
        Cancelled: `cancel` was set.
    """
    places = {
        track: [(Crop(sample.index, sample.time_s, _path(folder, sample.index, point)), sample, point)
                for sample, point in seen]
        for track, seen in by_track(analysis).items()
    }  # fmt: skip
    there = set(folder.iterdir()) if folder.is_dir() else set()
    wanted: dict[int, list[tuple[Crop, TrackPoint]]] = {}
    for rows in places.values():
        if not any(crop.path in there for crop, _, _ in rows):
            for crop, _, point in _spread(rows):
                wanted.setdefault(crop.index, []).append((crop, point))
    if wanted:
        _make(analysis, source, wanted, progress, cancel)
        there = set(folder.iterdir())
    return {
        track: tuple(crop for crop, _, _ in _spread([row for row in rows if row[0].path in there]))
        for track, rows in places.items()
    }


def _make(
    analysis: Analysis, source: str | Path, wanted: Mapping[int, Sequence[tuple[Crop, TrackPoint]]],
    progress: Callable[[int, int], None] | None, cancel: threading.Event | None,
) -> None:  # fmt: skip
    check_source(analysis, source)
    last = max(wanted)
    with VideoReader(source) as reader:
        for frame in reader.frames(0, analysis.header["sampling"]):
            if cancel is not None and cancel.is_set():
                raise Cancelled
            for crop, point in wanted.get(frame.index, ()):
                write_image(crop.path, head_picture(frame.image, point.box, _SIDE))
            if progress:
                progress(frame.index + 1, last + 1)
            if frame.index >= last:
                break


def _path(folder: Path, index: int, point: TrackPoint) -> Path:
    """By the place in the video, which splitting and joining tracklets does not change."""
    x, y = (round((a + b) / 2) for a, b in zip(point.box[:2], point.box[2:], strict=True))
    return folder / f"{index:08d}_{x}_{y}.jpg"


def _spread(rows: Sequence[tuple[Crop, Sample, TrackPoint]]) -> list[tuple[Crop, Sample, TrackPoint]]:
    if len(rows) <= _CROPS:
        return list(rows)
    bounds = np.linspace(0, len(rows), _CROPS + 1).astype(int)
    return [max(rows[a:b], key=lambda row: _clearness(row[1], row[2])) for a, b in pairwise(bounds.tolist())]


def _clearness(sample: Sample, point: TrackPoint) -> float:
    if point.face is None:
        return 0.0
    face = sample.faces[point.face].face()
    return face.score * (0.1 + face.facing)
