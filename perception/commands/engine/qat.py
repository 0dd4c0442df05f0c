"""`perception engine train --qat`: a trained network fine-tuned in INT8."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from engines.training.datasets import Mixture
    from engines.training.settings import Machine

EPOCHS = 10  # where nothing is asked for: it only has to learn to do with its scales


@dataclass(frozen=True, slots=True)
class FineTuning:
    """What `train` was asked for, as far as it matters here."""

    weights: Path | None
    resume: bool
    epochs: float | None
    minutes: float | None
    batch: int
    optimiser: str
    rate: float | None
    flip: bool
    seed: int


def check_options(given: Sequence[str]) -> None:
    """Raise `UsageError` for options that fine-tuning cannot obey, and for several processes."""
    from perception.errors import UsageError

    for option in given:
        what = "network, input and pictures are those of --weights, computed in fp32 in one part"
        raise UsageError(f"--qat {option}", what, f"leave {option} away")
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UsageError("--qat", "runs in one process", "leave torchrun away")


def fine_tune(mixture: Mixture, validation: Mixture | None, output: Path, how: FineTuning, machine: Machine) -> None:
    """Fine-tune, and say what came of it. Network and size are those of the weights."""
    from engines.training.qat import fine_tune as run
    from engines.training.settings import Settings
    from perception.commands.signals import stopped_by_signals
    from perception.errors import UsageError

    if how.weights is None:
        raise UsageError("--qat", "fine-tunes a trained network", "say which with --weights RUN/checkpoint.pt")
    if how.resume:
        raise UsageError("--qat --resume", "it is short, and begins anew", "leave --resume away")
    settings = Settings(
        batch=how.batch,
        epochs=EPOCHS if how.epochs is None else how.epochs,
        minutes=how.minutes,
        optimiser=how.optimiser,
        rate=how.rate,
        flip=how.flip,
        seed=how.seed,
    )
    with stopped_by_signals() as stopped:
        bundle = run(
            how.weights,
            mixture,
            output,
            settings,
            machine,
            validation=validation,
            should_stop=lambda: bool(stopped),
            say=print,
        )
    if bundle is None:
        print("stopped: no bundle was written")
        raise typer.Exit(stopped[0])
    print(f"{bundle.folder}: INT8, {len(bundle.labels)} classes, ready for replay, evaluate and build")
