"""What is special about each format of labelled images, and images that are damaged."""

from __future__ import annotations

import multiprocessing
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engines.datasets import (
    ANY_CLASS,
    DatasetError,
    NoLabelsError,
    format_of,
    open_dataset,
    read_mask,
    read_pixels,
    splits_of,
)
from engines.datasets.dataset import Report, refuse, unless_unlabelled
from engines.datasets.pixels import is_cut_off

WIDTH, HEIGHT = 64, 48
TAIL = "1.89 0.48 1.20 1.84 1.47 8.41 0.01"  # size, place and turn in space: read by nobody here
TOLERANT: Report = unless_unlabelled(refuse)


def image(path: Path, width: int = WIDTH, height: int = HEIGHT) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(7)
    small = rng.integers(0, 256, (6, 8, 3), np.uint8)
    assert cv2.imwrite(str(path), cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC))
    return path


# --- KITTI object


def kitti(folder: Path, labels: dict[str, str], below: str = "") -> Path:
    for name, text in labels.items():
        image(folder / below / "image_2" / f"{name}.png")
        file = folder / below / "label_2" / f"{name}.txt"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return folder


def test_kitti_boxes_past_a_cut_edge_are_clipped(tmp_path: Path) -> None:
    folder = kitti(tmp_path, {"a": f"Car 0.98 0 2.42 50.0 30.0 81.5 60.25 {TAIL}\n"})
    (found,) = open_dataset(folder).images
    assert found.boxes_xyxy(WIDTH, HEIGHT).tolist() == [[50, 30, WIDTH, HEIGHT]]


def test_kitti_dont_care_is_a_crowd_of_any_class(tmp_path: Path) -> None:
    lines = f"Cyclist 0 0 0 1 2 11 22 {TAIL}\nDontCare -1 -1 -10 30 5 40 15 -1 -1 -1 -1000 -1000 -1000 -10\n"
    dataset = open_dataset(kitti(tmp_path, {"a": lines}))
    (found,) = dataset.images
    assert [dataset.classes[found.classes[0]], found.classes[1]] == ["Cyclist", ANY_CLASS]
    assert found.crowd.tolist() == [False, True]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("Car 0 0 0 1 2 3", "line 1: has 7 values, not 15"),
        (f"Ship 0 0 0 1 2 11 22 {TAIL}", "'Ship' is no class of KITTI; it has Car, Van"),
        (f"Car 0 0 0 1 2 wide 22 {TAIL}", "'1 2 wide 22' is not all numbers"),
        (f"Car 0 0 0 11 2 1 22 {TAIL}", "11 2 1 22 is no box"),
        (f"Car 0 0 0 1 2 nan 22 {TAIL}", "1 2 nan 22 is no box"),
    ],
)
def test_a_bad_kitti_line_is_named(line: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=says):
        open_dataset(kitti(tmp_path, {"a": line}))


def test_kitti_splits_are_those_of_its_lists_or_none(tmp_path: Path) -> None:
    lines = dict.fromkeys(("a", "b", "c"), f"Car 0 0 0 1 2 11 22 {TAIL}")
    folder = kitti(tmp_path, lines, "training")
    assert splits_of(folder) == ["all"]
    (folder / "ImageSets").mkdir()
    (folder / "ImageSets" / "train.txt").write_text("a\nc\n")
    (folder / "ImageSets" / "val.txt").write_text("b\n")
    assert splits_of(folder) == ["train", "val"]
    assert [found.path.stem for found in open_dataset(folder, "train").images] == ["a", "c"]
    assert [found.path.stem for found in open_dataset(folder).images] == ["b"]


def test_a_kitti_image_without_labels_is_told(tmp_path: Path) -> None:
    folder = kitti(tmp_path, {"a": f"Car 0 0 0 1 2 11 22 {TAIL}"})
    image(folder / "image_2" / "b.png")
    with pytest.raises(DatasetError, match=r"b\.png: has no labels; copy b\.txt to"):
        open_dataset(folder)


# --- Masks


def masks(folder: Path, mask: np.ndarray, settings: str = "") -> Path:
    image(folder / "images" / "val" / "a.jpg", mask.shape[1], mask.shape[0])
    (folder / "masks" / "val").mkdir(parents=True)
    cv2.imwrite(str(folder / "masks" / "val" / "a.png"), mask)
    if settings:
        (folder / "masks.toml").write_text(settings)
    return folder


def test_components_are_boxes_and_small_ones_crowds(tmp_path: Path) -> None:
    mask = np.full((100, 120), 3, np.uint8)
    mask[10:30, 10:30] = 8  # 400 pixels of car
    mask[30:40, 30:31] = 8  # touching it by a corner: the same component
    mask[10:20, 60:89] = 9  # 290 pixels of pedestrian: too few
    mask[50:60, 60:90] = 9  # 300: just enough
    dataset = open_dataset(masks(tmp_path, mask))
    (found,) = dataset.images
    seen = [
        (dataset.classes[kind], box, bool(crowd))
        for kind, box, crowd in zip(found.classes, found.boxes.tolist(), found.crowd, strict=True)
    ]
    assert seen == [
        ("car", [10, 10, 31, 40], False),
        ("pedestrian", [60, 10, 89, 20], True),
        ("pedestrian", [60, 50, 90, 60], False),
    ]


def test_other_classes_of_masks_are_named_in_a_file(tmp_path: Path) -> None:
    settings = 'classes = ["road", "van"]\nthings = ["van"]\nunlabelled = [255]\nsmallest_px = 1\n'
    mask = np.zeros((20, 20), np.uint8)
    mask[2:4, 3:5] = 1
    mask[10, 10] = 255
    dataset = open_dataset(masks(tmp_path, mask, settings))
    assert (dataset.classes, dataset.mask_classes) == (("van",), ("road", "van"))
    assert dataset.images[0].boxes.tolist() == [[3, 2, 5, 4]]


@pytest.mark.parametrize(
    ("value", "settings", "says"),
    [
        (12, "", r"a\.png: has the value 12, which is no class; values are 0 to 10"),
        (0, 'classes = ["road"]\nthings = ["van"]\n', r"masks\.toml: things: 'van' is no class"),
        (0, "klasses = []\n", r"masks\.toml: klasses: is no key here; did you mean 'classes'"),
    ],
)
def test_masks_that_do_not_fit_their_classes_are_refused(value: int, settings: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=says):
        open_dataset(masks(tmp_path, np.full((20, 20), value, np.uint8), settings))


def test_a_mask_of_colours_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="is no mask of class ids; a mask is an 8-bit grey PNG"):
        read_mask(image(tmp_path / "mask.png"))


def test_a_mask_of_another_size_than_its_image_is_refused(tmp_path: Path) -> None:
    mask = np.zeros((20, 20), np.uint8)
    mask[:] = 8
    folder = masks(tmp_path, mask)
    image(folder / "images" / "val" / "a.jpg", 40, 40)
    (found,) = open_dataset(folder).images
    with pytest.raises(DatasetError, match="is 40x40, and its labels are for 20x20"):
        found.boxes_xyxy(40, 40)


# --- Images by class, and without labels


def test_classes_have_one_index_in_all_splits(tmp_path: Path) -> None:
    image(tmp_path / "train" / "dog" / "1.png")
    image(tmp_path / "train" / "cat" / "1.png")
    image(tmp_path / "test" / "dog" / "2.png")
    dataset = open_dataset(tmp_path, "test")
    assert dataset.classes == ("cat", "dog")
    assert [found.category for found in dataset.images] == [1]


def test_folders_of_classes_alone_are_one_split(tmp_path: Path) -> None:
    image(tmp_path / "dog" / "1.png")
    image(tmp_path / "cat" / "1.png")
    (tmp_path / "notes.txt").write_text("")
    assert splits_of(tmp_path) == ["all"]
    assert [found.category for found in open_dataset(tmp_path).images] == [0, 1]


def test_a_broken_zip_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "train.zip").write_bytes(b"PK, or not")
    with pytest.raises(DatasetError, match=r"train\.zip: cannot be read as a zip file"):
        open_dataset(tmp_path)


def test_an_image_that_is_gone_from_a_zip_file_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("cat/1.png", b"no image")
    for entry in ("cat/1.png", "cat/2.png"):
        with pytest.raises(DatasetError, match="cannot be read as an image"):
            read_pixels(tmp_path / "a.zip" / entry)


def _sums(paths: list[Path]) -> list[int]:
    return [int(read_pixels(path).sum()) for path in paths]


def test_a_zip_file_is_read_by_several_processes_at_once(tmp_path: Path) -> None:
    """As loader processes do: forked, they would share the place at which the parent reads."""
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for number in range(40):
            archive.writestr(f"cat/{number}.png", image(tmp_path / "1.png", 20 + number, 20).read_bytes())
    paths = [tmp_path / "a.zip" / "cat" / f"{number}.png" for number in range(40)]
    expected = _sums(paths)
    with multiprocessing.get_context("fork").Pool(3) as pool:
        assert pool.map(_sums, [paths] * 12) == [expected] * 12


@pytest.mark.parametrize("place", ["", "images", "images/train"])
def test_images_without_labels_say_so(place: str, tmp_path: Path) -> None:
    image(tmp_path / place / "a.png")
    split = "train" if place.endswith("train") else "all"
    assert (format_of(tmp_path), splits_of(tmp_path)) == ("images without labels", [split])
    with pytest.raises(NoLabelsError, match="has 1 images and no label; label them, or use them in a mixture"):
        open_dataset(tmp_path)
    dataset = open_dataset(tmp_path, split, TOLERANT)
    assert (len(dataset.images), dataset.classes, dataset.boxes) == (1, (), 0)


# --- Images that end too early


@pytest.fixture(scope="module")
def jpeg(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return image(tmp_path_factory.mktemp("jpeg") / "a.jpg").read_bytes()


@given(share=st.floats(0.01, 0.999))
def test_a_jpeg_that_is_cut_off_anywhere_is_noticed(share: float, jpeg: bytes) -> None:
    assert is_cut_off(jpeg[: max(2, int(len(jpeg) * share))])


@given(rest=st.binary(max_size=200))
def test_bytes_after_the_end_of_a_jpeg_are_no_fault(rest: bytes, jpeg: bytes) -> None:
    assert not is_cut_off(jpeg + rest)


def test_a_thumbnail_inside_a_jpeg_is_not_taken_for_its_end(jpeg: bytes) -> None:
    thumbnail = b"\xff\xe1" + (len(jpeg) + 2).to_bytes(2, "big") + jpeg
    whole = jpeg[:2] + thumbnail + jpeg[2:]
    assert not is_cut_off(whole)
    assert is_cut_off(whole[: len(thumbnail) + 200])


def test_a_progressive_jpeg_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    cv2.imwrite(str(path), read_pixels(image(tmp_path / "b.png")), [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])
    assert read_pixels(path).shape == (HEIGHT, WIDTH, 3)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(DatasetError, match=r"a\.jpg: is cut off: the file ends before its picture does"):
        read_pixels(path)


@given(content=st.binary(max_size=300))
def test_no_bytes_break_the_search_for_the_end(content: bytes) -> None:
    assert is_cut_off(b"\xff\xd8" + content) in {True, False}


def test_a_box_outside_its_image_is_refused(tmp_path: Path) -> None:
    folder = kitti(tmp_path, {"a": f"Car 0 0 0 70 2 90 22 {TAIL}"})
    (found,) = open_dataset(folder).images
    with pytest.raises(DatasetError, match=r"a\.png: is 64x48, and its box \(70, 2, 90, 22\) lies outside"):
        found.boxes_xyxy(WIDTH, HEIGHT)


# --- The real sets have what their readme counts


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "split", "images", "counts"),
    [
        ("camvid", "val", 72, {"car": 119, "pedestrian": 80, "bicyclist": 65}),
        (
            "kitti_object",
            "all",
            34,
            {"Car": 81, "Pedestrian": 19, "Cyclist": 10, "Van": 5, "Truck": 5, "Tram": 2, "Misc": 2},
        ),
    ],
)
def test_a_real_set_has_its_boxes(name: str, split: str, images: int, counts: dict[str, int], data: Path) -> None:
    dataset = open_dataset(data / "labelled" / name, split)
    kinds = np.concatenate([found.classes[~found.crowd] for found in dataset.images])
    found = dict(zip(dataset.classes, np.bincount(kinds, minlength=len(dataset.classes)).tolist(), strict=True))
    assert {kind: count for kind, count in found.items() if count} == counts
    assert len(dataset.images) == images


@pytest.mark.data
def test_cifar10_is_read_from_its_zip_files(data: Path) -> None:
    dataset = open_dataset(data / "labelled" / "cifar10", "test")
    assert dataset.classes[:3] == ("airplane", "automobile", "bird")
    assert np.bincount([found.category or 0 for found in dataset.images]).tolist() == [100] * 10
    assert read_pixels(dataset.images[0].path).shape == (32, 32, 3)
