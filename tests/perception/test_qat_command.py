"""`perception engine train --qat` as a person meets it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="needs the train extra: pip install 'edge-perception[train]'")

from command import run
from drawn_dataset import write_drawn_dataset

from engines.bundle import load_bundle
from engines.passport import read_passport
from engines.training.qat import fine_tuning

SHORT = ("--batch", 2, "--epochs", 1, "--device", "cpu")


def test_a_training_becomes_an_int8_bundle_that_replay_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("faster_coco_eval")
    drawn, trained, folder = (
        write_drawn_dataset(tmp_path / "drawn", images=4).parent,
        tmp_path / "run",
        tmp_path / "int8",
    )
    assert run(monkeypatch, "engine", "train", drawn, "-o", trained, "--size", "64x64", *SHORT) == 0
    words = ("engine", "train", drawn, "-o", folder, "--qat", *SHORT)
    assert run(monkeypatch, *words, "--weights", trained, "--validate", "train") == 0
    assert "AP50 on 4 images: float " in capsys.readouterr().out
    assert len((folder / "curve.csv").read_text().splitlines()) == 1 + 2
    settings = load_bundle(folder / "bundle").settings
    assert (settings.input.width, settings.input.height) == (64, 64)
    passport = read_passport(folder / "bundle")
    calibrated = passport["calibrated"]
    assert (calibrated["from"], calibrated["left_in_float"]) == ("int8-float", [])
    assert set(calibrated["judged"]["onnxruntime"]["ap50"]) == {"float32", "int8_before", "int8"}
    assert passport["trained"]["data"][0]["dataset"] == "drawn"
    assert run(monkeypatch, "engine", "inspect", folder / "bundle") == 0
    assert "34 of 34 layers" in capsys.readouterr().out
    assert run(monkeypatch, "replay", drawn / "images" / "train", "--model", folder / "bundle") == 0
    assert "4 of 4 frames published" in capsys.readouterr().out
    assert run(monkeypatch, *words, "--weights", trained) == 2
    assert "exists already" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "--qat: fine-tunes a trained network; say which with --weights RUN/checkpoint.pt"),
        (("--weights", "x", "--resume"), "--qat --resume: it is short, and begins anew"),
        (("--weights", "none.pt"), "none.pt: there is no such checkpoint"),
        (("--weights", "x", "--size", "64x64"), "--qat --size: network, input and pictures are those of --weights"),
        (("--weights", "x", "--network", "nano"), "--qat --network: "),
        (("--weights", "x", "--accumulate", 2), "--qat --accumulate: "),
        (("--weights", "x", "--recipe", "r.toml"), "--qat --recipe: "),
        (("--weights", "x", "--precision", "bf16"), "--qat --precision: "),
    ],
)
def test_a_wrong_request_is_told_and_nothing_is_written(
    words: tuple[object, ...],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    drawn = write_drawn_dataset(tmp_path / "drawn", images=4).parent
    assert run(monkeypatch, "engine", "train", drawn, "-o", tmp_path / "int8", "--qat", *SHORT, *words) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "int8").exists()


def test_several_processes_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    drawn = write_drawn_dataset(tmp_path / "drawn", images=4).parent
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert run(monkeypatch, "engine", "train", drawn, "-o", tmp_path / "int8", "--qat", "--weights", "x") == 2
    assert "--qat: runs in one process; leave torchrun away" in capsys.readouterr().err


@pytest.mark.parametrize("option", [(), ("--no-flip",)])
def test_pictures_are_varied_as_those_of_the_run_were(
    option: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Signs that were never mirrored in training are not mirrored now either."""
    drawn = write_drawn_dataset(tmp_path / "drawn", images=4).parent
    trained = tmp_path / "run"
    assert run(monkeypatch, "engine", "train", drawn, "-o", trained, "--size", "64x64", *SHORT, *option) == 0
    seen: list[Any] = []
    made = fine_tuning.Pictures
    monkeypatch.setattr(fine_tuning, "Pictures", lambda *given: [seen.append(given[2]), made(*given)][1])
    assert run(monkeypatch, "engine", "train", drawn, "-o", tmp_path / "a", "--qat", *SHORT, "--weights", trained) == 0
    words = ("engine", "train", drawn, "-o", tmp_path / "b", "--qat", *SHORT, "--weights", trained, "--no-flip")
    assert run(monkeypatch, *words) == 0
    as_the_run, as_asked = seen
    assert (as_the_run.flip > 0) == (not option)
    assert as_asked.flip == 0
    told = [read_passport(tmp_path / name / "bundle")["calibrated"]["fine_tuned"]["flip"] for name in ("a", "b")]
    assert told == [not option, False]
