"""An ONNX graph taken apart and put together again: what every rewriting of Q/DQ needs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import helper, numpy_helper


def constants_of(graph: Any) -> dict[str, NDArray[Any]]:
    """Initialisers and Constant nodes by their tensor's name."""
    found = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type != "Constant" or not node.attribute:
            continue
        value = helper.get_attribute_value(node.attribute[0])
        match node.attribute[0].name:
            case "value":
                found[node.output[0]] = numpy_helper.to_array(value)
            case "value_float" | "value_floats":
                found[node.output[0]] = np.array(value, np.float32)
            case "value_int" | "value_ints":
                found[node.output[0]] = np.array(value, np.int64)
    return found


def users_of(graph: Any) -> dict[str, list[Any]]:
    """The nodes that read each tensor, each once."""
    users: dict[str, list[Any]] = {}
    for node in graph.node:
        for name in dict.fromkeys(node.input):
            users.setdefault(name, []).append(node)
    return users


def axis_of(node: Any) -> int:
    """Of a QuantizeLinear or DequantizeLinear with a scale for each channel; 1 where it does not say."""
    axes = [helper.get_attribute_value(attribute) for attribute in node.attribute if attribute.name == "axis"]
    return int(axes[0]) if axes else 1


def dequantised(node: Any, constants: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
    """What a DequantizeLinear of a constant gives: the difference in integers, then one product in float32."""
    values, scale = constants[node.input[0]], constants[node.input[1]]
    zero = constants[node.input[2]] if len(node.input) > 2 else np.zeros_like(scale, values.dtype)
    shape = [1] * values.ndim
    if scale.size > 1:
        shape[axis_of(node)] = -1
    exact = (values.astype(np.int32) - zero.astype(np.int32).reshape(shape)).astype(np.float32)
    floats: NDArray[np.float32] = exact * scale.astype(np.float32).reshape(shape)
    return floats


def replace(field: Any, entries: Iterable[Any]) -> None:
    """Replace a repeated field of a message: protobuf's entries live in their message, so they are copied first."""
    copies = [type(entry).FromString(entry.SerializeToString()) for entry in entries]
    del field[:]
    field.extend(copies)


def drop_unread(graph: Any) -> None:
    """Forget initialisers that no node reads, and what is said of tensors that no node makes.

    Initialisers are no inputs either, as files of old have them.
    """
    stored = {tensor.name for tensor in graph.initializer}
    replace(graph.input, [value for value in graph.input if value.name not in stored])
    read = {name for node in graph.node for name in node.input}
    replace(graph.initializer, [tensor for tensor in graph.initializer if tensor.name in read])
    made = {name for node in graph.node for name in node.output}
    replace(graph.value_info, [value for value in graph.value_info if value.name in made])
