"""What TensorRT accepts in silence and then runs in float, or reads as something else, found in a Q/DQ graph.

The rules are those of TensorRT's explicit quantisation; each was seen with its parser (see `FAULTS`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from onnx import numpy_helper

from engines.onnx_graph import axis_of

_WITH_WEIGHTS = {"Conv": 0, "ConvTranspose": 1, "MatMul": 1, "Gemm": 1}  # operator -> axis of its output channels
_ACTIVATIONS = {"Relu", "Clip", "LeakyRelu", "PRelu"}

FAULTS = {
    "activation-per-channel": "its input has a scale per channel; TensorRT runs it in float",
    "weight-axis": "the scales of its weights lie on another axis than its output channels; TensorRT runs it in float",
    "input-in-float": "its weights are quantised and its input is not; TensorRT runs it in float",
    "weight-in-float": "its input is quantised and its weights are not; TensorRT runs it in float",
    "unsigned": "its input is quantised to unsigned bytes; TensorRT reads signed ones",
    "zero-point": "its input's or its weights' zero point is not 0; TensorRT is symmetric",
    "integer-bias": "its bias is an integer behind a DequantizeLinear; TensorRT refuses it",
    "pair-before-activation": "a pair stands between it and its activation, which are one kernel without it",
    "one-branch-in-float": "one branch of the sum is quantised and the other is not; TensorRT adds in float",
}


@dataclass(frozen=True, slots=True)
class LintFault:
    """One place in a graph. `kind` is a key of `FAULTS`."""

    node: str
    kind: str

    def __str__(self) -> str:
        return f"{self.node}: {FAULTS[self.kind]}"


def lint(proto: Any) -> list[LintFault]:
    """Look through an `onnx.ModelProto`; what is float on purpose (no Q/DQ near it) is no fault."""
    return _Graph(proto).faults()


class _Graph:
    def __init__(self, proto: Any) -> None:
        self.nodes = list(proto.graph.node)
        self.producers = {output: node for node in self.nodes for output in node.output}
        self.constants = {tensor.name: tensor for tensor in proto.graph.initializer}
        for node in self.nodes:
            if node.op_type == "Constant" and node.attribute and node.attribute[0].name == "value":
                self.constants[node.output[0]] = node.attribute[0].t
        self.consumers: dict[str, list[Any]] = {}
        for node in self.nodes:
            for name in node.input:
                self.consumers.setdefault(name, []).append(node)

    def faults(self) -> list[LintFault]:
        found: list[LintFault] = []
        for node in self.nodes:
            name = node.name or node.output[0]
            if node.op_type in ("Conv", "ConvTranspose") or (
                node.op_type in _WITH_WEIGHTS and self._is_constant(node.input[1])
            ):
                kinds = self._of_layer(node)
            elif node.op_type == "Add":
                kinds = self._of_sum(node)
            else:
                continue
            found += [LintFault(name, kind) for kind in kinds]
        return found

    def _of_layer(self, node: Any) -> list[str]:
        data, weight = self._dequantiser(node.input[0]), self._dequantiser(node.input[1])
        bias = self._dequantiser(node.input[2]) if len(node.input) > 2 else None
        kinds: list[str] = []
        if data is None and weight is None:
            return kinds
        if data is None:
            kinds.append("input-in-float")
        elif self._values(data.input[1]).size > 1:
            kinds.append("activation-per-channel")
        if weight is None:
            kinds.append("weight-in-float")
        elif self._values(weight.input[1]).size > 1 and axis_of(weight) != _output_axis(node):
            kinds.append("weight-axis")
        pairs = [pair for pair in (data, weight) if pair is not None and len(pair.input) > 2]
        # Without a zero point the type is that of the operator's default, unsigned.
        if data is not None and (data not in pairs or self._values(data.input[2]).dtype == np.uint8):
            kinds.append("unsigned")
        elif any(self._values(pair.input[2]).any() for pair in pairs):
            kinds.append("zero-point")
        if bias is not None:
            kinds.append("integer-bias")
        if self._is_cut_off_its_activation(node):
            kinds.append("pair-before-activation")
        return kinds

    def _of_sum(self, node: Any) -> list[str]:
        branches = [name for name in node.input if name not in self.constants]
        in_int8 = [self._dequantiser(name) is not None for name in branches]
        return ["one-branch-in-float"] if any(in_int8) and not all(in_int8) else []

    def _is_cut_off_its_activation(self, node: Any) -> bool:
        for quantiser in self.consumers.get(node.output[0], []):
            if quantiser.op_type != "QuantizeLinear":
                continue
            for dequantiser in self.consumers.get(quantiser.output[0], []):
                after = self.consumers.get(dequantiser.output[0], [])
                if any(user.op_type in _ACTIVATIONS for user in after):
                    return True
        return False

    def _is_constant(self, tensor: str) -> bool:
        """Whether a tensor is made of constants; a MatMul may be of two activations."""
        while (node := self.producers.get(tensor)) is not None and node.op_type in (
            "DequantizeLinear",
            "QuantizeLinear",
        ):
            tensor = node.input[0]
        return tensor in self.constants

    def _dequantiser(self, tensor: str) -> Any | None:
        node = self.producers.get(tensor)
        return node if node is not None and node.op_type == "DequantizeLinear" else None

    def _values(self, tensor: str) -> Any:
        constant = self.constants.get(tensor)
        return numpy_helper.to_array(constant) if constant is not None else np.zeros(1, np.float32)


def _output_axis(node: Any) -> int:
    """The axis of its weights along which its output channels lie."""
    is_transposed = any(attribute.name == "transB" and attribute.i for attribute in node.attribute)
    return 0 if is_transposed else _WITH_WEIGHTS[node.op_type]
