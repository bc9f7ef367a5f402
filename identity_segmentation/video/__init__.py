"""Over time: videos read and written, shots, tracks, names over whole tracks, mattes, and what is handed over."""

from .facts import VideoInfo
from .files import VIDEO_SUFFIXES, VideoReader, prefetched
from .writing import FORMATS, Format, SegmentWriter, format_for, join_segments

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
