"""Trainings from beginning to end, on drawn images: that they learn, go on where they were cut off, and stop."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the train extra: pip install 'edge-perception[train]'")

from drawn_dataset import write_drawn_dataset  # noqa: E402

from engines.datasets import open_dataset  # noqa: E402
from engines.errors import DivergedError, TrainingError  # noqa: E402
from engines.evaluate import evaluate  # noqa: E402
from engines.training import trainer  # noqa: E402
from engines.training.checkpoint import CHECKPOINT  # noqa: E402
from engines.training.datasets import Augmentation, Mixture, open_mixture  # noqa: E402
from engines.training.networks.detector import NETWORKS, DetectorShape  # noqa: E402
from engines.training.settings import Machine, Settings  # noqa: E402

TINY = DetectorShape(stem=16, widths=(16, 32, 32, 32), blocks=(1, 1, 1, 1), neck=32)
ROOT = Path(__file__).parents[3]
# A training as a process of its own, with the tiny network known to it.
SCRIPT = f"""
import sys
from pathlib import Path
from engines.training import trainer
from engines.training.datasets import open_mixture
from engines.training.networks.detector import NETWORKS, DetectorShape
from engines.training.settings import Machine, Settings

NETWORKS["tiny"] = {TINY!r}
data, folder, settings, machine = sys.argv[1:]
settings, machine = eval(settings), eval(machine)
mixture = open_mixture(Path(data), "train")
trainer.train(mixture, Path(folder), settings, machine, shows_bar=False, validation=mixture)
"""
CPU = Machine(device="cpu", precision="fp32")


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(NETWORKS, "tiny", TINY)


@pytest.fixture
def drawn(tmp_path: Path) -> Mixture:
    return open_mixture(write_drawn_dataset(tmp_path / "drawn"), "train")


def short(steps: int, **settings: Any) -> Settings:
    """A training of so many steps on the eight drawn images."""
    usual = {"network": "tiny", "width": 96, "height": 64, "batch": 4, "warm_up_steps": 2}
    merged = usual | settings
    return Settings(**merged, epochs=steps * merged["batch"] / 8)


def curve(folder: Path) -> list[dict[str, float]]:
    return table(folder / "curve.csv")


def table(path: Path) -> list[dict[str, float]]:
    with path.open() as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


def losses(folder: Path) -> list[float]:
    return [row["loss"] for row in curve(folder)]


def weights(folder: Path, of: str = "network") -> dict[str, Any]:
    found: dict[str, Any] = torch.load(folder / CHECKPOINT, weights_only=True)[of]
    return found


def train(mixture: Mixture, folder: Path, settings: Settings, **more: Any) -> Any:
    return trainer.train(mixture, folder, settings, more.pop("machine", CPU), shows_bar=False, **more)


def test_a_training_learns_drawn_things_and_makes_a_bundle_that_finds_them(tmp_path: Path) -> None:
    data = write_drawn_dataset(tmp_path / "drawn")
    settings = short(120, width=128, height=96, batch=8, rate=4e-3, average_decay=0.9)
    mixture = open_mixture(data, "train")
    bundle = train(mixture, tmp_path / "run", settings, augmentation=Augmentation.off(), validation=mixture)
    assert bundle.labels == ("disc", "square")
    found = evaluate(bundle, open_dataset(data, "train"), engine="onnxruntime")
    assert found.ap50 > 0.9
    rows = table(tmp_path / "run" / "validation.csv")
    assert [row["step"] for row in rows] == [6 * number for number in range(1, 21)]
    assert rows[-1]["all"] == pytest.approx(found.ap50, abs=1e-3)  # what was exported is what was judged
    assert rows[-1]["disc"] == pytest.approx(found.per_class["disc"].ap50, abs=1e-3)
    assert rows[0]["all"] < rows[-1]["all"]
    boxes = [row["boxes"] for row in curve(tmp_path / "run")]
    assert np.mean(boxes[-5:]) < np.mean(boxes[:5]) / 2


def test_the_curve_says_how_long_a_training_waits_for_its_pictures(
    tmp_path: Path, drawn: Mixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_once = trainer.batches

    def late(*given: Any, **more: Any) -> Any:
        for number, batch in enumerate(at_once(*given, **more)):
            time.sleep(0.5 if number >= 2 else 0)
            yield batch

    monkeypatch.setattr(trainer, "batches", late)
    train(drawn, tmp_path / "run", short(4, accumulate=2))
    waiting = [row["waiting"] for row in curve(tmp_path / "run")]
    seconds = [4 / row["images_per_s"] for row in curve(tmp_path / "run")]
    assert all(0 < share < 1 for share in waiting)
    for share, step_s in zip(waiting[1:], seconds[1:], strict=True):
        assert share * step_s >= 1.0, "two parts of a step, each half a second late"


def test_a_training_killed_at_any_step_goes_on_as_if_nothing_had_happened(drawn: Mixture, tmp_path: Path) -> None:
    settings = short(14)
    train(drawn, tmp_path / "whole", settings)
    machine = Machine(device="cpu", precision="fp32", checkpoint_seconds=0)
    command = [sys.executable, "-c", SCRIPT, str(tmp_path / "drawn"), str(tmp_path / "cut"), repr(settings)]
    with subprocess.Popen([*command, repr(machine)], cwd=ROOT) as process:
        while process.poll() is None and not (
            rows_of(tmp_path / "cut") > 4 and (tmp_path / "cut" / CHECKPOINT).exists()
        ):
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    done = torch.load(tmp_path / "cut" / CHECKPOINT, weights_only=True)["step"]
    assert 0 < done < 14
    train(drawn, tmp_path / "cut", settings, resume=True, validation=drawn)
    assert [row["step"] for row in table(tmp_path / "cut" / "validation.csv")] == list(range(1, 15))
    assert [row["step"] for row in curve(tmp_path / "cut")] == list(range(14))
    np.testing.assert_allclose(losses(tmp_path / "cut"), losses(tmp_path / "whole"), rtol=1e-5)
    for of in ("network", "average"):
        whole, cut = weights(tmp_path / "whole", of), weights(tmp_path / "cut", of)
        for name, value in whole.items():
            torch.testing.assert_close(cut[name], value, rtol=1e-4, atol=1e-6)


def rows_of(folder: Path) -> int:
    file = folder / "curve.csv"
    return len(file.read_text().splitlines()) if file.exists() else 0


def test_a_training_that_is_stopped_keeps_all_that_it_did_and_goes_on(drawn: Mixture, tmp_path: Path) -> None:
    settings = short(6)
    train(drawn, tmp_path / "whole", settings)
    answers = iter([False, False, False, True])
    assert train(drawn, tmp_path / "cut", settings, should_stop=lambda: next(answers)) is None
    assert len(losses(tmp_path / "cut")) == 3
    assert not (tmp_path / "cut" / "bundle").exists()
    assert train(drawn, tmp_path / "cut", settings, resume=True) is not None
    assert_same_training(tmp_path / "cut", tmp_path / "whole")


def test_a_resumed_training_keeps_its_recipe(drawn: Mixture, tmp_path: Path) -> None:
    train(drawn, tmp_path / "run", short(1))
    with pytest.raises(TrainingError, match=r"was made with rate None, not 0\.5; resume it as it began"):
        train(drawn, tmp_path / "run", short(2, rate=0.5), resume=True)


def test_a_checkpoint_that_is_damaged_or_missing_is_named(drawn: Mixture, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"checkpoint.pt: there is no such checkpoint"):
        train(drawn, tmp_path / "none", short(1), resume=True)
    (tmp_path / "cut").mkdir()
    for content in (b"", b"nothing", b"PK\x03\x04 cut off"):
        (tmp_path / "cut" / CHECKPOINT).write_bytes(content)
        with pytest.raises(TrainingError, match=r"checkpoint.pt: is no checkpoint"):
            train(drawn, tmp_path / "cut", short(1), resume=True)


OFTEN = Machine(device="cpu", precision="fp32", checkpoint_seconds=0)


def test_a_loss_that_is_no_number_stops_names_the_batch_and_keeps_the_last_good_checkpoint(
    drawn: Mixture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rate of 1e30 in the fourth step leaves weights that are numbers, and worthless: that checkpoint is no good."""
    usual = trainer.learning_rate
    with monkeypatch.context() as patch:
        patch.setattr(trainer, "learning_rate", lambda step, *a, **b: 1e30 if step == 3 else usual(step, *a, **b))
        told = r"step 4: the loss is (nan|-?inf) on the batch of \d.png.*checkpoint.pt is the last good checkpoint"
        with pytest.raises(DivergedError, match=told):
            train(drawn, tmp_path / "run", short(9), machine=OFTEN)
    assert torch.load(tmp_path / "run" / CHECKPOINT, weights_only=True)["step"] == 3
    assert not (tmp_path / "run" / "bundle").exists()
    train(drawn, tmp_path / "run", short(9), resume=True)
    train(drawn, tmp_path / "whole", short(9))
    assert_same_training(tmp_path / "run", tmp_path / "whole")
    assert not list((tmp_path / "run").glob(".*"))


def test_where_the_first_step_is_too_much_there_is_no_good_checkpoint(drawn: Mixture, tmp_path: Path) -> None:
    with pytest.raises(DivergedError, match=r"step 1: .* there was no good checkpoint yet"):
        train(drawn, tmp_path / "run", short(9, optimiser="sgd", rate=1e30, warm_up_steps=0), machine=OFTEN)
    assert not list((tmp_path / "run").glob("*checkpoint*"))


def test_accumulated_parts_make_the_step_of_the_whole_batch(drawn: Mixture, tmp_path: Path) -> None:
    usual = {"freeze_norm": True, "optimiser": "sgd", "rate": 1e-3}
    train(drawn, tmp_path / "whole", short(3, **usual))
    train(drawn, tmp_path / "parts", short(3, **usual, accumulate=2))
    assert_same_training(tmp_path / "parts", tmp_path / "whole")


def test_two_processes_take_the_steps_of_one(drawn: Mixture, tmp_path: Path) -> None:
    """By torchrun, over gloo; the same batch in all, BatchNorm frozen: its statistics would be each process's own."""
    settings = short(3, freeze_norm=True, optimiser="sgd", rate=1e-3)
    train(drawn, tmp_path / "one", settings)
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    arguments = [str(script), str(tmp_path / "drawn"), str(tmp_path / "two"), repr(settings), repr(CPU)]
    run = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", *arguments],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        check=False,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert run.returncode == 0, run.stderr
    assert_same_training(tmp_path / "two", tmp_path / "one")
    assert (tmp_path / "two" / "bundle" / "model.onnx").is_file()


def assert_same_training(found: Path, expected: Path) -> None:
    np.testing.assert_allclose(losses(found), losses(expected), rtol=1e-5)
    before, after = weights(expected), weights(found)
    for name, value in before.items():
        torch.testing.assert_close(after[name], value, rtol=1e-4, atol=1e-6)
