"""`report.html`, at the end of `perception engine train` and from `perception engine report`."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="needs the train extra: pip install 'edge-perception[train]'")

from command import run
from drawn_classes import write_drawn_classes
from drawn_dataset import write_drawn_dataset
from made_datasets import write_masks

SHORT = ("--size", "64x64", "--batch", 2, "--epochs", 1, "--device", "cpu", "--precision", "fp32")


@pytest.fixture
def drawn(tmp_path: Path) -> Path:
    folder = write_drawn_dataset(tmp_path / "drawn", images=4).parent
    (folder / "LICENSE").write_text("Drawn anew for each test\n")
    return folder


def test_a_training_ends_with_a_page_that_needs_nothing_beside_it(
    drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("faster_coco_eval")
    folder = tmp_path / "run"
    assert run(monkeypatch, "engine", "train", drawn, "-o", folder, *SHORT, "--validate", "train") == 0
    page = (folder / "report.html").read_text()
    for heading in ("Loss", "Learning rate", "On the validation split", "Precision and recall", "worst", "Settings"):
        assert heading in page
    assert re.search(r"<td>disc</td><td>4</td>", page), "how many boxes of each class there are"
    assert "Drawn anew for each test (LICENSE)" in page
    assert "<td>optimiser</td><td>adamw</td>" in page
    assert page.count("data:image/jpeg;base64,") >= 1
    assert not re.search(r'(src|href)="(?!data:)', page)


def test_a_report_is_made_again_of_a_training_that_was_killed(
    drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("faster_coco_eval")
    folder = tmp_path / "run"
    assert run(monkeypatch, "engine", "train", drawn, "-o", folder, *SHORT) == 0
    assert "Not judged: no images to judge by were named" in (folder / "report.html").read_text()
    shutil.rmtree(folder / "bundle")
    (folder / "report.html").unlink()
    text = (folder / "curve.csv").read_text()
    (folder / "curve.csv").write_text(text[:-5])
    assert run(monkeypatch, "engine", "report", folder, "--split", "train") == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"wrote {folder / 'report.html'}"
    assert "AP50-95" in (folder / "report.html").read_text()
    assert not (folder / "bundle").exists()
    drawn.rename(tmp_path / "elsewhere")
    assert run(monkeypatch, "engine", "report", folder, "--split", "train") == 0
    assert "Not judged" in (folder / "report.html").read_text()
    again = ("--data", tmp_path / "elsewhere", "--split", "train")
    assert run(monkeypatch, "engine", "report", folder, *again) == 0
    assert "AP50-95" in (folder / "report.html").read_text()
    other = write_drawn_dataset(tmp_path / "other", images=3).parent
    (other / "LICENSE").write_text("Not for this\n")
    assert run(monkeypatch, "engine", "report", folder, "--data", other, "--split", "train") == 0
    page = (folder / "report.html").read_text()
    assert "Not for this" not in page
    assert "the data that was given is not this" in page
    assert not [entry.name for entry in folder.iterdir() if entry.name.endswith(".part")]


@pytest.mark.parametrize("kind", ["classifier", "segmenter"])
def test_other_networks_than_detectors_are_judged_as_evaluate_judges_them(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    data = write_drawn_classes(tmp_path / "drawn") if kind == "classifier" else write_masks(tmp_path / "drawn")
    short = ("--size", "64x64", "--batch", 4, "--epochs", 1, "--device", "cpu", "--precision", "fp32")
    assert run(monkeypatch, "engine", "train", data, "-o", folder, *short, "--validate", "train") == 0
    (folder / "report.html").unlink()
    assert run(monkeypatch, "engine", "report", folder) == 0
    page = (folder / "report.html").read_text()
    assert "Not judged" not in page
    capsys.readouterr()
    words = ("engine", "evaluate", folder / "bundle", data, "--split", "train", "--engine", "onnxruntime", "--json")
    assert run(monkeypatch, *words) == 0
    value = json.loads(capsys.readouterr().out)["value"]
    assert re.search(rf"<td>all classes</td><td>[\d,]+</td><td>{value:.3f}</td>", page)
    assert page.count("data:image/jpeg;base64,") == (8 if kind == "classifier" else 3)
    assert "What is taken for what" in page


def test_what_is_missing_to_judge_is_told_on_the_page(
    drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import builtins

    real = builtins.__import__

    def without(name: str, *more: object) -> object:
        if name.startswith("faster_coco_eval"):
            raise ImportError(name)
        return real(name, *more)  # type: ignore[arg-type]

    folder = tmp_path / "run"
    assert run(monkeypatch, "engine", "train", drawn, "-o", folder, *SHORT) == 0
    monkeypatch.setattr(builtins, "__import__", without)
    assert run(monkeypatch, "engine", "report", folder, "--split", "train") == 0
    assert "pip install &#x27;edge-perception[evaluate]&#x27;" in (folder / "report.html").read_text()


def test_without_a_checkpoint_there_is_no_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "engine", "report", tmp_path) == 2
    assert "checkpoint.pt: there is no such checkpoint" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
