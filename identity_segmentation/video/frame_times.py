"""A video file -> the time of every frame, mostly without decoding: how many there really are, and when.

A container's own word on how many frames it holds is a guess (a duration times a nominal rate) that variable rates and
wrong declared rates make false. Packets carry the time stamps of the frames in them, so that a pass over the packets
gives the true number and times at the speed of the disk.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Any

from ..errors import VideoError
from .facts import codec_threads, picture_stream

# So many packets are decoded first, to see that packets and frames are one to one. They are not where hidden reference
# frames are packets (VP8; RFC 6386, section 9.1), nor where fields are (interlaced H.264 in MPEG-TS). Encoders put a
# hidden frame into every 16 to 128 by default, and a field into every second packet.
_TRIED = 150


def frame_times(path: str | os.PathLike) -> list[float]:
    """Seconds of every frame from the first, in order; exact for variable rates.

    By the time stamps of the packets; where packets and frames are not one to one, or stamps are missing or jump back,
    by decoding all of it without converting a picture.

    Args:
        path: a video that `VideoReader` takes.

    Raises:
        VideoError: it cannot be opened, or no frame can be decoded.
    """
    tried, decoded = _head(path)
    if not decoded:
        raise VideoError(f"{os.fspath(path)} has no frame that can be decoded; expected at least one")
    stamps: Sequence[int | None] | None = None
    if None not in tried and None not in decoded:
        known = [stamp for stamp in decoded if stamp is not None]
        # What comes before the first frame shown cannot be decoded: the recording began between two key frames.
        if sorted(stamp for stamp in tried if stamp is not None and known[0] <= stamp <= known[-1]) == known:
            stamps = _of_packets(path, known[0])
    if stamps is None:
        stamps = [frame.pts for _, frames in _packets(path, decode=True) for frame in frames]
    return _seconds(stamps, *_rate(path))


def _head(path: str | os.PathLike) -> tuple[list[int | None], list[int | None]]:
    """(stamps of the first packets, stamps of the frames decoded from them)."""
    tried: list[int | None] = []
    decoded: list[int | None] = []
    for packet, frames in _packets(path, decode=True):
        if len(tried) == _TRIED:
            break
        if packet.size and not packet.is_discard:
            tried.append(packet.pts)
        decoded += [frame.pts for frame in frames]
    return tried, decoded


def _of_packets(path: str | os.PathLike, first: int) -> list[int] | None:
    """Sorted stamps of all packets from a frame on; None where stamps are missing or jump back."""
    stamps, before = [], None
    for packet, _ in _packets(path, decode=False):
        if not packet.size or packet.is_discard:
            continue
        if packet.pts is None or (before is not None and packet.dts is not None and packet.dts < before):
            return None
        before = packet.dts if packet.dts is not None else before
        stamps.append(packet.pts)
    return sorted(stamp for stamp in stamps if stamp >= first)


def _packets(path: str | os.PathLike, decode: bool) -> Iterator[tuple[Any, list[Any]]]:
    """(a packet of the video, the frames decoded with it); what is damaged is passed over, as in reading."""
    import av

    with _opened(path) as container:
        stream = picture_stream(container)
        stream.thread_type = "AUTO"
        stream.codec_context.thread_count = codec_threads()
        try:
            for packet in container.demux(stream):
                frames: list[Any] = []
                if decode:
                    try:
                        frames = list(packet.decode())
                    except av.error.FFmpegError:
                        pass
                yield packet, frames
        except av.error.FFmpegError:
            return  # the file ends here


def _rate(path: str | os.PathLike) -> tuple[Fraction, int]:
    """(unit of the time stamps in seconds, units from a frame to the next by the container's word)."""
    with _opened(path) as container:
        stream = picture_stream(container)
        rate = stream.average_rate or stream.guessed_rate or Fraction(25)
        return Fraction(stream.time_base), max(1, round(1 / (rate * stream.time_base)))


def _opened(path: str | os.PathLike) -> Any:
    import av

    try:
        container = av.open(os.fspath(path), options={"protocol_whitelist": "file"})
    except (OSError, ValueError) as error:
        raise VideoError(f"{os.fspath(path)} is not a video that can be read ({error})") from error
    if picture_stream(container) is None:
        container.close()
        raise VideoError(f"{os.fspath(path)} has no video stream; expected a video, got sound or subtitles only")
    return container


def _seconds(stamps: Sequence[int | None], unit: Fraction, usual: int) -> list[float]:
    """Seconds from the first stamp; where one is missing or does not go on, a usual frame after the one before."""
    seconds: list[float] = []
    first = previous = 0
    for place, stamp in enumerate(stamps):
        if stamp is None or (place and stamp <= previous):
            stamp = previous + usual if place else 0
        first = first if place else stamp
        previous = stamp
        seconds.append(float((stamp - first) * unit))
    return seconds
