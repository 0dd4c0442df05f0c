"""`perception engine prune`: a trained network made smaller, and trained to do with it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from perception.commands.arguments import finite, one_of
from perception.commands.engine.train import taught
from perception.commands.engine.training import checkpoint_of, require_judging, require_training

if TYPE_CHECKING:
    from engines.training.pruning import Stage
    from engines.training.request import Request

EPOCHS = 40  # where nothing is asked for: with 20 a detector of 123 images had not yet learnt again what it lost


def prune(  # noqa: PLR0915  each option is a line
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a training, or its checkpoint.pt.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Folder of the pruned one.")],
    flops: Annotated[float, typer.Option(metavar="SHARE", help="Of the FLOPs to remove, above 0 and below 1.")] = 0.3,
    importance: Annotated[
        str,
        typer.Option(
            metavar="NAME", help="What tells a channel's worth: magnitude (of its weights) or taylor (and gradients)."
        ),
    ] = "magnitude",
    multiple: Annotated[
        int, typer.Option(metavar="N", help="Channels stay multiples of it: 8, 16 or 32, as vector units like them.")
    ] = 16,
    keep: Annotated[
        list[str] | None,
        typer.Option(
            metavar="LAYER",
            help="Leave this part as wide as it is, for example stem or stages.0; may be given again. "
            "Layers whose channels are the network's outputs always stay.",
        ),
    ] = None,
    data: Annotated[
        Path | None, typer.Option(metavar="DATA", help="Default: what RUN was trained on, if that is still there.")
    ] = None,
    root: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where the paths in a mixture.toml begin; default: its folder.")
    ] = None,
    split: Annotated[
        str | None, typer.Option(metavar="NAME", help="The part of the data to learn from; default: RUN's.")
    ] = None,
    validate: Annotated[
        str | None, typer.Option(metavar="NAME", help="The split to judge by; default: RUN's --validate.")
    ] = None,
    teacher: Annotated[
        list[Path] | None,
        typer.Option(metavar="BUNDLE", help="A detector to learn from beside the labels; may be given again."),
    ] = None,
    epochs: Annotated[float, typer.Option(min=0.001, help="Of fine-tuning.")] = EPOCHS,
    minutes: Annotated[float | None, typer.Option(min=0.01, help="Fine-tune so long instead.")] = None,
    batch: Annotated[int, typer.Option(min=1, help="Pictures a step.")] = 16,
    optimiser: Annotated[
        str, typer.Option("--optimiser", "--optimizer", help="adam, adamw, rmsprop or sgd.")
    ] = "adamw",
    rate: Annotated[
        float | None, typer.Option(min=0, help="Highest learning rate; default: half of what a training has.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from DIR's checkpoint.")] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:1.")] = "auto",
    precision: Annotated[str, typer.Option(help="auto, fp32, bf16 or fp16.")] = "auto",
    threads: Annotated[int, typer.Option(min=1, help="Threads that compute, on a CPU.")] = 1,
    workers: Annotated[int, typer.Option(min=0, help="Processes that make pictures; 0: none beside this.")] = 0,
    seed: Annotated[int, typer.Option(min=0, help="Of the pictures.")] = 0,
    checkpoint_seconds: Annotated[float, typer.Option(min=0, help="Between checkpoints, at least.")] = 60.0,
) -> None:
    """Take the channels that matter least from a trained network, and fine-tune what is left.

    Whole channels go, until --flops of the multiplications are gone: no engine needs to know. DIR becomes a training
    like RUN: its bundle is a float one that replay and calibrate take, and report, export, --weights and --qat take its
    checkpoint. Ends with a table: parameters, FLOPs, time and accuracy before, between and after.
    """
    from perception.commands.signals import stopped_by_signals
    from perception.errors import UsageError

    require_training("torch_pruning")
    finite("--epochs", epochs)
    finite("--minutes", minutes)
    from engines.training import checkpoint
    from engines.training.datasets import Labels, open_mixture
    from engines.training.optimisation import RATES
    from engines.training.pruning import IMPORTANCES, PruningRequest
    from engines.training.pruning import prune as begin
    from engines.training.pruning.structured import MULTIPLES
    from engines.training.settings import Machine, Settings
    from engines.training.tasks import task_of

    one_of("--importance", importance, IMPORTANCES)
    one_of("--optimiser", optimiser, tuple(RATES))
    if not 0 < flops < 1:
        raise UsageError(f"--flops {flops:g}", "is no share of them", "write for example 0.3, for 30 % fewer")
    if multiple not in MULTIPLES:
        raise UsageError(f"--multiple {multiple}", "is unknown", "use 8, 16 or 32")
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        remedy = "prune with few --epochs, then torchrun `engine train --weights` of the result"
        raise UsageError("prune", "runs in one process", remedy)
    weights = checkpoint_of(run)
    state = checkpoint.load(weights)
    if (output / checkpoint.CHECKPOINT).exists() and not resume:
        raise UsageError(str(output), "holds a training already", "go on with --resume, or choose another folder")
    task = task_of(state["recipe"]["network"])
    if teacher and task.labels is not Labels.BOXES:
        network = state["recipe"]["network"]
        raise UsageError("--teacher", f"teaches boxes, and {network} is a {task.name}", "leave it away")
    request = _request(weights.parent, data, root, split, validate)
    opened = Path(request.data)
    base = None if request.root is None else Path(request.root)
    if request.validate:
        require_judging(task.labels)
    mixture = open_mixture(opened, request.split, root=base, labels=task.labels)
    validation = open_mixture(opened, request.validate, root=base, labels=task.labels) if request.validate else None
    if teacher:
        output.mkdir(parents=True, exist_ok=True)
        mixture = taught(mixture, opened, teacher, output, threads)
    elif state.get("trained", {}).get("teachers"):
        print(f"{run} learnt from teachers beside its labels: give them with --teacher to go on so")
    unnoted: list[Request] = [request]

    def should_stop() -> bool:
        if unnoted:  # now its folder is there, and one that is killed can be reported on
            unnoted.pop().note(output)
        return bool(stopped)

    with stopped_by_signals() as stopped:
        done = begin(
            weights,
            mixture,
            output,
            PruningRequest(flops, importance, multiple, tuple(keep or ())),
            Settings(batch=batch, epochs=epochs, minutes=minutes, optimiser=optimiser, rate=rate, seed=seed),
            Machine(device, precision, threads, workers, checkpoint_seconds),
            validation=validation,
            resume=resume,
            should_stop=should_stop,
            say=print,
        )
    if done is None:
        print("stopped; go on with the same command and --resume")
        raise typer.Exit(stopped[0])
    bundle, stages = done
    judged_on = f"{task.measure} on {len(validation)} images of {request.validate}" if validation else ""
    print("\n".join(table(stages, judged_on)))
    print(f"{bundle.folder}: {len(bundle.labels)} classes, ready for replay, evaluate and calibrate")


def table(stages: list[Stage], judged_on: str) -> list[str]:
    """The lines of a table, a stage each; `judged_on`: what the accuracy is, and of what."""
    lines = [f"{'':<10}  parameters        FLOPs       time  {judged_on or 'not judged: give --validate'}"]
    first = stages[0]
    for stage in stages:
        cost = stage.cost
        figures = f"{stage.name:<10}  {cost.parameters / 1e6:>8.3f} M  {cost.flops / 1e9:>7.3f} G"
        figures += f"  {stage.milliseconds:>6.2f} ms"
        if stage.accuracy is not None:
            figures += f"  {stage.accuracy['all']:.3f}"
        if stage is not first:
            pairs = (
                (cost.parameters, first.cost.parameters),
                (cost.flops, first.cost.flops),
                (stage.milliseconds, first.milliseconds),
            )
            changes = [f"{now / before - 1:+.0%}" for now, before in pairs]
            if stage.accuracy is not None and first.accuracy is not None:
                changes.append(f"{100 * (stage.accuracy['all'] - first.accuracy['all']):+.1f} points")
            figures += f"  ({', '.join(changes)})"
        lines.append(figures)
    return [*lines, "time: of one inference in float on one thread of ONNX Runtime, the median of interleaved rounds"]


def _request(run: Path, data: Path | None, root: Path | None, split: str | None, validate: str | None) -> Request:
    """What data to open: as asked for, and else as the run's was. Raises `UsageError`."""
    from engines.training.request import Request, read_request
    from perception.errors import UsageError

    noted = read_request(run)
    split = split or (noted.split if noted else "train")
    validate = validate or (noted.validate if noted else None)
    if data is not None:
        return Request.of(data, root, split, validate)
    if noted is None:
        raise UsageError(str(run), "does not say what it was trained on", "give it with --data")
    if not Path(noted.data).exists():
        raise UsageError(noted.data, "is not there any more", "say where the data is with --data")
    return Request(noted.data, noted.root, split, validate)
