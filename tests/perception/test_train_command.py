"""`perception engine train` and `export` as a person meets them."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="needs the train extra: pip install 'edge-perception[train]'")

import tiny_networks  # noqa: E402
from command import run  # noqa: E402
from drawn_classes import write_drawn_classes  # noqa: E402
from drawn_dataset import write_drawn_dataset  # noqa: E402

from engines.bundle import load_bundle  # noqa: E402
from engines.passport import read_passport  # noqa: E402


@pytest.fixture
def drawn(tmp_path: Path) -> Path:
    return write_drawn_dataset(tmp_path / "drawn", images=4).parent


SHORT = ("--size", "64x64", "--batch", 2, "--epochs", 1, "--device", "cpu", "--precision", "fp32")


def test_labelled_images_become_a_bundle_that_replay_runs(
    drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    assert run(monkeypatch, "engine", "train", drawn, "-o", folder, *SHORT) == 0
    out = capsys.readouterr().out
    assert "nano: 2.78 M parameters, 0.08 GFLOP at 64x64, classes disc, square" in out
    assert "4 images of 1 datasets" in out
    assert {entry.name for entry in folder.iterdir()} >= {"bundle", "checkpoint.pt", "curve.csv"}
    assert len((folder / "curve.csv").read_text().splitlines()) == 1 + 2
    assert load_bundle(folder / "bundle").labels == ("disc", "square")
    assert run(monkeypatch, "replay", drawn / "images" / "train", "--model", folder / "bundle") == 0
    assert "4 of 4 frames published" in capsys.readouterr().out


def test_a_training_goes_on_and_its_checkpoint_is_exported_at_another_size(
    drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    words = ("engine", "train", drawn, "-o", folder)
    assert run(monkeypatch, *words, *SHORT) == 0
    assert run(monkeypatch, *words, *SHORT) == 2
    assert f"{folder}: holds a training already; go on with --resume" in capsys.readouterr().err
    longer = [2 if word == 1 else word for word in SHORT]
    assert run(monkeypatch, *words, *longer, "--resume") == 0
    assert len((folder / "curve.csv").read_text().splitlines()) == 1 + 4
    checkpoint = folder / "checkpoint.pt"
    assert run(monkeypatch, "engine", "export", checkpoint, "-o", tmp_path / "wide", "--size", "96x64") == 0
    assert load_bundle(tmp_path / "wide").settings.input.width == 96


def test_a_teacher_is_learnt_from(
    drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It calls its steady box red; the mixture says that red is a disc."""
    teacher = tiny_networks.make_bundle(tmp_path / "teacher").folder
    mixture = tmp_path / "mixture.toml"
    mixture.write_text('classes = ["disc", "square"]\n[[dataset]]\npath = "drawn"\n[teacher]\nmap = { red = "disc" }\n')
    folder = tmp_path / "run"
    assert run(monkeypatch, "engine", "train", mixture, "-o", folder, "--teacher", teacher, *SHORT) == 0
    assert (folder / "taught.npz").is_file()
    trained = read_passport(folder / "bundle")["trained"]
    assert trained["teachers"] == [{"bundle": "teacher", "sha256": load_bundle(teacher).sha256}]
    assert trained["data"] == [{"dataset": "drawn", "images": 4, "weight": 1.0, "labels": ["disc", "square"]}]
    assert (trained["steps"], trained["pictures"]) == (2, 4)
    mixture.write_text(mixture.read_text().replace("red", "rad"))
    capsys.readouterr()
    assert run(monkeypatch, "engine", "train", mixture, "-o", tmp_path / "b", "--teacher", teacher, *SHORT) == 2
    assert "teacher.map: 'rad' is no class of the teacher; did you mean 'red'?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--network", "nino"), "--network nino: is unknown; use one of nano, nano-patch, small, medium"),
        (("--optimiser", "lion"), "--optimiser lion: is unknown; use one of adam, adamw, rmsprop, sgd"),
        (("--size", "100x64"), "--size 100x64: is no multiple of 32 both ways; write for example 416x256"),
        (("--size", "3200000x3200000"), "--size 3200000x3200000: is more than 8192 pixels a side"),
        (("--epochs", "inf"), "--epochs inf: has no end"),
        (("--size", "large"), "--size large: is no size; write it as 640x384"),
        (("--precision", "int4"), "--precision int4: is unknown; use auto, fp32, bf16 or fp16"),
        (("--device", "tpu9"), "--device tpu9: is unknown; use auto, cpu, cuda or cuda:1"),
        (("--batch", 3, "--accumulate", 2), "--batch 3: does not divide into 1 processes of 2 parts"),
        (("--resume",), "checkpoint.pt: there is no such checkpoint"),
        (("--weights", "none.pt"), "none.pt: there is no such checkpoint"),
    ],
)
def test_a_wrong_request_is_told_with_its_remedy_and_nothing_is_written(
    words: tuple[object, ...],
    message: str,
    drawn: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(monkeypatch, "engine", "train", drawn, "-o", tmp_path / "run", *words) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_without_torch_it_is_said_what_to_install(
    drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: None if name == "torch" else find(name, *more))
    assert run(monkeypatch, "engine", "train", drawn, "-o", tmp_path / "run") == 2
    assert "pip install 'edge-perception[train]'" in capsys.readouterr().err


def test_ctrl_c_ends_the_step_writes_the_checkpoint_and_says_how_to_go_on(drawn: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    code = "from perception.commands.app import main; main()"
    words = ["engine", "train", drawn, "-o", folder, *SHORT, "--workers", 1, "--minutes", 10]
    command = [sys.executable, "-c", code, *map(str, words)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        try:
            while process.poll() is None and not has_rows(folder / "curve.csv"):
                time.sleep(0.02)
            os.killpg(process.pid, signal.SIGINT)  # as a terminal does: the loader's process gets it too
            out, _ = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 130
    assert out.splitlines()[-1] == "stopped; go on with the same command and --resume"
    rows = (folder / "curve.csv").read_text().splitlines()
    assert torch.load(folder / "checkpoint.pt", weights_only=True)["step"] == len(rows) - 1


def has_rows(file: Path) -> bool:
    return file.exists() and len(file.read_text().splitlines()) > 2


@pytest.mark.parametrize("workers", [0, 1])
def test_an_image_that_cannot_be_read_is_told_in_words_whoever_reads_it(workers: int, tmp_path: Path) -> None:
    """In a loader's process too, of whose errors torch makes others. A classifier's images are not read before.

    As a process of its own: one that has forked loaders and run engines is not fit for more tests.
    """
    data = write_drawn_classes(tmp_path / "drawn")
    for broken in (data / "train").rglob("*.png"):
        broken.write_bytes(b"nothing")
    words = ["engine", "train", data, "-o", tmp_path / "run", "--size", "32x32", "--batch", 4, "--epochs", 1]
    command = [sys.executable, "-c", "from perception.commands.app import main; main()", *words, "--device", "cpu"]
    ended = subprocess.run(
        list(map(str, [*command, "--workers", workers])), capture_output=True, text=True, timeout=120, check=False
    )
    assert ended.returncode == 2
    assert ".png: cannot be read as an image; copy it again" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_weights_are_named_by_a_run_or_its_checkpoint(
    drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("engine", "train", drawn, *SHORT)
    assert run(monkeypatch, *words, "-o", tmp_path / "run") == 0
    for name, weights in (("a", tmp_path / "run"), ("b", tmp_path / "run" / "checkpoint.pt")):
        assert run(monkeypatch, *words, "-o", tmp_path / name, "--weights", weights) == 0
    one, other = (torch.load(tmp_path / name / "checkpoint.pt", weights_only=True)["network"] for name in ("a", "b"))
    assert all(torch.equal(value, other[name]) for name, value in one.items())


def test_what_judges_is_asked_for_before_anything_is_trained(
    drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    known = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "faster_coco_eval" else known(name))
    words = ("engine", "train", drawn, *SHORT, "-o", tmp_path / "run")
    assert run(monkeypatch, *words, "--validate", "train") == 2
    told = "the package faster-coco-eval is not installed; pip install 'edge-perception[train,evaluate]'"
    assert told in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
    assert run(monkeypatch, *words) == 0, "without --validate nothing is judged"
