"""Where Q/DQ pairs go, and the network with them: explicit S8, as TensorRT wants it.

Rules (TensorRT's developer guide, "Explicit quantization"; shared here with the CPU engines):

- a quantised layer's input has one pair, scale per tensor, zero point 0; its weights are S8 behind a DequantizeLinear
  per output channel; its bias stays float;
- both inputs of an Add of two branches have one where the sum goes on in INT8; none stands between a layer and its
  ReLU;
- what only moves values (MaxPool, Resize to the nearest, Reshape, Transpose) has the same scale before and behind, and
  so has a Concat of branches that are in INT8 anyway, so that no value is rounded twice;
- a layer that is left in float reads the float tensor.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from engines.onnx_graph import drop_unread, replace
from engines.quantize.float_network import FloatNetwork, Layer

_MOVES_VALUES = {
    "MaxPool",
    "Reshape",
    "Transpose",
    "Flatten",
    "Squeeze",
    "Unsqueeze",
    "Slice",
    "Gather",
    "SpaceToDepth",
}
_STAYS_INT8 = {"Relu", "Clip", "Conv", "ConvTranspose", "Gemm", "Add", "Concat", "Resize", *_MOVES_VALUES}
_LARGEST = {7: 63, 8: 127}  # of a weight, by --weight-bits


@dataclass(frozen=True, slots=True)
class Placement:
    """Which tensors have a pair, which of them share a scale, and who reads what the pair gives."""

    layers: tuple[Layer, ...]  # the quantised ones; each reads its input behind its pair
    groups: tuple[tuple[str, ...], ...]  # tensors of one scale each
    readers: frozenset[tuple[str, str]]  # other nodes, by their output, and the input that they read behind its pair

    @property
    def tensors(self) -> tuple[str, ...]:
        """All tensors with a pair."""
        return tuple(tensor for group in self.groups for tensor in group)


def place(network: FloatNetwork, left_in_float: Collection[str] = ()) -> Placement:
    """Decide where pairs go when all layers but these (by name) are quantised."""
    layers = tuple(layer for layer in network.layers if layer.name not in left_in_float)
    paired = dict.fromkeys(layer.data for layer in layers)
    links: list[tuple[str, str]] = []  # pairs of tensors that share a scale
    readers: set[tuple[str, str]] = set()
    waiting = list(paired)
    while waiting:
        tensor = waiting.pop()
        reader, shares_scale = _made_in_int8(network, tensor)
        if reader is None:
            continue
        # Of what moves values the others are where to: whole numbers.
        for before in reader.input if reader.op_type in ("Add", "Concat") else reader.input[:1]:
            if not network.is_activation(before):
                continue
            readers.add((reader.output[0], before))
            if shares_scale:
                links.append((before, tensor))
            if before not in paired:
                paired[before] = None
                waiting.append(before)
    return Placement(layers, _groups(list(paired), links), frozenset(readers))


def _made_in_int8(network: FloatNetwork, tensor: str) -> tuple[Any | None, bool]:
    """The node that makes a paired tensor, where it has to read INT8 too, and whether all its scales are the same."""
    node = network.producers.get(tensor)
    if node is None:
        return None, False
    if node.op_type in _MOVES_VALUES or (node.op_type == "Resize" and _is_nearest(node)):
        return (node, True) if _is_int8_anyway(network, node.input[0]) else (None, False)
    if node.op_type == "Concat":
        in_int8 = all(network.is_activation(name) and _is_int8_anyway(network, name) for name in node.input)
        return (node, True) if in_int8 else (None, False)
    if node.op_type in ("Relu", "Clip"):
        node = network.producers.get(node.input[0])
    if node is not None and node.op_type == "Add" and all(network.is_activation(name) for name in node.input):
        return node, False
    return None, False


def _is_int8_anyway(network: FloatNetwork, tensor: str) -> bool:
    """Whether what makes a tensor can give it in INT8; a SiLU or a softmax is computed in float on every engine."""
    node = network.producers.get(tensor)
    return node is not None and node.op_type in _STAYS_INT8


def _is_nearest(node: Any) -> bool:
    modes = [attribute.s for attribute in node.attribute if attribute.name == "mode"]
    return not modes or modes[0] == b"nearest"


def _groups(tensors: list[str], links: list[tuple[str, str]]) -> tuple[tuple[str, ...], ...]:
    leader = {tensor: tensor for tensor in tensors}

    def find(tensor: str) -> str:
        while leader[tensor] != tensor:
            tensor = leader[tensor]
        return tensor

    for one, other in links:
        leader[find(other)] = find(one)
    groups: dict[str, list[str]] = {}
    for tensor in tensors:
        groups.setdefault(find(tensor), []).append(tensor)
    return tuple(tuple(group) for group in groups.values())


def quantised(network: FloatNetwork, placement: Placement, scales: Mapping[str, float], weight_bits: int = 8) -> Any:
    """The network with its pairs, an `onnx.ModelProto`. `scales` by tensor; a group takes its largest."""
    proto = onnx.ModelProto()
    proto.CopyFrom(network.proto)
    graph = proto.graph
    nodes: list[Any] = []
    constants: list[Any] = []
    zero = _constant(constants, "int8_zero", np.array(0, np.int8))
    behind: dict[str, str] = {}  # tensor -> what its pair gives
    made: dict[str, list[Any]] = {}
    for group in placement.groups:
        scale = _constant(constants, f"{group[0]}/scale", np.array(max(scales[name] for name in group), np.float32))
        for name in group:
            behind[name] = f"{name}/dequantised"
            made[name] = [
                helper.make_node("QuantizeLinear", [name, scale, zero], [f"{name}/int8"], f"{name}/quantise"),
                helper.make_node(
                    "DequantizeLinear", [f"{name}/int8", scale, zero], [behind[name]], f"{name}/dequantise"
                ),
            ]
    quantised_layers = {layer.name: layer for layer in placement.layers}
    weights: dict[tuple[str, int], str] = {}
    for layer in placement.layers:
        key = layer.weight, layer.channel_axis
        if key not in weights:
            weights[key] = _quantised_weight(network, layer, _LARGEST[weight_bits], constants, nodes)
    for value in graph.input:
        nodes += made.get(value.name, [])
    for node in graph.node:
        if (found := quantised_layers.get(node.output[0])) is not None:
            node.input[0] = behind[found.data]
            node.input[1] = weights[found.weight, found.channel_axis]
        else:
            for position, name in enumerate(node.input):
                if (node.output[0], name) in placement.readers:
                    node.input[position] = behind[name]
        nodes.append(node)
        for output in node.output:
            nodes += made.get(output, [])
    replace(graph.node, nodes)
    graph.initializer.extend(constants)
    drop_unread(graph)
    return proto


def _constant(constants: list[Any], name: str, value: NDArray[Any]) -> str:
    constants.append(numpy_helper.from_array(value, name))
    return name


def _quantised_weight(network: FloatNetwork, layer: Layer, largest: int, constants: list[Any], nodes: list[Any]) -> str:
    """Store a weight in S8, symmetric per output channel; give the tensor that its DequantizeLinear makes."""
    values = network.weights[layer.weight]
    axis = layer.channel_axis
    others = tuple(index for index in range(values.ndim) if index != axis)
    scale = np.abs(values).max(axis=others) / largest
    scale = np.where(scale > 0, scale, 1.0).astype(np.float32)  # a channel of zeros
    shape = [1] * values.ndim
    shape[axis] = -1
    rounded = np.clip(np.rint(values / scale.reshape(shape)), -largest, largest).astype(np.int8)
    name = f"{layer.weight}/axis{axis}"
    inputs = [
        _constant(constants, f"{name}/int8", rounded),
        _constant(constants, f"{name}/scale", scale),
        _constant(constants, f"{name}/zero", np.zeros(len(scale), np.int8)),
    ]
    nodes.append(helper.make_node("DequantizeLinear", inputs, [f"{name}/dequantised"], f"{name}/dequantise", axis=axis))
    assert constants[-1].data_type == TensorProto.INT8
    return f"{name}/dequantised"
