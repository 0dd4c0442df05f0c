"""`perception drive mine` as its user has it: on made drives, on real ones, and what comes of its dataset."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tiny_networks
from command import Cli, Ended
from mined_drives import SEEN, UNSEEN, UNSURE, make_teacher, picture, write_drive

from engines.bundle import Bundle
from engines.datasets import open_dataset
from engines.importing import ImportOptions, import_network
from perception.mining import Mining, MiningRequest, write_mined
from sensors.errors import SourceError

FLICKERING = (SEEN, SEEN, SEEN, UNSEEN, SEEN, SEEN)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return tiny_networks.make_bundle(tmp_path_factory.mktemp("bundles") / "tiny")


@pytest.fixture(scope="module")
def blind_teacher(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """It does not see the red box that the model always sees."""
    return make_teacher(tmp_path_factory.mktemp("bundles") / "blind")


@pytest.fixture
def mine(cli: Cli, model: Bundle, tmp_path: Path) -> Cli:
    """Mine drives into `tmp_path`/mined."""

    def run(*words: object) -> Ended:
        return cli("drive", "mine", *words, "--model", model.folder, "-o", tmp_path / "mined", "--json")

    return run


def frames_of(folder: Path) -> list[dict[str, Any]]:
    return list(json.loads((folder / "mined.json").read_text())["frames"])


def test_a_flicker_is_found_and_the_missed_box_is_labelled(mine: Cli, tmp_path: Path) -> None:
    drive = write_drive(tmp_path / "road", FLICKERING)
    assert mine(drive).code == 0
    (frame,) = frames_of(tmp_path / "mined")
    assert (frame["drive"], frame["sequence"], frame["stamp_ns"]) == ("road", 3, 300_000_000)
    assert list(frame["reasons"]) == ["flicker"]
    assert frame["findings"][0]["class"] == "blue"
    assert frame["file"] == "images/train/road--000003.png"
    assert (tmp_path / "mined" / frame["file"]).read_bytes() == (drive / "003.png").read_bytes(), "the file as it came"
    (image,) = open_dataset(tmp_path / "mined", "train").images
    assert sorted(image.classes.tolist()) == [0, 2]
    (blue,) = image.boxes_xyxy(tiny_networks.SIDE, tiny_networks.SIDE)[image.classes == 0]
    width = 8 + 8 * SEEN / 255
    np.testing.assert_allclose(blue, [8 - width / 2, 7, 8 + width / 2, 17], atol=0.02)


def test_yolo_and_coco_say_the_same(mine: Cli, tmp_path: Path) -> None:
    pytest.importorskip("yaml")
    assert mine(write_drive(tmp_path / "road", (UNSURE,) * 3, suffix=".jpg"), "--apart", 0).facts["picked"] == 3
    folder = tmp_path / "mined"
    yolo = open_dataset(folder / "data.yaml", "train")
    coco = open_dataset(folder / "annotations" / "instances_train.json")
    assert yolo.classes == coco.classes == tiny_networks.LABELS
    assert [image.path for image in yolo.images] == [image.path for image in coco.images]
    side = tiny_networks.SIDE
    for one, other in zip(yolo.images, coco.images, strict=True):
        assert one.classes.tolist() == other.classes.tolist()
        np.testing.assert_allclose(one.boxes_xyxy(side, side), other.boxes_xyxy(side, side), atol=0.02)


def test_low_confidence_is_found(mine: Cli, tmp_path: Path) -> None:
    mine(write_drive(tmp_path / "road", (SEEN, SEEN, UNSURE, SEEN)))
    (frame,) = frames_of(tmp_path / "mined")
    assert (frame["sequence"], list(frame["reasons"])) == (2, ["low confidence"])
    assert frame["findings"][0]["score"] == pytest.approx(100 / 255, abs=1e-3)


def test_a_teacher_that_disagrees_is_told_and_believed_only_where_the_model_is_not_sure(
    mine: Cli, blind_teacher: Bundle, tmp_path: Path
) -> None:
    ended = mine(write_drive(tmp_path / "road", (SEEN,) * 3), "--teacher", blind_teacher.folder, "--apart", 0)
    assert ended.facts["reasons"] == {"disagreement": 3}
    assert {one["why"] for frame in frames_of(tmp_path / "mined") for one in frame["findings"]} == {"only the model"}
    ended = mine(tmp_path / "road", "--teacher", blind_teacher.folder, "--force", "--sure", 0.75, "--apart", 0)
    assert ended.facts["reasons"] == {"low confidence": 3}, "it is not sure of its red box now"
    assert ended.facts["labels"] == 3, "and so nobody labels it"


def test_a_teachers_classes_may_have_other_names(cli: Cli, model: Bundle, tmp_path: Path) -> None:
    teacher = make_teacher(tmp_path / "other", 0.9, ("azure", "green", "crimson"))
    drive, words = write_drive(tmp_path / "road", (SEEN,) * 3), ("--model", model.folder, "--teacher", teacher.folder)
    pairs = ("--map", "azure=blue", "--map", "crimson=red")
    ended = cli("drive", "mine", drive, *words, *pairs, "-o", tmp_path / "mined")
    assert (ended.code, "none of 3 frames is worth labelling" in ended.err) == (1, True)
    assert not (tmp_path / "mined").exists()
    ended = cli("drive", "mine", drive, *words, "--map", "azur=blue", "-o", tmp_path / "mined")
    assert ended.code == 2
    assert "--map azur=blue: 'azur' is no class of the teacher; did you mean 'azure'?" in ended.err
    ended = cli("drive", "mine", drive, *words, "--map", "azure=blue", "--map", "azure=red", "-o", tmp_path / "mined")
    assert (ended.code, "makes blue and red of the model one" in ended.err) == (2, True)


def test_the_dataset_is_clean_trains_as_it_stands_and_shows_itself(mine: Cli, cli: Cli, tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="needs the train extra: pip install 'edge-perception[train]'")
    drives = [write_drive(tmp_path / name, FLICKERING, first_pattern=10 * at) for at, name in enumerate("abc")]
    assert mine(*drives).code == 0
    folder = tmp_path / "mined"
    info = cli("dataset", "info", folder)
    assert info.code == 0, info.out
    assert "faults: none" in info.out
    sheet = cv2.imread(str(folder / "sheet.png"))
    assert sheet is not None
    assert len(np.unique(sheet.reshape(-1, 3), axis=0)) > 100
    short = ("--size", "64x64", "--batch", 2, "--epochs", 1, "--device", "cpu", "--precision", "fp32")
    trained = cli("engine", "train", folder, "-o", tmp_path / "run", "--validate", "val", *short)
    assert trained.code == 0, trained.err
    assert (tmp_path / "run" / "bundle" / "model.onnx").is_file()


def test_drives_are_split_as_a_whole(mine: Cli, tmp_path: Path) -> None:
    blues = (SEEN, UNSURE, SEEN, UNSURE, SEEN, UNSURE)
    drives = [write_drive(tmp_path / name, blues, first_pattern=10 * at) for at, name in enumerate("abcde")]
    ended = mine(*drives, "--apart", 0)
    assert ended.facts["splits"] == {"train": 12, "val": 3}
    by_split = {
        split: {one["drive"] for one in frames_of(tmp_path / "mined") if one["split"] == split}
        for split in ("train", "val")
    }
    assert not by_split["train"] & by_split["val"]
    assert by_split["train"] | by_split["val"] == set("abcde")
    assert mine(*drives, "--apart", 0, "--force", "--val", 0).facts["splits"] == {"train": 15}
    assert mine(drives[0], "--apart", 0, "--force").facts["splits"] == {"train": 3}


def test_drives_of_one_name_stay_apart(mine: Cli, tmp_path: Path) -> None:
    one = write_drive(tmp_path / "monday" / "road", (SEEN, SEEN, UNSURE))
    other = write_drive(tmp_path / "tuesday" / "road", (SEEN, SEEN, UNSURE), first_pattern=20)
    assert mine(one, other).code == 0
    assert {frame["drive"] for frame in frames_of(tmp_path / "mined")} == {"road", "road-2"}
    assert mine(one, f"night={other}", "--force").code == 0
    assert {frame["drive"] for frame in frames_of(tmp_path / "mined")} == {"road", "night"}


def test_near_duplicates_are_left_out(mine: Cli, tmp_path: Path) -> None:
    drive = tmp_path / "standing"
    drive.mkdir()
    for number in range(6):
        cv2.imwrite(str(drive / f"{number}.png"), picture(UNSURE + number, 5))
    facts = mine(drive, "--apart", 0).facts
    assert (facts["picked"], facts["left_out_as_alike"]) == (1, 5)


def test_no_more_than_count(mine: Cli, tmp_path: Path) -> None:
    drive = write_drive(tmp_path / "road", (UNSURE,) * 8)
    assert mine(drive, "--apart", 0, "--count", 3).facts["picked"] == 3


def test_every_frame_has_its_reasons_in_the_table(mine: Cli, tmp_path: Path) -> None:
    mine(write_drive(tmp_path / "road", (*FLICKERING, UNSURE)), "--apart", 0)
    with (tmp_path / "mined" / "reasons.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["sequence"], row["reasons"]) for row in rows] == [("3", "flicker"), ("6", "low confidence")]
    assert rows[0]["findings"].startswith("blue 0.78 #")


def test_damaged_images_are_counted_and_the_rest_is_mined(mine: Cli, tmp_path: Path) -> None:
    drive = write_drive(tmp_path / "road", (SEEN, SEEN, UNSURE, SEEN))
    (drive / "001.png").write_bytes(b"\x89PNG no more")
    (account,) = mine(drive).facts["drives"]
    assert (account["frames"], account["faults"], account["failed"]) == (3, 1, 0)
    assert frames_of(tmp_path / "mined")[0]["sequence"] == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--sure", 0.2), "--sure 0.2: is not above --score 0.3"),
        (("--map", "a=b"), "--map: is about the teacher's classes; give --teacher BUNDLE too"),
        (("--start", 99), "there is no frame; check --start and --duration"),
        (("--model", "none"), "none"),
    ],
)
def test_a_wrong_request_is_told_and_nothing_is_written(
    cli: Cli, model: Bundle, tmp_path: Path, words: tuple[object, ...], message: str
) -> None:
    drive = write_drive(tmp_path / "road", FLICKERING)
    ended = cli("drive", "mine", drive, "--model", model.folder, "-o", tmp_path / "new" / "mined", *words)
    assert ended.code in {1, 2}
    assert message in ended.err
    assert not (tmp_path / "new").exists()


def test_only_a_mined_dataset_is_replaced(mine: Cli, tmp_path: Path) -> None:
    drive, folder = write_drive(tmp_path / "road", FLICKERING), tmp_path / "mined"
    folder.mkdir()
    (folder / "precious.txt").write_text("mine")
    assert "exists already" in mine(drive).err
    ended = mine(drive, "--force")
    assert (ended.code, "is no mined dataset" in ended.err) == (2, True)
    assert [entry.name for entry in folder.iterdir()] == ["precious.txt"]


def test_a_network_that_answers_nothing_is_an_error(cli: Cli, tmp_path: Path) -> None:
    bundle = tiny_networks.make_bundle(tmp_path / "nan", on_white="nan")
    drive = write_drive(tmp_path / "white", (255,) * 3)
    ended = cli("drive", "mine", drive, "--model", bundle.folder, "-o", tmp_path / "mined")
    assert (ended.code, "not one of 3 frames could be answered" in ended.err) == (3, True)


def test_stopped_early_nothing_is_written(model: Bundle, tmp_path: Path) -> None:
    drive, folder = write_drive(tmp_path / "road", FLICKERING), tmp_path / "mined"
    request = MiningRequest(drives=[str(drive)], model=model.folder)
    with Mining(request) as mining:
        assert mining.run(lambda done, _all: mining.stop() if done == 2 else None) is None
    with Mining(request) as mining:
        mined = mining.run()
        assert mined is not None
        mining.stop()
        assert not write_mined(mining, mined, folder)
    assert [entry.name for entry in tmp_path.iterdir()] == ["road"]


def test_a_drive_that_changes_meanwhile_is_told_and_nothing_is_written(model: Bundle, tmp_path: Path) -> None:
    drive = write_drive(tmp_path / "road", FLICKERING)
    with Mining(MiningRequest(drives=[str(drive)], model=model.folder)) as mining:
        mined = mining.run()
        assert mined is not None
        cv2.imwrite(str(drive / "003.png"), picture(UNSEEN, 99))
        with pytest.raises(SourceError, match="gives other frames than it gave before"):
            write_mined(mining, mined, tmp_path / "mined")
    assert [entry.name for entry in tmp_path.iterdir()] == ["road"]


# --- real drives and networks


@pytest.fixture(scope="module")
def yolox(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("bundles") / "yolox"
    return import_network(data / "models" / "yolox_nano.onnx", folder, ImportOptions(labels="coco"))


@pytest.mark.data
@pytest.mark.parametrize(
    "drive",
    [
        "kitti_2011_09_26/2011_09_26/2011_09_26_drive_0001_sync",
        "radiate_tiny_foggy",
        "nuscenes_sample",
        "videos/test_video.mp4",
    ],
)
def test_every_kind_of_drive_is_mined(cli: Cli, yolox: Bundle, data: Path, tmp_path: Path, drive: str) -> None:
    folder = tmp_path / "mined"
    words = ("--model", yolox.folder, "-o", folder, "--duration", 1.0, "--json", "--count", 8)
    ended = cli("drive", "mine", data / "drives" / drive, *words)
    assert ended.code == 0, ended.err
    assert ended.facts["picked"] == len(open_dataset(folder, "train").images) > 0
    assert cli("dataset", "info", folder).code == 0
