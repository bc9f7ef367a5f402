"""Picture files -> BGR arrays and back, safely: no bombs, no half-decoded pictures, no half-written files."""

from __future__ import annotations

import io
import os
import struct
import threading
import warnings
import zlib
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError

from .colours import in_srgb, profile_of
from .errors import ImageError, InputError
from .files import atomic_write, read_bytes
from .kinds import look_through, photo_kind, sniffed
from .settings import Settings

# Formats Pillow may try. Leaving out the rest keeps its rarely used decoders out of reach.
_FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "BMP", "TIFF", "GIF", "AVIF", "HEIF")
_PNG_START = 8 + 25  # bytes of a PNG's signature and of its header, after which a profile may stand (PNG 3rd ed., 5.6)


def read_image(path: str | os.PathLike, max_pixels: int | None = None) -> np.ndarray:
    """Decode a picture file as it is meant to be seen.

    EXIF orientation is applied; CMYK, palette, grey and 16-bit pictures become 8-bit BGR in sRGB, by the colour profile
    they carry (`colours.profile_of`); transparency is laid over white; of an animation, the first frame.

    Args:
        path: a JPEG, PNG, WebP, BMP, TIFF, GIF, AVIF or HEIC file, under any name.
        max_pixels: refuse larger pictures before a pixel is decoded (default: `Settings.max_pixels`).

    Returns:
        uint8 (H, W, 3), BGR, sRGB.

    Raises:
        ImageError: the file is missing, empty, truncated, not an image, or too large.
    """
    return decode_image(read_bytes(path, ImageError, "picture"), str(path), max_pixels)


def decode_image(
    data: bytes, source: str = "image", max_pixels: int | None = None, least: int | None = None
) -> np.ndarray:
    """`read_image` for bytes already in memory; `source` names them in errors.

    Args:
        data: the file's bytes.
        source: what the picture is called in errors.
        max_pixels: refuse larger pictures (default: `Settings.max_pixels`).
        least: a JPEG may come smaller, with no side shorter than this; it is then decoded in a fraction of the time.
    """
    limit = max_pixels or Settings.from_env().max_pixels
    if not data:
        raise ImageError(f"{source} is empty (0 bytes); expected a picture")
    formats = formats_for(data, source)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # our own limit below speaks for the bomb warning
            with OwnLimit():
                picture = Image.open(io.BytesIO(data), formats=formats)
                width, height = picture.size
                if width * height > limit:
                    raise ImageError(
                        f"{source} is {width}x{height} = {width * height / 1e6:.0f} megapixels; the limit is "
                        f"{limit / 1e6:.0f} (raise it with IDSEG_MAX_PIXELS={width * height})"
                    )
                if ImageFile.LOAD_TRUNCATED_IMAGES:
                    raise ImageError("PIL.ImageFile.LOAD_TRUNCATED_IMAGES is set; unset it: it hides broken files")
                if least is not None:
                    picture.draft(None, (least, least))  # in the mode it has
                picture.load()
            profile = profile_of(picture, data)
            return _to_bgr(ImageOps.exif_transpose(picture), profile)
    except UnidentifiedImageError as error:
        raise ImageError(f"{source} is not a picture this can read ({sniffed(data)})") from error
    except ImageError:
        raise
    except (
        OSError, ValueError, SyntaxError, EOFError, LookupError, TypeError, MemoryError, ArithmeticError, struct.error,
        AttributeError, NotImplementedError, RecursionError,
    ) as error:  # fmt: skip
        # Pillow reports damage through all of these; each means the same to the person who sent it.
        raise ImageError(f"{source} is damaged or truncated ({error})") from error


def unpacked(data: bytes, mode: int = cv2.IMREAD_COLOR) -> np.ndarray:
    """A picture that was packed by our own code, in memory or in a scratch file: uint8 (H, W, 3) BGR, or (H, W).

    Raises:
        ImageError: it is damaged.
    """
    image = cv2.imdecode(np.frombuffer(data, np.uint8), mode)
    if image is None:
        raise ImageError("a picture that was set aside is damaged; run the same command again")
    return image


class OwnLimit:
    """Lift Pillow's fixed size limit while our own, which can be set, is in force."""

    _lock = threading.Lock()

    def __enter__(self):
        self._lock.acquire()
        self._before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None

    def __exit__(self, *_):
        Image.MAX_IMAGE_PIXELS = self._before
        self._lock.release()


def formats_for(data: bytes, source: str) -> list[str]:
    """What Pillow may try on a file's bytes; HEIC only where the bytes are.

    Raises:
        ImageError: it is a HEIC photo, and no reader of those is installed; `source` names it.
    """
    if photo_kind(data) == "HEIF":
        _register_heif(source)
    Image.init()  # registers every plug-in; `formats` may name registered ones only
    return [name for name in _FORMATS if name in Image.OPEN]


def _register_heif(source: str) -> None:
    for name in ("pi_heif", "pillow_heif"):
        try:
            import_module(name).register_heif_opener()
            return
        except ImportError:
            continue
    raise ImageError(f"{source} is a HEIC photo; to read it: pip install pi-heif (or export it as JPEG)")


def _to_bgr(picture: Image.Image, profile: bytes | None) -> np.ndarray:
    seen = in_srgb(_plain(picture), profile)
    if seen.mode in ("RGBA", "LA"):
        rgba = seen.convert("RGBA")
        seen = Image.alpha_composite(Image.new("RGBA", rgba.size, (255, 255, 255, 255)), rgba)
    rgb = np.asarray(seen.convert("RGB"))
    return np.ascontiguousarray(rgb[:, :, ::-1])


def _plain(picture: Image.Image) -> Image.Image:
    """The picture in 8 bits, without a palette, its transparency as a channel: the modes that profiles are made for."""
    if picture.mode.startswith("I") or picture.mode == "F":
        # Pillow's own convert() clips 16-bit values at 255 instead of scaling them.
        grey = np.asarray(picture, dtype=np.float32)
        top = 65535.0 if picture.mode.startswith("I") and grey.max(initial=0) > 255 else 255.0
        if picture.mode == "F":
            top = max(float(grey.max(initial=0)), 1.0)
        return Image.fromarray(np.clip(grey * (255.0 / top), 0, 255).astype(np.uint8))
    if picture.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in picture.info:
        return picture.convert("LA" if picture.mode in ("L", "LA", "La") else "RGBA")
    if picture.mode in ("P", "1"):
        return picture.convert("RGB" if picture.mode == "P" else "L")
    return picture


def write_image(path: str | os.PathLike, image: np.ndarray, quality: int = 92, profile: bytes | None = None) -> Path:
    """Write a BGR, BGRA, grey or bool picture; the format follows the suffix.

    The file appears whole or not at all: it is written beside its place, then renamed.

    Args:
        path: .jpg, .png or .webp; its folder is made if need be.
        image: uint8 (H, W), (H, W, 3) BGR or (H, W, 4) BGRA, or bool (H, W).
        quality: of JPEG, 1..100.
        profile: an ICC profile to be embedded, in a .png; None = the picture is sRGB, which needs none.

    Raises:
        InputError: a suffix that is not a picture's, or a profile for another format than PNG.
        OutputError: the folder cannot be made or written to, or the disk is full.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if image.dtype == np.bool_:
        image = image.astype(np.uint8) * 255
    options = []
    if suffix in (".jpg", ".jpeg"):
        options = [cv2.IMWRITE_JPEG_QUALITY, quality]
    elif suffix == ".png":
        options = [cv2.IMWRITE_PNG_COMPRESSION, 3]
    elif suffix != ".webp":
        raise InputError(f"expected a name ending in .png, .jpg or .webp, got {path.name!r}")
    if profile is not None and suffix != ".png":
        raise InputError(
            f"a colour profile is embedded in PNG alone; expected a name ending in .png, got {path.name!r}"
        )
    try:
        done, data = cv2.imencode(suffix, image, options)
    except cv2.error:  # a side too long for the format
        done = False
    if not done:
        raise InputError(f"{path}: OpenCV could not encode a {image.dtype} {image.shape} picture")
    content = data.tobytes()
    with atomic_write(path) as file:
        file.write(content if profile is None else _with_profile(content, profile))
    return path


def _with_profile(png: bytes, profile: bytes) -> bytes:
    """A PNG with an ICC profile: the chunk iCCP right after the header (PNG 3rd ed., 11.3.2.3)."""
    body = b"iCCPICC profile\0\0" + zlib.compress(profile)
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    return png[:_PNG_START] + chunk + png[_PNG_START:]


def indexed_png(path: str | os.PathLike, values: np.ndarray, palette: Sequence[tuple[int, int, int]]) -> Path:
    """Write uint8 (H, W) as an indexed PNG: the pixels are the values, the palette (R, G, B) is how they look.

    Args:
        path: the file.
        values: uint8 (H, W).
        palette: (R, G, B) of each value.
    """
    picture = Image.fromarray(values, "L")
    picture.putpalette([channel for colour in palette for channel in colour])  # makes it "P"; the values stay
    with atomic_write(path) as file:
        picture.save(file, "PNG")
    return Path(path)


def list_photos(folder: str | os.PathLike) -> list[Path]:
    """Picture files directly in a folder, by their bytes, sorted by name; see `kinds.look_through`."""
    return look_through(folder)[0]


def shrink_to(image: np.ndarray, longest: int) -> tuple[np.ndarray, float]:
    """The image with its long side at most `longest` pixels, and the factor it was scaled by."""
    factor = min(1.0, longest / max(image.shape[:2]))
    if factor == 1.0:
        return image, 1.0
    size = (max(1, round(image.shape[1] * factor)), max(1, round(image.shape[0] * factor)))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA), factor


def scale_to(image: np.ndarray, longest: int) -> tuple[np.ndarray, float]:
    """The image with its long side just `longest` pixels, and the factor it was scaled by."""
    factor = longest / max(image.shape[:2])
    if factor <= 1:
        return shrink_to(image, longest)
    size = (max(1, round(image.shape[1] * factor)), max(1, round(image.shape[0] * factor)))
    return cv2.resize(image, size, interpolation=cv2.INTER_LINEAR), factor


def blurred(image: np.ndarray, times: int, box: tuple[int, int, int, int] | None = None) -> np.ndarray:
    """The image with everything finer than `times` pixels gone: shrunk so many times, softened, and enlarged again.

    Args:
        image: uint8 (H, W, 3).
        times: pixels.
        box: only this part (whole xyxy pixels, within the image): the same pixels as the whole has there.
    """
    height, width = image.shape[:2]
    x0, y0, x1, y1 = (0, 0, width, height) if box is None else box
    (left, right), (top, bottom) = _cells_around(x0, x1, width, times), _cells_around(y0, y1, height, times)
    part = image[top:bottom, left:right]
    small = cv2.resize(part, None, fx=1 / times, fy=1 / times, interpolation=cv2.INTER_AREA)
    large = cv2.resize(cv2.GaussianBlur(small, (3, 3), 0), part.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    return large[y0 - top : y1 - top, x0 - left : x1 - left]


def _cells_around(low: int, high: int, length: int, times: int) -> tuple[int, int]:
    """What `blurred` must see of a row of pixels to give those from `low` to `high` as the whole row would.

    Softening and enlarging take in one cell of `times` pixels each. A row that is not so many whole cells is shrunk and
    enlarged by different factors, which a part of it would not have: it is seen whole.
    """
    if length % times:
        return 0, length
    return max(0, (low // times - 2) * times), min(length, ((high - 1) // times + 3) * times)


def mixed(below: np.ndarray, above: np.ndarray, matte: np.ndarray) -> np.ndarray:
    """One picture laid over another through a matte; only where that is neither 0 nor 255 is anything calculated.

    Args:
        below: uint8 (H, W, 3).
        above: uint8 (H, W, 3).
        matte: uint8 (H, W), 255 where `above` hides what is below.
    """
    rim = half_clear(matte)
    share = matte.ravel().take(rim).astype(np.float32) / 255
    laid = above.copy()
    put_pixels(laid, rim, pixels_at(above, rim) * share + pixels_at(below, rim) * (1 - share))
    return cv2.copyTo(laid, matte, below.copy())


def half_clear(matte: np.ndarray, opaque: int = 255) -> np.ndarray:
    """Which pixels of a uint8 matte, numbered row by row, are neither 0 nor at least `opaque`."""
    return np.flatnonzero((matte - np.uint8(1)) < opaque - 1)  # 0 becomes 255


def pixels_at(image: np.ndarray, at: np.ndarray) -> np.ndarray:
    """float32 (3, N): the colours of N pixels of a uint8 (H, W, 3), numbered row by row.

    A channel at a time, as numpy is slow where it goes in steps of three.
    """
    return np.ascontiguousarray(image).reshape(-1, 3).take(at, axis=0).T.astype(np.float32, order="C")


def put_pixels(image: np.ndarray, at: np.ndarray, values: np.ndarray) -> None:
    """Write colours into pixels of a picture, rounded.

    Args:
        image: uint8 (H, W, 3), contiguous; changed.
        at: N pixels, numbered row by row.
        values: float32 (3, N), 0..255.
    """
    image.reshape(-1, 3)[at] = np.rint(values).astype(np.uint8).T
