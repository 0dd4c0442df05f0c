"""A trained run becomes a smaller one: pruned, trained further, exported, and compared with what it was."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import nn

from engines.bench import cpu_ms
from engines.bundle import Bundle
from engines.errors import TrainingError
from engines.runtime import open_engine
from engines.training import checkpoint
from engines.training.batches import Pictures, Share, batches
from engines.training.datasets import Mixture
from engines.training.device import choose_device
from engines.training.networks.backbone import Backbone
from engines.training.networks.cost import Cost, cost_of
from engines.training.networks.widths import widths_of
from engines.training.optimisation import RATES
from engines.training.pruning.structured import PruningRequest, prune_network
from engines.training.settings import Machine, Settings
from engines.training.tasks import Task, build_network, task_of
from engines.training.trainer import augmentation_of, export_checkpoint, forward, load_weights, train

STAGES = "pruning.json"
RATE_SHARE = 0.5  # of the rate that its optimiser begins a training with: more is left to learn than in INT8
WARM_UP_STEPS = 50  # of a training that is short
_GRADIENTS_OF = 16  # batches, for the importance `taylor`


@dataclass(frozen=True, slots=True)
class Stage:
    """A network before, between or after. `milliseconds`: of one inference, on one thread of ONNX Runtime.

    `accuracy`: of `all` and of each class, by the task's measure; None where there is nothing to judge it by.
    """

    name: str
    cost: Cost
    milliseconds: float
    accuracy: dict[str, float] | None


def settings_of(run: dict[str, Any], length: Settings) -> Settings:
    """How a run is trained further: as it was, but for the length, batch, optimiser, rate and seed of `length`."""
    known = {field.name for field in fields(Settings)}
    recipe = {name: value for name, value in run["recipe"].items() if name in known}
    rate = length.rate or RATES[length.optimiser] * RATE_SHARE
    return replace(
        Settings(**recipe),
        epochs=length.epochs,
        minutes=length.minutes,
        batch=length.batch,
        accumulate=1,
        optimiser=length.optimiser,
        rate=rate,
        warm_up_steps=WARM_UP_STEPS,
        seed=length.seed,
    )


def prune(
    run: Path,
    mixture: Mixture,
    folder: Path,
    request: PruningRequest,
    length: Settings,
    machine: Machine,
    *,
    validation: Mixture | None = None,
    resume: bool = False,
    should_stop: Callable[[], bool] = lambda: False,
    shows_bar: bool = True,
    say: Callable[[str], None] = lambda _line: None,
) -> tuple[Bundle, list[Stage]] | None:
    """Prune the network of a checkpoint `run`, fine-tune it in `folder`, and compare the two.

    `folder` becomes a training like any other, whose checkpoint has the widths in it. `length` says how long, in which
    batches and at which rate; all else is as the run was trained. None where it was stopped before its end; with
    `resume` it goes on. `say` is told what was pruned. Raises `TrainingError`, `DatasetError`, `DivergedError`.
    """
    # --- from what
    torch.set_num_threads(machine.threads)
    state = checkpoint.load(run)
    settings = settings_of(state, length)
    task, size = task_of(settings.network), (settings.width, settings.height)
    network = build_network(settings.network, len(state["classes"]), state.get("pruned"))
    load_weights(network, state, mixture.classes, str(run))
    device = choose_device(machine.device)
    network.to(device)
    augmentation = augmentation_of(state)
    before = Stage("trained", cost_of(network, *size), 0, _judged(task, network, validation, size))

    # --- pruned: the same channels every time, so that a resumed one needs nothing beside its checkpoint
    pictures = Pictures(mixture, size, augmentation, settings.seed, task.picture)
    prune_network(network, size, request, lambda: _add_gradients(network, task, pictures, settings, device))
    pruned = Stage("pruned", cost_of(network, *size), 0, _judged(task, network, validation, size))
    facts: dict[str, Any] = {
        "from": {"run": run.resolve().parent.name, **asdict(before.cost)},
        **asdict(pruned.cost),
        "importance": request.importance,
        "multiple": request.multiple,
        "kept": list(request.keep),
        "widths": widths_of(network),
    }
    say(f"{settings.network}: {before.cost} -> {pruned.cost} at {size[0]}x{size[1]}")
    if resume:
        _check_same(folder / checkpoint.CHECKPOINT, facts)

    # --- fine-tuned, by the trainer
    with TemporaryDirectory() as scratch:
        start = Path(scratch) / checkpoint.CHECKPOINT
        checkpoint.save(start, {**_plain(state), "step": 0, "average": network.cpu().state_dict(), "pruned": facts})
        bundle = train(
            mixture,
            folder,
            settings,
            machine,
            augmentation=augmentation,
            resume=resume,
            start_from=start,
            validation=validation,
            should_stop=should_stop,
            shows_bar=shows_bar,
        )
        if bundle is None:
            return None

        # --- what comes of it
        tuned = build_network(settings.network, len(mixture.classes), facts)
        load_weights(tuned, checkpoint.load(folder / checkpoint.CHECKPOINT), mixture.classes, str(folder))
        after = Stage("fine-tuned", pruned.cost, 0, _judged(task, tuned.to(device), validation, size))
        as_it_was = export_checkpoint(run, Path(scratch) / "trained")
        with ExitStack() as stack:
            opened = [stack.enter_context(open_engine(one, "onnxruntime", slots=1)) for one in (as_it_was, bundle)]
            wide_ms, narrow_ms = cpu_ms(opened)
    stages = [
        replace(before, milliseconds=wide_ms),
        replace(pruned, milliseconds=narrow_ms),
        replace(after, milliseconds=narrow_ms),
    ]
    draft = folder / f".{STAGES}.part"
    draft.write_text(json.dumps([asdict(stage) for stage in stages], indent=1) + "\n", encoding="utf-8")
    draft.replace(folder / STAGES)
    return bundle, stages


def _plain(state: dict[str, Any]) -> dict[str, Any]:
    """What of a run's checkpoint is true of the network that was pruned from it."""
    return {name: state[name] for name in ("recipe", "classes")}


def _judged(
    task: Task, network: Backbone, validation: Mixture | None, size: tuple[int, int]
) -> dict[str, float] | None:
    return None if validation is None else task.validate(network, validation, size)


def _add_gradients(
    network: nn.Module, task: Task, pictures: Pictures, settings: Settings, device: torch.device
) -> None:
    """Leave each weight with its gradient, summed over some batches."""
    judge = task.loss(pictures.mixture, (settings.width, settings.height), device)
    network.eval()
    for batch in batches(pictures, Share(settings.batch), task.target, first_step=0, steps=_GRADIENTS_OF, workers=0):
        forward(network, batch, judge, device, None).total.backward()  # type: ignore[no-untyped-call]


def _check_same(file: Path, facts: dict[str, Any]) -> None:
    """Raise `TrainingError` where a checkpoint is of a network that was pruned otherwise."""
    before = checkpoint.load(file).get("pruned")
    if before is None:
        raise TrainingError(str(file), "is of no pruned network", "give the folder that `prune` began, or another one")
    if before["widths"] != facts["widths"]:
        raise TrainingError(str(file), "was pruned otherwise", "resume it with the options and the run it began with")
