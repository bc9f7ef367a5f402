"""A video -> a short, small copy of its beginning that every browser plays, for a notebook. (Notebook section 7.)"""

from __future__ import annotations

import math
import os
import tempfile
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import cv2

from ..errors import OutputError, VideoError
from .files import VideoReader
from .writing import FORMATS, SegmentWriter

MOST_BYTES = 700_000  # of one copy: four of them, a third larger as base64, stay below 4 MB in a notebook
SECONDS = 6.0
_FASTEST = 30  # frames a second of a copy
# (long side in pixels, x264's constant rate factor), tried in order until the copy is small enough.
_SIZES = ((480, "28"), (360, "32"), (240, "36"))


def preview(path: str | os.PathLike, seconds: float = SECONDS, most_bytes: int = MOST_BYTES) -> bytes | None:
    """The beginning of a video as a small MP4 file (H.264, yuv420p, no sound).

    Args:
        path: the video.
        seconds: how much of it.
        most_bytes: how large the copy may be.

    Returns:
        The file's bytes; None where it is no file, cannot be read, or no copy of it is small enough.
    """
    try:
        stat = Path(path).stat()
        return _preview(str(path), stat.st_mtime_ns, stat.st_size, seconds, most_bytes)
    except (OSError, VideoError, OutputError):
        return None


@lru_cache(maxsize=16)
def _preview(path: str, changed: int, size: int, seconds: float, most_bytes: int) -> bytes | None:
    """`preview` of a file in one state of it: when it was changed, and its bytes."""
    with tempfile.TemporaryDirectory() as folder:
        for longest, factor in _SIZES:
            copy = Path(folder) / f"{longest}.mp4"
            _write(Path(path), copy, seconds, longest, factor)
            if copy.stat().st_size <= most_bytes:
                return copy.read_bytes()
    return None


def _write(source: Path, copy: Path, seconds: float, longest: int, factor: str) -> None:
    form = FORMATS[".mp4"]
    form = replace(form, options=form.options | {"crf": factor})
    with VideoReader(source) as reader:
        info = reader.info
        step = max(1, math.ceil(float(info.fps) / _FASTEST - 0.01))
        size = _even(info.width * float(info.pixel_aspect), info.height, longest)
        with SegmentWriter(copy, form, size, info.fps / step, info.time_base) as writer:
            for frame in reader.frames(step=step):
                if frame.time_s >= seconds:
                    break
                writer.write(cv2.resize(frame.image, size, interpolation=cv2.INTER_AREA), frame.pts)


def _even(width: float, height: float, longest: int) -> tuple[int, int]:
    """(width, height) with the long side at most so many pixels, both even, as yuv420p has them."""
    scale = min(1.0, longest / max(width, height))
    return max(2, round(width * scale / 2) * 2), max(2, round(height * scale / 2) * 2)
