"""Who is on screen when -> files for editing programs, spreadsheets and trainers: one module per format, one line in
the registry. (Notebook section 7.)

A file is named like the video, and never written over another. Names of people are data: every format escapes them in
its own way, and where it has none, by signs that look alike and mean nothing there.
"""

from __future__ import annotations

import os
import shutil
import unicodedata
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from pathlib import Path

from ...errors import InputError, OutputError
from ...files import numbered, safe_filename, shown_path
from ..analysis import Analysis
from ..naming import TrackName
from ..scene import Who
from ..spans import Span, on_screen, people_on_screen
from ..timecode import TimeBase, is_drop

# name -> ("module:function", suffix; empty = a folder)
FORMATS = {
    "edl": ("edl:write", ".edl"),
    "srt": ("subtitles:write", ".srt"),
    "csv": ("table:write", ".csv"),
    "fcpxml": ("xmeml:write", ".xml"),
    "otio": ("otio:write", ".otio"),
    "mot": ("mot:write", ""),
    "coco-video": ("coco_video:write", ".coco.json"),
}
# Formats that can hold a cut: a list of parts of the video, one after the other.
CUTS = {"edl": "edl:write_cut", "fcpxml": "xmeml:write_cut", "otio": "otio:write_cut"}
_MIDNIGHT = "00:00:00:00"


@dataclass(frozen=True)
class Part:
    """Frames of the source in a cut: the first one, and the one after the last."""

    begin: int
    end: int


@dataclass(frozen=True)
class HandOff:
    """What is handed over.

    Attributes:
        analysis, names: who is where and when.
        source: the video's path, for programs to find it; None = its name alone.
        start: time code of the timeline's first frame; empty = what is usual for the format.
        masks: the file of masks that a render left, or None.
        person: whom a cut is of; empty = no cut.
        parts: of a cut, in order.
    """

    analysis: Analysis
    names: Mapping[int, TrackName]
    source: Path | None = None
    start: str = ""
    masks: Path | None = None
    person: str = ""
    parts: tuple[Part, ...] = ()

    @cached_property
    def everybody(self) -> dict[Who, list[Span]]:
        """Everybody's spans, strangers' too; see `spans.on_screen`."""
        return on_screen(self.analysis, self.names)

    @cached_property
    def people(self) -> list[str]:
        """Names of those on screen, as the people on file are ordered."""
        return people_on_screen(self.everybody, self.analysis.people)

    @cached_property
    def spans(self) -> list[Span]:
        """Spans of people with a name, in order of time."""
        mine = [span for name in self.people for span in self.everybody[name]]
        return sorted(mine, key=lambda span: (span.begin, self.people.index(str(span.who))))

    # ---- the video

    @property
    def title(self) -> str:
        """The video's name without its suffix, as one line."""
        return one_line(shown_path(Path(self.file_name).stem)) or "video"

    @property
    def file_name(self) -> str:
        """The video's name."""
        return shown_path(Path(self.source.name if self.source else self.analysis.header["source"]))

    @property
    def url(self) -> str:
        """Where the video is, as a file URL; a relative one where only its name is known."""
        from urllib.parse import quote

        name = os.fsencode(self.analysis.header["source"])
        return self.source.resolve().as_uri() if self.source else quote(name)

    @property
    def sound(self) -> bool:
        """Has the video sound? (An older analysis does not say: it may have.)"""
        return bool(self.analysis.header.get("sound", True))

    # ---- time codes

    @cached_property
    def base(self) -> TimeBase:
        """How the timeline counts: drop-frame if its start is, or else the source's time code."""
        return TimeBase.of(self.analysis.fps, is_drop(self.start)) if self.start else self.source_base

    @cached_property
    def source_base(self) -> TimeBase:
        """How the source's own time code counts."""
        return TimeBase.of(self.analysis.fps, is_drop(self._timecode))

    @cached_property
    def source_start(self) -> int:
        """The frame, from midnight, of the source's own first time code; 0 where it has none that can be read."""
        try:
            return self.source_base.frame(self._timecode)
        except InputError:
            return 0

    @property
    def _timecode(self) -> str:
        return str(self.analysis.header.get("timecode") or _MIDNIGHT)

    def start_frame(self, usual: str = "") -> int:
        """The frame, from midnight, of the timeline's first time code.

        Args:
            usual: the time code, where nobody said another one; empty = the source's own.

        Raises:
            InputError: what was said is no time code at this rate.
        """
        if self.start and is_drop(self.start) and not self.base.drop:
            raise InputError(
                f"--start {self.start} is drop-frame, but the video has {float(self.base.rate):.6g} frames a second, "
                f"which are never dropped; give it with a colon: --start {self.start.replace(';', ':')}"
            )
        return self.base.frame(self.start or usual) if self.start or usual else self.source_start

    def range_of(self, span: Span) -> tuple[int, int]:
        """(first frame, frame after the last one) of a span as the timeline counts; one frame at the least.

        Args:
            span: of the video.
        """
        begin = self.base.frames(span.from_s)
        return begin, max(begin + 1, self.base.frames(span.to_s))

    def part_range(self, part: Part) -> tuple[int, int]:
        """What `range_of` says, of a part of a cut."""
        end = self.analysis.seconds if part.end >= self.analysis.frames else self.analysis.seconds_at(part.end)
        begin = self.base.frames(self.analysis.seconds_at(part.begin))
        return begin, max(begin + 1, self.base.frames(end))

    @property
    def length(self) -> int:
        """Frames of the whole video, as the timeline counts."""
        return max(1, self.base.frames(self.analysis.seconds))


def export(kind: str, job: HandOff, out: str | os.PathLike) -> Path:
    """Write a format; see `FORMATS`, and for a cut `CUTS`.

    Args:
        kind: the format.
        job: what is handed over; with a `person`, their cut.
        out: the folder to write into; it is made if need be. The file is named like the video, with a number where
            there is one of that name already.

    Returns:
        The new file or folder.

    Raises:
        InputError: an unknown format, or one that cannot hold a cut.
        OutputError: it cannot be written; nothing is left behind.
        EngineUnavailable: the format's library is not installed.
    """
    checked_format(kind, bool(job.person))
    function, suffix = FORMATS[kind]
    if job.person:
        function = CUTS[kind]
    module, name = function.split(":")
    stem = safe_filename(f"{job.title}.{job.person}" if job.person else job.title)
    stem = stem if suffix else f"{stem}-{kind}"
    target = next(t for t in (Path(out) / f"{n}{suffix}" for n in numbered(stem)) if not os.path.lexists(t))
    working = target.with_name(f".{uuid.uuid4().hex[:12]}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        getattr(import_module(f".{module}", __name__), name)(job, working)
        working.rename(target)
    except OutputError:
        raise
    except OSError as error:
        raise OutputError(f"{target}: cannot be written ({error.strerror or error})") from error
    finally:
        if working.is_dir():
            shutil.rmtree(working, ignore_errors=True)
        working.unlink(missing_ok=True)
    return target


def checked_format(kind: str, cut: bool = False) -> str:
    """A format's name, or `InputError` with those there are.

    Args:
        kind: the name.
        cut: must it be able to hold a cut?
    """
    known = list(CUTS if cut else FORMATS)
    if kind not in known:
        what = "format that holds a cut" if cut and kind in FORMATS else "format"
        raise InputError(f"expected a {what}, one of {', '.join(known)}; got {kind!r}")
    return kind


def one_line(text: str) -> str:
    """A name without line breaks and control characters, which XML cannot hold and lists are broken by; every script,
    and what joins its letters, stays.

    Args:
        text: in any script.
    """
    bad = ("Cc", "Cs", "Zl", "Zp")
    clean = (" " if unicodedata.category(c) in bad or ord(c) & 0xFFFE == 0xFFFE else c for c in text)
    return " ".join("".join(clean).split())
