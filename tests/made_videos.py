"""Makes small videos of every kind, and reads what came out as a player would, by arithmetic of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

from identity_segmentation.types import Segment

# Luma's share of red and of blue, by ITU-T H.273, table 4.
LUMA = {1: (0.2126, 0.0722), 5: (0.299, 0.114), 6: (0.299, 0.114), 7: (0.212, 0.087), 9: (0.2627, 0.0593)}
PATCHES = [
    (0, 0, 255), (0, 255, 0), (255, 0, 0), (0, 255, 255), (255, 0, 255), (255, 255, 0), (80, 120, 200), (255, 255, 255),
    (0, 0, 0), (40, 40, 40), (150, 60, 30), (30, 90, 160),
]  # fmt: skip
FLASH, BEEP = 255, 0.6


class WholeBox:
    """A segmenter that takes the whole box for the thing."""

    id = "whole-box"
    uses_neighbours = False

    def describe(self) -> str:
        return self.id

    def encode(self, image_bgr):
        return image_bgr.shape[:2]

    def by_box(self, encoded, boxes, faces=None, others=()):
        found = []
        for box in boxes:
            mask = np.zeros(encoded, bool)
            x0, y0, x1, y1 = (round(float(v)) for v in box)
            mask[y0:y1, x0:x1] = True
            found.append(Segment(mask, 0.9, box, self.id))
        return found


def chart(width: int, height: int) -> np.ndarray:
    """Patches of plain colours over the picture, uint8 (H, W, 3) BGR; the lowest fifth is a speckled floor."""
    image = np.zeros((height, width, 3), np.uint8)
    across = max(1, width // 6)
    for n, colour in enumerate(PATCHES):
        row, column = divmod(n, 6)
        image[row * height * 2 // 5 : (row + 1) * height * 2 // 5, column * across : (column + 1) * across] = colour
    floor = image[height * 4 // 5 :]
    floor[:] = np.random.default_rng(0).integers(60, 190, (*floor.shape[:2], 1))
    return image


def inside_patches(width: int, height: int) -> np.ndarray:
    """bool (H, W): pixels of the patches, away from their edges, where chroma is shared."""
    mask = np.zeros((height, width), bool)
    across, down = max(1, width // 6), height * 2 // 5
    for n in range(len(PATCHES)):
        row, column = divmod(n, 6)
        mask[row * down + down // 5 : (row + 1) * down - down // 5,
             column * across + across // 4 : (column + 1) * across - across // 4] = True  # fmt: skip
    return mask


# ---- making


def coded_frame(image: np.ndarray, pix_fmt: str, matrix: int = 1, full: bool = False) -> av.VideoFrame:
    """A picture as a frame of planes, by the equations of ITU-T H.273, section 8.3, not by FFmpeg's.

    Args:
        image: uint8 (H, W, 3) BGR.
        pix_fmt: FFmpeg's name of a planar YUV or GBR format of 8 or 10 bits.
        matrix: code number of the matrix; of no account for GBR.
        full: do the values take the whole range?
    """
    blue, green, red = np.moveaxis(image.astype(np.float64) / 255, -1, 0)
    bits = 10 if "10" in pix_fmt else 8
    if pix_fmt.startswith("gbrp"):
        planes = [v * (2**bits - 1) for v in (green, blue, red)]
    else:
        luma, first, second = _ycc(red, green, blue, matrix)
        one = 2 ** (bits - 8)
        black, white, chroma = (0, 2**bits - 1, 2**bits - 1) if full else (16 * one, 219 * one, 224 * one)
        planes = [black + white * luma, *(128 * one + chroma * shared(c, pix_fmt) for c in (first, second))]
    frame = av.VideoFrame(image.shape[1], image.shape[0], pix_fmt)
    kind = np.uint8 if bits == 8 else np.uint16
    for plane, values in zip(frame.planes, planes, strict=True):
        rows = np.zeros((plane.height, plane.line_size // kind().itemsize), kind)
        rows[:, : values.shape[1]] = values.round().clip(0, 2**bits - 1)
        plane.update(rows.tobytes())
    return frame


def _ycc(red, green, blue, matrix):
    share_r, share_b = LUMA[matrix]
    luma = share_r * red + (1 - share_r - share_b) * green + share_b * blue
    return luma, (blue - luma) / (2 - 2 * share_b), (red - luma) / (2 - 2 * share_r)


def shared(values: np.ndarray, pix_fmt: str) -> np.ndarray:
    """Chroma at the resolution of a pixel format."""
    across = 1 if "444" in pix_fmt else 2
    down = 2 if "420" in pix_fmt else 1
    height, width = values.shape
    values = np.pad(values, ((0, -height % down), (0, -width % across)), mode="edge")
    return values.reshape(values.shape[0] // down, down, values.shape[1] // across, across).mean((1, 3))


def write_frames(
    path: Path, frames: Iterable[av.VideoFrame], codec: str = "libx264", rate: Any = 25, options: Any = None,
    times: Sequence[float] | None = None, tags: Sequence[int] = (), aspect: Any = None, sounds: Sequence[Sound] = (),
    form: str | None = None, container_options: Any = None, prepare: Callable[[Any, Any], None] | None = None,
    shift: float = 0.0, time_base: Fraction | None = None,
) -> Path:  # fmt: skip
    """A video file of frames.

    Args:
        path: the file.
        frames: all of one size and format.
        codec, options, form, container_options: as FFmpeg calls them.
        rate: frames a second, as the file declares.
        times: seconds of each; None = by the rate.
        tags: (matrix, primaries, transfer, range); () = none.
        aspect: width of a pixel through its height.
        sounds: tracks of sound.
        prepare: called with (container, stream) before the first frame.
        shift: seconds that are added to all time stamps of packets, which may become negative.
        time_base: of the time stamps; None = milliseconds where there are `times`, else of the rate.
    """
    frames = list(frames)
    base = time_base or (Fraction(1, 1000) if times is not None else 1 / Fraction(rate))
    with av.open(str(path), "w", format=form, container_options=container_options or {}) as out:
        stream: Any = out.add_stream(codec, rate=rate, options=options or {})
        stream.width, stream.height, stream.pix_fmt = frames[0].width, frames[0].height, frames[0].format.name
        context = stream.codec_context
        context.time_base = base
        if tags:
            context.colorspace, context.color_primaries, context.color_trc, context.color_range = tags
        if aspect is not None:
            context.sample_aspect_ratio = aspect
        if prepare is not None:
            prepare(out, stream)
        tracks = [sound.added(out) for sound in sounds]
        packets = []
        for i, frame in enumerate(frames):
            frame.pts = i if times is None else round(times[i] / base)
            frame.time_base = base
            if tags:
                frame.colorspace, frame.color_primaries, frame.color_trc, frame.color_range = tags
            packets += stream.encode(frame)
        packets += stream.encode(None)
        for sound, track in zip(sounds, tracks, strict=True):
            packets += sound.packets(track)
        for packet in packets:
            packet.pts += round(shift / packet.time_base)
            packet.dts += round(shift / packet.time_base)
        for packet in sorted(packets, key=lambda p: p.dts * p.time_base):
            out.mux(packet)
    return path


class Sound:
    """A track: silence, and a beep of 1 kHz from `beep` on, a tenth of a second long.

    Args:
        codec: as FFmpeg calls it.
        begin, end: seconds.
        gap: seconds between which there is no sound at all.
        beep: seconds.
        layout: of the channels.
        metadata: language, title.
    """

    def __init__(
        self, codec: str = "aac", begin: float = 0.0, end: float = 1.6, gap: tuple[float, float] = (9, 9),
        beep: float = 1.0, layout: str = "stereo", metadata: dict[str, str] | None = None, rate: int = 48000,
    ):  # fmt: skip
        self.codec, self.begin, self.end, self.gap, self.beep = codec, begin, end, gap, beep
        self.layout, self.metadata, self.rate = layout, metadata or {}, rate

    def added(self, out: Any) -> Any:
        options = {"strict": "experimental"} if self.codec == "vorbis" else {}
        track = out.add_stream(self.codec, rate=self.rate, options=options)
        track.layout = self.layout
        track.metadata.update(self.metadata)
        return track

    def packets(self, track: Any) -> list[Any]:
        kind = track.codec_context.format.name
        size = track.codec_context.frame_size or 1024
        channels = track.layout.nb_channels
        found = []
        for n in range(round(self.begin * self.rate), round(self.end * self.rate), size):
            t = (n + np.arange(size)) / self.rate
            if self.gap[0] <= t[0] < self.gap[1]:
                continue
            wave = BEEP * np.sin(2 * np.pi * 1000 * t) * ((t >= self.beep) & (t < self.beep + 0.1))
            frame = av.AudioFrame.from_ndarray(
                np.tile(wave.astype(np.float32), (channels, 1)), format="fltp", layout=self.layout
            )
            frame.sample_rate, frame.pts, frame.time_base = self.rate, n, Fraction(1, self.rate)
            for part in av.AudioResampler(format=kind, layout=self.layout, rate=self.rate).resample(frame):
                part.pts, part.time_base = n, Fraction(1, self.rate)
                found += track.encode(part)
        return found + track.encode(None)


# ---- reading as a player does


def frames_of(path: Path, decoder: str | None = None) -> list[av.VideoFrame]:
    """All frames of the first video stream; `decoder` instead of FFmpeg's usual one."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        if decoder is None:
            return list(container.decode(stream))
        context = av.CodecContext.create(decoder, "r")
        return [f for packet in container.demux(stream) if packet.size for f in context.decode(packet)]


def shown(frame: av.VideoFrame) -> np.ndarray:
    """float64 (H, W, 3) BGR, 0..255, as a player shows a frame: by its tags; without a matrix BT.709 at 1280 pixels of
    width or more than 576 of height, else BT.601. Chroma is repeated, not interpolated."""
    name = frame.format.name
    values = [_plane(plane, name) for plane in frame.planes[:3]]
    top = 1023 if "10" in name else 65535 if "16" in name else 4095 if "12" in name else 255
    if name.startswith("gbr"):
        return np.stack([values[1], values[0], values[2]], -1) * (255 / top)
    one = (top + 1) / 256
    if frame.color_range == 2 or name.startswith("yuvj"):
        luma, chroma = values[0] / top, [(v - 128 * one) / top for v in values[1:]]
    else:
        luma, chroma = (values[0] - 16 * one) / (219 * one), [(v - 128 * one) / (224 * one) for v in values[1:]]
    first, second = (
        np.repeat(np.repeat(c, 2 if "420" in name else 1, 0), 1 if "444" in name else 2, 1)[
            : frame.height, : frame.width
        ]
        for c in chroma
    )
    matrix = int(frame.colorspace)
    share_r, share_b = LUMA.get(matrix) or LUMA[1 if frame.width >= 1280 or frame.height > 576 else 6]
    red = luma + second * (2 - 2 * share_r)
    blue = luma + first * (2 - 2 * share_b)
    green = (luma - share_r * red - share_b * blue) / (1 - share_r - share_b)
    return np.stack([blue, green, red], -1).clip(0, 1) * 255


def _plane(plane: Any, name: str) -> np.ndarray:
    kind = np.dtype(np.uint8 if not any(bits in name for bits in ("10", "12", "16")) else np.uint16)
    rows = np.frombuffer(plane, kind).reshape(plane.height, plane.line_size // kind.itemsize)
    return rows[:, : plane.width].astype(np.float64)


def delta_e(a: np.ndarray, b: np.ndarray) -> float:
    """Mean colour difference (CIE 1976) of BGR pictures, 0..255, read as sRGB."""
    a, b = (cv2.cvtColor((x / 255).astype(np.float32), cv2.COLOR_BGR2LAB) for x in (a, b))
    return float(np.sqrt(((a - b) ** 2).sum(-1)).mean())


def times_of(path: Path) -> list[float]:
    """Seconds of all frames, from the first."""
    with av.open(str(path)) as container:
        found = [float(f.pts * f.time_base) for f in container.decode(video=0)]
    return [t - found[0] for t in found]


def tags_of(path: Path) -> tuple[int, int, int, int]:
    """(matrix, primaries, transfer, range) of the first frame."""
    frame = frames_of(path)[0]
    return int(frame.colorspace), int(frame.color_primaries), int(frame.color_trc), int(frame.color_range)


def lip(path: Path, track: int = 0) -> float:
    """Seconds from the flash to the beep."""
    with av.open(str(path)) as container:
        flash = max(
            (f.to_ndarray(format="gray").mean(), -float(f.pts * f.time_base)) for f in container.decode(video=0)
        )
    with av.open(str(path)) as container:
        for at, values in _heard(container, container.streams.audio[track]):
            hit = np.flatnonzero(np.abs(values) > BEEP / 3)
            if len(hit):
                return at + hit[0] / container.streams.audio[track].rate + flash[1]
    raise AssertionError(f"no beep in {path}")


def _heard(container: Any, stream: Any) -> Iterator[tuple[float, np.ndarray]]:
    mono = av.AudioResampler(format="fltp", layout="mono")
    for frame in container.decode(stream):
        at = float(frame.pts * frame.time_base)
        for part in mono.resample(frame):
            yield at, part.to_ndarray()[0]
            at += part.samples / part.sample_rate


def packets_of(path: Path, track: int = 0) -> list[bytes]:
    """The packets of a track of sound."""
    with av.open(str(path)) as container:
        return [bytes(p) for p in container.demux(container.streams.audio[track]) if p.size]
