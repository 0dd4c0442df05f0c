"""Where Q/DQ pairs go: TensorRT's rules, and the values that come of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from drawn_networks import SHAPE, Drawing, an_image, concatenated, residual, run
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import numpy_helper

from engines.quantize.float_network import FloatNetwork, prepare
from engines.quantize.lint import lint
from engines.quantize.placement import place, quantised
from engines.quantize.ranges import measure_ranges


def in_int8(network: FloatNetwork, left_in_float: tuple[str, ...] = (), weight_bits: int = 8) -> Any:
    placement = place(network, left_in_float)
    ranges = measure_ranges(network, placement.tensors, lambda: [an_image(seed) for seed in range(4)], 1)
    scales = {tensor: ranges.scale(tensor, "minmax") for tensor in placement.tensors}
    proto = quantised(network, placement, scales, weight_bits)
    onnx.checker.check_model(proto, full_check=True)
    return proto


def reads(proto: Any, node: str) -> list[str]:
    return list(next(one for one in proto.graph.node if one.name == node).input)


NETWORKS = {
    "residual": residual,
    "ReLU concat": lambda: concatenated("Relu"),
    "SiLU concat": lambda: concatenated("Silu"),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_the_answer_is_nearly_the_float_one(name: str) -> None:
    network = NETWORKS[name]()
    right, found = run(network.proto, an_image()), run(in_int8(network), an_image())
    error = np.linalg.norm(found - right) / np.linalg.norm(right)
    assert 1e-4 < error < 0.03  # quantised at all, and well


@pytest.mark.parametrize("name", NETWORKS)
def test_nothing_that_tensorrt_would_run_in_float_or_refuse(name: str) -> None:
    assert lint(in_int8(NETWORKS[name]())) == []


def test_no_pair_between_a_layer_and_its_relu() -> None:
    proto = in_int8(residual())
    makers = {output: node.op_type for node in proto.graph.node for output in node.output}
    relus = [node for node in proto.graph.node if node.op_type == "Relu"]
    assert {makers[node.input[0]] for node in relus} == {"Conv", "Add"}


def test_both_branches_of_a_sum_that_goes_on_in_int8_have_a_pair() -> None:
    proto = in_int8(residual())
    assert reads(proto, "sum") == ["stem_relu/dequantised", "two/dequantised"]
    assert reads(proto, "mixed") == ["sum_relu/dequantised", "enlarged/dequantised"]


def test_what_only_moves_values_keeps_their_scale() -> None:
    groups = place(residual()).groups
    assert ("enlarged", "deep_relu") in [tuple(sorted(group, reverse=True)) for group in groups]
    assert {"pooled", "sum_relu"} in [set(group) for group in groups]


def test_a_concat_of_int8_branches_has_one_scale_and_of_float_ones_only_its_own() -> None:
    assert {"left_act", "right_act", "joined"} in [set(group) for group in place(concatenated("Relu")).groups]
    silu = concatenated("Silu")
    assert set(place(silu).tensors) == {"image", "joined"}
    assert reads(in_int8(silu), "joined") == ["left_act", "right_act"]


def test_a_layer_that_stays_in_float_reads_float_and_keeps_its_weights() -> None:
    network = residual()
    proto = in_int8(network, ("deep", "head"))
    assert reads(proto, "deep") == ["pooled", "deep.w", "deep.b"]
    assert reads(proto, "head") == ["mixed", "head.w", "head.b"]
    assert not {"mixed", "enlarged"} & set(place(network, ("deep", "head")).tensors)
    everything = tuple(layer.name for layer in network.layers)
    np.testing.assert_array_equal(run(in_int8(network, everything), an_image()), run(network.proto, an_image()))


@settings(max_examples=25, deadline=None)
@given(st.sampled_from([7, 8]), st.integers(0, 99))
def test_weights_are_signed_symmetric_and_within_their_bits(bits: int, seed: int) -> None:
    draw = Drawing(seed)
    network = draw.network(draw.conv("only", "image", (3, 5)))
    proto = in_int8(network, weight_bits=bits)
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}
    levels = stored["only.w/axis0/int8"]
    assert levels.dtype == np.int8
    largest = {7: 63, 8: 127}[bits]
    assert np.abs(levels.astype(int)).max(axis=(1, 2, 3)).tolist() == [largest] * 5  # each channel uses its whole range
    scales = stored["only.w/axis0/scale"][:, None, None, None]
    assert np.abs(levels * scales - network.weights["only.w"]).max() <= scales.max() / 2 * 1.001
    assert not stored["only.w/axis0/zero"].any()


def test_a_channel_of_zeros_stays_zero() -> None:
    draw = Drawing()
    draw.conv("only", "image", (3, 4))
    network = draw.network("only")
    weight = next(tensor for tensor in network.proto.graph.initializer if tensor.name == "only.w")
    values = numpy_helper.to_array(weight).copy()
    values[2] = 0
    weight.CopyFrom(numpy_helper.from_array(values, "only.w"))
    found = run(in_int8(FloatNetwork(network.proto)), an_image())
    assert np.isfinite(found).all()
    assert np.ptp(found[0, 2]) == 0  # its bias alone


def test_a_transposed_convolution_has_scales_along_its_output_channels() -> None:
    draw = Drawing()
    draw.constant("up.w", np.random.default_rng(0).normal(size=(3, 5, 2, 2)).astype(np.float32))
    network = draw.network(draw.node("ConvTranspose", "up", "image", "up.w", strides=[2, 2]))
    proto = in_int8(network)
    assert lint(proto) == []
    scale = next(tensor for tensor in proto.graph.initializer if tensor.name == "up.w/axis1/scale")
    assert scale.dims == [5]
    right = run(network.proto, an_image())
    assert np.linalg.norm(run(proto, an_image()) - right) / np.linalg.norm(right) < 0.02


def resized() -> Any:
    """A network of free size whose nearest Resize reads its size from a shape, as PyTorch exports F.interpolate."""
    drawing = Drawing()
    one = drawing.node("Relu", "one_relu", drawing.conv("one", "image", (3, 4)))
    sizes = drawing.node("Shape", "shape", one)
    empty = drawing.constant("none", np.zeros(0, np.float32))
    large = drawing.node("Resize", "large", one, "", empty, sizes, mode="nearest")
    proto = drawing.proto(drawing.conv("two", large, (4, 2)))
    del proto.graph.value_info[:]
    for value in (*proto.graph.input, *proto.graph.output):
        for axis in list(value.type.tensor_type.shape.dim):
            axis.Clear()
    return proto


def test_whole_numbers_that_a_node_reads_get_no_pair(tmp_path: Path) -> None:
    proto = resized()
    onnx.save(proto, tmp_path / "model.onnx")
    network = prepare(tmp_path / "model.onnx")
    assert not any("shape" in tensor for tensor in place(network).tensors)
    assert np.isfinite(run(in_int8(network), an_image())).all()


def test_a_free_size_is_that_of_the_bundle(tmp_path: Path) -> None:
    onnx.save(resized(), tmp_path / "model.onnx")
    layers = prepare(tmp_path / "model.onnx", SHAPE).layers
    assert [layer.multiplications for layer in layers] == [
        4 * 3 * 9 * SHAPE[2] * SHAPE[3],
        2 * 4 * 9 * SHAPE[2] * SHAPE[3],
    ]
