"""Datasets as they lie on people's disks, whole and damaged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engines.datasets import Dataset, DatasetError, open_dataset

WIDTH, HEIGHT = 40, 20


def image(path: Path, size: tuple[int, int] = (WIDTH, HEIGHT)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.zeros((size[1], size[0], 3), np.uint8))
    return path


def yolo(
    folder: Path, labels: dict[str, str | None], settings: str = "val: images/val\nnames: [car, person]\n"
) -> Path:
    """A dataset of images of 40x20; the text of each one's labels, None for no file."""
    for name, text in labels.items():
        image(folder / "images" / "val" / f"{name}.png")
        if text is not None:
            file = folder / "labels" / "val" / f"{name}.txt"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
    (folder / "data.yaml").write_text(settings)
    return folder


def coco_table(**changes: Any) -> dict[str, Any]:
    table: dict[str, Any] = {
        "images": [{"id": 7, "file_name": "a.png", "width": WIDTH, "height": HEIGHT}, {"id": 9, "file_name": "b.png"}],
        "categories": [{"id": 3, "name": "car"}, {"id": 18, "name": "dog"}],
        "annotations": [
            {"id": 1, "image_id": 7, "category_id": 18, "bbox": [4, 5, 10, 6], "iscrowd": 0},
            {"id": 2, "image_id": 7, "category_id": 3, "bbox": [0, 0, 40, 20], "iscrowd": 1},
            {"id": 3, "image_id": 7, "category_id": 3, "bbox": [1, 1, 0, 5], "iscrowd": 0},
        ],
    }
    return table | changes


def coco(folder: Path, table: Any, name: str = "annotations/instances_val2017.json", images: str = "val2017") -> Path:
    for picture in ("a.png", "b.png"):
        image(folder / images / picture)
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(table if isinstance(table, str) else json.dumps(table))
    return folder


def pixel_boxes(dataset: Dataset, number: int) -> list[list[float]]:
    boxes: list[list[float]] = dataset.images[number].boxes_xyxy(WIDTH, HEIGHT).tolist()
    return boxes


def test_yolo_boxes_come_in_pixels_and_images_in_order(tmp_path: Path) -> None:
    folder = yolo(tmp_path, {"b": "1 0.5 0.5 0.5 0.2\n\n0 0.25 0.5 0.5 1\n", "a": "", "c": None})
    dataset = open_dataset(folder)
    assert (dataset.classes, dataset.split, dataset.boxes) == (("car", "person"), "val", 2)
    assert [found.path.name for found in dataset.images] == ["a.png", "b.png", "c.png"]
    np.testing.assert_allclose(pixel_boxes(dataset, 1), [[10, 8, 30, 12], [0, 0, 20, 20]])
    assert dataset.images[1].classes.tolist() == [1, 0]
    assert [len(found.boxes) for found in dataset.images] == [0, 2, 0]


@given(
    box=st.tuples(*[st.floats(0.01, 0.99)] * 2, *[st.floats(0.01, 1)] * 2),
    kind=st.integers(0, 1),
)
def test_a_yolo_line_is_the_box_that_it_was_written_from(
    box: tuple[float, ...], kind: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = yolo(tmp_path_factory.mktemp("line"), {"a": f"{kind} " + " ".join(map(repr, box))})
    cx, cy, w, h = box
    wanted = np.clip([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2], 0, 1) * [WIDTH, HEIGHT, WIDTH, HEIGHT]
    dataset = open_dataset(folder)
    np.testing.assert_allclose(pixel_boxes(dataset, 0), [wanted])
    assert dataset.images[0].classes.tolist() == [kind]


@pytest.mark.parametrize(
    "settings",
    [
        "val: images/val\nnames: {0: car, 1: person}\n",
        "path: .\nval: [images/val]\nnames: [car, person]\n",
        "val: ../images/val\nnames: [car, person]\n",  # as one exporter writes it
        "val: list.txt\nnames: [car, person]\n",
        "test: images/val\ntrain: nowhere\nnames: [car, person]\n",
    ],
)
def test_yolo_settings_in_use_are_understood(settings: str, tmp_path: Path) -> None:
    folder = yolo(tmp_path / "set", {"a": "0 0.5 0.5 0.5 0.5"}, settings)
    (folder / "list.txt").write_text("images/val/a.png\n")
    dataset = open_dataset(folder / "data.yaml")
    assert (dataset.classes, dataset.boxes) == (("car", "person"), 1)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("0 0.5 0.5 0.5", r"a\.txt line 2: has 4 values; a box is `class cx cy w h`"),
        ("0 0.5 0.5 0.5 half", r"a\.txt line 2: '0 0\.5 0\.5 0\.5 half' is not all numbers"),
        ("2 0.5 0.5 0.5 0.5", r"line 2: class 2 has no name; data\.yaml names 0 to 1"),
        ("0.5 0.5 0.5 0.5 0.5", "class 0.5 has no name"),
        ("-1 0.5 0.5 0.5 0.5", "class -1 has no name"),
        ("0 20 10 8 8", "outside the image"),
        ("0 nan 0.5 0.5 0.5", "outside the image"),
        ("0 0.5 0.5 0 0.5", "no area"),
        ("0 0.5 0.5 0.5 -0.0005", "no area"),
    ],
)
def test_a_bad_line_is_named(line: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=says) as caught:
        open_dataset(yolo(tmp_path, {"a": f"0 0.5 0.5 0.5 0.5\n{line}\n"}))
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ("names: [car]\n", r"does not say which split to take \(it has none\)"),
        ("train: a\ntrain2: b\ntest:\nnames: [car]\n", "names a, which is not there"),
        ("val: images/val\n", "names: is no list"),
        ("val: images/val\nnames: {1: car}\n", "names: is no list"),
        ("val: images/none\nnames: [car, person]\n", "names images/none, which is not there"),
        ("val: labels\nnames: [car, person]\n", "has no image"),
        ("val: list.txt\nnames: [car, person]\n", r"list\.txt: names gone\.png, which is not there"),
        ("[", "is not YAML"),
        ("text", "holds no settings"),
        ("a: \x00", "is not YAML"),
    ],
)
def test_a_bad_data_yaml_is_named(settings: str, says: str, tmp_path: Path) -> None:
    folder = yolo(tmp_path, {"a": "0 0.5 0.5 0.5 0.5"}, settings)
    (folder / "list.txt").write_text("images/val/a.png\ngone.png\n")
    with pytest.raises(DatasetError, match=says):
        open_dataset(folder)


def test_a_dataset_without_labels_is_said_with_where_they_should_be(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"2 images and no label; put the boxes of a\.png into .*labels/val/a\.txt"):
        open_dataset(yolo(tmp_path / "none", {"a": None, "b": None}))
    with pytest.raises(DatasetError, match="has 1 images and no label"):
        open_dataset(yolo(tmp_path / "empty", {"a": ""}))
    with pytest.raises(DatasetError, match="has no label"):
        open_dataset(coco(tmp_path / "coco", coco_table(annotations=[])))


def test_a_split_that_is_not_there_is_refused_with_the_near_one(tmp_path: Path) -> None:
    folder = yolo(tmp_path, {"a": "0 0.5 0.5 0.5 0.5"})
    with pytest.raises(DatasetError, match="no split 'vall'; did you mean 'val'"):
        open_dataset(folder, "vall")
    with pytest.raises(DatasetError, match="no split 'train'; it has val"):
        open_dataset(folder, "train")


@pytest.mark.parametrize(
    ("name", "images"),
    [
        ("annotations/instances_val2017.json", "val2017"),
        ("annotations/val.json", "images/val"),
        ("valid/_annotations.coco.json", "valid"),
        ("val.json", "images"),
    ],
)
def test_coco_layouts_in_use_are_found(name: str, images: str, tmp_path: Path) -> None:
    dataset = open_dataset(coco(tmp_path, coco_table(), name, images), "val")
    assert dataset.classes == ("car", "dog")
    assert [found.path for found in dataset.images] == [tmp_path / images / "a.png", tmp_path / images / "b.png"]
    assert pixel_boxes(dataset, 0) == [[4, 5, 14, 11], [0, 0, 40, 20]]  # the one without area is left out
    assert dataset.images[0].classes.tolist() == [1, 0]
    assert dataset.images[0].crowd.tolist() == [False, True]
    assert open_dataset(tmp_path / name).boxes == 2


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ("{", "is not JSON"),
        ("[]", "is not laid out as COCO"),
        (coco_table(categories=[{"id": 3, "name": "car"}]), "annotation 1: category 18 has no name"),
        (coco_table(images=[{"id": 8, "file_name": "a.png"}]), "annotation 1: image 7 is not there"),
        (coco_table(images=[{"id": 7, "file_name": "gone.png"}]), r"its image gone\.png is not there"),
        (coco_table(annotations=[{"image_id": 7, "category_id": 3, "bbox": [1, 2, 3]}]), "is no box"),
        (coco_table(annotations=[{"image_id": 7, "category_id": 3, "bbox": [1, 2, -3, 4]}]), "is no box"),
        (coco_table(annotations=[{"image_id": 7, "category_id": 3}]), "has no 'bbox'"),
        (coco_table(categories=5), "is not laid out as COCO"),
    ],
)
def test_a_bad_coco_file_is_named(table: Any, says: str, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=says):
        open_dataset(coco(tmp_path, table))


def test_an_image_of_another_size_than_its_labels_is_refused(tmp_path: Path) -> None:
    found = open_dataset(coco(tmp_path, coco_table())).images[0]
    with pytest.raises(DatasetError, match=r"a\.png: is 80x40, and its labels are for 40x20"):
        found.boxes_xyxy(80, 40)


@pytest.mark.parametrize("name", ["nowhere", "file.txt", "folder"])
def test_what_is_no_dataset_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "file.txt").write_text("")
    (tmp_path / "folder").mkdir()
    with pytest.raises(DatasetError, match=r"give a data\.yaml, a COCO JSON file, or the folder of a dataset"):
        open_dataset(tmp_path / name)


@pytest.mark.data
def test_the_highway_set_has_the_boxes_of_its_readme(data: Path) -> None:
    dataset = open_dataset(data / "labelled" / "highway")
    counts = np.bincount(np.concatenate([found.classes for found in dataset.images]))
    assert dict(zip(dataset.classes, counts.tolist(), strict=True)) == {
        "bus": 43,
        "car": 65,
        "motorbike": 33,
        "person": 49,
        "truck": 63,
    }
    assert (dataset.split, len(dataset.images)) == ("val", 85)
