"""EXR frames, read back by OpenEXR, by FFmpeg, and by a reader of Cryptomatte that knows its specification alone."""

from __future__ import annotations

import importlib.util
import json
import re
import struct
import subprocess
import sys
from fractions import Fraction

import cv2
import numpy as np
import pytest

from identity_segmentation import doctor
from identity_segmentation.errors import InputError, OutputError
from identity_segmentation.settings import Settings
from identity_segmentation.video import cryptomatte
from identity_segmentation.video.exr import Layers, write_exr

needs_library = pytest.mark.skipif(
    importlib.util.find_spec("OpenEXR") is None,
    reason='these tests need OpenEXR: pip install "OpenEXR>=3.5"',
)

WONYOUNG, LISA, QUOTED = "장원영", "ลลิษา มโนบาล", 'O\'Neil "the \\ one", <b>'
SIZE = (101, 203)


@pytest.fixture
def picture() -> np.ndarray:
    """Every one of the 256 values, in every channel, in a picture whose sides are odd."""
    return np.random.default_rng(1).integers(0, 256, (*SIZE, 3), np.uint8)


def disc(x: int, y: int = 50, radius: int = 22, size=SIZE, soft: float = 3) -> np.ndarray:
    matte = np.zeros(size, np.uint8)
    cv2.circle(matte, (x, y), radius, 255, -1)
    return cv2.GaussianBlur(matte, (0, 0), soft)


def even(value: int, size=(4, 5)) -> np.ndarray:
    return np.full(size, value, np.uint8)


def opened(path):
    """(header, channel name -> pixels) by OpenEXR's own reader."""
    import OpenEXR

    file = OpenEXR.File(str(path), separate_channels=True)
    return file.header(), {name: channel.pixels for name, channel in file.channels().items()}


def cryptomattes(path) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """(name -> matte, channel -> pixels) of the one Cryptomatte of a file, as its specification says to read it."""
    header, pixels = opened(path)
    found = {}
    for key, value in header.items():
        if match := re.fullmatch(r"cryptomatte/(\w{1,7})/(name|hash|conversion|manifest)", key):
            found.setdefault(match[1], {})[match[2]] = value
    ((_, entry),) = found.items()
    assert entry["hash"] == "MurmurHash3_32" and entry["conversion"] == "uint32_to_float32"
    layers = sorted({m[1] for name in pixels if (m := re.fullmatch(rf"({entry['name']}\d\d)\.[rgba]", name))})
    assert layers == [f"{entry['name']}{i:02}" for i in range(len(layers))] and layers
    of_layers = {name: p for name, p in pixels.items() if name.rpartition(".")[0] in layers}
    assert all(p.dtype == np.float32 for p in of_layers.values())
    mattes = {}
    for name, hexadecimal in json.loads(entry["manifest"]).items():
        assert re.fullmatch("[0-9a-f]{8}", hexadecimal)
        (number,) = struct.unpack(">f", bytes.fromhex(hexadecimal))
        pairs = [(pixels[f"{layer}.{i}"], pixels[f"{layer}.{c}"]) for layer in layers for i, c in ("rg", "ba")]
        mattes[name] = sum(np.where(ids == np.float32(number), coverage, 0) for ids, coverage in pairs)
    return mattes, of_layers


def ranked(channels) -> tuple[np.ndarray, np.ndarray]:
    """(ids, coverages), each (pairs, H, W), in their order."""
    layers = sorted({name[:-2] for name in channels})
    return (
        np.stack([channels[f"{layer}.{c}"] for layer in layers for c in "rb"]),
        np.stack([channels[f"{layer}.{c}"] for layer in layers for c in "ga"]),
    )


# ---- layers' names


def test_latin_names_keep_their_letters_and_others_are_numbered_in_the_order_given():
    layers = Layers((WONYOUNG, "An Yujin", LISA, "José Łuk-ß", QUOTED, "😀", "2NE1", "김 Min"))
    assert layers.by_name == {
        WONYOUNG: "person_01", "An Yujin": "An_Yujin", LISA: "person_02", "José Łuk-ß": "Jose_Luk_ss",
        QUOTED: "O_Neil_the_one_b", "😀": "person_03", "2NE1": "_2NE1", "김 Min": "person_04",
    }  # fmt: skip


def test_no_two_layers_are_alike_in_any_case_and_none_is_nukes_or_cryptomattes_own():
    names = (
        "Ann",
        "ann",
        "ANN!",
        "person_01",
        WONYOUNG,
        "mask",
        "Depth",
        "rgba",
        "A",
        "CryptoObject",
        "cryptoobject00",
    )
    names += ("x" * 60, "x" * 61, "9" * 60)
    layers = list(Layers(names).by_name.values())
    assert len({layer.casefold() for layer in layers}) == len(names)
    assert not {"mask", "depth", "rgba", "a"} & {layer.casefold() for layer in layers}
    assert not any("cryptoobject" in layer.casefold() for layer in layers)
    # Nuke's letters; and with ".A" no name that needs the long names of newer EXR files.
    assert all(re.fullmatch("[A-Za-z_][A-Za-z0-9_]*", layer) and len(layer) <= 29 for layer in layers)


def test_a_name_that_stands_there_twice_is_refused():
    with pytest.raises(InputError, match=f"more than once: {WONYOUNG}"):
        Layers((WONYOUNG, "Ann", WONYOUNG))


# ---- ids


@pytest.mark.parametrize(
    ("name", "number"),
    [  # the test values of the Cryptomatte project
        ("hello", 6.0705627102400005616e-17), ("cube", -4.08461912519e15), ("sphere", 2.79018604383e15),
        ("plane", 3.66557617593e-11), ("равнина", -1.3192631212399999468e-25), ("mädchen", 6.2361298211599995797e25),
    ],
)  # fmt: skip
def test_ids_are_those_of_the_cryptomatte_project(name, number):
    assert float(cryptomatte.name_id(name)) == pytest.approx(number, rel=1e-9)


def test_the_hash_is_murmurhash3_for_any_length_and_seed():
    assert cryptomatte.murmur3(b"") == 0 and cryptomatte.murmur3(b"", 1) == 0x514E28B7
    assert cryptomatte.murmur3(b"Hello, world!", 0x9747B28C) == 0x24884CBA
    assert cryptomatte.murmur3(b"The quick brown fox jumps over the lazy dog", 0x9747B28C) == 0x2FA826CD
    assert cryptomatte.id_bits("bunny") == 0x13851A76 and cryptomatte.id_bits("default") == 0x42C9679F


@pytest.mark.parametrize("name", ["p13", "p133", "p150", "p509", ""])
def test_a_hash_that_is_no_number_or_too_small_is_made_one_by_a_single_bit(name):
    plain = cryptomatte.murmur3(name.encode())
    assert plain >> 23 & 255 in (0, 255)
    number = cryptomatte.name_id(name)
    assert np.isfinite(number) and abs(number) >= np.finfo(np.float32).tiny
    assert int(number.view(np.uint32)) ^ plain == 1 << 23


# ---- the file


@needs_library
def test_the_picture_is_linear_and_its_values_come_back_exactly(picture, tmp_path):
    _, pixels = opened(write_exr(tmp_path / "a.exr", picture, {}, Layers(())))
    for index, channel in enumerate("BGR"):
        assert pixels[channel].dtype == np.float16
        linear = pixels[channel].astype(float)
        code = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
        assert np.array_equal(np.rint(code * 255), picture[..., index])
    assert not pixels["A"].any()
    grey = opened(write_exr(tmp_path / "b.exr", np.full((1, 1, 3), 188, np.uint8), {}, Layers(())))[1]
    assert float(grey["G"][0, 0]) == pytest.approx(0.5029, abs=3e-4)  # not a power of 2.2, which gives 0.5117


@needs_library
def test_ffmpeg_reads_the_picture_too(picture, tmp_path):
    import av

    mattes = {WONYOUNG: disc(60)}
    path = write_exr(tmp_path / "a.exr", picture, mattes, Layers((WONYOUNG,)), pixel_aspect=64 / 45)
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
        assert container.streams.video[0].sample_aspect_ratio == Fraction(64, 45)
    assert frame.format.name == "gbrapf16le"
    planes = [
        np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)[:, : 2 * plane.width].copy()
        for plane in frame.planes
    ]
    for plane, channel in zip(planes, (1, 0, 2, None), strict=True):
        values = plane.view(np.float16).astype(float)
        if channel is None:
            assert np.abs(values - mattes[WONYOUNG] / 255).max() < 5e-4
        else:
            code = np.where(values <= 0.0031308, 12.92 * values, 1.055 * values ** (1 / 2.4) - 0.055)
            assert np.array_equal(np.rint(code * 255), picture[..., channel])


@needs_library
@pytest.mark.parametrize("size", [(1, 1), (7, 5), SIZE, (64, 48)])
def test_every_person_has_a_layer_and_a_cryptomatte_under_the_real_name(size, tmp_path):
    picture = np.zeros((*size, 3), np.uint8)
    mattes = {
        WONYOUNG: disc(size[1] // 4, size[0] // 2, max(1, size[1] // 8), size, 1),
        QUOTED: disc(3 * size[1] // 4, size[0] // 2, max(1, size[1] // 8), size, 1),
    }
    if size == (1, 1):
        mattes = {WONYOUNG: np.full(size, 200, np.uint8), QUOTED: np.zeros(size, np.uint8)}
    layers = Layers((LISA, WONYOUNG, QUOTED))
    path = write_exr(tmp_path / "frame.0001.exr", picture, mattes, layers)
    header, pixels = opened(path)
    by_layer = json.loads(header["idseg/layers"])
    assert by_layer == {"person_01": LISA, "person_02": WONYOUNG, "O_Neil_the_one_b": QUOTED}
    read, _ = cryptomattes(path)
    assert list(read) == [LISA, WONYOUNG, QUOTED]
    assert any(WONYOUNG in value for key, value in header.items() if key.endswith("/manifest")), "as it is, not escaped"
    total = np.maximum(255, sum(matte.astype(float) for matte in mattes.values()))
    for layer, name in by_layer.items():
        matte = mattes.get(name, np.zeros(size, np.uint8))
        assert pixels[f"{layer}.A"].dtype == np.float16 and pixels[f"{layer}.A"].shape == size
        assert np.array_equal(np.rint(pixels[f"{layer}.A"].astype(float) * 255), matte)
        assert np.abs(read[name] - matte / total).max() < 1e-6


@needs_library
def test_along_the_border_of_two_who_touch_both_have_their_part_and_together_all(tmp_path):
    left = np.tile(np.clip(np.linspace(300, -45, 41), 0, 255).astype(np.uint8), (9, 1))
    mattes = {"Ann": left, "Bo": 255 - left}
    path = write_exr(tmp_path / "a.exr", np.zeros((9, 41, 3), np.uint8), mattes, Layers(("Bo", "Ann")))
    read, channels = cryptomattes(path)
    for name, matte in mattes.items():
        assert np.abs(read[name] - matte / 255).max() < 1e-6
    ids, coverages = ranked(channels)
    assert (np.diff(coverages, axis=0) <= 0).all() and np.allclose(coverages.sum(axis=0), 1)
    assert np.array_equal(ids != 0, coverages > 0)
    assert (opened(path)[1]["A"] == 1).all(), "no seam between them"


@needs_library
def test_where_mattes_add_up_to_more_than_one_they_share_the_pixel(tmp_path):
    mattes = {"Ann": even(255), "Bo": even(85)}
    path = write_exr(tmp_path / "a.exr", np.zeros((4, 5, 3), np.uint8), mattes, Layers(("Ann", "Bo")))
    read, _ = cryptomattes(path)
    assert np.allclose(read["Ann"], 0.75) and np.allclose(read["Bo"], 0.25)
    pixels = opened(path)[1]
    assert (pixels["A"] == 1).all() and (pixels["Ann.A"] == 1).all()
    assert np.array_equal(np.rint(pixels["Bo.A"].astype(float) * 255), mattes["Bo"]), "their own layers keep all of it"


@needs_library
def test_who_is_not_in_a_pixel_has_no_id_there(tmp_path):
    mattes = {"Ann": even(100), "Bo": even(50), "Cy": even(70)}
    mattes["Cy"][:2] = 0
    path = write_exr(tmp_path / "a.exr", np.zeros((4, 5, 3), np.uint8), mattes, Layers(("Ann", "Bo", "Cy")))
    ids, coverages = ranked(cryptomattes(path)[1])
    assert np.array_equal(ids != 0, coverages > 0)
    assert (np.count_nonzero(ids, axis=0)[:, 0] == [2, 2, 3, 3]).all()


@needs_library
def test_nobody_at_all_is_an_ordinary_frame(tmp_path):
    path = write_exr(tmp_path / "a.exr", np.zeros((4, 5, 3), np.uint8), {}, Layers(()))
    read, channels = cryptomattes(path)
    assert read == {} and not any(pixels.any() for pixels in channels.values())
    assert json.loads(opened(path)[0]["idseg/layers"]) == {}


@needs_library
def test_of_nine_in_one_pixel_the_six_largest_are_kept(tmp_path):
    names = tuple(f"P{i}" for i in range(9))
    mattes = {name: even(10 * (i + 1)) for i, name in enumerate(names)}
    mattes["P8"][0] = mattes["P7"][0] = mattes["P0"][0] = 0  # the first row holds the six others
    path = write_exr(tmp_path / "a.exr", np.zeros((4, 5, 3), np.uint8), mattes, Layers(names))
    read, channels = cryptomattes(path)
    assert len(channels) == 12
    for i, name in enumerate(names):
        kept = [0 if i in (0, 7, 8) else 10 * (i + 1) / 270, 0 if i < 3 else 10 * (i + 1) / 450]
        assert np.allclose(read[name][0], kept[0]) and np.allclose(read[name][1:], kept[1]), name
        assert np.array_equal(np.rint(opened(path)[1][f"{name}.A"].astype(float) * 255), mattes[name])
    assert (np.diff(ranked(channels)[1], axis=0) <= 0).all()


@needs_library
@pytest.mark.parametrize(("people", "layers"), [(1, 2), (4, 2), (5, 3), (9, 3)])
def test_the_channels_of_a_sequence_stay_the_same_whoever_is_there(people, layers, tmp_path):
    names = tuple(f"P{i}" for i in range(people))
    picture = np.zeros((*SIZE, 3), np.uint8)
    alone = write_exr(tmp_path / "1.exr", picture, {}, Layers(names))
    together = write_exr(tmp_path / "2.exr", picture, {n: disc(20 * i) for i, n in enumerate(names)}, Layers(names))
    (one, first), (two, second) = opened(alone), opened(together)
    assert list(first) == list(second) and len(cryptomattes(alone)[1]) == 4 * layers
    assert {k: v for k, v in one.items() if "/" in k} == {k: v for k, v in two.items() if "/" in k}


@needs_library
def test_the_header_says_what_the_source_is_and_nothing_of_the_day(picture, tmp_path):
    import OpenEXR

    said = {
        "primaries": 9, "pixel_aspect": 64 / 45, "frame_rate": Fraction(30000, 1001), "time_code": "01:02:03;29",
        "source": 'dance "한글".mp4',
    }  # fmt: skip
    paths = [
        write_exr(tmp_path / f"{i}.exr", picture, {WONYOUNG: disc(60)}, Layers((WONYOUNG, "Ann")), **said) for i in "ab"
    ]
    assert paths[0].read_bytes() == paths[1].read_bytes()
    header, _ = opened(paths[0])
    assert header["type"] == OpenEXR.scanlineimage and header["compression"] == OpenEXR.ZIPS_COMPRESSION
    assert header["chromaticities"] == pytest.approx((0.708, 0.292, 0.17, 0.797, 0.131, 0.046, 0.3127, 0.329))
    assert header["pixelAspectRatio"] == pytest.approx(64 / 45) and header["framesPerSecond"] == Fraction(30000, 1001)
    code = header["timeCode"]
    assert (code.hours, code.minutes, code.seconds, code.frame, code.dropFrame) == (1, 2, 3, 29, 1)
    assert header["idseg/source"] == said["source"] and "sRGB" in header["comments"]
    assert not {"capDate", "utcOffset"} & set(header)
    assert all(len(key) <= 31 for key in header), "old readers take no longer names"


@needs_library
def test_what_is_not_said_of_the_source_is_not_in_the_header(picture, tmp_path):
    header, _ = opened(write_exr(tmp_path / "a.exr", picture, {}, Layers(())))
    assert not {"framesPerSecond", "timeCode", "idseg/source"} & set(header)
    assert header["pixelAspectRatio"] == 1 and header["chromaticities"][:2] == pytest.approx((0.64, 0.33))


@needs_library
@pytest.mark.parametrize(
    ("rate", "text", "frame", "second"),
    [
        (None, "00:00:00:29", 29, 0), (Fraction(24), "23:59:59:23", 23, 0), (Fraction("30.03"), "00:00:00:29", 29, 0),
        (Fraction(60000, 1001), "00:00:00;59", 29, 1), (Fraction(50), "00:00:00:48", 24, 0),
        (Fraction(120), "00:00:00:119", None, None),
    ],
)  # fmt: skip
def test_above_thirty_frames_a_second_two_frames_share_a_time_code(rate, text, frame, second, tmp_path):
    picture = np.zeros((2, 2, 3), np.uint8)
    header, _ = opened(write_exr(tmp_path / "a.exr", picture, {}, Layers(()), frame_rate=rate, time_code=text))
    code = header.get("timeCode")
    if frame is None:
        assert code is None
    else:
        assert (code.frame, int(code.fieldPhase), int(code.dropFrame)) == (frame, second, int(";" in text))


@needs_library
def test_pictures_and_mattes_that_are_parts_of_others_are_written_as_they_are_seen(picture, tmp_path):
    matte = disc(60)
    whole = write_exr(
        tmp_path / "a.exr", np.ascontiguousarray(picture[::-1, ::2]), {"Ann": matte[::-1, ::2].copy()}, Layers(("Ann",))
    )
    part = write_exr(tmp_path / "b.exr", picture[::-1, ::2], {"Ann": matte[::-1, ::2]}, Layers(("Ann",)))
    assert whole.read_bytes() == part.read_bytes()


@needs_library
def test_a_frame_rate_with_more_digits_than_the_header_holds_is_rounded(tmp_path):
    rate = Fraction(3 * 10**11 + 1, 10**10)
    header, _ = opened(write_exr(tmp_path / "a.exr", np.zeros((2, 2, 3), np.uint8), {}, Layers(()), frame_rate=rate))
    assert header["framesPerSecond"] == 30


# ---- what does not fit, and what cannot be written


@needs_library
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image": np.zeros((4, 5), np.uint8)}, r"expected a picture as uint8 \(H, W, 3\), got uint8 \(4, 5\)"),
        ({"image": np.zeros((4, 5, 3), np.float32)}, "got float32"),
        ({"image": np.zeros((0, 5, 3), np.uint8)}, r"got uint8 \(0, 5, 3\)"),
        ({"mattes": {"Bo": even(1)}}, "'Bo' has a matte and no layer; the layers are of Ann"),
        ({"mattes": {"Ann": even(1, (5, 4))}}, r"matte of 'Ann' as uint8 \(4, 5\).*got uint8 \(5, 4\)"),
        ({"mattes": {"Ann": even(1).astype(bool)}}, "got bool"),
        ({"primaries": 2}, "primaries 2: expected one of the codes 1, 5, 6"),
        ({"pixel_aspect": 0}, "pixel aspect 0"),
        ({"frame_rate": Fraction(0)}, "frame rate 0"),
        ({"time_code": "1:2:3"}, "time code '1:2:3': expected HH:MM:SS:FF"),
        ({"time_code": "00:00:00:25", "frame_rate": Fraction(25)}, "FF under 25"),
        ({"time_code": "24:00:00:00"}, "expected HH:MM:SS:FF"),
    ],
)
def test_what_does_not_fit_is_refused_and_nothing_is_written(change, message, tmp_path):
    given = {"image": np.zeros((4, 5, 3), np.uint8), "mattes": {}, "layers": Layers(("Ann",))} | change
    with pytest.raises(InputError, match=message):
        write_exr(tmp_path / "a.exr", **given)
    assert not list(tmp_path.iterdir())


@needs_library
def test_a_frame_that_cannot_be_finished_leaves_the_old_one_whole(picture, tmp_path):
    """A child process may write no file of more than 20,000 bytes, as if the disk were full."""
    path = write_exr(tmp_path / "a.exr", picture[:9, :9], {}, Layers(()))
    before = path.read_bytes()
    code = """
import resource, sys, numpy as np
from identity_segmentation.errors import OutputError
from identity_segmentation.video.exr import Layers, write_exr
picture = np.random.default_rng(0).integers(0, 256, (200, 200, 3), np.uint8)
resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))
try:
    write_exr(sys.argv[1], picture, {}, Layers(()))
except OutputError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True)
    assert "cannot be written" in done.stdout, done.stderr
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


def test_without_the_library_the_error_and_the_doctor_say_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "OpenEXR", None)
    with pytest.raises(OutputError, match='not installed; pip install "OpenEXR>=3.5"'):
        write_exr(tmp_path / "a.exr", np.zeros((4, 5, 3), np.uint8), {}, Layers(()))
    (line,) = [f for f in doctor.examine(Settings()) if f.what == "EXR frames"]
    assert line.state == doctor.NOTE and "pip install" in line.detail


def test_a_library_that_is_too_old_is_said_to_be(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "OpenEXR", type(sys)("OpenEXR"))
    monkeypatch.setattr(sys.modules["OpenEXR"], "__version__", "3.4.1", raising=False)
    with pytest.raises(OutputError, match="3.4.1 is too old; pip install"):
        write_exr(tmp_path / "a.exr", np.zeros((4, 5, 3), np.uint8), {}, Layers(()))


@needs_library
def test_the_doctor_knows_the_library():
    (line,) = [f for f in doctor.examine(Settings()) if f.what == "EXR frames"]
    assert line.state == doctor.OK and line.detail[0].isdigit()


def test_importing_the_writer_loads_no_library():
    code = "import sys, identity_segmentation.video.exr; print('OpenEXR' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "False"
