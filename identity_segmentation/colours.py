"""What colours a picture's numbers mean: ICC profiles read and made, so that every picture comes out in sRGB.

A picture says it in an ICC profile, in the code numbers of ITU-T H.273 (HEIC and AVIF), or, from a camera, in EXIF
(DCF). Colours that sRGB cannot hold become the nearest it can.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import io
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image, ImageCms

# (x, y) of red, green and blue, by the code numbers of ITU-T H.273, table 2, and of Adobe RGB (1998), section 4.3.1.
# All of them have the white D65 (0.3127, 0.3290).
_PRIMARIES: dict[int | str, tuple[tuple[float, float], ...]] = {
    1: ((0.640, 0.330), (0.300, 0.600), (0.150, 0.060)),  # BT.709 and sRGB
    5: ((0.640, 0.330), (0.290, 0.600), (0.150, 0.060)),  # BT.601, 625 lines
    6: ((0.630, 0.340), (0.310, 0.595), (0.155, 0.070)),  # BT.601, 525 lines
    9: ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046)),  # BT.2020
    12: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),  # Display P3 (SMPTE EG 432-1)
    "adobe": ((0.640, 0.330), (0.210, 0.710), (0.150, 0.060)),
}
_NAMES = {1: "BT.709", 5: "BT.601-625", 6: "BT.601-525", 9: "BT.2020", 12: "P3-D65", "adobe": "Adobe RGB compatible"}
_D65 = (0.3127, 0.3290)
_D50 = np.array([0.9642, 1.0, 0.8249])  # ICC.1:2022, 7.2.16: the white of the connection space
# Bradford's cone responses (ICC.1:2022, annex E.1).
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
# (g, a, b, c, d) of (a x + b)^g above d and c x below: ICC.1:2022, table 68, function type 3.
_CURVES = {
    "srgb": (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045),  # IEC 61966-2-1
    "bt709": (1 / 0.45, 1 / 1.099, 0.099 / 1.099, 1 / 4.5, 0.081),  # BT.709-6, item 1.2, turned round
}
ADOBE_GAMMA = 563 / 256  # Adobe RGB (1998), section 4.3.4.2
_HEADER, _ENTRY = 128, 12  # bytes of a profile's header, and of an entry of its table
_MOST = 16 << 20  # bytes of a profile that is looked at; those of presses have two million
_NEAR = 1.5  # of 255: a profile that moves no colour further is sRGB
# H.273's transfer characteristics of plain pictures. Cameras' curves (1, 6, 14, 15) are shown as sRGB's by every
# viewer; 2 is "unspecified". Those of HDR (16, 18) are not here: a curve alone does not turn them into sRGB.
_PLAIN_TRANSFERS: dict[int, str | float] = {
    **dict.fromkeys((1, 2, 6, 13, 14, 15), "srgb"), 4: 2.2, 5: 2.8, 8: 1.0,
}  # fmt: skip
_EXIF, _INTEROPERABILITY = 0x8769, 0xA005  # EXIF's tables in which a camera says "Adobe RGB"
_COLOUR_SPACE, _INDEX = 0xA001, 0x0001
_SPACES = {"RGB": b"RGB ", "L": b"GRAY", "CMYK": b"CMYK"}  # mode -> what a profile's header must say


@functools.lru_cache(maxsize=64)
def icc_profile(primaries: int | str, transfer: str | float) -> bytes:
    """A small ICC profile (version 4.3, three primaries and one curve) of a space with the white D65.

    Its colours are adapted to the connection space's D50 by Bradford's transform. (ICC.1:2022, sections 8.3 and 9.)

    Args:
        primaries: a code number of ITU-T H.273 (1, 5, 6, 9 or 12), or "adobe".
        transfer: "srgb", "bt709", or the exponent of a plain power, above 0.

    Returns:
        The profile, to be embedded; the same bytes every time.

    Raises:
        ValueError: primaries or a transfer that is not among these.
    """
    if primaries not in _PRIMARIES:
        raise ValueError(f"expected primaries {', '.join(map(repr, _PRIMARIES))}, got {primaries!r}")
    if isinstance(transfer, str) and transfer not in _CURVES:
        raise ValueError(f"expected a transfer {', '.join(_CURVES)} or an exponent, got {transfer!r}")
    if not isinstance(transfer, str) and not 0 < transfer < 100:
        raise ValueError(f"expected an exponent above 0, got {transfer!r}")
    adapted, columns = _adapted(primaries)
    name = f"{_NAMES[primaries]}, {transfer if isinstance(transfer, str) else f'gamma {transfer:.4g}'}"
    if isinstance(transfer, str):
        curve = b"para\0\0\0\0" + struct.pack(">HH", 3, 0) + _fixed(_CURVES[transfer])
    else:
        curve = b"para\0\0\0\0" + struct.pack(">HH", 0, 0) + _fixed([transfer])
    tags = {
        b"desc": _text(name),
        b"cprt": _text("CC0"),
        b"wtpt": _xyz(_D50),
        b"chad": b"sf32\0\0\0\0" + _fixed(adapted),
    }
    tags |= {f"{c}XYZ".encode(): _xyz(columns[:, i]) for i, c in enumerate("rgb")}
    tags |= {f"{c}TRC".encode(): curve for c in "rgb"}
    return _assembled(tags)


def _adapted(primaries: int | str) -> tuple[np.ndarray, np.ndarray]:
    """float64 (3, 3) each: from D65 to D50, and the primaries' XYZ under D50 as columns."""

    def xyz(x: float, y: float) -> np.ndarray:
        return np.array([x / y, 1.0, (1 - x - y) / y])

    white = xyz(*_D65)
    plain = np.stack([xyz(*p) for p in _PRIMARIES[primaries]], axis=1)
    adapted = np.linalg.inv(_BRADFORD) @ np.diag((_BRADFORD @ _D50) / (_BRADFORD @ white)) @ _BRADFORD
    return adapted, adapted @ (plain * np.linalg.solve(plain, white))


def _fixed(values: Any) -> bytes:
    """Numbers as s15Fixed16."""
    return np.rint(np.ravel(values) * 65536).astype(">i4").tobytes()


def _xyz(values: np.ndarray) -> bytes:
    return b"XYZ \0\0\0\0" + _fixed(values)


def _text(text: str) -> bytes:
    """A multiLocalizedUnicode of one entry, American English."""
    words = text.encode("utf-16-be")
    return b"mluc\0\0\0\0" + struct.pack(">II4sII", 1, 12, b"enUS", len(words), 28) + words


def _assembled(tags: Mapping[bytes, bytes]) -> bytes:
    """Header, table and data; data that are the same are there once."""
    begin = _HEADER + 4 + _ENTRY * len(tags)
    table, body, places = struct.pack(">I", len(tags)), b"", dict[bytes, int]()
    for tag, data in tags.items():
        if data not in places:
            places[data] = begin + len(body)
            body += data + b"\0" * (-len(data) % 4)
        table += tag + struct.pack(">II", places[data], len(data))
    header = struct.pack(
        ">I4sI4s4s4s6H4s4sIIIQI12s4s16s28s", begin + len(body), b"\0" * 4, 0x04300000, b"mntr", b"RGB ", b"XYZ ",
        2026, 1, 1, 0, 0, 0, b"acsp", b"\0" * 4, 0, 0, 0, 0, 1, _fixed(_D50), b"\0" * 4, b"\0" * 16, b"\0" * 28,
    )  # fmt: skip
    profile = header + table + body
    # The identity is taken with flags, intent and identity itself at 0 (7.2.18); intent 1 is relative colorimetric.
    blank = profile[:44] + b"\0" * 4 + profile[48:64] + b"\0" * 4 + profile[68:]
    return profile[:84] + hashlib.md5(blank, usedforsecurity=False).digest() + profile[100:]


# ---- what a picture says of its colours


def profile_of(picture: Image.Image, data: bytes = b"") -> bytes | None:
    """The ICC profile that a picture's numbers are to be read by, its own or one made from what it says; None = sRGB.

    A JPEG without a profile is Adobe RGB if its EXIF says so as DCF 2.0 (CIPA DC-009) has it: interoperability index
    "R03" beside the colour space 0xFFFF. In HEIC and AVIF a profile goes before code numbers (ISO/IEC 23000-22,
    7.3.6.4).

    Args:
        picture: as Pillow opened it.
        data: the file's bytes, where the code numbers of an AVIF stand.
    """
    own = picture.info.get("icc_profile")
    if own:
        return own if isinstance(own, bytes) and _HEADER < len(own) <= _MOST else None
    if picture.format in ("HEIF", "AVIF"):
        return _from_code_numbers(picture.info.get("nclx_profile") or nclx_of(data))
    return icc_profile("adobe", ADOBE_GAMMA) if _says_adobe(picture) else None


def _says_adobe(picture: Image.Image) -> bool:
    if picture.format not in ("JPEG", "MPO") or "exif" not in picture.info:
        return False
    # EXIF that is broken says nothing; Pillow reports it through all of these.
    with contextlib.suppress(SyntaxError, ValueError, TypeError, KeyError, OSError, struct.error):
        exif = picture.getexif()
        index = exif.get_ifd(_INTEROPERABILITY).get(_INDEX, "")
        text = index.decode("latin-1") if isinstance(index, bytes) else str(index)
        return text.rstrip("\0 ") == "R03" and exif.get_ifd(_EXIF).get(_COLOUR_SPACE, 0xFFFF) != 1
    return False


def _from_code_numbers(said: Mapping[str, int] | None) -> bytes | None:
    primaries = (said or {}).get("color_primaries")
    transfer = _PLAIN_TRANSFERS.get(int((said or {}).get("transfer_characteristics", 2)))
    if primaries not in _PRIMARIES or transfer is None or (primaries, transfer) == (1, "srgb"):
        return None
    return icc_profile(primaries, transfer)


def nclx_of(data: bytes) -> dict[str, int] | None:
    """The code numbers of ITU-T H.273 that a HEIF or AVIF file gives its main picture; None where it gives none.

    (ISO/IEC 14496-12: `meta` holds the main picture's number in `pitm`, and in `iprp` the properties, of which `ipma`
    says whose they are. 12.1.5: `colr` of the kind `nclx`.)

    Args:
        data: the file's bytes.
    """
    try:
        meta = _boxes(data, *_boxes(data, 0, len(data))[b"meta"][0], skip=4)
        begin, _ = meta[b"pitm"][0]
        main = struct.unpack_from(">I" if data[begin] else ">H", data, begin + 4)[0]
        kinds = _boxes(data, *meta[b"iprp"][0])
        theirs = _properties(data, kinds[b"ipma"], main)
        colours = dict(_ordered(data, *kinds[b"ipco"][0]))
        for number in theirs:
            kind, begin = colours.get(number, (b"", 0))
            if kind == b"colr" and data[begin : begin + 4] == b"nclx":
                primaries, transfer = struct.unpack_from(">HH", data, begin + 4)
                return {"color_primaries": primaries, "transfer_characteristics": transfer}
    except (KeyError, IndexError, struct.error):  # a file that is cut short, or of another make
        return None
    return None


def _ordered(data: bytes, begin: int, end: int) -> list[tuple[int, tuple[bytes, int]]]:
    """(number from 1, (kind, where its content begins)) of the boxes in a stretch of a file."""
    return [(number, (kind, at)) for number, (kind, at, _) in enumerate(_stretch(data, begin, end), 1)]


def _boxes(data: bytes, begin: int, end: int, skip: int = 0) -> dict[bytes, list[tuple[int, int]]]:
    """Kind -> where the contents of such boxes begin and end; `skip` bytes stand before the first."""
    found: dict[bytes, list[tuple[int, int]]] = {}
    for kind, at, last in _stretch(data, begin + skip, end):
        found.setdefault(kind, []).append((at, last))
    return found


def _stretch(data: bytes, begin: int, end: int) -> list[tuple[bytes, int, int]]:
    found = []
    while begin + 8 <= end:
        size, kind = struct.unpack_from(">I4s", data, begin)
        head = 8
        if size == 1:
            size, head = struct.unpack_from(">Q", data, begin + 8)[0], 16
        size = size or end - begin
        if size < head:
            break
        found.append((kind, begin + head, min(begin + size, end)))
        begin += size
    return found


def _properties(data: bytes, places: list[tuple[int, int]], item: int) -> list[int]:
    """Numbers of an item's properties, from 1 (ISO/IEC 23008-12, 9.3.1)."""
    for begin, _ in places:
        version, wide = data[begin], data[begin + 3] & 1
        count, at = struct.unpack_from(">I", data, begin + 4)[0], begin + 8
        for _ in range(count):
            number = struct.unpack_from(">I" if version else ">H", data, at)[0]
            at += 4 if version else 2
            several = data[at]
            values = struct.unpack_from(f">{several}{'H' if wide else 'B'}", data, at + 1)
            at += 1 + several * (2 if wide else 1)
            if number == item:
                return [value & (0x7FFF if wide else 0x7F) for value in values]
    return []


# ---- into sRGB


def in_srgb(picture: Image.Image, profile: bytes | None) -> Image.Image:
    """A picture with the colours of a profile as one in sRGB: relative colorimetric, with black-point compensation.

    A profile that is broken, or made for another kind of picture, is passed over: the numbers stay.

    Args:
        picture: RGB, L, CMYK, or RGBA or LA, whose transparency stays.
        profile: an ICC profile; None = the picture is sRGB.

    Returns:
        The same picture, or a new one: RGB, or RGBA where it had a transparency.
    """
    if profile is None:
        return picture
    mode = picture.mode.removesuffix("A")
    transform = _transform(profile, mode)
    if transform is None:
        return picture
    if mode == picture.mode:
        return transform.apply(picture)
    seen = transform.apply(picture.convert(mode))
    seen.putalpha(picture.getchannel("A"))
    return seen


@functools.lru_cache(maxsize=16)
def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """What turns pictures of a mode into sRGB; None where nothing is to be done, or can be.

    Held by the profile's bytes: cameras embed the same few, and those that mean sRGB cost one look-up.
    """
    if mode not in _SPACES or profile[16:20] != _SPACES[mode]:
        return None
    try:
        transform = ImageCms.buildTransform(
            ImageCms.ImageCmsProfile(io.BytesIO(profile)), ImageCms.createProfile("sRGB"), mode, "RGB",
            ImageCms.Intent.RELATIVE_COLORIMETRIC, ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )  # fmt: skip
        before = _samples(mode)
        after = transform.apply(before)
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None
    if mode != "CMYK":
        moved = np.abs(np.asarray(after, dtype=np.float32) - np.asarray(before.convert(after.mode), np.float32))
        if moved.max() <= _NEAR:
            return None
    return transform


def _samples(mode: str) -> Image.Image:
    """Every ninth colour or so of a mode."""
    if mode == "L":
        return Image.fromarray(np.arange(256, dtype=np.uint8)[None])
    steps = np.linspace(0, 255, 9 if mode == "RGB" else 3).round().astype(np.uint8)
    grid = np.stack(np.meshgrid(*[steps] * len(mode), indexing="ij"), axis=-1)
    return Image.frombytes(mode, (grid.size // len(mode), 1), grid.tobytes())
