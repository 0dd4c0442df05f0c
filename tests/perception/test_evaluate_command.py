"""`perception engine evaluate` as a person or a script meets it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import cv2
import pytest
import tiny_networks

from engines.bundle import load_bundle
from engines.runtime import ON_THE_CPU
from perception.commands.app import main

STEADY = "0.6875 0.625 0.375 0.5"  # the tiny networks' second box, centre and size in parts of the image


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_networks.make_bundle(tmp_path_factory.mktemp("commands") / "tiny").folder


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Two images of one red thing each, which its labels call `brake light`; and a dog."""
    for name, more in (("a", ""), ("b", "\n1 0.1 0.1 0.1 0.1")):
        for kind in ("images", "labels"):
            (tmp_path / kind / "val").mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(tmp_path / "images" / "val" / f"{name}.png"), tiny_networks.solid(50))
        (tmp_path / "labels" / "val" / f"{name}.txt").write_text(f"0 {STEADY}{more}")
    (tmp_path / "data.yaml").write_text("val: images/val\nnames: [brake light, dog]\n")
    return tmp_path


def run(monkeypatch: pytest.MonkeyPatch, *words: object) -> int:
    monkeypatch.setattr(sys, "argv", ["perception", "engine", "evaluate", *map(str, words)])
    try:
        main()
    except SystemExit as end:
        return int(end.code or 0)
    return 0


@pytest.mark.parametrize("engine", sorted(ON_THE_CPU))
def test_json_is_one_object_with_the_figures(
    engine: str, bundle: Path, dataset: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--map", "red=brake light", "--engine", engine, "--nms", "0.5", "--score", "0.2", "--json"]
    assert run(monkeypatch, bundle, dataset, *words) == 0
    assert json.loads(capsys.readouterr().out) == {
        "map": 1.0,
        "ap50": 1.0,
        "per_class": {"brake light": {"ap": 1.0, "ap50": 1.0}},
        "images": 2,
        "engine": engine,
        "bundle": "tiny",
        "score": 0.2,
        "nms": 0.5,
    }


def test_people_read_a_table_and_what_was_left_out(
    bundle: Path, dataset: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--map", "red=brake light", "--map", "blue=brake light", "--split", "val"]
    assert run(monkeypatch, bundle, dataset / "data.yaml", *words) == 0
    said = capsys.readouterr().out
    assert "tiny on onnxruntime, 2 images, score > 0.01, NMS 0.65" in said
    (row,) = [line for line in said.splitlines() if line.startswith("brake light")]
    assert row.split()[-3:] == ["1.000", "1.000", "2"]
    assert "not judged, for they are no class of the bundle: dog (see --map)" in said


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "none of the bundle's classes by name"),
        (["--map", "red"], "--map red: is no BUNDLE_CLASS=DATASET_CLASS"),
        (["--map", "red=brake lihgt"], "did you mean 'brake light'?"),
        (["--map", "redd=dog"], "did you mean 'red'?"),
        (["--map", "red=dog", "--split", "test"], "has no split 'test'; it has val"),
        (["--map", "red=dog", "--engine", "warp"], "--engine warp: is unknown"),
    ],
)
def test_a_wrong_request_is_refused_in_one_line(
    words: list[str],
    says: str,
    bundle: Path,
    dataset: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(monkeypatch, bundle, dataset, *words) == 2
    said = capsys.readouterr()
    assert (said.out, said.err.count("\n")) == ("", 1)
    assert said.err.startswith("error: ")
    assert says in said.err


def test_a_dataset_without_labels_is_refused(
    bundle: Path, dataset: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for file in (dataset / "labels" / "val").iterdir():
        file.unlink()
    assert run(monkeypatch, bundle, dataset, "--map", "red=dog") == 2
    assert "2 images and no label; put the boxes of a.png into" in capsys.readouterr().err


def test_the_bundle_is_left_as_it_was(bundle: Path, dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = load_bundle(bundle).sha256, sorted(bundle.iterdir()), sorted(dataset.rglob("*"))
    assert run(monkeypatch, bundle, dataset, "--map", "red=dog") == 0
    assert before == (load_bundle(bundle).sha256, sorted(bundle.iterdir()), sorted(dataset.rglob("*")))
