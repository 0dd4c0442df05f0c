"""What every format of labelled images promises, whichever it is."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_datasets import FIRST, HEIGHT, MADE, SECOND, WIDTH, Made, picture

from engines.datasets import (
    FORMATS,
    Dataset,
    DatasetError,
    format_of,
    open_dataset,
    read_mask,
    read_pixels,
    splits_of,
    unless_unlabelled,
)
from engines.datasets.survey import survey

NAMES = list(MADE)
BAD = [name for name, made in MADE.items() if made.bad_label]


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def made(name: str) -> Made:
    return MADE[name]


@pytest.fixture
def folder(made: Made, tmp_path: Path) -> Path:
    return made.write(tmp_path / "set")


def refuse_labels_only(fault: DatasetError) -> None:
    raise fault


def opened(folder: Path, split: str) -> Dataset:
    return open_dataset(folder, split, unless_unlabelled(refuse_labels_only))


def test_every_format_is_made_here() -> None:
    assert {one.name for one in FORMATS} == {name.partition(",")[0] for name in MADE}


def test_it_is_recognised_with_its_splits(name: str, made: Made, folder: Path) -> None:
    assert format_of(folder) == name.partition(",")[0]
    assert tuple(splits_of(folder)) == made.splits


def test_images_come_whole_and_in_the_order_of_their_names(made: Made, folder: Path) -> None:
    found = [image for split in made.splits for image in opened(folder, split).images]
    for split in made.splits:
        paths = [str(image.path) for image in opened(folder, split).images]
        assert paths == sorted(paths)
    by_name = {image.path.stem: image for image in found}
    assert sorted(by_name) == ["a", "b", "c", "d"]
    for stem, image in by_name.items():
        np.testing.assert_array_equal(read_pixels(image.path), picture(ord(stem)))


def test_labels_are_within_the_classes_and_the_image(made: Made, folder: Path) -> None:
    for split in made.splits:
        dataset = opened(folder, split)
        assert dataset.classes == made.classes
        assert (dataset.split, dataset.name) == (split, "set")
        for image in dataset.images:
            assert len(image.boxes) == len(image.classes) == len(image.crowd)
            boxes = image.boxes_xyxy(WIDTH, HEIGHT)
            assert (boxes >= 0).all()
            assert (boxes <= [WIDTH, HEIGHT, WIDTH, HEIGHT]).all()
            assert np.isin(image.classes, range(len(dataset.classes))).all()
            assert image.category is None or image.category in range(len(dataset.classes))


def test_boxes_are_those_that_were_written(made: Made, folder: Path) -> None:
    dataset = opened(folder, made.splits[0])
    boxes = {image.path.stem: image.boxes_xyxy(WIDTH, HEIGHT).round(3).tolist() for image in dataset.images}
    kinds = {image.path.stem: image.classes.tolist() for image in dataset.images}
    if not made.boxes:
        assert dataset.boxes == 0
        return
    assert boxes["a"] == [list(FIRST), list(SECOND)]
    assert kinds["a"] == [0, 1]
    assert boxes["b"] == boxes["c"] == []


def test_a_split_that_is_not_there_is_named_with_those_that_are(made: Made, folder: Path) -> None:
    with pytest.raises(DatasetError, match=f"has no split 'nope'; it has {', '.join(made.splits)}"):
        open_dataset(folder, "nope")


def test_a_faulty_file_is_refused_by_its_name(name: str, made: Made, folder: Path) -> None:
    """And where faults are collected instead, everything else is read."""
    if made.bad_label is None:
        pytest.skip("nothing in this format can be wrong but its images")
    file = made.bad_label(folder)
    split = made.splits[0]
    with pytest.raises(DatasetError) as caught:
        opened(folder, split)
    assert str(file) in str(caught.value)
    faults: list[DatasetError] = []
    dataset = open_dataset(folder, split, faults.append)
    assert [str(fault) for fault in faults] == [str(caught.value)]
    (first,) = [image for image in dataset.images if image.path.stem == "a"]
    assert first.boxes_xyxy(WIDTH, HEIGHT).round(3).tolist() == [list(FIRST), list(SECOND)]


def test_a_missing_image_is_refused_by_its_name(name: str, made: Made, folder: Path) -> None:
    if made.without_image is None:
        pytest.skip("an image that is not there is named nowhere")
    gone = made.without_image(folder)
    split = made.splits[0]
    with pytest.raises(DatasetError, match=f"{gone.stem}\\.[a-z]+.* (is|that is) not there"):
        opened(folder, split)
    faults: list[DatasetError] = []
    dataset = open_dataset(folder, split, unless_unlabelled(faults.append))
    assert len(faults) == 1
    expected = {name for name in ("abc" if "train" in made.splits else "abcd") if name != gone.stem}
    assert {image.path.stem for image in dataset.images} == expected


@pytest.mark.parametrize("damage", ["cut", "empty", "noise"])
def test_a_corrupt_image_is_refused_by_its_name(damage: str, made: Made, folder: Path) -> None:
    split = made.splits[0]
    image = opened(folder, split).images[0]
    if not image.path.is_file():
        pytest.skip("lies in a zip file")
    cv2.imwrite(str(image.path), cv2.resize(picture(1), (WIDTH, HEIGHT)), [cv2.IMWRITE_PNG_COMPRESSION, 0])
    content = image.path.read_bytes()
    image.path.write_bytes({"cut": content[: len(content) // 2], "empty": b"", "noise": b"no image"}[damage])
    with pytest.raises(DatasetError, match=f"{image.path.name}: (cannot be read as an image|is cut off)"):
        read_pixels(image.path)
    surveys, _ = survey([opened(folder, split)])
    faults = [fault for looked in surveys[0].looked for fault in looked.faults]
    assert [Path(fault.thing).name for fault in faults] == [image.path.name]
    assert sum(count for _, count in surveys[0].sizes) == len(surveys[0].looked) - 1


def test_reading_twice_gives_the_same(made: Made, folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy" / "set"
    shutil.copytree(folder, copy)
    for split in made.splits:
        one, other = opened(folder, split), opened(copy, split)
        assert (one.classes, one.mask_classes) == (other.classes, other.mask_classes)
        for first, second in zip(one.images, other.images, strict=True):
            assert first.path.relative_to(folder) == second.path.relative_to(copy)
            assert first.boxes.tolist() == second.boxes.tolist()
            assert (first.classes.tolist(), first.category) == (second.classes.tolist(), second.category)


def test_masks_come_with_what_their_values_mean(tmp_path: Path) -> None:
    dataset = opened(MADE["masks"].write(tmp_path), "train")
    assert dataset.mask_classes[8:10] == ("car", "pedestrian")
    mask = dataset.images[0].mask
    assert mask is not None
    values = read_mask(mask)
    assert dataset.mask_classes[values[20, 20]] == "car"
    assert dataset.mask_classes[values[20, 50]] == "pedestrian"
    assert dataset.mask_classes[values[0, 0]] == "road"


@pytest.mark.parametrize("name", BAD)
@given(content=st.binary(max_size=120), keeps=st.floats(0, 1))
@settings(max_examples=60, deadline=None)
def test_no_bytes_in_a_file_of_labels_break_a_reader(
    name: str, content: bytes, keeps: float, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Some of the file as it was, then anything: it is read, or refused in words."""
    made = MADE[name]
    assert made.bad_label is not None
    folder = made.write(tmp_path_factory.mktemp("fuzz"))
    file = made.bad_label(folder)
    whole = file.read_bytes()
    file.write_bytes(whole[: int(len(whole) * keeps)] + content)
    faults: list[DatasetError] = []
    try:
        survey([open_dataset(folder, made.splits[0], faults.append)])
    except DatasetError as refused:
        faults.append(refused)
    assert all(str(folder) in str(fault) for fault in faults)
