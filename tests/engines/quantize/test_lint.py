"""Each silent fault, built on purpose, is named; what is right is not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from drawn_networks import residual
from onnx import helper, numpy_helper
from test_placement import in_int8

from engines.quantize.lint import FAULTS, lint


def node_named(proto: Any, name: str) -> Any:
    return next(node for node in proto.graph.node if node.name == name)


def store(proto: Any, name: str, values: Any) -> str:
    for tensor in list(proto.graph.initializer):
        if tensor.name == name:
            proto.graph.initializer.remove(tensor)
    proto.graph.initializer.append(numpy_helper.from_array(np.asarray(values), name))
    return name


def per_channel_input(proto: Any) -> None:
    scale = store(proto, "many", np.full(4, 0.1, np.float32))
    for kind in ("quantise", "dequantise"):
        node_named(proto, f"one_relu/{kind}").input[1] = scale


def other_axis(proto: Any) -> None:
    pair = node_named(proto, "two.w/axis0/dequantise")
    del pair.attribute[:]
    pair.attribute.append(helper.make_attribute("axis", 1))


def input_in_float(proto: Any) -> None:
    node_named(proto, "head").input[0] = "mixed"


def weight_in_float(proto: Any) -> None:
    node_named(proto, "head").input[1] = "head.w"
    store(proto, "head.w", np.ones((2, 4, 1, 1), np.float32))


def unsigned(proto: Any) -> None:
    zero = store(proto, "unsigned_zero", np.array(0, np.uint8))
    for kind in ("quantise", "dequantise"):
        node_named(proto, f"one_relu/{kind}").input[2] = zero


def zero_point(proto: Any) -> None:
    zero = store(proto, "seven", np.array(7, np.int8))
    for kind in ("quantise", "dequantise"):
        node_named(proto, f"one_relu/{kind}").input[2] = zero


def integer_bias(proto: Any) -> None:
    names = [store(proto, "b", np.zeros(4, np.int32)), store(proto, "bs", np.full(4, 0.1, np.float32))]
    proto.graph.node.insert(0, helper.make_node("DequantizeLinear", names, ["bias"], axis=0))
    node_named(proto, "two").input[2] = "bias"


def pair_before_relu(proto: Any) -> None:
    names = [store(proto, "s", np.float32(0.1)), "int8_zero"]
    place = next(index for index, node in enumerate(proto.graph.node) if node.name == "one_relu")
    proto.graph.node.insert(place, helper.make_node("QuantizeLinear", ["one", *names], ["one_q"]))
    proto.graph.node.insert(place + 1, helper.make_node("DequantizeLinear", ["one_q", *names], ["one_dq"]))
    node_named(proto, "one_relu").input[0] = "one_dq"


def branch_in_float(proto: Any) -> None:
    node_named(proto, "sum").input[1] = "two"


BREAKAGES: dict[str, tuple[Callable[[Any], None], str]] = {
    "activation-per-channel": (per_channel_input, "two"),
    "weight-axis": (other_axis, "two"),
    "input-in-float": (input_in_float, "head"),
    "weight-in-float": (weight_in_float, "head"),
    "unsigned": (unsigned, "two"),
    "zero-point": (zero_point, "two"),
    "integer-bias": (integer_bias, "two"),
    "pair-before-activation": (pair_before_relu, "one"),
    "one-branch-in-float": (branch_in_float, "sum"),
}


@pytest.mark.parametrize("kind", FAULTS)
def test_a_fault_is_named_with_its_node_and_nothing_else_is(kind: str) -> None:
    proto = in_int8(residual())
    breakage, node = BREAKAGES[kind]
    breakage(proto)
    assert [(fault.node, fault.kind) for fault in lint(proto)] == [(node, kind)]
    assert str(lint(proto)[0]).startswith(f"{node}: ")


def test_a_pair_without_a_zero_point_is_unsigned() -> None:
    """ONNX's QuantizeLinear gives uint8 where nothing says otherwise."""
    proto = in_int8(residual())
    for kind in ("quantise", "dequantise"):
        del node_named(proto, f"one_relu/{kind}").input[2]
    assert [(fault.node, fault.kind) for fault in lint(proto)] == [("two", "unsigned")]


@pytest.mark.parametrize(("op", "attributes", "axis"), [("MatMul", {}, 1), ("Gemm", {}, 1), ("Gemm", {"transB": 1}, 0)])
def test_a_fully_connected_layer_has_its_outputs_on_another_axis(
    op: str, attributes: dict[str, int], axis: int
) -> None:
    for scales_on in (0, 1):
        weights = [
            numpy_helper.from_array(np.ones((4, 4), np.int8), "w"),
            numpy_helper.from_array(np.full(4, 0.1, np.float32), "ws"),
            numpy_helper.from_array(np.float32(0.1), "s"),
            numpy_helper.from_array(np.int8(0), "zero"),
        ]
        nodes = [
            helper.make_node("QuantizeLinear", ["x", "s", "zero"], ["xq"]),
            helper.make_node("DequantizeLinear", ["xq", "s", "zero"], ["xd"]),
            helper.make_node("DequantizeLinear", ["w", "ws"], ["wd"], axis=scales_on),
            helper.make_node(op, ["xd", "wd"], ["y"], **attributes),
        ]
        ends = [helper.make_tensor_value_info(name, 1, [1, 4]) for name in ("x", "y")]
        proto = helper.make_model(helper.make_graph(nodes, "layer", ends[:1], ends[1:], weights))
        assert [fault.kind for fault in lint(proto)] == ([] if scales_on == axis else ["weight-axis"])


def test_a_float_network_has_no_fault() -> None:
    assert lint(residual().proto) == []
