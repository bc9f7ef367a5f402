"""What goes in comes out: colours, HDR, the shape of pixels, fields, and transparency, as a player shows them."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from fakes import FakeFaces
from made_videos import (
    WholeBox,
    chart,
    coded_frame,
    delta_e,
    frames_of,
    inside_patches,
    shown,
    tags_of,
    times_of,
    write_frames,
)
from PIL import Image, ImageCms

from identity_segmentation import IdentityAwareSegmentation
from identity_segmentation.video.facts import BT709, HLG, PQ, Colour
from identity_segmentation.video.files import VideoReader
from identity_segmentation.video.writing import FORMATS, SegmentWriter, join_segments

GOOD = {"crf": "6", "preset": "ultrafast"}
SUFFIXES = (".mp4", ".mov", ".webm", "")
X265 = "log-level=none:range=limited:colorprim=bt2020:colormatrix=bt2020nc:transfer="
# name: (codec, pixel format, matrix of the values, tags as written: matrix, primaries, transfer, range)
SOURCES = {
    "bt601-525": ("libx264", "yuv420p", 6, (6, 6, 6, 1)),
    "bt601-625": ("libx264", "yuv420p", 5, (5, 5, 6, 1)),
    "bt709": ("libx264", "yuv420p", 1, (1, 1, 1, 1)),
    "display-p3": ("libx264", "yuv420p", 1, (1, 12, 1, 1)),
    "bt2020-8": ("libx264", "yuv420p", 9, (9, 9, 14, 1)),
    "bt2020-10": ("libx265", "yuv420p10le", 9, (9, 9, 14, 1)),
    "full-range-yuvj": ("libx264", "yuvj420p", 6, (6, 6, 6, 2)),
    "full-range-tagged": ("libx264", "yuv420p", 1, (1, 1, 1, 2)),
    "full-range-10": ("ffv1", "yuv422p10le", 1, (1, 1, 1, 2)),
    "4:4:4": ("libx264", "yuv444p", 1, (1, 1, 1, 1)),
    "4:2:2": ("libx264", "yuv422p", 1, (1, 1, 1, 1)),
    "4:2:2-10": ("ffv1", "yuv422p10le", 1, (1, 1, 1, 1)),
}


@pytest.fixture
def pipeline(tmp_path) -> IdentityAwareSegmentation:
    return IdentityAwareSegmentation(FakeFaces(), WholeBox(), gallery=tmp_path / "gallery")


def moving(width: int, height: int, i: int) -> np.ndarray:
    """The chart, and something to follow on its floor."""
    image = chart(width, height)
    x, y = width // 3 + 2 * i, height * 4 // 5
    image[y + 2 : height - 2, x : x + 20] = (40, 60, 200)
    return image


def box(width: int, height: int) -> tuple[int, int, int, int]:
    return width // 3, height * 4 // 5 + 2, width // 3 + 20, height - 2


def make(path: Path, kind: str, size: tuple[int, int], count: int = 3, **more) -> Path:
    codec, pix_fmt, matrix, tags = SOURCES[kind]
    options = {} if codec == "ffv1" else dict(GOOD)
    if codec == "libx265":
        options["x265-params"] = X265 + "bt2020-10"
    frames = [coded_frame(moving(*size, i), pix_fmt, matrix, tags[3] == 2) for i in range(count)]
    return write_frames(path, frames, codec, options=options, tags=tags, **more)


def rendered(pipeline, source: Path, suffix: str, where, **look) -> Path:
    """The source rendered, every frame looked at; opaque and untouched but for what is in the box."""
    output = source.with_name(f"{source.stem}_out{suffix}") if suffix else source.parent / f"{source.stem}_pictures"
    pipeline.process_video(source, output, "it", 1, box=where, **({"view": "overlay"} | look))
    return output


def pictures_of(path: Path) -> list[np.ndarray]:
    """What a player shows of each frame, BGR 0..255; of a folder what is in its files."""
    if path.is_dir():
        return [cv2.imread(str(p), cv2.IMREAD_UNCHANGED) for p in sorted(path.glob("*.png"))]
    return [shown(frame) for frame in frames_of(path)]


def difference(source: Path, output: Path, size: tuple[int, int], number: int = 1) -> float:
    """Mean delta E of the patches, which the view does not touch."""
    inside = inside_patches(*size)
    want, got = pictures_of(source)[number], pictures_of(output)[number]
    return delta_e(want[inside][None], got[inside][None])


# ---- colours


@pytest.mark.parametrize("kind", SOURCES)
def test_colours_come_out_as_they_went_in_with_the_tags_that_say_so(pipeline, tmp_path, kind):
    size = (192, 96)
    source = make(tmp_path / ("a.mkv" if SOURCES[kind][0] == "ffv1" else "a.mp4"), kind, size)
    assert tags_of(source)[0] == SOURCES[kind][3][0], "the source says what it is"
    for suffix in SUFFIXES:
        output = rendered(pipeline, source, suffix, box(*size))
        assert difference(source, output, size) < 2.5, suffix
        picture = pictures_of(output)[1]
        # The patches 8 to 10 of the chart: a wrong range shows here.
        greys = [picture[50:66, 70:90].mean(), picture[50:66, 102:122].mean(), picture[12:28, 38:58, 1].mean()]
        assert greys == pytest.approx([0, 40, 255], abs=3), suffix
        if suffix:
            assert tags_of(output) == (*SOURCES[kind][3][:3], 1), suffix


@pytest.mark.parametrize("kind", ["bt2020-10", "display-p3", "bt709"])
def test_pictures_of_wide_colours_carry_a_profile_that_says_so(pipeline, tmp_path, kind):
    folder = rendered(pipeline, make(tmp_path / "a.mp4", kind, (192, 96)), "", box(192, 96))
    with Image.open(sorted(folder.iterdir())[0]) as picture:
        profile = picture.info.get("icc_profile")
    if kind == "bt709":
        assert profile is None
        return
    found = ImageCms.ImageCmsProfile(io.BytesIO(profile)).profile
    x, y = {"bt2020-10": (0.708, 0.292), "display-p3": (0.68, 0.32)}[kind]
    adapted = np.array(found.red_primary[0])  # XYZ under D50; back to D65 by Bradford's transform, inverted
    back = np.linalg.inv(np.array(found.chromatic_adaptation[0])) @ adapted
    assert back[:2] / back.sum() == pytest.approx([x, y], abs=0.002)


@pytest.mark.parametrize(
    ("size", "matrix", "primaries"),
    [((192, 96), 6, 6), ((192, 576), 6, 5), ((1280, 96), 1, 1), ((64, 578), 1, 1)],
)
def test_what_says_nothing_is_read_by_its_size_as_players_do(pipeline, tmp_path, size, matrix, primaries):
    frames = [coded_frame(moving(*size, i), "yuv420p", matrix) for i in range(3)]
    source = write_frames(tmp_path / "a.mp4", frames, options=GOOD)
    assert tags_of(source)[0] == 2
    inside = inside_patches(*size)
    for suffix in SUFFIXES:
        output = rendered(pipeline, source, suffix, box(*size))
        assert difference(source, output, size) < 2.5, suffix
        assert delta_e(pictures_of(output)[1][inside][None], moving(*size, 1)[inside][None]) < 2.5, suffix
        if suffix:
            assert tags_of(output) == (matrix, primaries, 1 if matrix == 1 else 6, 1), suffix


@pytest.mark.parametrize("size", [(192, 96), (1280, 96)])
def test_a_source_of_rgb_loses_nothing_but_to_the_encoder(pipeline, tmp_path, size):
    frames = [
        av.VideoFrame.from_ndarray(np.ascontiguousarray(moving(*size, i)[..., ::-1]), format="rgb24") for i in range(3)
    ]
    source = write_frames(tmp_path / "a.mp4", frames, "libx264rgb", options={"crf": "0", "preset": "ultrafast"})
    assert frames_of(source)[0].format.name == "gbrp"
    for suffix in SUFFIXES:
        output = rendered(pipeline, source, suffix, box(*size))
        assert difference(source, output, size) < (2.5 if suffix else 0.01), suffix
        if suffix:
            assert tags_of(output)[0] == (1 if size[0] >= 1280 else 6), suffix


def test_grey_video_keeps_its_levels(pipeline, tmp_path):
    size = (192, 96)
    for full in (False, True):
        frames = []
        for i in range(3):
            planes = coded_frame(cv2.cvtColor(cv2.cvtColor(moving(*size, i), cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR),
                                 "yuv444p", 1, full)  # fmt: skip
            grey = av.VideoFrame(*size, "gray")
            grey.planes[0].update(bytes(planes.planes[0]))
            frames.append(grey)
        source = write_frames(tmp_path / f"{full}.mp4", frames, options=GOOD, tags=(1, 1, 1, 2 if full else 1))
        want = cv2.cvtColor(moving(*size, 1), cv2.COLOR_BGR2GRAY).astype(float)
        inside = inside_patches(*size)
        for suffix in SUFFIXES:
            got = pictures_of(rendered(pipeline, source, suffix, box(*size)))[1].mean(-1)
            assert np.abs(got - want)[inside].mean() < 2, (full, suffix)


def test_crops_of_a_large_picture_keep_its_tags_though_they_are_small(pipeline, tmp_path):
    size = (1280, 96)
    source = make(tmp_path / "a.mp4", "bt709", size)
    for suffix in (".mp4", ".mov", ".webm"):
        output = rendered(pipeline, source, suffix, box(*size), view="crop")
        frame = frames_of(output)[0]
        assert frame.width < 200 and tags_of(output) == (1, 1, 1, 1), suffix
    with VideoReader(rendered(pipeline, source, ".mp4", box(*size), view="crop")) as reader:
        assert reader.info.colour == Colour(1, 1, 1)


@pytest.mark.parametrize("text", ["#00B140", "#C81E5A", "#000000", "#FFFFFF", "#808080"])
def test_a_chosen_background_is_that_colour(pipeline, tmp_path, text):
    size, wanted = (192, 96), np.array(list(bytes.fromhex(text[1:]))[::-1])
    source = make(tmp_path / "a.mp4", "bt709", size)
    for suffix in (".mp4", ""):
        output = rendered(pipeline, source, suffix, box(*size), view="cutout", background=text)
        got = pictures_of(output)[1][4:40, 4:188].reshape(-1, 3)
        assert np.abs(got - wanted).max() <= (2 if suffix else 0), suffix


@pytest.mark.parametrize("kind", ["bt709", "full-range-tagged", "bt601-525"])
def test_the_view_of_the_matte_is_black_and_white(pipeline, tmp_path, kind):
    size = (192, 96)
    source = make(tmp_path / "a.mp4", kind, size)
    for suffix in SUFFIXES:
        got = pictures_of(rendered(pipeline, source, suffix, box(*size), view="matte"))[1]
        x0, y0, x1, y1 = box(*size)
        assert np.abs(got[4:40, 4:188]).max() < 1 and np.abs(255 - got[y0 + 6 : y1 - 6, x0 + 8 : x1 - 6]).max() < 3


def test_a_very_wide_and_low_video_does_not_bring_the_program_down(tmp_path):
    size = (960, 48)  # in a process of its own: the fault was a crash of OpenCV's
    make(tmp_path / "a.mp4", "bt709", size)
    code = (
        "from test_media import *; pipeline = IdentityAwareSegmentation(FakeFaces(), WholeBox(), gallery='g'); "
        f"rendered(pipeline, Path('a.mp4'), '.mp4', {box(*size)})"
    )
    paths = {"PYTHONPATH": os.pathsep.join(sys.path)}
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, env={**os.environ, **paths}
    )
    assert run.returncode == 0, run.stderr
    assert difference(tmp_path / "a.mp4", tmp_path / "a_out.mp4", size) < 2.5


# ---- HDR

_TO_2020 = np.array([[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]])  # BT.2087


def _pq(light: np.ndarray) -> np.ndarray:
    """SMPTE ST 2084, equation 5.2; cd/m2 -> 0..1."""
    y = (light / 10000).clip(0, 1) ** 0.1593017578125
    return ((0.8359375 + 18.8515625 * y) / (1 + 18.6875 * y)) ** 78.84375


def _hlg(light: np.ndarray) -> np.ndarray:
    """BT.2100, table 5: light on a display of 1000 cd/m2 -> 0..1, by the inverse of the system gamma 1.2."""
    luma = light @ np.array([0.2627, 0.678, 0.0593]) / 1000
    scene = light / 1000 * np.maximum(luma, 1e-9)[..., None] ** (1 / 1.2 - 1)
    curve = 0.17883277 * np.log(np.maximum(12 * scene - 0.28466892, 1e-9)) + 0.55991073
    return np.where(scene <= 1 / 12, np.sqrt(3 * scene), curve)


def hdr(path: Path, scene: np.ndarray, transfer: int, count: int = 3) -> Path:
    """A scene as HDR10 or HLG video; scene: (H, W, 3) of linear BT.709, B, G, R, 1 = white of 203 cd/m2."""
    light = (scene[..., ::-1] @ _TO_2020.T).clip(0) * 203
    coded = _pq(light) if transfer == PQ else _hlg(light)
    name = "smpte2084" if transfer == PQ else "arib-std-b67"
    frames = [coded_frame(coded[..., ::-1].clip(0, 1) * 255, "yuv420p10le", 9) for _ in range(count)]
    options = {**GOOD, "x265-params": X265 + name}
    return write_frames(path, frames, "libx265", options=options, tags=(9, 9, transfer, 1))


def linear(image: np.ndarray) -> np.ndarray:
    value = image / 255
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


@pytest.mark.parametrize(("transfer", "name"), [(PQ, "PQ"), (HLG, "HLG")])
def test_hdr_looks_as_the_scene_does_in_sdr_and_the_report_says_so(pipeline, tmp_path, transfer, name):
    # Moderate colours: what is as bright as white is rolled off, which is no fault.
    picture = (moving(192, 96, 0) * 0.45 + 20).astype(np.uint8)
    source = hdr(tmp_path / "a.mp4", linear(picture.astype(float)), transfer)
    inside = inside_patches(192, 96)
    assert tags_of(source)[:3] == (9, 9, transfer)
    for suffix in SUFFIXES:
        output = source.with_name(f"o{suffix}")
        report = pipeline.process_video(source, output, "it", 1, box=box(192, 96), view="overlay")
        assert delta_e(pictures_of(output)[1][inside][None], picture.astype(float)[inside][None]) < 5, suffix
        assert any(f"HDR ({name})" in remark for remark in report.remarks)
        if suffix:
            assert tags_of(output) == (1, 1, 1, 1), suffix


@pytest.mark.parametrize("transfer", [PQ, HLG])
def test_light_above_white_only_ever_gets_brighter_and_grey_stays_grey(tmp_path, transfer):
    steps = np.array([0.05, 0.2, 0.5, 0.8, 1.0, 1.5, 2.5, 4.0, 5.0, 8.0, 20.0, 49.0])
    scene = np.repeat(np.repeat(steps[None, :, None], 32, 0), 16, 1) * np.array([1.0, 1.0, 1.0])
    with VideoReader(hdr(tmp_path / "a.mp4", np.ascontiguousarray(scene), transfer)) as reader:
        image = next(iter(reader)).image.astype(int)
    columns = image[16, 8::16].mean(-1)
    assert (np.diff(columns) >= -1).all() and columns[-1] >= 250 and columns[0] < 80, columns
    assert (np.diff(columns[:7]) > 2).all(), "light up to two and a half times white is told apart"
    assert np.abs(image[16, 8::16] - columns[:, None]).max() < 8, "grey stays grey"


# ---- the shape of pixels


def shape(path: Path) -> Fraction:
    """Width through height, as players show it."""
    if path.is_dir():
        height, width = pictures_of(path)[0].shape[:2]
        return Fraction(width, height)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return Fraction(stream.width, stream.height) * (stream.sample_aspect_ratio or 1)


def turned(path: Path, width: int, height: int) -> Path:
    """A quarter turn clockwise is written into an MP4, as a phone held upright does."""
    content = bytearray(path.read_bytes())
    start = content.index(b"tkhd") + 4 + 4 + 20 + 16
    matrix = (0, 65536, 0, -65536, 0, 0, height << 16, 0, 0x40000000)
    content[start : start + 36] = struct.pack(">9i", *matrix)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("aspect", [Fraction(16, 11), Fraction(4, 3), Fraction(8, 9)])
def test_pixels_that_are_not_square_keep_the_pictures_shape(pipeline, tmp_path, aspect):
    source = make(tmp_path / "a.mp4", "bt601-625", (120, 96), aspect=aspect)
    assert shape(source) == Fraction(120, 96) * aspect
    for suffix in SUFFIXES:
        output = rendered(pipeline, source, suffix, (30, 20, 80, 90))
        assert float(shape(output) / shape(source)) == pytest.approx(1, abs=0.006), suffix
        # A crop of 9:16 is 9:16 as it is seen; its sides are whole, even pixels.
        assert float(shape(rendered(pipeline, source, suffix, (30, 20, 80, 90), view="crop"))) == pytest.approx(
            9 / 16, abs=0.025
        ), suffix


def test_a_turned_picture_has_its_pixels_turned_too(pipeline, tmp_path):
    source = turned(make(tmp_path / "a.mp4", "bt601-625", (120, 96), aspect=Fraction(4, 3)), 120, 96)
    with VideoReader(source) as reader:
        assert (reader.info.width, reader.info.height) == (96, 120)
        assert reader.info.pixel_aspect == Fraction(3, 4)
    upright = np.rot90(moving(120, 96, 1), -1)
    for suffix in SUFFIXES:
        output = rendered(pipeline, source, suffix, (20, 30, 60, 90))
        assert float(shape(output)) == pytest.approx(72 / 120, abs=0.01), suffix
        got = pictures_of(output)[1]
        want = cv2.resize(upright, got.shape[1::-1], interpolation=cv2.INTER_AREA)
        corner = np.s_[2:12, -12:-2]  # the first patch, red, lies at the upper right
        assert delta_e(got[corner], want[corner].astype(float)) < 4, suffix


@pytest.mark.parametrize("size", [(121, 97), (120, 97), (121, 96)])
def test_odd_sides_keep_their_pixels_and_the_added_ones_are_said(pipeline, tmp_path, size):
    source = make(tmp_path / "a.mkv", "4:4:4", size)
    inside = inside_patches(*size)
    for suffix in SUFFIXES:
        output = source.with_name(f"o{suffix}")
        report = pipeline.process_video(source, output, "it", 1, box=(30, 20, 60, 90), view="overlay")
        got = pictures_of(output)[1]
        height, width = got.shape[:2]
        assert size[0] <= width <= size[0] + 1 and size[1] <= height <= size[1] + 1
        kept = got[: size[1], : size[0]]
        assert delta_e(kept[inside][None], pictures_of(source)[1][inside][None]) < 40, suffix
        assert any("is there twice" in remark for remark in report.remarks) == ((width, height) != size), suffix
        if not suffix:
            assert (width, height) == size, "pictures take any size"


# ---- interlaced video


def fields(i: int, size=(160, 96)) -> np.ndarray:
    """A bar that moves to the right by 3 pixels a field above what stands still; even rows a field before the odd."""
    pair = []
    for t in (2 * i, 2 * i + 1):
        image = np.full((size[1], size[0], 3), 60, np.uint8)
        image[76:92, 10:60] = (40, 60, 200)  # stands still, to be followed
        image[:64, 40 + 3 * t : 64 + 3 * t] = 200
        pair.append(image)
    woven = pair[0].copy()
    woven[1::2] = pair[1][1::2]
    return woven


def combing(image: np.ndarray) -> float:
    """How much the rows of the bar differ from those between which they lie, in grey levels."""
    grey = np.asarray(image, np.float64)[:60].mean(-1)
    return float(np.abs(2 * grey[1:-1] - grey[:-2] - grey[2:]).mean())


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("a.mp4", "libx264", {"preset": "veryfast", "crf": "10", "flags": "+ildct+ilme", "x264-params": "tff=1"}),
        ("a.mkv", "libx264", {"preset": "veryfast", "crf": "10", "flags": "+ildct+ilme", "bf": "2"}),
        ("a.ts", "mpeg2video", {"flags": "+ildct+ilme", "b": "4M"}),
    ],
)
def test_interlaced_video_comes_out_in_whole_pictures_at_the_same_times(pipeline, tmp_path, name, codec, options):
    frames = [coded_frame(fields(i), "yuv420p", 6) for i in range(12)]
    form = "mpegts" if name.endswith("ts") else None
    source = write_frames(tmp_path / name, frames, codec, options=options, form=form)
    assert all(combing(shown(f)) > 8 for f in frames_of(source)), "the source has combs"
    with VideoReader(source) as reader:
        assert reader.info.interlaced
        assert [f.time_s for f in reader] == pytest.approx(times_of(source), abs=1e-3) and not reader.warning()
    for suffix in SUFFIXES:
        output = source.with_name(f"o{suffix}")
        report = pipeline.process_video(source, output, "it", 4, box=(10, 76, 60, 92), view="annotated")
        assert report.frames == 12 and any("deinterlaced" in remark for remark in report.remarks), suffix
        assert all(combing(p) < 1 for p in pictures_of(output)), suffix
        if suffix:
            assert times_of(output) == pytest.approx(times_of(source), abs=1e-3), suffix


def test_progressive_video_is_left_alone(tmp_path):
    source = make(tmp_path / "a.mp4", "bt709", (192, 96))
    with VideoReader(source) as reader:
        assert not reader.info.interlaced and reader.info.remarks() == []


# ---- transparency


def clear_frames(path: Path) -> list[np.ndarray]:
    """uint8 (H, W, 4) of a transparent video, by decoders that know of its alpha."""
    decoder = "libvpx-vp9" if path.suffix == ".webm" else None
    return [f.to_ndarray(format="bgra") for f in frames_of(path, decoder)]


@pytest.mark.parametrize("suffix", [".webm", ".mov", ""])
def test_a_cutout_is_transparent_with_straight_colours(pipeline, tmp_path, suffix):
    size = (192, 96)
    source = make(tmp_path / "a.mp4", "bt709", size)
    output = rendered(pipeline, source, suffix, box(*size), view="cutout")
    found = pictures_of(output) if not suffix else clear_frames(output)
    x0, y0, x1, y1 = box(*size)
    picture, alpha = found[1], found[1][..., 3]
    assert np.abs(255 - alpha[y0 + 6 : y1 - 5, x0 + 6 : x1 - 6].astype(int)).max() <= 8
    assert alpha[:40].max() <= 3 and alpha[:, :40].max() <= 3
    if suffix == ".webm":
        with av.open(str(output)) as container:
            assert container.streams.video[0].metadata.get("alpha_mode") == "1"
    if suffix == ".mov":
        with av.open(str(output)) as container:
            assert container.streams.video[0].codec_context.codec_tag == "ap4h"
    # Straight: where the matte is half, the colour is that of the picture, not half of it.
    half = (alpha > 60) & (alpha < 180)
    if not suffix:  # a lossy encoder blurs the few pixels there are
        assert half.any()
        there = pictures_of(source)[1][half].max(-1).mean()
        assert picture[half][:, :3].max(-1).mean() > 0.8 * there


@pytest.mark.parametrize("suffix", [".webm", ".mov"])
def test_colours_are_not_multiplied_by_the_alpha(tmp_path, suffix):
    picture = np.zeros((64, 64, 4), np.uint8)
    picture[:] = (200, 120, 40, 0)
    for n, alpha in enumerate((64, 128, 192, 255)):
        picture[:, 16 * n : 16 * n + 16, 3] = alpha
    segment, output = tmp_path / f"s{suffix}", tmp_path / f"o{suffix}"
    colour = Colour(BT709, BT709, BT709)
    with SegmentWriter(segment, FORMATS[suffix], (64, 64), Fraction(25), Fraction(1, 25), colour) as writer:
        for i in range(3):
            writer.write(picture, i)
    join_segments([segment], output)
    frame = frames_of(output, "libvpx-vp9" if suffix == ".webm" else None)[1]
    one = 255 / (255 if suffix == ".webm" else 4095 if "12" in frame.format.name else 1023)
    plane = frame.planes[3]
    kind = np.uint8 if one == 1 else np.uint16
    values = np.frombuffer(plane, kind).reshape(plane.height, -1)[32, 8:64:16] * one
    assert values == pytest.approx([64, 128, 192, 255], abs=4)
    assert delta_e(shown(frame)[32:33, 8::16], np.full((1, 4, 3), (200.0, 120.0, 40.0))) < 2.5


def test_opaque_views_have_no_layer_of_alpha(pipeline, tmp_path):
    size = (192, 96)
    source = make(tmp_path / "a.mp4", "bt709", size)
    for look in ({"view": "overlay"}, {"view": "cutout", "background": "#112233"}):
        webm, mov = (rendered(pipeline, source, suffix, box(*size), **look) for suffix in (".webm", ".mov"))
        with av.open(str(webm)) as container:
            assert container.streams.video[0].metadata.get("alpha_mode") is None
        assert frames_of(webm, "libvpx-vp9")[0].format.name == "yuv420p"
        with av.open(str(mov)) as container:
            assert container.streams.video[0].codec_context.codec_tag == "apch"
        assert frames_of(mov)[0].format.name == "yuv422p10le"
