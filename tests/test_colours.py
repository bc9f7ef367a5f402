"""A photo comes out in the colours its maker meant, whatever space its numbers are in."""

from __future__ import annotations

import io
import struct
import time
import zlib

import cv2
import numpy as np
import pytest
from made_photos import ADOBE, P3, centres, heic, patches, srgb_of, turned
from PIL import Image, ImageCms, PngImagePlugin

from identity_segmentation import read_image, write_image
from identity_segmentation.colours import ADOBE_GAMMA, icc_profile, nclx_of
from identity_segmentation.errors import InputError

DISPLAY_P3 = icc_profile(12, "srgb")
ADOBE_RGB = icc_profile("adobe", ADOBE_GAMMA)


def read(path) -> np.ndarray:
    """The middles of the patches as they were read, RGB."""
    return centres(read_image(path))[:, ::-1]


def in_p3() -> np.ndarray:
    return srgb_of(centres(patches()), P3)


# ---- profiles we make


@pytest.mark.parametrize("primaries", [1, 5, 6, 9, 12, "adobe"])
@pytest.mark.parametrize("transfer", ["srgb", "bt709", 2.2, 1.0])
def test_little_cms_takes_every_profile_and_white_stays_white(primaries, transfer):
    profile = icc_profile(primaries, transfer)
    assert profile == icc_profile(primaries, transfer) and struct.unpack(">I", profile[:4])[0] == len(profile)
    opened = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    assert opened.profile.xcolor_space == "RGB " and ImageCms.isIntentSupported(opened, 1, 0) == 1
    shown = ImageCms.profileToProfile(
        Image.new("RGB", (1, 1), (255, 255, 255)), opened, ImageCms.createProfile("sRGB"), 1
    )
    assert shown.getpixel((0, 0)) == (255, 255, 255)


def test_the_profile_of_srgb_has_the_published_colorants():
    """IEC 61966-2-1 under D50, as ICC's own sRGB profile has it."""
    profile = ImageCms.ImageCmsProfile(io.BytesIO(icc_profile(1, "srgb"))).profile
    wanted = {
        "red": (0.43607, 0.22249, 0.01392),
        "green": (0.38515, 0.71687, 0.09708),
        "blue": (0.14307, 0.06061, 0.7141),
    }
    for name, xyz in wanted.items():
        assert getattr(profile, f"{name}_colorant")[0] == pytest.approx(xyz, abs=3e-4), name


def test_what_no_profile_can_be_made_of_is_refused():
    for primaries, transfer in ((3, "srgb"), ("p3", "srgb"), (1, "pq"), (1, 0), (1, -2.2)):
        with pytest.raises(ValueError, match="expected"):
            icc_profile(primaries, transfer)


# ---- photos with a profile


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".webp", ".avif"])
def test_display_p3_becomes_srgb(tmp_path, suffix):
    quality = {} if suffix in (".png", ".tif") else {"quality": 100, "subsampling": 0}
    if suffix in (".webp", ".avif"):
        quality = {"lossless": True} if suffix == ".webp" else {"quality": 100, "subsampling": "4:4:4"}
    Image.fromarray(patches()).save(tmp_path / f"a{suffix}", icc_profile=DISPLAY_P3, **quality)
    assert np.abs(read(tmp_path / f"a{suffix}") - in_p3()).max() <= (1.5 if suffix != ".avif" else 4)


def test_adobe_rgb_becomes_srgb(tmp_path):
    Image.fromarray(patches()).save(tmp_path / "a.png", icc_profile=ADOBE_RGB)
    wanted = srgb_of(centres(patches()), ADOBE, ADOBE_GAMMA)
    assert np.abs(read(tmp_path / "a.png") - wanted).max() <= 1.5
    assert np.abs(wanted - centres(patches())).max() > 15, "the test sees something"


def test_colours_that_srgb_cannot_hold_become_the_nearest(tmp_path):
    Image.new("RGB", (4, 4), (0, 255, 0)).save(tmp_path / "a.png", icc_profile=DISPLAY_P3)
    assert read_image(tmp_path / "a.png")[0, 0].tolist() == [0, 255, 0]


def test_a_profile_of_grey_is_obeyed_also_in_sixteen_bits_and_with_transparency(tmp_path):
    grey = _grey_profile(1.0)
    wanted = 255 * (1.055 * 0.5 ** (1 / 2.4) - 0.055)  # half the light
    Image.new("L", (8, 8), 128).save(tmp_path / "l.png", icc_profile=grey)
    Image.fromarray(np.full((8, 8), 32896, np.uint16)).save(tmp_path / "i.png", icc_profile=grey)
    Image.new("LA", (8, 8), (128, 255)).save(tmp_path / "la.png", icc_profile=grey)
    for name in ("l", "i", "la"):
        pixel = read_image(tmp_path / f"{name}.png")[0, 0]
        assert np.abs(pixel.astype(float) - wanted).max() < 2, name


def _grey_profile(gamma: float) -> bytes:
    """A grey profile of the version 2 that scanners write: white, and one curve."""
    tags = [
        (b"desc", b"desc\0\0\0\0" + struct.pack(">I", 5) + b"grey\0" + b"\0" * 79),
        (b"wtpt", b"XYZ \0\0\0\0" + struct.pack(">3I", 0xF6D6, 0x10000, 0xD32D)),
        (b"kTRC", b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256)) + b"\0\0"),
        (b"cprt", b"text\0\0\0\0none\0\0\0\0"),
    ]
    table, body, at = struct.pack(">I", len(tags)), b"", 132 + 12 * len(tags)
    for tag, data in tags:
        table += tag + struct.pack(">II", at + len(body), len(data))
        body += data
    head = struct.pack(">I4sI", at + len(body), b"none", 0x02400000) + b"mntrGRAYXYZ " + b"\0" * 12 + b"acsp"
    head = head.ljust(68, b"\0") + struct.pack(">3I", 0xF6D6, 0x10000, 0xD32D)
    return head.ljust(128, b"\0") + table + body


def test_palettes_and_transparency_keep_their_shape(tmp_path):
    pixels = patches()
    Image.fromarray(pixels).quantize(16).save(tmp_path / "p.png", icc_profile=DISPLAY_P3)
    assert np.abs(read(tmp_path / "p.png") - in_p3()).max() <= 2
    alpha = np.full(pixels.shape[:2], 255, np.uint8)
    alpha[:, :16] = 0
    alpha[:, 16:32] = 51
    Image.fromarray(np.dstack([pixels, alpha])).save(tmp_path / "a.png", icc_profile=DISPLAY_P3)
    found, wanted = read(tmp_path / "a.png"), in_p3()
    assert found[0].tolist() == [255, 255, 255]
    assert np.abs(found[1] - (0.2 * wanted[1] + 0.8 * 255)).max() <= 2, "laid over white after the colours are right"
    assert np.abs(found[2:] - wanted[2:]).max() <= 1.5


def test_sixteen_bit_colours_are_converted_too(tmp_path):
    deep = patches()[:, :, ::-1].astype(np.uint16) * 257
    write_png16 = cv2.imencode(".png", deep)[1].tobytes()
    body = b"iCCPp\0\0" + zlib.compress(DISPLAY_P3)
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    (tmp_path / "a.png").write_bytes(write_png16[:33] + chunk + write_png16[33:])
    assert np.abs(read(tmp_path / "a.png") - in_p3()).max() <= 2


def test_cmyk_goes_through_its_profile(tmp_path):
    """A made press whose cyan ink is nothing but grey: the profile alone can say so."""
    pixels = Image.new("CMYK", (32, 32), (200, 0, 0, 0))
    plain, meant = tmp_path / "plain.jpg", tmp_path / "meant.jpg"
    pixels.save(plain, quality=100)
    pixels.save(meant, quality=100, icc_profile=_grey_press())
    without, found = read_image(plain)[16, 16].astype(int), read_image(meant)[16, 16].astype(int)
    assert without[0] - without[2] > 100, "naive: cyan"
    assert np.ptp(found) <= 4 and found.max() < 200, "by the profile: grey"


def _grey_press() -> bytes:
    """A CMYK profile (version 2, one lut8 of 2 x 2 x 2 x 2) in which every ink darkens and none colours."""
    s15 = lambda v: struct.pack(">i", round(v * 65536))  # noqa: E731
    identity = b"".join(s15(v) for v in (1, 0, 0, 0, 1, 0, 0, 0, 1))
    ramp = bytes(range(256))
    grid = b"".join(
        bytes([round(255 * (1 - 0.25 * (c + m + y + k))), 128, 128])
        for c in (0, 1) for m in (0, 1) for y in (0, 1) for k in (0, 1)
    )  # fmt: skip
    lut = b"mft1\0\0\0\0" + bytes([4, 3, 2, 0]) + identity + ramp * 4 + grid + ramp * 3
    tags = [(b"desc", b"desc\0\0\0\0" + struct.pack(">I", 5) + b"ink \0" + b"\0" * 79),
            (b"wtpt", b"XYZ \0\0\0\0" + struct.pack(">3I", 0xF6D6, 0x10000, 0xD32D)),
            (b"A2B0", lut), (b"A2B1", lut)]  # fmt: skip
    table, body, at = struct.pack(">I", len(tags)), b"", 132 + 12 * len(tags)
    for tag, data in tags:
        table += tag + struct.pack(">II", at + len(body), len(data))
        body += data + b"\0" * (-len(data) % 4)
    head = struct.pack(">I4sI", at + len(body), b"none", 0x02400000) + b"prtrCMYKLab " + b"\0" * 12 + b"acsp"
    head = head.ljust(68, b"\0") + struct.pack(">3I", 0xF6D6, 0x10000, 0xD32D)
    return head.ljust(128, b"\0") + table + body


@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_orientation_and_colours_are_both_right(tmp_path, orientation):
    picture, exif = turned(patches(), orientation)
    picture.save(tmp_path / "a.png", exif=exif, icc_profile=DISPLAY_P3)
    assert np.abs(read(tmp_path / "a.png") - in_p3()).max() <= 1.5


@pytest.mark.parametrize(
    "profile",
    [
        b"x" * 300, DISPLAY_P3[:200], DISPLAY_P3[:128] + b"\xff" * 300, b"\0" * 5, _grey_profile(1.0),
        DISPLAY_P3.replace(b"rXYZ", b"rXYQ"),
    ],
)  # fmt: skip
def test_a_profile_that_is_broken_or_does_not_fit_is_passed_over(tmp_path, profile):
    Image.fromarray(patches()).save(tmp_path / "a.jpg", quality=100, subsampling=0, icc_profile=profile)
    assert np.abs(read(tmp_path / "a.jpg") - centres(patches())).max() <= 2


def test_profiles_that_mean_srgb_change_no_pixel_and_cost_nothing(tmp_path):
    rng = np.random.default_rng(0)
    pixels = Image.fromarray(rng.integers(0, 255, (400, 300, 3), np.uint8))
    pixels.save(tmp_path / "none.png")
    own = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for number, profile in enumerate((own, icc_profile(1, "srgb"))):
        pixels.save(tmp_path / f"{number}.png", icc_profile=profile)
        assert np.array_equal(read_image(tmp_path / f"{number}.png"), read_image(tmp_path / "none.png"))
    from identity_segmentation.colours import in_srgb

    large = Image.new("RGB", (4000, 3000))
    begun = time.perf_counter()
    assert in_srgb(large, own) is large, "the same picture, not a copy"
    assert time.perf_counter() - begun < 0.01


# ---- photos that say it otherwise


def camera_jpeg(path, index: str | None, colour_space: int | None, **options):
    exif = Image.Exif()
    exif[0x010F] = "a camera"
    if colour_space is not None:
        exif.get_ifd(0x8769)[0xA001] = colour_space
    if index is not None:
        exif.get_ifd(0x8769)[0xA005] = {1: index, 2: b"0100"}
    Image.fromarray(patches()).save(path, quality=100, subsampling=0, exif=exif, **options)
    return path


def test_a_camera_that_says_adobe_rgb_in_exif_alone_is_believed(tmp_path):
    wanted = srgb_of(centres(patches()), ADOBE, ADOBE_GAMMA)
    path = camera_jpeg(tmp_path / "a.jpg", "R03", 0xFFFF)
    assert Image.open(path).getexif().get_ifd(0xA005)[1] == "R03", "the file is what the test means"
    assert np.abs(read(path) - wanted).max() <= 2.5
    for name, index, space in (("srgb", "R98", 1), ("uncalibrated", None, 0xFFFF), ("torn", "R03", 1)):
        path = camera_jpeg(tmp_path / f"{name}.jpg", index, space)
        assert np.abs(read(path) - centres(patches())).max() <= 2, name
    path = camera_jpeg(tmp_path / "both.jpg", "R03", 0xFFFF, icc_profile=DISPLAY_P3)
    assert np.abs(read(path) - in_p3()).max() <= 2.5, "a profile goes before EXIF"


def test_exif_that_is_broken_says_nothing_of_colours(tmp_path):
    path = camera_jpeg(tmp_path / "a.jpg", "R03", 0xFFFF)
    data = bytearray(path.read_bytes())
    at = data.index(b"R03")
    data[at - 60 : at] = b"\xff" * 60
    path.write_bytes(data)
    assert read_image(path).shape == (16, 128, 3)


def test_heic_is_read_by_its_code_numbers_and_by_its_profile(tmp_path):
    pixels = np.repeat(patches(16), 4, axis=0)
    plain = centres(read_image(heic(tmp_path / "plain.heic", pixels)))[:, ::-1]
    assert np.abs(plain - centres(patches())).max() <= 4
    coded = centres(read_image(heic(tmp_path / "p3.heic", pixels, primaries=12)))[:, ::-1]
    assert np.abs(coded - in_p3()).max() <= 4
    profiled = centres(read_image(heic(tmp_path / "icc.heic", pixels, icc=DISPLAY_P3)))[:, ::-1]
    assert np.abs(profiled - in_p3()).max() <= 4
    high = centres(read_image(heic(tmp_path / "pq.heic", pixels, primaries=9, transfer=16)))[:, ::-1]
    assert np.abs(high - centres(patches())).max() <= 4, "an HDR curve alone is no plain picture's: left as it is"


def test_avif_is_read_by_its_code_numbers(tmp_path):
    Image.fromarray(patches()).save(tmp_path / "a.avif", quality=100, subsampling="4:4:4")
    data = (tmp_path / "a.avif").read_bytes()
    assert nclx_of(data) == {"color_primaries": 1, "transfer_characteristics": 13}
    at = data.index(b"colrnclx") + 8
    (tmp_path / "p3.avif").write_bytes(data[:at] + struct.pack(">H", 12) + data[at + 2 :])
    assert np.abs(read(tmp_path / "p3.avif") - in_p3()).max() <= 4
    assert nclx_of(data[:60]) is None and nclx_of(b"") is None and nclx_of(b"\0" * 200) is None
    for end in range(0, 400, 7):  # cut anywhere
        nclx_of(data[:end])


# ---- writing


@pytest.mark.parametrize("shape", [(6, 9, 3), (6, 9, 4), (6, 9)])
def test_a_profile_is_embedded_in_a_png_and_the_pixels_stay(tmp_path, shape):
    image = np.random.default_rng(0).integers(0, 255, shape, dtype=np.uint8)
    profile = icc_profile(9, "bt709")
    path = write_image(tmp_path / "a.png", image, profile=profile)
    with Image.open(path) as opened:
        opened.load()
        assert opened.info["icc_profile"] == profile
    with PngImagePlugin.PngImageFile(path) as opened:
        opened.verify()  # every checksum
    assert np.array_equal(cv2.imread(str(path), cv2.IMREAD_UNCHANGED), image)
    write_image(tmp_path / "b.png", image)
    assert b"iCCP" not in (tmp_path / "b.png").read_bytes()
    with pytest.raises(InputError, match=r"in PNG alone.*\.png, got 'a\.jpg'"):
        write_image(tmp_path / "a.jpg", image, profile=profile)


def test_what_is_written_with_a_profile_is_read_by_it(tmp_path):
    path = write_image(tmp_path / "a.png", patches()[:, :, ::-1], profile=DISPLAY_P3)
    assert np.abs(read(path) - in_p3()).max() <= 1.5
