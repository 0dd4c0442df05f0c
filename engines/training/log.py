"""A training as it is followed: a row a step in a CSV file, TensorBoard's curves, a bar on the terminal."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

CURVE, VALIDATION = "curve.csv", "validation.csv"
# Columns around those of the loss. `waiting`: the share of a step that was spent waiting for its pictures.
BEFORE_PARTS, AFTER_PARTS = ("step", "loss"), ("rate", "gradient", "images_per_s", "waiting")


class TrainingLog:
    """Follows one training. A context manager; `first_step`: later rows are cut off, for they are made again."""

    def __init__(self, folder: Path, *, parts: Sequence[str], measure: str, first_step: int, shows_bar: bool) -> None:
        """`parts` of the loss, by name; `measure`: what a validation's figures are."""
        self._stack = ExitStack()
        self._folder = folder
        self._rows_kept = _cut(folder / CURVE, first_step)
        _cut(folder / VALIDATION, first_step + 1 if first_step else 0)  # its rows are of what was learnt by then
        file = self._stack.enter_context((folder / CURVE).open("a", newline="", buffering=1))
        self._columns = (*BEFORE_PARTS, *parts, *AFTER_PARTS)
        self._measure = measure
        self._rows = csv.DictWriter(file, self._columns, extrasaction="ignore")
        if not self._rows_kept:
            self._rows.writeheader()
        self._board = _tensorboard(folder, first_step)
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            TextColumn("loss {task.fields[loss]:.3f}  {task.fields[speed]:.1f} images/s"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            speed_estimate_period=120,
            disable=not shows_bar,
        )
        self._task: TaskID | None = None

    def step(self, row: Mapping[str, float], progress: float) -> None:
        """Note one step; `progress` 0..1 of the whole training."""
        self._rows.writerow({name: _plain(value) for name, value in row.items()})
        if self._board is not None and int(row["step"]) % 10 == 0:
            for name in self._columns[1:]:
                self._board.add_scalar(name, row[name], int(row["step"]))
        loss, speed = row["loss"], row["images_per_s"]
        if self._task is None:
            self._task = self._bar.add_task("training", total=1.0, loss=loss, speed=speed)
        description = f"step {int(row['step']):,}"
        self._bar.update(self._task, completed=progress, description=description, loss=loss, speed=speed)

    def validated(self, step: int, figures: Mapping[str, float]) -> None:
        """Note what the network is worth after so many steps, by class."""
        file = self._folder / VALIDATION
        is_new = not file.exists()
        with file.open("a", newline="") as rows:
            if is_new:
                csv.writer(rows).writerow(["step", *figures])
            csv.writer(rows).writerow([step, *(f"{value:.4f}" for value in figures.values())])
        if self._board is not None:
            for name, value in figures.items():
                self._board.add_scalar(f"{self._measure.lower()}/{name}", value, step)
        of_each = ", ".join(f"{name} {value:.3f}" for name, value in figures.items())
        if not self._bar.disable:
            self._bar.console.print(f"step {step:,}: {self._measure} {of_each}")

    def __enter__(self) -> TrainingLog:
        self._stack.enter_context(self._bar)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._board is not None:
            self._board.close()
        self._stack.__exit__(kind, error, trace)


def _plain(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.9g}"


def _cut(file: Path, first_step: int) -> int:
    """Keep the rows before a step, and give how many lines there are then."""
    if not file.is_file() or not first_step:
        file.unlink(missing_ok=True)
        return 0
    lines = file.read_text().splitlines(keepends=True)
    kept = [line for line in lines if line.endswith("\n") and _is_before(line, first_step)]
    draft = file.with_name(f".{file.name}.part")
    draft.write_text("".join(kept))
    draft.replace(file)
    return len(kept)


def _is_before(line: str, first_step: int) -> bool:
    first = line.partition(",")[0]
    return not first.isdecimal() or int(first) < first_step


def _tensorboard(folder: Path, first_step: int) -> Any:
    """TensorBoard's writer, or None where the package is not installed: its curves are the CSV's."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder / "tensorboard"), purge_step=first_step, flush_secs=30)
