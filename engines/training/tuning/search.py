"""The search itself: one journal that all its processes write, and one trial after the other in each of them.

The journal outlives `kill -9`: it is a file that only grows, a line a fact. A trial that was cut off stands in it as
running; `begin` calls it failed and puts its parameters at the head of the queue, so that nothing is tried twice and
nothing is left out, unless its process died of it a third time.
"""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from math import isnan
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from engines.errors import DivergedError, TrainingError
from engines.training.checkpoint import CHECKPOINT
from engines.training.datasets import open_mixture
from engines.training.recipe import Recipe
from engines.training.settings import Machine, Settings
from engines.training.tasks import task_of
from engines.training.trainer import train
from engines.training.tuning.space import Space

JOURNAL, LOCK, IN_USE = "journal.log", "journal.lock", "search.lock"
_STUDY = "recipe"
_WHOLE_AT_FIRST = 4  # trials that are never cut off: what others are compared with
_VALIDATIONS = 8  # of a training
_NOT_BEFORE = 2  # of them a trial is cut off: early figures say little
_AT_MOST = 3  # times that a trial is begun: what a recipe asks for may be more memory than there is
_BEGUN = "begun"  # attribute of a trial: how often it was, and did not end because somebody stopped it
_USUAL = "usual"  # attribute of the trial of the recipe that is there without a search


@dataclass(frozen=True, slots=True)
class Tuning:
    """What is searched, on what, for how long. `settings`: network, size, batch and length of each short training.

    `split` is learned from, `validate` tells trials apart, `compare` decides over `seeds` seeds beside the usual
    recipe. `processes`: trials at a time.
    """

    folder: Path
    data: Path
    root: Path | None
    split: str
    validate: str
    compare: str
    settings: Settings
    machine: Machine
    space: Space
    trials: int = 20
    seeds: int = 3
    processes: int = 1

    @property
    def facts(self) -> dict[str, Any]:
        """What a search that goes on must have in common with the one it goes on with."""
        return {
            "data": str(self.data.resolve()),
            "split": self.split,
            "validate": self.validate,
            "space": self.space.facts,
            **asdict(self.settings),
        }


Say = Callable[[str], None]
Stopping = Callable[[], bool]


@contextmanager
def in_use(tuning: Tuning) -> Iterator[None]:
    """Keep other searches out of the folder: a second one would call the trials of the first failed."""
    try:
        tuning.folder.mkdir(parents=True, exist_ok=True)
        lock = (tuning.folder / IN_USE).open("a")
    except OSError as error:
        raise TrainingError(
            str(tuning.folder), f"cannot be written ({error.strerror})", "choose another place"
        ) from None
    with lock as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # ends with the process, however that ends
        except OSError:
            remedy = "wait for it, or give it more --processes next time"
            raise TrainingError(str(tuning.folder), "is in use by another `engine tune`", remedy) from None
        yield


def require_splits(tuning: Tuning) -> None:
    """Raise `DatasetError` or `TrainingError` where the data cannot teach, tell apart and decide."""
    labels = task_of(tuning.settings.network).labels
    for option, split in (("--split", tuning.split), ("--validate", tuning.validate), ("--compare", tuning.compare)):
        if option != "--split" and split == tuning.split:
            raise TrainingError(f"{option} {split}", "is learned from, so it cannot judge", "give another split")
        open_mixture(tuning.data, split, root=tuning.root, labels=labels)


def begin(tuning: Tuning) -> None:
    """Begin a search, or go on with the folder's. Raises `TrainingError` where that is of another kind."""
    study = open_study(tuning)
    before = study.user_attrs.get("asked")
    if before is None:
        study.set_user_attr("asked", tuning.facts)
        study.enqueue_trial({}, user_attrs={_USUAL: True})
    for name, value in tuning.facts.items():
        if before is not None and before.get(name) != value:
            raise TrainingError(
                str(tuning.folder),
                f"holds a search with {name} {before.get(name)}, not {value}",
                "go on as it began, or choose another folder",
            )
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        study.tell(trial.number, state=TrialState.FAIL)
        begun = trial.user_attrs.get(_BEGUN, 1)
        if begun < _AT_MOST:
            study.enqueue_trial(trial.params, user_attrs=trial.user_attrs | {_BEGUN: begun + 1})
        elif is_usual(trial):
            remedy = "try a smaller --batch or --size"
            raise TrainingError("the usual recipe", f"ended its process {begun} times", remedy)


def open_study(tuning: Tuning, process: int = 0) -> optuna.Study:
    """The journal's study, for one process. Each draws numbers of its own, and others where the search goes on."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        storage=JournalStorage(JournalFileBackend(str(tuning.folder / JOURNAL))),
        study_name=_STUDY,
        direction="maximize",
        load_if_exists=True,
        pruner=optuna.pruners.MedianPruner(n_startup_trials=_WHOLE_AT_FIRST, n_warmup_steps=_NOT_BEFORE),
    )
    seed = tuning.settings.seed + 1000 * len(study.get_trials(deepcopy=False)) + process
    study.sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=_WHOLE_AT_FIRST, constant_liar=True)
    return study


def search(tuning: Tuning, process: int, stopping: Stopping, say: Say) -> None:
    """Try recipes until there are as many trials as were asked for, those of the other processes among them."""
    study = open_study(tuning, process)
    while not stopping():
        with _alone(tuning.folder / LOCK):
            trial = study.ask() if len(counted(study)) < tuning.trials else None
        if trial is None:
            return
        _try(study, trial, tuning, stopping, say)


def counted(study: optuna.Study) -> list[FrozenTrial]:
    """The trials that are done, or being made."""
    states = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING)
    return study.get_trials(deepcopy=False, states=states)


def is_usual(trial: FrozenTrial) -> bool:
    """Whether a trial is of the recipe that is there without a search."""
    return bool(trial.user_attrs.get(_USUAL))


def _try(study: optuna.Study, trial: optuna.Trial, tuning: Tuning, stopping: Stopping, say: Say) -> None:
    recipe = Recipe() if trial.user_attrs.get(_USUAL) else tuning.space.suggest(trial)
    values: list[float] = []
    is_pruned = is_whole = False

    def told(progress: float, value: float) -> None:
        nonlocal is_pruned, is_whole
        values.append(value)
        is_whole = progress >= 1
        trial.report(value, step=round(_VALIDATIONS * progress))
        is_pruned = not (is_whole or trial.user_attrs.get(_USUAL)) and trial.should_prune()

    measure = task_of(tuning.settings.network).measure
    name = f"trial {trial.number:>3}"
    folder = tuning.folder / "trials" / f"{trial.number:04}"
    try:
        train_shortly(
            tuning, recipe, tuning.settings.seed, folder, tuning.validate, told, lambda: is_pruned or stopping()
        )
    except DivergedError as error:
        if trial.user_attrs.get(_USUAL):
            study.tell(trial, state=TrialState.FAIL)
            study.enqueue_trial({}, user_attrs={_USUAL: True})
            raise
        trial.set_user_attr("why", str(error))
        study.tell(trial, state=TrialState.PRUNED)
        say(f"{name}: its loss was no number any more  {in_words(trial.params)}")
        return
    if is_pruned:
        study.tell(trial, state=TrialState.PRUNED)
        say(f"{name}: {measure} {values[-1]:.3f}, cut off  {in_words(trial.params)}")
    elif not is_whole:  # it was stopped: the journal has it as running, and it is made again
        trial.set_user_attr(_BEGUN, trial.user_attrs.get(_BEGUN, 1) - 1)
    else:
        study.tell(trial, values[-1])
        say(f"{name}: {measure} {values[-1]:.3f}  {in_words(trial.params) or 'the usual recipe'}")


def train_shortly(
    tuning: Tuning,
    recipe: Recipe,
    seed: int,
    folder: Path,
    judged_on: str,
    told: Callable[[float, float], None],
    should_stop: Stopping,
) -> None:
    """Train as a recipe says, and leave the curves. `told`: how far it is, and what the network is worth by then."""
    task = task_of(tuning.settings.network)
    mixture = open_mixture(tuning.data, tuning.split, root=tuning.root, labels=task.labels)
    validation = open_mixture(tuning.data, judged_on, root=tuning.root, labels=task.labels)
    settings, augmentation = recipe.applied(replace(tuning.settings, seed=seed), task.augmentation)

    def judged(progress: float, figures: Mapping[str, float]) -> None:
        if isnan(figures["all"]):
            raise TrainingError(f"split {judged_on}", "has nothing to judge by", "give another one with --validate")
        told(progress, figures["all"])

    shutil.rmtree(folder, ignore_errors=True)  # of a trial that was cut off
    try:
        train(
            mixture,
            folder,
            settings,
            tuning.machine,
            augmentation=augmentation,
            validation=validation,
            validations=_VALIDATIONS,
            should_stop=should_stop,
            told=judged,
            shows_bar=False,
            makes_bundle=False,
        )
    finally:
        (folder / CHECKPOINT).unlink(missing_ok=True)  # of twenty megabytes or more each, which nobody asks for again


def in_words(params: Mapping[str, Any]) -> str:
    """A trial's parameters in one line."""
    return ", ".join(
        f"{name.partition('.')[2]} {value:.3g}" if isinstance(value, float) else f"{name.partition('.')[2]} {value}"
        for name, value in params.items()
    )


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Keep other processes out meanwhile."""
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
