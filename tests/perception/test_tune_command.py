"""`perception engine tune`, and `train --recipe`, as a person meets them."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="needs the train extra: pip install 'edge-perception[train]'")
pytest.importorskip("optuna", reason="needs the tune extra: pip install 'edge-perception[tune]'")

from command import run  # noqa: E402
from drawn_classes import write_drawn_classes  # noqa: E402

from engines.training.networks.classifier import NETWORKS, ClassifierShape  # noqa: E402


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(NETWORKS, "tiny", ClassifierShape(stem=16, widths=(16, 16), blocks=(1, 1)))


@pytest.fixture
def drawn(tmp_path: Path) -> Path:
    write_drawn_classes(tmp_path / "drawn", split="val", seed=1)
    return write_drawn_classes(tmp_path / "drawn")


SHORT = ("--network", "tiny", "--batch", 4, "--device", "cpu", "--precision", "fp32")


def test_a_search_ends_with_a_recipe_that_train_takes(
    drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    space, folder = tmp_path / "space.toml", tmp_path / "search"
    space.write_text("[settings]\nrate = [0.01, 0.02]\nwarm_up_steps = [0, 1]\naverage_decay = [0.3, 0.5]\n")
    words = ("engine", "tune", drawn, "-o", folder, *SHORT, "--space", space, "--trials", 4, "--epochs", 12)
    assert run(monkeypatch, *words, "--seeds", 2) == 0
    out = capsys.readouterr().out
    assert "4 trials" in out
    assert "over 2 other seeds" in out
    assert f"wrote {folder}/recipe.toml" in out
    recipe = folder / "recipe.toml"
    train = ("engine", "train", drawn, *SHORT, "--epochs", 1, "--recipe", recipe)
    assert run(monkeypatch, *train, "-o", tmp_path / "run") == 0
    rate = "0.01" if "rate = 0.01" in recipe.read_text() else "0.02"
    assert torch.load(tmp_path / "run" / "checkpoint.pt", weights_only=True)["recipe"]["rate"] == float(rate)
    capsys.readouterr()
    assert run(monkeypatch, *train, "-o", tmp_path / "other", "--rate", 0.5) == 2
    assert f"--rate 0.5: {recipe} says {rate}; leave it away" in capsys.readouterr().err
    other = tmp_path / "other.toml"
    other.write_text(f"[settings]\nrate = {rate}\n[augmentation]\nhue = 0.5\n")
    assert run(monkeypatch, *train[:-1], other, "-o", tmp_path / "run", "--resume") == 2
    assert "not" in capsys.readouterr().err


def test_what_cannot_be_searched_is_said_before_anything_is_trained(
    drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("engine", "tune", drawn, "-o", tmp_path / "search")
    assert run(monkeypatch, *words, "--network", "nana") == 2
    assert "--network nana: is unknown" in capsys.readouterr().err
    assert run(monkeypatch, *words, "--validate", "none") == 2
    assert "none" in capsys.readouterr().err
    assert run(monkeypatch, *words, "--size", "33x32") == 2
    assert "is no multiple of 16" in capsys.readouterr().err
    known = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "optuna" else known(name))
    assert run(monkeypatch, *words) == 2
    assert "the package optuna is not installed; pip install 'edge-perception[train,tune]'" in capsys.readouterr().err
    assert not list((tmp_path / "search").rglob("curve.csv"))
