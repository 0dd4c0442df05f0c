"""Quantisation-aware training: what torch computes is what the INT8 file computes, and it learns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import numpy_helper

torch = pytest.importorskip("torch", reason="needs the train extra: pip install 'edge-perception[train]'")

from engines.errors import TrainingError  # noqa: E402
from engines.quantize.float_network import FloatNetwork, prepare  # noqa: E402
from engines.quantize.lint import lint  # noqa: E402
from engines.quantize.placement import place, quantised  # noqa: E402
from engines.quantize.ranges import measure_ranges  # noqa: E402
from engines.runtime.onnxruntime import open_session  # noqa: E402
from engines.training.export import onnx_of  # noqa: E402
from engines.training.networks.detector import NETWORKS, build_detector  # noqa: E402
from engines.training.qat.fake_quantised import FakeQuantised, _rounded  # noqa: E402
from engines.training.qat.fine_tuning import raw_output  # noqa: E402

WIDTH, HEIGHT = 64, 32


def images(count: int, seed: int = 0) -> Any:
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (count, 3, 4, 8)).astype(np.float32)
    return coarse.repeat(HEIGHT // 4, axis=2).repeat(WIDTH // 8, axis=3)


def made(name: str, folder: Path) -> tuple[FloatNetwork, FakeQuantised]:
    """An untrained network whose BatchNorm has statistics, and its rounded twin."""
    torch.manual_seed(3)
    detector = build_detector(name, 2)
    with torch.no_grad():
        for module in detector.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.momentum = None  # the mean of all it sees
        for head in detector.heads:
            head.classes.weight.normal_(std=0.2)  # as large as training makes them: what comes out varies then
        for _ in range(3):
            detector.train()(torch.from_numpy(images(4)))
    file = folder / "model.onnx"
    file.write_bytes(onnx_of(detector.eval(), ("car", "person"), WIDTH, HEIGHT).SerializeToString())
    network = prepare(file)
    placement = place(network)
    ranges = measure_ranges(network, placement.tensors, lambda: (one[None] for one in images(4)), 1)
    # Tensors that share a scale have other ones here, so that it shows which of them is taken.
    scales = {name: ranges.scale(name, "mse") * (1.3 - 0.1 * (at % 4)) for at, name in enumerate(placement.tensors)}
    return network, FakeQuantised(network, placement, scales)


@pytest.fixture(scope="module")
def nano(tmp_path_factory: pytest.TempPathFactory) -> tuple[FloatNetwork, FakeQuantised]:
    return made("nano-patch", tmp_path_factory.mktemp("nano"))


def run(proto: Any, image: Any, *, plainly: bool) -> Any:
    """`plainly`: every pair by itself, nothing made into integer kernels; else as our engine runs it."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    model = proto.SerializeToString()
    session = ort.InferenceSession(model, options, ["CPUExecutionProvider"]) if plainly else open_session(model, 1)
    return session.run(None, {proto.graph.input[0].name: image})[0]


@pytest.mark.parametrize("name", [*NETWORKS])
def test_the_file_computes_what_torch_computes(name: str, tmp_path: Path) -> None:
    """Pair by pair it is the same to the last digits. But sums in another order differ in their last digit, and now and
    then one then rounds to the step beside it, of which an untrained network makes much: not on every image, and less
    than INT8 costs. Integer kernels round biases and sums too.
    """
    network, fake = made(name, tmp_path)
    file, apart = fake.file(), []
    for image in images(7, seed=7)[:, None]:
        with torch.no_grad():
            twin = fake(torch.from_numpy(image)).numpy()
        plain, in_float = (run(proto, image, plainly=True) for proto in (file, network.proto))
        as_run = run(file, image, plainly=False)
        by_rounding = np.abs(plain - in_float)[:, 4:].mean()
        apart.append([np.abs(twin - other)[:, 4:].mean() / by_rounding for other in (plain, as_run)])
        assert by_rounding > 1e-3, "INT8 is not float"
    assert np.sort(apart, axis=0)[1].max() < 1e-3, "another network is never equal"
    assert np.median(apart) < 0.1
    assert np.max(apart) < 0.8


def test_it_is_the_file_that_calibration_would_write(nano: tuple[FloatNetwork, FakeQuantised]) -> None:
    network, fake = nano
    scales = {tensor: float(getattr(fake, fake._scale_places[tensor])) for tensor in fake._scale_places}
    assert fake.file() == quantised(network, place(network), scales)
    assert lint(fake.file()) == []


def test_the_gradient_goes_straight_through_and_stops_where_it_saturates() -> None:
    value = torch.tensor([-130.0, -0.26, 0.25, 0.76, 64.5, 70.0], requires_grad=True)
    found = _rounded(value, torch.tensor(0.5), -128, 127)
    assert found.tolist() == [-64.0, -0.5, 0.0, 1.0, 63.5, 63.5]
    found.sum().backward()
    assert value.grad is not None
    assert value.grad.tolist() == [0, 1, 1, 1, 0, 0]


def test_what_is_learnt_stands_in_the_file(nano: tuple[FloatNetwork, FakeQuantised]) -> None:
    """A few steps towards other outputs: the loss falls, the weights change, the pairs stay where they are."""
    network, fake = nano
    image, before = torch.from_numpy(images(2)), fake.file()
    raw = raw_output(network)
    wanted = fake(image, raw).detach() + 0.5
    optimiser = torch.optim.Adam(fake.parameters(), lr=3e-4)
    losses = []
    for _ in range(40):
        optimiser.zero_grad()
        loss = (fake(image, raw) - wanted).square().mean()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.7 * losses[0]
    assert all(parameter.grad is not None for parameter in fake.parameters())
    after = fake.file()
    assert [(node.op_type, list(node.input)) for node in after.graph.node] == [
        (node.op_type, list(node.input)) for node in before.graph.node
    ]
    for one, other in zip(before.graph.initializer, after.graph.initializer, strict=True):
        if one.name.endswith("/scale") and one.name in {f"{tensor}/scale" for tensor in fake._scale_places}:
            assert one == other, "scales of activations stay"
    changed = [
        one.name
        for one, other in zip(before.graph.initializer, after.graph.initializer, strict=True)
        if one.data_type == onnx.TensorProto.INT8
        and not np.array_equal(numpy_helper.to_array(one), numpy_helper.to_array(other))
    ]
    assert len(changed) > len(network.layers) / 2
    with torch.no_grad():
        twin = fake(image[:1]).numpy()
    np.testing.assert_allclose(run(after, image[:1].numpy(), plainly=True), twin, rtol=0.05, atol=1.0)


def test_the_raw_output_is_what_the_loss_is_of(nano: tuple[FloatNetwork, FakeQuantised]) -> None:
    network, fake = nano
    raw = fake(torch.from_numpy(images(2)), raw_output(network))
    assert raw.shape == (2, 4 + 2, WIDTH * HEIGHT // 64 + WIDTH * HEIGHT // 256 + WIDTH * HEIGHT // 1024)
    decoded = fake(torch.from_numpy(images(2)))
    torch.testing.assert_close(decoded[:, 4:], raw[:, 4:].sigmoid())


def test_another_kind_of_network_is_refused(nano: tuple[FloatNetwork, FakeQuantised]) -> None:
    proto = onnx.ModelProto()
    proto.CopyFrom(nano[0].proto)
    proto.graph.output[0].name = nano[0].layers[0].name
    with pytest.raises(TrainingError, match="no detector of ours"):
        raw_output(FloatNetwork(proto))
