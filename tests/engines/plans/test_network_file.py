"""Weights expanded for the 8.x parsers are the same network."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from int8_networks import network
from onnx import numpy_helper

from engines.plans.network_file import expand_weights, has_scales
from engines.quantize.lint import lint


def answer(proto: Any) -> Any:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    image = np.random.default_rng(3).normal(size=(1, 3, 32, 32)).astype(np.float32)
    return session.run(None, {"image": image})[0]


@pytest.mark.parametrize("fault", ["", "weight-axis"])
def test_expanded_weights_give_the_same_answers_and_hold_no_integers(fault: str) -> None:
    proto = network(fault)
    before = answer(proto)
    assert before.std() > 0
    assert expand_weights(proto) == 2
    onnx.checker.check_model(proto)
    large = [tensor for tensor in proto.graph.initializer if np.prod(tensor.dims) > 100]
    assert len(large) == 2
    assert {numpy_helper.to_array(tensor).dtype for tensor in large} == {np.dtype(np.float32)}
    np.testing.assert_array_equal(answer(proto), before)
    assert [fault.kind for fault in lint(proto)] == [fault for fault in [fault] if fault]


def test_scales_are_seen() -> None:
    assert has_scales(network())
    assert not has_scales(network(scales=False))
