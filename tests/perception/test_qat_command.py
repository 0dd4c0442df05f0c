"""`perception engine train --qat` as a person meets it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="needs the train extra: pip install 'edge-perception[train]'")

from drawn_dataset import write_drawn_dataset

from engines.bundle import load_bundle
from engines.passport import read_passport
from perception.commands.app import main

SHORT = ("--batch", 2, "--epochs", 1, "--device", "cpu")


def run(monkeypatch: pytest.MonkeyPatch, *words: object) -> int:
    monkeypatch.setattr(sys, "argv", ["perception", *map(str, words)])
    try:
        main()
    except SystemExit as end:
        return int(end.code or 0)
    return 0


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
