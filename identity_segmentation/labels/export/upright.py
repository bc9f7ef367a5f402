"""Copies of pictures for training tools: byte for byte, or upright where EXIF turns them.

Most readers take the pixels as they lie in the file, some obey EXIF. A copy that is upright, with orientation 1, fits
its mask in both.
"""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps, JpegImagePlugin

from ...errors import ImageError, OutputError
from ...files import read_bytes
from ...images import OwnLimit, formats_for
from ...kinds import HEAD, PHOTO_SUFFIXES, photo_kind

_ORIENTATION = 0x0112
_WORDS = (0x010E, 0x010F, 0x0110, 0x0131, 0x0132, 0x013B, 0x8298)  # description, make, model, software, date, by whom
_QUALITY = 95
_KNOWN_SUFFIXES = PHOTO_SUFFIXES - {".jpe", ".jfif", ".mpo"}  # readers of the formats choose files by these
_SUFFIXES = {
    "JPEG": ".jpg", "PNG": ".png", "WEBP": ".webp", "BMP": ".bmp", "TIFF": ".tif", "GIF": ".gif", "AVIF": ".avif",
    "HEIF": ".heic",
}  # fmt: skip


def usual_suffix(picture: Path) -> str:
    """A picture's suffix, or the one its bytes should have where it has none that readers know."""
    if picture.suffix.lower() in _KNOWN_SUFFIXES:
        return picture.suffix
    kind = photo_kind(read_bytes(picture, ImageError, "picture", HEAD))
    return _SUFFIXES.get(kind or "", picture.suffix)


def is_turned(picture: Path) -> bool:
    """Does EXIF turn or mirror a picture? False for one that cannot be opened."""
    return orientation_of(picture) != 1


def orientation_of(picture: Path) -> int:
    """EXIF's orientation of a picture, 1..8; 1 for one that cannot be opened.

    HEIC's is always 1: there, turning is part of decoding, and every reader does it (ISO/IEC 23008-12, 6.5.10).
    """
    try:
        head = read_bytes(picture, ImageError, "picture", HEAD)
        if photo_kind(head) in (None, "HEIF", "GIF", "BMP"):
            return 1
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with OwnLimit(), Image.open(picture, formats=formats_for(head, str(picture))) as opened:
                return _orientation(opened)
    except (OSError, SyntaxError, ValueError):  # reading it whole will say what is wrong
        return 1


def _orientation(opened: Image.Image) -> int:
    value = opened.getexif().get(_ORIENTATION, 1)
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def place(picture: Path, target: Path) -> None:
    """Put a copy of a picture where a format wants it, upright. (Not a link: whoever works on the export would work on
    the picture, and readers refuse links that lead out of their folder.)

    One that EXIF does not turn is copied byte for byte.

    Args:
        picture: the file.
        target: the copy; its folder is made if need be.

    Raises:
        ImageError: the picture is gone or damaged.
        OutputError: the copy cannot be written.
    """
    data = read_bytes(picture, ImageError, "picture")
    if is_turned(picture):
        data = upright(data, str(picture))
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("xb") as file:
            file.write(data)
    except OSError as error:
        raise OutputError(f"{target}: cannot be written ({error.strerror or error})") from error


def upright(data: bytes, source: str) -> bytes:
    """A picture file whose pixels lie as they are meant to be seen: the same format, profile and EXIF, orientation 1.

    JPEG and the others that lose are written with quality 95, JPEG with its own subsampling. Of several pictures in a
    file the first is kept.

    Args:
        data: the file's bytes.
        source: what it is called in errors.

    Raises:
        ImageError: it is damaged.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with OwnLimit(), Image.open(io.BytesIO(data), formats=formats_for(data, source)) as opened:
                kind, options = opened.format or "", _options(opened)
                turned = ImageOps.exif_transpose(opened)
                exif = _said(opened)
                buffer = io.BytesIO()
                turned.save(buffer, "JPEG" if kind == "MPO" else kind, exif=exif.tobytes(), **options)
                return buffer.getvalue()
    except (OSError, ValueError, SyntaxError, KeyError, TypeError) as error:
        raise ImageError(f"{source} is damaged or truncated ({error})") from error


def _said(opened: Image.Image) -> Image.Exif:
    """The EXIF of an upright copy, with orientation 1; of a TIFF, whose EXIF also says where its pixels are, only
    words."""
    exif = opened.getexif()
    if opened.format == "TIFF":
        words = {tag: exif[tag] for tag in _WORDS if tag in exif}
        exif = Image.Exif()
        exif.update(words)
    exif[_ORIENTATION] = 1
    return exif


def _options(opened: Image.Image) -> dict[str, Any]:
    options: dict[str, Any] = {"icc_profile": opened.info.get("icc_profile")}
    if opened.format in ("JPEG", "MPO"):
        sampling = JpegImagePlugin.get_sampling(opened)
        options |= {"quality": _QUALITY, "subsampling": max(sampling, 0)}  # -1 = one that has no number
    elif opened.format in ("WEBP", "AVIF"):
        options["quality"] = _QUALITY
    elif opened.format == "TIFF":
        options["compression"] = opened.info.get("compression")
    if "dpi" in opened.info:
        options["dpi"] = opened.info["dpi"]
    return {key: value for key, value in options.items() if value is not None}
