"""What a video file says of its pictures and its sound, read once and obeyed by everything that writes. (Notebook 7.)

Numbers of matrices, primaries and transfer functions are those of ITU-T H.273, as FFmpeg's.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

BT709, UNKNOWN, BT470BG, SMPTE170M, BT2020 = 1, 2, 5, 6, 9
PQ, HLG = 16, 18  # transfer functions: SMPTE ST 2084 and ARIB STD-B67
_BT2020_10 = 14  # transfer function of BT.2020 at 10 bits
FULL_RANGE = 2  # AVCOL_RANGE_JPEG
# Matrices that can be written as they were read; FCC, YCgCo, constant luminance and the like become the size's own.
_WRITTEN = (BT709, BT470BG, SMPTE170M, 7, BT2020)
_ATTACHED_PICTURE = 0x400  # AV_DISPOSITION_ATTACHED_PIC
_FIELDS = (2, 3, 4, 5)  # AV_FIELD_TT to AV_FIELD_BT
_PRIMING = 0.1  # seconds: sound that begins so little before the picture is an encoder's run-up, not a late picture


def codec_threads() -> int:
    """How many threads a decoder or an encoder of FFmpeg's may have: what ``IDSEG_THREADS`` says, which a job over many
    processes sets for its workers; else 0, which FFmpeg takes for one a core. No byte of a result depends on it."""
    said = os.environ.get("IDSEG_THREADS", "")
    return int(said) if said.isdecimal() else 0


@dataclass(frozen=True)
class Colour:
    """How numbers of a picture are meant: codes of ITU-T H.273, and whether luma takes the whole range of values."""

    matrix: int
    primaries: int
    transfer: int
    full: bool = False

    @classmethod
    def of(cls, matrix: int, primaries: int, transfer: int, full: bool, size: tuple[int, int]) -> Colour:
        """What is said, and what players take for granted where nothing is said.

        Without a matrix, pictures at least 1280 wide or more than 576 high are BT.709, others BT.601 (the rule of the
        player mpv); primaries and transfer function follow the matrix.

        Args:
            matrix, primaries, transfer: as the file says; 2 = not said.
            full: do the values take the whole range?
            size: (width, height) as stored.
        """
        hdr = transfer in (PQ, HLG)
        if matrix in (0, UNKNOWN, 3):
            matrix = BT2020 if hdr or primaries == BT2020 else matrix_by_size(size)
        if primaries in (0, UNKNOWN, 3):
            small = BT470BG if size[1] in (288, 576) else SMPTE170M
            primaries = {BT709: BT709, BT2020: BT2020, 10: BT2020}.get(matrix, small)
        if transfer in (0, UNKNOWN, 3):
            transfer = {BT709: BT709, BT2020: _BT2020_10, 10: _BT2020_10}.get(matrix, SMPTE170M)
        return cls(matrix, primaries, transfer, full)

    @property
    def is_hdr(self) -> bool:
        """Is it PQ or HLG?"""
        return self.transfer in (PQ, HLG)

    def written(self, size: tuple[int, int]) -> Colour:
        """How pictures of a source are written: as they were read, in the range of video; HDR is SDR by then.

        Args:
            size: (width, height) of what is written.
        """
        if self.is_hdr:
            return Colour(BT709, BT709, BT709)
        matrix = self.matrix if self.matrix in _WRITTEN else matrix_by_size(size)
        return Colour(matrix, self.primaries, self.transfer)


def matrix_by_size(size: tuple[int, int]) -> int:
    """The matrix that players take for pictures of this (width, height) that say nothing."""
    return BT709 if size[0] >= 1280 or size[1] > 576 else SMPTE170M


@dataclass(frozen=True)
class VideoInfo:
    """What a video file says of itself; sizes are upright, after rotation, in stored pixels.

    Attributes:
        fps: average frame rate, an exact fraction.
        time_base: unit of the frames' time stamps, in seconds.
        frames: number of frames by the container's word; 0 if it does not say. May be wrong.
        seconds: duration by the container's word; 0 if it does not say.
        rotation: degrees the stored picture is turned by to be upright (counter-clockwise).
        has_audio: is there sound?
        colour: what the stored numbers mean; pictures are handed out as `colour.written` says.
        pixel_aspect: width of a pixel through its height, upright.
        begins: seconds from the first sound or picture to the first picture.
        timecode: of the first frame, "HH:MM:SS:FF", with ";" before the frames where it drops numbers; may be empty.
        interlaced: does a frame hold two fields? Pictures are handed out whole.
    """

    path: Path
    width: int
    height: int
    fps: Fraction
    time_base: Fraction
    frames: int
    seconds: float
    rotation: int
    has_audio: bool
    colour: Colour = Colour(BT709, BT709, BT709)
    pixel_aspect: Fraction = Fraction(1)
    begins: float = 0.0
    timecode: str = ""
    interlaced: bool = False

    def remarks(self) -> list[str]:
        """What is to be said of how pictures are handed out, a sentence each."""
        said = []
        if self.colour.is_hdr:
            name = "PQ" if self.colour.transfer == PQ else "HLG"
            said.append(
                f"the source is HDR ({name}): it was tone-mapped to SDR, BT.709, by the curve of ITU-R BT.2390 with "
                "white at 203 cd/m2"
            )
        if self.interlaced:
            said.append("the source is interlaced: it was deinterlaced (bwdif), one picture a frame")
        return said


def picture_stream(container: Any) -> Any:
    """The video stream that is meant: the first that is no cover picture; None if there is none."""
    moving = [s for s in container.streams.video if not int(s.disposition) & _ATTACHED_PICTURE]
    return moving[0] if moving else None


def described(path: Path, container: Any, stream: Any, frame: Any, interlaced: bool = False) -> VideoInfo:
    """The facts of an opened video.

    Args:
        path: the file.
        container: of PyAV, opened for reading.
        stream: its video stream.
        frame: the first frame of that, decoded.
        interlaced: was a frame marked so?
    """
    rotation = round(getattr(frame, "rotation", 0) or 0) % 360
    width, height = frame.width, frame.height
    full = frame.color_range == FULL_RANGE or frame.format.name.startswith("yuvj")
    colour = Colour.of(
        int(frame.colorspace), int(frame.color_primaries), int(frame.color_trc), full, (width, height)
    )  # fmt: skip
    aspect = Fraction(stream.sample_aspect_ratio or stream.codec_context.sample_aspect_ratio or 1)
    aspect = aspect if Fraction(1, 8) <= aspect <= 8 else Fraction(1)  # 0:1 and nonsense are square
    if rotation in (90, 270):
        width, height, aspect = height, width, 1 / aspect
    rate = stream.average_rate or stream.guessed_rate or Fraction(25)
    seconds = float(stream.duration * stream.time_base) if stream.duration else (container.duration or 0) / 1e6
    frames = stream.frames or (round(seconds * float(rate)) if seconds else 0)
    said = [*stream.metadata.items(), *container.metadata.items()]
    timecode = next((value for key, value in said if key.lower() == "timecode"), "")  # Matroska's is in capitals
    return VideoInfo(
        path, width, height, Fraction(rate), Fraction(stream.time_base), frames, seconds, rotation,
        bool(container.streams.audio), colour, aspect, begin_of(container, stream), timecode,
        interlaced or int(stream.codec_context.field_order or 0) in _FIELDS,
    )  # fmt: skip


def begin_of(container: Any, stream: Any) -> float:
    """Seconds from the first sound to the first picture, where that is late; else 0."""
    first = float((stream.start_time or 0) * stream.time_base)
    sounds = [float(s.start_time * s.time_base) for s in container.streams.audio if s.start_time is not None]
    late = first - min(sounds, default=first)
    return late if late > _PRIMING else 0.0


def zero_of(container: Any) -> float:
    """Where in a container's time, in seconds, a result made of it begins: at its first picture, or at the first sound
    where the picture is late.

    Args:
        container: of PyAV, opened for reading.
    """
    picture = picture_stream(container)
    if picture is None:
        return 0.0
    return float((picture.start_time or 0) * picture.time_base) - begin_of(container, picture)
