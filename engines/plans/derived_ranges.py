"""Ranges of tensors that follow from those that are known: arithmetic, operator by operator.

- What only moves or bounds values keeps their range, and what goes into it may be cut where what comes out is.
- A sigmoid gives 0 to 1. A SiLU's input reaches as far as its largest output wants, and far enough below zero to end
  within half a step of where it would.
- A term of a sum reaches no further than the sum and the other term together.

No value is cut that the known ranges would not cut, but for a LeakyReLU's far below zero, which come out small; that
costs less than a point of accuracy (docs/decisions.md) and leaves such networks whole.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import helper

from engines.onnx_graph import constants_of, users_of

LARGEST = 127  # steps of a range
_MOVES = {
    "DepthToSpace",
    "Dropout",
    "Flatten",
    "Identity",
    "MaxPool",
    "Relu",
    "Reshape",
    "SpaceToDepth",
    "Squeeze",
    "Transpose",
    "Unsqueeze",
}
_KEEPS_RANGE = _MOVES | {
    "AveragePool",
    "Clip",
    "Gather",
    "GlobalAveragePool",
    "GlobalMaxPool",
    "LeakyRelu",
    "Pad",
    "ReduceMax",
    "ReduceMean",
    "Slice",
    "Split",
}
# Cutting what goes in at a range gives what cutting what comes out does.
_CUTS_THROUGH = _MOVES | {"Clip", "Concat", "LeakyRelu"}
_UP_TO_ONE = {"HardSigmoid", "Sigmoid", "Softmax", "Tanh"}


@dataclass(frozen=True, slots=True)
class _Graph:
    """A float graph: who reads what, what is constant, and the values of one step that are known by now."""

    nodes: tuple[Any, ...]
    users: Mapping[str, list[Any]]
    constants: Mapping[str, NDArray[Any]]
    scales: dict[str, float]


def derive(graph: Any, scales: dict[str, float]) -> None:
    """Add to `scales` (the value of one step, by tensor), in place, until nothing new follows.

    The network's outputs get none: nobody has said how far they go.
    """
    seen = _Graph(tuple(graph.node), users_of(graph), constants_of(graph), scales)
    outputs = {value.name for value in graph.output}
    while True:
        found = {
            name: scale
            for node in seen.nodes
            for name, scale in (*_forward(seen, node), *_backward(seen, node))
            if name not in scales and name not in outputs
        }
        if not found:
            return
        scales.update(found)


def _forward(graph: _Graph, node: Any) -> Iterator[tuple[str, float]]:
    """What a node gives, from what it takes."""
    known = [graph.scales.get(name) for name in node.input]
    if node.op_type in _UP_TO_ONE:
        yield node.output[0], 1 / LARGEST
    elif node.op_type in ("Add", "Concat"):
        whole = [scale for scale in known if scale is not None]
        if len(whole) == len(known):
            yield node.output[0], sum(whole) if node.op_type == "Add" else max(whole)
    elif known and known[0] is not None and _keeps_range(graph, node):
        for name in node.output:
            yield name, known[0]


def _backward(graph: _Graph, node: Any) -> Iterator[tuple[str, float]]:
    """What a node takes, from what all that read it give."""
    inputs = node.input if node.op_type in ("Add", "Concat") else node.input[:1]
    for name in inputs:
        if name in graph.constants or name in graph.scales:
            continue
        asked = [_asks(graph, user, name) for user in graph.users[name]]
        if None not in asked:
            yield name, max(scale for scale in asked if scale is not None)


def _asks(graph: _Graph, node: Any, name: str) -> float | None:
    """The scale that a reader needs of `name` to give all that its own output's scale can say."""
    if node.op_type in _CUTS_THROUGH or (_interpolates(node) and _attribute(node, "mode", b"nearest") == b"nearest"):
        return graph.scales.get(node.output[0])
    if node.op_type == "Add":
        other = node.input[1] if node.input[0] == name else node.input[0]
        total, beside = graph.scales.get(node.output[0]), graph.scales.get(other)
        return None if total is None or beside is None else total + beside
    product = _silu(graph, node, name)
    given = None if product is None else graph.scales.get(product)
    return None if given is None else silu_takes(given * LARGEST) / LARGEST


def _keeps_range(graph: _Graph, node: Any) -> bool:
    """Whether what comes out lies within the range of what goes in, which has zero in it."""
    if node.op_type == "Clip":  # its limits were attributes until opset 11
        least = _constant(graph, node, 1, _attribute(node, "min", -math.inf))
        return least <= 0 <= _constant(graph, node, 2, _attribute(node, "max", math.inf))
    if node.op_type == "Pad":
        return bool(_attribute(node, "mode", b"constant") != b"constant") or _constant(graph, node, 2, 0.0) == 0
    if node.op_type == "LeakyRelu":
        return abs(float(_attribute(node, "alpha", 0.01))) <= 1
    return node.op_type in _KEEPS_RANGE or _interpolates(node)


def _constant(graph: _Graph, node: Any, position: int, absent: float) -> float:
    """An input of one number; NaN, which compares with nothing, where it is computed."""
    name = node.input[position] if position < len(node.input) else ""
    return float(np.max(graph.constants.get(name, np.nan))) if name else absent


def _silu(graph: _Graph, node: Any, name: str) -> str | None:
    """What `name * sigmoid(name)` is called, where a node is one of its two."""
    gates = [user.output[0] for user in graph.users[name] if user.op_type == "Sigmoid"]
    if len(gates) != 1:
        return None
    readers = graph.users.get(gates[0], [])
    if len(readers) != 1 or readers[0].op_type != "Mul" or name not in readers[0].input:
        return None
    product = str(readers[0].output[0])
    return product if node.output[0] in (gates[0], product) else None


def silu_takes(largest: float) -> float:
    """How far, to either side, the input of a SiLU, x * sigmoid(x), has to reach for outputs up to `largest`."""
    half_a_step = largest / LARGEST / 2
    below = _solved(lambda x: half_a_step + _silu_of(-x), 2.0, 1e3)  # from its lowest, -0.28 at -1.28, it only rises
    above = _solved(lambda x: _silu_of(x) - largest, 0.0, largest + 2)
    return max(above, below if _silu_of(-2.0) < -half_a_step else 2.0)


def _silu_of(x: float) -> float:
    return x / (1 + math.exp(-x)) if x > -700 else 0.0


def _solved(rising: Any, low: float, high: float) -> float:
    """Where a rising function comes to zero, by halves."""
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if rising(middle) < 0 else (low, middle)
    return high


def _interpolates(node: Any) -> bool:
    """Whether it is a Resize whose values lie between those that it reads; a cubic one goes beyond, a crop beside."""
    is_between = _attribute(node, "mode", b"nearest") != b"cubic"
    crops = _attribute(node, "coordinate_transformation_mode", b"") == b"tf_crop_and_resize"
    return node.op_type in ("Resize", "Upsample") and is_between and not crops


def _attribute(node: Any, name: str, default: Any) -> Any:
    found = [helper.get_attribute_value(attribute) for attribute in node.attribute if attribute.name == name]
    return found[0] if found else default
