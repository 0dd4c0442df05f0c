"""Pruned networks: what goes matters least, what is left is written down with its shape, and learns again."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs the train extra: pip install 'edge-perception[train]'")
pytest.importorskip("torch_pruning", reason="needs the train extra: pip install 'edge-perception[train]'")

from drawn_dataset import write_drawn_dataset  # noqa: E402
from test_class_training import LABELS, TINY, assert_same, drawn  # noqa: E402

from engines.accuracy import measure  # noqa: E402
from engines.datasets import open_dataset  # noqa: E402
from engines.errors import TrainingError  # noqa: E402
from engines.passport import read_passport  # noqa: E402
from engines.runtime import open_engine  # noqa: E402
from engines.training import checkpoint, trainer  # noqa: E402
from engines.training.checkpoint import CHECKPOINT  # noqa: E402
from engines.training.datasets import Augmentation, Labels, Mixture, open_mixture  # noqa: E402
from engines.training.networks.cost import cost_of  # noqa: E402
from engines.training.networks.detector import NETWORKS as DETECTORS  # noqa: E402
from engines.training.networks.detector import DetectorShape  # noqa: E402
from engines.training.networks.widths import widths_of  # noqa: E402
from engines.training.pruning import PruningRequest, prune  # noqa: E402
from engines.training.pruning.structured import MULTIPLES, prune_network  # noqa: E402
from engines.training.settings import Machine, Settings  # noqa: E402
from engines.training.tasks import TASKS, build_network, task_of  # noqa: E402

CPU = Machine(device="cpu", precision="fp32")
SIZE = (64, 64)
EVERY = [name for task in TASKS for name in task.networks]
TINY_DETECTOR = DetectorShape(stem=16, widths=(16, 32, 32, 32), blocks=(1, 1, 1, 1), neck=32)
KINDS = ["tiny", *TINY]


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(DETECTORS, "tiny", TINY_DETECTOR)
    for name, (table, shape) in TINY.items():
        monkeypatch.setitem(table, name, shape)


def no_gradients() -> None:
    raise AssertionError("magnitude asks for no gradients")


def made(name: str, classes: int = 3) -> Any:
    """A network whose channels differ in how much they matter."""
    torch.set_num_threads(1)
    torch.manual_seed(1)
    network = build_network(name, classes)
    with torch.no_grad():
        for weight in network.parameters():
            weight.mul_(torch.rand(weight.shape[:1] + (1,) * (weight.ndim - 1)) + 0.5)
    return network.eval()


def image() -> Any:
    return torch.randint(0, 256, (1, 3, *SIZE), generator=torch.Generator().manual_seed(2)).float()


def answer(network: Any) -> Any:
    with torch.no_grad():
        return network.eval()(image())


def last_map(network: Any) -> Any:
    """Of the backbone: nothing untrained hides there what went missing before it."""
    with torch.no_grad():
        return network.eval().maps(image())[-1]


@pytest.mark.parametrize("name", EVERY)
def test_every_network_gets_as_cheap_as_asked_and_is_built_again_from_its_widths(name: str) -> None:
    network = made(name, classes=40)
    before, outputs = cost_of(network, *SIZE), answer(network).shape
    prune_network(network, SIZE, PruningRequest(0.3, multiple=8), no_gradients)
    after, widths = cost_of(network, *SIZE), widths_of(network)
    assert 0.3 <= 1 - after.flops / before.flops < 0.4, "a block more than asked at most"
    assert after.parameters < before.parameters
    assert answer(network).shape == outputs
    inner = {layer: outputs for layer, (_, outputs) in widths.items() if not layer.endswith(("box", "classes"))}
    assert all(width % 8 == 0 for width in inner.values())
    again = build_network(name, 40, {"widths": widths})
    again.load_state_dict(network.state_dict())
    torch.testing.assert_close(answer(again), answer(network), rtol=0, atol=0)


@pytest.mark.parametrize("multiple", MULTIPLES)
def test_channels_stay_multiples_of_what_is_asked(multiple: int) -> None:
    network = made("small")
    narrower = widths_of(network)
    prune_network(network, SIZE, PruningRequest(0.2, multiple=multiple), no_gradients)
    changed = [outputs for name, (_, outputs) in widths_of(network).items() if outputs != narrower[name][1]]
    assert changed
    assert all(outputs % multiple == 0 for outputs in changed)


def silence(network: Any, *, weights: float) -> Any:
    """Make eight channels of one layer say nothing, whatever their weights of this size are."""
    block = network.stages[1][1].first
    silent = torch.arange(3, 11)
    with torch.no_grad():
        block.norm.weight[silent] = 0
        block.norm.bias[silent] = 0
        block.conv.weight[silent] = weights
        network.stages[1][1].conv.weight[:, silent] = weights
    return network


def test_the_channels_with_the_smallest_weights_go_and_nothing_changes_where_they_were_none() -> None:
    network = silence(made("tiny"), weights=0)
    before = last_map(network)
    prune_network(network, SIZE, PruningRequest(0.001, multiple=8), no_gradients)
    assert widths_of(network)["stages.1.1.first.conv"] == [32, 24]
    torch.testing.assert_close(last_map(network), before, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("importance", ["taylor", "magnitude"])
def test_taylor_sees_that_large_weights_may_matter_to_nobody(importance: str) -> None:
    network = silence(made("tiny"), weights=5.0)
    before = last_map(network)

    def add_gradients() -> None:
        network(torch.rand(2, 3, *SIZE) * 255).square().mean().backward()

    prune_network(network, SIZE, PruningRequest(0.001, importance, multiple=8), add_gradients)
    assert widths_of(network)["stages.1.1.first.conv"] == [32, 24]
    assert torch.allclose(last_map(network), before, rtol=1e-4, atol=1e-4) == (importance == "taylor")
    assert all(weight.grad is None for weight in network.parameters())


def test_what_is_worth_nothing_goes_first() -> None:
    """All channels of a group, and without a division by nothing."""
    network = made("tiny")
    block = network.stages[1][1]
    with torch.no_grad():
        for weight in (block.first.conv.weight, block.first.norm.weight, block.first.norm.bias):
            weight.zero_()
        block.conv.weight.zero_()
    before = last_map(network)
    prune_network(network, SIZE, PruningRequest(0.001, multiple=8), no_gradients)
    assert widths_of(network)["stages.1.1.first.conv"] == [32, 24]
    torch.testing.assert_close(last_map(network), before, rtol=1e-4, atol=1e-4)


def test_what_is_kept_stays_as_wide_as_it_was() -> None:
    network = made("nano")
    before = widths_of(network)
    prune_network(network, SIZE, PruningRequest(0.2, keep=("stages.3", "stem")), no_gradients)
    after = widths_of(network)
    assert after != before
    for name, (_, outputs) in before.items():
        if name.startswith(("stages.3.", "stem.")):
            assert after[name][1] == outputs


@pytest.mark.parametrize("multiple", MULTIPLES)
def test_no_layer_gets_narrower_than_a_quarter_or_than_the_multiple(multiple: int) -> None:
    network = made("nano")
    before = widths_of(network)
    with pytest.raises(TrainingError, match=rf"nor than {multiple} channels"):
        prune_network(network, SIZE, PruningRequest(0.999, multiple=multiple), no_gradients)
    for name, (_, outputs) in widths_of(network).items():
        if not name.endswith(("box", "classes")):
            assert outputs >= min(before[name][1], max(multiple, before[name][1] / 4))


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (
            PruningRequest(0.99, multiple=8),
            r"--flops 0.99: \d\d% can be removed: no layer may be narrower than a quarter",
        ),
        (PruningRequest(0.3, keep=("steam",)), "--keep steam: names no layer; begin with one of stem, stages"),
    ],
)
def test_what_cannot_be_done_is_told(request_: PruningRequest, message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        prune_network(made("tiny"), SIZE, request_, no_gradients)


# --- from run to run


def opened(kind: str, folder: Path) -> tuple[Mixture, Path]:
    if kind == "tiny":
        data = write_drawn_dataset(folder / "data").parent
        return open_mixture(data, "train", labels=Labels.BOXES), data
    data = drawn(folder / "data", kind)
    return open_mixture(data, "train", labels=LABELS[kind]), data


def length(steps: int, **settings: Any) -> Settings:
    return Settings(batch=4, epochs=steps * 4 / 8, **settings)


def trained(kind: str, mixture: Mixture, folder: Path, steps: int = 2, **settings: Any) -> Path:
    width, height = (96, 64) if kind == "tiny" else SIZE
    first = replace(length(steps, **settings), network=kind, width=width, height=height, warm_up_steps=2)
    trainer.train(mixture, folder, first, CPU, augmentation=Augmentation.off(), shows_bar=False)
    return folder / CHECKPOINT


def pruned(run: Path, mixture: Mixture, folder: Path, steps: int = 2, share: float = 0.3, **more: Any) -> Any:
    request = PruningRequest(share, more.pop("importance", "magnitude"), multiple=8)
    return prune(run, mixture, folder, request, length(steps), CPU, shows_bar=False, **more)


@pytest.mark.parametrize("kind", KINDS)
def test_a_pruned_run_is_a_run_that_exports_and_trains_further(kind: str, tmp_path: Path) -> None:
    mixture, _ = opened(kind, tmp_path)
    run = trained(kind, mixture, tmp_path / "run")
    bundle, stages = pruned(run, mixture, tmp_path / "pruned", importance="taylor", validation=mixture)
    assert [stage.name for stage in stages] == ["trained", "pruned", "fine-tuned"]
    assert stages[1].cost == stages[2].cost
    assert stages[1].cost.flops <= 0.7 * stages[0].cost.flops
    assert all(stage.milliseconds > 0 and set(stage.accuracy) == {"all", *mixture.classes} for stage in stages)

    state = checkpoint.load(tmp_path / "pruned" / CHECKPOINT)
    facts = read_passport(bundle.folder)["trained"]["pruned"]
    assert facts == state["pruned"]
    assert (facts["from"]["run"], facts["flops"]) == ("run", stages[2].cost.flops)
    again = trainer.export_checkpoint(tmp_path / "pruned" / CHECKPOINT, tmp_path / "again")
    assert again.model.read_bytes() == bundle.model.read_bytes()
    with open_engine(bundle, "onnxruntime", slots=1) as engine:
        assert engine.name == "onnxruntime"

    settings = Settings(**state["recipe"], epochs=1)
    further = tmp_path / "further"
    trainer.train(mixture, further, settings, CPU, start_from=tmp_path / "pruned" / CHECKPOINT, shows_bar=False)
    kept = checkpoint.load(further / CHECKPOINT)
    assert kept["pruned"] == state["pruned"]
    assert kept["trained"]["started_from"]["data"] == state["trained"]["data"], "what its weights learnt from"
    assert {name: value.shape for name, value in kept["average"].items()} == {
        name: value.shape for name, value in state["average"].items()
    }


def test_it_learns_again_what_pruning_took_from_it(tmp_path: Path) -> None:
    mixture, data = opened("tiny-segmenter", tmp_path)
    run = trained("tiny-segmenter", mixture, tmp_path / "run", 80, rate=4e-3, average_decay=0.9)
    bundle, (before, between, after) = pruned(run, mixture, tmp_path / "pruned", 80, 0.5, validation=mixture)
    assert before.accuracy["all"] > 0.9
    assert between.accuracy["all"] < before.accuracy["all"] - 0.05
    assert after.accuracy["all"] > before.accuracy["all"] - 0.01
    found = measure(bundle, open_dataset(data, "train"), engine="onnxruntime")
    assert found.value == pytest.approx(after.accuracy["all"], abs=2e-3)


def test_pruned_twice_it_is_smaller_still(tmp_path: Path) -> None:
    mixture, _ = opened("tiny-classifier", tmp_path)
    run = trained("tiny-classifier", mixture, tmp_path / "run")
    _, first = pruned(run, mixture, tmp_path / "once", share=0.15)
    _, second = pruned(tmp_path / "once" / CHECKPOINT, mixture, tmp_path / "twice", share=0.15)
    assert second[0].cost == first[2].cost
    assert second[2].cost.flops <= 0.85 * first[2].cost.flops


def test_stopped_and_resumed_it_is_the_one_that_was_not(tmp_path: Path) -> None:
    mixture, _ = opened("tiny-classifier", tmp_path)
    run = trained("tiny-classifier", mixture, tmp_path / "run")
    pruned(run, mixture, tmp_path / "whole", 6)
    answers = iter([False, False, False, True])
    assert pruned(run, mixture, tmp_path / "cut", 6, should_stop=lambda: next(answers)) is None
    assert not (tmp_path / "cut" / "bundle").exists()
    with pytest.raises(TrainingError, match="was pruned otherwise; resume it with the options"):
        pruned(run, mixture, tmp_path / "cut", 6, share=0.5, resume=True)
    shutil.copytree(tmp_path / "cut", tmp_path / "by_train")
    assert pruned(run, mixture, tmp_path / "cut", 6, resume=True) is not None
    assert_same(tmp_path / "cut", tmp_path / "whole")
    settings = Settings(**checkpoint.load(tmp_path / "by_train" / CHECKPOINT)["recipe"], epochs=3)
    how = {"augmentation": Augmentation.off(), "resume": True, "shows_bar": False}  # as the run was trained
    trainer.train(mixture, tmp_path / "by_train", settings, CPU, **how)
    assert_same(tmp_path / "by_train", tmp_path / "whole")


def test_what_is_no_run_to_go_on_with_is_refused(tmp_path: Path) -> None:
    mixture, _ = opened("tiny-classifier", tmp_path)
    run = trained("tiny-classifier", mixture, tmp_path / "run")
    with pytest.raises(TrainingError, match="is of no pruned network"):
        pruned(run, mixture, tmp_path / "run", resume=True)
    pruned(run, mixture, tmp_path / "pruned")
    wider = Settings(**{**checkpoint.load(run)["recipe"], "network": "classifier-nano"}, epochs=1)
    with pytest.raises(TrainingError, match=r"is of the network 'tiny-classifier', .*; give --network tiny-classifier"):
        trainer.train(mixture, tmp_path / "new", wider, CPU, start_from=tmp_path / "pruned" / CHECKPOINT)
    assert task_of("classifier-nano").name == "classifier"
