"""Several datasets as one: their classes, what each labels, how often each is drawn, what is left out."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_datasets import FIRST, HEIGHT, WIDTH, write_coco, yolo_line
from scipy.stats import chisquare

from engines.datasets import ALL, LabelledImage
from engines.errors import DatasetError
from engines.training.datasets import Mixture, open_mixture
from engines.training.datasets.splits import split_by_drive


def write_image(path: Path, shade: int = 128, size: tuple[int, int] = (WIDTH, HEIGHT)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.full((size[1], size[0], 3), shade, np.uint8))
    return path


def yolo(folder: Path, names: str, labels: dict[str, str], split: str = "train") -> Path:
    for name, text in labels.items():
        write_image(folder / "images" / split / f"{name}.png")
        file = folder / "labels" / split / f"{name}.txt"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    settings = folder / "data.yaml"
    known = settings.read_text() if settings.is_file() else f"names: [{names}]\n"
    settings.write_text(f"{known}{split}: images/{split}\n")
    return folder


def mixed(folder: Path, text: str, split: str = "train") -> Mixture:
    (folder / "mixture.toml").write_text(text)
    return open_mixture(folder / "mixture.toml", split)


@pytest.fixture
def two(tmp_path: Path) -> Path:
    """`cars` has cars, vans and bikes; `street` has people and cars; `plain` has no labels."""
    lines = "0 0.25 0.5 0.5 1\n1 0.75 0.5 0.25 0.5\n2 0.5 0.5 0.125 0.25\n"
    yolo(tmp_path / "cars", "car, van, bike", dict.fromkeys("abcd", lines))
    yolo(tmp_path / "street", "person, car", dict.fromkeys("efgh", "0 0.5 0.5 0.5 0.5\n1 0.25 0.25 0.5 0.5\n"))
    for name in "ij":
        write_image(tmp_path / "plain" / f"{name}.png")
    return tmp_path


BOTH = """
classes = ["vehicle", "person"]
[[dataset]]
path = "cars"
map = { car = "vehicle", van = "vehicle" }
ignore = ["bike"]
[[dataset]]
path = "street"
map = { car = "vehicle" }
[[dataset]]
path = "plain"
labels = []
"""


def test_classes_are_mapped_ignored_or_background(two: Path) -> None:
    mixture = mixed(two, BOTH)
    assert mixture.classes == ("vehicle", "person")
    assert len(mixture) == 10
    cars = mixture.read(0)
    assert cars.boxes_xyxy.tolist() == [[0, 0, 32, 48], [40, 12, 56, 36]]
    assert cars.classes.tolist() == [0, 0]
    assert cars.ignored_xyxy.tolist() == [[28, 18, 36, 30]]
    street = mixture.read(4)
    assert street.classes.tolist() == [1, 0]
    assert len(street.ignored_xyxy) == 0


def test_a_class_that_nobody_maps_is_background(two: Path) -> None:
    mixture = mixed(two, BOTH.replace('ignore = ["bike"]\n', ""))
    assert len(mixture.read(0).boxes_xyxy) == 2
    assert len(mixture.read(0).ignored_xyxy) == 0


def test_what_a_dataset_labels_is_told_of_each_of_its_images(two: Path) -> None:
    mixture = mixed(two, BOTH)
    assert [mixture.read(index).labelled.tolist() for index in (0, 4, 8)] == [
        [True, False],
        [True, True],
        [False, False],
    ]


def test_labels_that_are_not_complete_keep_their_boxes(two: Path) -> None:
    mixture = mixed(
        two, BOTH.replace('map = { car = "vehicle" }\n', 'map = { car = "vehicle" }\nlabels = ["person"]\n')
    )
    street = mixture.read(4)
    assert street.labelled.tolist() == [False, True]
    assert street.classes.tolist() == [1, 0]


def test_a_single_dataset_is_a_mixture_of_its_own_classes(two: Path) -> None:
    mixture = open_mixture(two / "street")
    assert mixture.classes == ("person", "car")
    assert mixture.read(0).labelled.tolist() == [True, True]
    assert mixture.read(0).classes.tolist() == [0, 1]
    with pytest.raises(DatasetError, match="has no split 'val'; it has train"):
        open_mixture(two / "street", "val")


def test_images_are_drawn_by_weight(two: Path) -> None:
    text = BOTH.replace('path = "street"\n', 'path = "street"\nweight = 3.0\n')
    mixture = mixed(two, text)
    rng = np.random.default_rng(5)
    count = 20_000
    drawn = Counter(mixture.draw(rng) for _ in range(count))
    shares = np.array([1, 1, 1, 1, 3, 3, 3, 3, 1, 1]) / 18
    assert chisquare([drawn[index] for index in range(10)], shares * count).pvalue > 0.001
    assert mixture.shares() == pytest.approx([4 / 18, 12 / 18, 2 / 18])


def test_company_is_drawn_among_images_that_label_the_same(two: Path) -> None:
    text = BOTH + '[[dataset]]\npath = "cars"\nmap = { car = "vehicle" }\nweight = 2.0\n'
    mixture = mixed(two, text)
    rng = np.random.default_rng(6)
    drawn = Counter(mixture.draw(rng, like=1) for _ in range(12_000))
    assert sorted(drawn) == [0, 1, 2, 3, 10, 11, 12, 13]
    expected = np.array([1, 1, 1, 1, 2, 2, 2, 2]) / 12 * 12_000
    assert chisquare([drawn[index] for index in sorted(drawn)], expected).pvalue > 0.001


def test_crowds_are_ignored_whatever_their_class(two: Path) -> None:
    lines = "Car 0 0 0 1 2 11 22 1 1 1 1 1 1 0\nDontCare -1 -1 -10 30 5 40 15 -1 -1 -1 -1 -1 -1 -10\n"
    write_image(two / "kitti" / "image_2" / "a.png")
    (two / "kitti" / "label_2").mkdir()
    (two / "kitti" / "label_2" / "a.txt").write_text(lines)
    mixture = mixed(two, 'classes = ["vehicle"]\n[[dataset]]\npath = "kitti"\nmap = { Car = "vehicle" }\n')
    example = mixture.read(0)
    assert example.boxes_xyxy.tolist() == [[1, 2, 11, 22]]
    assert example.ignored_xyxy.tolist() == [[30, 5, 40, 15]]


def test_a_crowd_of_a_class_of_ours_is_ignored_and_of_another_nothing(tmp_path: Path) -> None:
    folder = write_coco(tmp_path / "coco")
    file = folder / "annotations" / "instances_train2017.json"
    table = json.loads(file.read_text())
    for row in table["annotations"]:
        row["iscrowd"] = 1
    table["annotations"].append({"id": 5, "image_id": ord("b"), "category_id": 1, "bbox": [1, 1, 9, 9]})
    file.write_text(json.dumps(table))
    mixture = mixed(tmp_path, 'classes = ["vehicle"]\n[[dataset]]\npath = "coco"\nmap = { car = "vehicle" }\n')
    example = mixture.read(0)
    assert len(example.boxes_xyxy) == 0
    assert example.ignored_xyxy.tolist() == [list(FIRST)]  # the other is a crowd of people, who are background here
    assert mixture.read(1).boxes_xyxy.tolist() == [[1, 1, 10, 10]]


def test_a_rider_and_a_bicycle_become_one(tmp_path: Path) -> None:
    # Persons at the left, middle and right; a bicycle under the middle one, one that nobody rides, and one that is seen
    # behind the head of the right one.
    boxes = {"p1": (0, 0, 8, 20), "p2": (20, 4, 28, 24), "p3": (50, 0, 58, 20)}
    machines = {"m1": (18, 16, 34, 30), "m2": (40, 30, 48, 40), "behind": (48, 0, 60, 9)}
    lines = "".join(yolo_line(kind, box) for kind, group in ((0, boxes), (1, machines)) for box in group.values())
    yolo(tmp_path / "set", "person, bicycle", {"a": lines})
    rule = 'riders = { rider = "person", machine = "bicycle", becomes = "cyclist" }'
    mixture = mixed(tmp_path, f'classes = ["person", "cyclist"]\n[[dataset]]\npath = "set"\n{rule}\n')
    example = mixture.read(0)
    found = [
        (mixture.classes[kind], box) for kind, box in zip(example.classes, example.boxes_xyxy.tolist(), strict=True)
    ]
    assert [kind for kind, _ in found] == ["person", "person", "cyclist"]
    np.testing.assert_allclose([box for _, box in found], [boxes["p1"], boxes["p3"], (18, 4, 34, 30)], atol=1e-4)
    assert example.labelled.tolist() == [True, True]


@pytest.mark.parametrize(
    ("person", "is_one"),
    [
        ((20, 4, 28, 24), True),
        ((34, 4, 44, 24), False),  # beside it: only their arm is over the saddle
        ((8, 4, 20, 24), False),
        ((20, 14, 28, 38), False),  # in front of it: their feet are nearer
    ],
)
def test_who_stands_beside_a_bicycle_or_before_it_does_not_ride(
    tmp_path: Path, person: tuple[float, ...], is_one: bool
) -> None:
    machine = (18, 16, 36, 30)
    yolo(tmp_path / "set", "person, bicycle", {"a": yolo_line(0, person) + yolo_line(1, machine)})
    rule = 'riders = { rider = "person", machine = "bicycle", becomes = "cyclist" }'
    mixture = mixed(tmp_path, f'classes = ["person", "cyclist"]\n[[dataset]]\npath = "set"\n{rule}\n')
    assert [mixture.classes[kind] for kind in mixture.read(0).classes] == (["cyclist"] if is_one else ["person"])


def test_images_are_left_out_by_name_and_by_table(two: Path) -> None:
    (two / "street" / "authors.csv").write_text("file,licence\ne.png,CC BY\nf.png,CC BY-SA 2.0\ng.png,CC BY-SA 4.0\n")
    exclude = 'exclude = [{ csv = "authors.csv", column = "licence", value = "CC BY-SA*" }, { file = "h*" }]\n'
    mixture = mixed(two, BOTH.replace('map = { car = "vehicle" }\n', 'map = { car = "vehicle" }\n' + exclude))
    assert [mixture.path_of(index).stem for index in range(len(mixture))] == [*"abcd", "e", *"ij"]


def test_images_that_are_longer_are_scaled_as_they_are_read(two: Path) -> None:
    write_image(two / "cars" / "images" / "train" / "a.png", size=(640, 480))
    mixture = mixed(two, "longest_side = 32\n" + BOTH)
    assert mixture.read(0).image.shape == (24, 32, 3)
    np.testing.assert_allclose(mixture.read(0).boxes_xyxy, [[0, 0, 16, 24], [20, 6, 28, 18]])


def test_decoded_images_are_kept_until_there_is_no_room(two: Path) -> None:
    size = WIDTH * HEIGHT * 3
    (two / "mixture.toml").write_text(BOTH)
    mixture = open_mixture(two / "mixture.toml", cache_bytes=3 * size)
    assert mixture.preload() == 3 * size
    kept = [mixture.read(index).image for index in range(10)]
    again = [mixture.read(index).image for index in range(10)]
    assert sum(first is second for first, second in zip(kept, again, strict=True)) == 3
    assert open_mixture(two / "mixture.toml").preload(threads=2) == 10 * size


def test_what_is_shared_cannot_be_written_to(two: Path) -> None:
    example = mixed(two, BOTH).read(0)
    for array in (example.image, example.boxes_xyxy, example.classes, example.ignored_xyxy, example.labelled):
        assert not array.flags.writeable


def test_splits_are_those_of_the_datasets(two: Path) -> None:
    yolo(two / "street", "person, car", {"v": "0 0.5 0.5 0.5 0.5\n"}, split="val")
    mixture = mixed(two, BOTH, "val")
    assert [mixture.path_of(index).stem for index in range(len(mixture))] == ["v"]
    assert len(mixed(two, BOTH)) == 10
    for index in range(10):
        assert mixed(two, BOTH).path_of(index).stem != "v"


def test_a_split_that_is_named_belongs_to_train(two: Path) -> None:
    text = BOTH.replace('path = "street"\n', 'path = "street"\nsplit = "val"\n')
    yolo(two / "street", "person, car", {"v": "0 0.5 0.5 0.5 0.5\n"}, split="val")
    assert [mixed(two, text).path_of(index).stem for index in range(7)] == [*"abcd", "v", *"ij"]
    with pytest.raises(DatasetError, match="has no image in split 'val'"):
        mixed(two, text, "val")


def test_paths_begin_at_the_root_that_is_given(two: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    recipe = tmp_path_factory.mktemp("recipes") / "road.toml"
    recipe.write_text(BOTH)
    assert len(open_mixture(recipe, root=two)) == 10
    with pytest.raises(DatasetError, match="there is no such dataset"):
        open_mixture(recipe)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            ('car = "vehicle", van', 'lorry = "vehicle", van'),
            r"dataset 1 \(cars\)\.map: 'lorry' is no class of the data",
        ),
        (('van = "vehicle"', 'van = "vehicel"'), r"'vehicel' is no class of the mixture; did you mean 'vehicle'\?"),
        (
            ('ignore = ["bike"]', 'ignore = ["bikes"]'),
            r"\.ignore: 'bikes' is no class of the dataset; did you mean 'bike'",
        ),
        (('ignore = ["bike"]', 'ignore = ["van"]'), "'van' is mapped too; name it in map or in ignore"),
        (
            ('{ car = "vehicle" }', '{ car = "vehicle" }\nlabels = ["persons"]'),
            r"\.labels: 'persons' is no class of the mixture; did you mean 'person'",
        ),
        (('path = "street"', 'path = "streets"'), "streets: there is no such dataset"),
        (("classes =", "klasses ="), "classes: is missing; the least that it holds is"),
        (("labels = []", "lables = []"), r"dataset\.2\.lables: is no key here; did you mean 'labels'"),
        (("labels = []", "empty = true"), "empty: say of which classes"),
        (('["vehicle", "person"]', '["vehicle", "vehicle"]'), "name each class once"),
        (("labels = []", "weight = 0"), "weight: input should be greater than 0"),
        (("labels = []", ""), "plain: has 2 images and no label; label them, or use them in a mixture with labels"),
        (
            ("labels = []", 'labels = []\nexclude = [{ csv = "no.csv", column = "a", value = "b" }]'),
            r"no\.csv cannot be read",
        ),
        (("labels = []", 'labels = []\nexclude = [{ csv = "no.csv" }]'), "give either file = "),
        (("labels = []", 'labels = []\nexclude = [{ file = "a", value = "b" }]'), "give either file = "),
        (
            ('ignore = ["bike"]', 'riders = { rider = "car", machine = "bik", becomes = "person" }'),
            "did you mean 'bike'",
        ),
        (("classes", "classes = ["), "is not TOML"),
    ],
)
def test_a_wrong_mixture_is_refused_by_what_is_wrong(change: tuple[str, str], says: str, two: Path) -> None:
    assert change[0] in BOTH
    with pytest.raises(DatasetError, match=says):
        mixed(two, BOTH.replace(*change, 1))


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (
            lambda two: (two / "cars/labels/train/b.txt").write_text("9 0.5 0.5 0.1 0.1"),
            r"b\.txt line 1: class 9 has no name",
        ),
        (
            lambda two: (two / "cars/labels/train/b.txt").write_text("0 1.5 0.5 0.1 0.1"),
            r"its box lies outside the image",
        ),
        (lambda two: (two / "cars/images/train/b.png").unlink(), r"b\.txt: labels an image that is not there"),
        (lambda two: [file.unlink() for file in (two / "cars/labels/train").iterdir()], "4 images and no label"),
        (lambda two: (two / "mixture.toml").unlink(), r"mixture\.toml: cannot be read \(No such file"),
    ],
)
def test_faulty_data_is_refused_by_its_file(spoil: object, says: str, two: Path) -> None:
    (two / "mixture.toml").write_text(BOTH)
    spoil(two)  # type: ignore[operator]
    with pytest.raises(DatasetError, match=says):
        open_mixture(two / "mixture.toml")


def test_a_corrupt_image_is_refused_by_its_name_when_it_is_read(two: Path) -> None:
    cv2.imwrite(str(two / "plain" / "k.jpg"), np.zeros((64, 64, 3), np.uint8))
    content = (two / "plain" / "k.jpg").read_bytes()
    (two / "plain" / "k.jpg").write_bytes(content[:-30])
    mixture = mixed(two, BOTH)
    with pytest.raises(DatasetError, match=r"k\.jpg: is cut off"):
        mixture.preload()


def test_a_dataset_of_empty_images_teaches_background(tmp_path: Path) -> None:
    """Every image has its file of labels, and nothing is on any: hard negatives. As a whole dataset that is refused."""
    yolo(tmp_path / "empty", "car", {"a": "", "b": ""})
    with pytest.raises(DatasetError, match="has 2 images and no label"):
        open_mixture(tmp_path / "empty")
    text = 'classes = ["car"]\n[[dataset]]\npath = "empty"\nlabels = ["car"]\nempty = true\n'
    mixture = mixed(tmp_path, text)
    assert mixture.read(0).labelled.tolist() == [True]
    assert len(mixture.read(0).boxes_xyxy) == 0


# --- Splits by drive


def frames(*names: str) -> list[LabelledImage]:
    return [LabelledImage.without_boxes(Path("drives") / name) for name in names]


def test_no_drive_lies_on_both_sides() -> None:
    images = frames(*(f"drive{drive}_{frame:03}.jpg" for drive in range(10) for frame in range(7)))
    split = split_by_drive(images, r"^(drive\d+)_", 0.3)
    sides = {side: {image.path.name.partition("_")[0] for image in of_side} for side, of_side in split.items()}
    assert not sides["train"] & sides["val"]
    assert len(split["train"]) + len(split["val"]) == 70
    assert len(sides["val"]) == 3


def test_a_further_drive_moves_no_other_between_the_sides() -> None:
    names = [f"d{drive:02}_{frame}.jpg" for drive in range(20) for frame in range(5)]
    few = split_by_drive(frames(*names[:50]), r"^(d\d+)_", 0.2)
    more = split_by_drive(frames(*reversed(names)), r"^(d\d+)_", 0.2)
    moved = {image.path for image in few["val"]} & {image.path for image in more["train"]}
    assert len(moved) <= 5, "at most the drive at the limit"


@pytest.mark.parametrize(
    ("pattern", "says"),
    [
        (r"^(b\d+)_", "a1_0.jpg: has no drive by the pattern"),
        (r"^a\d+_", r"has no group; put the drive's name into \(\)"),
        (r"^(a", "is no regular expression"),
        (r"^(a)", "finds 1 drive in 3 images"),
    ],
)
def test_a_pattern_that_finds_no_drives_is_refused(pattern: str, says: str) -> None:
    with pytest.raises(DatasetError, match=says):
        split_by_drive(frames("a1_0.jpg", "a1_1.jpg", "a2_0.jpg"), pattern, 0.5)


def test_a_mixture_splits_a_dataset_by_drive(tmp_path: Path) -> None:
    names = [f"d{drive}_{frame}" for drive in range(5) for frame in range(4)]
    yolo(tmp_path / "set", "car", dict.fromkeys(names, "0 0.5 0.5 0.5 0.5\n"))
    text = "classes = ['car']\n[[dataset]]\npath = 'set'\ndrives = { pattern = '^(d.)_', val = 0.2 }\n"
    train, val = (mixed(tmp_path, text, split) for split in ("train", "val"))
    assert (len(train), len(val)) == (16, 4)
    assert len({val.path_of(index).name[:2] for index in range(4)}) == 1


def test_all_is_no_split_of_a_mixture(two: Path) -> None:
    assert ALL == "all"
    with pytest.raises(DatasetError, match="has no image in split 'nope'"):
        mixed(two, BOTH, "nope")


@given(text=st.text(max_size=200), at=st.integers(0, len(BOTH)))
@settings(max_examples=150, deadline=None)
def test_no_text_in_a_mixture_breaks_its_reader(text: str, at: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    file = tmp_path_factory.mktemp("fuzz") / "mixture.toml"
    file.write_bytes((BOTH[:at] + text + BOTH[at:]).encode(errors="replace"))
    with pytest.raises(DatasetError):
        open_mixture(file)  # if nothing else is wrong, its datasets are not there
