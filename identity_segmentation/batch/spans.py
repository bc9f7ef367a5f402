"""A long video, worked on by many: looked at by one, rendered in spans by several, joined by one.

What each makes lies in the destination, below ``.batch/parts/KEY/``, until the last one has joined it. A span is whole
segments of the output (`video.render`), which begin anew; so the joined video has the bytes that one worker alone would
have written. Looking is not shared out: who somebody is may be told from any shot of the video.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

from ..errors import InputError
from ..video.analysis import read_analysis
from ..video.files import VideoReader
from ..video.partial import work_of
from ..video.render import VideoReport, segment_starts
from ..video.store import FOLDER
from .places import Place
from .records import HOME
from .units import Outcome, Unit

_PLAN = "plan.json"  # written last by whoever looks: there it lies, the looking is done


class Renders(Protocol):
    """What a worker holds; see `pipeline.IdentityAwareSegmentation`."""

    def process_video(
        self, input_path: Path, output_path: Path, *, only: range | None = None, **ask: Any
    ) -> VideoReport:
        """One video, or some segments of it; see `pipeline.IdentityAwareSegmentation`."""


def is_long(source: Path, span_seconds: float) -> bool:
    """Is a video worth more than one worker: longer than a span and a half, by what its header says?

    Args:
        source: the video.
        span_seconds: seconds of a span; 0 = no video is.

    Raises:
        VideoError: it cannot be read.
    """
    if span_seconds <= 0:
        return False
    with VideoReader(source) as reader:
        info = reader.info
        return max(info.seconds, info.frames / float(info.fps)) > 1.5 * span_seconds


def plan_spans(segments: int, per_span: int) -> list[tuple[int, int]]:
    """Spans of about the same length: first and last segment of each, in order.

    Args:
        segments: of the video.
        per_span: the most that a span may have.

    Raises:
        InputError: fewer than one of either.
    """
    if segments < 1 or per_span < 1:
        raise InputError(f"expected a segment and one a span at least, got {segments} and {per_span}")
    count = -(-segments // per_span)
    edges = [segments * number // count for number in range(count + 1)]
    return [(begin, end - 1) for begin, end in pairwise(edges)]


def do_look(
    pipeline: Renders, source: Path, output: Path, place: Place, key: str, span_seconds: float, ask: Mapping[str, Any]
) -> list[list[int]]:
    """Find out who is where, and put that where the others find it.

    Args:
        pipeline: with its engines.
        source: the video; its name decides names of results, and is the same on every machine.
        output: in a folder of this unit alone. Its name is the same for all parts of the video.
        place: the destination.
        key: of the source and the question.
        span_seconds: seconds of a span.
        ask: further arguments of `process_video`.

    Returns:
        First and last segment of every span.

    Raises:
        VideoError, InputError, OutputError: see `process_video`.
    """
    known = place.read(f"{parts_of(key)}/{_PLAN}")
    if known is not None:
        return json.loads(known)["spans"]
    report = pipeline.process_video(source, output, only=range(0), **_with_folder(output, ask))
    path = Path(report.files["analysis"])
    analysis = read_analysis(path)
    starts = segment_starts(analysis)
    lasts = analysis.seconds / len(starts) if analysis.seconds else span_seconds  # seconds of a segment, on average
    spans = [list(span) for span in plan_spans(len(starts), max(1, round(span_seconds / lasts)))]
    stem = path.name.partition(".")[0]
    for file in sorted(path.parent.glob(f"{stem}.*")):
        if file.is_file() and file.suffix != ".lock":
            place.put(file, f"{parts_of(key)}/analysis/{file.name}")
    plan = {"spans": spans, "starts": starts, "analysis": path.name}
    place.write(f"{parts_of(key)}/{_PLAN}", json.dumps(plan).encode())
    return spans


def do_span(
    pipeline: Renders, source: Path, output: Path, place: Place, key: str, span: Sequence[int], ask: Mapping[str, Any]
) -> None:
    """Render a span, and put its segments where the one who joins finds them; nothing is done if they lie there.

    Args:
        pipeline, source, output, place, key, ask: as of `do_look`.
        span: first and last segment.

    Raises:
        InputError: nobody has looked at this video, or it was put aside.
        OutputError: what was rendered cannot be written.
    """
    first, last = span
    mark = f"{parts_of(key)}/spans/{first:06d}-{last:06d}.json"
    if place.exists(mark):
        return
    ask = _with_folder(output, ask)
    starts = _fetch_analysis(place, key, ask["analyses"])["starts"]
    pipeline.process_video(source, output, only=range(first, last + 1), **ask)
    work, names = work_of(output), list[str]()
    for start in starts[first : last + 1]:
        names += sorted(made.name for made in work.glob(f"{start:08d}*"))
    for name in ["cache_key.json", *names]:
        place.put(work / name, f"{parts_of(key)}/work/{name}")
    place.write(mark, json.dumps(names).encode())


def do_join(
    pipeline: Renders, source: Path, output: Path, place: Place, key: str, ask: Mapping[str, Any]
) -> VideoReport:
    """Bring all spans together; a segment that is missing or of another render is made here.

    Args:
        pipeline, source, output, place, key, ask: as of `do_look`.

    Returns:
        What `process_video` says of the whole video.
    """
    ask = _with_folder(output, ask)
    _fetch_analysis(place, key, ask["analyses"])
    below, work = f"{parts_of(key)}/work", work_of(output)
    # The key comes first and "done" last, as in a render: what a killed join left is known to be half a segment.
    for name in sorted(place.names(below), key=lambda one: (one.endswith(".done"), not one.endswith("_key.json"))):
        file = work / name.removeprefix(f"{below}/")
        if not file.exists():
            _fetch(place, name, file)
    return pipeline.process_video(source, output, **ask)


def drop_parts(place: Place, key: str) -> None:
    """Remove the parts of a video that was joined and is on record.

    Args:
        place: the destination.
        key: of the source and the question.
    """
    place.delete(parts_of(key))


def parts_of(key: str) -> str:
    """Where the parts of a video travel, below the destination."""
    return f"{HOME}/parts/{key}"


class Following:
    """In the driver: what comes after a part of a long video. It holds the videos that are at work, and no others."""

    def __init__(self) -> None:
        self._waiting: dict[str, set[tuple[int, int]]] = {}
        self._took: dict[str, float] = {}

    def after(self, unit: Unit, outcome: Outcome) -> list[Unit]:
        """The units that follow: the spans of a video that was looked at; the join after its last span.

        Args:
            unit: what has ended, for good.
            outcome: what became of it.
        """
        if outcome.state != "done":
            self.drop(unit.key)
            return []
        spans = [(int(first), int(last)) for first, last in (outcome.row or {}).get("spans", ())]
        if unit.part in ("whole", "look") and spans:
            self._waiting[unit.key], self._took[unit.key] = set(spans), _took(outcome)
            return [replace(unit, part="span", span=span, tries=0, alone=False) for span in spans]
        if unit.part == "span" and unit.key in self._waiting and unit.span is not None:
            waiting = self._waiting[unit.key]
            waiting.discard(unit.span)
            self._took[unit.key] += _took(outcome)
            if waiting:
                return []
            return [replace(unit, part="join", span=None, tries=0, alone=False, before=self._took[unit.key])]
        self.drop(unit.key)
        return []

    def drop(self, key: str) -> None:
        """Nothing follows on this key any more."""
        self._waiting.pop(key, None)
        self._took.pop(key, None)

    def is_open(self, key: str) -> bool:
        """Is a part of this video still to be done?"""
        return key in self._waiting


def _took(outcome: Outcome) -> float:
    """Seconds of work in a part."""
    return float((outcome.row or {}).get("took", 0.0))


def _with_folder(output: Path, ask: Mapping[str, Any]) -> dict[str, Any]:
    """What is asked, and where the analysis lies, whatever a machine's settings say."""
    return {"analyses": output.parent / FOLDER, **ask}


def _fetch_analysis(place: Place, key: str, folder: str | os.PathLike) -> dict[str, Any]:
    """Bring the analysis to where `process_video` looks for it; the plan."""
    content = place.read(f"{parts_of(key)}/{_PLAN}")
    if content is None:
        # Of this video alone: another span of it may have been put aside meanwhile, and all its parts with it.
        raise InputError(f"{place.address}/{parts_of(key)} has no {_PLAN}; run the same command again")
    below = f"{parts_of(key)}/analysis"
    for name in place.names(below):
        file = Path(folder) / name.removeprefix(f"{below}/")
        if not file.exists():
            _fetch(place, name, file)
    return json.loads(content)


def _fetch(place: Place, name: str, file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(f".{file.name}.fetching")
    place.fetch(name, partial)
    partial.replace(file)
