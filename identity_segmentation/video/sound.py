"""A video's sound, carried into another file: every track, at its times. (Notebook section 7.)

A track is copied bit by bit where the container takes its codec. Else it is encoded anew: silence where there was none
to be heard - before a late start, in a gap - keeps every sample at its time. Voices can be made lower or higher, and
the sound can be left out.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from .facts import zero_of

logger = logging.getLogger(__name__)

# Audio codecs that a container takes as they are.
_COPIED = {
    ".mp4": {"aac", "mp3", "ac3", "eac3", "alac", "opus", "flac"},
    ".webm": {"opus", "vorbis", "libopus", "libvorbis"},
    ".mov": {"aac", "mp3", "ac3", "alac"},
}
# Codecs without loss, written anew sample by sample: QuickTime counts the samples of PCM, and would close its gaps.
_REWRITTEN = {".mov": {"pcm_s16le", "pcm_s16be", "pcm_s24le", "pcm_s24be", "pcm_s32le", "pcm_f32le"}}
_STEREO_AT_MOST = ("libopus",)  # FFmpeg's encoder takes few layouts of more channels
VOICES = ("", "mute", "low", "high")  # what may be done with the sound: nothing, left out, lower, higher
# A fourth of a scale (5 semitones) either way: speech stays easy to follow, and the speaker's own pitch is gone.
_PITCH = {"low": 2 ** (-5 / 12), "high": 2 ** (5 / 12)}
_SLACK = 0.004  # seconds: time stamps of frames are rounded, to milliseconds by some containers


@dataclass(frozen=True)
class Carried:
    """What became of a video's sound.

    Attributes:
        tracks: how many there are in the result.
        remarks: what was lost or changed, a sentence each.
        lost: how many of the source's are not in the result.
        voice: what was done with it, one of `VOICES`; "" also where there was no sound to do it with.
    """

    tracks: int = 0
    remarks: tuple[str, ...] = ()
    lost: int = 0
    voice: str = ""

    @property
    def said(self) -> str:
        """In a word or two: "sound kept" only where all of it was."""
        if self.voice == "mute":
            return "sound removed"
        changed = {"low": ", voices lower", "high": ", voices higher"}.get(self.voice, "")
        if self.tracks and not self.lost:
            return f"sound kept{f' ({self.tracks} tracks)' if self.tracks > 1 else ''}{changed}"
        return f"{self.tracks} sound track(s) kept, not all{changed}" if self.tracks else "no sound"


_LOST = "is not carried over"


class Sound:
    """The tracks of a source, fed into an output in step with its picture.

    Args:
        stack: closes what is opened.
        out: of PyAV, for writing; the streams are added to it.
        source: the video.
        suffix: of the output.
        codec: for tracks that the container does not take as they are.
        voice: one of `VOICES`. "mute": no track is written. "low", "high": every track is decoded, its pitch is moved
            by 5 semitones while its length and its times stay, and it is encoded.

    Raises:
        InputError: an unknown voice.
    """

    def __init__(self, stack: contextlib.ExitStack, out: Any, source: Path, suffix: str, codec: str, voice: str = ""):
        import av

        if voice not in VOICES:
            raise InputError(f"unknown voice {voice!r}; expected low, high or mute")
        self._out = out
        self._voice = voice
        self._tracks: list[_Track] = []
        remarks: list[str] = []
        with av.open(str(source)) as container:
            count = len(container.streams.audio)
            remarks += [
                f"a track of subtitles ({s.language or 'no language given'}) {_LOST}"
                for s in container.streams.subtitles
            ]
        for number in range(0 if voice == "mute" else count):
            try:
                track = _Track(stack, out, source, number, suffix, codec, voice)
            except (av.error.FFmpegError, ValueError, NotImplementedError) as error:
                remarks.append(f"sound track {number + 1} of {count} {_LOST}: {error}")
                continue
            self._tracks.append(track)
            if track.remark:
                remarks.append(f"sound track {number + 1} of {count}: {track.remark}")
        self._remarks, self._count = remarks, count

    @property
    def carried(self) -> Carried:
        """What became of the tracks; to be asked at the end."""
        silent = [track for track in self._tracks if not track.written]
        remarks = [*self._remarks, *(f"a sound track {_LOST}: nothing of it can be read" for _ in silent)]
        kept = len(self._tracks) - len(silent)
        return Carried(
            kept, tuple(remarks), 0 if self._voice == "mute" else self._count - kept, self._voice if self._count else ""
        )

    def up_to(self, seconds: float) -> None:
        """Write all sound up to a time of the result."""
        while True:
            due = [(track.next_at(), n) for n, track in enumerate(self._tracks)]
            at, number = min(due, default=(None, 0), key=lambda entry: (entry[0] is None, entry[0], entry[1]))
            if at is None or at > seconds:
                return
            self._out.mux(self._tracks[number].take())


class _Track:
    """One track: its packets in the output's terms, in order."""

    def __init__(
        self, stack: contextlib.ExitStack, out: Any, source: Path, number: int, suffix: str, codec: str, voice: str = ""
    ):
        import av
        from av.stream import Discard

        container: Any = stack.enter_context(av.open(str(source)))
        track = container.streams.audio[number]
        self._zero = zero_of(container)
        for other in container.streams:
            if other.index != track.index and other.type != "data":
                other.discard = Discard.all  # need not be read
        self.remark, self.written = "", False
        self._samples = 0  # given to the encoder so far
        self._held: tuple[float, Any] | None = None
        self._packets: Iterator[tuple[float, Any]]
        if track.codec_context is None:
            raise ValueError("its codec is not known here")
        # A codec, not its decoder: that of mp3 is called "mp3float".
        name = track.codec_context.codec.canonical_name
        self._pitch = _PITCH.get(voice, 1.0)
        if name in _COPIED[suffix] and self._pitch == 1:
            self._stream = out.add_stream_from_template(track)
            self._packets = self._copied(container, track)
        else:
            same = name in _REWRITTEN.get(suffix, ())
            self._stream = self._encoder(out, track, name if same else codec)
            self._packets = self._encoded(container, track)
        self._stream.metadata.update({k: v for k, v in track.metadata.items() if k in ("language", "title")})

    def _encoder(self, out: Any, track: Any, codec: str) -> Any:
        import av

        rate = 48000 if codec == "libopus" else track.codec_context.sample_rate
        layout = layout_of(track)
        if codec in _STEREO_AT_MOST and track.layout.nb_channels > 2:
            self.remark, layout = f"{layout} became stereo", "stereo"
        stream = out.add_stream(codec, rate=rate)
        stream.layout = layout
        self._resampler = av.AudioResampler(format=stream.codec_context.format, layout=layout, rate=rate)
        self._changed = _Pitch(stream.codec_context.format.name, layout, rate, self._pitch)
        return stream

    def next_at(self) -> float | None:
        """The time of the next packet; None at the end."""
        if self._held is None:
            self._held = next(self._packets, None)
        return None if self._held is None else self._held[0]

    def take(self) -> Any:
        """The packet that was announced."""
        assert self._held is not None
        (_, packet), self._held = self._held, None
        self.written = True
        return packet

    def _copied(self, container: Any, track: Any) -> Iterator[tuple[float, Any]]:
        shift = round(self._zero / track.time_base)
        for packet in _safe_demux(container, track):
            if packet.dts is None:
                continue
            packet.pts = (packet.dts if packet.pts is None else packet.pts) - shift
            packet.dts -= shift
            if shift > 0 and packet.pts + (packet.duration or 0) <= 0:
                continue  # sound from before the first picture
            at = float(packet.dts * packet.time_base)
            packet.stream = self._stream
            yield at, packet

    def _encoded(self, container: Any, track: Any) -> Iterator[tuple[float, Any]]:
        import av

        fifo = av.AudioFifo()
        size = self._stream.codec_context.frame_size or 1024
        for frame in self._at_their_times(_decoded(container, track)):
            for part in self._resampler.resample(frame):
                for heard in self._changed.take(part):
                    fifo.write(heard)
            while fifo.samples >= size:
                yield from self._coded(fifo.read(size))
        for part in self._resampler.resample(None):
            for heard in self._changed.take(part):
                fifo.write(heard)
        for heard in self._changed.rest():
            fifo.write(heard)
        rest = fifo.read(0, partial=True) if fifo.samples else None
        if rest is not None:
            yield from self._coded(rest)
        yield from self._coded(None)

    def _coded(self, frame: Any) -> Iterator[tuple[float, Any]]:
        if frame is not None:
            # PyAV's queue counts in the time base of what it was given, which silence does not have.
            frame.pts, frame.time_base = self._samples, Fraction(1, frame.sample_rate)
            self._samples += frame.samples
        for packet in self._stream.encode(frame):
            yield float(packet.dts * packet.time_base), packet

    def _at_their_times(self, frames: Iterator[Any]) -> Iterator[Any]:
        """The frames without their time stamps, one after the other: silence is put in where none are, and what would
        be heard before its time, or twice, is cut."""
        begun = 0  # samples so far
        for frame in frames:
            rate = frame.sample_rate
            if frame.pts is not None:
                ahead = round((float(frame.pts * frame.time_base) - self._zero) * rate) - begun
                if ahead > _SLACK * rate:
                    begun += ahead
                    yield from _silence(frame, ahead)
                elif ahead < -_SLACK * rate or begun == 0 > ahead:
                    frame = _without(frame, -ahead)
            if frame is not None:
                begun += frame.samples
                frame.pts = None
                yield frame


class _Pitch:
    """Sound at another pitch, sample for sample as long as it was.

    It is played faster or slower, which moves the pitch, and stretched back to its length by pieces of itself that
    overlap (WSOLA: Verhelst and Roelands, ICASSP 1993). Both are FFmpeg's filters, `asetrate` and `atempo`.

    Args:
        form: sample format, by FFmpeg's name.
        layout: of the channels.
        rate: samples a second.
        pitch: factor; 1 = frames go through as they are.
    """

    def __init__(self, form: str, layout: str, rate: int, pitch: float):
        self._like = (form, layout, rate)
        self._came = self._went = 0
        self._graph: Any = None
        if pitch != 1:
            self._graph = _pitch_graph(form, layout, rate, pitch)

    def take(self, frame: Any) -> Iterator[Any]:
        """What can be said after one more frame; its time is the number of samples before it."""
        if self._graph is None:
            frame.pts = None
            yield frame
            return
        form, layout, rate = self._like
        frame.pts, frame.time_base = self._came, Fraction(1, rate)
        if not self._came:
            self._went = round(_EARLY * rate)
            yield from _timed(_silence(_frame_like(form, layout, rate), self._went), rate)
        self._came += frame.samples
        self._graph.push(frame)
        yield from self._pulled()

    def rest(self) -> Iterator[Any]:
        """The end, cut or filled up with silence so that as much went out as came in."""
        if self._graph is None:
            return
        self._graph.push(None)
        yield from self._pulled(ended=True)
        form, layout, rate = self._like
        if self._went < self._came:
            yield from _timed(_silence(_frame_like(form, layout, rate), self._came - self._went), rate)

    def _pulled(self, ended: bool = False) -> Iterator[Any]:
        import av

        while True:
            try:
                frame = self._graph.pull()
            except (av.error.BlockingIOError, av.error.EOFError):
                return
            over = self._went + frame.samples - self._came
            if ended and over >= frame.samples:
                continue
            if ended and over > 0:
                frame = _stretch(frame, 0, frame.samples - over)
            self._went += frame.samples
            yield from _timed([frame], self._like[2])


_INNER = 48000  # samples a second between the filters
# `atempo` cuts pieces of 1/24 s, rounded up to a power of two samples, and moves each to where it fits best. Told half
# the rate it cuts pieces of 21 ms: long enough for a low voice, and nothing is moved by more than half of that.
_TOLD = _INNER // 2
_EARLY = 0.005  # seconds by which sound comes out of it early, in the mean of tones, hums and rates (1 to 7 ms)


def _pitch_graph(form: str, layout: str, rate: int, pitch: float) -> Any:
    """FFmpeg's filters that move the pitch; see `_Pitch`."""
    import av

    graph = av.filter.Graph()
    faster = round(_INNER * pitch)
    given = {"sample_rate": str(rate), "sample_fmt": form, "channel_layout": layout, "time_base": f"1/{rate}"}
    steps = [
        ("aresample", str(_INNER)), ("asetrate", str(faster)), ("aresample", str(_INNER)),
        ("asetrate", str(_TOLD)), ("atempo", repr(_INNER / faster)), ("asetrate", str(_INNER)),
        ("aresample", str(rate)), ("aformat", f"sample_fmts={form}:channel_layouts={layout}"),
    ]  # fmt: skip
    nodes = [graph.add("abuffer", **given), *(graph.add(*step) for step in steps), graph.add("abuffersink")]
    for node, following in itertools.pairwise(nodes):
        node.link_to(following)
    graph.configure()
    return graph


def _timed(frames: Iterable[Any], rate: int) -> Iterator[Any]:
    """Frames as PyAV's queue wants them to count their samples: a time base, and no time."""
    for frame in frames:
        frame.pts, frame.time_base = None, Fraction(1, rate)
        yield frame


def _frame_like(form: str, layout: str, rate: int) -> Any:
    """A frame that says what samples are like."""
    import av

    frame = av.AudioFrame(form, layout, 1)
    frame.sample_rate = rate
    return frame


def layout_of(track: Any) -> str:
    """Which channel is which, as encoders and filters want to be told, where a track does not say.

    Args:
        track: of PyAV.
    """
    name = track.layout.name
    nameless = not name or name.split(" ")[-1] in ("channel", "channels")
    return _LAYOUTS.get(track.layout.nb_channels, name) if nameless else name


_LAYOUTS = {1: "mono", 2: "stereo", 3: "2.1", 4: "4.0", 5: "5.0", 6: "5.1", 7: "6.1", 8: "7.1"}


def _decoded(container: Any, track: Any) -> Iterator[Any]:
    import av

    for packet in _safe_demux(container, track):
        try:
            frames = packet.decode()
        except av.error.FFmpegError:
            continue
        yield from frames


def _silence(like: Any, samples: int) -> Iterator[Any]:
    """Silent frames of the same kind, a second each at most."""
    import av

    while samples > 0:
        length = min(samples, like.sample_rate)
        frame = av.AudioFrame(like.format.name, like.layout.name, length)
        frame.sample_rate = like.sample_rate
        zero = b"\x80" if like.format.name.startswith("u8") else b"\0"
        for plane in frame.planes:
            plane.update(zero * plane.buffer_size)
        yield frame
        samples -= length


def _without(frame: Any, samples: int) -> Any:
    """A frame less its first samples; None if nothing is left."""
    return None if samples >= frame.samples else _stretch(frame, samples, frame.samples)


def _stretch(frame: Any, begin: int, end: int) -> Any:
    """Some of a frame's samples as a frame."""
    import av

    each = 1 if frame.format.is_planar else frame.layout.nb_channels
    values = np.ascontiguousarray(frame.to_ndarray()[:, begin * each : end * each])
    rest = av.AudioFrame.from_ndarray(values, format=frame.format.name, layout=frame.layout.name)
    rest.sample_rate = frame.sample_rate
    return rest


def _safe_demux(container: Any, track: Any) -> Iterator[Any]:
    import av

    try:
        yield from container.demux(track)
    except av.error.FFmpegError as error:
        logger.warning("the sound ends early (%s)", error)


def chapters_from(container: Any, zero: float) -> list[dict]:
    """A container's chapters, their times counted from `zero` seconds of its own."""
    found = []
    for chapter in container.chapters():
        base = Fraction(chapter["time_base"])
        begin, end = (max(0, round(chapter[key] - zero / base)) for key in ("start", "end"))
        if end > begin:
            found.append({**chapter, "start": begin, "end": end})
    return found


def metadata_from(metadata: Mapping[str, str]) -> dict[str, str]:
    """What a file says about itself, less what speaks of its container."""
    return {key: value for key, value in metadata.items() if key.lower() not in _OF_CONTAINERS}


_OF_CONTAINERS = {
    "major_brand", "minor_version", "compatible_brands", "encoder", "timecode", "duration", "handler_name", "vendor_id",
}  # fmt: skip
