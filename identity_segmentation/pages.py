"""Pages that stand by themselves: a report as one HTML file, in which nothing can run and nothing is fetched."""

from __future__ import annotations

import os
from pathlib import Path

from .files import atomic_write

STYLE = """
body{font:15px/1.45 system-ui,sans-serif;margin:2em auto;padding:0 1em;color:#1b1b1b}
h1{font-size:1.5em}h2{font-size:1.15em;margin-top:1.6em}
table{border-collapse:collapse}th,td{text-align:left;vertical-align:top;padding:.25em .8em .25em 0}
th{font-weight:600;white-space:nowrap}td{overflow-wrap:anywhere}
"""


def is_another(path: str | os.PathLike, mark: str) -> bool:
    """Is something at a path that is no earlier page of ours?

    Args:
        path: where a page is to be written.
        mark: what our pages of this kind have in their first 4096 bytes.
    """
    path = Path(path)
    return path.exists() and mark.encode() not in (path.read_bytes()[:4096] if path.is_file() else b"")


def write(path: str | os.PathLike, text: str) -> Path:
    """Write a page, whole or not at all.

    Args:
        path: the file.
        text: HTML.

    Raises:
        OutputError: the folder cannot be written to.
    """
    with atomic_write(path) as file:
        file.write(text.encode("utf-8", "backslashreplace"))
    return Path(path)
