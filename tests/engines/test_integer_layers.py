"""TensorRT's Q/DQ made into what ONNX Runtime computes in integers: the same values, and really in integers."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from engines.runtime.int8 import make_unsigned
from engines.runtime.integer_layers import for_onnxruntime, make_integer

SHAPE = (1, 3, 9, 7)
STEP = 0.02  # of the tensors between layers


def network(*, relu: bool = True, silu: bool = False, second_reader: bool = False, seed: int = 0) -> onnx.ModelProto:
    """Q/DQ -> Conv -> ReLU or SiLU -> Q/DQ -> Conv, placed as TensorRT wants it, with float biases."""
    random = np.random.default_rng(seed)
    constants: dict[str, NDArray[Any]] = {
        "step": np.float32(STEP),
        "zero": np.array(0, np.int8),
        "w1": random.integers(-127, 128, (4, 3, 3, 3)).astype(np.int8),
        "w1_scale": (random.random(4) * 2e-3 + 1e-3).astype(np.float32),
        "w1_zero": np.zeros(4, np.int8),
        "b1": random.normal(0, 0.3, 4).astype(np.float32),
        "w2": random.integers(-127, 128, (2, 4, 1, 1)).astype(np.int8),
        "w2_scale": (random.random(2) * 2e-3 + 1e-3).astype(np.float32),
        "w2_zero": np.zeros(2, np.int8),
        "b2": random.normal(0, 0.3, 2).astype(np.float32),
    }
    between = "relu" if relu else "silu" if silu else "sum1"
    nodes = [
        helper.make_node("QuantizeLinear", ["image", "step", "zero"], ["q0"]),
        helper.make_node("DequantizeLinear", ["q0", "step", "zero"], ["dq0"]),
        helper.make_node("DequantizeLinear", ["w1", "w1_scale", "w1_zero"], ["w1_float"], axis=0),
        helper.make_node("DequantizeLinear", ["w2", "w2_scale", "w2_zero"], ["w2_float"], axis=0),
        helper.make_node("Conv", ["dq0", "w1_float", "b1"], ["sum1"], pads=[1, 1, 1, 1]),
    ]
    if relu:
        nodes.append(helper.make_node("Relu", ["sum1"], ["relu"]))
    elif silu:
        nodes += [
            helper.make_node("Sigmoid", ["sum1"], ["gate"]),
            helper.make_node("Mul", ["sum1", "gate"], ["silu"]),
        ]
    nodes += [
        helper.make_node("QuantizeLinear", [between, "step", "zero"], ["q1"]),
        helper.make_node("DequantizeLinear", ["q1", "step", "zero"], ["dq1"]),
        helper.make_node("Conv", ["dq1", "w2_float", "b2"], ["out"]),
    ]
    outputs = [helper.make_tensor_value_info("out", TensorProto.FLOAT, [1, 2, 9, 7])]
    if second_reader:
        nodes.append(helper.make_node("Neg", [between], ["also"]))
        outputs.append(helper.make_tensor_value_info("also", TensorProto.FLOAT, [1, 4, 9, 7]))
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, SHAPE)],
        outputs,
        [numpy_helper.from_array(np.asarray(values), name) for name, values in constants.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(made)
    return made


def session(model: onnx.ModelProto, *, optimised: bool, written: Path | None = None) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.log_severity_level = 3
    if not optimised:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    if written is not None:
        options.optimized_model_filepath = str(written)
    return ort.InferenceSession(
        model.SerializeToString(),
        options,
        providers=["CPUExecutionProvider"],
        disabled_optimizers=["WeightBiasQuantization"],
    )


def run(model: onnx.ModelProto, image: NDArray[np.float32], *, optimised: bool = False) -> list[NDArray[Any]]:
    found: list[NDArray[Any]] = session(model, optimised=optimised).run(None, {"image": image})
    return found


def an_image(seed: int) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(0, 1.5, SHAPE).astype(np.float32)


def changed(model: onnx.ModelProto, *, unsigned: bool = False) -> tuple[onnx.ModelProto, int]:
    copy = onnx.load_model_from_string(model.SerializeToString())
    if unsigned:
        make_unsigned(copy)
    count = make_integer(copy)
    onnx.checker.check_model(copy, full_check=True)
    return copy, count


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(["relu", "silu", "neither"]), st.booleans(), st.integers(0, 99))
def test_values_stay_but_for_the_rounding_of_a_bias(kind: str, unsigned: bool, seed: int) -> None:
    model = network(relu=kind == "relu", silu=kind == "silu", seed=seed)
    after, count = changed(model, unsigned=unsigned)
    assert count == {"relu": 3, "silu": 2, "neither": 2}[kind]
    before_values, after_values = run(model, an_image(seed))[0], run(after, an_image(seed))[0]
    if kind == "silu":
        np.testing.assert_array_equal(after_values, before_values)
        return
    # A bias moves by half a step of the sums at most; only what lies that near to a rounding edge goes to the next
    # step, and moves the output by that step's weights.
    different = np.abs(after_values - before_values) > 1e-6
    assert different.mean() < 0.1
    assert np.abs(after_values - before_values).max() <= STEP * 127 * 3e-3 * 2


def test_negative_sums_and_saturated_ones_are_what_the_relu_gave(tmp_path: Path) -> None:
    """The Max of bytes has to cut at the zero point, and at the top nothing may be gained."""
    model = network(seed=3)
    bias = next(tensor for tensor in model.graph.initializer if tensor.name == "b1")
    bias.CopyFrom(numpy_helper.from_array(np.float32([-9, 9, -STEP, 0]), "b1"))
    after, _ = changed(model, unsigned=True)
    image = an_image(3)
    np.testing.assert_allclose(run(after, image)[0], run(model, image)[0], atol=STEP * 127 * 3e-3)


def test_convolutions_are_computed_in_integers_only_afterwards(tmp_path: Path) -> None:
    model = network()
    make_unsigned(model)
    kinds = {}
    for name, proto in (("before", model), ("after", changed(model)[0])):
        session(proto, optimised=True, written=tmp_path / name)
        kinds[name] = Counter(node.op_type for node in onnx.load(tmp_path / name).graph.node)
    assert kinds["before"]["QLinearConv"] == 0, "ONNX Runtime fuses it by itself now: the rewrite is no longer needed"
    assert (kinds["after"]["QLinearConv"], kinds["after"]["Relu"]) == (1, 0)


def test_optimised_answers_are_those_of_the_file_as_it_is() -> None:
    model, image = network(seed=5), an_image(5)
    after, _ = changed(model, unsigned=True)
    difference = np.abs(run(after, image, optimised=True)[0] - run(model, image)[0])
    assert np.median(difference) < 1e-5
    assert difference.max() <= STEP * 127 * 3e-3 * 2


def test_a_relu_that_others_read_stays() -> None:
    model = network(second_reader=True)
    after, _ = changed(model)
    assert [node.op_type for node in after.graph.node].count("Relu") == 1
    image = an_image(0)
    for one, other in zip(run(after, image), run(model, image), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("missing", ["scale per channel of the input", "weights that are computed"])
def test_what_is_no_layer_of_ours_stays(missing: str) -> None:
    model = network(silu=True, relu=False)
    if missing == "weights that are computed":
        for tensor in list(model.graph.initializer):
            if tensor.name in ("w1", "w2"):
                values = numpy_helper.to_array(tensor)
                model.graph.initializer.remove(tensor)
                model.graph.input.append(helper.make_tensor_value_info(tensor.name, TensorProto.INT8, values.shape))
    else:
        for tensor in model.graph.initializer:
            if tensor.name == "step":
                tensor.CopyFrom(numpy_helper.from_array(np.float32([STEP, STEP]), "step"))
    before = model.SerializeToString()
    assert make_integer(model) == 0
    assert model.SerializeToString() == before


def test_a_float_network_is_loaded_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    onnx.save(network(), str(path))
    assert isinstance(for_onnxruntime(path), bytes)
    path.write_bytes(b"no network")
    assert for_onnxruntime(path) == path
