"""What a photo file holds beside its pixels - EXIF, XMP, IPTC, previews - carried over cleaned, or left out.

A file shows a face in more places than one: in EXIF's thumbnail, in a camera's maker note, in XMP that editors and
phones write pictures into, in Photoshop's resources, and in the second picture of an MPO. None of these is ever carried
over.
(EXIF 2.32; XMP part 3; ITU-T T.81, annex B; CIPA DC-007 for MPO; Photoshop file formats, "Image Resources".)
"""

from __future__ import annotations

import contextlib
import io
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from PIL import ExifTags, Image, PngImagePlugin

from .errors import ImageError
from .images import OwnLimit, formats_for

_EXIF_IFD, _GPS_IFD, _THUMBNAIL_IFD = ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo, ExifTags.IFD.IFD1
_ORIENTATION, _COLOUR_SPACE, _WIDTH, _HEIGHT, _MAKER_NOTE, _INTEROPERABILITY = (
    0x0112, 0xA001, 0xA002, 0xA003, 0x927C, 0xA005,
)  # fmt: skip
# What EXIF says in its first table about a picture, rather than about how the pixels lie in the file: description,
# maker, model, resolution and its unit, program, time, artist, copyright, rating, and Windows' five texts.
_DESCRIPTIVE = frozenset(
    (0x010E, 0x010F, 0x0110, 0x011A, 0x011B, 0x0128, 0x0131, 0x0132, 0x013B, 0x013C, 0x4746, 0x4749, 0x8298,
     *range(0x9C9B, 0x9CA0))
)  # fmt: skip
_XMP_TAG, _IPTC_TAG = 700, 33723
_JPEG_START = b"\xff\xd8"
_MOST_NOTE = (
    16 << 10
)  # bytes of a maker note: those that hold a preview are larger, and so may hide one in their own way
# XMP in which pictures are written, or that speaks of pictures which are left out.
_XMP_PICTURES = (
    b"xmpgimg",
    b"gimage:",
    b"gdepth:",
    b"thumbnails",
    b"container:",
    b"hasextendedxmp",
    b"/9j/",
    b"hdrgm:",
)
_XMP_TURN = re.compile(rb"(tiff:Orientation(?:=[\"']|>)\s*)[2-8]")
_XMP_HEAD, _EXIF_HEAD, _IPTC_HEAD = b"http://ns.adobe.com/xap/1.0/\0", b"Exif\0\0", b"Photoshop 3.0\0"
_IPTC_RESOURCE = 0x0404
_IPTC_PREVIEW = b"\x1c\x08\xca"  # data set 8:202, "ObjectData Preview Data" (IIM 4.2)
_APP0, _APP1, _APP2, _APP13, _APP14, _COMMENT = 0xE0, 0xE1, 0xE2, 0xED, 0xEE, 0xFE
_SOS, _EOI = 0xDA, 0xD9


@dataclass(frozen=True)
class Metadata:
    """What a file holds beside its pixels, without any picture.

    Attributes:
        exif: EXIF beginning with its TIFF header; empty = none.
        xmp: an XMP packet; empty = none.
        iptc: an IPTC record (IIM); empty = none.
        comment: of a JPEG or GIF; empty = none.
        texts: a PNG's texts by their keys.
        removed: what was left out, in words.
    """

    exif: bytes = b""
    xmp: bytes = b""
    iptc: bytes = b""
    comment: bytes = b""
    texts: tuple[tuple[str, str], ...] = ()
    removed: tuple[str, ...] = ()


def metadata_of(data: bytes, source: str = "picture", upright: bool = True, strip: bool = False) -> Metadata:
    """Read a photo's metadata, cleaned of every picture.

    Args:
        data: the file's bytes.
        source: what the picture is called in errors.
        upright: will the pixels be written upright, in sRGB? Then orientation and colour space say so; else they stay.
        strip: leave all of it out, but for the orientation and colour space of pixels that are not written anew.

    Raises:
        ImageError: the bytes are no picture.
    """
    removed: list[str] = []
    try:
        with OwnLimit():
            picture = Image.open(io.BytesIO(data), formats=formats_for(data, source))
            if picture.format == "PNG":
                picture.load()  # texts may stand behind the pixels
    except (OSError, ValueError, SyntaxError) as error:
        raise ImageError(f"{source} is not a picture this can read ({error})") from error
    if getattr(picture, "n_frames", 1) > 1:
        kind = "second picture (MPO)" if picture.format == "MPO" else "pictures after the first"
        removed.append(kind)
    exif = _exif(picture, upright, strip, removed)
    xmp = _xmp(picture, data, removed)
    iptc = _iptc(picture, removed)
    texts = tuple(_texts(picture, removed))
    comment = picture.info.get("comment", b"")
    comment = comment.encode() if isinstance(comment, str) else bytes(comment)
    if not strip:
        return Metadata(exif, xmp, iptc, comment, texts, tuple(dict.fromkeys(removed)))
    there = {"XMP": xmp, "IPTC": iptc, "comment": comment, "texts": texts}
    removed += [name for name, value in there.items() if value]
    return Metadata(exif, removed=tuple(dict.fromkeys(removed)))


def _exif(picture: Any, upright: bool, strip: bool, removed: list[str]) -> bytes:
    """A new EXIF with what may be carried over; empty where there is nothing."""
    # EXIF that is broken says nothing; Pillow reports it through all of these.
    with contextlib.suppress(SyntaxError, ValueError, TypeError, KeyError, OSError, struct.error, AttributeError):
        old = picture.getexif()
        if not len(old):
            return b""
        if picture.format != "TIFF" and old.get_ifd(_THUMBNAIL_IFD):  # there it is the next page
            removed.append("EXIF thumbnail")
        inner, place = dict(old.get_ifd(_EXIF_IFD)), dict(old.get_ifd(_GPS_IFD))
        new = Image.Exif()
        if strip:
            said = {tag for tag in old if tag in _DESCRIPTIVE} or inner
            removed.extend(name for name, there in (("EXIF", said), ("GPS", place)) if there)
            kept: dict = {}
        else:
            for tag in _DESCRIPTIVE & set(old):
                new[tag] = _any_script(old[tag])
            if place:
                new[_GPS_IFD] = place
            kept = _without_previews(inner, removed)
        if upright:
            size = (picture.size[::-1]) if old.get(_ORIENTATION, 1) in (5, 6, 7, 8) else picture.size
            # DCF's "R03" (Adobe RGB) lies in the table of interoperability: that of an sRGB picture would be false.
            kept.pop(_INTEROPERABILITY, None)
            if kept:
                kept |= {_COLOUR_SPACE: 1, _WIDTH: size[0], _HEIGHT: size[1]}
        else:
            if old.get(_ORIENTATION, 1) != 1:
                new[_ORIENTATION] = old[_ORIENTATION]
            kept |= {tag: inner[tag] for tag in (_COLOUR_SPACE,) if tag in inner}
            if _INTEROPERABILITY in inner:
                kept[_INTEROPERABILITY] = dict(old.get_ifd(_INTEROPERABILITY))
        if kept:
            new[_EXIF_IFD] = kept
        return new.tobytes().removeprefix(_EXIF_HEAD) if len(new) else b""
    removed.append("EXIF that cannot be read")
    return b""


def _without_previews(inner: dict, removed: list[str]) -> dict:
    """EXIF's inner table less what may hold a picture."""
    kept = {}
    for tag, value in inner.items():
        if isinstance(value, bytes) and (_JPEG_START in value or len(value) > _MOST_NOTE):
            removed.append("maker note with a preview" if tag == _MAKER_NOTE else "EXIF entry with a picture")
            continue
        kept[tag] = _any_script(value)
    return kept


def _any_script(value: Any) -> Any:
    """A text as its own bytes where it is more than ASCII, which Pillow reads as Latin-1 and would write as "?"."""
    return value.encode("latin-1") if isinstance(value, str) and not value.isascii() else value


def _xmp(picture: Any, data: bytes, removed: list[str]) -> bytes:
    xmp = picture.info.get("xmp") or b""
    if not xmp and picture.format == "TIFF":
        xmp = picture.tag_v2.get(_XMP_TAG, b"")
    if not xmp and picture.format == "PNG":
        xmp = picture.info.get("XML:com.adobe.xmp", b"")
    xmp = xmp.encode() if isinstance(xmp, str) else bytes(xmp)
    if picture.format in ("JPEG", "MPO") and b"http://ns.adobe.com/xmp/extension/\0" in data:
        removed.append("XMP with a picture")
        return b""
    if any(word in xmp.lower() for word in _XMP_PICTURES):
        removed.append("XMP with a picture")
        return b""
    return _XMP_TURN.sub(rb"\g<1>1", xmp)


def _iptc(picture: Any, removed: list[str]) -> bytes:
    """The IPTC record among Photoshop's resources; the other resources hold previews and paths."""
    if picture.format == "TIFF":
        record = picture.tag_v2.get(_IPTC_TAG, b"")
        record = record if isinstance(record, bytes) else b""
        if 34377 in picture.tag_v2 or 330 in picture.tag_v2:
            removed.append("previews of a TIFF")
    else:
        resources = picture.info.get("photoshop") or {}
        record = resources.get(_IPTC_RESOURCE, b"") if isinstance(resources, dict) else b""
        if isinstance(resources, dict) and {1033, 1036} & set(resources):
            removed.append("Photoshop thumbnail")
    if _IPTC_PREVIEW in record or _JPEG_START in record:
        removed.append("IPTC with a preview")
        return b""
    return record


def _texts(picture: Any, removed: list[str]) -> Iterator[tuple[str, str]]:
    for key, value in getattr(picture, "text", {}).items():
        if key == "XML:com.adobe.xmp":
            continue
        if key.lower().startswith("raw profile type") or len(value) > _MOST_NOTE:  # EXIF or IPTC as text, or a picture
            removed.append("PNG text with a picture or a profile")
            continue
        yield str(key), str(value)


# ---- writing


def png_info(metadata: Metadata) -> PngImagePlugin.PngInfo:
    """A PNG's texts and XMP as Pillow takes them.

    Args:
        metadata: what is written; its EXIF is given to Pillow apart.
    """
    info = PngImagePlugin.PngInfo()
    for key, value in metadata.texts:
        info.add_itxt(key, value)
    if metadata.xmp:
        info.add_itxt("XML:com.adobe.xmp", metadata.xmp.decode("utf-8", "replace"))
    return info


def with_tags(metadata: Metadata) -> Any:
    """A TIFF's tags as Pillow takes them: EXIF's, XMP's and IPTC's.

    Args:
        metadata: what is written.
    """
    exif = Image.Exif()
    if metadata.exif:
        exif.load(_EXIF_HEAD + metadata.exif)
    for tag, value in ((_XMP_TAG, metadata.xmp), (_IPTC_TAG, metadata.iptc)):
        if value:
            exif[tag] = value
    return exif


def jpeg_with(jpeg: bytes, metadata: Metadata, as_it_was: bool = False) -> bytes:
    """A JPEG with other metadata and the same coded pixels; whatever stands behind the picture is left out.

    Args:
        jpeg: of one picture, or several in an MPO, of which the first is taken.
        metadata: what is written; what is too long for a segment of 64 KiB is left out.
        as_it_was: keep the colour profile, which the pixels are meant by.
    """
    head, body = bytearray(_JPEG_START), bytearray()
    jfif = b""
    for marker, content in _segments(jpeg):
        if marker is None:
            body += content
        elif marker == _APP0 and content.startswith(b"JFIF\0") and len(content) >= 14:
            jfif = content[:12] + b"\0\0"  # without the thumbnail that may follow
        elif _is_of_pixels(marker, content, as_it_was):
            body += _segment(marker, content)
    if jfif:
        head += _segment(_APP0, jfif)
    resource = b"8BIM" + struct.pack(">HHI", _IPTC_RESOURCE, 0, len(metadata.iptc)) + metadata.iptc
    resource += b"\0" * (len(metadata.iptc) % 2)
    for marker, lead, content in (
        (_APP1, _EXIF_HEAD, metadata.exif), (_APP1, _XMP_HEAD, metadata.xmp),
        (_APP13, _IPTC_HEAD, resource if metadata.iptc else b""), (_COMMENT, b"", metadata.comment),
    ):  # fmt: skip
        if content and len(lead) + len(content) <= 65533:
            head += _segment(marker, lead + content)
    return bytes(head + body)


def _is_of_pixels(marker: int, content: bytes, profile: bool) -> bool:
    """Is a segment needed to decode the pixels, rather than said about them?"""
    if marker == _APP14:
        return content.startswith(b"Adobe")
    if marker == _APP2:
        return profile and content.startswith(b"ICC_PROFILE\0")
    return not _APP0 <= marker <= 0xEF and marker != _COMMENT


def _segment(marker: int, content: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content


def _segments(jpeg: bytes) -> Iterator[tuple[int | None, bytes]]:
    """(marker, content) of the segments of a file's first picture; (None, bytes) of what is copied as it stands."""
    at = 2
    while at + 4 <= len(jpeg):
        if jpeg[at] != 0xFF:
            at += 1  # rubbish between segments, which decoders skip
            continue
        marker = jpeg[at + 1]
        if marker in (0xFF, 0x00, 0x01) or 0xD0 <= marker <= 0xD8:
            at += 1 if marker == 0xFF else 2
            continue
        if marker == _EOI:
            break
        end = at + 2 + struct.unpack_from(">H", jpeg, at + 2)[0]
        if marker == _SOS:
            end = _end_of_scan(jpeg, end)
            yield None, jpeg[at:end]
        else:
            yield marker, jpeg[at + 4 : end]
        at = end
    yield None, bytes((0xFF, _EOI))


def _end_of_scan(jpeg: bytes, at: int) -> int:
    """Where the next marker stands that ends coded data: none that is stuffed (FF 00), restarts (D0 to D7) or fills."""
    while True:
        at = jpeg.find(b"\xff", at)
        if at < 0 or at + 1 >= len(jpeg):
            return len(jpeg)
        if jpeg[at + 1] == 0 or 0xD0 <= jpeg[at + 1] <= 0xD7:
            at += 2
        elif jpeg[at + 1] == 0xFF:
            at += 1
        else:
            return at
