"""Photos as phones and cameras make them: HEIC with its colours said, JPEGs with EXIF, and what colours they must
be."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

# From linear P3-D65 and linear Adobe RGB to linear sRGB (both have sRGB's white): published matrices, not our own.
P3 = np.array([[1.2249401, -0.2249404, 0.0], [-0.0420569, 1.0420571, 0.0], [-0.0196376, -0.0786361, 1.0982735]])
ADOBE = np.array([[1.3983557, -0.3983557, 0.0], [0.0, 1.0, 0.0], [0.0, -0.0429290, 1.0429290]])


def srgb_of(rgb: np.ndarray, matrix: np.ndarray, gamma: float | None = None) -> np.ndarray:
    """Colours of another space as sRGB's, 0..255: float, by the definition. Without a gamma the curve is sRGB's own."""
    values = np.asarray(rgb, np.float64) / 255
    if gamma is None:
        linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    else:
        linear = values**gamma
    seen = np.clip(linear @ matrix.T, 0, 1)
    return 255 * np.where(seen <= 0.0031308, 12.92 * seen, 1.055 * seen ** (1 / 2.4) - 0.055)


def patches(size: int = 16) -> np.ndarray:
    """uint8 (H, W, 3) RGB: patches of colours that sRGB, P3 and Adobe RGB all hold, some of them saturated."""
    colours = [
        (200, 90, 80), (90, 180, 90), (80, 90, 190), (128, 128, 128), (235, 210, 190), (60, 50, 45), (240, 240, 240),
        (150, 60, 140),
    ]  # fmt: skip
    return np.concatenate([np.full((size, size, 3), c, np.uint8) for c in colours], axis=1)


def centres(image: np.ndarray, size: int = 16) -> np.ndarray:
    """(N, 3): the middle of every patch."""
    return image[size // 2, size // 2 :: size].astype(float)


def heic(path: Path, rgb: np.ndarray, primaries: int | None = None, transfer: int = 13, icc: bytes = b"") -> Path:
    """Write a HEIC photo: one HEVC key frame in boxes of ISO/IEC 23008-12, its colours said by code numbers or a
    profile.

    Args:
        path: the file.
        rgb: uint8 (H, W, 3), even sides of 64 pixels or more.
        primaries: of ITU-T H.273; None = nothing is said.
        transfer: the same.
        icc: a profile.
    """
    av = pytest.importorskip("av")
    pytest.importorskip("pi_heif", reason="HEIC needs pi-heif: scripts/setup.sh --dev")
    height, width = rgb.shape[:2]
    film = io.BytesIO()
    try:
        with av.open(film, "w", format="mp4") as out:
            options = {"x265-params": "log-level=none:range=full:colormatrix=bt709:keyint=1", "crf": "4"}
            stream = out.add_stream("libx265", rate=1, options=options)
            stream.width, stream.height, stream.pix_fmt = width, height, "yuvj444p"
            frame = av.VideoFrame.from_ndarray(rgb, format="rgb24").reformat(
                format="yuvj444p", dst_colorspace=1, src_color_range=2, dst_color_range=2
            )
            for packet in [*stream.encode(frame), *stream.encode()]:
                out.mux(packet)
    except (av.FFmpegError, ValueError) as error:
        pytest.skip(f"this FFmpeg writes no HEVC, so no HEIC can be made ({error})")
    film.seek(0)
    with av.open(film) as film_in:
        setup = bytes(film_in.streams.video[0].codec_context.extradata)
        data = b"".join(bytes(p) for p in film_in.demux(video=0) if p.size)
    said = [_box(b"hvcC", setup), _full(b"ispe", struct.pack(">II", width, height))]
    # The matrix (1) and the full range are what the frame was made with.
    numbers = struct.pack(">HHHB", 1 if primaries is None else primaries, transfer, 1, 0x80)
    if primaries is not None or not icc:
        said.append(_box(b"colr", b"nclx" + numbers))
    if icc:
        said.append(_box(b"colr", b"prof" + icc))
    theirs = struct.pack(">IHB", 1, 1, len(said)) + bytes([0x81, *range(2, len(said) + 1)])
    kind = _box(b"ftyp", b"heic\0\0\0\0mif1heic")

    def meta(at: int) -> bytes:
        return _full(
            b"meta",
            _full(b"hdlr", b"\0" * 4 + b"pict" + b"\0" * 13) + _full(b"pitm", struct.pack(">H", 1))
            + _full(b"iloc", struct.pack(">BBHHHHII", 0x44, 0, 1, 1, 0, 1, at, len(data)))
            + _full(b"iinf", struct.pack(">H", 1) + _full(b"infe", struct.pack(">HH", 1, 0) + b"hvc1\0", 2))
            + _box(b"iprp", _box(b"ipco", b"".join(said)) + _full(b"ipma", theirs)),
        )  # fmt: skip

    path.write_bytes(kind + meta(len(kind) + len(meta(0)) + 8) + _box(b"mdat", data))
    return path


def _box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", 8 + len(content)) + kind + content


def _full(kind: bytes, content: bytes, version: int = 0) -> bytes:
    return _box(kind, struct.pack(">I", version << 24) + content)


def turned(rgb: np.ndarray, orientation: int) -> tuple[Image.Image, Image.Exif]:
    """A picture as it lies in the file, and the EXIF that sets it upright."""
    undo = {2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
            5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE,
            8: Image.Transpose.ROTATE_270}  # fmt: skip
    picture = Image.fromarray(rgb)
    exif = Image.Exif()
    exif[0x0112] = orientation
    return (picture.transpose(undo[orientation]) if orientation in undo else picture), exif
