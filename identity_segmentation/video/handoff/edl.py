"""EDL: markers as DaVinci Resolve imports them, and a cut as a list of events. (CMX 3600.)

Markers: "File > Import > Timeline Markers from EDL" takes what Resolve writes under "Export > Timeline Markers to EDL":
an event of one frame per marker, and below it `|C:` its colour, `|M:` its name, and `|D:` its length in frames.
Their time codes are the timeline's, which begins at 01:00:00:00 unless somebody chose another start. A timeline has one
marker a frame at the most (Resolve's scripting documentation: `GetMarkers` is a table by frame), so that where several
people come in the same frame each further one's marker begins a frame later; it ends where they go.

Cut: events of the video edit, "V", or of picture and sound, "B" (SMPTE 258M, "Transfer of edit decision lists").

An EDL is ASCII by tradition. Names come in every script, so that these are UTF-8, which Resolve reads.
"""

from __future__ import annotations

from pathlib import Path

from ...files import atomic_write
from . import HandOff, one_line

# Marker colours of Resolve, in the order of its menu. (Its scripting documentation.)
COLOURS = (
    "Blue", "Cyan", "Green", "Yellow", "Red", "Pink", "Purple", "Fuchsia", "Rose", "Lavender", "Sky", "Mint", "Lemon",
    "Sand", "Cocoa", "Cream",
)  # fmt: skip
_FIRST_HOUR = "01:00:00:00"
_TITLE = 70  # characters


def write(job: HandOff, target: Path) -> None:
    """A marker per span, in its person's colour.

    Args:
        job: what is handed over.
        target: the file.
    """
    lines, first, taken = _head(job, job.title), job.start_frame(_FIRST_HOUR), set()
    for number, span in enumerate(job.spans, 1):
        begin, end = job.range_of(span)
        while begin in taken:
            begin += 1
        taken.add(begin)
        at, after = job.base.text(first + begin), job.base.text(first + begin + 1)
        colour = COLOURS[job.people.index(str(span.who)) % len(COLOURS)]
        lines.append(f"{number:03d}  001      V     C        {at} {after} {at} {after}  ")
        lines.append(f" |C:ResolveColor{colour} |M:{_field(str(span.who))} |D:{max(1, end - begin)}")
        lines.append("")
    _write(target, lines)


def write_cut(job: HandOff, target: Path) -> None:
    """An event per part: where it lies in the source, by the source's own time code, and in the cut.

    Args:
        job: what is handed over.
        target: the file.
    """
    lines, place = _head(job, f"{job.title} - {job.person}"), job.start_frame(_FIRST_HOUR)
    kind = "B" if job.sound else "V"
    for number, part in enumerate(job.parts, 1):
        begin, end = job.part_range(part)
        source = " ".join(job.source_base.text(job.source_start + frame) for frame in (begin, end))
        record = " ".join(job.base.text(frame) for frame in (place, place + end - begin))
        lines.append(f"{number:03d}  AX       {kind}     C        {source} {record}")
        lines.append(f"* FROM CLIP NAME: {one_line(job.file_name)}")
        lines.append(f"* COMMENT: {one_line(job.person)}")
        lines.append("")
        place += end - begin
    _write(target, lines)


def _head(job: HandOff, title: str) -> list[str]:
    mode = "DROP FRAME" if job.base.drop else "NON-DROP FRAME"
    return [f"TITLE: {one_line(title)[:_TITLE]}", f"FCM: {mode}", ""]


def _field(name: str) -> str:
    """A name between two bars: a broken bar looks like one and ends nothing."""
    return one_line(name).replace("|", "\u00a6")


def _write(target: Path, lines: list[str]) -> None:
    with atomic_write(target) as file:
        file.write("\r\n".join([*lines, ""]).encode("utf-8", "replace"))
