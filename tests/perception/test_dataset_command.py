"""`perception dataset info` as a person or a script meets it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import cv2
import pytest
from made_datasets import MADE, picture, write_image, write_yolo

from perception.commands.app import main


def run(monkeypatch: pytest.MonkeyPatch, *words: object) -> int:
    monkeypatch.setattr(sys, "argv", ["perception", "dataset", "info", *map(str, words)])
    try:
        main()
    except SystemExit as end:
        return int(end.code or 0)
    return 0


@pytest.fixture
def spoiled(tmp_path: Path) -> Path:
    """A YOLO dataset with a fault of each kind in its train split."""
    folder = write_yolo(tmp_path / "street")
    with (folder / "labels/train/a.txt").open("a") as labels:
        labels.write("7 0.5 0.5 0.1 0.1\n0 0.5 0.5 3 3\n0 0.5 half\n")
    (folder / "labels/train/gone.txt").write_text("0 0.5 0.5 0.1 0.1\n")
    cv2.imwrite(str(folder / "images/train/b.jpg"), picture(3))
    content = (folder / "images/train/b.jpg").read_bytes()
    (folder / "images/train/b.jpg").write_bytes(content[:-100])
    (folder / "images/train/c.png").write_bytes(b"")
    return folder


FAULTS = {
    "labels/train/a.txt line 3": "class 7 has no name",
    "labels/train/a.txt line 4": "its box lies outside the image",
    "labels/train/a.txt line 5": "'0 0.5 half' is not all numbers",
    "labels/train/gone.txt": "labels an image that is not there",
    "images/train/b.jpg": "is cut off: the file ends before its picture does",
    "images/train/c.png": "cannot be read as an image",
}


@pytest.mark.parametrize("name", list(MADE))
def test_every_format_is_told_of(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made = MADE[name]
    folder = made.write(tmp_path / "set")
    assert run(monkeypatch, folder) == 0
    said = capsys.readouterr()
    lines = said.out.splitlines()
    assert lines[0] == f"set: {name.partition(',')[0]}"
    assert lines[1].split() == list(made.splits)
    (images,) = [line.split()[1:] for line in lines if line.startswith("  images ")]
    assert sum(map(int, images)) == 4
    for kind in made.classes:
        assert any(line.split()[0] == kind for line in lines[1:])
    assert "faults: none" in lines
    assert said.err == ""


def test_json_has_every_figure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_yolo(tmp_path / "street")
    assert run(monkeypatch, folder, "--split", "train", "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    (split,) = facts["splits"]
    assert split.pop("box_percent") == [45.64] * 3  # both are 640 of 3072 pixels
    assert split == {
        "dataset": "street",
        "split": "train",
        "about": "YOLO",
        "images": 3,
        "without_boxes": 2,
        "boxes": {"car": 1, "person": 1},
        "ignored": 0,
        "categories": {},
        "image_sizes": {"64x48": 3},
        "mask_percent": {},
    }
    assert (facts["near_duplicates"], facts["faults"], facts["notes"]) == ([], [], [])


def test_all_faults_are_listed_with_their_files(
    spoiled: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, spoiled, "--json") == 1
    facts = json.loads(capsys.readouterr().out)
    found = {fact["file"].removeprefix(f"{spoiled}/"): fact["what"] for fact in facts["faults"]}
    assert found == FAULTS
    assert len(facts["faults"]) == len(FAULTS)
    assert run(monkeypatch, spoiled) == 1
    said = capsys.readouterr().out
    assert f"faults: {len(FAULTS)}" in said
    assert all(file in said and what in said for file, what in FAULTS.items())


def test_a_dataset_that_cannot_be_read_at_all_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "data.yaml").write_text("names: [car]\ntrain: nowhere\n")
    (tmp_path / "empty").mkdir()
    assert run(monkeypatch, tmp_path) == 1
    assert "names nowhere, which is not there" in capsys.readouterr().out
    for words, says in (
        ([tmp_path / "empty"], "holds no dataset that we know"),
        ([tmp_path / "none"], "there is no such dataset"),
        ([tmp_path, "--split", "vall"], "has no split 'vall'; it has train"),
        ([tmp_path, "--sheet", "sheet.txt"], "is no picture; give a name that ends in .png or .jpg"),
    ):
        assert run(monkeypatch, *words) == 2
        said = capsys.readouterr()
        assert (said.out, said.err.count("\n")) == ("", 1)
        assert says in said.err


def test_near_duplicates_between_datasets_are_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    one = write_yolo(tmp_path / "one")
    write_image(tmp_path / "other" / "twin.png", ord("b"))
    assert run(monkeypatch, one, tmp_path / "other") == 0
    said = capsys.readouterr().out
    assert "near-duplicates between splits or datasets: 1\n" in said
    assert f"{one}/images/train/b.png (one/train) and {tmp_path}/other/twin.png (other/all)" in said


def test_the_sheet_is_written_whole(
    spoiled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sheet = tmp_path / "sheet.png"
    assert run(monkeypatch, spoiled, "--sheet", sheet, "--samples", "3") == 1
    assert f"wrote {sheet}" in capsys.readouterr().out
    assert cv2.imread(str(sheet)) is not None
    assert [file.name for file in tmp_path.iterdir() if file.is_file()] == ["sheet.png"]


def test_a_mixture_is_shown_as_it_teaches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_yolo(tmp_path / "street")
    write_image(tmp_path / "plain" / "x.png", 77)
    (tmp_path / "mixture.toml").write_text(
        'classes = ["vehicle", "person"]\n[[dataset]]\npath = "street"\nmap = { car = "vehicle" }\n'
        '[[dataset]]\npath = "plain"\nlabels = []\n'
    )
    assert run(monkeypatch, tmp_path / "mixture.toml", "--json") == 0
    splits = json.loads(capsys.readouterr().out)["splits"]
    assert [(split["dataset"], split["split"], split["boxes"]) for split in splits] == [
        ("street", "train", {"vehicle": 1, "person": 1}),
        ("plain", "train", {"vehicle": 0, "person": 0}),
        ("street", "val", {"vehicle": 0, "person": 1}),
    ]
    assert splits[0]["about"] == "labels vehicle, person, 75% of the draws of train"
    assert splits[1]["about"] == "labels nothing, 25% of the draws of train"
    (tmp_path / "mixture.toml").write_text(
        'classes = ["vehicle"]\n[[dataset]]\npath = "street"\nmap = { kar = "vehicle" }\n'
    )
    assert run(monkeypatch, tmp_path / "mixture.toml") == 2
    assert "'kar' is no class of the dataset; did you mean 'car'?" in capsys.readouterr().err


def test_looking_at_data_loads_neither_torch_nor_an_engine() -> None:
    code = (
        "import sys; from perception.commands.app import app; import engines.training.datasets;"
        "print(sorted({'torch', 'onnxruntime', 'openvino'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
