"""Over time: videos read and written, shots, tracks, names over whole tracks, mattes, and what is handed over."""

from .files import (
    FORMATS,
    VIDEO_SUFFIXES,
    Format,
    SegmentWriter,
    VideoInfo,
    VideoReader,
    format_for,
    join_segments,
    prefetched,
)

__all__ = [
    "FORMATS",
    "Format",
    "SegmentWriter",
    "VIDEO_SUFFIXES",
    "VideoInfo",
    "VideoReader",
    "format_for",
    "join_segments",
    "prefetched",
]
