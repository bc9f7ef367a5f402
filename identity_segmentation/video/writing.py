"""Pictures -> video files, with the source's sound. (Notebook section 7.)

Output is written in finished segments beside its place, so that a killed run loses one segment at most, and joined
without re-encoding.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError, OutputError
from .colour import tag, to_frame
from .facts import UNKNOWN, Colour, VideoInfo, codec_threads, matrix_by_size, zero_of
from .sound import Carried, Sound, chapters_from, metadata_from


@dataclass(frozen=True)
class Format:
    """How pictures become a video stream.

    Attributes:
        codec, pix_fmt, container, options: as FFmpeg calls them.
        suffix: of the file.
        alpha: is transparency kept? It is straight: colours are not multiplied by it.
        audio: codec for sound that the container does not take as it is.
        fourcc: what the container calls the codec, where the codec has several names.
    """

    codec: str
    pix_fmt: str
    suffix: str
    container: str
    alpha: bool
    options: dict[str, str]
    audio: str
    fourcc: str = ""

    def opaque(self) -> Format:
        """The same kind of file for pictures without transparency: VP9 without an alpha layer, ProRes 422 HQ."""
        if not self.alpha:
            return self
        if self.codec == "prores_ks":
            return replace(self, pix_fmt="yuv422p10le", alpha=False, options={"profile": "hq"}, fourcc="apch")
        return replace(self, pix_fmt="yuv420p", alpha=False)


# No B-frames and no hidden frames: packets leave in the order of their pictures, so segments join end to end.
# x264's AVX-512 code for mbtree reads past a row of macroblocks, whatever lies there (mc-a2.asm, core 165): the same
# pictures became other bytes now and then. Its plain C code does not, and is as fast here.
# One thread: with more, x264 looks less far for a picture's motion, by how many there are, which by default is by the
# machine's cores. What else a render does takes ten times as long.
_H264 = {"preset": "veryfast", "crf": "19", "bf": "0", "threads": "1", "x264-params": "cpu-independent=1"}
# Larger pictures than 720p get a faster preset: at 1080p it saves a third of the encoder's time.
_LARGE, _H264_LARGE = 1280 * 720, "superfast"
# Rows that several threads work on at once ("row-mt") give other bytes than one thread does; columns do not.
_VP9 = {"deadline": "realtime", "cpu-used": "6", "crf": "28", "b": "0", "auto-alt-ref": "0", "row-mt": "0"}
FORMATS = {
    ".mp4": Format("libx264", "yuv420p", ".mp4", "mp4", False, _H264, "aac"),
    ".webm": Format("libvpx-vp9", "yuva420p", ".webm", "webm", True, _VP9, "libopus"),
    ".mov": Format("prores_ks", "yuva444p10le", ".mov", "mov", True, {"profile": "4444"}, "pcm_s16le", "ap4h"),
}


def format_for(path: str | os.PathLike) -> Format:
    """The format a file name asks for; `InputError` for any other suffix."""
    suffix = Path(path).suffix.lower()
    if suffix not in FORMATS:
        raise InputError(
            "expected an output named .mp4 (H.264), .webm (VP9, transparent) or .mov (ProRes 4444, transparent), "
            f"got {Path(path).name!r}"
        )
    return FORMATS[suffix]


class SegmentWriter:
    """Write pictures to one segment: a complete file of its own that gets its name when the block ends well.

    Args:
        path: the segment's final name.
        form: how to encode.
        size: (width, height) of the pictures; odd sides are padded by a repeated row or column where the form takes
            even sides only.
        fps, time_base: of the source; the time stamps given to `write` count in `time_base`.
        colour: of the pictures; None = what players take for their size.
        pixel_aspect: width of a pixel through its height; PyAV cannot write it into WebM.
    """

    def __init__(
        self, path: Path, form: Format, size: tuple[int, int], fps: Fraction, time_base: Fraction,
        colour: Colour | None = None, pixel_aspect: Fraction = Fraction(1),
    ):  # fmt: skip
        import av

        self.path, self.form, self.size = path, form, size
        self._partial = path.with_name(path.name + ".part")
        self._pad = padding(form, size)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._container = av.open(str(self._partial), "w", format=form.container, container_options=SAME_BYTES)
        except (OSError, av.error.FFmpegError) as error:
            raise OutputError(f"{path}: cannot be written ({error})") from error
        options = dict(form.options)
        if form.codec == "libx264" and size[0] * size[1] > _LARGE:
            options["preset"] = _H264_LARGE
        self._colour = _by_size(size) if colour is None else colour.written(size)
        stream: Any = self._container.add_stream(form.codec, rate=fps, options=options)
        stream.width, stream.height = size[0] + self._pad[1], size[1] + self._pad[0]
        stream.pix_fmt = form.pix_fmt
        if "threads" not in options:
            stream.codec_context.thread_count = codec_threads()
        stream.codec_context.time_base = stream.time_base = time_base
        if pixel_aspect != 1:
            stream.codec_context.sample_aspect_ratio = pixel_aspect
        tag(stream, self._colour)
        self._stream = stream
        self._time_base = time_base
        self._step = max(1, round(1 / (fps * time_base)))

    def write(self, image: np.ndarray, pts: int) -> None:
        """Append a picture: uint8 (H, W, 3) BGR, (H, W) grey or, where the format has alpha, (H, W, 4) BGRA."""
        if image.shape[:2] != self.size[::-1] or image.dtype != np.uint8:
            raise InputError(f"expected uint8 pictures of size {self.size}, got {image.dtype} {image.shape}")
        if any(self._pad):
            edges = [(0, self._pad[0]), (0, self._pad[1]), (0, 0)]
            image = np.pad(image, edges[: image.ndim], mode="edge")
        if image.ndim == 3 and image.shape[2] == 4 and not self.form.alpha:
            raise InputError(f"{self.form.suffix} video has no transparency here; write .webm or .mov")
        frame = to_frame(image, self.form.pix_fmt, self._colour)
        frame.pts, frame.time_base = pts, self._time_base
        self._mux(frame)

    def _mux(self, frame) -> None:
        import av

        try:
            for packet in self._stream.encode(frame):
                packet.duration = packet.duration or self._step
                self._container.mux(packet)
        except (OSError, av.error.FFmpegError) as error:
            raise OutputError(f"{self.path}: cannot be written ({error}); run the same command to go on") from error

    def __enter__(self) -> SegmentWriter:
        return self

    def __exit__(self, kind, *_) -> None:
        if kind is None:
            self._mux(None)
            self._container.close()
            os.replace(self._partial, self.path)
            return
        with contextlib.suppress(Exception):
            self._container.close()
        self._partial.unlink(missing_ok=True)


def padding(form: Format, size: tuple[int, int]) -> tuple[int, int]:
    """(rows, columns) that are repeated at the edge, as the encoder takes even sides only.

    Args:
        form: how to encode.
        size: (width, height) of the pictures.
    """
    across = size[0] % 2 if "420" in form.pix_fmt or "422" in form.pix_fmt else 0
    down = size[1] % 2 if "420" in form.pix_fmt else 0
    return (down, across) if form.codec != "libvpx-vp9" else (0, 0)


def _by_size(size: tuple[int, int]) -> Colour:
    return Colour.of(matrix_by_size(size), UNKNOWN, UNKNOWN, False, size)


def join_segments(
    segments: Sequence[Path], output: Path, source: Path | None = None, info: VideoInfo | None = None,
    form: Format | None = None, voice: str = "", described: bool = True,
) -> Carried:  # fmt: skip
    """Join segments of one encoder setting into the final file without re-encoding, with the source's sound.

    Every track of sound is copied bit by bit where the container takes its codec, and encoded otherwise; chapters,
    what the source says about itself, and its time code are kept where the container can. MP4 is written with its index
    in front. The file gets its name when all is done; the same segments give the same bytes.

    Args:
        segments: finished files, in order.
        output: the final file; its suffix says the format.
        source: the video whose sound is taken; None = no sound.
        info: of the source; None = it has no time code and begins with its picture.
        form: how the segments were encoded; None = as the output's name says.
        voice: what becomes of the sound; see `sound.Sound`.
        described: are chapters and what the source says about itself taken over?

    Returns:
        What became of the sound.

    Raises:
        OutputError: the output cannot be written.
    """
    import av

    form = form or format_for(output)
    partial = output.with_name(f".{output.name}.part")
    options = {**SAME_BYTES, **({"movflags": "faststart"} if form.container != "webm" else {})}
    carried = Carried()
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.ExitStack() as stack:
            out: Any = stack.enter_context(av.open(str(partial), "w", format=form.container, container_options=options))
            first: Any = stack.enter_context(av.open(str(segments[0])))
            video = video_stream(out, first.streams.video[0], form, info)
            sound = None if source is None else Sound(stack, out, source, form.suffix, form.audio, voice)
            if source is not None and described:
                _describe(out, source)
            late = 0 if info is None else info.begins
            for segment in segments:
                with av.open(str(segment)) as part:
                    for packet in part.demux(part.streams.video[0]):
                        if packet.dts is None or packet.pts is None:
                            continue
                        shift = round(late / packet.time_base)
                        packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
                        if sound:
                            sound.up_to(float(packet.dts * packet.time_base))
                        packet.stream = video
                        out.mux(packet)
            if sound:
                sound.up_to(float("inf"))
                carried = sound.carried
        os.replace(partial, output)
    except (OSError, av.error.FFmpegError) as error:
        if isinstance(error, OutputError):
            raise
        raise OutputError(f"{output}: cannot be written ({error}); the finished segments are kept") from error
    finally:
        partial.unlink(missing_ok=True)
    return carried


# Matroska makes random ids, and every container writes the version of its library, unless told otherwise.
SAME_BYTES = {"fflags": "+bitexact"}


def video_stream(out: Any, template: Any, form: Format, info: VideoInfo | None) -> Any:
    """The stream of a joined file, with what remuxing would lose: fourcc, alpha, shape of pixels, time code.

    Args:
        out: of PyAV, for writing.
        template: the stream of a segment.
        form: how the segment was encoded.
        info: of the source; None = nothing is known of it.
    """
    video = out.add_stream_from_template(template)
    if form.fourcc:
        video.codec_context.codec_tag = form.fourcc
    if form.alpha:
        video.codec_context.pix_fmt = form.pix_fmt  # WebM's AlphaMode, without which browsers show no alpha
    if info is not None and form.container in ("mov", "mp4"):
        if info.pixel_aspect != 1:
            video.codec_context.sample_aspect_ratio = info.pixel_aspect
        if _can_count(info):
            video.codec_context.framerate = info.fps  # FFmpeg refuses a time code where it knows no frame rate
            video.metadata["timecode"] = info.timecode
    return video


_TIMECODE = re.compile(r"\d{1,2}:\d{2}:\d{2}([:;.])\d{2,3}")


def _can_count(info: VideoInfo) -> bool:
    """Has a source a time code that FFmpeg takes? Any other would bring the whole output down. Numbers are dropped at
    multiples of 30 frames a second only (SMPTE ST 12-1)."""
    said = _TIMECODE.fullmatch(info.timecode)
    return said is not None and round(info.fps) > 0 and (said[1] == ":" or round(info.fps) % 30 == 0)


def _describe(out: Any, source: Path) -> None:
    """Take over what a file says about itself."""
    import av

    with av.open(str(source)) as container:
        out.metadata.update(metadata_from(container.metadata))
        chapters = chapters_from(container, zero_of(container))
        if chapters:
            out.set_chapters(chapters)
