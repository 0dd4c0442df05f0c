"""Scales of every tensor, derived from those of a Q/DQ network: they cut off nothing that its own do not."""

from __future__ import annotations

import shutil
import struct
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from drawn_networks import Drawing, an_image, concatenated, residual, run
from hypothesis import given
from hypothesis import strategies as st
from int8_networks import STEP, network
from onnx import helper, numpy_helper
from simulated_dla import in_int8, simulated

from engines.bundle import load_bundle
from engines.datasets import open_dataset
from engines.evaluate import evaluate
from engines.plans.derived_ranges import LARGEST, derive, silu_takes
from engines.plans.implicit_scales import ImplicitNetwork, implicit
from engines.quantize.placement import place, quantised
from engines.quantize.ranges import measure_ranges

ROAD = Path(__file__).parents[3] / "engines" / "bundles" / "road"


def drawn(name: str) -> Any:
    """A drawn network in INT8."""
    float_network = residual() if name == "residual" else concatenated(name)
    placement = place(float_network)
    ranges = measure_ranges(float_network, placement.tensors, lambda: [an_image(seed) for seed in range(4)], 1)
    scales = {tensor: ranges.scale(tensor, "minmax") for tensor in placement.tensors}
    return quantised(float_network, placement, scales)


@pytest.mark.parametrize("name", ["residual", "Relu", "Silu"])
def test_what_a_dla_computes_is_nearly_what_the_file_says(name: str) -> None:
    explicit = drawn(name)
    found = implicit(explicit)
    onnx.checker.check_model(found.proto, full_check=True)
    assert not any("Quantize" in node.op_type for node in found.proto.graph.node)
    convolutions = {node.name for node in explicit.graph.node if node.op_type == "Conv"}
    assert convolutions - set(in_int8(found)) == {"head"}, "its output is the network's: nothing says how far it goes"
    right, as_float = run(explicit, an_image()), run(found.proto, an_image())
    rounding = np.linalg.norm(right - as_float) / np.linalg.norm(as_float)
    assert 0 < rounding < 0.05
    error = np.linalg.norm(run(simulated(found), an_image()) - as_float) / np.linalg.norm(as_float)
    assert error < max(2.5 * rounding, 0.02)


def test_the_network_that_it_was_taken_from_stays_as_it_is() -> None:
    explicit = network()
    before = explicit.SerializeToString()
    implicit(explicit)
    assert explicit.SerializeToString() == before


def test_weights_are_the_floats_that_they_were_read_as() -> None:
    explicit = network()
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in explicit.graph.initializer}
    found = {tensor.name: numpy_helper.to_array(tensor) for tensor in implicit(explicit).proto.graph.initializer}
    scale = stored["first.w/s"].reshape(-1, 1, 1, 1)
    np.testing.assert_array_equal(found["first.w/float"], stored["first.w/int8"].astype(np.float32) * scale)
    assert not any(value.dtype == np.int8 for value in found.values())


@pytest.mark.parametrize(
    ("fault", "has_one"), [("", True), ("unsigned", False), ("activation-per-channel", False), ("weights-only", False)]
)
def test_only_a_pair_around_zero_for_the_whole_tensor_is_a_range(fault: str, has_one: bool) -> None:
    found = implicit(network(fault))
    assert found.scales["image"] == pytest.approx(STEP)
    assert ("first_relu" in found.scales) is has_one
    assert in_int8(found) == (["first"] if has_one else [])


def test_a_tensor_read_in_two_scales_keeps_the_coarser() -> None:
    found = implicit(network("after-unequal-concat"))
    assert found.scales["first_relu"] == pytest.approx(STEP)
    assert found.scales["aside_relu"] == pytest.approx(0.2)
    assert found.scales["both"] == pytest.approx(0.2), "of what is joined the largest"
    draw = Drawing()
    for number, scale in enumerate((0.1, 0.3)):
        draw.constant(f"s{number}", np.float32(scale))
        draw.constant(f"z{number}", np.int8(0))
        draw.node("QuantizeLinear", f"q{number}", "image", f"s{number}", f"z{number}")
        draw.node("DequantizeLinear", f"d{number}", f"q{number}", f"s{number}", f"z{number}")
    assert implicit(draw.proto(draw.node("Add", "sum", "d0", "d1"))).scales["image"] == pytest.approx(0.3)


def test_a_pair_on_the_networks_output_leaves_its_name() -> None:
    draw = Drawing()
    draw.constant("s", np.float32(0.1))
    draw.constant("z", np.int8(0))
    draw.node("QuantizeLinear", "q", draw.conv("head", "image", (3, 4)), "s", "z")
    explicit = draw.proto(draw.node("DequantizeLinear", "answer", "q", "s", "z"))
    found = implicit(explicit)
    assert [value.name for value in found.proto.graph.output] == ["answer"]
    assert found.scales == {"head": pytest.approx(0.1)}
    assert run(found.proto, an_image()).shape == (1, 4, 8, 8)


def clipped(proto: Any, scales: dict[str, float]) -> Any:
    """The network with each of these tensors cut off where its range ends."""
    cut = onnx.ModelProto()
    cut.CopyFrom(proto)
    nodes, behind = [], {}

    def clip(name: str) -> None:
        if name in scales:
            for side, sign in (("low", -1), ("high", 1)):
                limit = np.float32(sign * scales[name] * LARGEST)
                cut.graph.initializer.append(numpy_helper.from_array(np.array(limit), f"{name}//{side}"))
            nodes.append(helper.make_node("Clip", [name, f"{name}//low", f"{name}//high"], [f"{name}//cut"]))
            behind[name] = f"{name}//cut"

    clip("image")
    for node in proto.graph.node:
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        for position, name in enumerate(node.input):
            copy.input[position] = behind.get(name, name)
        nodes.append(copy)
        for name in node.output:
            clip(name)
    del cut.graph.node[:]
    cut.graph.node.extend(nodes)
    return cut


GIVEN = ("image", "stem_relu", "pooled", "joined", "gated", "bounded")


def one_of_each() -> tuple[Any, tuple[str, ...]]:
    """Every exact rule, one behind the other; and the tensors whose ranges are given."""
    draw = Drawing(3)
    stem = draw.node("Relu", "stem_relu", draw.conv("stem", "image", (3, 4)))
    pooled = draw.node("MaxPool", "pooled", draw.conv("before_pool", stem, (4, 4)), kernel_shape=[2, 2], strides=[2, 2])
    draw.constant("twice", np.float32([1, 1, 2, 2]))
    big = draw.node("Resize", "big", pooled, "", "twice", mode="nearest")
    smooth = draw.node("Resize", "smooth", pooled, "", "twice", mode="linear")
    total = draw.node("Add", "sum", big, draw.conv("other_term", stem, (4, 4)))
    joined = draw.node("Concat", "joined", draw.conv("left", stem, (4, 4)), total, smooth, axis=1)
    turned = draw.node("Transpose", "turned", joined, perm=[0, 1, 3, 2])
    mean = draw.node("GlobalAveragePool", "mean", turned)
    gate = draw.node("Sigmoid", "gate", draw.conv("gate_in", mean, (12, 12), kernel=1))
    gated = draw.node("Mul", "gated", turned, gate)
    draw.constant("low", np.float32(-0.5))
    draw.constant("high", np.float32(6))
    bounded = draw.node("Clip", "bounded", draw.conv("before_clip", gated, (12, 4), kernel=1), "low", "high")
    draw.constant("pads", np.int64([0, 0, 1, 1, 0, 0, 1, 1]))
    padded = draw.node("Pad", "padded", bounded, "pads")
    return draw.proto(draw.conv("head", padded, (4, 2), kernel=1)), GIVEN


@given(
    seed=st.integers(0, 1000), shares=st.lists(st.floats(0.2, 1.5), min_size=6, max_size=6), loud=st.floats(0.1, 20.0)
)
def test_derived_ranges_cut_off_nothing_that_the_given_ones_do_not(seed: int, shares: list[float], loud: float) -> None:
    proto, given_names = one_of_each()
    given_scales = {name: share * 3 / LARGEST for name, share in zip(given_names, shares, strict=True)}
    scales = dict(given_scales)
    derive(proto.graph, scales)
    derived = set(scales) - set(given_names)
    first = {"stem", "before_pool", "big", "smooth", "left", "sum", "other_term", "turned", "mean", "gate"}
    assert derived == {*first, "before_clip", "padded"}
    image = an_image(seed) * np.float32(loud)
    right = run(clipped(proto, given_scales), image)
    np.testing.assert_allclose(run(clipped(proto, scales), image), right, rtol=1e-5, atol=1e-5)


@given(largest=st.floats(0.05, 50.0), seed=st.integers(0, 1000), loud=st.floats(0.1, 40.0))
def test_what_a_silu_takes_cuts_less_than_half_a_step_of_what_it_gives(largest: float, seed: int, loud: float) -> None:
    draw = Drawing(1)
    stem = draw.conv("stem", "image", (3, 4))
    draw.node("Mul", "act", stem, draw.node("Sigmoid", "gate", stem))
    proto = draw.proto(draw.node("Neg", "answer", "act"))
    given_scales = {"act": largest / LARGEST}
    scales = dict(given_scales)
    derive(proto.graph, scales)
    image = an_image(seed) * np.float32(loud)
    cut = np.abs(run(clipped(proto, scales), image) - run(clipped(proto, given_scales), image)).max()
    assert cut <= largest / LARGEST / 2 * 1.001


@given(st.floats(1e-3, 1e4))
def test_a_silus_input_reaches_its_largest_output_and_ends_within_half_a_step_below(largest: float) -> None:
    taken = silu_takes(largest)
    above, below = taken / (1 + np.exp(-taken)), -taken / (1 + np.exp(min(taken, 700.0)))
    half_a_step = largest / LARGEST / 2
    assert above >= largest * (1 - 1e-6)
    assert below >= -half_a_step * (1 + 1e-6) or -below < 0.28 < half_a_step
    if largest > 6:  # below zero nothing more is wanted
        assert above == pytest.approx(largest, rel=1e-6)


def test_what_is_read_by_two_goes_as_far_as_either_needs() -> None:
    draw = Drawing()
    stem = draw.conv("stem", "image", (3, 4))
    left, right = draw.node("Relu", "left", stem), draw.node("MaxPool", "right", stem, kernel_shape=[1, 1])
    scales = {"left": 0.1, "right": 0.3}
    derive(draw.proto(draw.node("Add", "sum", left, right)).graph, scales)
    assert scales["stem"] == 0.3


@pytest.mark.parametrize(
    ("operator", "attributes"),
    [("Softplus", {}), ("AveragePool", {"kernel_shape": [1, 1]}), ("Resize", {"mode": "linear"})],
)
def test_what_is_read_by_a_layer_that_wants_all_of_it_has_no_range(operator: str, attributes: dict[str, Any]) -> None:
    draw = Drawing()
    stem = draw.conv("stem", "image", (3, 4))
    draw.constant("same", np.float32([1, 1, 1, 1]))
    more = ["", "same"] if operator == "Resize" else []
    left, right = draw.node("Relu", "left", stem), draw.node(operator, "right", stem, *more, **attributes)
    scales = {"image": 0.1, "left": 0.1, "right": 0.1}
    derive(draw.proto(draw.node("Add", "sum", left, right)).graph, scales)
    assert "stem" not in scales


def test_a_silu_takes_more_than_it_gives_and_a_gate_for_two_is_none() -> None:
    draw = Drawing()
    stem = draw.conv("stem", "image", (3, 4))
    gate = draw.node("Sigmoid", "gate", stem)
    draw.node("Mul", "act", stem, gate)
    scales = {"act": 2 / LARGEST}
    proto = draw.proto(draw.node("Neg", "answer", "act"))
    derive(proto.graph, scales)
    assert scales["stem"] * LARGEST == pytest.approx(silu_takes(2))
    assert scales["gate"] == 1 / LARGEST
    scales = {"act": 2 / LARGEST}
    derive(draw.proto("answer", draw.node("Neg", "other", gate)).graph, scales)
    assert "stem" not in scales


@pytest.mark.parametrize(
    ("operator", "more", "attributes"),
    [
        ("Clip", (3.0, 9.0), {}),
        ("Pad", (114.0,), {}),
        ("LeakyRelu", (), {"alpha": 3.0}),
        ("Resize", (), {"mode": "linear", "coordinate_transformation_mode": "tf_crop_and_resize"}),
        ("Resize", (), {"mode": "cubic"}),
    ],
)
def test_what_may_give_more_than_it_takes_has_no_range_of_its_inputs(
    operator: str, more: tuple[float, ...], attributes: dict[str, Any]
) -> None:
    draw = Drawing()
    constants = [draw.constant(f"c{number}", np.float32(value)) for number, value in enumerate(more)]
    if operator == "Pad":
        constants.insert(0, draw.constant("pads", np.int64([0, 0, 1, 1, 0, 0, 1, 1])))
    if operator == "Resize":
        region, same = np.float32([0, 0, 0, 0, 1, 1, 1, 1]), np.float32([1] * 4)
        constants = [draw.constant("roi", region), draw.constant("same", same)]
    made = draw.node(operator, "made", "image", *constants, **attributes)
    scales = {"image": 0.01}
    derive(draw.proto(draw.node("Neg", "answer", made)).graph, scales)
    assert "made" not in scales


def test_graphs_of_other_exporters_are_taken_apart_too() -> None:
    draw = Drawing()
    draw.constant("w", np.full((4, 3, 1, 1), 10, np.int8))
    draw.constant("z", np.int8(0))
    for name, scale in (("s1", 0.1), ("s2", 0.5)):  # of a Constant, and one weight in two scales
        draw._nodes.append(helper.make_node("Constant", [], [name], value_float=scale))
        draw.node("DequantizeLinear", f"w_{name}", "w", name, "z")
        draw.node("Conv", f"conv_{name}", "image", f"w_{name}")
    explicit = draw.proto(draw.node("Add", "sum", "conv_s1", "conv_s2"))
    stored = explicit.graph.initializer[0]
    explicit.graph.input.append(helper.make_tensor_value_info(stored.name, stored.data_type, stored.dims))
    found = implicit(explicit).proto
    onnx.checker.check_model(found, full_check=True)
    assert [value.name for value in found.graph.input] == ["image"]
    np.testing.assert_allclose(run(found, an_image()), run(explicit, an_image()), rtol=1e-5)


def test_integers_that_are_more_than_what_pairs_hand_on_are_refused() -> None:
    draw = Drawing()
    draw.constant("s", np.float32(0.1))
    draw.constant("z", np.int8(0))
    draw.node("QuantizeLinear", "q", "image", "s", "z")
    draw.node("MaxPool", "pooled", "q", kernel_shape=[2, 2])
    draw.node("DequantizeLinear", "d", "pooled", "s", "z")
    with pytest.raises(ValueError, match="MaxPool pooled reads q in INT8"):
        implicit(draw.proto(draw.node("Relu", "answer", "d")))
    draw = Drawing()
    draw.constant("w", np.full((4, 3, 1, 1), 10, np.int8))
    draw.constant("z", np.int8(0))
    draw.node("ReduceMax", "s", "image", keepdims=0)
    draw.node("DequantizeLinear", "weight", "w", "s", "z")
    with pytest.raises(ValueError, match="s, of the weight w, is computed"):
        implicit(draw.proto(draw.node("Conv", "answer", "image", "weight")))


@pytest.mark.parametrize(("version", "number"), [((8, 6, 1), "8601"), ((10, 3, 0), "100300"), ((10, 7), "100700")])
def test_the_cache_is_what_trtexec_reads(version: tuple[int, ...], number: str) -> None:
    lines = ImplicitNetwork(None, {"image": 1 / 127, "/conv/a:0": 0.5}).cache(version).splitlines()
    assert lines[0] == f"TRT-{number}-EntropyCalibration2"
    assert lines[1] == "image: 3c010204"  # as caches of TensorRT have a sigmoid's
    name, _, value = lines[2].rpartition(": ")
    assert (name, struct.unpack(">f", bytes.fromhex(value))) == ("/conv/a:0", (0.5,))


@pytest.mark.data
def test_the_default_network_finds_as_much_with_them(tmp_path: Path, data: Path) -> None:
    explicit = load_bundle(ROAD)
    found = implicit(onnx.load(explicit.model))
    convolutions = [node.name for node in found.proto.graph.node if node.op_type == "Conv"]
    left = [name for name in convolutions if name not in in_int8(found)]
    assert len(convolutions) == 33
    assert [name.rpartition("/")[0][-7:] for name in left] == ["predict"] * 3
    shutil.copytree(ROAD, tmp_path / "on_a_dla", ignore=shutil.ignore_patterns("plans"))
    onnx.save(simulated(found), tmp_path / "on_a_dla" / "model.onnx")
    photographs = open_dataset(data / "labelled" / "highway", "val")
    names = [("vehicle", name) for name in ("car", "bus", "truck")]
    before, after = (
        evaluate(bundle, photographs, engine="onnxruntime", class_map=names).per_class["vehicle"]
        for bundle in (explicit, load_bundle(tmp_path / "on_a_dla"))
    )
    assert before.ap50 is not None
    assert after.ap50 is not None
    assert before.ap50 > 0.6
    assert after.ap50 > before.ap50 - 0.015
