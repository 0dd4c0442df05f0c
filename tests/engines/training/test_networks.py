"""Networks that are trained here: what they cost, what they put out, and what becomes of them as ONNX."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the train extra: pip install 'edge-perception[train]'")
onnx = pytest.importorskip("onnx", reason="needs the train extra: pip install 'edge-perception[train]'")

import onnxruntime as ort  # noqa: E402

from engines.decoders.grids import total_cells  # noqa: E402
from engines.letterbox import Fit  # noqa: E402
from engines.training.export import export_bundle, onnx_of  # noqa: E402
from engines.training.networks.cost import cost_of  # noqa: E402
from engines.training.networks.detector import NETWORKS, Detector, DetectorShape, Grid, build_detector  # noqa: E402

LABELS = ("vehicle", "person", "cyclist")
# What TensorRT from 8.6 on, OpenVINO and ONNX Runtime run, in INT8 where it has weights.
PLAIN_OPERATORS = {"Add", "Concat", "Constant", "Conv", "Exp", "MaxPool", "Mul", "Relu", "Reshape", "Resize"} | {
    "Sigmoid",
    "Slice",
}
TINY = DetectorShape(stem=16, widths=(16, 16, 16, 16), blocks=(1, 1, 1, 1), neck=16)


def trained_a_little(shape: DetectorShape = TINY) -> Detector:
    """A network whose BatchNorm has statistics and weights of its own, so that folding them shows."""
    torch.manual_seed(0)
    detector = Detector(shape, len(LABELS))
    for module in detector.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.5, 2)
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.bias, 0, 0.2)
    return detector.eval()


def photograph(width: int, height: int, batch: int = 1) -> Any:
    return torch.from_numpy(np.random.default_rng(1).integers(0, 256, (batch, 3, height, width)).astype(np.float32))


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_puts_out_a_box_and_a_logit_a_class_for_every_cell(name: str) -> None:
    raw = build_detector(name, 3)(photograph(64, 96, batch=2))
    assert raw.shape == (2, 4 + 3, total_cells(64, 96))


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_has_only_dense_convolutions_and_relu(name: str) -> None:
    layers = [layer for layer in build_detector(name, 3).modules() if not list(layer.children())]
    kinds = {type(layer).__name__ for layer in layers}
    assert kinds - {"Identity"} == {"Conv2d", "BatchNorm2d", "ReLU", "MaxPool2d", "Upsample"}
    assert all(layer.groups == 1 for layer in layers if isinstance(layer, torch.nn.Conv2d))


def test_the_cost_is_what_the_convolutions_of_the_exported_network_take() -> None:
    """Counted a second time from the ONNX file's own shapes, by another way."""
    width, height = 96, 64
    detector = trained_a_little(NETWORKS["nano"])
    graph = onnx.shape_inference.infer_shapes(onnx_of(detector, LABELS, width, height)).graph
    shapes = {value.name: [d.dim_value for d in value.type.tensor_type.shape.dim] for value in graph.value_info}
    weights = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    flops = 0
    for node in graph.node:
        if node.op_type == "Conv":
            _, _, rows, columns = shapes[node.output[0]]
            flops += 2 * rows * columns * int(np.prod(weights[node.input[1]]))
    assert cost_of(detector, width, height).flops == flops
    parameters = sum(values.numel() for values in detector.parameters())
    assert cost_of(detector, width, height).parameters == parameters


def test_counting_the_cost_leaves_the_network_as_it_was() -> None:
    detector = Detector(TINY, 3).train()
    before = {name: value.clone() for name, value in detector.state_dict().items()}
    cost_of(detector, 64, 64)
    assert detector.training
    assert all(torch.equal(value, before[name]) for name, value in detector.state_dict().items())


@pytest.mark.parametrize(("name", "gflop"), [("nano", 2.15), ("nano-patch", 2.51)])
def test_the_smallest_cost_what_their_int8_speed_was_chosen_for(name: str, gflop: float) -> None:
    """Half of a float yolox_nano's CPU time at 416x256: a change here has to be measured again."""
    cost = cost_of(build_detector(name, 3), 416, 256)
    assert cost.flops / 1e9 == pytest.approx(gflop, abs=0.05)
    assert cost.parameters < 3_900_000  # INT8 in less than 4 MB


@pytest.mark.parametrize("shape", [TINY, replace(TINY, stem=None), NETWORKS["nano"]])
def test_the_exported_network_computes_what_the_trained_one_does(shape: DetectorShape) -> None:
    width, height = 96, 64
    detector, image = trained_a_little(shape), photograph(96, 64)
    session = ort.InferenceSession(onnx_of(detector, LABELS, width, height).SerializeToString())
    (found,) = session.run(None, {session.get_inputs()[0].name: image.numpy()})
    with torch.no_grad():
        raw = detector(image)
    centres, sizes = Grid.of(width, height).decode(raw[:, :4])
    expected = torch.cat([centres, sizes, raw[:, 4:].sigmoid()], dim=1).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", NETWORKS)
def test_an_exported_network_has_plain_operators_and_constants_of_its_own_alone(name: str) -> None:
    graph = onnx_of(build_detector(name, 3), LABELS, 64, 64).graph
    counts = Counter(node.op_type for node in graph.node)
    assert set(counts) <= PLAIN_OPERATORS
    constants = {tensor.name for tensor in graph.initializer}
    users = Counter(name for node in graph.node for name in node.input if name in constants)
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    for node in convolutions:  # a fresh network's biases are all alike; shared ones would stay float in INT8
        assert len(node.input) == 3
        assert users[node.input[1]] == users[node.input[2]] == 1


def test_an_exported_network_is_a_bundle_that_says_how_its_pixels_go_in(tmp_path: Path) -> None:
    bundle = export_bundle(trained_a_little(), LABELS, (96, 64), tmp_path / "tiny")
    settings = bundle.settings
    assert bundle.labels == LABELS
    assert (settings.decoder, settings.input.width, settings.input.height) == ("yolov8", 96, 64)
    assert (settings.input.colour, settings.scale, settings.fit) == ("BGR", 1.0, Fit.LETTERBOX_TOP_LEFT)
    assert onnx.load(bundle.model).opset_import[0].version == 17


def test_a_grid_has_its_cells_where_the_decoders_have_them() -> None:
    grid = Grid.of(64, 32)
    assert grid.centres.T[:2].tolist() == [[4, 4], [12, 4]]
    assert grid.centres.T[-2:].tolist() == [[16, 16], [48, 16]]
    centres, sizes = grid.decode(torch.zeros(1, 4, total_cells(64, 32)))
    assert torch.equal(centres[0], grid.centres)
    assert sizes[0, :, 0].tolist() == [8, 8]
    assert sizes[0, :, -1].tolist() == [32, 32]
