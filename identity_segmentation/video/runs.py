"""A part of a video -> runs of frames that are worked through as one: about a second, within one shot. (Notebook
section 7.)

A run ends in the first frame of the next one, so that both know it, unless a shot ends there.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ..types import Frame
from .analysis import Analysis
from .shots import Shot

_SECONDS = 1.0  # the most that lies between two key frames of a person
_FRAMES = 32  # ... whatever the frame rate is: the motion between any two of them is kept
_BYTES = 96_000_000  # ... and that its frames may take, where that is a sampling step at the least

Pictured = tuple[Frame, np.ndarray]  # a frame, and its picture at working size, grey


@dataclass(frozen=True)
class Run:
    """Some frames of one shot.

    Attributes:
        begin, last: its first and last frame.
        shared: is the last frame the next run's first one too?
        begins: is this where a shot begins?
        mixed: (first frame, frame after the last one) in which the shot is mixed with the one before it; empty (0, 0)
            where that lies behind.
        dark: what lies between the two shots is dark: a fade, not a dissolve.
    """

    begin: int
    last: int
    shared: bool
    begins: bool = False
    mixed: tuple[int, int] = (0, 0)
    dark: bool = False


Spanned = tuple[Run, list[Pictured]]


def shots_of(analysis: Analysis) -> list[Shot]:
    """The shots of a video. A video of which only one thing was followed has none on file: its samples say where a new
    one has begun.

    Args:
        analysis: of the video.
    """
    if analysis.shots:
        return list(analysis.shots)
    return [Shot(0, "begin"), *(Shot(sample.index) for sample in analysis.samples if sample.cut and sample.index)]


def parts_in(analysis: Analysis, length: int) -> list[int]:
    """Where the parts of a video begin that are rendered one by one: every so many frames, or a little before, where
    two shots are mixed there.

    Args:
        analysis: of the video.
        length: frames, a multiple of the sampling.
    """
    starts = [0]
    mixed = [shot.mixed for shot in shots_of(analysis)]
    for start in range(length, max(1, analysis.frames), length):
        begin = min((begin for begin, end in mixed if begin < start < end), default=start)
        if begin > starts[-1]:
            starts.append(begin)
    return starts


def reach_of(analysis: Analysis) -> int:
    """The most frames between two samples that one run can hold, about a second: a gap up to there may be bridged.

    Args:
        analysis: of the video.
    """
    step, size = analysis.header["sampling"], 3 * analysis.header["width"] * analysis.header["height"]
    return max(1, int(min(_SECONDS * float(analysis.fps), _FRAMES, _BYTES / size) / step)) * step


def runs_in(analysis: Analysis, starts: Sequence[int]) -> list[Run]:
    """The runs of a whole video, in order.

    Args:
        analysis: of the video.
        starts: frames where a run begins, whatever else is there; see `parts_in`.
    """
    step, total = analysis.header["sampling"], max(1, analysis.frames)
    reach = reach_of(analysis)
    shots = shots_of(analysis)
    begins = {_first(shot): shot for shot in shots if _first(shot) < total}
    begins.setdefault(0, shots[0])
    edges = sorted(begins)
    runs: list[Run] = []
    hidden = _gaps(analysis, reach)
    for begin, end in zip(edges, [*edges[1:], total], strict=True):
        shot = begins[begin]
        mixed = shot.mixed if begin else (0, 0)
        at = begin
        while at < end:
            later = bisect_right(starts, at)
            most = starts[later] if later < len(starts) else end
            stop = min((at // step) * step + reach, most)  # a sample, so that somebody may be seen in it
            if at < mixed[1]:  # the first run of a shot sees its first whole frame
                stop = min(max(stop, -(-(mixed[1] + 1) // step) * step), most)
            while stop in hidden and stop < most and stop - step > at + step:
                stop -= step  # both ends of a gap are in one run, which may bridge it
            shared = stop < end
            last = stop if shared else end - 1
            runs.append(Run(at, last, shared, at == begin, mixed if at < mixed[1] else (0, 0), shot.kind == "fade"))
            at = last + (not shared)
    return runs


def _gaps(analysis: Analysis, reach: int) -> set[int]:
    """Samples in which somebody is not seen who is before and after, within the frames of a run."""
    found: set[int] = set()
    last: dict[int, int] = {}  # track -> place of the sample that it was last in
    for place, sample in enumerate(analysis.samples):
        for point in sample.tracks:
            before = last.get(point.track, place)
            if place - before > 1 and sample.index - analysis.samples[before].index <= reach:
                found.update(between.index for between in analysis.samples[before + 1 : place])
            last[point.track] = place
    return found


def _first(shot: Shot) -> int:
    return shot.mixed[0] if shot.mixed[1] else shot.begin


def spanned(frames: Iterable[Pictured], runs: Iterable[Run]) -> Iterator[Spanned]:
    """The frames of every run. A video that ends early gives shorter runs, and fewer.

    Args:
        frames: from the first run's first frame on.
        runs: in order.
    """
    source = iter(frames)
    held: list[Pictured] = []
    for run in runs:
        while not held or held[-1][0].index < run.last:
            entry = next(source, None)
            if entry is None:
                break
            held.append(entry)
        if not held:
            return
        whole = held[-1][0].index >= run.last
        yield (run if whole else Run(run.begin, held[-1][0].index, False, run.begins, run.mixed, run.dark)), held
        if not whole:
            return
        held = held[-1:] if run.shared else []
