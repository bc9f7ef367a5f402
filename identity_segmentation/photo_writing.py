"""A changed picture -> a file of the same format as the photo it was made of, with its metadata or without."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, JpegImagePlugin

from .errors import InputError
from .files import atomic_write
from .images import decode_image
from .kinds import HEAD, photo_kind
from .metadata import Metadata, jpeg_with, metadata_of, png_info, with_tags

# Suffixes that a format's files may have; the first is given where the photo's own is none of them.
_SUFFIXES = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"), "PNG": (".png",), "WEBP": (".webp",), "TIFF": (".tif", ".tiff"),
    "BMP": (".bmp",), "GIF": (".gif",), "AVIF": (".avif",),
}  # fmt: skip
_QUALITY = 95  # of JPEG, WebP and AVIF, where the photo does not say its own


@dataclass(frozen=True)
class Written:
    """What was written.

    Attributes:
        path: the file.
        removed: metadata that was left out, in words.
        remarks: what else is not as it was, in words.
    """

    path: Path
    removed: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()


def write_alike(
    path: str | os.PathLike, image: np.ndarray, like: bytes, suffix: str = "", unchanged: bool = False,
    strip: bool = False,
) -> Written:  # fmt: skip
    """Write a picture in the format of a photo: upright, in sRGB, without the pictures that metadata may hold.

    A JPEG is coded by the photo's own tables, so that it is about as large and as good. An unchanged picture keeps its
    pixels: a JPEG keeps its coded data, orientation and profile; others are coded without loss. HEIC cannot be written:
    it becomes JPEG, or PNG where it is unchanged.

    Args:
        path: the file, without a suffix.
        image: uint8 (H, W, 3) BGR.
        like: the photo's bytes.
        suffix: the photo's own, taken where the format may have it; else the format's usual one is.
        unchanged: the picture is the photo's, and its pixels must come out as they are.
        strip: leave out EXIF, XMP, IPTC and texts.

    Raises:
        InputError: the picture is too large for the format.
        OutputError: it cannot be written.
    """
    kind = photo_kind(like[:HEAD]) or "PNG"
    as_it_was = unchanged and kind == "JPEG"
    metadata = metadata_of(like, str(path), not as_it_was, strip)
    remarks = _remarks(like, as_it_was)
    if as_it_was:
        content = jpeg_with(like, metadata, as_it_was=True)
    else:
        wanted = kind
        if kind == "HEIF":
            kind = "PNG" if unchanged else "JPEG"
        content = _coded(image, kind, like, metadata, unchanged)
        if unchanged and not np.array_equal(decode_image(content, str(path)), image):
            kind = "PNG"
            content = _coded(image, kind, like, metadata, True)
        if kind != wanted:
            remarks.append(f"{'HEIC' if wanted == 'HEIF' else wanted} became {kind}")
    target = Path(f"{path}{suffix if suffix.lower() in _SUFFIXES[kind] else _SUFFIXES[kind][0]}")
    with atomic_write(target) as file:
        file.write(content)
    return Written(target, metadata.removed, tuple(remarks))


def _remarks(like: bytes, as_it_was: bool) -> list[str]:
    with Image.open(io.BytesIO(like)) as picture:
        clear = picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info
    return ["transparency was laid over white"] if clear and not as_it_was else []


def _coded(image: np.ndarray, kind: str, like: bytes, metadata: Metadata, lossless: bool) -> bytes:
    """The file's bytes."""
    picture = Image.fromarray(np.ascontiguousarray(image[:, :, ::-1]))
    file = io.BytesIO()
    options: dict[str, Any] = {"exif": metadata.exif} if metadata.exif else {}
    try:
        if kind == "JPEG":
            picture, tables = _as_coded(picture, like)
            picture.save(file, "JPEG", **tables)
            return jpeg_with(file.getvalue(), metadata)
        if kind == "PNG":
            options |= {"pnginfo": png_info(metadata), "compress_level": 4}
        elif kind in ("WEBP", "AVIF"):
            options |= {"quality": 100 if lossless else _QUALITY} | ({"xmp": metadata.xmp} if metadata.xmp else {})
            if kind == "WEBP":
                options |= {"lossless": lossless or b"VP8L" in like[:HEAD]}
            elif lossless:
                options |= {"subsampling": "4:4:4"}
        elif kind == "TIFF":
            # Pillow writes EXIF's inner tables into plain TIFF alone: libtiff, which packs pixels, takes none.
            options = {"compression": "raw" if metadata.exif else "tiff_lzw", "exif": with_tags(metadata)}
        elif kind == "GIF":
            picture = _in_palette(picture)
            options = {"comment": metadata.comment} if metadata.comment else {}
        else:
            options = {}
        picture.save(file, kind, **options)
    except (OSError, ValueError) as error:  # a side too long for the format
        raise InputError(f"a picture of {picture.size[0]}x{picture.size[1]} cannot be {kind} ({error})") from error
    return file.getvalue()


def _as_coded(picture: Image.Image, like: bytes) -> tuple[Image.Image, dict[str, Any]]:
    """A picture, grey if the photo was, and the tables by which a JPEG was coded; our own quality for other photos."""
    with Image.open(io.BytesIO(like)) as photo:
        if not isinstance(photo, JpegImagePlugin.JpegImageFile) or photo.mode not in ("L", "RGB"):
            return picture, {"quality": _QUALITY, "subsampling": 0}
        tables, sampling = photo.quantization, JpegImagePlugin.get_sampling(photo)
        if photo.mode == "L":
            return picture.convert("L"), {"qtables": {0: tables[min(tables)]}}
        return picture, {"qtables": tables, "subsampling": sampling if sampling in (0, 1, 2) else 0}


def _in_palette(picture: Image.Image) -> Image.Image:
    """A picture in its own colours where they are no more than 256, else in the 256 that fit best."""
    colours: Any = picture.getcolors(256)
    if colours is None:
        return picture.quantize(256, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    palette = Image.new("P", (1, 1))
    palette.putpalette([channel for _, colour in sorted(colours) for channel in colour])
    return picture.quantize(palette=palette, dither=Image.Dither.NONE)
