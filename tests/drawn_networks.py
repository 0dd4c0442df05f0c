"""Small convolutional networks, drawn by hand, on which each rule of placement can be seen."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from engines.quantize.float_network import FloatNetwork

SHAPE = (1, 3, 8, 8)


class Drawing:
    """Nodes and weights as they are drawn; `network` makes the whole."""

    def __init__(self, seed: int = 0) -> None:
        self._random = np.random.default_rng(seed)
        self._nodes: list[Any] = []
        self._weights: dict[str, NDArray[np.float32]] = {}

    def conv(self, name: str, data: str, channels: tuple[int, int], kernel: int = 3) -> str:
        """A convolution of the same size, with a bias; gives its output's name, which is `name`."""
        incoming, outgoing = channels
        gain = np.sqrt(2 / (incoming * kernel * kernel))
        shape = (outgoing, incoming, kernel, kernel)
        self._weights[f"{name}.w"] = (self._random.normal(size=shape) * gain).astype(np.float32)
        self._weights[f"{name}.b"] = self._random.normal(0, 0.1, outgoing).astype(np.float32)
        pads = [kernel // 2] * 4
        self._nodes.append(helper.make_node("Conv", [data, f"{name}.w", f"{name}.b"], [name], name, pads=pads))
        return name

    def node(self, op: str, name: str, *data: str, **attributes: Any) -> str:
        """Any other node; gives its output's name, which is `name`."""
        self._nodes.append(helper.make_node(op, list(data), [name], name, **attributes))
        return name

    def constant(self, name: str, values: NDArray[Any]) -> str:
        """A constant."""
        self._weights[name] = values
        return name

    def proto(self, *outputs: str) -> onnx.ModelProto:
        """The whole, from `image` to these outputs."""
        graph = helper.make_graph(
            self._nodes,
            "drawn",
            [helper.make_tensor_value_info("image", TensorProto.FLOAT, SHAPE)],
            [helper.make_empty_tensor_value_info(name) for name in outputs],
            [numpy_helper.from_array(values, name) for name, values in self._weights.items()],
        )
        for output in graph.output:
            output.type.tensor_type.elem_type = TensorProto.FLOAT
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        inferred = onnx.shape_inference.infer_shapes(model)
        onnx.checker.check_model(inferred)
        return inferred

    def network(self, *outputs: str) -> FloatNetwork:
        """The whole, ready to be quantised."""
        return FloatNetwork(self.proto(*outputs))


def an_image(seed: int = 0) -> NDArray[np.float32]:
    """What goes into a drawing."""
    return np.random.default_rng(seed).normal(size=SHAPE).astype(np.float32)


def run(proto: Any, image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Its first output, computed as the graph stands."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    found: NDArray[np.float32] = session.run(None, {"image": image})[0]
    return found


def residual() -> FloatNetwork:
    """stem -> (one -> two) + stem -> head, with ReLUs, and a branch that is pooled, enlarged and added."""
    draw = Drawing()
    stem = draw.node("Relu", "stem_relu", draw.conv("stem", "image", (3, 4)))
    one = draw.node("Relu", "one_relu", draw.conv("one", stem, (4, 4)))
    total = draw.node("Relu", "sum_relu", draw.node("Add", "sum", stem, draw.conv("two", one, (4, 4))))
    pooled = draw.node("MaxPool", "pooled", total, kernel_shape=[2, 2], strides=[2, 2])
    deep = draw.node("Relu", "deep_relu", draw.conv("deep", pooled, (4, 4)))
    draw.constant("twice", np.float32([1, 1, 2, 2]))
    enlarged = draw.node("Resize", "enlarged", deep, "", "twice", mode="nearest")
    mixed = draw.node("Add", "mixed", total, enlarged)
    return draw.network(draw.conv("head", mixed, (4, 2), kernel=1))


def concatenated(activation: str) -> FloatNetwork:
    """Two branches, joined, then a head. `activation` is Relu or Silu."""
    draw = Drawing()

    def activated(name: str) -> str:
        if activation == "Relu":
            return draw.node("Relu", f"{name}_act", name)
        return draw.node("Mul", f"{name}_act", name, draw.node("Sigmoid", f"{name}_gate", name))

    left = activated(draw.conv("left", "image", (3, 4)))
    right = activated(draw.conv("right", "image", (3, 4)))
    joined = draw.node("Concat", "joined", left, right, axis=1)
    return draw.network(draw.conv("head", joined, (8, 2), kernel=1))
