"""Scales as a DLA takes them up to TensorRT 10: by tensor, beside a network that has no Q/DQ.

A DLA reads no Q/DQ there (NVIDIA/TensorRT#2222): it takes a float network and a range for every tensor, and runs a
layer in INT8 only where its input and its output have one. A Q/DQ network says the ranges of what its layers read;
those between follow from the arithmetic, or are not given, and then the layer runs in halves:

- what only moves or bounds values keeps their range, and what goes into it may be cut where what comes out is;
- a SiLU's input reaches as far as its output's inverse; a sigmoid gives 0 to 1;
- a term of a sum reaches no further than the sum and the other term together.

NVIDIA's route is the same (Deep-Learning-Accelerator-SW, tools/qdq-translator), with fewer rules.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from engines.onnx_graph import constants_of, dequantised, drop_unread, replace, users_of

LARGEST = 127
_KEEPS_RANGE = {
    "AveragePool",
    "Clip",
    "DepthToSpace",
    "Dropout",
    "Flatten",
    "Gather",
    "GlobalAveragePool",
    "GlobalMaxPool",
    "Identity",
    "LeakyRelu",
    "MaxPool",
    "Pad",
    "ReduceMax",
    "ReduceMean",
    "Relu",
    "Reshape",
    "Slice",
    "SpaceToDepth",
    "Split",
    "Squeeze",
    "Transpose",
    "Unsqueeze",
}
# Cutting what goes in at a range gives what cutting what comes out does. (Of a LeakyRelu only nearly: what is far below
# zero comes out small. Measured to cost less than a point.)
_CUTS_THROUGH = {
    "Clip",
    "Concat",
    "DepthToSpace",
    "Dropout",
    "Flatten",
    "Identity",
    "LeakyRelu",
    "MaxPool",
    "Relu",
    "Reshape",
    "SpaceToDepth",
    "Squeeze",
    "Transpose",
    "Unsqueeze",
}
_UP_TO_ONE = {"HardSigmoid", "Sigmoid", "Softmax", "Tanh"}


@dataclass(frozen=True, slots=True)
class ImplicitNetwork:
    """`proto`: the `onnx.ModelProto` without pairs, its weights float. `scales`: the value of one step, by tensor."""

    proto: Any
    scales: dict[str, float]

    def cache(self, version: tuple[int, ...]) -> str:
        """The scales as a calibration cache, which trtexec takes by --calib: each a big-endian float32 in hex."""
        major, minor, patch = (*version, 0, 0, 0)[:3]
        number = f"{major}{minor}{patch:02d}" if major < 10 else f"{major}{minor:02d}{patch:02d}"
        lines = [f"{name}: {struct.pack('>f', scale).hex()}" for name, scale in self.scales.items()]
        return "\n".join([f"TRT-{number}-EntropyCalibration2", *lines, ""])


def implicit(proto: Any) -> ImplicitNetwork:
    """Take a Q/DQ network apart; `proto` is left as it is. A pair that is not S8 around 0 per tensor gives no scale."""
    taken = type(proto)()
    taken.CopyFrom(proto)
    scales = _without_pairs(taken.graph)
    _derive(taken.graph, scales)
    return ImplicitNetwork(taken, scales)


def _without_pairs(graph: Any) -> dict[str, float]:
    constants = constants_of(graph)
    outputs = {value.name for value in graph.output}
    sources: dict[str, str] = {}  # what a DequantizeLinear gave -> what is read instead
    before: dict[str, Any] = {}  # what a QuantizeLinear gave -> that node
    scales: dict[str, float] = {}
    nodes: list[Any] = []
    for node in graph.node:
        for position, name in enumerate(node.input):
            node.input[position] = sources.get(name, name)
        if node.op_type == "QuantizeLinear":
            before[node.output[0]] = node
        elif node.op_type == "DequantizeLinear":
            source = _source(graph, node, before, constants, scales)
            if node.output[0] in outputs:
                nodes.append(helper.make_node("Identity", [source], [node.output[0]], f"{node.name}/same"))
            else:
                sources[node.output[0]] = source
        else:
            nodes.append(node)
    replace(graph.node, nodes)
    drop_unread(graph)
    return scales


def _source(
    graph: Any, node: Any, before: dict[str, Any], constants: dict[str, NDArray[Any]], scales: dict[str, float]
) -> str:
    """What is read in place of a DequantizeLinear's output: a weight in float, or the tensor ahead of the pair."""
    quantise = before.get(node.input[0])
    stored = node.input[0] if quantise is None else quantise.input[0]
    if stored in constants:
        name = stored if quantise is not None else f"{stored}/float"
        if name not in constants:
            value = dequantised(node, constants)
            constants[name] = value
            graph.initializer.append(numpy_helper.from_array(value, name))
        return str(name)
    scale, zero = constants.get(node.input[1]), constants.get(node.input[2]) if len(node.input) > 2 else None
    if scale is not None and scale.size == 1 and zero is not None and zero.dtype == np.int8 and not zero.any():
        # Read in more than one scale, the coarser cuts nothing off.
        scales[stored] = max(float(scale.reshape(-1)[0]), scales.get(stored, 0.0))
    return str(stored)


def _derive(graph: Any, scales: dict[str, float]) -> None:
    """Add what follows from the scales that there are, in place, until nothing new does."""
    constants = {tensor.name for tensor in graph.initializer}
    users = users_of(graph)
    outputs = {value.name for value in graph.output}
    while True:
        found = {
            name: scale
            for node in graph.node
            for name, scale in (*_forward(node, scales, constants), *_backward(node, scales, constants, users))
            if name not in scales and name not in outputs
        }
        if not found:
            return
        scales.update(found)


def _forward(node: Any, scales: dict[str, float], constants: set[str]) -> Iterator[tuple[str, float]]:
    """What a node gives, from what it takes."""
    if node.op_type in _UP_TO_ONE:
        yield node.output[0], 1 / LARGEST
    elif node.op_type == "Concat":
        known = [scales.get(name) for name in node.input if name not in constants]
        if known and None not in known and len(known) == len(node.input):
            yield node.output[0], max(scale for scale in known if scale is not None)
    elif node.op_type == "Add" and all(name in scales for name in node.input):
        yield node.output[0], sum(scales[name] for name in node.input)
    elif (node.op_type in _KEEPS_RANGE or _interpolates(node)) and node.input[0] in scales:
        for name in node.output:
            yield name, scales[node.input[0]]


def _backward(
    node: Any, scales: dict[str, float], constants: set[str], users: dict[str, list[Any]]
) -> Iterator[tuple[str, float]]:
    """What a node takes, from what all that read it give."""
    inputs = node.input if node.op_type in ("Add", "Concat") else node.input[:1]
    for name in inputs:
        if name in constants or name in scales:
            continue
        asked = [_asks(user, name, scales, users) for user in users[name]]
        if None not in asked:
            yield name, max(scale for scale in asked if scale is not None)


def _asks(node: Any, name: str, scales: dict[str, float], users: dict[str, list[Any]]) -> float | None:
    """The scale that a reader needs of `name` to give all that its own output's scale can say."""
    if node.op_type in _CUTS_THROUGH or (_interpolates(node) and _mode(node) == b"nearest"):
        return scales.get(node.output[0])
    if node.op_type == "Add":
        other = node.input[1] if node.input[0] == name else node.input[0]
        total, beside = scales.get(node.output[0]), scales.get(other)
        return None if total is None or beside is None else total + beside
    product = _silu(node, name, users)
    given = None if product is None else scales.get(product)
    return None if given is None else _silu_takes(given * LARGEST) / LARGEST


def _silu(node: Any, name: str, users: dict[str, list[Any]]) -> str | None:
    """What `name * sigmoid(name)` is called, where a node is one of its two."""
    gates = [user.output[0] for user in users[name] if user.op_type == "Sigmoid"]
    if len(gates) != 1:
        return None
    products = [user for user in users.get(gates[0], []) if user.op_type == "Mul" and name in user.input]
    if len(products) != 1 or len(users[gates[0]]) != 1 or node.output[0] not in (gates[0], products[0].output[0]):
        return None
    return str(products[0].output[0])


def _silu_takes(largest: float) -> float:
    """The largest input of a SiLU, x * sigmoid(x), of which this is the largest output; by Newton's method."""
    x = largest + 1
    for _ in range(50):
        gate = 1 / (1 + math.exp(-x))
        x -= (x * gate - largest) / (gate * (1 + x * (1 - gate)))
    return x


def _interpolates(node: Any) -> bool:
    """Whether it is a Resize whose values lie between those that it reads; a cubic one goes beyond."""
    return node.op_type in ("Resize", "Upsample") and b"cubic" not in _mode(node)


def _mode(node: Any) -> bytes:
    modes = [attribute.s for attribute in node.attribute if attribute.name == "mode"]
    return bytes(modes[0]) if modes else b"nearest"
