"""What a DLA computes of a network with implicit scales, on ONNX Runtime: every tensor with a range is rounded to it.

As TensorRT up to 10 has it: a convolution runs in INT8 where its input and its output have a range, with weights per
channel by their largest; what comes out of it before its ReLU is not rounded. DLA's own rounding of halves is not here.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from engines.plans.derived_ranges import LARGEST
from engines.plans.implicit_scales import ImplicitNetwork

_FUSED = ("Relu", "Clip")


def in_int8(network: ImplicitNetwork) -> list[str]:
    """Convolutions that have a range on either side."""
    return [
        node.name
        for node in network.proto.graph.node
        if node.op_type in ("Conv", "ConvTranspose")
        and node.input[0] in network.scales
        and node.output[0] in network.scales
    ]


def simulated(network: ImplicitNetwork) -> Any:
    """An `onnx.ModelProto` that rounds as it does."""
    proto = onnx.ModelProto()
    proto.CopyFrom(network.proto)
    graph = proto.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    users: dict[str, list[Any]] = {}
    for node in graph.node:
        for name in node.input:
            users.setdefault(name, []).append(node)
    outputs = {value.name for value in graph.output}
    graph.initializer.append(numpy_helper.from_array(np.array(0, np.int8), "zero"))
    rounded: dict[str, str] = {}
    nodes: list[Any] = []

    def round_off(tensor: str, *, is_sum: bool = False) -> None:
        readers = users.get(tensor, [])
        is_fused = is_sum and len(readers) == 1 and readers[0].op_type in _FUSED
        if tensor not in network.scales or tensor in outputs or is_fused:
            return
        scale = np.array(network.scales[tensor], np.float32)
        graph.initializer.append(numpy_helper.from_array(scale, f"{tensor}//scale"))
        behind = [f"{tensor}//int8", f"{tensor}//rounded"]
        nodes.append(helper.make_node("QuantizeLinear", [tensor, f"{tensor}//scale", "zero"], behind[:1]))
        nodes.append(helper.make_node("DequantizeLinear", [behind[0], f"{tensor}//scale", "zero"], behind[1:]))
        rounded[tensor] = behind[1]

    for value in graph.input:
        round_off(value.name)
    whole = in_int8(network)
    for node in graph.node:
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        for position, name in enumerate(node.input):
            copy.input[position] = rounded.get(name, name)
        if node.name in whole:
            values = numpy_helper.to_array(constants[node.input[1]])
            axis = 0 if node.op_type == "Conv" else 1
            others = tuple(index for index in range(values.ndim) if index != axis)
            step = np.abs(values).max(axis=others, keepdims=True) / LARGEST
            step[step == 0] = 1
            copy.input[1] = f"{node.output[0]}//weight"
            weight = (np.rint(values / step) * step).astype(np.float32)
            graph.initializer.append(numpy_helper.from_array(weight, copy.input[1]))
        nodes.append(copy)
        for name in node.output:
            round_off(name, is_sum=node.op_type in ("Conv", "ConvTranspose", "Add"))
    del graph.node[:]
    graph.node.extend(nodes)
    return proto
