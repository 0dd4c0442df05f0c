"""Scales as a DLA takes them up to TensorRT 10: by tensor, beside a network that has no Q/DQ.

A DLA reads no Q/DQ there (NVIDIA/TensorRT#2222): it takes a float network and a range for every tensor, and runs a
layer in INT8 only where its input and its output have one. A Q/DQ network says the ranges of what its layers read;
those between follow from the arithmetic (`derived_ranges.py`) or are not given, and then the layer runs in halves.

Unlike a pair, a range counts for all that read a tensor, also for those that read it in float: such a network is a
little less exact so. NVIDIA's route is the same (Deep-Learning-Accelerator-SW, tools/qdq-translator), with fewer rules.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from engines.onnx_graph import constants_of, dequantised, drop_unread, replace
from engines.plans.derived_ranges import derive


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
    """Take a Q/DQ network apart; `proto` is left as it is. A pair that is not S8 around 0 per tensor gives no scale.

    Raises `ValueError` for a network whose integers are not only weights, or what pairs hand on.
    """
    taken = type(proto)()
    taken.CopyFrom(proto)
    scales = _without_pairs(taken.graph)
    derive(taken.graph, scales)
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
        elif dangling := [name for name in node.input if name in before]:
            raise ValueError(f"{node.op_type} {node.name} reads {dangling[0]} in INT8, and no DequantizeLinear does")
        else:
            nodes.append(node)
    replace(graph.node, nodes)
    drop_unread(graph)
    return {name: scale for name, scale in scales.items() if name not in outputs}  # what is given is read unrounded


def _source(
    graph: Any, node: Any, before: dict[str, Any], constants: dict[str, NDArray[Any]], scales: dict[str, float]
) -> str:
    """What is read in place of a DequantizeLinear's output: a weight in float, or the tensor ahead of the pair."""
    quantise = before.get(node.input[0])
    stored = node.input[0] if quantise is None else quantise.input[0]
    if stored in constants and quantise is not None:
        return str(stored)  # a weight in float already
    if stored in constants:
        if missing := [name for name in node.input[1:] if name not in constants]:
            raise ValueError(f"{missing[0]}, of the weight {stored}, is computed, and has to be a constant")
        name = f"{node.output[0]}/float"
        constants[name] = dequantised(node, constants)
        graph.initializer.append(numpy_helper.from_array(constants[name], name))
        return name
    scale, zero = constants.get(node.input[1]), constants.get(node.input[2]) if len(node.input) > 2 else None
    if scale is not None and scale.size == 1 and zero is not None and zero.dtype == np.int8 and not zero.any():
        # Read in more than one scale, the coarser cuts nothing off.
        scales[stored] = max(float(scale.reshape(-1)[0]), scales.get(stored, 0.0))
    return str(stored)
