"""OpenTimelineIO (.otio): the video as a clip with a marker per span, or a cut as a track of its parts.

Written by the format's own library. (https://opentimelineio.readthedocs.io) Times are those of the source: they begin
with its own time code.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ...errors import EngineUnavailable
from ...files import atomic_write
from . import HandOff, one_line

# Marker colours of the format. (`opentimelineio.schema.MarkerColor`)
COLOURS = ("BLUE", "GREEN", "RED", "YELLOW", "PURPLE", "CYAN", "ORANGE", "MAGENTA", "PINK", "WHITE", "BLACK")
_KEY = "identity_segmentation"  # of what this program says of a thing


def write(job: HandOff, target: Path) -> None:
    """The whole video, with markers on its picture.

    Args:
        job: what is handed over.
        target: the file.

    Raises:
        EngineUnavailable: the library is not installed.
    """
    otio = library()
    timeline, tracks = _timeline(otio, job, job.title)
    for number, track in enumerate(tracks):
        clip = _clip(otio, job, (0, job.length))
        if number == 0:
            clip.markers.extend(_marker(otio, job, span) for span in job.spans)
        track.append(clip)
    _write(otio, timeline, target)


def write_cut(job: HandOff, target: Path) -> None:
    """The parts, one after the other; picture and sound.

    Args:
        job: what is handed over.
        target: the file.

    Raises:
        EngineUnavailable: the library is not installed.
    """
    otio = library()
    timeline, tracks = _timeline(otio, job, f"{job.title} - {one_line(job.person)}")
    for track in tracks:
        for part in job.parts:
            track.append(_clip(otio, job, job.part_range(part)))
    _write(otio, timeline, target)


def library() -> Any:
    """The module `opentimelineio`, or `EngineUnavailable` with the command that installs it."""
    try:
        import opentimelineio
    except ImportError as error:
        raise EngineUnavailable(
            'OpenTimelineIO files need its library; run: pip install "opentimelineio>=0.18" (edl, srt, csv and fcpxml '
            "do without)"
        ) from error
    return opentimelineio


def _timeline(otio: Any, job: HandOff, title: str) -> tuple[Any, list[Any]]:
    """(a timeline, its empty tracks: of the picture, and of the sound where there is any)."""
    start = otio.opentime.RationalTime(job.start_frame(), float(job.base.rate))
    timeline = otio.schema.Timeline(title, global_start_time=start)
    kinds = [otio.schema.TrackKind.Video, *([otio.schema.TrackKind.Audio] if job.sound else [])]
    tracks = [otio.schema.Track(kind, kind=kind) for kind in kinds]
    timeline.tracks.extend(tracks)
    return timeline, tracks


def _clip(otio: Any, job: HandOff, frames: tuple[int, int]) -> Any:
    media = otio.schema.ExternalReference(job.url, _range(otio, job, 0, job.length))
    media.name = one_line(job.file_name)
    return otio.schema.Clip(one_line(job.file_name), media, _range(otio, job, *frames))


def _marker(otio: Any, job: HandOff, span: Any) -> Any:
    said = {"person": str(span.who), "tracks": list(span.tracks), "similarity": span.similarity}
    return otio.schema.Marker(
        one_line(str(span.who)), _range(otio, job, *job.range_of(span)),
        COLOURS[job.people.index(str(span.who)) % len(COLOURS)], {_KEY: said},
    )  # fmt: skip


def _range(otio: Any, job: HandOff, begin: int, end: int) -> Any:
    rate = float(job.base.rate)
    first = otio.opentime.RationalTime(job.source_start + begin, rate)
    return otio.opentime.TimeRange(first, otio.opentime.RationalTime(end - begin, rate))


def _write(otio: Any, timeline: Any, target: Path) -> None:
    with atomic_write(target) as file:
        file.write(otio.adapters.write_to_string(timeline, "otio_json").encode("utf-8", "replace"))
