"""Every picture a person might hand in is decoded as it is meant to be seen, or refused with the reason."""

from __future__ import annotations

import errno
import io
import os
import struct
import sys
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

from identity_segmentation import read_image, write_image
from identity_segmentation.errors import ImageError, InputError, OutputError
from identity_segmentation.files import atomic_write, safe_filename
from identity_segmentation.images import list_photos, shrink_to


def saved(path, picture: Image.Image, **options):
    picture.save(path, **options)
    return path


@pytest.fixture
def corner(tmp_path) -> Image.Image:
    """40x20, red in the top left corner, blue elsewhere: every rotation shows."""
    picture = Image.new("RGB", (40, 20), (0, 0, 255))
    picture.paste((255, 0, 0), (0, 0, 10, 10))
    return picture


def test_colours_come_out_bgr(tmp_path, corner):
    image = read_image(saved(tmp_path / "a.png", corner))
    assert image.shape == (20, 40, 3) and image.dtype == np.uint8
    assert image[0, 0].tolist() == [0, 0, 255] and image[19, 39].tolist() == [255, 0, 0]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_exif_orientation_comes_out_upright(tmp_path, corner, orientation):
    undo = {2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
            5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE,
            8: Image.Transpose.ROTATE_270}  # fmt: skip
    stored = corner.transpose(undo[orientation]) if orientation in undo else corner
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = read_image(saved(tmp_path / "a.png", stored, exif=exif))
    assert image.shape == (20, 40, 3)
    assert image[2, 2].tolist() == [0, 0, 255]


def test_sixteen_bit_grey_is_scaled_not_clipped(tmp_path):
    ramp = np.linspace(0, 65535, 256).astype(np.uint16)[None].repeat(4, 0)
    image = read_image(saved(tmp_path / "a.png", Image.fromarray(ramp)))
    assert image[0, 0, 0] == 0 and image[0, -1, 0] == 255 and abs(int(image[0, 128, 0]) - 128) <= 1


def test_grey_cmyk_and_palette_become_colour(tmp_path, corner):
    assert read_image(saved(tmp_path / "g.png", corner.convert("L"))).shape == (20, 40, 3)
    cmyk = read_image(saved(tmp_path / "c.jpg", corner.convert("CMYK"), quality=95))
    assert cmyk[15, 35, 0] > 180 and cmyk[15, 35, 2] < 80
    palette = read_image(saved(tmp_path / "p.png", corner.convert("P")))
    assert palette[2, 2, 2] > 200 and palette[2, 2, 0] < 60


def test_transparency_is_laid_over_white(tmp_path):
    picture = Image.new("RGBA", (8, 8), (255, 0, 0, 0))
    picture.paste((0, 0, 255, 255), (0, 0, 4, 8))
    image = read_image(saved(tmp_path / "a.png", picture))
    assert image[0, 0].tolist() == [255, 0, 0] and image[0, 7].tolist() == [255, 255, 255]


def test_the_first_frame_of_an_animation_is_read(tmp_path):
    frames = [Image.new("RGB", (8, 8), c) for c in ((255, 0, 0), (0, 255, 0))]
    path = tmp_path / "a.gif"
    frames[0].save(path, save_all=True, append_images=frames[1:])
    assert read_image(path)[0, 0].tolist() == [0, 0, 255]


@pytest.mark.parametrize("suffix", [".webp", ".bmp", ".tiff", ".avif"])
def test_other_common_formats_are_read(tmp_path, corner, suffix):
    image = read_image(saved(tmp_path / f"a{suffix}", corner))
    assert image.shape == (20, 40, 3) and image[15, 35, 0] > 200


def test_a_file_is_judged_by_its_bytes_not_its_name(tmp_path, corner):
    corner.save(tmp_path / "a.png")
    (tmp_path / "a.png").rename(tmp_path / '사진 "1".jpg')
    assert read_image(tmp_path / '사진 "1".jpg').shape == (20, 40, 3)


def test_missing_empty_and_foreign_files_say_what_they_are(tmp_path):
    with pytest.raises(ImageError, match="no such file"):
        read_image(tmp_path / "none.jpg")
    with pytest.raises(ImageError, match="is a folder"):
        read_image(tmp_path)
    for content, reason in (
        (b"", "is empty"),
        (b"this is a text file\n" * 20, "it is text"),
        (b"<!DOCTYPE html><html></html>", "web page"),
        (b"\x89\x00\x01\xff" * 30, "first bytes"),
    ):
        (tmp_path / "a.jpg").write_bytes(content)
        with pytest.raises(ImageError, match=reason):
            read_image(tmp_path / "a.jpg")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_truncated_picture_is_refused_never_half_decoded(tmp_path, kind):
    buffer = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 255, (200, 200, 3), dtype=np.uint8)
    Image.fromarray(noise).save(buffer, kind)
    (tmp_path / "a").write_bytes(buffer.getvalue()[: len(buffer.getvalue()) * 2 // 3])
    with pytest.raises(ImageError):
        read_image(tmp_path / "a")


def test_a_png_with_a_damaged_checksum_is_refused(tmp_path, corner):
    path = saved(tmp_path / "a.png", corner)
    content = bytearray(path.read_bytes())
    content[content.index(b"IDAT") + 6] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(ImageError, match="damaged"):
        read_image(path)


def _png_header(width: int, height: int, extra: bytes = b"") -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + extra + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")


def test_a_picture_that_claims_to_be_enormous_is_refused_before_decoding(tmp_path):
    (tmp_path / "bomb.png").write_bytes(_png_header(60000, 60000))
    with pytest.raises(ImageError, match="3600 megapixels; the limit is 120"):
        read_image(tmp_path / "bomb.png")
    (tmp_path / "large.png").write_bytes(_png_header(15000, 10000))
    with pytest.raises(ImageError, match="150 megapixels; the limit is 120"):
        read_image(tmp_path / "large.png")


def test_a_text_chunk_bomb_is_refused(tmp_path):
    body = b"Comment\0\0" + zlib.compress(b"A" * 200_000_000)
    extra = struct.pack(">I", len(body)) + b"zTXt" + body + struct.pack(">I", zlib.crc32(b"zTXt" + body))
    (tmp_path / "bomb.png").write_bytes(_png_header(4, 4, extra))
    with pytest.raises(ImageError):
        read_image(tmp_path / "bomb.png")


def test_the_size_limit_can_be_set(tmp_path, corner):
    path = saved(tmp_path / "a.png", corner)
    with pytest.raises(ImageError, match="IDSEG_MAX_PIXELS=800"):
        read_image(path, max_pixels=799)
    assert read_image(path, max_pixels=800).shape == (20, 40, 3)


def test_the_limit_can_be_raised_above_pillows_own(tmp_path, monkeypatch):
    from PIL import Image

    (tmp_path / "large.png").write_bytes(_png_header(20000, 10000))
    monkeypatch.setenv("IDSEG_MAX_PIXELS", "250000000")
    with pytest.raises(ImageError, match="damaged or truncated"):  # past the limit, and then not enough pixels in it
        read_image(tmp_path / "large.png")
    assert Image.MAX_IMAGE_PIXELS, "Pillow's limit is back for everybody else"


def test_heic_is_decoded_or_the_hint_says_how(tmp_path, monkeypatch):
    (tmp_path / "a.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + b"\0" * 64)
    monkeypatch.setitem(sys.modules, "pi_heif", None)
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(ImageError, match="pip install pi-heif"):
        read_image(tmp_path / "a.heic")


def test_a_damaged_heic_is_an_error_of_ours(tmp_path):
    pytest.importorskip("pi_heif")
    (tmp_path / "a.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + b"\0" * 64)
    with pytest.raises(ImageError):
        read_image(tmp_path / "a.heic")


# ---- writing


def test_what_is_written_reads_back(tmp_path):
    image = np.random.default_rng(0).integers(0, 255, (20, 30, 3), dtype=np.uint8)
    assert (read_image(write_image(tmp_path / "가" / "a b.png", image)) == image).all()
    mask = image[..., 0] > 127
    stored = cv2.imdecode(np.fromfile(write_image(tmp_path / "m.png", mask), np.uint8), cv2.IMREAD_UNCHANGED)
    assert set(np.unique(stored)) == {0, 255}
    with pytest.raises(InputError, match=r"\.png, \.jpg or \.webp"):
        write_image(tmp_path / "a.txt", image)


def test_a_failed_write_leaves_the_old_file_and_no_rubbish(tmp_path):
    (tmp_path / "a.bin").write_bytes(b"old")
    with pytest.raises(RuntimeError), atomic_write(tmp_path / "a.bin") as file:
        file.write(b"half of the n")
        raise RuntimeError
    assert (tmp_path / "a.bin").read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a.bin"]


def test_a_full_disk_is_an_error_of_ours_and_leaves_no_rubbish(tmp_path):
    with pytest.raises(OutputError, match="No space left"), atomic_write(tmp_path / "a.bin"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert os.listdir(tmp_path) == []


def test_an_output_folder_that_is_a_file_is_an_error_of_ours(tmp_path):
    (tmp_path / "out").write_text("a file")
    with pytest.raises(OutputError, match="cannot be written"):
        write_image(tmp_path / "out" / "a.png", np.zeros((4, 4, 3), np.uint8))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Wonyoung", "Wonyoung"),
        ("장원영", "장원영"),
        ("วอนยอง", "วอนยอง"),
        ("../../etc/passwd", "etc_passwd"),
        ('a "b" c', "a_b_c"),
        ("CON", "_CON"),
        ("nul.txt", "_nul.txt"),
        ("...", "_"),
        ("a\x00b\u202ec", "a_b_c"),
        ("<img src=x onerror=alert(1)>", "img_src=x_onerror=alert(1)"),
    ],
)
def test_names_become_safe_file_names_in_their_own_script(name, expected):
    assert safe_filename(name).replace("__", "_") == expected


def test_a_very_long_name_fits_a_file_name():
    assert len(safe_filename("영" * 300).encode()) <= 200


def test_photos_are_listed_in_order_and_dot_files_are_not(tmp_path):
    for name in ("b.JPG", "a.png", ".hidden.jpg", "notes.txt"):
        (tmp_path / name).write_bytes(b"x")
    assert [p.name for p in list_photos(tmp_path)] == ["a.png", "b.JPG"]


def test_shrinking_never_enlarges():
    image = np.zeros((100, 50, 3), np.uint8)
    assert shrink_to(image, 200)[0] is image
    small, factor = shrink_to(image, 20)
    assert small.shape == (20, 10, 3) and factor == pytest.approx(0.2)


def test_writing_a_file_leaves_the_processs_umask_alone(tmp_path, monkeypatch):
    """Another thread that makes a file in that moment would make it readable by everyone."""
    monkeypatch.setattr(os, "umask", lambda mask: pytest.fail("the umask belongs to the whole process"))
    with atomic_write(tmp_path / "a") as file:
        file.write(b"1")
    with atomic_write(tmp_path / "b", private=True) as file:
        file.write(b"2")
    if os.name == "posix":
        assert (tmp_path / "b").stat().st_mode & 0o777 == 0o600
        assert (tmp_path / "a").stat().st_mode & 0o777 != 0o600


def test_a_folder_of_results_is_never_another_files(tmp_path):
    from identity_segmentation.files import own_folder, source_name, write_json

    first = own_folder(tmp_path / "out", tmp_path / "a" / "x.jpg", "result.json")
    write_json(first / "result.json", {"source": source_name(tmp_path / "a" / "x.jpg")})
    assert own_folder(tmp_path / "out", tmp_path / "a" / "x.jpg", "result.json") == first
    second = own_folder(tmp_path / "out", tmp_path / "b" / "x.jpg", "result.json")
    assert second.name == "x-2"
    (second / "result.json").parent.mkdir()
    (second / "result.json").write_text("not JSON")
    assert own_folder(tmp_path / "out", tmp_path / "b" / "x.jpg", "result.json").name == "x-3", (
        "whose it is is not known"
    )
    taken = set()
    assert [own_folder(tmp_path / "o", tmp_path / d / "X.jpg", "result.json", taken).name for d in "abc"] == [
        "X", "X-2", "X-3"
    ]  # fmt: skip
