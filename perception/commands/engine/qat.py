"""`perception engine train --qat`: a trained network fine-tuned in INT8."""

from __future__ import annotations

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
    seed: int


def fine_tune(mixture: Mixture, validation: Mixture | None, output: Path, how: FineTuning, machine: Machine) -> None:
    """Fine-tune, and say what came of it. Network and size are those of the weights."""
    from engines.training.checkpoint import CHECKPOINT
    from engines.training.qat import fine_tune as run
    from engines.training.settings import Settings
    from perception.commands.signals import stopped_by_signals
    from perception.errors import UsageError

    if how.weights is None:
        raise UsageError("--qat", "fine-tunes a trained network", "say which with --weights RUN/checkpoint.pt")
    if how.resume:
        raise UsageError("--qat --resume", "it is short, and begins anew", "leave --resume away")
    weights = how.weights / CHECKPOINT if how.weights.is_dir() else how.weights
    settings = Settings(
        batch=how.batch,
        epochs=EPOCHS if how.epochs is None else how.epochs,
        minutes=how.minutes,
        optimiser=how.optimiser,
        rate=how.rate,
        seed=how.seed,
    )
    with stopped_by_signals() as stopped:
        bundle = run(
            weights,
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
