"""dlib's face descriptor network -> an ONNX Runtime session: the same 128 numbers, some 20 times faster.

`face_recognition_models` carries the weights (King, "High Quality Face Recognition with Deep Metric
Learning", 2017; CC0) as a dlib stream. dlib runs them without BLAS at about 85 ms a face; this reads the
tensors out of the stream, folds each affine layer into the convolution before it, and rebuilds the network as an ONNX
graph. `tests/test_embedded_faces.py` checks the graph against a plain numpy run of the layers, and
`benchmarks/descriptor.py` against dlib itself where dlib is installed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ..errors import EngineUnavailable
from ..files import package_folder

CHIP = 150  # the network's input, in pixels
DIM = 128
# dnn_face_recognition_ex in dlib's examples: (filters, residual blocks, first block halves the size).
_LEVELS = ((32, 3, False), (64, 4, True), (128, 3, True), (256, 3, True), (256, 1, True))
# input_rgb_image_sized's mean colour and 1/256 scale
_MEAN_RGB = np.array([122.782, 117.001, 104.298], np.float32)


def weights_path() -> Path:
    """The descriptor's weights inside the `face_recognition_models` package.

    The package is located, not imported: its `__init__` needs the long-gone `pkg_resources`.
    """
    folder = package_folder("face_recognition_models")
    path = folder / "models" / "dlib_face_recognition_resnet_model_v1.dat" if folder else None
    if path is not None and path.is_file():
        return path
    raise EngineUnavailable(
        "the embedded face engine needs the weights in face_recognition_models; install them with: "
        "pip install face_recognition_models"
    )


def read_layers(data: bytes) -> list[tuple[np.ndarray, ...]]:
    """The network's tensors in order: (kernels (n, c, k, k), bias (n,), gamma (n,), beta (n,)) per convolution,
    then the last layer's (256, 128) matrix.

    dlib writes a tensor as five variable-length integers (format 2, then four dimensions) and raw
    little-endian float32. The architecture is fixed, so each header is known and is searched for in order.
    """
    layers: list[tuple[np.ndarray, ...]] = []
    position = 0

    def take(*shape: int) -> np.ndarray:
        nonlocal position
        header = b"".join(_dlib_int(v) for v in (2, *shape, *(1,) * (4 - len(shape))))
        start = data.find(header, position)
        count = int(np.prod(shape))
        if start < 0 or start + len(header) + 4 * count > len(data):
            raise EngineUnavailable(
                "the face descriptor's weights are damaged; reinstall them with: "
                "pip install --force-reinstall face_recognition_models"
            )
        position = start + len(header) + 4 * count
        return np.frombuffer(data, "<f4", count, start + len(header)).reshape(shape)

    def convolution(filters: int, channels: int, kernel: int) -> None:
        weights = take(filters * channels * kernel * kernel + filters)
        affine = take(2 * filters)
        layers.append(
            (weights[:-filters].reshape(filters, channels, kernel, kernel), weights[-filters:],
             affine[:filters], affine[filters:])
        )  # fmt: skip

    convolution(32, 3, 7)
    channels = 32
    for filters, blocks, _ in _LEVELS:
        for _ in range(blocks):
            convolution(filters, channels, 3)
            convolution(filters, filters, 3)
            channels = filters
    layers.append((take(256, DIM),))
    return layers


def _dlib_int(value: int) -> bytes:
    """dlib's serialisation of a non-negative integer: its byte count, then its bytes, low first."""
    length = max(1, (value.bit_length() + 7) // 8)
    return bytes([length]) + value.to_bytes(length, "little")


def build_onnx(layers: list[tuple[np.ndarray, ...]]) -> bytes:
    """The network as an ONNX model: "chips" float32 (N, 3, 150, 150) RGB 0..255 -> "descriptors" (N, 128)."""
    from onnx import TensorProto, helper, numpy_helper

    nodes: list[Any] = []
    constants: list[Any] = []

    def constant(array: np.ndarray | np.floating) -> str:
        name = f"c{len(constants)}"
        constants.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def node(kind: str, *inputs: str, **attributes) -> str:
        name = f"n{len(nodes)}"
        nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    remaining = iter(layers)

    def convolve(x: str, stride: int, size: int) -> tuple[str, int]:
        kernels, bias, gamma, beta = next(remaining)
        k = kernels.shape[2]
        pad = 0 if stride > 1 else k // 2  # con_'s default padding
        folded = kernels * gamma[:, None, None, None], bias * gamma + beta
        out = node(
            "Conv", x, constant(folded[0]), constant(folded[1]),
            kernel_shape=[k, k], strides=[stride, stride], pads=[pad] * 4,
        )  # fmt: skip
        return out, (size + 2 * pad - k) // stride + 1

    def zero_pad(x: str, channels: int, size: int) -> str:
        """add_prev sums tensors of different shapes as if the smaller were filled up with zeros."""
        if not channels and not size:
            return x
        return node("Pad", x, constant(np.array([0, 0, 0, 0, 0, channels, size, size], np.int64)))

    x = node("Sub", "chips", constant(_MEAN_RGB.reshape(1, 3, 1, 1)))
    x = node("Mul", x, constant(np.float32(1 / 256)))
    x, size = convolve(x, 2, CHIP)
    x = node("MaxPool", node("Relu", x), kernel_shape=[3, 3], strides=[2, 2])
    size, channels = (size - 3) // 2 + 1, 32
    for filters, blocks, halves in _LEVELS:
        for block in range(blocks):
            stride = 2 if halves and block == 0 else 1
            y, size_y = convolve(x, stride, size)
            y, size_y = convolve(node("Relu", y), 1, size_y)
            if stride == 2:
                x = node("AveragePool", x, kernel_shape=[2, 2], strides=[2, 2])
                size = (size - 2) // 2 + 1
            to_size, to_channels = max(size, size_y), max(channels, filters)
            y = zero_pad(y, to_channels - filters, to_size - size_y)
            x = zero_pad(x, to_channels - channels, to_size - size)
            x = node("Relu", node("Add", x, y))
            size, channels = to_size, to_channels
    x = node("Flatten", node("GlobalAveragePool", x))
    nodes.append(helper.make_node("MatMul", [x, constant(next(remaining)[0])], ["descriptors"]))
    graph = helper.make_graph(
        nodes,
        "dlib_face_descriptor",
        [helper.make_tensor_value_info("chips", TensorProto.FLOAT, ["n", 3, CHIP, CHIP])],
        [helper.make_tensor_value_info("descriptors", TensorProto.FLOAT, ["n", DIM])],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return model.SerializeToString()


class Descriptor:
    """Aligned face chips -> dlib descriptors, batched, on the CPU."""

    def __init__(self, threads: int):
        try:
            import onnxruntime
        except ImportError as error:
            raise EngineUnavailable(
                "the embedded face engine needs ONNX Runtime; install it with: pip install onnxruntime"
            ) from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(
            build_onnx(read_layers(weights_path().read_bytes())), options, providers=["CPUExecutionProvider"]
        )

    def __call__(self, chips_rgb: np.ndarray) -> np.ndarray:
        """uint8 (N, 150, 150, 3) RGB -> float32 (N, 128), not normalised (dlib's own scale)."""
        batch = np.ascontiguousarray(chips_rgb.transpose(0, 3, 1, 2), dtype=np.float32)
        return self._session.run(None, {"chips": batch})[0]
