"""A search from beginning to end: trials, then the best recipe and the usual one over several seeds."""

from __future__ import annotations

import csv
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import Any

import numpy as np
from optuna.trial import FrozenTrial, TrialState

from engines.errors import TrainingError
from engines.training.recipe import Recipe
from engines.training.tuning.search import (
    Say,
    Stopping,
    Tuning,
    begin,
    in_use,
    in_words,
    is_usual,
    open_study,
    require_splits,
    search,
    train_shortly,
)

TRIALS, COMPARISON, RECIPE = "trials.csv", "comparison.csv", "recipe.toml"
USUAL, BEST = "usual", "best"
_DIED = 70  # exit code of a process whose search is gone
_WATCH_EVERY_S = 0.2


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a search. `best`: None where nothing was better than the usual recipe in its trial.

    `usual_values` and `best_values`: of each seed, in the same order.
    """

    complete: int
    pruned: int
    usual_value: float
    best_value: float
    best: Recipe | None
    best_words: str
    usual_values: tuple[float, ...] = ()
    best_values: tuple[float, ...] = ()

    @property
    def gain(self) -> float:
        """By how much the best recipe is better, in the mean over the seeds."""
        return float(np.mean(self.best_values) - np.mean(self.usual_values)) if self.best_values else 0.0

    @property
    def seeds_won(self) -> int:
        """Of the seeds, in how many it is better."""
        return sum(best > usual for best, usual in zip(self.best_values, self.usual_values, strict=True))


def tune(tuning: Tuning, *, stopping: Stopping = lambda: False, say: Say = lambda _line: None) -> Outcome | None:
    """Search, compare, and write the best recipe, the trials and the comparison. None where it was stopped.

    The same call goes on with what a search left that was stopped or killed. Raises `TrainingError`, `DatasetError`.
    """
    require_splits(tuning)
    with in_use(tuning):
        return _tune(tuning, stopping, say)


def _tune(tuning: Tuning, stopping: Stopping, say: Say) -> Outcome | None:
    begin(tuning)
    with _processes(tuning, stopping) as workers:
        workers.all([partial(search, tuning, process) for process in range(tuning.processes)], say)
        study = open_study(tuning)
        trials = study.get_trials(deepcopy=False)
        _write_trials(tuning.folder / TRIALS, trials)
        if stopping():
            return None
        complete = [trial for trial in trials if trial.state is TrialState.COMPLETE]
        usual = next((trial for trial in complete if is_usual(trial)), None)
        if usual is None:
            raise TrainingError(
                "the usual recipe", "came to no end in its trial", "try another --batch or more --epochs"
            )
        best = max(complete, key=lambda trial: (trial.value or 0.0, -trial.number))
        counts = len(complete), sum(trial.state is TrialState.PRUNED for trial in trials)
        if best is usual:
            return Outcome(*counts, usual.value or 0.0, usual.value or 0.0, None, "")
        recipe = tuning.space.recipe_of(best.params)
        compared = [(USUAL, usual.number, Recipe()), (BEST, best.number, recipe)]
        seeds = range(tuning.settings.seed + 1, tuning.settings.seed + 1 + tuning.seeds)  # not the one of the trials
        known = _read_comparison(tuning.folder / COMPARISON, tuning.compare)
        missing = [
            partial(_compare, tuning, name, number, tried, seed)
            for seed in seeds
            for name, number, tried in compared
            if (number, seed) not in known
        ]
        workers.all(missing, say)
    if stopping():
        return None
    known = _read_comparison(tuning.folder / COMPARISON, tuning.compare)
    outcome = Outcome(
        *counts,
        usual.value or 0.0,
        best.value or 0.0,
        recipe,
        in_words(best.params),
        tuple(known[usual.number, seed] for seed in seeds),
        tuple(known[best.number, seed] for seed in seeds),
    )
    _write_recipe(tuning, outcome, recipe)
    return outcome


def _compare(tuning: Tuning, name: str, number: int, recipe: Recipe, seed: int, stopping: Stopping, say: Say) -> None:
    """Train by one recipe with one seed, and note what came of it."""
    values: list[float] = []
    folder = tuning.folder / "compared" / f"{name}-{number:04}-seed{seed}-{tuning.compare}"
    train_shortly(tuning, recipe, seed, folder, tuning.compare, lambda _progress, value: values.append(value), stopping)
    if stopping():
        return
    with (tuning.folder / COMPARISON).open("a", newline="") as rows:  # one write a row: whole or not there
        rows.write(f"{name},{number},{seed},{tuning.compare},{values[-1]:.6f}\n")
    say(f"seed {seed}, the {name} recipe: {values[-1]:.3f}")


def _read_comparison(file: Path, split: str) -> dict[tuple[int, int], float]:
    """What is known of a trial's recipe with a seed, on one split. Begins the file where there is none."""
    if not file.is_file():
        file.write_text("recipe,trial,seed,split,value\n")  # before several processes write rows below it
    with file.open(newline="") as rows:
        of_split = [row for row in csv.DictReader(rows) if row["split"] == split]
    return {(int(row["trial"]), int(row["seed"])): float(row["value"]) for row in of_split}


def _write_trials(file: Path, trials: list[FrozenTrial]) -> None:
    """Every trial with its parameters, as a table."""
    names = sorted({name for trial in trials for name in trial.params})
    draft = file.with_name(f".{file.name}.part")
    with draft.open("w", newline="") as target:
        rows = csv.writer(target)
        rows.writerow(["trial", "state", "value", "last", "seconds", *names])
        for trial in trials:
            last = trial.intermediate_values[max(trial.intermediate_values)] if trial.intermediate_values else ""
            seconds = f"{trial.duration.total_seconds():.1f}" if trial.duration else ""
            value = "" if trial.value is None else trial.value
            state = "usual" if is_usual(trial) and trial.state is TrialState.COMPLETE else trial.state.name.lower()
            rows.writerow([trial.number, state, value, last, seconds, *(trial.params.get(name, "") for name in names)])
    draft.replace(file)


def _write_recipe(tuning: Tuning, outcome: Outcome, recipe: Recipe) -> None:
    """The best recipe, with what it is worth said in it."""
    seeds = f"{len(outcome.best_values)} seeds on {tuning.compare}"
    means = f"{np.mean(outcome.best_values):.4f}, the usual recipe {np.mean(outcome.usual_values):.4f}"
    text = recipe.text(
        f"Found by `perception engine tune` for {tuning.settings.network}: {outcome.complete + outcome.pruned} trials,",
        f"{tuning.settings.epochs:g} epochs each. Over {seeds}: {means}.",
        *(["It is not better: what the search saw was chance."] if outcome.gain <= 0 else []),
    )
    draft = tuning.folder / f".{RECIPE}.part"
    draft.write_text(text, encoding="utf-8")
    draft.replace(tuning.folder / RECIPE)


class _Workers:
    """Does jobs in this process, one after the other, or in several."""

    def __init__(self, stopping: Stopping, pool: ProcessPoolExecutor | None, stop: Any) -> None:
        self._stopping, self._pool, self._stop = stopping, pool, stop

    def all(self, jobs: Sequence[Callable[[Stopping, Say], None]], say: Say) -> None:
        """Return when all are done. Raises what one of them raised."""
        if self._pool is None:
            for job in jobs:
                if not self._stopping():
                    job(self._stopping, say)
            return
        waiting: set[Future[None]] = {self._pool.submit(_work, job) for job in jobs}
        while waiting:
            done, waiting = wait(waiting, timeout=_WATCH_EVERY_S, return_when=FIRST_COMPLETED)
            if self._stopping():
                self._stop.set()
            try:
                for future in done:
                    future.result()
            except BrokenProcessPool:
                remedy = (
                    "it may have been the kernel, for want of memory: try fewer --processes; the same command goes on"
                )
                raise TrainingError("tune", "one of its processes was killed", remedy) from None
            except BaseException:
                self._stop.set()  # the others end too
                raise


@contextmanager
def _processes(tuning: Tuning, stopping: Stopping) -> Iterator[_Workers]:
    if tuning.processes == 1:
        yield _Workers(stopping, None, None)
        return
    context = get_context("spawn")  # torch's threads do not live through a fork
    stop = context.Event()
    with ProcessPoolExecutor(tuning.processes, context, initializer=_begin_process, initargs=(stop,)) as pool:
        yield _Workers(stopping, pool, stop)


_stop: Any = None  # in a worker's process: set when the search ends


def _begin_process(stop: Any) -> None:
    global _stop  # noqa: PLW0603  a pool's process is told nothing else before its first job
    _stop = stop
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of a terminal it reaches all; the search ends its processes itself
    threading.Thread(target=_end_with_the_search, name="parent", daemon=True).start()


def _end_with_the_search() -> None:
    """A search that was killed leaves no process behind, which would write into the journal of the next."""
    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(_DIED)


def _work(job: Callable[[Stopping, Say], None]) -> None:
    job(_stop.is_set, lambda line: print(line, flush=True))
