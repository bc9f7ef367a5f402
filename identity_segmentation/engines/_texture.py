"""A picture -> what a net that was trained on photographs makes of its texture, and a classifier of that.

The net is the backbone of the object detector (`embedded_objects`): EfficientNet-Lite0, cut off after its tenth block.
Features of a pretrained net, taken in the middle, tell normal from abnormal surfaces (Roth et al., "Towards Total
Recall in Industrial Anomaly Detection", CVPR 2022); here a line is drawn through them by logistic regression.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np
from scipy.ndimage import uniform_filter

from ..errors import EngineUnavailable
from ..images import scale_to
from .nets import Net

_LAYERS = ("blocks_4/Add", "blocks_9/Add")  # of the net: 40 x 40 x 40 and 20 x 20 x 112
_GREY, _SPREAD, _FLAT = 110.0, 45.0, 2.0  # mean and spread that every picture is given; a spread that is noise
_LINE = 0.02  # C of the regression: strongly held back, for a few hundred cells teach 152 weights
_MOST = 8.0  # log-odds
_HELD = 4.0  # spreads


class Texture(NamedTuple):
    """What the net makes of a picture, in cells.

    Attributes:
        looks: float32 (h, w, 152), h and w up to 40.
        soft: the same, each cell averaged with its neighbours.
    """

    looks: np.ndarray
    soft: np.ndarray


class _Backbone:
    """The net: uint8 (H, W, 3), BGR -> its texture."""

    def __init__(self) -> None:
        self._net = Net("objects", 1, _cut_off)
        self._scales = [output["quantization"] for output in self._net.outputs]

    def __call__(self, image: np.ndarray) -> Texture:
        size = self._net.size
        small = scale_to(image, size)[0].astype(np.float32)
        small = (small - small.mean()) / (small.std() + _FLAT) * _SPREAD + _GREY
        canvas = np.full((size, size, 3), _GREY, np.uint8)
        canvas[: small.shape[0], : small.shape[1]] = np.clip(small, 0, 255)[..., ::-1]
        layers = []
        for values, (scale, zero) in zip(self._net(canvas), self._scales, strict=True):
            cells = (values.astype(np.float32) - zero) * scale
            rows, columns = (max(1, round(s * len(values) / size)) for s in small.shape[:2])
            layers.append(cells[:rows, :columns])
        layers.sort(key=lambda layer: -layer.shape[0] * layer.shape[1])
        shape = layers[0].shape[1::-1]
        looks = np.concatenate([layers[0], _resized(layers[1], shape)], axis=2)
        return Texture(looks, uniform_filter(looks, (3, 3, 1), mode="nearest"))


def _resized(cells: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Any number of channels, three at a time, which is what OpenCV does."""
    parts = [
        cv2.resize(np.ascontiguousarray(cells[..., begin : begin + 3]), size, interpolation=cv2.INTER_LINEAR)
        for begin in range(0, cells.shape[2], 3)
    ]
    return np.concatenate([part.reshape(*part.shape[:2], -1) for part in parts], axis=2)


def _cut_off(data: bytes) -> bytes:
    """The detector's file -> that of a net which ends at `_LAYERS`: an eighth of the operations, at full speed.

    The format: https://ai.google.dev/edge/litert/conversion/tensorflow/build (schema.fbs).
    """
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    model: Any = schema.ModelT.InitFromObj(schema.Model.GetRootAs(bytearray(data), 0))
    graph = model.subgraphs[0]
    ends = [number for number, tensor in enumerate(graph.tensors) if tensor.name.decode().endswith(_LAYERS)]
    wanted, kept = set(ends), []
    for operator in reversed(graph.operators):
        if wanted.intersection(int(o) for o in operator.outputs):
            kept.append(operator)
            wanted.update(int(i) for i in operator.inputs if i >= 0)
    graph.operators, graph.outputs = kept[::-1], np.array(ends, np.int32)
    model.signatureDefs = model.metadata = None
    builder = flatbuffers.Builder(len(data))
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


@functools.cache
def backbone() -> _Backbone | None:
    """The net, made once; None on a machine that lacks its file or its reader (pixels alone are looked at then)."""
    try:
        return _Backbone()
    except (EngineUnavailable, ImportError):
        return None


class Cells(NamedTuple):
    """Cells of one picture.

    Attributes:
        looks: float32 (N, 152), their features.
        soft: the same, averaged with their neighbours.
        share: float32 (N,), how much of each is marked.
    """

    looks: np.ndarray
    soft: np.ndarray
    share: np.ndarray


class Textures:
    """What references show, in cells, turned and mirrored copies too.

    Args:
        image: uint8 (H, W, 3), BGR.
    """

    def __init__(self, image: np.ndarray, net: _Backbone):
        self._seen = [(turn, net(turn(image))) for turn in _TURNS]

    def of(self, mask: np.ndarray) -> Iterator[Cells]:
        """The cells of every copy.

        Args:
            mask: bool (H, W).
        """
        for turn, texture in self._seen:
            share = cv2.resize(turn(mask).astype(np.float32), texture.looks.shape[1::-1], interpolation=cv2.INTER_AREA)
            looks, soft = (plane.reshape(share.size, -1) for plane in texture)
            yield Cells(looks, soft, share.ravel())


_TURNS = (
    lambda a: a,
    lambda a: np.ascontiguousarray(a[:, ::-1]),
    lambda a: np.ascontiguousarray(np.rot90(a)),
    lambda a: np.ascontiguousarray(np.rot90(a, 3)),
)


class Scale:
    """Features in units of their spread, held within `_HELD`.

    Args:
        looks: (N, C), those that the spread is that of.
    """

    def __init__(self, looks: np.ndarray):
        self._mean, self._spread = looks.mean(0), looks.std(0) + 1e-3

    def __call__(self, looks: np.ndarray) -> np.ndarray:
        return np.clip((looks - self._mean) / self._spread, -_HELD, _HELD)


class TextureModel:
    """One id against the rest, by texture.

    Args:
        cells: `Textures.of` of all references.
        rarity: training prior = true odds ** rarity.
    """

    def __init__(self, cells: Sequence[Cells], rarity: float):
        from sklearn.linear_model import LogisticRegression
        from threadpoolctl import threadpool_limits

        looks = np.concatenate([one.looks for one in cells])
        truth = np.concatenate([one.share for one in cells]).astype(np.float64)
        weights = np.concatenate([np.full(len(one.share), 1 / len(one.share)) for one in cells])
        self._scaled = Scale(looks)
        share = float(np.clip((truth * weights).sum() / weights.sum(), 1e-4, 0.9))
        odds = (share / (1 - share)) ** rarity
        raised = odds / (1 + odds)
        both = np.concatenate([truth * weights * raised / share, (1 - truth) * weights * (1 - raised) / (1 - share)])
        told = both > 1e-12
        scaled = self._scaled(looks).astype(np.float64)
        classes = np.repeat([True, False], len(truth))[told]
        self._line: tuple[np.ndarray, float] | None = None
        if not classes.any() or classes.all():
            return
        with threadpool_limits(1):
            line = LogisticRegression(C=_LINE, max_iter=60).fit(
                np.concatenate([scaled, scaled])[told], classes, sample_weight=both[told] / both[told].mean()
            )
        self._line = np.round(line.coef_[0], 5).astype(np.float32), float(np.round(line.intercept_[0], 5))

    def log_odds(self, looks: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """float32 (H, W) for the features of its cells.

        Args:
            looks: (h, w, 152).
            size: (width, height) of the answer.
        """
        if self._line is None:
            return np.zeros(size[::-1], np.float32)
        odds = np.clip(self._scaled(looks) @ self._line[0] + self._line[1], -_MOST, _MOST).astype(np.float32)
        return cv2.resize(np.round(odds * 128) / 128, size, interpolation=cv2.INTER_CUBIC)
