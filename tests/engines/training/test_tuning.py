"""Searches for a recipe: real short trainings of a tiny classifier on drawn images."""

from __future__ import annotations

import csv
import os
import pickle
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="needs the train extra: pip install 'edge-perception[train]'")
optuna = pytest.importorskip("optuna", reason="needs the tune extra: pip install 'edge-perception[tune]'")

from drawn_classes import write_drawn_classes  # noqa: E402

from engines.errors import DatasetError, DivergedError, TrainingError  # noqa: E402
from engines.training.networks.classifier import NETWORKS, ClassifierShape  # noqa: E402
from engines.training.recipe import Recipe, read_recipe  # noqa: E402
from engines.training.settings import Machine, Settings  # noqa: E402
from engines.training.tasks import TASKS  # noqa: E402
from engines.training.tuning import Outcome, Tuning, read_space, tune, usual_space  # noqa: E402
from engines.training.tuning.search import begin, open_study  # noqa: E402

TINY = ClassifierShape(stem=16, widths=(16, 16), blocks=(1, 1))
ROOT = Path(__file__).parents[3]
# A search as a process of its own, which can be killed; the tiny network is known to it and to its own processes.
SCRIPT = f"""
import pickle, sys
from pathlib import Path
from engines.training.networks.classifier import NETWORKS, ClassifierShape
from engines.training.tuning import tune

NETWORKS["tiny"] = {TINY!r}
if __name__ == "__main__":
    tune(pickle.loads(Path(sys.argv[1]).read_bytes()), say=lambda line: print(line, flush=True))
"""
SPACE = """
[settings]
rate = { low = 1e-3, high = 2e-2, log = true }
warm_up_steps = [0, 2]
[augmentation]
hue = { low = 0.0, high = 0.1 }
"""


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(NETWORKS, "tiny", TINY)


@pytest.fixture
def tuning(tmp_path: Path) -> Tuning:
    data = write_drawn_classes(tmp_path / "drawn")
    write_drawn_classes(data, split="val", seed=1)
    space = tmp_path / "space.toml"
    space.write_text(SPACE)
    settings = Settings(network="tiny", width=64, height=64, batch=4, warm_up_steps=2, epochs=4)
    machine = Machine(device="cpu", precision="fp32")
    read = read_space(space)
    return Tuning(tmp_path / "search", data, None, "train", "val", "val", settings, machine, read, trials=4, seeds=2)


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def process(tuning: Tuning, tmp_path: Path) -> subprocess.Popen[str]:
    script, asked = tmp_path / "search.py", tmp_path / "asked.pickle"
    script.write_text(SCRIPT)
    asked.write_bytes(pickle.dumps(tuning))
    words = [sys.executable, str(script), str(asked)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=environment, start_new_session=True)


def test_a_search_tries_the_usual_recipe_and_others_and_lets_other_seeds_decide(tuning: Tuning) -> None:
    told: list[str] = []
    outcome = tune(tuning, say=told.append)
    assert outcome is not None
    rows = table(tuning.folder / "trials.csv")
    assert [row["state"] for row in rows] == ["usual", "complete", "complete", "complete"]
    assert len({row["settings.rate"] for row in rows[1:]}) == 3
    assert "the usual recipe" in told[0]
    assert outcome.complete == 4
    values = [float(row["value"]) for row in rows]
    assert outcome.usual_value == values[0]
    assert outcome.best_value == max(values)
    assert not list(tuning.folder.rglob("checkpoint.pt")), "the weights of trials are not kept"
    assert (tuning.folder / "trials" / "0003" / "curve.csv").is_file()
    if outcome.best is None:
        assert max(values) == values[0]
        return
    best = rows[values.index(max(values))]
    recipe = read_recipe(tuning.folder / "recipe.toml")
    assert recipe == outcome.best
    assert recipe.settings.rate == float(best["settings.rate"])
    assert recipe.augmentation.hue == float(best["augmentation.hue"])
    compared = table(tuning.folder / "comparison.csv")
    assert sorted((row["recipe"], int(row["seed"])) for row in compared) == [
        ("best", 1),
        ("best", 2),
        ("usual", 1),
        ("usual", 2),
    ], "never with the seed that the trials had"


def test_a_recipe_of_the_search_trains_as_its_trial_did(tuning: Tuning) -> None:
    """The trial's curve is the one that a training by the written recipe has."""
    from engines.training.datasets import open_mixture
    from engines.training.tasks import task_of
    from engines.training.trainer import train

    tune(replace(tuning, trials=2, seeds=1))
    params = open_study(tuning).trials[1].params
    recipe = tuning.space.recipe_of(params)
    settings, augmentation = recipe.applied(tuning.settings, task_of("tiny").augmentation)
    mixture = open_mixture(tuning.data, "train", labels=task_of("tiny").labels)
    folder = tuning.folder / "again"
    train(mixture, folder, settings, tuning.machine, augmentation=augmentation, shows_bar=False, makes_bundle=False)
    again, tried = (table(place / "curve.csv") for place in (folder, tuning.folder / "trials" / "0001"))
    assert [row["loss"] for row in again] == [row["loss"] for row in tried]
    usual = table(tuning.folder / "trials" / "0000" / "curve.csv")
    assert [row["loss"] for row in usual] != [row["loss"] for row in tried]


def test_a_search_goes_further_with_more_trials_and_repeats_none(tuning: Tuning) -> None:
    tune(replace(tuning, trials=3, seeds=1))
    before = table(tuning.folder / "trials.csv")
    tune(replace(tuning, trials=5, seeds=1))
    after = table(tuning.folder / "trials.csv")
    assert after[:3] == before
    assert len(after) == 5
    assert len({row["settings.rate"] for row in after}) == 5, "a sampler that goes on draws other numbers"


def test_a_trial_that_falls_behind_is_cut_off(tuning: Tuning, tmp_path: Path) -> None:
    space = tmp_path / "slow.toml"
    space.write_text("[settings]\nrate = [0.02, 1e-9]\n")
    told: list[str] = []
    settings = replace(tuning.settings, epochs=24, rate=0.02, average_decay=0.5)
    tune(replace(tuning, space=read_space(space), settings=settings, trials=12, seeds=1), say=told.append)
    cut = [row for row in table(tuning.folder / "trials.csv") if row["state"] == "pruned"]
    assert cut
    assert {float(row["settings.rate"]) for row in cut} == {1e-9}, "those that learn nothing"
    assert sum("cut off" in line for line in told) == len(cut)
    steps = [len(table(tuning.folder / "trials" / f"{int(row['trial']):04}" / "curve.csv")) for row in cut]
    assert max(steps) < 48, "the steps that are left are not made"


def test_a_search_that_was_killed_goes_on_and_makes_the_cut_trial_again(tuning: Tuning, tmp_path: Path) -> None:
    slow = replace(tuning, settings=replace(tuning.settings, epochs=60), trials=3, seeds=1)
    curve = slow.folder / "trials" / "0001" / "curve.csv"
    until = time.monotonic() + 90
    with process(slow, tmp_path) as running:
        while not (curve.is_file() and len(curve.read_text().splitlines()) > 5):
            assert running.poll() is None
            assert time.monotonic() < until
            time.sleep(0.02)
        os.killpg(running.pid, signal.SIGKILL)
    cut = open_study(slow).trials[1]
    assert cut.state is optuna.trial.TrialState.RUNNING
    assert tune(slow) is not None
    rows = table(slow.folder / "trials.csv")
    assert [row["state"] for row in rows] == ["usual", "fail", "complete", "complete"]
    assert rows[2]["settings.rate"] == rows[1]["settings.rate"] == str(cut.params["settings.rate"])
    assert rows[3]["settings.rate"] != rows[2]["settings.rate"]


def test_a_recipe_that_ends_its_process_each_time_is_tried_three_times(tuning: Tuning) -> None:
    """For want of memory, say: a search must not begin it for ever."""
    tuning.folder.mkdir()
    begin(tuning)
    study = open_study(tuning)
    study.tell(study.ask(), 0.5)  # the usual recipe
    for _ in range(3):
        tuning.space.suggest(study.ask())
        begin(tuning)
    states = [trial.state.name for trial in open_study(tuning).trials]
    assert states == ["COMPLETE", "FAIL", "FAIL", "FAIL"]


def test_a_usual_recipe_that_diverges_ends_the_search_at_once(tuning: Tuning) -> None:
    told: list[str] = []
    wild = replace(tuning.settings, optimiser="sgd", rate=1e30, clip=1e30)
    for _ in range(2):
        with pytest.raises(DivergedError):
            tune(replace(tuning, settings=wild), say=told.append)
    assert told == []


def test_pairs_are_chosen_from_a_list(tuning: Tuning, tmp_path: Path) -> None:
    space = tmp_path / "pairs.toml"
    space.write_text("[augmentation]\nscale = [[1.0, 1.0], [0.6, 2.0]]\n")
    pairs = replace(tuning, space=read_space(space), trials=3, seeds=1)
    tune(pairs)
    _, *tried = open_study(pairs).trials
    scales = [pairs.space.recipe_of(trial.params).augmentation.scale for trial in tried]
    assert set(scales) <= {(1.0, 1.0), (0.6, 2.0)}
    assert len(scales) == 2


def test_one_that_is_stopped_ends_its_step_and_goes_on_later(tuning: Tuning) -> None:
    steps = 0

    def stopping() -> bool:
        nonlocal steps
        steps += 1
        return steps > 12

    assert tune(tuning, stopping=stopping) is None
    assert not (tuning.folder / "recipe.toml").exists()
    outcome = tune(tuning)
    assert outcome is not None
    assert outcome.complete + outcome.pruned == 4


def test_several_processes_share_a_search_and_make_no_trial_too_many(tuning: Tuning, tmp_path: Path) -> None:
    with process(replace(tuning, trials=5, processes=2, seeds=1), tmp_path) as running:
        out, _ = running.communicate(timeout=120)
    assert running.returncode == 0
    rows = table(tuning.folder / "trials.csv")
    assert len(rows) == 5
    assert {row["state"] for row in rows} <= {"usual", "complete", "pruned"}
    assert sum(line.startswith("trial") for line in out.splitlines()) == 5
    rates = [row["settings.rate"] for row in rows if row["settings.rate"]]
    assert len(set(rates)) == len(rates) == 4, "each process draws recipes of its own"


def test_a_folder_is_for_one_search_at_a_time(tuning: Tuning, tmp_path: Path) -> None:
    slow = replace(tuning, settings=replace(tuning.settings, epochs=60), trials=2, seeds=1)
    curve = slow.folder / "trials" / "0000" / "curve.csv"
    until = time.monotonic() + 90
    with process(slow, tmp_path) as running:
        while not curve.is_file():
            assert running.poll() is None
            assert time.monotonic() < until
            time.sleep(0.02)
        with pytest.raises(TrainingError, match="is in use by another"):
            tune(slow)
        running.communicate(timeout=120)
    assert running.returncode == 0
    assert [row["state"] for row in table(slow.folder / "trials.csv")] == ["usual", "complete"]


def test_another_split_is_judged_anew(tuning: Tuning, tmp_path: Path) -> None:
    write_drawn_classes(tuning.data, split="test", seed=2)
    space = tmp_path / "better.toml"
    space.write_text("[settings]\nrate = [0.01, 0.02]\naverage_decay = [0.3, 0.5]\n")
    settings = replace(tuning.settings, epochs=12)
    searched = replace(tuning, space=read_space(space), settings=settings, seeds=1)
    outcome = tune(searched)
    assert outcome is not None
    assert outcome.best is not None, "with the usual average, so short a training learns nothing"
    tune(replace(searched, compare="test"))
    tune(searched)
    rows = table(tuning.folder / "comparison.csv")
    assert [row["split"] for row in rows] == ["val", "val", "test", "test"]
    recipe = (tuning.folder / "recipe.toml").read_text()
    assert "Over 1 seeds on val" in recipe


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"compare": "non"}, "has no split 'non'"),
        ({"validate": "train"}, "--validate train: is learned from, so it cannot judge"),
        ({"compare": "train"}, "--compare train: is learned from, so it cannot judge"),
    ],
)
def test_a_split_that_cannot_judge_is_refused_before_anything_is_trained(
    tuning: Tuning, asked: dict[str, str], told: str
) -> None:
    with pytest.raises((TrainingError, DatasetError), match=told):
        tune(replace(tuning, **asked))
    assert not tuning.folder.exists()


def test_a_folder_that_cannot_be_is_refused(tuning: Tuning, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(TrainingError, match=r"file: cannot be written \(File exists\)"):
        tune(replace(tuning, folder=tmp_path / "file"))


def test_a_folder_of_another_search_is_refused(tuning: Tuning, tmp_path: Path) -> None:
    tune(replace(tuning, trials=2, seeds=1))
    other = tmp_path / "other.toml"
    other.write_text("[settings]\nrate = [0.1, 0.2]\n")
    with pytest.raises(TrainingError, match=r"holds a search with space .*another folder"):
        tune(replace(tuning, space=read_space(other)))
    with pytest.raises(TrainingError, match="holds a search with epochs 4, not 5"):
        tune(replace(tuning, settings=replace(tuning.settings, epochs=5)))


def test_it_counts_as_better_by_the_mean_over_the_seeds() -> None:
    outcome = Outcome(4, 1, 0.5, 0.9, Recipe(), "", (0.5, 0.6, 0.7), (0.6, 0.5, 0.8))
    assert outcome.gain == pytest.approx(0.1 / 3)
    assert outcome.seeds_won == 2


@pytest.mark.parametrize("task", [task.name for task in TASKS])
def test_each_kind_of_network_has_a_space(task: str) -> None:
    assert "settings.rate" in usual_space(task).varied


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[settings]\nrat = [1, 2]\n", "settings.rat: is nothing that a recipe has; did you mean 'rate'?"),
        ("[settings]\nrate = { low = 2.0, high = 1.0 }\n", r"settings.rate: low \(2\) is not below high \(1\)"),
        (
            "[settings]\nrate = { low = 0.0, high = 1.0, log = true }\n",
            "settings.rate: low has to be above 0 where log is true",
        ),
        ("[augmentation]\nhue = { low = 0.0, high = 1.0, log = true }\n", "hue: low has to be above 0"),
        ("[settings]\nrate = { low = 1.0 }\n", "settings.rate: is neither a list of values nor a range"),
        ("[settings]\nrate = [0.1]\n", "settings.rate: give two values or more"),
        ("[augmentation]\nhue = { low = 0.0, high = 3.0 }\n", "augmentation.hue: .*less than or equal to 1"),
        ("[settings]\noptimiser = ['adamw', 'lion']\n", "settings.optimiser: .*'adam'"),
        ("[augmentation]\nscale = { low = 0.5, high = 2.0 }\n", "scale: is two numbers; give pairs to choose from"),
        ("[augmentation]\nscale = [[0.5, 1.0], [2.0, 1.0]]\n", "scale: the smaller one comes first"),
        ("[augmentation]\nscale = [[0.5, 1.0], [2.0]]\n", "augmentation.scale.1: "),
        ("", "varies nothing"),
    ],
)
def test_what_is_wrong_in_a_space_is_named(tmp_path: Path, text: str, told: str) -> None:
    file = tmp_path / "space.toml"
    file.write_text(text)
    with pytest.raises(TrainingError, match=told):
        read_space(file)
