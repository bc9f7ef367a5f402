"""SFace, a face descriptor, as it lies in a wheel -> 128 numbers a face, on ONNX Runtime.

SFace (Zhong et al., "SFace: Sigmoid-constrained hypersphere loss for robust face recognition", TIP 2021) is a
MobileFaceNet that the OpenCV Zoo publishes under Apache-2.0. Wheels carry it in two forms: quantised by blocks
(int8, 10.7 MB), and in fp32 (38.7 MB). Both list their weights as inputs of the graph, as OpenCV writes them, which
ONNX Runtime refuses. So the graph is written anew when it is loaded: weights are dequantised, batch normalisation is
folded into the convolution before it, and PReLU becomes s*x + (1-s)*relu(x). That runs three times as fast as the
graph as shipped.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .nets import find_net, onnx_session

CHIP, DIM = 112, 128
# Where the eyes, the nose tip and the mouth's corners lie in a chip: the template of ArcFace (Deng et al., 2019;
# insightface, utils/face_align.py), which SFace was trained on.
TEMPLATE = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)


class Descriptor:
    """The network, loaded once.

    Args:
        threads: of ONNX Runtime.

    Raises:
        EngineUnavailable: the file is not there, or not what it should be; the message has the command.
    """

    def __init__(self, threads: int):
        self.path = find_net("sface")
        self._session = onnx_session(self.path, threads, rewritten)

    def __call__(self, chips_rgb: np.ndarray) -> np.ndarray:
        """Describe aligned faces.

        Args:
            chips_rgb: uint8 (N, 112, 112, 3), RGB, aligned to `TEMPLATE`.

        Returns:
            float32 (N, 128), not normalised.
        """
        if not len(chips_rgb):
            return np.zeros((0, DIM), np.float32)
        pixels = np.ascontiguousarray(chips_rgb.transpose(0, 3, 1, 2), np.float32)
        return self._session.run(None, {"chips": pixels})[0]


def rewritten(data: bytes) -> bytes:
    """The file's bytes, of either form, as a graph that ONNX Runtime takes: "chips" (N, 3, 112, 112) -> (N, 128)."""
    import onnx
    from onnx import helper, numpy_helper

    graph = onnx.load_from_string(data).graph
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    nodes = [node for node in graph.node if not _folded(node, constants)]
    writer = _Writer(constants, next(entry.name for entry in graph.input if entry.name not in constants))
    for number, node in enumerate(nodes):
        after = nodes[number + 1] if number + 1 < len(nodes) else None
        writer.add(node, after)
    chips = helper.make_tensor_value_info("chips", onnx.TensorProto.FLOAT, ["n", 3, CHIP, CHIP])
    features = helper.make_tensor_value_info(graph.output[0].name, onnx.TensorProto.FLOAT, ["n", DIM])
    whole = helper.make_graph(writer.nodes, "sface", [chips], [features])
    model = helper.make_model(whole, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    for name, value in writer.tensors.items():  # put in last, and in place: copied once
        model.graph.initializer.add(
            name=name, dims=value.shape, data_type=onnx.TensorProto.FLOAT, raw_data=value.tobytes()
        )
    return model.SerializeToString()


def _attributes(node: Any) -> dict[str, Any]:
    from onnx import helper

    return {entry.name: helper.get_attribute_value(entry) for entry in node.attribute}


def _folded(node: Any, constants: dict[str, np.ndarray]) -> bool:
    """Work out a node that depends on constants alone; False if it does not."""
    from onnx import numpy_helper

    if node.op_type == "Constant":
        constants[node.output[0]] = numpy_helper.to_array(_attributes(node)["value"])
    elif node.op_type == "DequantizeLinear" and node.input[0] in constants:
        constants[node.output[0]] = _dequantised(node, constants)
    elif node.op_type == "Reshape" and all(name in constants for name in node.input):
        shape = constants[node.input[1]].astype(int)
        constants[node.output[0]] = constants[node.input[0]].reshape(shape)
    else:
        return False
    return True


def _dequantised(node: Any, constants: dict[str, np.ndarray]) -> np.ndarray:
    """(quantised - zero point) * scale, with a scale for every block along an axis (ONNX, DequantizeLinear-21)."""
    values, scale = constants[node.input[0]].astype(np.float32), constants[node.input[1]].astype(np.float32)
    zero = constants[node.input[2]].astype(np.float32) if len(node.input) > 2 else np.zeros_like(scale)
    given = _attributes(node)
    axis, block = given.get("axis", 1), given.get("block_size", 0)
    if not block:
        return (values - zero) * scale
    shape, length = values.shape, values.shape[axis]
    if length % block:  # the last block is not full
        scale, zero = (np.repeat(part, block, axis).take(range(length), axis) for part in (scale, zero))
        return (values - zero) * scale
    values = values.reshape(*shape[:axis], length // block, block, *shape[axis + 1 :])
    values = (values - np.expand_dims(zero, axis + 1)) * np.expand_dims(scale, axis + 1)
    return values.reshape(shape)


class _Writer:
    """The nodes that are left, written anew, and the tensors that they use.

    Args:
        constants: name -> value of everything that is known.
        data: what the graph calls its picture.
    """

    def __init__(self, constants: dict[str, np.ndarray], data: str):
        self.nodes: list[Any] = []
        self.tensors: dict[str, np.ndarray] = {}
        self._constants = constants
        self._called = {data: "chips"}  # old name of a value -> the name it now goes by
        self._skip: set[str] = set()

    def add(self, node: Any, after: Any) -> None:
        """One node; `after` is the next one."""
        from onnx import helper

        if node.output[0] in self._skip:
            return
        first = self._called.get(node.input[0], node.input[0])
        if node.op_type == "Dropout":
            self._called[node.output[0]] = first
        elif node.op_type == "Conv":
            weights, bias, output = self._convolution(node, after)
            made = helper.make_node("Conv", [first, self._tensor(weights), self._tensor(bias)], [output])
            made.attribute.extend(node.attribute)
            self.nodes.append(made)
        elif node.op_type == "PRelu":
            slope = self._constants[node.input[1]].reshape(-1, 1, 1)
            output = node.output[0]
            relu, above, all_ = f"{output}_relu", f"{output}_above", f"{output}_all"
            self.nodes += [
                helper.make_node("Relu", [first], [relu]),
                helper.make_node("Mul", [relu, self._tensor(1 - slope)], [above]),
                helper.make_node("Mul", [first, self._tensor(slope)], [all_]),
                helper.make_node("Add", [above, all_], [output]),
            ]
        else:
            inputs = [
                self._tensor(self._constants[name]) if name in self._constants else self._called.get(name, name)
                for name in node.input
            ]
            self.nodes.append(helper.make_node(node.op_type, inputs, list(node.output), **_attributes(node)))

    def _convolution(self, node: Any, after: Any) -> tuple[np.ndarray, np.ndarray, str]:
        """Weights, bias and the name of the output, with the normalisation that follows, if one does, folded in."""
        weights = self._constants[node.input[1]].astype(np.float64)
        bias = self._constants[node.input[2]].astype(np.float64) if len(node.input) > 2 else np.zeros(len(weights))
        if after is None or after.op_type != "BatchNormalization" or after.input[0] != node.output[0]:
            return weights, bias, node.output[0]
        gain, offset, mean, variance = (self._constants[name].astype(np.float64) for name in after.input[1:5])
        scale = gain / np.sqrt(variance + _attributes(after).get("epsilon", 1e-5))
        self._skip.add(after.output[0])
        return weights * scale[:, None, None, None], (bias - mean) * scale + offset, after.output[0]

    def _tensor(self, value: np.ndarray) -> str:
        name = f"t{len(self.tensors)}"
        self.tensors[name] = np.ascontiguousarray(value, np.float32)
        return name
