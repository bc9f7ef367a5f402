"""The sound of a covered person: voices made lower or higher at their times, or no sound at all."""

from __future__ import annotations

import contextlib
from pathlib import Path

import av
import numpy as np
import pytest

from identity_segmentation import InputError
from identity_segmentation.video.sound import Sound

RATE = 48000
FOURTH = {"low": 2 ** (-5 / 12), "high": 2 ** (5 / 12)}


def tone(seconds: float, bursts, hertz: float = 440, rate: int = RATE) -> np.ndarray:
    """float32 (N,): silence, with a tone from each start to each end in `bursts`."""
    t = np.arange(round(seconds * rate)) / rate
    wave = np.zeros(len(t), np.float32)
    for begin, end in bursts:
        on = (t >= begin) & (t < end)
        wave[on] = 0.4 * np.sin(2 * np.pi * hertz * t[on])
    return wave


def film(path: Path, tracks, codec: str = "aac", late: float = 0.0, rate: int = RATE, layout: str = "mono") -> Path:
    """A file with a picture and tracks of sound; `late` seconds pass before the sound begins."""
    with av.open(str(path), "w") as out:
        picture = out.add_stream("libx264", rate=25)
        picture.width = picture.height = 64
        picture.pix_fmt = "yuv420p"
        streams = [out.add_stream(codec, rate=rate) for _ in tracks]
        for stream in streams:
            stream.layout = layout
        for i in range(25):
            frame = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="bgr24")
            frame.pts = i
            out.mux(picture.encode(frame))
        out.mux(picture.encode(None))
        for stream, wave in zip(streams, tracks, strict=True):
            channels = 1 if layout == "mono" else 2
            for start in range(0, len(wave), 1024):
                part = np.repeat(wave[None, start : start + 1024], channels, 0)
                frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(part), format="fltp", layout=layout)
                frame.sample_rate, frame.pts = rate, start + round(late * rate)
                out.mux(stream.encode(frame))
            out.mux(stream.encode(None))
    return path


def carried(source: Path, output: Path, voice: str):
    with contextlib.ExitStack() as stack:
        out = stack.enter_context(av.open(str(output), "w"))
        picture = out.add_stream("libvpx" if output.suffix == ".webm" else "libx264", rate=25)
        picture.width = picture.height = 64
        picture.pix_fmt = "yuv420p"
        codec = {".mp4": "aac", ".mov": "pcm_s16le", ".webm": "libopus"}[output.suffix]
        sound = Sound(stack, out, source, output.suffix, codec, voice)
        for i in range(25):
            frame = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="bgr24")
            frame.pts = i
            out.mux(picture.encode(frame))
        out.mux(picture.encode(None))
        sound.up_to(float("inf"))
        return sound.carried


def heard(path: Path, track: int = 0) -> tuple[np.ndarray, int]:
    """(float (N,) samples from time 0, samples a second): silence until the first frame's time."""
    with av.open(str(path)) as source:
        stream = source.streams.audio[track]
        rate, parts, begin = stream.codec_context.sample_rate, [], None
        for frame in source.decode(stream):
            begin = float(frame.pts * frame.time_base) if begin is None else begin
            values = frame.to_ndarray()
            values = values if frame.format.is_planar else values.reshape(-1, frame.layout.nb_channels).T
            scale = 1.0 if frame.format.name.startswith("flt") else 32768.0
            parts.append(values[0].astype(float) / scale)
        wave = np.concatenate(parts)
        first = round((begin or 0) * rate)
        return (np.concatenate([np.zeros(first), wave]) if first >= 0 else wave[-first:]), rate


def pitch(wave: np.ndarray, rate: int) -> float:
    spectrum = np.abs(np.fft.rfft(wave * np.hanning(len(wave)), 1 << 18))
    return float(spectrum.argmax() * rate / (1 << 18))


def edges(wave: np.ndarray, rate: int) -> np.ndarray:
    """Seconds at which the loudness, in steps of 2 ms, passes a quarter of the loudest."""
    step = round(rate * 0.002)
    loud = np.abs(wave[: len(wave) // step * step]).reshape(-1, step).max(1)
    on = loud > loud.max() / 4
    return np.flatnonzero(on[1:] != on[:-1]) * 0.002


@pytest.mark.parametrize("voice", ("low", "high"))
@pytest.mark.parametrize("rate", (48000, 44100, 16000))
def test_a_tone_moves_by_a_fourth_and_the_sound_stays_as_long(voice, rate, tmp_path):
    wave = tone(2.0, [(0, 2.0)], rate=rate)
    source = film(tmp_path / "in.mp4", [wave], rate=rate)
    assert carried(source, tmp_path / "out.mp4", voice).tracks == 1
    (before, _), (after, now) = heard(source), heard(tmp_path / "out.mp4")
    assert now == rate
    assert pitch(before, rate) == pytest.approx(440, abs=1)
    assert pitch(after[rate // 2 : -rate // 2], rate) == pytest.approx(440 * FOURTH[voice], rel=0.01)
    assert abs(len(after) - len(before)) <= max(0.005 * rate, 1024), "an encoder's last frame is filled up"


@pytest.mark.parametrize("voice", ("low", "high"))
@pytest.mark.parametrize("suffix", (".mp4", ".mov", ".webm"))
def test_what_is_heard_stays_at_its_time(voice, suffix, tmp_path):
    bursts = [(0.3, 0.5), (0.81, 1.03), (1.37, 1.61), (2.05, 2.2), (2.52, 2.77), (3.14, 3.4), (3.71, 3.93)]
    source = film(tmp_path / "in.mov", [tone(4.2, bursts)], "pcm_s16le" if suffix == ".mov" else "aac", late=0.4)
    carried(source, tmp_path / f"out{suffix}", voice)
    wave, rate = heard(tmp_path / f"out{suffix}")
    found = edges(wave, rate)
    expected = np.array(bursts).ravel() + 0.4
    off = np.array([found[np.abs(found - at).argmin()] - at for at in expected])
    assert abs(off.mean()) <= 0.005, off
    assert np.abs(off).max() <= 0.02, "and nothing is moved by more than a piece that overlaps"
    assert len(wave) / rate == pytest.approx(4.6, abs=0.03 if suffix != ".mov" else 0.001)


def test_every_track_and_channel_is_changed_not_the_first_alone(tmp_path):
    tracks = [tone(1.5, [(0, 1.5)], hertz) for hertz in (440, 880)]
    source = film(tmp_path / "in.mp4", tracks, layout="stereo")
    result = carried(source, tmp_path / "out.mp4", "low")
    assert result.said == "sound kept (2 tracks), voices lower"
    for track, hertz in enumerate((440, 880)):
        wave, rate = heard(tmp_path / "out.mp4", track)
        assert pitch(wave[rate // 4 : -rate // 4], rate) == pytest.approx(hertz * FOURTH["low"], rel=0.01)
    with av.open(str(tmp_path / "out.mp4")) as out:
        assert [s.codec_context.layout.name for s in out.streams.audio] == ["stereo", "stereo"]


def test_mute_leaves_no_track_and_says_so(tmp_path):
    source = film(tmp_path / "in.mp4", [tone(1.0, [(0, 1.0)])])
    result = carried(source, tmp_path / "out.mp4", "mute")
    assert (result.tracks, result.said) == (0, "sound removed")
    with av.open(str(tmp_path / "out.mp4")) as out:
        assert not out.streams.audio
    silent = film(tmp_path / "silent.mp4", [])
    assert carried(silent, tmp_path / "out2.mp4", "mute").said == "no sound", "nothing was there to remove"


def test_without_a_voice_the_sound_is_copied_as_before(tmp_path):
    source = film(tmp_path / "in.mp4", [tone(1.0, [(0, 1.0)])])
    assert carried(source, tmp_path / "out.mp4", "").said == "sound kept"

    def packets(path):
        with av.open(str(path)) as file:
            return [bytes(p) for p in file.demux(file.streams.audio[0]) if p.size]

    assert packets(tmp_path / "out.mp4") == packets(source)


def test_the_same_sound_gives_the_same_bytes(tmp_path):
    source = film(tmp_path / "in.mp4", [tone(1.0, [(0.2, 0.9)])])
    waves = []
    for name in ("a.mov", "b.mov"):
        carried(source, tmp_path / name, "high")
        waves.append(heard(tmp_path / name)[0])
    assert np.array_equal(*waves)


def test_an_unknown_voice_is_refused(tmp_path):
    source = film(tmp_path / "in.mp4", [tone(1.0, [(0, 1.0)])])
    with pytest.raises(InputError, match="low, high or mute"):
        carried(source, tmp_path / "out.mp4", "robot")
