"""Video files -> frames with exact times, and frames -> video files with the sound kept. (Notebook section 7.)

PyAV reads and writes (its wheel carries FFmpeg). Frames stream; memory does not grow with length. Output is
written in finished segments beside its place, so that a killed run loses one segment at most, and joined without
re-encoding, with the source's own sound.
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from ..errors import InputError, OutputError, VideoError
from ..files import read_bytes
from ..types import Frame

logger = logging.getLogger(__name__)

T = TypeVar("T")

VIDEO_SUFFIXES = (".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v")

# Containers are told by their bytes: a playlist (HLS, concat) would make FFmpeg read other files.
_PLAYLISTS = (b"#EXTM3U", b"ffconcat", b"<?xml", b"<MPD", b"[playlist]")
_FULL_RANGE = 2  # AVCOL_RANGE_JPEG
_PLANAR = ("yuv420p", "yuvj420p", "yuv422p", "yuvj422p", "yuv444p", "yuvj444p")  # 8 bits, a plane per channel
_DAMAGED_SHARE = 0.05  # above this share of damaged frames a file is refused rather than patched up


@dataclass(frozen=True)
class VideoInfo:
    """What a video file says of itself; sizes are upright, after rotation.

    Attributes:
        fps: average frame rate, an exact fraction.
        time_base: unit of the frames' time stamps, in seconds.
        frames: number of frames by the container's word; 0 if it does not say. May be wrong.
        seconds: duration by the container's word; 0 if it does not say.
        rotation: degrees the stored picture is turned by to be upright (counter-clockwise).
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


class VideoReader:
    """Iterate over a video's frames, upright, in order, with exact times; a context manager.

    Damaged packets are passed over and counted. After the iteration `decoded`, `damaged` and `truncated` say
    how it went; `warning()` puts it in a sentence.

    Raises:
        VideoError: not a video, no video stream, no decodable frame, or too much of it damaged.
    """

    def __init__(self, path: str | os.PathLike):
        import av

        self.path = Path(path)
        _check_bytes(self.path)
        try:
            self._container = av.open(str(self.path), options={"protocol_whitelist": "file"})
        except (av.error.FFmpegError, ValueError) as error:
            raise VideoError(_why_not(self.path, error)) from error
        if not self._container.streams.video:
            self._container.close()
            raise VideoError(f"{self.path} has no video stream; expected a video, got sound or subtitles only")
        self._stream = self._container.streams.video[0]
        self._stream.thread_type = "AUTO"
        self.decoded = self.damaged = 0
        self.truncated = False
        self._first: Any = None
        self._frames = self._decode()
        try:
            self._first = next(self._frames)
        except StopIteration:
            self._container.close()
            raise VideoError(f"{self.path} has no frame that can be decoded; expected at least one") from None
        except VideoError:
            self._container.close()
            raise
        self.info = self._describe()

    def _describe(self) -> VideoInfo:
        stream, frame = self._stream, self._first
        rotation = round(getattr(frame, "rotation", 0) or 0) % 360
        width, height = frame.width, frame.height
        if rotation in (90, 270):
            width, height = height, width
        rate = stream.average_rate or stream.guessed_rate or Fraction(25)
        seconds = (
            float(stream.duration * stream.time_base) if stream.duration else (self._container.duration or 0) / 1e6
        )
        frames = stream.frames or (round(seconds * float(rate)) if seconds else 0)
        return VideoInfo(
            self.path, width, height, Fraction(rate), Fraction(stream.time_base), frames, seconds, rotation,
            bool(self._container.streams.audio),
        )  # fmt: skip

    def _decode(self) -> Generator[Any, None, None]:
        import av

        try:
            for packet in self._container.demux(self._stream):
                try:
                    frames = packet.decode()
                except av.error.FFmpegError:
                    self.damaged += 1
                    continue
                for frame in frames:
                    if frame.is_corrupt:
                        self.damaged += 1
                    yield frame
        except av.error.FFmpegError:
            self.truncated = True

    def __iter__(self) -> Iterator[Frame]:
        return self.frames()

    def frames(
        self, begin: int = 0, step: int = 1, every: Callable[[np.ndarray], Any] | None = None,
        size: tuple[int, int] = (64, 36),
    ) -> Iterator[Frame]:  # fmt: skip
        """Frames from index `begin`, every `step`-th index; the others are decoded but not converted. Once only.

        Args:
            begin: index of the first frame.
            step: every n-th frame.
            every: called with a small picture of every frame from 0 on, uint8 (H, W, 3) BGR, before the frame itself.
            size: (width, height) of these.
        """
        first_pts, previous = None, None
        usual = max(1, round(1 / (self.info.fps * self.info.time_base)))
        source = self._frames
        frame = self._first
        self._first = None
        while frame is not None:
            pts = frame.pts
            if pts is None or (previous is not None and pts <= previous):
                pts = previous + usual if previous is not None else 0
            first_pts = pts if first_pts is None else first_pts
            previous = pts
            if every is not None:
                every(_small(frame, size))
            if self.decoded >= begin and self.decoded % step == 0:
                seconds = float((pts - first_pts) * self.info.time_base)
                yield Frame(self.decoded, seconds, self._upright(frame), pts - first_pts)
            self.decoded += 1
            frame = next(source, None)
        if self.info.frames and self.decoded < 0.98 * self.info.frames - 1:
            self.truncated = True
        total = self.decoded + self.damaged
        if self.damaged > max(2, _DAMAGED_SHARE * total):
            raise VideoError(
                f"{self.path}: {self.damaged} of {total} frames are damaged, more than {_DAMAGED_SHARE:.0%}. "
                "Fetch or export it again"
            )

    def _upright(self, frame) -> np.ndarray:
        info = self.info
        stored = (info.height, info.width) if info.rotation in (90, 270) else (info.width, info.height)
        if (frame.width, frame.height) != stored:  # the size changed in mid-stream
            frame = frame.reformat(width=stored[0], height=stored[1])
        image = frame.to_ndarray(format="bgr24")
        return np.ascontiguousarray(np.rot90(image, info.rotation // 90)) if info.rotation else image

    def warning(self) -> str:
        """What went wrong while reading, as one sentence; empty if nothing did."""
        parts = []
        if self.damaged:
            parts.append(f"{self.damaged} damaged frame(s) were passed over")
        if self.truncated:
            expected = f" of about {self.info.frames}" if self.info.frames else ""
            parts.append(f"the file ends early: {self.decoded}{expected} frames could be read")
        return f"{self.path}: " + "; ".join(parts) if parts else ""

    def close(self) -> None:
        self._frames.close()
        self._container.close()

    def __enter__(self) -> VideoReader:
        return self

    def __exit__(self, *_) -> None:
        self.close()


def _small(frame: Any, size: tuple[int, int]) -> np.ndarray:
    """A small picture of a decoded frame, uint8 (H, W, 3) BGR; the planes of usual video are shrunk one by one, which
    takes a third of the time of a conversion."""
    import cv2

    if frame.format.name not in _PLANAR:
        return frame.reformat(*size, format="bgr24", interpolation="AREA").to_ndarray()
    planes = []
    for plane in frame.planes:
        values = np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)[:, : plane.width]
        planes.append(cv2.resize(values, size, interpolation=cv2.INTER_AREA))
    if not frame.format.name.startswith("yuvj") and frame.color_range != _FULL_RANGE:
        # Video's black is 16 and its white 235; of a conversion to BGR they are 0 and 255.
        planes[0] = cv2.convertScaleAbs(planes[0], alpha=255 / 219, beta=-16 * 255 / 219)
    return cv2.cvtColor(cv2.merge(planes), cv2.COLOR_YUV2BGR)


def _check_bytes(path: Path) -> None:
    head = read_bytes(path, VideoError, "video", most=512)
    if not head:
        raise VideoError(f"{path} is empty (0 bytes); expected a video")
    if head.lstrip().startswith(_PLAYLISTS):
        raise VideoError(f"{path} is a playlist, which would read other files; give the video itself")
    with contextlib.suppress(UnicodeDecodeError):
        head.decode("utf-8")
        if b"\0" not in head:
            raise VideoError(f"{path} is a text file; expected a video")


def _why_not(path: Path, error: Exception) -> str:
    with path.open("rb") as file:
        head = file.read(64)
        if head[4:8] == b"ftyp":
            return (
                f"{path} is an MP4 without its index (the recording or download stopped early), so nothing of it can "
                "be read; fetch it again, or repair it with a tool for that"
            )
    return f"{path} is not a video that can be read ({error})"


def prefetched(items: Iterable[T], depth: int = 4) -> Generator[T, None, None]:
    """The same items, produced by another thread; its exceptions reach the caller.

    Closing the iterator stops the thread, when it has finished what it is making.

    Args:
        items: what is produced.
        depth: how many may be finished and waiting while the next one is made; 0 = one is made while the caller works
            on the one before.
    """
    waiting: queue.Queue = queue.Queue()
    room = threading.Semaphore(depth + 1)
    stop = threading.Event()

    def work() -> None:
        source: Iterator[T] = iter(())
        try:
            source = iter(items)
            while room.acquire() and not stop.is_set():
                waiting.put((next(source), None))
        except BaseException as error:  # `StopIteration`, at the end, as well
            waiting.put((None, error))
        finally:
            if isinstance(source, Generator):
                source.close()

    thread = threading.Thread(target=work, daemon=True, name="prefetch")
    thread.start()
    try:
        while True:
            item, error = waiting.get()
            if isinstance(error, StopIteration):
                return
            if error is not None:
                raise error
            room.release()
            yield item
            del item  # the caller has let go of it, or will
    finally:
        stop.set()
        room.release()
        thread.join(timeout=10)


# ---- writing


@dataclass(frozen=True)
class Format:
    """How pictures become a video stream: codec, pixel format, container, options, and whether alpha is kept."""

    codec: str
    pix_fmt: str
    suffix: str
    container: str
    alpha: bool
    options: dict[str, str]
    audio: str  # codec for sound that the container does not take as it is


# No B-frames and no hidden frames: packets leave in the order of their pictures, so segments join end to end.
_H264 = {"preset": "veryfast", "crf": "19", "bf": "0"}
# Larger pictures than 720p get a faster preset: at 1080p it saves a third of the encoder's time.
_LARGE, _H264_LARGE = 1280 * 720, "superfast"
_VP9 = {"deadline": "realtime", "cpu-used": "6", "crf": "28", "b": "0", "auto-alt-ref": "0", "row-mt": "1"}
FORMATS = {
    ".mp4": Format("libx264", "yuv420p", ".mp4", "mp4", False, _H264, "aac"),
    ".webm": Format("libvpx-vp9", "yuva420p", ".webm", "webm", True, _VP9, "libopus"),
    ".mov": Format("prores_ks", "yuva444p10le", ".mov", "mov", True, {"profile": "4444"}, "pcm_s16le"),
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
        size: (width, height) of the pictures; odd sides are padded by a repeated row or column.
        fps, time_base: of the source; the time stamps given to `write` count in `time_base`.
    """

    def __init__(self, path: Path, form: Format, size: tuple[int, int], fps: Fraction, time_base: Fraction):
        import av

        self.path, self.form, self.size = path, form, size
        self._partial = path.with_name(path.name + ".part")
        self._pad = (size[1] % 2, size[0] % 2) if "420" in form.pix_fmt else (0, 0)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._container = av.open(str(self._partial), "w", format=form.container)
        except (OSError, av.error.FFmpegError) as error:
            raise OutputError(f"{path}: cannot be written ({error})") from error
        options = dict(form.options)
        if form.codec == "libx264" and size[0] * size[1] > _LARGE:
            options["preset"] = _H264_LARGE
        self._stream = self._container.add_stream(form.codec, rate=fps, options=options)
        self._stream.width, self._stream.height = size[0] + self._pad[1], size[1] + self._pad[0]
        self._stream.pix_fmt = form.pix_fmt
        self._stream.codec_context.time_base = self._stream.time_base = time_base
        self._time_base = time_base
        self._step = max(1, round(1 / (fps * time_base)))

    def write(self, image: np.ndarray, pts: int) -> None:
        """Append a picture: uint8 (H, W, 3) BGR or, where the format has alpha, (H, W, 4) BGRA."""
        import av

        if image.shape[:2] != self.size[::-1] or image.dtype != np.uint8:
            raise InputError(f"expected uint8 pictures of size {self.size}, got {image.dtype} {image.shape}")
        if any(self._pad):
            image = np.pad(image, ((0, self._pad[0]), (0, self._pad[1]), (0, 0)), mode="edge")
        layout = "bgra" if image.shape[2] == 4 else "bgr24"
        if layout == "bgra" and not self.form.alpha:
            raise InputError(f"{self.form.suffix} video has no transparency; write .webm or .mov")
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format=layout)
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


def join_segments(segments: Sequence[Path], output: Path, source: Path | None = None) -> None:
    """Join segments of one encoder setting into the final file without re-encoding, with the source's sound.

    The sound is copied bit by bit where the container takes its codec, and encoded otherwise. MP4 is written with its
    index in front. The file gets its name when all is done.

    Args:
        segments: finished files, in order.
        output: the final file; its suffix says the format.
        source: the video whose sound is taken; None = no sound.

    Raises:
        OutputError: the output cannot be written.
    """
    import av

    form = format_for(output)
    partial = output.with_name(f".{output.name}.part")
    options = {"movflags": "faststart"} if form.container != "webm" else {}
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.ExitStack() as stack:
            out = stack.enter_context(av.open(str(partial), "w", format=form.container, options=options))
            first = stack.enter_context(av.open(str(segments[0])))
            video = out.add_stream_from_template(first.streams.video[0])
            sound = _Sound(stack, out, source, form) if source is not None else None
            for segment in segments:
                with av.open(str(segment)) as part:
                    for packet in part.demux(part.streams.video[0]):
                        if packet.dts is None:
                            continue
                        if sound:
                            sound.up_to(float(packet.dts * packet.time_base))
                        packet.stream = video
                        out.mux(packet)
            if sound:
                sound.up_to(float("inf"))
        os.replace(partial, output)
    except (OSError, av.error.FFmpegError) as error:
        if isinstance(error, OutputError):
            raise
        raise OutputError(f"{output}: cannot be written ({error}); the finished segments are kept") from error
    finally:
        partial.unlink(missing_ok=True)


class _Sound:
    """The source's first audio track, fed into the output in step with the picture."""

    def __init__(self, stack: contextlib.ExitStack, out, source: Path, form: Format):
        import av

        self._out, self._held = out, None
        container = stack.enter_context(av.open(str(source)))
        self._packets: Iterator = iter(())
        self._encode = None
        if not container.streams.audio:
            return
        track = container.streams.audio[0]
        start = container.streams.video[0].start_time or 0
        self._offset = float(start * container.streams.video[0].time_base)
        if track.codec_context.name in _COPIED[form.suffix]:
            self._stream = out.add_stream_from_template(track)
        else:
            self._stream = out.add_stream(form.audio, rate=_rate(form.audio, track.codec_context.sample_rate))
            self._encode = self._stream
            self._resampler = av.AudioResampler(
                format=self._stream.codec_context.format,
                layout=track.layout.name,
                rate=self._stream.codec_context.sample_rate,
            )
        self._packets = self._copied(container, track) if self._encode is None else self._encoded(container, track)

    def _copied(self, container, track):
        shift = round(self._offset / track.time_base)
        for packet in _safe_demux(container, track):
            if packet.dts is None:
                continue
            packet.pts -= shift
            packet.dts -= shift
            if shift > 0 and packet.pts + (packet.duration or 0) <= 0:
                continue  # sound from before the first picture
            packet.stream = self._stream
            yield float(packet.dts * packet.time_base), packet

    def _encoded(self, container, track):
        import av

        fifo = av.AudioFifo()
        size = self._stream.codec_context.frame_size or 1024
        for packet in _safe_demux(container, track):
            try:
                frames = packet.decode()
            except av.error.FFmpegError:
                continue
            for frame in frames:
                frame.pts = None
                for part in self._resampler.resample(frame):
                    part.pts = None
                    fifo.write(part)
            while fifo.samples >= size:
                yield from self._coded(fifo.read(size))
        rest = fifo.read(0, partial=True) if fifo.samples else None
        if rest is not None:
            yield from self._coded(rest)
        yield from self._coded(None)

    def _coded(self, frame):
        for packet in self._stream.encode(frame):
            yield float(packet.dts * packet.time_base), packet

    def up_to(self, seconds: float) -> None:
        """Write all sound up to a time."""
        while True:
            if self._held is None:
                self._held = next(self._packets, None)
            if self._held is None or self._held[0] > seconds:
                return
            self._out.mux(self._held[1])
            self._held = None


# Audio codecs that a container takes as they are.
_COPIED = {
    ".mp4": {"aac", "mp3", "ac3", "eac3", "alac", "opus", "flac"},
    ".webm": {"opus", "vorbis", "libopus", "libvorbis"},
    ".mov": {"aac", "mp3", "ac3", "alac", "pcm_s16le", "pcm_s24le", "pcm_s16be"},
}


def _rate(codec: str, rate: int) -> int:
    return 48000 if codec == "libopus" else rate


def _safe_demux(container, track):
    import av

    try:
        yield from container.demux(track)
    except av.error.FFmpegError as error:
        logger.warning("the sound ends early (%s)", error)
