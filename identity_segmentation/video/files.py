"""Video files -> frames with exact times. (Notebook section 7.)

PyAV reads (its wheel carries FFmpeg). Frames stream; memory does not grow with length. What was decoded is the truth;
what the container says of its length feeds progress bars.
"""

from __future__ import annotations

import contextlib
import os
import queue
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from ..errors import VideoError
from ..files import read_bytes
from ..types import Frame
from .colour import to_bgr
from .deinterlacing import progressive
from .facts import FULL_RANGE, codec_threads, described, picture_stream

T = TypeVar("T")

VIDEO_SUFFIXES = (".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v")

# Containers are told by their bytes: a playlist (HLS, concat) would make FFmpeg read other files.
_PLAYLISTS = (b"#EXTM3U", b"ffconcat", b"<?xml", b"<MPD", b"[playlist]")
# Containers whose writer says how long they are; of others FFmpeg may guess.
_SAY_THEIR_LENGTH = ("mov", "matroska", "avi", "flv", "asf")
_PLANAR = ("yuv420p", "yuvj420p", "yuv422p", "yuvj422p", "yuv444p", "yuvj444p")  # 8 bits, a plane per channel
_DAMAGED_SHARE = 0.05  # above this share of damaged frames a file is refused rather than patched up


class VideoReader:
    """Iterate over a video's frames, upright, in order, with exact times; a context manager.

    Pictures hold the source's own colours in 8 bits (HDR is tone-mapped, see `colour`), whole frames of interlaced
    video, and stored pixels, which need not be square. Damaged packets are passed over and counted. After the iteration
    `decoded`, `seconds` (from the first frame to the end of the last), `last_s` (to its begin), `damaged` and
    `truncated` say how it went; `warning()` puts it in a sentence.

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
        stream = picture_stream(self._container)
        if stream is None:
            self._container.close()
            raise VideoError(f"{self.path} has no video stream; expected a video, got sound or subtitles only")
        self._stream: Any = stream
        self._stream.thread_type = "AUTO"
        self._stream.codec_context.thread_count = codec_threads()
        self.decoded = self.damaged = 0
        self.seconds = self.last_s = 0.0
        self.truncated = False
        self._until, self._interlaced = 0.0, False
        self._first: Any = None
        self._frames = progressive(self._decode(), self._stream.time_base)
        try:
            self._first = next(self._frames)
        except StopIteration:
            self._container.close()
            raise VideoError(f"{self.path} has no frame that can be decoded; expected at least one") from None
        except VideoError:
            self._container.close()
            raise
        self.info = described(self.path, self._container, self._stream, self._first, self._interlaced)

    def _decode(self) -> Generator[Any, None, None]:
        import av

        # Packets of every stream are looked at: how far the file reaches is told by its sound and subtitles as well.
        try:
            for packet in self._container.demux():
                if packet.pts is not None and packet.time_base:
                    self._until = max(self._until, float((packet.pts + (packet.duration or 0)) * packet.time_base))
                if packet.stream.index != self._stream.index:  # the packet that ends a stream has no number of its own
                    continue
                try:
                    frames = packet.decode()
                except av.error.FFmpegError:
                    self.damaged += 1
                    continue
                for frame in frames:
                    if frame.is_corrupt:
                        self.damaged += 1
                    self._interlaced = self._interlaced or bool(frame.interlaced_frame)
                    yield frame
        except av.error.FFmpegError:
            self.truncated = True

    def _ends_early(self) -> bool:
        """Does the file end before its container says? Only where the container is told its length by its writer; a
        rate or a number of frames is not believed."""
        whole = self._container.duration
        if not whole or not any(word in self._container.format.name for word in _SAY_THEIR_LENGTH):
            return False
        whole = (whole + (self._container.start_time or 0)) / 1e6
        usual = 1 / float(self.info.fps)
        return self._until < whole - max(0.02 * whole, 2 * usual, 0.05)

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
            self.last_s = float((pts - first_pts) * self.info.time_base)
            self.seconds = float((pts - first_pts + (frame.duration or usual)) * self.info.time_base)
            frame = next(source, None)
        self.truncated = self.truncated or self._ends_early()
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
        image = to_bgr(frame, info.colour)
        return np.ascontiguousarray(np.rot90(image, info.rotation // 90)) if info.rotation else image

    def warning(self) -> str:
        """What went wrong while reading, as one sentence; empty if nothing did."""
        parts = []
        if self.damaged:
            parts.append(f"{self.damaged} damaged frame(s) were passed over")
        if self.truncated:
            expected = f" of about {self.info.seconds:.1f}" if self.info.seconds else ""
            parts.append(f"the file ends early: {self.decoded} frames could be read, {self.seconds:.1f}{expected} s")
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
    if not frame.format.name.startswith("yuvj") and frame.color_range != FULL_RANGE:
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

    Where ``IDSEG_THREADS`` is 1 there is no other thread: they are made as they are asked for.
    Closing the iterator stops the thread, when it has finished what it is making.

    Args:
        items: what is produced.
        depth: how many may be finished and waiting while the next one is made; 0 = one is made while the caller works
            on the one before.
    """
    if codec_threads() == 1:
        yield from items
        return
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
