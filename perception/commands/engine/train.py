"""`perception engine train`: a network made from labelled images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from perception.commands.arguments import finite, one_of, parse_size
from perception.commands.engine.training import checkpoint_of, require_judging, require_training, usual_network

if TYPE_CHECKING:
    from engines.training.datasets import Augmentation, Mixture
    from engines.training.settings import Settings


def train(  # noqa: PLR0915  each option is a line
    data: Annotated[
        Path, typer.Argument(metavar="DATA", help="A mixture.toml, or one dataset: its folder or data.yaml.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Folder of this training.")],
    network: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Detectors: nano, nano-patch, small, medium; classifiers: classifier-nano, classifier-small; "
            "segmenters: segmenter-nano, segmenter-small. Default: classifier-nano for images by class "
            "(CLASS/NAME.jpg), segmenter-nano for masks, else nano.",
        ),
    ] = None,
    teacher: Annotated[
        list[Path] | None,
        typer.Option(metavar="BUNDLE", help="A detector to learn from beside the labels; may be given again."),
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(metavar="WIDTHxHEIGHT", help="Of the network's input; default: 416x256, classifiers 64x64."),
    ] = None,
    root: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where the paths in a mixture.toml begin; default: its folder.")
    ] = None,
    split: Annotated[str, typer.Option(metavar="NAME", help="The part of the data to learn from.")] = "train",
    validate: Annotated[
        str | None, typer.Option(metavar="NAME", help="A split to judge by on the way, for example val.")
    ] = None,
    epochs: Annotated[
        float | None,
        typer.Option(
            min=0.001, help="How often as many pictures are seen as there are images; default: 100, --qat 10."
        ),
    ] = None,
    minutes: Annotated[float | None, typer.Option(min=0.01, help="Train so long instead.")] = None,
    batch: Annotated[int, typer.Option(min=1, help="Pictures a step, of all processes together.")] = 16,
    accumulate: Annotated[int, typer.Option(min=1, help="Parts in which a step is computed, to save memory.")] = 1,
    optimiser: Annotated[
        str, typer.Option("--optimiser", "--optimizer", help="adam, adamw, rmsprop or sgd.")
    ] = "adamw",
    rate: Annotated[
        float | None, typer.Option(min=0, help="Highest learning rate; default: usual for the optimiser.")
    ] = None,
    recipe: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Settings and augmentation that `engine tune` found.")
    ] = None,
    flip: Annotated[
        bool, typer.Option("--flip/--no-flip", help="Show pictures mirrored too; signs mean something else then.")
    ] = True,
    weights: Annotated[
        Path | None,
        typer.Option(metavar="RUN", help="Start from the weights of another training."),
    ] = None,
    qat: Annotated[
        bool,
        typer.Option("--qat", help="Fine-tune --weights rounded as INT8 is; the bundle is an INT8 one."),
    ] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from DIR's checkpoint.")] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:1.")] = "auto",
    precision: Annotated[str, typer.Option(help="auto, fp32, bf16 or fp16.")] = "auto",
    threads: Annotated[int, typer.Option(min=1, help="Threads that compute, on a CPU.")] = 1,
    workers: Annotated[int, typer.Option(min=0, help="Processes that make pictures; 0: none beside this.")] = 0,
    seed: Annotated[int, typer.Option(min=0, help="Of all chance: weights, pictures.")] = 0,
    checkpoint_seconds: Annotated[float, typer.Option(min=0, help="Between checkpoints, at least.")] = 60.0,
) -> None:
    """Train a detector, a classifier or a segmenter on labelled images, and make a bundle of it.

    DIR gets checkpoint.pt, curve.csv, TensorBoard's files and, at the end, the bundle `bundle` and the page
    report.html, which judges it by --validate. A training that was killed, or stopped with Ctrl-C (130), goes on with
    the same command and --resume. In several processes, one for each GPU or core:
    torchrun --nproc-per-node 2 --no-python perception engine train ...
    """
    from perception.commands.signals import stopped_by_signals
    from perception.errors import UsageError

    require_training()
    finite("--epochs", epochs)
    finite("--minutes", minutes)
    from engines.training.checkpoint import CHECKPOINT
    from engines.training.datasets import Labels, open_mixture
    from engines.training.device import join_processes
    from engines.training.networks.cost import cost_of
    from engines.training.optimisation import RATES
    from engines.training.request import Request
    from engines.training.settings import Machine, Settings
    from engines.training.tasks import TASKS, build_network, task_of
    from engines.training.trainer import pruned_in, require_network
    from engines.training.trainer import train as run

    one_of("--network", network, tuple(name for task in TASKS for name in task.networks))
    one_of("--optimiser", optimiser, tuple(RATES))
    not_for_qat = {
        "--network": network,
        "--size": size,
        "--recipe": recipe,
        "--accumulate": accumulate > 1,
        "--precision": precision not in ("auto", "fp32"),
    }
    network = network or usual_network(data)
    task = task_of(network)
    width, height = parse_size(size) or task.size
    if width % task.multiple or height % task.multiple:
        usual = f"{task.size[0]}x{task.size[1]}"
        raise UsageError(f"--size {size}", f"is no multiple of {task.multiple} both ways", f"write for example {usual}")
    if teacher and task.labels is not Labels.BOXES:
        raise UsageError("--teacher", f"teaches boxes, and {network} is a {task.name}", "leave it away")
    if validate:
        require_judging(task.labels)
    if weights is not None:
        weights = checkpoint_of(weights)
    if (output / CHECKPOINT).exists() and not resume:
        raise UsageError(str(output), "holds a training already", "go on with --resume, or choose another folder")
    mixture = open_mixture(data, split, root=root, labels=task.labels)
    validation = open_mixture(data, validate, root=root, labels=task.labels) if validate else None
    if qat:
        from perception.commands.engine.qat import FineTuning, check_options, fine_tune

        check_options([option for option, given in not_for_qat.items() if given])
        if teacher:
            mixture = taught(mixture, data, teacher, output, threads)
        how = FineTuning(weights, resume, epochs, minutes, batch, optimiser, rate, flip, seed)
        fine_tune(mixture, validation, output, how, Machine(device, precision, threads, workers))
        return
    from_where = output / CHECKPOINT if resume else weights
    require_network(from_where, network)
    pruned = pruned_in(from_where)
    cost = cost_of(build_network(network, len(mixture.classes), pruned), width, height)
    processes = join_processes(device)
    if processes.is_first:
        print(f"{network}: {cost} at {width}x{height}, classes {', '.join(mixture.classes)}")
        print(f"{len(mixture)} images of {len(mixture.parts)} datasets")
    if teacher:
        with processes.first_goes_first():
            mixture = taught(mixture, data, teacher, output, threads)
    settings = Settings(
        network=network,
        width=width,
        height=height,
        batch=batch,
        accumulate=accumulate,
        epochs=100 if epochs is None else epochs,
        minutes=minutes,
        optimiser=optimiser,
        rate=rate,
        flip=flip,
        seed=seed,
    )
    settings, augmentation = _by_recipe(recipe, settings, task.augmentation)
    machine = Machine(device, precision, threads, workers, checkpoint_seconds)
    unnoted = [Request.of(data, root, split, validate)] if processes.is_first else []

    def should_stop() -> bool:
        if unnoted:  # now its folder is there, and one that is killed can be reported on
            unnoted.pop().note(output)
        return bool(stopped)

    with stopped_by_signals() as stopped:
        bundle = run(
            mixture,
            output,
            settings,
            machine,
            augmentation=augmentation,
            resume=resume,
            start_from=weights,
            validation=validation,
            should_stop=should_stop,
        )
    if stopped and bundle is None:
        if processes.is_first:
            print("stopped; go on with the same command and --resume")
        raise typer.Exit(stopped[0])
    if bundle is not None:
        print(f"{bundle.folder}: {len(bundle.labels)} classes, ready for replay, evaluate and calibrate")


def _by_recipe(file: Path | None, asked: Settings, usual: Augmentation) -> tuple[Settings, Augmentation]:
    """The settings and the augmentation of a recipe. Raises `UsageError` where an option says otherwise."""
    from engines.training.recipe import read_recipe
    from engines.training.settings import Settings
    from perception.errors import UsageError

    if file is None:
        return asked, usual
    settings, augmentation = read_recipe(file).applied(asked, usual)
    for name in ("rate", "optimiser"):
        option, told = getattr(asked, name), getattr(settings, name)
        if option not in (told, getattr(Settings, name)):
            raise UsageError(f"--{name} {option}", f"{file} says {told}", "leave it away, or change the recipe")
    return settings, augmentation


def taught(mixture: Mixture, data: Path, teachers: list[Path], output: Path, threads: int) -> Mixture:
    """The mixture with what teachers find on its images; what they found before is read from `output`."""
    from rich.progress import Progress

    from engines.bundle import load_bundle
    from engines.training.datasets import taught_classes
    from engines.training.teaching import teach

    with Progress() as bar:
        task = bar.add_task("teachers look", total=len(mixture), visible=False)  # what is read needs no bar
        return teach(
            mixture,
            [load_bundle(path) for path in teachers],
            taught_classes(data),
            output / "taught.npz",
            threads=threads,
            told=lambda done, _all: bar.update(task, completed=done, visible=True),
        )
