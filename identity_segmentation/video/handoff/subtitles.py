"""SubRip (.srt): the names of those on screen, one cue per change of who is there.

Times are seconds of the video, not time codes. The format has no word for "this is no markup", and players take <b> and
{\\an8} for commands: angle brackets and braces become signs that look like them. (https://en.wikipedia.org/wiki/SubRip)
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

from ...files import atomic_write
from . import HandOff, one_line

_HARMLESS = str.maketrans({"<": "\u2039", ">": "\u203a", "{": "\u2774", "}": "\u2775"})


def write(job: HandOff, target: Path) -> None:
    """A cue for every stretch in which the same people are on screen.

    Args:
        job: what is handed over.
        target: the file.
    """
    changes = sorted({round(1000 * at) for span in job.spans for at in (span.from_s, span.to_s)})
    blocks: list[str] = []
    for begin, end in pairwise(changes):
        there = {span.who for span in job.spans if round(1000 * span.from_s) <= begin < round(1000 * span.to_s)}
        text = ", ".join(one_line(name).translate(_HARMLESS) for name in job.people if name in there)
        if text:
            blocks.append(f"{len(blocks) + 1}\n{_stamp(begin)} --> {_stamp(end)}\n{text}\n")
    with atomic_write(target) as file:
        file.write("\n".join(blocks).encode("utf-8", "replace"))


def _stamp(milliseconds: int) -> str:
    seconds, rest = divmod(milliseconds, 1000)
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d},{rest:03d}"
