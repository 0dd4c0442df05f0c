"""`perception engine prune` as a person meets it."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="needs the train extra: pip install 'edge-perception[train]'")
pytest.importorskip("torch_pruning", reason="needs the train extra: pip install 'edge-perception[train]'")

from command import run  # noqa: E402
from drawn_classes import write_drawn_classes  # noqa: E402
from drawn_dataset import write_drawn_dataset  # noqa: E402

from engines.bundle import load_bundle  # noqa: E402
from engines.passport import read_passport  # noqa: E402

SHORT = ("--batch", 2, "--epochs", 1, "--device", "cpu", "--precision", "fp32")


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_drawn_dataset(tmp_path_factory.mktemp("data") / "drawn", images=4).parent


@pytest.fixture(scope="module")
def trained(drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that another test may copy, and none may change."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    with pytest.MonkeyPatch.context() as patch:
        assert run(patch, "engine", "train", drawn, "-o", folder, "--size", "64x64", *SHORT) == 0
    return folder


def test_a_run_becomes_a_smaller_one_that_everything_takes(
    drawn: Path, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("faster_coco_eval")
    folder = tmp_path / "pruned"
    capsys.readouterr()
    assert run(monkeypatch, "engine", "prune", trained, "-o", folder, "--validate", "train", *SHORT) == 0
    said = capsys.readouterr().out
    assert "AP50 on 4 images of train" in said
    rows = re.findall(r"^(trained|pruned|fine-tuned) +([\d.]+) M +([\d.]+) G +([\d.]+) ms  ([\d.]+)", said, re.M)
    assert [row[0] for row in rows] == ["trained", "pruned", "fine-tuned"]
    (_, wide, *_), (_, narrow, *_), _ = rows
    assert float(narrow) < float(wide)
    assert re.search(r"^fine-tuned .*\(-\d\d%, -3\d%, [+-]\d+%, [+-]\d+\.\d points\)$", said, re.M)

    passport = read_passport(folder / "bundle")
    assert passport["trained"]["pruned"]["from"]["run"] == "run"
    assert load_bundle(folder / "bundle").model.stat().st_size < load_bundle(trained / "bundle").model.stat().st_size
    assert "<td>pruned</td><td>from run" in (folder / "report.html").read_text()
    images = drawn / "images" / "train"
    assert run(monkeypatch, "replay", images, "--model", folder / "bundle") == 0
    assert "4 of 4 frames published" in capsys.readouterr().out
    assert run(monkeypatch, "engine", "report", folder) == 0
    assert "How good it is" in (folder / "report.html").read_text(), "it knows what to be judged by"
    assert (
        run(monkeypatch, "engine", "export", folder / "checkpoint.pt", "-o", tmp_path / "larger", "--size", "96x64")
        == 0
    )
    weights = ("--weights", folder / "checkpoint.pt")
    assert run(monkeypatch, "engine", "train", drawn, "-o", tmp_path / "more", "--size", "64x64", *SHORT, *weights) == 0
    assert f"nano: {float(narrow):.2f} M parameters" in capsys.readouterr().out
    assert run(monkeypatch, "engine", "train", drawn, "-o", tmp_path / "int8", "--qat", *SHORT, *weights) == 0
    assert read_passport(tmp_path / "int8" / "bundle")["trained"]["pruned"] == passport["trained"]["pruned"]
    assert run(monkeypatch, "engine", "prune", trained, "-o", folder, *SHORT) == 2
    assert "holds a training already; go on with --resume" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--flops", 0), "--flops 0: is no share of them; write for example 0.3"),
        (("--flops", 30), "--flops 30: is no share of them"),
        (
            ("--flops", 0.99),
            "can be removed: no layer may be narrower than a quarter, nor than 16 channels; ask",
        ),
        (("--importance", "size"), "--importance size"),
        (("--multiple", 7), "--multiple 7: is unknown; use 8, 16 or 32"),
        (("--keep", "stem2"), "--keep stem2: names no layer; begin with one of stem, stages, context"),
        (("--resume",), "there is no such checkpoint"),
        (("--data", "nowhere"), "nowhere"),
    ],
)
def test_a_wrong_request_is_told_and_nothing_is_written(
    words: tuple[object, ...],
    message: str,
    trained: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(monkeypatch, "engine", "prune", trained, "-o", tmp_path / "pruned", *SHORT, *words) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "pruned").exists()


def test_a_classifier_has_no_teacher_and_other_weights_are_named(
    trained: Path, drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    classes = write_drawn_classes(tmp_path / "classes")
    small = ("--size", "32x32", *SHORT)
    assert run(monkeypatch, "engine", "train", classes, "-o", tmp_path / "classifier", *small) == 0
    words = ("engine", "prune", tmp_path / "classifier", "-o", tmp_path / "pruned", *SHORT)
    assert run(monkeypatch, *words, "--teacher", trained / "bundle") == 2
    assert "--teacher: teaches boxes, and classifier-nano is a classifier; leave it away" in capsys.readouterr().err
    assert not (tmp_path / "pruned").exists()
    words = ("engine", "train", drawn, "-o", tmp_path / "more", "--size", "64x64", *SHORT, "--network", "small")
    assert run(monkeypatch, *words, "--weights", trained / "checkpoint.pt") == 2
    assert "is of the network 'nano', and not 'small'; give --network nano" in capsys.readouterr().err


def test_what_is_no_run_is_told(
    drawn: Path, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "engine", "prune", drawn, "-o", tmp_path / "pruned") == 2
    assert "checkpoint.pt: there is no such checkpoint" in capsys.readouterr().err
    (tmp_path / "checkpoint.pt").write_bytes(b"no weights")
    assert run(monkeypatch, "engine", "prune", tmp_path, "-o", tmp_path / "pruned") == 2
    assert "is no checkpoint" in capsys.readouterr().err
    shutil.copy(trained / "checkpoint.pt", tmp_path)
    assert run(monkeypatch, "engine", "prune", tmp_path, "-o", tmp_path / "pruned") == 2
    assert "does not say what it was trained on; give it with --data" in capsys.readouterr().err


def test_without_torch_pruning_the_extra_is_named(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "torch_pruning", None)
    assert run(monkeypatch, "engine", "prune", trained, "-o", tmp_path / "pruned") == 2
    message = "the package torch-pruning is not installed; pip install 'edge-perception[train]'"
    assert message in capsys.readouterr().err
