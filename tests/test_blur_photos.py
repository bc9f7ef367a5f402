"""`idseg blur`: whose heads are covered in photos, and what the files that come out hold."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import struct

import cv2
import numpy as np
import pytest
from fakes import BACKGROUND, PEOPLE, SIDE, FakeFaces, FakeMasks, draw, near
from made_photos import heic
from PIL import Image, ImageCms, TiffImagePlugin

from identity_segmentation import IdentityAwareSegmentation, InputError, UnknownPerson, read_image, write_image
from identity_segmentation.blurring import BlurSettings, blur_folder, blur_photo
from identity_segmentation.cli.command import main
from identity_segmentation.masks.heads import FoundHead
from identity_segmentation.types import Face

ADA, BO, CY, DI = (PEOPLE[name] for name in ("Ada", "Bo", "Cy", "Di"))
LARGE = 3  # the drawn faces are 24 pixels; that is too few to prove anything, so pictures are drawn larger


class LargeFaces(FakeFaces):
    """Sees drawn people in pictures that were enlarged, after lossy coding too: colours are snapped to the cast."""

    def faces(self, image_bgr, embed=True):
        small = cv2.resize(image_bgr, None, fx=1 / LARGE, fy=1 / LARGE, interpolation=cv2.INTER_NEAREST)
        cast = np.array([BACKGROUND, *PEOPLE.values()])
        small = cast[np.abs(small[:, :, None].astype(int) - cast).sum(-1).argmin(-1)].astype(np.uint8)
        return [face.scaled(LARGE) for face in super().faces(small, embed)]


class Heads:
    """A search that finds a head around every drawn face, and heads at the places it was told of."""

    id = "fake-heads"

    def __init__(self, *more: FoundHead):
        self.more, self.looks = more, 0

    def find(self, image_bgr, expected=()):
        self.looks += 1
        faces = LargeFaces().faces(image_bgr, False)
        heads = [FoundHead(f.box + np.array([-12, -24, 12, 12]), 0.9, "face", f.side, f) for f in faces]
        return [*heads, *self.more]


def picture(*people) -> np.ndarray:
    return cv2.resize(draw(*people), None, fx=LARGE, fy=LARGE, interpolation=cv2.INTER_NEAREST)


def at(x: int, y: int) -> tuple[slice, slice]:
    """The pixels of a drawn face, in the enlarged picture."""
    half = SIDE // 2
    return slice((y - half) * LARGE, (y + half) * LARGE), slice((x - half) * LARGE, (x + half) * LARGE)


def is_covered(before: np.ndarray, after: np.ndarray, x: int, y: int) -> bool:
    """Is nothing left of a face, or all of it; half is an error."""
    gone = (before[at(x, y)] != after[at(x, y)]).any(-1).mean()
    assert gone in (0, 1), gone
    return gone == 1


@pytest.fixture
def people(tmp_path) -> IdentityAwareSegmentation:
    """Ada, Bo and Cy are on file; Di is not."""
    for name in ("Ada", "Bo", "Cy"):
        for i in range(3):
            write_image(tmp_path / "D" / name / f"{i}.png", picture((near(PEOPLE[name], 3 * i), 60 + 40 * i, 60)))
    pipeline = IdentityAwareSegmentation(LargeFaces(), FakeMasks(), gallery=tmp_path / "gallery", detector=NoBodies())
    pipeline.build_gallery(tmp_path / "D")
    return pipeline


class NoBodies:
    id, nouns = "none", ("person",)

    def detect(self, image_bgr, nouns=("person",), tiles=True, least=0.35):
        return []

    def describe(self):
        return "nobody"


# ---- who is covered


@pytest.mark.parametrize("way", ("blur", "mosaic", "solid", "ellipse"))
def test_without_names_everybody_is_covered_and_no_gallery_is_needed(way):
    image = picture((ADA, 62, 58), (DI, 262, 58))  # whose edges are not the mosaic's
    result = blur_photo(image, Heads(), settings=BlurSettings(way=way))
    assert result.covered == 2
    for x in (62, 262):
        assert (image[at(x, 58)] != result.image[at(x, 58)]).any(-1).mean() > 0.4
    assert np.array_equal(result.image[-1], image[-1]), "bodies stay"


def test_a_member_is_covered_in_the_mirror_too_and_somebody_else_is_not(people):
    image = picture((ADA, 40, 60), (near(ADA), 120, 60), (BO, 200, 60), (DI, 280, 60))
    result = blur_photo(image, Heads(), people, BlurSettings(member=("Ada",)))
    assert [is_covered(image, result.image, x, 60) for x in (40, 120, 200, 280)] == [True, True, False, False]
    assert {(h.covered, h.why) for h in result.heads} == {(True, "may be"), (False, "somebody else")}


def test_a_head_without_a_face_may_be_the_members_and_a_face_too_small_proves_nothing(people):
    image = picture((BO, 60, 60))
    back = FoundHead([600, 300, 690, 400], 0.4, "body")
    result = blur_photo(image, Heads(back), people, BlurSettings(member=("Ada",), way="solid"))
    assert not is_covered(image, result.image, 60, 60)
    assert (result.image[300:400, 600:690] == 64).all()
    small = IdentityAwareSegmentation(FakeFaces(), FakeMasks(), gallery=people.gallery, detector=NoBodies())
    tiny = draw((BO, 60, 60))
    assert blur_photo(tiny, NoHeads(), small, BlurSettings(member=("Ada",))).covered == 1, "24 pixels"


class NoHeads:
    id = "none"

    def find(self, image_bgr, expected=()):
        return []


def test_a_face_that_the_search_for_heads_missed_is_covered_all_the_same(people):
    image = picture((ADA, 60, 60), (BO, 200, 60))
    result = blur_photo(image, NoHeads(), people, BlurSettings(member=("Ada",)))
    assert [is_covered(image, result.image, x, 60) for x in (60, 200)] == [True, False]


def test_keep_covers_everybody_but_who_is_surely_kept(people):
    image = picture((ADA, 40, 60), (BO, 140, 60), (DI, 240, 60))
    back = FoundHead([600, 300, 690, 400], 0.4, "body")
    result = blur_photo(image, Heads(back), people, BlurSettings(keep=("Ada",)))
    assert [is_covered(image, result.image, x, 60) for x in (40, 140, 240)] == [False, True, True]
    assert result.covered == 3


def test_what_may_be_a_head_does_not_hide_the_face_of_one_who_is_kept(people):
    image = picture((ADA, 60, 60))
    left, right = 60 * LARGE - 60, 60 * LARGE + 20
    maybe = FoundHead([left, 130, right, 230], 0.2, "pose")
    result = blur_photo(image, Heads(maybe), people, BlurSettings(keep=("Ada",), way="solid"))
    middle = (slice(60 * LARGE - 20, 60 * LARGE + 20), slice(60 * LARGE - 20, 60 * LARGE + 20))
    assert np.array_equal(result.image[middle], image[middle])
    assert (result.image[150:210, left - 8 : left] == 64).all(), "but hides all around"
    seen = FoundHead(maybe.box, 0.2, "face", 40, Face(np.array([left + 20, 160, right - 20, 200]), 0.2))
    result = blur_photo(image, Heads(seen), people, BlurSettings(keep=("Ada",), way="solid"))
    assert (result.image[middle] == 64).any(), "a face that was seen is covered whole"


def test_a_second_face_of_a_kept_person_is_not_surely_theirs(people):
    image = picture((ADA, 40, 60), (near(ADA), 160, 60))
    result = blur_photo(image, Heads(), people, BlurSettings(keep=("Ada",)))
    assert result.covered == 1


def test_a_second_find_of_a_named_persons_head_is_not_taken_for_the_member(people):
    image = picture((BO, 60, 60))
    x = 60 * LARGE
    again = FoundHead([x - 30, 40 * LARGE + 30, x + 30, 80 * LARGE - 24], 0.4, "body")
    result = blur_photo(image, Heads(again), people, BlurSettings(member=("Ada",)))
    assert result.covered == 0


def test_whole_bodies_are_covered_with_their_heads_and_nobody_elses(people):
    image = picture((ADA, 60, 60), (BO, 220, 60))
    result = blur_photo(image, Heads(), people, BlurSettings(member=("Ada",), body=True, way="solid"))
    body = (slice(100 * LARGE, 170 * LARGE), slice(40 * LARGE, 80 * LARGE))
    assert result.bodies == 1
    assert (result.image[body] == 64).all()
    assert np.array_equal(result.image[:, 180 * LARGE :], image[:, 180 * LARGE :])


def test_names_and_engines_that_are_missing_are_said(people):
    image = picture((ADA, 60, 60))
    with pytest.raises(InputError, match="--keep"):
        BlurSettings(member=("Ada",), keep=("Bo",))
    with pytest.raises(InputError, match="solid, ellipse"):
        BlurSettings(way="pixelate")
    with pytest.raises(InputError, match="pipeline"):
        blur_photo(image, Heads(), settings=BlurSettings(member=("Ada",)))
    with pytest.raises(UnknownPerson):
        blur_photo(image, Heads(), people, BlurSettings(member=("Nobody",)))


# ---- files


def encoded(image: np.ndarray, kind: str, **options) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image[..., ::-1])).save(file, kind, **options)
    return file.getvalue()


def exif_with_everything(orientation: int = 1, preview: bytes = b"") -> bytes:
    """EXIF with a place, a maker, a maker note, and a thumbnail, laid out by hand: Pillow writes no thumbnail."""
    exif = Image.Exif()
    exif[0x010F], exif[0x0112], exif[0x8298] = "Maker", orientation, "© 나".encode()
    exif[0x8769] = {0x9003: "2026:01:02 03:04:05", 0x927C: b"NOTE" + preview, 0xA002: 1, 0xA003: 1}
    exif[0x8825] = {1: "N", 2: (37.0, 33.0, 0.0)}
    body = bytearray(exif.tobytes().removeprefix(b"Exif\0\0"))
    order = "<" if body[:2] == b"II" else ">"
    first = struct.unpack_from(order + "I", body, 4)[0]
    count = struct.unpack_from(order + "H", body, first)[0]
    struct.pack_into(order + "I", body, first + 2 + 12 * count, len(body))  # where the next table lies
    thumbnail = thumbnail_jpeg()
    start = len(body) + 2 + 12 * 3 + 4
    entries = [(0x0103, 3, 6), (0x0201, 4, start), (0x0202, 4, len(thumbnail))]
    body += struct.pack(order + "H", len(entries))
    for tag, form, value in entries:
        body += struct.pack(order + "HHI", tag, form, 1)
        body += struct.pack(order + ("HH" if form == 3 else "I"), *((value, 0) if form == 3 else (value,)))
    return bytes(body + struct.pack(order + "I", 0) + thumbnail)


def thumbnail_jpeg() -> bytes:
    return encoded(np.full((40, 60, 3), 99, np.uint8), "JPEG")


def starts(data: bytes) -> int:
    """How many JPEGs begin in a file."""
    return data.count(b"\xff\xd8\xff")


def blurred_file(tmp_path, name: str, data: bytes, search=None, pipeline=None, **settings):
    """(the file that comes out, its record)."""
    source = tmp_path / "in" / name
    source.parent.mkdir(exist_ok=True)
    source.write_bytes(data)
    (_, record, outcome), *_ = blur_folder(
        [source], tmp_path / "out", search or Heads(), pipeline, BlurSettings(**settings)
    )
    assert record is not None, outcome
    assert source.read_bytes() == data, "the original is not touched"
    return tmp_path / "out" / record["file"].rpartition("/")[2], record


@pytest.mark.parametrize("orientation", (1, 6))
def test_a_jpeg_keeps_what_it_says_and_loses_every_picture_in_it(orientation, tmp_path):
    image = picture((ADA, 60, 60), (BO, 260, 60))
    exif = b"Exif\0\0" + exif_with_everything(orientation, thumbnail_jpeg())
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><r tiff:Orientation="6" dc:title="T"/></x:xmpmeta>'
    data = encoded(image, "JPEG", quality=90, exif=exif, xmp=xmp)
    assert starts(data) == 3
    out, record = blurred_file(tmp_path, "a.JPG", data)
    with Image.open(out) as after:
        assert (out.name, after.format) == ("a.JPG", "JPEG")
        assert after.size == (image.shape[1::-1] if orientation == 1 else image.shape[:2])
        read = after.getexif()
        assert read[0x010F] == "Maker"
        assert "© 나".encode() in out.read_bytes()
        assert read.get(0x0112, 1) == 1
        assert read.get_ifd(0x8825)[2] == (37.0, 33.0, 0.0)
        inner = read.get_ifd(0x8769)
        assert inner[0x9003] == "2026:01:02 03:04:05"
        assert 0x927C not in inner
        assert (inner[0xA002], inner[0xA003]) == after.size
        assert not read.get_ifd(1)
        assert b'Orientation="1"' in after.info["xmp"]
        assert b'title="T"' in after.info["xmp"]
    assert starts(out.read_bytes()) == 1
    assert set(record["removed"]) == {"EXIF thumbnail", "maker note with a preview"}
    before = read_image(tmp_path / "in" / "a.JPG")
    seen = read_image(out)
    assert seen.shape == before.shape
    assert cv2.absdiff(seen, before)[-10:].max() <= 6, "elsewhere it is as good as it was"


def test_a_maker_note_without_a_picture_stays(tmp_path):
    data = encoded(picture((ADA, 60, 60)), "JPEG", exif=b"Exif\0\0" + exif_with_everything())
    out, record = blurred_file(tmp_path, "a.jpg", data)
    with Image.open(out) as after:
        assert after.getexif().get_ifd(0x8769)[0x927C] == b"NOTE"
    assert record["removed"] == ["EXIF thumbnail"]


@pytest.mark.parametrize("someone", (True, False))
def test_strip_leaves_nothing_but_the_picture(someone, tmp_path):
    image = picture((ADA, 60, 60)) if someone else np.ascontiguousarray(picture()[:, ::-1])
    iptc = b"Photoshop 3.0\x008BIM\x04\x04\0\0\0\0\0\x08\x1c\x02\x78\0\x03Hi!"
    data = encoded(image, "JPEG", exif=b"Exif\0\0" + exif_with_everything(), xmp=b"<x/>", comment=b"by me")
    data = data[:2] + b"\xff\xed" + struct.pack(">H", len(iptc) + 2) + iptc + data[2:]
    out, record = blurred_file(tmp_path, "a.jpg", data, strip=True)
    written = out.read_bytes()
    for trace in (b"Exif", b"Maker", b"NOTE", b"<x/>", b"by me", b"8BIM", b"Hi!", b"2026:01"):
        assert trace in data, trace
        assert trace not in written, trace
    assert {"EXIF thumbnail", "EXIF", "GPS", "XMP", "IPTC", "comment"} == set(record["removed"])
    kept, _ = blurred_file(tmp_path, "b.jpg", data)
    assert b"Hi!" in kept.read_bytes(), "IPTC stays where it is not to be left out"


def test_the_second_picture_of_an_mpo_and_pictures_in_xmp_are_left_out(tmp_path):
    image = picture((ADA, 60, 60))
    file = io.BytesIO()
    frames = [Image.fromarray(np.ascontiguousarray(image[..., ::-1])) for _ in range(2)]
    frames[0].save(file, "MPO", save_all=True, append_images=frames[1:])
    out, record = blurred_file(tmp_path, "a.mpo", file.getvalue())
    assert starts(file.getvalue()) == 2
    assert starts(out.read_bytes()) == 1
    assert b"MPF" not in out.read_bytes()
    assert "second picture (MPO)" in record["removed"]
    nobody, record = blurred_file(tmp_path, "b.mpo", file.getvalue(), NoHeads())
    assert starts(nobody.read_bytes()) == 1, "also where nothing is covered"
    xmp = b'<x xmpGImg:image="/9j/4AAQSkZJRg=="/>'
    out, record = blurred_file(tmp_path, "c.jpg", encoded(image, "JPEG", xmp=xmp))
    assert b"xmpGImg" not in out.read_bytes()
    assert "XMP with a picture" in record["removed"]


FORMATS = {
    "JPEG": (".jpg", {}), "PNG": (".png", {}), "WEBP": (".webp", {"quality": 80}), "TIFF": (".tif", {}),
    "BMP": (".bmp", {}), "GIF": (".gif", {}), "AVIF": (".avif", {}),
}  # fmt: skip


@pytest.mark.parametrize("kind", FORMATS)
def test_a_file_comes_out_in_its_own_format_and_size_covered(kind, tmp_path):
    image = picture((ADA, 60, 60), (BO, 260, 60))
    suffix, options = FORMATS[kind]
    exif = {} if kind in ("BMP", "GIF") else {"exif": b"Exif\0\0" + exif_with_everything()}
    data = encoded(image, kind, **options, **exif)
    out, record = blurred_file(tmp_path, f"a{suffix}", data, way="solid")
    with Image.open(out) as after:
        assert (after.format, after.size, out.suffix) == (kind, image.shape[1::-1], suffix)
        if exif:
            assert after.getexif()[0x010F] == "Maker"
    seen = read_image(out)
    assert np.abs(seen[at(60, 60)].astype(int) - 64).max() <= 6
    assert cv2.absdiff(seen[-30:], read_image(tmp_path / "in" / f"a{suffix}")[-30:]).max() <= 12
    assert record["status"] == "covered"


@pytest.mark.parametrize("kind", [*FORMATS, "turned JPEG in P3", "PNG 16", "clear PNG", "grey JPEG", "CMYK JPEG"])
def test_where_nobody_is_the_pixels_stay_as_they_are(kind, tmp_path):
    rng = np.random.default_rng(1)
    image = cv2.resize(rng.integers(0, 256, (12, 16, 3), np.uint8), (162, 122), interpolation=cv2.INTER_CUBIC)
    if kind == "PNG 16":
        data = cv2.imencode(".png", image.astype(np.uint16) * 257)[1].tobytes()
    elif kind == "clear PNG":
        data = cv2.imencode(".png", np.dstack([image, image[..., 0]]))[1].tobytes()
    elif kind in ("grey JPEG", "CMYK JPEG"):
        file = io.BytesIO()
        Image.fromarray(image).convert("L" if kind == "grey JPEG" else "CMYK").save(file, "JPEG")
        data = file.getvalue()
    elif kind == "turned JPEG in P3":
        from identity_segmentation.colours import icc_profile

        exif = b"Exif\0\0" + exif_with_everything(8)
        data = encoded(image, "JPEG", exif=exif, icc_profile=icc_profile(12, "srgb"), progressive=True)
    else:
        data = encoded(image, kind, **FORMATS[kind][1])
    suffix = FORMATS[kind][0] if kind in FORMATS else ".jpg" if "JPEG" in kind else ".png"
    for strip in (False, True):
        out, record = blurred_file(tmp_path, f"a{strip}{suffix}", data, NoHeads(), strip=strip)
        assert np.array_equal(read_image(out), read_image(tmp_path / "in" / f"a{strip}{suffix}"))
        assert record["status"] == "nobody"
        assert starts(out.read_bytes()) <= 1
        assert strip is False or b"Maker" not in out.read_bytes()


def test_heic_becomes_jpeg_and_says_so(tmp_path):
    rgb = np.ascontiguousarray(picture((ADA, 60, 60))[..., ::-1])
    data = heic(tmp_path / "x.heic", rgb).read_bytes()
    where = FoundHead([100, 100, 260, 260], 0.9, "face")
    out, record = blurred_file(tmp_path, "a.heic", data, Heads(where), way="solid")
    assert out.name == "a.jpg"
    assert record["remarks"] == ["HEIC became JPEG"]
    assert np.abs(read_image(out)[150:200, 150:200].astype(int) - 64).max() <= 4
    out, record = blurred_file(tmp_path, "b.heic", data, NoHeads())
    assert np.array_equal(read_image(out), read_image(tmp_path / "in" / "b.heic"))


def test_a_profile_is_turned_into_srgb_and_is_not_claimed_any_more(tmp_path):
    from identity_segmentation.colours import icc_profile

    data = encoded(picture((ADA, 60, 60)), "JPEG", icc_profile=icc_profile("adobe", 2.2), quality=95)
    out, _ = blurred_file(tmp_path, "a.jpg", data, way="solid")
    with Image.open(out) as after:
        profile = after.info.get("icc_profile")
    assert profile is None or "sRGB" in ImageCms.getProfileDescription(io.BytesIO(profile))
    before = read_image(tmp_path / "in" / "a.jpg")
    assert cv2.absdiff(read_image(out)[-30:], before[-30:]).max() <= 8


def test_a_tiff_loses_its_other_pages_and_previews(tmp_path):
    image = Image.fromarray(np.ascontiguousarray(picture((ADA, 60, 60))[..., ::-1]))
    info = TiffImagePlugin.ImageFileDirectory_v2()
    info[270], info[700] = "A description", b"<x>said</x>"
    file = io.BytesIO()
    image.save(file, "TIFF", save_all=True, append_images=[image.resize((64, 48))], tiffinfo=info)
    out, record = blurred_file(tmp_path, "a.tiff", file.getvalue(), way="solid")
    with Image.open(out) as after:
        assert after.n_frames == 1
        assert after.tag_v2[270] == "A description"
        assert after.tag_v2[700] == b"<x>said</x>"
    assert record["removed"] == ["pictures after the first"]


def test_a_picture_of_eight_thousand_pixels_is_covered(tmp_path):
    image = np.tile(np.arange(240, dtype=np.uint8)[None, :, None], (4320, 32, 3))
    where = FoundHead([3000, 1500, 4200, 3000], 0.9, "face")

    class Here(NoHeads):
        def find(self, image_bgr, expected=()):
            return [where]

    out, record = blurred_file(tmp_path, "a.jpg", encoded(image, "JPEG"), Here(), way="solid")
    seen = read_image(out)
    assert seen.shape == image.shape
    assert np.abs(seen[1600:2900, 3300:3900].astype(int) - 64).max() <= 3
    assert record["heads"][0]["covered"]


# ---- folders


@pytest.fixture
def folder(tmp_path):
    write_image(tmp_path / "in" / "나.png", picture((ADA, 60, 60)))
    write_image(tmp_path / "in" / "나.jpg", picture((BO, 60, 60)))
    (tmp_path / "in" / "broken.jpg").write_bytes(encoded(picture((BO, 60, 60)), "JPEG")[:4000])
    return tmp_path / "in"


def run(folder, output, search=None, **settings):
    photos = sorted(folder.iterdir())
    return {
        p.name: (record, said)
        for p, record, said in blur_folder(photos, output, search or Heads(), None, BlurSettings(**settings))
    }


def digests(folder):
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.iterdir() if p.is_file()}


def test_a_folder_is_resumed_and_done_again_only_where_something_changed(folder, tmp_path):
    before, search = digests(folder), Heads()
    first = run(folder, tmp_path / "out", search)
    assert {name: said for name, (_, said) in first.items() if said == "done"}.keys() == {"나.png", "나.jpg"}
    assert "broken.jpg" in first["broken.jpg"][1]
    assert sorted(p.name for p in (tmp_path / "out").iterdir() if p.is_file()) == ["나-2.png", "나.jpg"]
    again = run(folder, tmp_path / "out", search)
    assert [said for _, said in again.values() if said == "kept"] == ["kept"] * 2
    assert {n: r for n, (r, _) in again.items()} == {n: r for n, (r, _) in first.items()}
    assert search.looks == 2
    assert run(folder, tmp_path / "out", search, way="solid")["나.png"][1] == "done"
    write_image(folder / "나.png", picture((DI, 200, 60)))
    third = run(folder, tmp_path / "out", search, way="solid")
    assert (third["나.png"][1], third["나.jpg"][1]) == ("done", "kept")
    assert sorted(p.name for p in (tmp_path / "out").iterdir() if p.is_file()) == ["나-2.png", "나.jpg"]
    assert digests(folder)["나.jpg"] == before["나.jpg"]


def test_nothing_of_the_users_is_written_over(folder, tmp_path):
    output = tmp_path / "out"
    output.mkdir()
    (output / "나.jpg").write_bytes(b"mine")
    run(folder, output)
    assert (output / "나.jpg").read_bytes() == b"mine"
    made = {p.name for p in output.iterdir() if p.is_file()}
    assert made == {"나.jpg", "나-2.jpg", "나-3.png"}
    (output / "나-2.jpg").write_bytes(b"retouched by hand")
    run(folder, output, way="solid")
    assert (output / "나-2.jpg").read_bytes() == b"retouched by hand"
    with pytest.raises(InputError, match="--out"):
        run(folder, folder)


def test_the_command_covers_a_real_group_and_says_what_it_did(tmp_path, group_path, embedded_faces, capsys):
    source = tmp_path / "in" / "group.jpg"
    source.parent.mkdir()
    shutil.copy(group_path, source)
    (source.parent / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n but no more")
    code = main(["blur", str(source.parent), "--out", str(tmp_path / "out"), "--json", "--face-engine", "embedded"])
    said = capsys.readouterr()
    (record,) = json.loads(said.out)
    assert code == 4
    assert "broken.png" in said.err
    assert "look through the results" in said.err
    assert sum(head["covered"] for head in record["heads"]) >= 6
    assert not embedded_faces.faces(read_image(record["file"]))
    with pytest.raises(SystemExit) as stopped:
        main(["blur", str(source), "--member", "Ada", "--keep", "Bo"])
    assert stopped.value.code == 2


def test_on_a_real_group_the_member_is_covered_and_who_is_surely_somebody_else_is_not(
    tmp_path, data, embedded_faces, embedded_objects, embedded_masks
):
    pipeline = IdentityAwareSegmentation(embedded_faces, embedded_masks, tmp_path / "g", detector=embedded_objects)
    pipeline.build_gallery(data / "identity/ive/refs")
    from identity_segmentation.cli.privacy import head_search

    image = read_image(data / "identity/ive/group/group_a.jpg")
    for settings, uncovered in (
        (BlurSettings(member=("Jang_Wonyoung",)), {"Naoi_Rei"}),
        (BlurSettings(keep=("Jang_Wonyoung",)), {"Jang_Wonyoung"}),
    ):
        result = blur_photo(image, head_search(pipeline), pipeline, settings)
        seen = {match.name for match in pipeline.identify(result.image)} - {None}
        assert uncovered <= seen
        assert ("Jang_Wonyoung" in seen) == bool(settings.keep)
        assert len(seen) == 1 if settings.keep else len(seen) >= 3
    assert {m.name: m.basis for m in pipeline.identify(image)}["Kim_Gaeul"] == "group"
    result = blur_photo(image, head_search(pipeline), pipeline, BlurSettings(keep=("Kim_Gaeul",)))
    assert result.covered == len(result.heads), "who is named by elimination is not surely the one to be kept"
