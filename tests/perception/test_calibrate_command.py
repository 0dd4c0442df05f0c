"""`perception engine calibrate` as a person or a script meets it."""

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
    return tiny_networks.make_bundle(tmp_path_factory.mktemp("commands") / "tiny", convolutions="fragile").folder


@pytest.fixture
def drive(tmp_path: Path) -> Path:
    """Twenty images, which are a labelled dataset too."""
    for kind in ("images", "labels"):
        (tmp_path / "drive" / kind / "val").mkdir(parents=True)
    for number in range(20):
        image = tmp_path / "drive" / "images" / "val" / f"{number:02}.png"
        cv2.imwrite(str(image), tiny_networks.solid(240, 10 * number, 250 - 10 * number))
        (tmp_path / "drive" / "labels" / "val" / f"{number:02}.txt").write_text(f"2 {STEADY}")
    (tmp_path / "drive" / "data.yaml").write_text("val: images/val\nnames: [blue, green, red]\n")
    return tmp_path / "drive"


def run(monkeypatch: pytest.MonkeyPatch, *words: object, verb: str = "calibrate") -> int:
    monkeypatch.setattr(sys, "argv", ["perception", "engine", verb, *map(str, words)])
    try:
        main()
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def test_a_person_reads_what_was_done_gained_and_lost(
    bundle: Path, drive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [bundle, "--frames", drive / "images" / "val", "--labels", drive, "-o", tmp_path / "int8"]
    assert run(monkeypatch, *words) == 0
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert lines[0].startswith(f"{tmp_path / 'int8'}: 2 of 3 layers in INT8 (")
    assert lines[1] == "  left in float: conv2"
    for line, engine in zip(lines[2:4], ("onnxruntime", "openvino"), strict=True):
        assert line.startswith(
            f"  {engine}: finds 100.0% of 18 that float finds, and float 100.0% of what it finds; AP50 "
        )
        assert "may be chance" in line
        assert "float32" in line
    assert lines[4].startswith("  the same on both engines: 100.0%")
    assert "11 frames to calibrate on, 9 others to judge by" in err
    assert load_bundle(tmp_path / "int8").labels == load_bundle(bundle).labels


def test_json_is_one_object(
    bundle: Path, drive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, bundle, "--frames", drive / "images" / "val", "-o", tmp_path / "int8", "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["sha256"] == load_bundle(tmp_path / "int8").sha256
    assert (facts["layers"], facts["left_in_float"]) == (3, ["conv2"])
    assert set(facts["engines"]) == set(ON_THE_CPU)
    assert all("ap50" not in engine and engine["agreement"] == 1 for engine in facts["engines"].values())


def test_inspect_says_that_it_is_int8_and_of_what(
    bundle: Path, drive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, bundle, "--frames", drive / "images" / "val", "-o", tmp_path / "int8") == 0
    capsys.readouterr()
    assert run(monkeypatch, tmp_path / "int8", verb="inspect") == 0
    out = capsys.readouterr().out
    assert "int8      of tiny, 2 of 3 layers, " in out
    assert "by 11 frames of val" in out


@pytest.mark.parametrize(
    ("words", "says", "code"),
    [
        (["--min-agreement", "1", "--max-loss", "0", "--frames", "{black}"], "", 0),
        (["--frames", "{short}"], "gives 2 frames to calibrate on and 1 to judge by, and 8 are needed", 2),
        (["--frames", "none.mp4"], "none.mp4: does not exist", 2),
        (["--frames", "rtsp://127.0.0.1:9/x"], "is live; record a drive, and give the recording", 2),
        (["--frames", "{drive}", "--split", "val"], "give --labels DATASET too", 2),
        (["--frames", "{drive}", "--labels", "none"], "none: there is no such dataset", 2),
        (["--frames", "{drive}", "--labels", "{data}", "--map", "red"], "write for example motorcycle=motorbike", 2),
        (["--frames", "{drive}", "--weight-bits", "4"], "greater than or equal to 7", 2),
    ],
)
def test_what_cannot_be_done_is_said_and_nothing_is_written(
    words: list[str],
    says: str,
    code: int,
    bundle: Path,
    drive: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, count in (("short", 3), ("black", 16)):
        (tmp_path / name).mkdir()
        for number in range(count):
            cv2.imwrite(str(tmp_path / name / f"{number:02}.png"), tiny_networks.solid(0))
    places = {
        "drive": drive / "images" / "val",
        "data": drive,
        "short": tmp_path / "short",
        "black": tmp_path / "black",
    }
    filled = [word.format(**places) for word in words]
    assert run(monkeypatch, bundle, *filled, "-o", tmp_path / "out" / "int8") == code
    if code:
        assert says in " ".join(capsys.readouterr().err.replace("│", "").split())
        assert not (tmp_path / "out").exists()


def test_a_segmenter_has_no_boxes_for_labels(
    drive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    masks = tiny_networks.make_segmenter_bundle(tmp_path / "masks").folder
    words = ["--frames", drive / "images" / "val", "--labels", drive, "-o", tmp_path / "int8"]
    assert run(monkeypatch, masks, *words) == 2
    assert "finds no boxes" in capsys.readouterr().err
    assert not (tmp_path / "int8").exists()


def test_without_its_package_it_says_how_to_get_it(
    bundle: Path, drive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "onnx" or name.startswith("engines.quantize")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "onnx", None)  # as Python marks what cannot be imported
    assert run(monkeypatch, bundle, "--frames", drive / "images" / "val", "-o", tmp_path / "int8") == 2
    assert "the package onnx is not installed; pip install 'edge-perception[calibrate]'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("low", "high", "told"),
    [
        (0.002, 0.01, "a real loss"),
        (-0.01, -0.002, "a real gain"),
        (-0.0011, -0.0002, "next to nothing"),
        (0.0002, 0.0011, "next to nothing"),
        (-0.0002, 0.0002, "may be chance"),
    ],
)
def test_a_loss_is_called_what_it_is(low: float, high: float, told: str) -> None:
    from perception.commands.engine.calibrate import _verdict

    assert _verdict(low, high) == told
