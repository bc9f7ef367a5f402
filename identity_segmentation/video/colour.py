"""Decoded frames -> BGR pictures and back, by what the file says of its colours. (Notebook section 7.)

The pictures hold the source's own R'G'B': matrix and range are taken off on reading and put on again on writing, and
primaries and transfer function are carried along as tags, so that a cutout matches the plate it was cut from. HDR is
the exception: it is tone-mapped to SDR, BT.709.
"""

from __future__ import annotations

import atexit
import os
import tempfile
import threading
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from .facts import FULL_RANGE, HLG, Colour

_LIMITED = 1  # AVCOL_RANGE_MPEG
# What swscale calls a matrix (SWS_CS_...), by the number of ITU-T H.273; of the others it knows nothing better.
_SWSCALE = {1: 1, 4: 4, 5: 5, 6: 5, 7: 7, 9: 9, 10: 9}
_RGB = ("rgb", "bgr", "gbr", "rgba", "bgra", "pal8", "gray")

# SMPTE ST 2084, equations 4.1 and 5.1.
_M1, _M2 = 2610 / 16384, 2523 / 4096 * 128
_C1, _C2, _C3 = 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32
# ARIB STD-B67 and ITU-R BT.2100, table 5.
_HLG_A, _HLG_B, _HLG_C = 0.17883277, 0.28466892, 0.55991073
_LUMA_2020 = np.array([0.2627, 0.6780, 0.0593])
# BT.2020 -> BT.709, linear light: ITU-R BT.2087, annex 1, inverted.
_TO_709 = np.array([[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]])
_WHITE = 203.0  # cd/m2: diffuse white of HDR (ITU-R BT.2408), which becomes the white of SDR
_PEAK = 1000.0  # cd/m2: what HDR is mastered to as a rule; brighter light is white
_GRID = 33


def to_bgr(frame: Any, colour: Colour) -> np.ndarray:
    """A decoded frame as uint8 (H, W, 3) BGR.

    Args:
        frame: of PyAV, any pixel format.
        colour: what its numbers mean.
    """
    if colour.is_hdr:
        return _ToneMapped.of(frame, colour).picture(frame)
    if frame.format.name.startswith(_RGB):
        return frame.to_ndarray(format="bgr24")
    return frame.to_ndarray(
        format="bgr24",
        src_colorspace=_SWSCALE.get(colour.matrix, 1),
        src_color_range=FULL_RANGE if colour.full else _LIMITED,
    )


def to_frame(image: np.ndarray, pix_fmt: str, colour: Colour) -> Any:
    """A picture as a frame for an encoder, with its tags.

    Args:
        image: uint8 (H, W, 3) BGR or (H, W, 4) BGRA, or (H, W) grey.
        pix_fmt: FFmpeg's name of the encoder's pixel format.
        colour: how to write it.
    """
    import av
    from av.video.reformatter import Interpolation

    layout = "gray" if image.ndim == 2 else "bgra" if image.shape[2] == 4 else "bgr24"
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format=layout)
    frame = frame.reformat(
        format=pix_fmt,
        dst_colorspace=_SWSCALE.get(colour.matrix, 1),
        dst_color_range=FULL_RANGE if colour.full else _LIMITED,
        # Else swscale cuts fractions off, which tints greys, and saturated colours overflow in 4:2:2 of 10 bits.
        interpolation=Interpolation.BILINEAR | Interpolation.ACCURATE_RND,
    )
    frame.colorspace, frame.color_range = colour.matrix, FULL_RANGE if colour.full else _LIMITED
    frame.color_primaries, frame.color_trc = colour.primaries, colour.transfer
    return frame


def tag(stream: Any, colour: Colour) -> None:
    """Write a stream's colours into its header.

    Args:
        stream: of PyAV, for writing.
        colour: of its pictures.
    """
    context = stream.codec_context
    context.colorspace, context.color_range = colour.matrix, FULL_RANGE if colour.full else _LIMITED
    context.color_primaries, context.color_trc = colour.primaries, colour.transfer


# ---- HDR


class _ToneMapped:
    """FFmpeg's graph that applies the table below to frames of one kind; a thread has its own."""

    def __init__(self, width: int, height: int, pix_fmt: str, colour: Colour):
        import av

        self._graph = av.filter.Graph()
        matrix = {1: "bt709", 5: "bt601", 6: "bt601", 7: "smpte240m"}.get(colour.matrix, "bt2020")
        source = self._graph.add_buffer(width=width, height=height, format=pix_fmt, time_base=Fraction(1, 1000))
        steps = [
            source,
            self._graph.add(
                "scale",
                f"in_color_matrix={matrix}:in_range={'full' if colour.full else 'limited'}:out_range=full",
            ),
            self._graph.add("format", "pix_fmts=gbrp16le"),
            self._graph.add("lut3d", interp="tetrahedral", file=_table(colour.transfer)),
            self._graph.add("format", "pix_fmts=bgr24"),
            self._graph.add("buffersink"),
        ]
        self._graph.link_nodes(*steps).configure()

    @classmethod
    def of(cls, frame: Any, colour: Colour) -> _ToneMapped:
        return _graph_for(frame.width, frame.height, frame.format.name, colour, threading.get_ident())

    def picture(self, frame: Any) -> np.ndarray:
        self._graph.push(frame)
        return self._graph.pull().to_ndarray()


@lru_cache(maxsize=8)
def _graph_for(width: int, height: int, pix_fmt: str, colour: Colour, thread: int) -> _ToneMapped:
    return _ToneMapped(width, height, pix_fmt, colour)


@lru_cache(maxsize=2)
def _table(transfer: int) -> str:
    """The path of a table for FFmpeg's `lut3d`: the filter takes a file only."""
    steps = np.linspace(0, 1, _GRID)
    blue, green, red = np.meshgrid(steps, steps, steps, indexing="ij")  # red runs fastest
    coded = np.stack([red, green, blue], -1).reshape(-1, 3)
    rows = tone_mapped(coded, transfer)
    handle, name = tempfile.mkstemp(".cube", "idseg-")
    atexit.register(Path(name).unlink, missing_ok=True)
    with os.fdopen(handle, "w", encoding="ascii") as file:
        file.write(f"LUT_3D_SIZE {_GRID}\n")
        file.writelines(f"{r:.6f} {g:.6f} {b:.6f}\n" for r, g, b in rows.tolist())
    return name


def tone_mapped(coded: np.ndarray, transfer: int) -> np.ndarray:
    """HDR to SDR: R'G'B' of BT.2020 under PQ or HLG -> R'G'B' of BT.709 as sRGB shows it; float (N, 3), 0..1.

    Light up to about 90 cd/m2, at 203 for white, stays as it is; what is brighter is rolled off by the Hermite spline
    of ITU-R BT.2390-11, section 5.4.1 (the EETF), on the largest channel, so that hues stay. Colours outside BT.709 are
    clipped (ITU-R BT.2407, section 2). HLG is shown at 1000 cd/m2 first, by the system gamma of 1.2 (BT.2100, table 5).

    Args:
        coded: float (N, 3), red, green, blue, 0..1.
        transfer: `facts.PQ` or `facts.HLG`.
    """
    light = _hlg_light(coded) if transfer == HLG else _pq_light(coded)
    top = light.max(axis=1, keepdims=True)
    scale = _rolled_off(top) / np.maximum(top, 1e-6) / _WHITE
    linear = (light * scale) @ _TO_709.T
    linear = linear.clip(0, 1)
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def _pq_light(coded: np.ndarray) -> np.ndarray:
    """cd/m2 of PQ's numbers."""
    root = coded ** (1 / _M2)
    return 10000 * (np.maximum(root - _C1, 0) / (_C2 - _C3 * root)) ** (1 / _M1)


def _pq_coded(light: np.ndarray | float) -> np.ndarray:
    part = np.clip(np.asarray(light, np.float64) / 10000, 0, 1) ** _M1
    return ((_C1 + _C2 * part) / (1 + _C3 * part)) ** _M2


def _hlg_light(coded: np.ndarray) -> np.ndarray:
    scene = np.where(coded <= 0.5, coded**2 / 3, (np.exp((coded - _HLG_C) / _HLG_A) + _HLG_B) / 12)
    luma = scene @ _LUMA_2020
    return _PEAK * scene * np.maximum(luma, 1e-9)[:, None] ** 0.2


def _rolled_off(light: np.ndarray) -> np.ndarray:
    """BT.2390's EETF from `_PEAK` to `_WHITE` cd/m2; black is 0 in both."""
    whole = _pq_coded(_PEAK)
    given, most = (_pq_coded(light) / whole).clip(0, 1), float(_pq_coded(_WHITE) / whole)
    knee = 1.5 * most - 0.5
    t = ((given - knee) / (1 - knee)).clip(0, 1)
    spline = (2 * t**3 - 3 * t**2 + 1) * knee + (t**3 - 2 * t**2 + t) * (1 - knee) + (-2 * t**3 + 3 * t**2) * most
    return _pq_light(np.where(given < knee, given, spline) * whole)
