"""A picture -> a few hundred numbers that say what it looks like, kept beside the job so that each is made once.

Four blocks: tone (a histogram of lightness and of both colour axes, CIE Lab, square roots of the shares), texture
(histograms of gradient directions on a grid: Dalal and Triggs, CVPR 2005), contrast (how far fine, middling and coarse
detail stands out: percentiles of differences of Gaussians), and layout (the picture in 6 x 6 pixels). Beside them lies
its fine detail in 24 x 24 pixels, by which copies and near-copies of a picture are known.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from ..errors import ImageError, OutputError
from ..files import as_json, atomic_write, read_bytes
from ..images import decode_image, shrink_to
from ..pace import in_order, pool_of
from .targets import stamp_of

_MADE_AS = 1  # counted up when the numbers come to mean something else
_SIDE = 128  # pixels of the long side that is looked at
_CELLS, _DIRECTIONS = 3, 8
_SCALES = (1.0, 2.0, 4.0)  # standard deviations, pixels
_SHARES = (1, 10, 50, 90, 99)  # percentiles
_LAYOUT, _FINE = 6, 24
BLOCKS = (32, _CELLS * _CELLS * _DIRECTIONS, len(_SCALES) * (len(_SHARES) + 1), _LAYOUT * _LAYOUT)
_LENGTH = sum(BLOCKS)
# Two pictures are copies where their fine detail correlates so much, and differs nowhere by more than so many levels of
# grey and this share of the strongest detail: one scene with a new spot in it is no copy of that scene without it.
_SAME, _LEVELS, _SHARE = 0.9, 2.0, 0.15
_STEP = 0.5  # levels of grey in which fine detail is told
_PLAIN = 0.25  # levels of grey: less fine detail than this is none
_FILE = ".looks.npy"
_ROW = np.dtype([("key", "S32"), ("sha256", "S64"), ("looks", np.float16, _LENGTH), ("fine", np.int8, _FINE * _FINE)])


@dataclass(frozen=True)
class Description:
    """What a picture looks like.

    Attributes:
        sha256: of its bytes.
        looks: float16 (D,), the four blocks one after the other, `BLOCKS` numbers each.
        fine: int8 (F,), its fine detail in half levels of grey; all 0 = it has none.
    """

    sha256: str
    looks: np.ndarray
    fine: np.ndarray

    @classmethod
    def of(cls, path: Path) -> Description:
        """Read and describe a picture.

        Raises:
            ImageError: it cannot be read, or is damaged.
        """
        data = read_bytes(path, ImageError, "picture")
        image = shrink_to(decode_image(data, str(path), least=_SIDE), _SIDE)[0]
        return cls(hashlib.sha256(data).hexdigest(), described(image), _fine(image))


def described(image_bgr: np.ndarray) -> np.ndarray:
    """The four blocks of a picture: float16 (D,).

    Args:
        image_bgr: uint8 (H, W, 3), about 128 pixels long.
    """
    lab = cv2.cvtColor(image_bgr.astype(np.float32) / 255, cv2.COLOR_BGR2Lab)
    light = np.ascontiguousarray(lab[..., 0]) * 2.55
    tone = [_shares(lab[..., 0], 16, 0, 100), *(_shares(lab[..., axis], 8, -64, 64) for axis in (1, 2))]
    small = cv2.resize(light, (_LAYOUT, _LAYOUT), interpolation=cv2.INTER_AREA)
    layout = (small - small.mean()).ravel() / 64
    return np.concatenate([*tone, _directions(light), _contrasts(light), layout]).astype(np.float16)


def _shares(plane: np.ndarray, bins: int, low: float, high: float) -> np.ndarray:
    """Square roots, so that their distance is Hellinger's and a colour that few pixels have counts too."""
    counts = np.histogram(np.clip(plane, low, high - 1e-3), bins, (low, high))[0]
    return np.sqrt(counts / plane.size)


def _directions(light: np.ndarray) -> np.ndarray:
    """Gradients by direction in each cell of a grid, weighted by their strength, as a whole of length 1."""
    across, down = cv2.Sobel(light, cv2.CV_32F, 1, 0), cv2.Sobel(light, cv2.CV_32F, 0, 1)
    strength, angle = cv2.cartToPolar(across, down)
    direction = (angle / np.pi * _DIRECTIONS).astype(np.int64) % _DIRECTIONS
    row = np.arange(light.shape[0])[:, None] * _CELLS // light.shape[0]
    column = np.arange(light.shape[1])[None] * _CELLS // light.shape[1]
    cell = ((row * _CELLS + column) * _DIRECTIONS + direction).ravel()
    found = np.bincount(cell, strength.ravel(), BLOCKS[1])
    return found / max(1e-6, float(np.linalg.norm(found)))


def _contrasts(light: np.ndarray) -> np.ndarray:
    """How detail of each scale is spread: its percentiles and its deviation, in levels of grey, logarithmic."""
    found: list[float] = []
    for scale in _SCALES:
        detail = cv2.GaussianBlur(light, (0, 0), scale) - cv2.GaussianBlur(light, (0, 0), 4 * scale)
        found += [*np.percentile(detail, _SHARES), float(detail.std())]
    values = np.array(found)
    return np.sign(values) * np.log1p(np.abs(values)) / 2


def _fine(image: np.ndarray) -> np.ndarray:
    grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY).astype(np.float32)
    small = cv2.resize(grey, (_FINE, _FINE), interpolation=cv2.INTER_AREA)
    detail = (small - cv2.GaussianBlur(small, (0, 0), 3)).ravel()
    detail -= detail.mean()
    if float(detail.std()) < _PLAIN:
        return np.zeros(detail.size, np.int8)
    return np.clip(np.rint(detail / _STEP), -127, 127).astype(np.int8)


def copies_of(one: int, fine: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Which pictures are copies, or all but copies, of one of them: bool (N,).

    Their fine detail is the same. Of pictures without any, those that are the same in the four blocks.

    Args:
        one: its number.
        fine: int8 (N, F).
        places: float32 (N, D), as `placed` puts them.
    """
    own = fine[one].astype(np.float32)
    norm = float(np.linalg.norm(own))
    if not norm:
        return (~fine.any(axis=1)) & (np.abs(places - places[one]).max(axis=1) < 0.05)
    others = fine.astype(np.float32)
    alike = others @ own >= _SAME * norm * np.maximum(np.linalg.norm(others, axis=1), 1e-6)
    most = _LEVELS / _STEP + _SHARE * float(np.abs(own).max())
    return alike & (np.abs(others - own).max(axis=1) <= most)


def placed(looks: np.ndarray) -> np.ndarray:
    """Descriptions as places, between which distances are taken: float32 (N, D).

    Each block is measured in its own spread over all the pictures, so that none drowns the others.

    Args:
        looks: (N, D).
    """
    parts = []
    for block in np.split(looks.astype(np.float32), np.cumsum(BLOCKS)[:-1], axis=1):
        rest = block - block.mean(axis=0)
        parts.append(rest / max(1e-6, float(np.sqrt((rest**2).sum(axis=1).mean()))))
    return np.concatenate(parts, axis=1)


class Looks:
    """Descriptions of pictures, made as they are asked for and kept in ``OUT/.looks.npy``.

    A picture is looked at again when its size or its time has changed. In memory is about a kilobyte a picture.

    Args:
        folder: the job's.
    """

    def __init__(self, folder: Path):
        self._file = folder / _FILE

    def of(self, paths: Iterable[Path], workers: int) -> tuple[dict[Path, Description], dict[str, str]]:
        """(path -> description, path of each that cannot be read -> why).

        Args:
            paths: pictures.
            workers: threads.
        """
        known, wanted = self._known(), {path: _key(path) for path in paths}
        found = {path: known[key] for path, key in wanted.items() if key in known}
        todo = [path for path in wanted if path not in found]
        broken: dict[str, str] = {}
        with pool_of(workers, True) as pool:
            for path, answer in zip(todo, in_order(pool, _tried, todo, workers), strict=True):
                if isinstance(answer, str):
                    broken[str(path)] = answer
                else:
                    found[path] = known[wanted[path]] = answer
        if len(broken) < len(todo):
            self._keep(known)
        return found, broken

    def _known(self) -> dict[bytes, Description]:
        try:
            rows = np.load(self._file)
        except (OSError, ValueError, EOFError):
            return {}
        if not isinstance(rows, np.ndarray) or rows.dtype != _ROW or rows.ndim != 1:
            return {}
        return {bytes(r["key"]): Description(r["sha256"].decode(), r["looks"], r["fine"]) for r in rows}

    def _keep(self, known: Mapping[bytes, Description]) -> None:
        rows = np.array([(key, d.sha256.encode(), d.looks, d.fine) for key, d in sorted(known.items())], _ROW)
        with contextlib.suppress(OutputError), atomic_write(self._file) as file:  # without it they are made again
            np.save(file, rows, allow_pickle=False)


def _key(path: Path) -> bytes:
    text = as_json([_MADE_AS, os.fspath(path), stamp_of(path)])
    return hashlib.sha256(text).hexdigest()[:32].encode()


def _tried(path: Path) -> Description | str:
    try:
        return Description.of(path)
    except ImageError as error:
        return str(error)
