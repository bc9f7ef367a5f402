"""CSV for spreadsheets: a row per span. (RFC 4180; UTF-8 with a byte order mark.)

The mark is what makes Excel read Hangul and Thai as such; LibreOffice, Numbers, Google Sheets and Python's "utf-8-sig"
take it as well. A text that a spreadsheet would run as a formula has an apostrophe put before it. (OWASP, "CSV
Injection": =, +, -, @, tab, carriage return.)
"""

from __future__ import annotations

import csv
import io
from pathlib import Path

from ...files import atomic_write
from . import HandOff

COLUMNS = (
    "person", "from_seconds", "to_seconds", "from_frame", "to_frame", "from_timecode", "to_timecode", "similarity",
    "tracks",
)  # fmt: skip
_FORMULAS = ("=", "+", "-", "@", "\t", "\r")


def write(job: HandOff, target: Path) -> None:
    """A row per span. "to" is where they are gone: the frame after the last one, and the time at which it begins.

    Frames are those of the video, from 0; time codes begin with the source's own.

    Args:
        job: what is handed over.
        target: the file.
    """
    text, first = io.StringIO(newline=""), job.start_frame()
    rows = csv.writer(text, lineterminator="\r\n")
    rows.writerow(COLUMNS)
    for span in job.spans:
        begin, end = job.range_of(span)
        rows.writerow(
            [_plain(str(span.who)), f"{span.from_s:.3f}", f"{span.to_s:.3f}", span.begin, span.end,
             job.base.text(first + begin), job.base.text(first + end), f"{span.similarity:.4f}",
             " ".join(map(str, span.tracks))]
        )  # fmt: skip
    with atomic_write(target) as file:
        file.write(text.getvalue().encode("utf-8-sig", "replace"))


def _plain(name: str) -> str:
    return f"'{name}" if name.startswith(_FORMULAS) else name
