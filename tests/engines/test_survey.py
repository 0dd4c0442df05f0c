"""A dataset looked at as a whole: figures that are right, faults that are all there, samples that can be read."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from made_datasets import FIRST, HEIGHT, MADE, SECOND, WIDTH, picture, write_image, write_yolo, yolo_line

from engines.datasets import Dataset, DatasetError, LabelledImage, open_dataset, refuse, unless_unlabelled
from engines.datasets.sheet import class_colour, samples, sheet
from engines.datasets.survey import survey


def surveyed(folder: Path, split: str = "train") -> tuple[Dataset, list[str], list[str]]:
    dataset = open_dataset(folder, split)
    (one,), _ = survey([dataset])
    faults = [str(fault) for looked in one.looked for fault in looked.faults]
    return dataset, faults, [str(note) for looked in one.looked for note in looked.notes]


def test_counts_and_sizes_are_those_of_the_images(tmp_path: Path) -> None:
    folder = write_yolo(tmp_path)
    write_image(folder / "images/train/e.png", 9)
    cv2.imwrite(str(folder / "images/train/f.png"), np.zeros((30, 50, 3), np.uint8))
    (one,), _ = survey([open_dataset(folder, "train")], threads=3)
    assert one.boxes == {"car": 1, "person": 1}
    assert (one.without_boxes, one.crowds, one.categories, one.mask_percent) == (4, 0, {}, {})
    assert one.sizes == [((WIDTH, HEIGHT), 4), ((50, 30), 1)]
    roots = [((r - x) * (b - y) / WIDTH / HEIGHT) ** 0.5 * 100 for x, y, r, b in (FIRST, SECOND)]
    assert one.box_percent == pytest.approx(np.percentile(roots, [10, 50, 90]).tolist())


def test_masks_and_categories_are_counted(tmp_path: Path) -> None:
    (masks,), _ = survey([open_dataset(MADE["masks"].write(tmp_path / "masks"), "val")])
    car = (FIRST[2] - FIRST[0]) * (FIRST[3] - FIRST[1])
    assert masks.mask_percent["car"] == pytest.approx(100 * car / WIDTH / HEIGHT)
    assert sum(masks.mask_percent.values()) == pytest.approx(100)
    (kinds,), _ = survey([open_dataset(MADE["images by class"].write(tmp_path / "kinds"), "train")])
    assert kinds.categories == {"cat": 2, "dog": 1}
    assert kinds.box_percent is None


def test_every_fault_is_kept_with_its_file(tmp_path: Path) -> None:
    folder = MADE["KITTI object"].write(tmp_path)
    tail = "1.89 0.48 1.20 1.84 1.47 8.41 0.01\n"
    line = "Car 0 0 0 {} 5 {} 20 " + tail
    (folder / "label_2/b.txt").write_text(line.format(70, 80) + line.format(5, 20) + line.format(90, 99))
    (folder / "label_2/c.txt").write_text(line.format(50, 80) + line.format(1, 9) * 2)
    content = (folder / "image_2/d.png").read_bytes()
    (folder / "image_2/d.png").write_bytes(content[: len(content) - 20])
    _, faults, notes = surveyed(folder, "all")
    assert [fault.partition("; ")[0] for fault in faults] == [
        f"{folder}/image_2/b.png: is 64x48, and its box (70, 5, 80, 20) lies outside",
        f"{folder}/image_2/b.png: is 64x48, and its box (90, 5, 99, 20) lies outside",
        f"{folder}/image_2/d.png: is cut off: the file ends before its picture does",
    ]
    assert notes == [
        f"{folder}/image_2/c.png: a box reaches 16 px past its edge; it is clipped",
        f"{folder}/image_2/c.png: has 1 boxes more than once; delete the copies",
    ]


def test_an_image_of_another_size_than_its_labels_is_one_fault(tmp_path: Path) -> None:
    folder = MADE["COCO"].write(tmp_path)
    cv2.imwrite(str(folder / "train2017/a.png"), cv2.resize(picture(1), (20, 20)))
    _, faults, _ = surveyed(folder)
    assert len(faults) == 1
    assert "a.png: is 20x20, and its labels are for 64x48" in faults[0]


def test_near_duplicates_between_splits_are_leaks(tmp_path: Path) -> None:
    folder = write_yolo(tmp_path)
    for place in ("train/twin.png", "val/x.png"):
        cv2.imwrite(str(folder / "images" / place), picture(ord("a"))[:, ::-1])
    _, pairs = survey([open_dataset(folder, split) for split in ("train", "val")])
    found = {(pair.first.path.name, pair.second.path.name, pair.is_leak) for pair in pairs}
    assert found == {("a.png", "twin.png", False), ("a.png", "x.png", True), ("twin.png", "x.png", True)}


def of_kinds(folder: Path, *kinds: tuple[int, ...]) -> Dataset:
    """Images with a box of each of these classes."""
    images = []
    for number, classes in enumerate(kinds):
        path = write_image(folder / f"{number:02}.png", number)
        boxes = np.array([FIRST] * len(classes), np.float64).reshape(-1, 4)
        images.append(LabelledImage(path, boxes, np.array(classes, np.int32), np.zeros(len(classes), np.bool_)))
    return Dataset("set", "train", ("car", "bus", "tram"), tuple(images))


def test_samples_show_every_class_and_no_image_twice(tmp_path: Path) -> None:
    dataset = of_kinds(tmp_path, *[(0,)] * 20, (1,), (0, 2), ())
    chosen = samples(dataset, 3, np.random.default_rng(0))
    assert {kind for image in chosen for kind in image.classes.tolist()} == {0, 1, 2}
    everything = samples(dataset, 99, np.random.default_rng(0))
    assert sorted(image.path for image in everything) == sorted(image.path for image in dataset.images)


def test_a_sheet_draws_each_box_in_the_colour_of_its_class(tmp_path: Path) -> None:
    dataset = of_kinds(tmp_path, (0,), (1,))
    drawn = sheet([(dataset, image) for image in dataset.images])
    half = drawn.shape[1] // 2
    for kind, part in enumerate((drawn[:, :half], drawn[:, half:])):
        for other in (0, 1):
            has_colour = bool((part == class_colour(other)).all(axis=2).any())
            assert has_colour is (kind == other)


def test_a_sheet_says_what_cannot_be_read(tmp_path: Path) -> None:
    dataset = of_kinds(tmp_path, (0,), (1,))
    dataset.images[1].path.write_bytes(b"no image")
    drawn = sheet([(dataset, image) for image in dataset.images])
    assert (drawn[:, drawn.shape[1] // 2 :] == (60, 60, 255)).all(axis=2).sum() > 500
    assert sheet([]).size >= 0


@pytest.mark.parametrize("name", list(MADE))
def test_a_sheet_is_drawn_of_every_format(name: str, tmp_path: Path) -> None:
    made = MADE[name]
    folder = made.write(tmp_path)
    dataset = open_dataset(folder, made.splits[0], unless_unlabelled(refuse))
    drawn = sheet([(dataset, image) for image in dataset.images])
    assert drawn.dtype == np.uint8
    assert drawn.std() > 20


def test_a_fault_of_a_mask_is_kept(tmp_path: Path) -> None:
    dataset = open_dataset(MADE["masks"].write(tmp_path), "val")
    mask = dataset.images[0].mask
    assert mask is not None
    mask.write_bytes(b"no mask")
    (one,), _ = survey([dataset])
    assert [Path(fault.thing).name for looked in one.looked for fault in looked.faults] == ["d.png"]
    with pytest.raises(DatasetError):
        open_dataset(tmp_path, "val")


def test_a_yolo_label_that_is_twice_there_is_noted(tmp_path: Path) -> None:
    folder = write_yolo(tmp_path)
    (folder / "labels/train/a.txt").write_text(yolo_line(0, FIRST) * 3)
    _, faults, notes = surveyed(folder)
    assert (faults, len(notes)) == ([], 1)
    assert "a.png: has 2 boxes more than once" in notes[0]
