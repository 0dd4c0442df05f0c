"""The operators of ONNX that our exported networks consist of, in torch. Batches may be of any size."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional

from engines.errors import TrainingError

Attributes: TypeAlias = Mapping[str, Any]
Operator: TypeAlias = Callable[[Sequence[Any], Attributes], Tensor]  # inputs (None where left away) -> the output


def apply(kind: str, inputs: Sequence[Any], attributes: Attributes) -> Tensor:
    """Compute a node. Raises `TrainingError` for an operator that is not known here."""
    if kind not in OPERATORS:
        raise TrainingError("--qat", f"the network has a node {kind}", f"known are {', '.join(sorted(OPERATORS))}")
    return OPERATORS[kind](inputs, attributes)


def _conv(inputs: Sequence[Any], attributes: Attributes) -> Tensor:
    image, weight, bias = (*inputs, None)[:3]
    return functional.conv2d(
        image, weight, bias, attributes["strides"], _padding(attributes), attributes["dilations"], attributes["group"]
    )


def _max_pool(inputs: Sequence[Any], attributes: Attributes) -> Tensor:
    kernel, strides = attributes["kernel_shape"], attributes["strides"]
    return functional.max_pool2d(inputs[0], kernel, strides, _padding(attributes))


def _padding(attributes: Attributes) -> list[int]:
    top, left, bottom, right = attributes["pads"]
    if (top, left) != (bottom, right):
        raise TrainingError("--qat", "the network pads more on one side than on the other", "pad both alike")
    return [top, left]


def _resize(inputs: Sequence[Any], attributes: Attributes) -> Tensor:
    factors = [float(factor) for factor in inputs[2]]
    if attributes["mode"] != b"nearest" or factors[2] != factors[3] or not factors[2].is_integer():
        raise TrainingError("--qat", "the network resizes by another way than whole factors", "use Upsample(2)")
    return functional.interpolate(inputs[0], scale_factor=factors[2], mode="nearest")


def _slice(inputs: Sequence[Any], _attributes: Attributes) -> Tensor:
    value, starts, ends, axes, steps = inputs
    for start, end, axis, step in zip(*(part.tolist() for part in (starts, ends, axes, steps)), strict=True):
        where = [slice(None)] * value.ndim
        where[axis] = slice(start, end, step)
        value = value[tuple(where)]
    return torch.as_tensor(value)


OPERATORS: dict[str, Operator] = {
    "Add": lambda inputs, _: torch.add(inputs[0], inputs[1]),
    "Concat": lambda inputs, attributes: torch.cat(list(inputs), attributes["axis"]),
    "Conv": _conv,
    "Exp": lambda inputs, _: torch.exp(inputs[0]),
    "MaxPool": _max_pool,
    "Mul": lambda inputs, _: torch.mul(inputs[0], inputs[1]),
    "Relu": lambda inputs, _: torch.relu(inputs[0]),
    "Reshape": lambda inputs, _: torch.reshape(inputs[0], inputs[1].tolist()),
    "Resize": _resize,
    "Sigmoid": lambda inputs, _: torch.sigmoid(inputs[0]),
    "Slice": _slice,
}
