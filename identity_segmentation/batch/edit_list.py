"""Every second of somebody in many videos -> one edit list: CMX 3600 (.edl), OpenTimelineIO (.otio), or a table (.csv).

Takes come in the order of the sources' addresses, and within a video in the order of time. A list of CMX 3600 counts
at one rate, so that all videos of it have that; OpenTimelineIO has the rate with every clip.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from ..errors import InputError, OutputError
from ..files import atomic_write
from ..video.handoff import one_line
from ..video.timecode import TimeBase, is_drop
from .places import is_address

FORMATS = (".edl", ".otio", ".csv")
_FIRST_HOUR = "01:00:00:00"  # where timelines of editing programs begin
_LONGEST_HANDLE_S = 60.0
_MOST_EVENTS = 9999  # of CMX 3600, whose events have three digits, of which programs take four


@dataclass(frozen=True)
class Take:
    """A part of a video in which somebody is.

    Attributes:
        video: address of the source.
        from_s, to_s: seconds.
        seconds: length of the whole video.
        fps: frames a second.
        timecode: of its first frame; empty = it has none.
        sound: has it any?
        similarity: the most that the faces in it are like the person on file; 0 where no face says so.
    """

    video: str
    from_s: float
    to_s: float
    seconds: float
    fps: Fraction
    timecode: str = ""
    sound: bool = True
    similarity: float = 0.0

    @property
    def base(self) -> TimeBase:
        """How its time code counts."""
        return TimeBase.of(self.fps, is_drop(self.timecode))

    @property
    def start(self) -> int:
        """The frame, from midnight, of its first time code; 0 where there is none that can be read."""
        try:
            return self.base.frame(self.timecode) if self.timecode else 0
        except InputError:
            return 0

    @property
    def range(self) -> tuple[int, int]:
        """(first frame, the one after the last); one frame at the least."""
        begin = self.base.frames(self.from_s)
        return begin, max(begin + 1, self.base.frames(self.to_s))

    @property
    def name(self) -> str:
        """The video's file name, as one line."""
        return one_line(self.video.rpartition("/")[2]) or "video"


def takes_of(rows: Iterable[dict[str, Any]], person: str, handle: float = 0.2) -> list[Take]:
    """All takes of somebody, those that touch as one.

    Args:
        rows: of the ledger, with "where".
        person: their name, as it is on file.
        handle: seconds more on either side, 0 to 60, as far as the video goes.

    Raises:
        InputError: a handle out of range, or the person is in none of them.
    """
    if not 0 <= handle <= _LONGEST_HANDLE_S:
        raise InputError(f"expected a handle of 0 to {_LONGEST_HANDLE_S:g} seconds, got {handle}")
    takes: list[Take] = []
    seen: set[str] = set()
    for row in rows:
        length = float(row.get("seconds") or 0)
        seen.update(str(span[0]) for span in row.get("where") or ())
        spans = sorted((float(b), float(e), float(s)) for who, b, e, s in row.get("where") or () if who == person)
        if length > 0:
            takes += _of_video(row, length, [(max(0.0, b - handle), min(length, e + handle), s) for b, e, s in spans])
    if not takes:
        others = f"; in them are {', '.join(sorted(seen)[:20])}" if seen else ""
        raise InputError(f"{person!r} is in none of these videos{others}")
    return sorted(takes, key=lambda take: (take.video, take.from_s))


def _of_video(row: dict[str, Any], length: float, spans: Sequence[tuple[float, float, float]]) -> Iterator[Take]:
    joined: list[tuple[float, float, float]] = []
    for begin, end, alike in spans:
        if joined and begin <= joined[-1][1]:
            before = joined.pop()
            begin, end, alike = before[0], max(before[1], end), max(before[2], alike)
        joined.append((begin, end, alike))
    try:
        fps = Fraction(str(row["fps"]))
    except (KeyError, ValueError, ZeroDivisionError):
        fps = Fraction(int(row.get("frames") or 0)) / Fraction(length).limit_denominator(1000)
    for begin, end, alike in joined:
        yield Take(str(row["source"]), begin, end, length, fps or Fraction(25), str(row.get("timecode") or ""),
                   bool(row.get("sound", True)), alike)  # fmt: skip


def write_edit_list(path: str | os.PathLike, takes: Sequence[Take], person: str) -> Path:
    """Write an edit list; the file must not be there.

    Args:
        path: .edl, .otio or .csv.
        takes: of `takes_of`.
        person: whom it is of.

    Raises:
        InputError: another suffix, or videos of several rates in a list that has one.
        OutputError: the file is there, or cannot be written.
        EngineUnavailable: .otio without its library.
    """
    path = Path(path)
    kind = path.suffix.lower()
    if kind not in FORMATS:
        raise InputError(f"expected an edit list named {', '.join(FORMATS)}; got {path.name!r}")
    if path.exists():
        raise OutputError(f"{path} is there; choose another name")
    text = {".edl": _edl, ".otio": _otio, ".csv": _table}[kind](takes, person)
    with atomic_write(path) as file:
        file.write(text.encode("utf-8", "replace"))
    return path


def _edl(takes: Sequence[Take], person: str) -> str:
    bases = {take.base.rate for take in takes}
    if len(bases) > 1:
        rates = ", ".join(f"{float(rate):.6g}" for rate in sorted(bases))
        raise InputError(f"an .edl counts at one rate, and these videos have {rates} frames a second; choose .otio")
    if len(takes) > _MOST_EVENTS:
        raise InputError(f"an .edl holds {_MOST_EVENTS} events, and these are {len(takes)}; choose .otio or .csv")
    base = TimeBase(next(iter(bases)))
    place = base.frame(_FIRST_HOUR)
    lines = [f"TITLE: {one_line(person)[:70]}", "FCM: NON-DROP FRAME", ""]
    for number, take in enumerate(takes, 1):
        begin, end = take.range
        source = " ".join(take.base.text(take.start + frame) for frame in (begin, end))
        record = " ".join(base.text(frame) for frame in (place, place + end - begin))
        lines += [
            f"{number:03d}  AX       {'B' if take.sound else 'V'}     C        {source} {record}",
            f"* FROM CLIP NAME: {take.name}", f"* SOURCE FILE: {one_line(take.video)}",
            f"* COMMENT: {one_line(person)}", "",
        ]  # fmt: skip
        place += end - begin
    return "\r\n".join([*lines, ""])


def _otio(takes: Sequence[Take], person: str) -> str:
    from ..video.handoff.otio import library

    otio = library()
    timeline = otio.schema.Timeline(one_line(person))
    kinds = [otio.schema.TrackKind.Video, *([otio.schema.TrackKind.Audio] if any(t.sound for t in takes) else [])]
    for kind in kinds:
        track = otio.schema.Track(kind, kind=kind)
        for take in takes:
            rate = float(take.base.rate)
            begin, end = take.range

            def span(first: int, after: int, take: Take = take, rate: float = rate) -> Any:
                at = otio.opentime.RationalTime(take.start + first, rate)
                return otio.opentime.TimeRange(at, otio.opentime.RationalTime(after - first, rate))

            if kind == otio.schema.TrackKind.Audio and not take.sound:
                track.append(otio.schema.Gap(source_range=span(begin, end)))
                continue
            media = otio.schema.ExternalReference(_url(take.video), span(0, take.base.frames(take.seconds)))
            said = {"identity_segmentation": {"person": person, "similarity": take.similarity}}
            track.append(otio.schema.Clip(take.name, media, span(begin, end), metadata=said))
        timeline.tracks.append(track)
    return otio.adapters.write_to_string(timeline, "otio_json")


def _url(video: str) -> str:
    return video if is_address(video) else Path(video).absolute().as_uri()


def _table(takes: Sequence[Take], person: str) -> str:
    file = io.StringIO()
    lines = csv.writer(file)
    lines.writerow(["person", "video", "from", "to", "similarity", "timecode_in", "timecode_out"])
    for take in takes:
        begin, end = take.range
        # A name that a spreadsheet would take for a formula is text, said by an apostrophe.
        texts = [f"'{text}" if text[:1] in "=+-@\t\r" else text for text in (person, take.video)]
        lines.writerow([*texts, f"{take.from_s:.3f}", f"{take.to_s:.3f}", f"{take.similarity:.4f}",
                        take.base.text(take.start + begin), take.base.text(take.start + end)])  # fmt: skip
    return file.getvalue()
