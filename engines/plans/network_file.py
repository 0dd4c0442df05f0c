"""The ONNX file as a given TensorRT wants it: weights expanded for 8.x, halves where types bind."""

from __future__ import annotations

from typing import Any

from onnx import helper, numpy_helper

from engines.onnx_graph import axis_of, constants_of, dequantised, drop_unread, replace


def has_scales(proto: Any) -> bool:
    """Whether it is an explicit INT8 network."""
    return any(node.op_type == "DequantizeLinear" for node in proto.graph.node)


def name_nodes(proto: Any) -> None:
    """Name each nameless node after its first output, in place, so that what a builder says of it can be found."""
    for node in proto.graph.node:
        node.name = node.name or node.output[0]


def expand_weights(proto: Any) -> int:
    """Turn each S8 weight behind a DequantizeLinear into float behind Q and DQ, in place; give their number.

    The float is what the DequantizeLinear gave, so that quantising it again gives the same integers.
    """
    constants = {tensor.name: tensor for tensor in proto.graph.initializer}
    values = constants_of(proto.graph)
    nodes: list[Any] = []
    expanded: dict[str, Any] = {}
    for node in proto.graph.node:
        stored = constants.get(node.input[0]) if node.op_type == "DequantizeLinear" else None
        if stored is None or stored.name in expanded:
            nodes.append(node)
            continue
        name = f"{stored.name}/float"
        expanded[stored.name] = numpy_helper.from_array(dequantised(node, values), name)
        attributes: dict[str, Any] = {"axis": axis_of(node)} if node.attribute else {}
        inputs = [name, *node.input[1:]]
        nodes.append(
            helper.make_node("QuantizeLinear", inputs, [f"{stored.name}/again"], f"{node.name}/quantise", **attributes)
        )
        node.input[0] = f"{stored.name}/again"
        nodes.append(node)
    replace(proto.graph.node, nodes)
    proto.graph.initializer.extend(expanded.values())
    drop_unread(proto.graph)
    return len(expanded)


def in_halves(proto: Any) -> Any:
    """The network in float16, its inputs and outputs still float32."""
    from onnxruntime.transformers.float16 import convert_float_to_float16

    return convert_float_to_float16(proto, keep_io_types=True)
