"""All that somebody is in, of a video, one part after the other: the list of parts, and the video of them with sound.
(Notebook section 7.)

Pictures begin and end with the very frames of the parts. Sound is cut by samples at the times of these frames, and
encoded anew: a compressed sound cannot be cut there.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import Cancelled, InputError, OutputError, VideoError
from ..analysis import Analysis
from ..facts import picture_stream
from ..files import VideoReader
from ..sound import layout_of
from ..spans import Span
from ..writing import SAME_BYTES, Format, SegmentWriter, format_for, video_stream
from . import Part

HANDLE_S = 0.2  # seconds that a part is longer than the person is there, on either side
_LONGEST_HANDLE_S = 60.0
_JITTER_S = 0.002  # time stamps in thousandths of a second are this wrong at the most; further apart sound is missing
_OPUS_RATE = 48000  # the one rate of Opus that everything becomes

Range = tuple[Fraction, Fraction]  # seconds from the first picture: where a part begins, and where it ends


def parts_of(analysis: Analysis, spans: Sequence[Span], handle: float = HANDLE_S) -> tuple[Part, ...]:
    """The parts of a video in which somebody is, in order: their spans and a little more on either side, as far as the
    video goes; those that touch are one.

    Args:
        analysis: of the video.
        spans: of the person.
        handle: seconds more on either side, 0 to 60.

    Raises:
        InputError: a handle out of range.
    """
    if not 0 <= handle <= _LONGEST_HANDLE_S:
        raise InputError(f"expected a handle of 0 to {_LONGEST_HANDLE_S:g} seconds, got {handle}")
    parts: list[Part] = []
    for span in sorted(spans, key=lambda one: one.begin):
        begin, until = min(span.begin, analysis.index_at(span.from_s - handle)), span.to_s + handle
        end = analysis.frames if until >= analysis.seconds - 1e-6 else max(span.end, analysis.index_at(until))
        if parts and begin <= parts[-1].end:
            begin, end = parts[-1].begin, max(end, parts.pop().end)
        parts.append(Part(begin, end))
    return tuple(parts)


def cut_video(
    source: str | os.PathLike,
    output: str | os.PathLike,
    parts: Sequence[Part],
    progress: Callable[[int, int], None] | None = None,
    cancel: threading.Event | None = None,
) -> float:
    """Write the video of some parts, with the sound of its first track; returns its length in seconds.

    Args:
        source: the video.
        output: .mp4, .webm or .mov; it gets its name when all is done.
        parts: in order, none over another.
        progress: called with (frames read, the last one that is needed).
        cancel: set it to stop; nothing is left behind.

    Raises:
        InputError: no parts, another suffix, or an output that is the source.
        VideoError: the video cannot be read, or is shorter than the parts say.
        OutputError: the output cannot be written.
        Cancelled: `cancel` was set.
    """
    source, output, form = Path(source), Path(output), format_for(output).opaque()
    if not parts:
        raise InputError("expected a part or more to cut out, got none")
    if output.exists() and output.resolve() == source.resolve():
        raise InputError(f"the output {output} is the source; choose another name")
    pictures = output.with_name(f".{output.name}.pictures{form.suffix}")
    try:
        ranges = _pictures(source, pictures, form, parts, progress, cancel)
        with_sound(source, pictures, output, form, ranges)
    finally:
        pictures.unlink(missing_ok=True)
    return float(sum(end - begin for begin, end in ranges))


def _pictures(
    source: Path, target: Path, form: Format, parts: Sequence[Part], progress: Callable[[int, int], None] | None,
    cancel: threading.Event | None,
) -> list[Range]:  # fmt: skip
    """Write the pictures of all parts, and say when each part begins and ends in the source."""
    ranges: list[Range] = []
    waiting, last, place = list(parts), parts[-1].end, 0
    begin = end = None  # time stamps: of the first frame of the part that is written, and of where its last one ends
    with VideoReader(source) as reader:
        info = reader.info
        usual = max(1, round(1 / (info.fps * info.time_base)))
        size = (info.width, info.height)
        with SegmentWriter(target, form, size, info.fps, info.time_base, info.colour, info.pixel_aspect) as writer:
            for frame in reader.frames(parts[0].begin):
                if cancel is not None and cancel.is_set():
                    raise Cancelled
                if begin is not None and frame.index == waiting[0].end:
                    ranges.append((begin * info.time_base, frame.pts * info.time_base))
                    place, begin = place + frame.pts - begin, None
                    waiting.pop(0)
                if not waiting:
                    break
                if waiting[0].begin <= frame.index:
                    begin = frame.pts if begin is None else begin
                    end = frame.pts + usual
                    writer.write(frame.image, place + frame.pts - begin)
                if progress:
                    progress(min(frame.index + 1, last), last)
            if begin is not None and end is not None:  # the last part goes to the end of the video
                ranges.append((begin * info.time_base, end * info.time_base))
                waiting.pop(0)
            if waiting:
                raise VideoError(
                    f"{source} ends before frame {waiting[0].begin}, where a part begins; analyse it again: idseg "
                    "analyse VIDEO --fresh"
                )
    return ranges


def with_sound(source: Path, pictures: Path, output: Path, form: Format, ranges: Sequence[Range]) -> None:
    """The written pictures and the sound of the ranges in one file.

    Args:
        source: the video whose sound is taken.
        pictures: a video of the ranges, one after the other, without sound.
        output: the new file.
        form: how the pictures were encoded.
        ranges: (begin, end) in the source, seconds from its first picture.

    Raises:
        OutputError: it cannot be written.
    """
    import av

    partial = output.with_name(f".{output.name}.part")
    options = {**SAME_BYTES, **({"movflags": "faststart"} if form.container != "webm" else {})}
    with VideoReader(source) as reader:
        info = replace(reader.info, timecode="")  # its first frame is not the source's
    try:
        with contextlib.ExitStack() as stack:
            out = stack.enter_context(av.open(str(partial), "w", format=form.container, container_options=options))
            written = stack.enter_context(av.open(str(pictures)))
            video = video_stream(out, written.streams.video[0], form, info)
            sound = _sound(stack, out, source, form, ranges)
            held = next(sound, None)
            for packet in written.demux(written.streams.video[0]):
                if packet.dts is None:
                    continue
                while held is not None and held.dts * held.time_base <= packet.dts * packet.time_base:
                    out.mux(held)
                    held = next(sound, None)
                packet.stream = video
                out.mux(packet)
            while held is not None:
                out.mux(held)
                held = next(sound, None)
        os.replace(partial, output)
    except (OSError, av.error.FFmpegError) as error:
        if isinstance(error, OutputError):
            raise
        raise OutputError(f"{output}: cannot be written ({error}); run the same command again") from error
    finally:
        partial.unlink(missing_ok=True)


def _sound(stack: contextlib.ExitStack, out: Any, source: Path, form: Format, ranges: Sequence[Range]) -> Iterator[Any]:
    """Packets of the sound of the ranges, for a stream that is added to `out` at once; none where there is no sound."""
    import av

    container = stack.enter_context(av.open(str(source)))
    if not container.streams.audio:
        return iter(())
    track, picture = container.streams.audio[0], picture_stream(container)
    rate = _OPUS_RATE if form.audio == "libopus" else track.codec_context.sample_rate
    stream = out.add_stream(form.audio, rate=rate, layout=layout_of(track))
    first = (picture.start_time or 0) * picture.time_base

    def packets() -> Iterator[Any]:
        done = 0
        for block in _samples_of(_blocks(container, track, rate, first), ranges, rate, len(track.layout.channels)):
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(block), format="fltp", layout=layout_of(track))
            frame.sample_rate, frame.pts, frame.time_base = rate, done, Fraction(1, rate)
            done += block.shape[1]
            yield from stream.encode(frame)
        yield from stream.encode(None)

    return packets()


def _blocks(container: Any, track: Any, rate: int, first: Fraction) -> Iterator[tuple[int, np.ndarray]]:
    """(place, counted in samples from the first picture; float32 (channels, n)) of all sound. Time stamps that are
    only rounded are put right: one block begins where the one before it ends."""
    import av

    resampler = av.AudioResampler(format="fltp", layout=layout_of(track), rate=rate)
    following: int | None = None
    decoded = container.decode(track)
    while True:
        try:
            frame = next(decoded, None)
        except av.error.FFmpegError:  # damaged: silence stands in for it
            continue
        for part in resampler.resample(frame):
            at = following
            if part.pts is not None:
                said = round((part.pts * part.time_base - first) * rate)
                at = said if following is None or abs(said - following) > _JITTER_S * rate else following
            at = at or 0
            following = at + part.samples
            yield at, part.to_ndarray()
        if frame is None:
            return


def _samples_of(
    blocks: Iterator[tuple[int, np.ndarray]], ranges: Sequence[Range], rate: int, channels: int
) -> Iterator[np.ndarray]:
    """float32 (channels, n), one after the other: the samples of all ranges, with silence where there is no sound."""
    blocks = iter(blocks)
    held: tuple[int, np.ndarray] | None = next(blocks, None)
    done, total = 0, Fraction(0)
    for begin, end in ranges:
        total += end - begin
        at, left = round(begin * rate), round(total * rate) - done  # as many as keep step with the pictures
        done += left
        while left > 0:
            while held is not None and held[0] + held[1].shape[1] <= at:
                held = next(blocks, None)
            if held is None or held[0] > at:
                missing = min(left, rate, left if held is None else held[0] - at)
                yield np.zeros((channels, missing), np.float32)
                at, left = at + missing, left - missing
                continue
            piece = held[1][:, at - held[0] :][:, :left]
            yield piece
            at, left = at + piece.shape[1], left - piece.shape[1]
