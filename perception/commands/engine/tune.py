"""`perception engine tune`: a better recipe for a training, searched by short ones."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from perception.commands.arguments import finite, one_of, parse_size
from perception.commands.engine.training import require_judging, require_training, usual_network

if TYPE_CHECKING:
    from engines.training.tuning import Outcome, Tuning


def tune(
    data: Annotated[
        Path, typer.Argument(metavar="DATA", help="A mixture.toml, or one dataset: its folder or data.yaml.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Folder of this search.")],
    network: Annotated[
        str | None, typer.Option(metavar="NAME", help="As for `train`; default: the smallest for these labels.")
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(metavar="WIDTHxHEIGHT", help="Of the network's input; default: 416x256, classifiers 64x64."),
    ] = None,
    root: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where the paths in a mixture.toml begin; default: its folder.")
    ] = None,
    split: Annotated[str, typer.Option(metavar="NAME", help="The part of the data to learn from.")] = "train",
    validate: Annotated[str, typer.Option(metavar="NAME", help="The split that tells trials apart.")] = "val",
    compare: Annotated[
        str | None, typer.Option(metavar="NAME", help="The split on which seeds decide; default: that of --validate.")
    ] = None,
    space: Annotated[
        Path | None, typer.Option(metavar="FILE", help="What is varied; default: rate, decay, augmentation.")
    ] = None,
    trials: Annotated[int, typer.Option(min=2, help="Recipes to try, the usual one among them.")] = 20,
    epochs: Annotated[float, typer.Option(min=0.001, help="Of each short training.")] = 10.0,
    batch: Annotated[int, typer.Option(min=1, help="Pictures a step.")] = 16,
    seeds: Annotated[int, typer.Option(min=1, help="With which the best recipe has to win, beside the usual one.")] = 3,
    processes: Annotated[int, typer.Option(min=1, help="Trials at a time, each in a process.")] = 1,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:1.")] = "auto",
    precision: Annotated[str, typer.Option(help="auto, fp32, bf16 or fp16.")] = "auto",
    threads: Annotated[int, typer.Option(min=1, help="Threads that compute, on a CPU, of each trial.")] = 1,
    seed: Annotated[int, typer.Option(min=0, help="Of all chance: proposals, weights, pictures.")] = 0,
) -> None:
    """Find a recipe that trains better than the usual one: `engine train --recipe DIR/recipe.toml`.

    Optuna proposes, trials that fall behind are cut off, and in the end the best recipe and the usual one are trained
    with --seeds other seeds each: only that tells luck from gain. DIR gets recipe.toml, trials.csv, comparison.csv and
    each trial's curves. A search that was killed, or stopped with Ctrl-C (130), goes on with the same command; with
    more --trials it goes further.
    """
    from perception.commands.signals import stopped_by_signals
    from perception.errors import UsageError

    require_training("optuna", extra="train,tune")
    finite("--epochs", epochs)
    from engines.training.settings import Machine, Settings
    from engines.training.tasks import TASKS, task_of
    from engines.training.tuning import Tuning, read_space, usual_space
    from engines.training.tuning import tune as run

    one_of("--network", network, tuple(name for task in TASKS for name in task.networks))
    network = network or usual_network(data)
    task = task_of(network)
    require_judging(task.labels)
    width, height = parse_size(size) or task.size
    if width % task.multiple or height % task.multiple:
        usual = f"{task.size[0]}x{task.size[1]}"
        raise UsageError(f"--size {size}", f"is no multiple of {task.multiple} both ways", f"write for example {usual}")
    tuning = Tuning(
        folder=output,
        data=data,
        root=root,
        split=split,
        validate=validate,
        compare=compare or validate,
        settings=Settings(network=network, width=width, height=height, batch=batch, epochs=epochs, seed=seed),
        machine=Machine(device, precision, threads),
        space=usual_space(task.name) if space is None else read_space(space),
        trials=trials,
        seeds=seeds,
        processes=processes,
    )
    with stopped_by_signals() as stopped:
        outcome = run(tuning, stopping=lambda: bool(stopped), say=print)
    if outcome is None:
        print("stopped; the same command goes on")
        raise typer.Exit(stopped[0])
    _print_outcome(tuning, outcome, task.measure)


def _print_outcome(tuning: Tuning, outcome: Outcome, measure: str) -> None:
    print(f"{outcome.complete + outcome.pruned} trials, {outcome.pruned} of them cut off")
    if outcome.best is None:
        print(f"no recipe was better than the usual one ({measure} {outcome.usual_value:.3f})")
        return
    print(f"the best: {outcome.best_words}")
    seeds = len(outcome.best_values)
    for name, of_trial, values in (
        ("usual", outcome.usual_value, outcome.usual_values),
        ("best", outcome.best_value, outcome.best_values),
    ):
        mean = sum(values) / seeds
        of_each = " ".join(f"{value:.3f}" for value in values)
        print(f"  {name:<6} {measure} in its trial {of_trial:.3f}; over {seeds} other seeds {mean:.3f} ({of_each})")
    how = f"{abs(outcome.gain):.3f}, and wins with {outcome.seeds_won} of {seeds} seeds"
    print(f"better by {how}" if outcome.gain > 0 else f"no better: what the search saw was chance ({how})")
    if tuning.compare == tuning.validate:
        print(f"its pictures ({tuning.compare}) chose it too, which flatters it: --compare SPLIT decides on others")
    print(f"wrote {tuning.folder / 'recipe.toml'}, for `perception engine train --recipe`")
