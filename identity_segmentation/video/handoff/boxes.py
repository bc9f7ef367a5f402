"""Who is on screen -> a box for each in every frame, for trainers. (Notebook section 7.)

The boxes are of whole bodies where the analysis found any, of heads where it found none, and of the
thing itself where a box was followed. Between two samples they are on the straight way from the one to the other; up to
the borders of a span they stay where they were last, or will be first.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ...errors import InputError
from ...geometry import face_to_body_bbox, plain_box
from ..analysis import TRULY_SEEN, Analysis, Sample
from ..runs import reach_of, shots_of
from ..scene import Who, named_in
from ..shots import shot_around
from ..spans import Span
from ..tracking import Box
from . import HandOff

BODIES, HEADS, THINGS = "bodies", "heads", "the thing that was followed"


@dataclass(frozen=True)
class BoxHere:
    """Somebody's box in a frame.

    Attributes:
        frame: its index.
        box: xyxy pixels.
        sure: it lies on or between boxes that were found; False = a body is reckoned from its head.
        seen: they were seen in the samples around; False = only thought to be there.
    """

    frame: int
    box: Box
    sure: bool
    seen: bool


@dataclass(frozen=True)
class _Known:
    index: int
    box: np.ndarray
    sure: bool
    seen: bool


def boxes_are_of(analysis: Analysis) -> str:
    """What the boxes of an analysis are of: `BODIES`, `HEADS` or `THINGS`."""
    if "seed" in analysis.header:
        return THINGS
    found = any(owner is not None for sample in analysis.samples for _, owner in sample.bodies)
    return BODIES if found else HEADS


class Boxes:
    """Boxes of everybody in a video.

    Args:
        job: what is handed over.
    """

    def __init__(self, job: HandOff):
        self.analysis, self.kind = job.analysis, boxes_are_of(job.analysis)
        self._begins = [shot.begin for shot in shots_of(job.analysis)]
        self._reach = reach_of(job.analysis)
        self._shape = (job.analysis.header["height"], job.analysis.header["width"])
        self._known: dict[Who, list[_Known]] = {}
        name_of = {track: said.name for track, said in job.names.items()}
        for sample in job.analysis.samples:
            for who, known in self._in(sample, name_of):
                self._known.setdefault(who, []).append(known)

    def of(self, span: Span) -> Iterator[BoxHere]:
        """A box in every frame of a span, in order.

        Args:
            span: of this video.
        """
        begin = span.begin
        while begin < span.end:
            first, end = shot_around(self._begins, begin)
            end = min(end, span.end)
            mine = [known for known in self._known.get(span.who, ()) if first <= known.index < end]
            known, all_indices = self._without_outdone(mine), [one.index for one in mine]
            indices = [one.index for one in known]
            for frame in range(begin, end) if known else ():
                before, after, share = _around(indices, frame)
                box = plain_box((1 - share) * known[before].box + share * known[after].box)
                sure = known[before].sure and known[after].sure
                yield BoxHere(frame, box, sure, self._seen(mine, all_indices, frame))
            begin = end

    def _in(self, sample: Sample, name_of: dict[int, str | None]) -> Iterator[tuple[Who, _Known]]:
        """(who, their box in a sample) of everybody, each once: who is truly seen comes first."""
        bodies = {track: box for box, track in sample.bodies if track is not None}
        people = sorted(named_in(self.analysis, name_of, sample), key=lambda row: row[3] not in TRULY_SEEN)
        done = set()
        for who, face, track, evidence in people:
            if who in done:
                continue
            done.add(who)
            seen = evidence in TRULY_SEEN or evidence == "region"
            if self.kind == BODIES and track in bodies:
                yield who, _Known(sample.index, np.array(bodies[track], np.float64), True, seen)
                continue
            box = np.array(face.box, np.float64)
            if self.kind == BODIES:
                try:
                    box = face_to_body_bbox(box, self._shape).astype(np.float64)
                except InputError:  # of a head out of the picture no body is in it
                    continue
            yield who, _Known(sample.index, box, self.kind != BODIES, seen)

    def _without_outdone(self, mine: Sequence[_Known]) -> list[_Known]:
        """What is known in one shot. A body that is reckoned from a head, between two that were found, is left out:
        what was found says more."""
        sure = [known.index for known in mine if known.sure]

        def outdone(index: int) -> bool:
            place = bisect_left(sure, index)
            return 0 < place < len(sure) and sure[place] - sure[place - 1] <= self._reach

        return [known for known in mine if known.sure or not outdone(known.index)]

    def _seen(self, mine: Sequence[_Known], indices: Sequence[int], frame: int) -> bool:
        """Were they seen in the samples around a frame?"""
        before, after, _ = _around(indices, frame)
        near = mine[after].index - mine[before].index <= self.analysis.header["sampling"]
        return mine[before].seen and mine[after].seen and near


def _around(indices: Sequence[int], frame: int) -> tuple[int, int, float]:
    """(place of the last index before a frame, of the first one at or after it, how far the frame is on the way,
    0..1); the same place twice at an index, and beyond the first and the last."""
    after = min(bisect_left(indices, frame), len(indices) - 1)
    before = after if indices[after] <= frame else max(0, after - 1)
    return before, after, 0.0 if before == after else (frame - indices[before]) / (indices[after] - indices[before])
