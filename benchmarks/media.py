"""What goes in comes out: colours, HDR, sound and time stamps of rendered videos beside those of their sources.

    python benchmarks/media.py [--data DIR] [--parts colour hdr sound time]

Sources are made from frames of a real clip; a box is followed through them, and the pixels far from it are compared.
Colour: mean CIE76 difference of what a player shows of the source and of the result. HDR: the same, to the scene before
it was made HDR. Sound: how far a beep and a flash lie apart, in milliseconds, less the same in the source. Time: the
largest difference of a frame's time stamp.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator
from fractions import Fraction
from itertools import islice
from pathlib import Path

import av
import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))
from _data import parser, require, table

from identity_segmentation import IdentityAwareSegmentation
from identity_segmentation.engines.embedded_faces import EmbeddedFaces
from identity_segmentation.engines.embedded_masks import EmbeddedMasks
from identity_segmentation.images import read_image
from identity_segmentation.video.files import VideoReader

OUTPUTS = (".mp4", ".mov", ".webm", "")
# name: (matrix, primaries, transfer, pixel format, size); numbers of ITU-T H.273.
SOURCES = {
    "BT.601, 525 lines": (6, 6, 6, "yuv420p", (640, 480)),
    "BT.601, 625 lines": (5, 5, 6, "yuv420p", (720, 576)),
    "BT.709": (1, 1, 1, "yuv420p", (1280, 720)),
    "BT.709, 10 bit": (1, 1, 1, "yuv422p10le", (1280, 720)),
    "BT.2020": (9, 9, 1, "yuv420p", (1280, 720)),
    "BT.2020, 10 bit": (9, 9, 14, "yuv420p10le", (1280, 720)),
    "nothing said, 480 lines": (2, 2, 2, "yuv420p", (640, 480)),
    "nothing said, 720 lines": (2, 2, 2, "yuv420p", (1280, 720)),
}
SWSCALE = {1: 1, 2: 5, 5: 5, 6: 5, 9: 9}
BARS = [(0, 0, 255), (0, 255, 0), (255, 0, 0), (0, 255, 255), (255, 0, 255), (255, 255, 0), (80, 120, 200), (255,) * 3]
PEOPLE = IdentityAwareSegmentation(EmbeddedFaces(), EmbeddedMasks())


def pictures(data: Path, size: tuple[int, int], count: int) -> Iterator[np.ndarray]:
    with VideoReader(data / "identity/friends/friends.mp4") as reader:
        for frame in islice(reader, count):
            image = cv2.resize(frame.image, size)
            for number, colour in enumerate(BARS):  # across the top, far from the box
                x = number * size[0] // len(BARS)
                image[: size[1] // 6, x : x + size[0] // len(BARS)] = colour
            yield image


def delta_e(one: np.ndarray, other: np.ndarray) -> float:
    lab = [cv2.cvtColor(i.astype(np.float32) / 255, cv2.COLOR_BGR2LAB) for i in (one, other)]
    return float(np.linalg.norm(lab[0] - lab[1], axis=-1).mean())


def as_shown(path: Path, index: int) -> np.ndarray:
    """A frame as a player shows it: by its tags, else by its size."""
    if path.is_dir():
        return read_image(sorted(path.glob("*.png"))[index])  # as sRGB
    frame = next(islice(av.open(str(path)).decode(video=0), index, None))
    matrix = int(frame.colorspace)
    if matrix == 2:
        matrix = 1 if frame.width >= 1280 or frame.height > 576 else 6
    return frame.to_ndarray(format="bgr24", src_colorspace=SWSCALE[matrix])


def follow(source: Path, output: Path, size: tuple[int, int], **look) -> None:
    width, height = size
    box = (0.4 * width, 0.45 * height, 0.5 * width, 0.95 * height)
    PEOPLE.process_video(source, output, box=box, view="overlay", **look)


def colour(data: Path) -> None:
    rows = []
    for name, (matrix, primaries, transfer, pix_fmt, size) in SOURCES.items():
        with tempfile.TemporaryDirectory() as scratch:
            source = Path(scratch) / "in.mp4"
            with av.open(str(source), "w") as out:
                stream = out.add_stream("libx264", rate=30, options={"crf": "8"})
                (stream.width, stream.height), stream.pix_fmt = size, pix_fmt
                context = stream.codec_context
                context.colorspace, context.color_primaries, context.color_trc = matrix, primaries, transfer
                real = (1 if size[0] >= 1280 else 6) if matrix == 2 else matrix
                for i, image in enumerate(pictures(data, size, 8)):
                    frame = av.VideoFrame.from_ndarray(image, format="bgr24")
                    frame = frame.reformat(format=pix_fmt, dst_colorspace=SWSCALE[real], dst_color_range=1)
                    frame.colorspace, frame.pts, frame.time_base = matrix, i, Fraction(1, 30)
                    out.mux(stream.encode(frame))
                out.mux(stream.encode(None))
            cells: list[str] = []
            for suffix in OUTPUTS:
                output = Path(scratch) / f"out{suffix}"
                follow(source, output, size)
                top = np.s_[: size[1] // 7]
                want = as_shown(source, 4)
                if suffix == "" and primaries == 9:  # a profile says that these are of BT.2020
                    from PIL import Image

                    got = np.asarray(Image.open(sorted(output.glob("*.png"))[4]))[..., ::-1]
                else:
                    got = as_shown(output, 4)
                cells.append(f"{delta_e(want[top], got[top]):.2f}")
            rows.append((name, *cells))
    print("\n### Colour: mean difference (CIE76) of untouched pixels\n")
    print(table(("source", ".mp4", ".mov", ".webm", "PNG"), rows))


def hdr(data: Path) -> None:
    to_2020 = np.array([[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]])

    def pq(light: np.ndarray) -> np.ndarray:
        part = np.clip(light / 10000, 0, 1) ** 0.1593017578125
        return ((0.8359375 + 18.8515625 * part) / (1 + 18.6875 * part)) ** 78.84375

    def hlg(light: np.ndarray) -> np.ndarray:
        luma = light @ np.array([0.2627, 0.6780, 0.0593]) / 1000
        scene = light / 1000 * np.maximum(luma, 1e-9)[..., None] ** (1 / 1.2 - 1)
        log = 0.17883277 * np.log(np.maximum(12 * scene - 0.28466892, 1e-9)) + 0.55991073
        return np.where(scene <= 1 / 12, np.sqrt(3 * scene), log)

    rows = []
    for name, transfer, coded in (("PQ", 16, pq), ("HLG", 18, hlg)):
        with tempfile.TemporaryDirectory() as scratch:
            source, output, size = Path(scratch) / "in.mp4", Path(scratch) / "out.mp4", (640, 360)
            scene = list(pictures(data, size, 6))
            _write_hdr(source, scene, size, transfer, lambda linear, code=coded: code(203 * (linear @ to_2020.T)))
            follow(source, output, size)
            rows.append((name, f"{delta_e(scene[4], as_shown(output, 4)):.2f}"))
    print("\n### HDR, white at 203 cd/m2: mean difference (CIE76) to the scene in SDR\n")
    print(table(("source", ".mp4"), rows))


def _write_hdr(
    path: Path, scene: list[np.ndarray], size: tuple[int, int], transfer: int, coded: Callable[[np.ndarray], np.ndarray]
) -> None:
    width, height = size
    tags = f"colorprim=9:transfer={transfer}:colormatrix=9:range=limited"
    with av.open(str(path), "w") as out:
        options = {"crf": "8", "preset": "ultrafast", "x265-params": f"log-level=none:{tags}"}
        stream = out.add_stream("libx265", rate=30, options=options)
        (stream.width, stream.height), stream.pix_fmt = size, "yuv420p10le"
        context = stream.codec_context
        context.colorspace, context.color_primaries, context.color_trc, context.color_range = 9, 9, transfer, 1
        for i, image in enumerate(scene):
            rgb = image[..., ::-1] / 255
            linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
            red, green, blue = np.moveaxis(coded(linear), -1, 0)
            luma = 0.2627 * red + 0.678 * green + 0.0593 * blue
            small = [
                512 + 896 * v.reshape(height // 2, 2, width // 2, 2).mean((1, 3))
                for v in ((blue - luma) / 1.8814, (red - luma) / 1.4746)
            ]
            frame = av.VideoFrame(width, height, "yuv420p10le")
            for plane, values in zip(frame.planes, (64 + 876 * luma, *small), strict=True):
                rows = np.zeros((plane.height, plane.line_size // 2), np.uint16)
                rows[:, : values.shape[1]] = values.round()
                plane.update(rows.tobytes())
            frame.colorspace, frame.pts, frame.time_base = 9, i, Fraction(1, 30)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))


def _clip(path: Path, codec: str, begin: float = 0.0, gap: tuple[float, float] = (9, 9), first: float = 0.0) -> None:
    """A flash and a beep at 3 s; sound from `begin`, none in `gap`; a picture from `first` on."""
    with av.open(str(path), "w") as out:
        video = out.add_stream("libx264", rate=25)
        video.width, video.height, video.pix_fmt, video.codec_context.time_base = 320, 180, "yuv420p", Fraction(1, 1000)
        sound, packets = out.add_stream(codec, rate=48000), []
        sound.layout = "stereo"
        for i in range(round((4 - first) * 25)):
            at = first + i / 25
            image = np.full((180, 320, 3), 255 if abs(at - 3) < 0.01 else 40, np.uint8)
            image[60:120, 100 + i // 4 : 160 + i // 4] = (60, 90, 200)
            frame = av.VideoFrame.from_ndarray(image, format="bgr24")
            frame.pts, frame.time_base = round(at * 1000), Fraction(1, 1000)
            packets += video.encode(frame)
        for n in range(round(begin * 48000), 4 * 48000, 960):
            times = (n + np.arange(960)) / 48000
            if not gap[0] <= times[0] < gap[1]:
                beep = (0.6 * np.sin(6283 * times) * ((times >= 3) & (times < 3.1))).astype(np.float32)
                tone = av.AudioFrame.from_ndarray(np.tile(beep, (2, 1)), format="fltp", layout="stereo")
                tone.sample_rate, tone.pts, tone.time_base = 48000, n, Fraction(1, 48000)
                packets += sound.encode(tone)
        packets += [*video.encode(None), *sound.encode(None)]
        for packet in sorted(packets, key=lambda p: p.dts * p.time_base):
            out.mux(packet)


def _apart(path: Path) -> float:
    """Milliseconds from the flash to the beep."""
    frames = [
        (f.to_ndarray(format="gray").mean(), float(f.pts * f.time_base)) for f in av.open(str(path)).decode(video=0)
    ]
    flash = max(frames)[1]
    mono = av.AudioResampler(format="fltp", layout="mono")
    for frame in av.open(str(path)).decode(audio=0):
        at = float(frame.pts * frame.time_base)
        for part in mono.resample(frame):
            loud = np.flatnonzero(np.abs(part.to_ndarray()[0]) > 0.2)
            if len(loud):
                return 1000 * (at + loud[0] / part.sample_rate - flash)
    return float("nan")


def sound(data: Path) -> None:
    rows = []
    cases = {
        "begins 1 s late": {"begin": 1.0},
        "has a gap of 0.7 s": {"gap": (1.5, 2.2)},
        "begins first": {"first": 1.0},
    }
    for container, codec in ((".mp4", "aac"), (".mkv", "pcm_s16le"), (".mkv", "libopus"), (".mkv", "ac3")):
        for case, how in cases.items():
            with tempfile.TemporaryDirectory() as scratch:
                source, cells = Path(scratch) / f"in{container}", []
                _clip(source, codec, **how)
                for suffix in OUTPUTS[:3]:
                    output = Path(scratch) / f"out{suffix}"
                    PEOPLE.process_video(source, output, box=(100, 60, 160, 120), view="overlay", frame_sampling=25)
                    cells.append(f"{_apart(output) - _apart(source):+.1f}")
                rows.append((f"{codec} in {container}", case, *cells))
    print("\n### Sound: ms by which it moved against the picture\n")
    print(table(("source", "sound", *OUTPUTS[:3]), rows))


def time(data: Path) -> None:
    rows = []
    small = list(pictures(data, (320, 180), 120))
    cases = {
        "30 a second, then 5": [i for i in range(120) if i < 40 or i % 6 == 0],
        "5 a second, then 30": [i for i in range(120) if i > 80 or i % 6 == 0],
    }
    for name, shown in cases.items():
        with tempfile.TemporaryDirectory() as scratch:
            source = Path(scratch) / "in.mkv"
            with av.open(str(source), "w") as out:
                stream = out.add_stream("libx264", rate=30)
                stream.width, stream.height, stream.pix_fmt = 320, 180, "yuv420p"
                stream.codec_context.time_base = Fraction(1, 1000)
                for i in shown:
                    frame = av.VideoFrame.from_ndarray(small[i], format="bgr24")
                    frame.pts, frame.time_base = round(i * 1000 / 30), Fraction(1, 1000)
                    out.mux(stream.encode(frame))
                out.mux(stream.encode(None))
            want = [float(f.pts * f.time_base) for f in av.open(str(source)).decode(video=0)]
            cells = []
            for suffix in OUTPUTS[:3]:
                output = Path(scratch) / f"out{suffix}"
                follow(source, output, (320, 180))
                got = [float(f.pts * f.time_base) for f in av.open(str(output)).decode(video=0)]
                worst = max(abs((a - want[0]) - (b - got[0])) for a, b in zip(want, got, strict=True))
                cells.append(f"{1000 * worst:.1f}")
            rows.append((name, len(want), *cells))
    print("\n### Time: largest difference of a time stamp, ms\n")
    print(table(("source", "frames", *OUTPUTS[:3]), rows))


def main() -> None:
    parts = {"colour": colour, "hdr": hdr, "sound": sound, "time": time}
    arguments = parser(__doc__.split("\n")[0])
    arguments.add_argument("--parts", nargs="*", choices=parts, default=list(parts))
    options = arguments.parse_args()
    data = require(options.data)
    for part in options.parts:
        parts[part](data)


if __name__ == "__main__":
    main()
