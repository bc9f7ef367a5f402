"""A frame and people's soft mattes -> one multi-layer OpenEXR file, with Cryptomatte, for compositing programs.

R, G and B are the whole picture as scene-linear half floats, not premultiplied. They are linearised by the inverse of
the sRGB transfer function, whatever camera the video is from: programs show EXR pictures through that function unless
told otherwise. So the picture looks as the video did, and its 8-bit values come back exactly. A is the sum of all
mattes, 1 at most. `LAYER.A` is one person's matte: OpenEXR's documentation keeps the name "A" for coverage, and Nuke
lists the channel as LAYER.alpha. Cryptomatte holds all mattes once more (`cryptomatte.channels`). Lines are compressed
one by one (ZIPS), without loss.

Needs the OpenEXR library (`pip install "OpenEXR>=3.5"`), which is loaded when the first frame is written.
"""

from __future__ import annotations

import functools
import io
import itertools
import math
import os
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ..errors import InputError, OutputError
from ..files import as_json, atomic_write, numbered
from . import cryptomatte

_OLDEST = (3, 5)  # the first whose Python module writes to a stream, so that a full disk is noticed
_FIX = 'pip install "OpenEXR>=3.5"'

# CIE 1931 (x, y) of red, green, blue and white by ITU-T H.273, table 2. White is D65 in all of them.
_D65 = (0.3127, 0.3290)
PRIMARIES = {
    1: (0.640, 0.330, 0.300, 0.600, 0.150, 0.060, *_D65),  # ITU-R BT.709, sRGB
    5: (0.640, 0.330, 0.290, 0.600, 0.150, 0.060, *_D65),  # ITU-R BT.601, 625 lines
    6: (0.630, 0.340, 0.310, 0.595, 0.155, 0.070, *_D65),  # ITU-R BT.601, 525 lines; SMPTE ST 170
    7: (0.630, 0.340, 0.310, 0.595, 0.155, 0.070, *_D65),  # SMPTE ST 240
    9: (0.708, 0.292, 0.170, 0.797, 0.131, 0.046, *_D65),  # ITU-R BT.2020
    12: (0.680, 0.320, 0.265, 0.690, 0.150, 0.060, *_D65),  # SMPTE EG 432-1, Display P3
}

_LONGEST = 28  # characters of a layer: with ".A" a channel's name stays under the 31 that old EXR readers take
# Layers that Nuke keeps for itself ("Reserved Channels" in its documentation), and what would read as the picture's own
# channels or as the views of a stereo picture.
_RESERVED = (
    *("rgba", "rgb", "red", "green", "blue", "alpha", "r", "g", "b", "a", "y", "z", "all", "none", "other"),
    *("depth", "forward", "backward", "motion", "deep", "disparity", "disparityl", "disparityr"),
    *("mask", "rotopaint_mask", "mask_planartrack", "mask_splinewarp", "left", "right", "main"),
)
# Latin letters that Unicode does not take apart into a base letter and a mark.
_LATIN = str.maketrans(
    {"ß": "ss", "ẞ": "SS", "ø": "o", "Ø": "O", "ł": "l", "Ł": "L", "đ": "d", "Đ": "D", "ð": "d", "Ð": "D"}
    | {"þ": "th", "Þ": "Th", "æ": "ae", "Æ": "Ae", "œ": "oe", "Œ": "Oe", "ı": "i", "ħ": "h", "Ħ": "H"}
)

# The inverse of sRGB's transfer function (IEC 61966-2-1) for 8-bit values. Half floats hold all 256 of them apart.
_CODE = np.arange(256) / 255
_LINEAR = np.where(_CODE <= 0.04045, _CODE / 12.92, ((_CODE + 0.055) / 1.055) ** 2.4).astype(np.float16)
_SHARES = _CODE.astype(np.float16)
_COMMENT = (
    "R, G, B: the whole picture, scene-linear by the inverse of the sRGB transfer function (IEC 61966-2-1), not "
    "premultiplied. A: all people. LAYER.A: one person, see idseg/layers."
)


@dataclass(frozen=True)
class Layers:
    """The people of a sequence and the EXR layers that hold their mattes; the same for every frame of it.

    Nuke takes letters without accents, digits and "_" in a layer's name. A name in Latin letters keeps them, without
    accents. A name in another script has the layer "person_01", "person_02" and so on, numbered in the order given. No
    two layers are alike, in any case, and none has a name that Nuke keeps for itself or that Cryptomatte uses. The real
    names stand in the file's header.

    Attributes:
        names: people's names as shown, in the order of the layers.

    Raises:
        InputError: a name stands there twice.
    """

    names: tuple[str, ...]

    def __post_init__(self) -> None:
        twice = sorted({name for name in self.names if self.names.count(name) > 1})
        if twice:
            raise InputError(f"each name can have one layer; given more than once: {', '.join(twice)}")

    @functools.cached_property
    def by_name(self) -> dict[str, str]:
        """Name -> layer."""
        taken = set(_RESERVED)
        latin = {name: _latin(name) for name in self.names}
        found = {name: _unused(layer, taken) for name, layer in latin.items() if layer}
        people = (f"person_{number:02}" for number in itertools.count(1))
        free = (layer for layer in people if layer not in taken)
        found |= {name: next(free) for name in self.names if name not in found}
        return {name: found[name] for name in self.names}


def _latin(name: str) -> str:
    """A name as a layer's; empty if it is not in Latin letters."""
    text = unicodedata.normalize("NFKD", name.translate(_LATIN))
    text = "".join(c for c in text if not unicodedata.combining(c))
    if any(not c.isascii() and c.isalnum() for c in text):
        return ""
    layer = re.sub(r"[^A-Za-z0-9]+", "_", text).strip("_")[:_LONGEST]
    if not layer or cryptomatte.TYPE_NAME.casefold() in layer.casefold():
        return ""
    return f"_{layer}"[:_LONGEST] if layer[0].isdigit() else layer  # Nuke puts this "_" there itself


def _unused(layer: str, taken: set[str]) -> str:
    """The layer, or the layer with the first number that makes it another one than all that are taken."""
    for suffix in (text.replace("-", "_") for text in numbered("")):
        name = layer[: _LONGEST - len(suffix)] + suffix
        if name.casefold() not in taken:
            taken.add(name.casefold())
            return name
    raise AssertionError("unreachable")


def missing() -> str:
    """Why no EXR file can be written here, with the command that fixes it; empty if one can."""
    try:
        import OpenEXR
    except ImportError:
        return f"the OpenEXR library is not installed; {_FIX}"
    found = str(getattr(OpenEXR, "__version__", "0"))
    numbers = tuple(int(part) for part in re.findall(r"\d+", found)[:2])
    return "" if numbers >= _OLDEST else f"OpenEXR {found} is too old; {_FIX}"


def _library() -> Any:
    """The OpenEXR module, with threads."""
    problem = missing()
    if problem:
        raise OutputError(f"EXR frames cannot be written: {problem}")
    import OpenEXR

    if not OpenEXR.global_thread_count():  # the Python module starts with none
        OpenEXR.set_global_thread_count(os.cpu_count() or 1)
    return OpenEXR


def write_exr(
    path: str | os.PathLike, image: np.ndarray, mattes: Mapping[str, np.ndarray], layers: Layers, *,
    primaries: int = 1, pixel_aspect: float = 1.0, frame_rate: Fraction | None = None, time_code: str | None = None,
    source: str = "",
) -> Path:  # fmt: skip
    """Write one frame: the picture, one layer a person, and Cryptomatte. Equal frames give equal bytes.

    Everybody in `layers` has a layer in every frame, so that the channels of a sequence stay the same.

    Args:
        path: the file; programs see a sequence in names like "ann.0001.exr". One that is there is replaced once the
            new one is whole.
        image: uint8 (H, W, 3), BGR: the R'G'B' of the source.
        mattes: name -> soft matte, uint8 (H, W), 0 to 255. Who is not in it is not in the picture.
        layers: the people of the sequence; all of `mattes` must be among them.
        primaries: what red, green and blue are, by their code in ITU-T H.273: 1, 5, 6, 7, 9 or 12.
        pixel_aspect: a pixel's width over its height.
        frame_rate: frames per second.
        time_code: "HH:MM:SS:FF"; with ";" or "." before FF, drop-frame. See `_time_code` for rates above 30.
        source: where the frame is from, for the header's "idseg/source"; left out if empty.

    Returns:
        The path.

    Raises:
        InputError: a picture, a matte or a number that does not fit.
        OutputError: the OpenEXR library is missing, or the file cannot be written; nothing is left half-written.
    """
    _check(image, mattes, layers)
    seen = {name: mattes[name] for name in layers.names if name in mattes and mattes[name].any()}
    library = _library()
    header = _header(library, layers, primaries, pixel_aspect, source)
    header |= _timing(library, frame_rate, time_code)
    size = image.shape[:2]
    channels = _picture(image) | _people(seen, layers, size)
    channels |= cryptomatte.channels(seen, len(layers.names), size)
    packed = io.BytesIO()
    library.File(header, channels, num_threads=os.cpu_count() or 1).write(packed)
    path = Path(path)
    with atomic_write(path) as file:
        file.write(packed.getbuffer())
    return path


def _check(image: np.ndarray, mattes: Mapping[str, np.ndarray], layers: Layers) -> None:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise InputError(f"expected a picture as uint8 (H, W, 3), got {image.dtype} {image.shape}")
    for name, matte in mattes.items():
        if name not in layers.by_name:
            raise InputError(
                f"{name!r} has a matte and no layer; the layers are of {', '.join(layers.names) or 'nobody'}"
            )
        if matte.dtype != np.uint8 or matte.shape != image.shape[:2]:
            raise InputError(
                f"expected the matte of {name!r} as uint8 {image.shape[:2]}, as the picture is, got {matte.dtype} "
                f"{matte.shape}"
            )


def _header(library: Any, layers: Layers, primaries: int, pixel_aspect: float, source: str) -> dict[str, Any]:
    if primaries not in PRIMARIES:
        raise InputError(f"primaries {primaries}: expected one of the codes {', '.join(map(str, PRIMARIES))} of H.273")
    if not (math.isfinite(pixel_aspect) and pixel_aspect > 0):
        raise InputError(f"pixel aspect {pixel_aspect}: expected a number above 0")
    named = {layer: cryptomatte.plain_text(name) for name, layer in layers.by_name.items()}
    header = {
        "type": library.scanlineimage,
        "compression": library.ZIPS_COMPRESSION,
        "chromaticities": PRIMARIES[primaries],
        "pixelAspectRatio": float(pixel_aspect),
        "comments": _COMMENT,
        "idseg/layers": as_json(named).decode(),
        **cryptomatte.metadata(layers.names),
    }
    return header | {"idseg/source": cryptomatte.plain_text(source)} if source else header


def _timing(library: Any, frame_rate: Fraction | None, time_code: str | None) -> dict[str, Any]:
    """The header's frame rate and time code, so far as they are given."""
    found: dict[str, Any] = {}
    if frame_rate is not None:
        if frame_rate <= 0:
            raise InputError(f"frame rate {frame_rate}: expected a number above 0")
        # A container's average may have more digits than the header's two 32-bit numbers.
        fits = max(frame_rate.numerator, frame_rate.denominator) < 2**31
        found["framesPerSecond"] = Fraction(frame_rate if fits else frame_rate.limit_denominator(1001))
    nominal = math.floor((frame_rate or 30) + Fraction(1, 2))  # time codes count 30 frames where 29.97 pass
    code = _time_code(library, time_code, nominal) if time_code is not None else None
    return found if code is None else found | {"timeCode": code}


def _time_code(library: Any, text: str, nominal: int) -> Any:
    """The header's time code (OpenEXR's `TimeCode`, SMPTE ST 12-1), whose frames are numbered to 29.

    Above 30 frames a second two frames share a number, and the field flag tells the second, as in ST 12-1. Above 60
    none fits: None.
    """
    fields = re.fullmatch(r"([01]\d|2[0-3]):([0-5]\d):([0-5]\d)([:;.])(\d\d\d?)", text, re.ASCII)
    if not fields or int(fields[5]) >= nominal:
        raise InputError(f"time code {text!r}: expected HH:MM:SS:FF, with FF under {nominal}")
    if nominal > 60:
        return None
    frame, second = divmod(int(fields[5]), 2) if nominal > 30 else (int(fields[5]), 0)
    clock = (int(fields[1]), int(fields[2]), int(fields[3]), frame)
    return library.TimeCode(*clock, int(fields[4] != ":"), 0, second, 0, 0, 0, *[0] * 8)


def _looked_up(values: np.ndarray, table: np.ndarray) -> np.ndarray:
    """Half floats for 8-bit values; OpenCV looks up 16-bit numbers faster than numpy, and does not know half floats."""
    return cv2.LUT(values, table.view(np.uint16).reshape(1, 256)).view(np.float16)


def _picture(image: np.ndarray) -> dict[str, np.ndarray]:
    planes = cv2.split(image)
    return {channel: _looked_up(plane, _LINEAR) for channel, plane in zip("BGR", planes, strict=True)}


def _people(mattes: Mapping[str, np.ndarray], layers: Layers, size: tuple[int, int]) -> dict[str, np.ndarray]:
    """The mattes of everybody together (A) and of each (LAYER.A).

    Mattes are added, not laid over each other: along the border of two people who touch, each has half of a pixel, and
    together they have all of it.
    """
    everybody, nobody = np.zeros(size, np.uint8), np.zeros(size, np.float16)
    for matte in mattes.values():
        box = cryptomatte.box_of(matte)
        everybody[box] = cv2.add(everybody[box], matte[box])
    each = {name: _looked_up(matte, _SHARES) for name, matte in mattes.items()}
    return {"A": _looked_up(everybody, _SHARES)} | {
        f"{layer}.A": each.get(name, nobody) for name, layer in layers.by_name.items()
    }
