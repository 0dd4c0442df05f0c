"""A training from beginning to end, in the order in which it happens: data, network, optimiser, loop, checkpoint.

One process:            perception engine train MIXTURE -o DIR
Several, on one machine: torchrun --nproc-per-node 2 --no-python perception engine train MIXTURE -o DIR

The folder gets `checkpoint.pt` (all that is needed to go on), `curve.csv`, TensorBoard's files, and at the end
`bundle`, the network made of the averaged weights, and `report.html`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from engines.bundle import Bundle
from engines.errors import DivergedError, TrainingError
from engines.training import checkpoint
from engines.training.batches import Batch, Pictures, Share, batches
from engines.training.datasets import Augmentation, Mixture
from engines.training.device import autocast_type, choose_device, choose_precision, join_processes
from engines.training.log import TrainingLog
from engines.training.losses import Loss
from engines.training.optimisation import RATES, Average, learning_rate, make_optimiser
from engines.training.provenance import trained_section
from engines.training.report import write_report
from engines.training.settings import Machine, Settings
from engines.training.tasks import JudgeBatch, Task, build_network, task_of

_FOREVER = 1 << 40  # steps, of a training that ends by the clock


def train(  # noqa: PLR0912, PLR0915  one piece, to be read from top to bottom
    mixture: Mixture,
    folder: Path,
    settings: Settings,
    machine: Machine,
    *,
    augmentation: Augmentation | None = None,
    resume: bool = False,
    start_from: Path | None = None,
    validation: Mixture | None = None,
    validations: int = 20,
    should_stop: Callable[[], bool] = lambda: False,
    told: Callable[[float, Mapping[str, float]], None] = lambda _progress, _figures: None,
    shows_bar: bool = True,
    makes_bundle: bool = True,
) -> Bundle | None:
    """Train a network on a mixture, and export it as the bundle `folder`/bundle; its name says of which kind it is.

    None where it was stopped before its end, in all processes but the first, and where it only tries a recipe
    (`makes_bundle`): its checkpoint is all that is left then.

    `augmentation`: None takes what is usual for its kind. `resume`: go on from the folder's checkpoint. `start_from`:
    take the weights of another training's checkpoint.
    `validation`: images on which the averaged weights are judged so many times in its course. `should_stop`:
    asked before each step; the checkpoint is written then, and a resumed training goes on as if nothing had happened.
    `told`: is given the progress 0..1 and the figures of each validation, of `all` and of each class.
    Raises `TrainingError`, `DatasetError`; `DivergedError` when the loss is no number any more.
    """
    # --- where: device, precision, processes
    torch.set_num_threads(machine.threads)
    processes = join_processes(machine.device)
    device = choose_device(machine.device, processes.local_rank)
    precision = choose_precision(machine.precision, device)
    autocast = autocast_type(precision)
    if settings.batch % (processes.world * settings.accumulate):
        raise TrainingError(
            f"--batch {settings.batch}",
            f"does not divide into {processes.world} processes of {settings.accumulate} parts",
            "give a multiple of both",
        )

    # --- data: position p of the training is always the same picture
    task, size = task_of(settings.network), (settings.width, settings.height)
    check_labels(task, mixture)
    augmentation = augmentation or task.augmentation
    if not settings.flip:
        augmentation = replace(augmentation, flip=0)
    pictures = Pictures(mixture, size, augmentation, settings.seed, task.picture)

    # --- network: channels last, which CPUs and tensor cores convolve without reordering
    torch.manual_seed(settings.seed)
    file = folder / checkpoint.CHECKPOINT
    pruned = pruned_in(file if resume else start_from)
    network = build_network(settings.network, len(mixture.classes), pruned).to(device)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    started_from: dict[str, Any] | None = None
    if start_from is not None:
        require_network(start_from, settings.network)
        start = checkpoint.load(start_from)
        load_weights(network, start, mixture.classes, str(start_from))
        started_from = start.get("trained")
    judge = task.loss(mixture, size, device)

    # --- optimiser
    optimiser = make_optimiser(settings.optimiser, network, settings.weight_decay)
    average = Average(network, settings.average_decay)
    scaler = torch.amp.GradScaler(device.type, enabled=precision == "fp16")
    full_rate = settings.rate or RATES[settings.optimiser]

    # --- resume: everything above is put into the state that it had
    first_step, spent_s = 0, 0.0
    if resume:
        state = checkpoint.load(file)
        check_same_recipe(state, settings, augmentation, mixture.classes, file)
        network.load_state_dict(state["network"])
        average.network.load_state_dict(state["average"])
        optimiser.load_state_dict(state["optimiser"])
        scaler.load_state_dict(state["scaler"])
        first_step, spent_s = state["step"], state["spent_s"]
        started_from = state.get("trained", {}).get("started_from")
        checkpoint.restore_random_state(state["random"])
    elif processes.is_first:
        folder.mkdir(parents=True, exist_ok=True)

    def save(step: int, spent_s: float) -> None:
        if processes.is_first:
            state: dict[str, Any] = {
                "trained": trained_section(
                    mixture, settings, step=step, spent_s=spent_s, world=processes.world, started_from=started_from
                ),
                "pruned": pruned,
                "recipe": settings.recipe,
                "augmentation": asdict(augmentation),
                "classes": list(mixture.classes),
                "step": step,
                "spent_s": spent_s,
                "network": network.state_dict(),
                "average": average.state_dict(),
                "optimiser": optimiser.state_dict(),
                "scaler": scaler.state_dict(),
            }
            checkpoint.save(file, state)

    def last_good() -> Path | None:
        return checkpoint.last_good(file) if processes.is_first else None

    # --- loop
    steps = _FOREVER if settings.minutes else max(1, round(settings.epochs * len(mixture) / settings.batch))
    stream = batches(
        pictures,
        Share(settings.batch // settings.accumulate, processes.rank, processes.world),
        task.target,
        first_step=first_step * settings.accumulate,
        steps=(steps - first_step) * settings.accumulate,
        workers=machine.workers,
        pin=device.type == "cuda",
    )
    trained: nn.Module = network
    if processes.world > 1:
        # Only the first process's BatchNorm statistics are ever used: to send them at every step would be in vain.
        trained = DistributedDataParallel(network, broadcast_buffers=False, gradient_as_bucket_view=True)
    began = saved = time.monotonic()
    follow = partial(TrainingLog, folder, parts=task.parts, measure=task.measure, first_step=first_step)
    with follow(shows_bar=shows_bar) if processes.is_first else nullcontext() as log:
        step = first_step
        is_stopped = False
        while step < steps and not (is_stopped := processes.any(should_stop())):
            step_began = time.monotonic()
            progress = (spent_s + step_began - began) / 60 / settings.minutes if settings.minutes else step / steps
            if progress >= 1:
                break
            trained.train()
            if settings.freeze_norm:
                freeze_norm(network)
            rate = learning_rate(step, progress, full=full_rate, warm_up_steps=settings.warm_up_steps)
            for group in optimiser.param_groups:
                group["lr"] = rate

            optimiser.zero_grad(set_to_none=True)
            sums, waited_s = dict.fromkeys(("loss", *task.parts), 0.0), 0.0
            for part in range(settings.accumulate):
                asked = time.monotonic()
                batch = next(stream)
                waited_s += time.monotonic() - asked
                is_last = part == settings.accumulate - 1
                alone = (
                    trained.no_sync() if isinstance(trained, DistributedDataParallel) and not is_last else nullcontext()
                )
                with alone:
                    judged = forward(trained, batch, judge, device, autocast)
                    check_finite("loss", judged.total.detach(), step, batch, mixture, last_good)
                    scaler.scale(judged.total / settings.accumulate).backward()  # type: ignore[no-untyped-call]
                for name, value in {"loss": judged.total.detach(), **judged.parts}.items():
                    sums[name] += float(value) / settings.accumulate
            losses = dict(zip(sums, processes.mean(list(sums.values())), strict=True))
            scaler.unscale_(optimiser)
            length = nn.utils.clip_grad_norm_(network.parameters(), settings.clip)
            if not scaler.is_enabled():  # with fp16 a step whose gradients overflowed is left out, and that is usual
                check_finite("gradient's length", length, step, batch, mixture, last_good)
            if processes.is_first:
                checkpoint.proven(file)
            scaler.step(optimiser)
            scaler.update()
            average.update(network, step)

            step += 1
            now = time.monotonic()
            if log is not None:
                row = {
                    "step": step - 1,
                    **losses,
                    "rate": rate,
                    "gradient": float(length),
                    "images_per_s": settings.batch / (now - step_began),
                    "waiting": waited_s / (now - step_began),
                }
                done = (spent_s + now - began) / 60 / settings.minutes if settings.minutes else step / steps
                log.step(row, done)
                if validation is not None and int(done * validations) > int(progress * validations):
                    figures = task.validate(average.network, validation, size)
                    log.validated(step, figures)
                    told(done, figures)
            if now - saved > machine.checkpoint_seconds:
                save(step, spent_s + now - began)
                saved = now
        save(step, spent_s + time.monotonic() - began)
        if processes.is_first:
            checkpoint.proven(file)

    # --- what comes of it
    processes.leave()
    if is_stopped or not processes.is_first or not makes_bundle:
        return None
    bundle = export_checkpoint(file, folder / "bundle", replace_existing=True)
    write_report(folder, bundle, validation, mixture, threads=machine.threads)
    return bundle


def check_labels(task: Task, mixture: Mixture) -> None:
    """Raise `TrainingError` where a mixture was opened for another kind of network."""
    if mixture.labels is not task.labels:
        raise TrainingError(
            f"a {task.name}", f"learns from {task.labels.value}, not from {mixture.labels.value}", "open these labels"
        )


def forward(
    network: nn.Module, batch: Batch, judge: JudgeBatch, device: torch.device, autocast: torch.dtype | None
) -> Loss:
    """Run a batch through the network and compare what comes out with what is known of it."""
    images = batch.images.to(device, non_blocking=True).float()
    with torch.autocast(device.type, autocast, enabled=autocast is not None):
        raw = network(images)
    return judge(raw, [target.to(device) for target in batch.targets])


def check_finite(
    what: str, value: Tensor, step: int, batch: Batch, mixture: Mixture, last_good: Callable[[], Path | None]
) -> None:
    """Raise `DivergedError` where a value is NaN or infinite: nothing has been learnt from that batch then."""
    if not torch.isfinite(value):
        names = ", ".join(mixture.path_of(source).name for source in batch.sources)
        left = last_good()
        raise DivergedError(
            f"step {step}",
            f"the {what} is {float(value)} on the batch of {names}",
            "look at these images, or train with a smaller --rate; "
            + (f"{left} is the last good checkpoint" if left else "there was no good checkpoint yet"),
        )


def freeze_norm(network: nn.Module) -> None:
    """Let BatchNorm use the statistics that it has, and not change them."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()


def pruned_in(file: Path | None) -> dict[str, Any] | None:
    """What a checkpoint says of the pruning of its network, see `pruning`; None of one that was not pruned."""
    pruned: dict[str, Any] | None = None if file is None else checkpoint.load(file).get("pruned")
    return pruned


def augmentation_of(state: dict[str, Any]) -> Augmentation:
    """How the pictures of a run were varied, as its checkpoint says; an older one does not, and had what is usual."""
    if "augmentation" in state:
        return Augmentation(**state["augmentation"])
    usual = task_of(state["recipe"]["network"]).augmentation
    return usual if state["recipe"].get("flip", True) else replace(usual, flip=0)


def load_weights(network: nn.Module, state: dict[str, Any], classes: Sequence[str], where: str) -> None:
    """Take the averaged weights of a checkpoint. Raises `TrainingError` where it is of another network."""
    if tuple(state["classes"]) != tuple(classes):
        what = f"has the classes {', '.join(state['classes'])}, and the data {', '.join(classes)}"
        raise TrainingError(where, what, "map the data's classes onto these in a mixture.toml, or give other weights")
    try:
        network.load_state_dict(state["average"])
    except RuntimeError:
        name = state["recipe"]["network"]
        raise TrainingError(where, f"holds other weights than its network {name!r} has", "train it again") from None


def require_network(file: Path | None, network: str) -> None:
    """Raise `TrainingError` where a checkpoint to begin with is of another network than is to be trained."""
    if file is None or not file.exists():
        return
    theirs = checkpoint.load(file)["recipe"]["network"]
    if theirs != network:
        raise TrainingError(str(file), f"is of the network {theirs!r}, and not {network!r}", f"give --network {theirs}")


def check_same_recipe(
    state: dict[str, Any], settings: Settings, augmentation: Augmentation, classes: Sequence[str], file: Path
) -> None:
    """Raise `TrainingError` where a checkpoint was made with other settings: going on would be neither training."""
    asked = {**settings.recipe, **asdict(augmentation)}
    known = {**state["recipe"], **state.get("augmentation", {})}  # an older checkpoint lacks what was usual then
    for name, value in asked.items():
        if name in known and known[name] != value:
            remedy = "resume it as it began, with the same options and --recipe"
            raise TrainingError(str(file), f"was made with {name} {known[name]}, not {value}", remedy)
    if tuple(state["classes"]) != tuple(classes):
        raise TrainingError(str(file), f"has the classes {', '.join(state['classes'])}", "resume it with its own data")


def export_checkpoint(
    file: Path, folder: Path, size: tuple[int, int] | None = None, *, replace_existing: bool = False
) -> Bundle:
    """Make a bundle of a checkpoint's averaged weights. Raises `TrainingError`, `BundleError`."""
    state = checkpoint.load(file)
    task = task_of(state["recipe"]["network"])
    network = build_network(state["recipe"]["network"], len(state["classes"]), state.get("pruned"))
    load_weights(network, state, state["classes"], str(file))
    size = size or (state["recipe"]["width"], state["recipe"]["height"])
    trained = state.get("trained")
    if state.get("pruned"):
        trained = {**(trained or {}), "pruned": state["pruned"]}
    return task.export(network, state["classes"], size, folder, trained=trained, replace_existing=replace_existing)
