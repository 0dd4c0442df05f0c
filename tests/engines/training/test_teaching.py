"""What other networks teach: whose boxes count where, and that a real one looks at real pixels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from tiny_networks import LABELS, STEADY_SCORE, make_bundle

from engines.bundle import load_bundle
from engines.errors import TrainingError
from engines.training.datasets import Augmentation, TaughtClasses, augment, open_mixture
from engines.training.datasets.mixture_file import RiderRule
from engines.training.datasets.riders import Riders
from engines.training.teaching import Findings, TaughtMixture, fuse, lesson_for, teach
from engines.training.teaching.teacher import ridden, taught_view

NONE = Findings.of([], [], [])
BOTH = np.array([True, True])  # of two classes those that a teacher knows


def found(*rows: tuple[float, ...]) -> Findings:
    """Rows of left, top, right, bottom, class, confidence."""
    return Findings.of([np.float32(row[:4]) for row in rows], [int(row[4]) for row in rows], [row[5] for row in rows])


def raw(*rows: tuple[float, ...]) -> NDArray[np.float32]:
    """Rows as a teacher gives them: left, top, right, bottom, score, its class."""
    return np.array(rows, np.float32).reshape(-1, 6)


def test_classes_pair_by_the_map_and_by_equal_names() -> None:
    lesson = lesson_for(("person", "car", "bus", "boat"), ("vehicle", "person"), TaughtClasses(map={"car": "vehicle"}))
    assert lesson.targets.tolist() == [1, 0, -1, -1]
    assert lesson.taught(2).tolist() == [True, True]


def test_a_rider_rule_teaches_its_class_alone() -> None:
    rule = RiderRule(rider="person", machine="bicycle", becomes="cyclist")
    lesson = lesson_for(("person", "bicycle"), ("vehicle", "cyclist"), TaughtClasses(riders=rule))
    assert lesson.taught(2).tolist() == [False, True]


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (
            TaughtClasses(map={"cat": "vehicle"}),
            r"teacher\.map: 'cat' is no class of the teacher; did you mean 'car'\?",
        ),
        (
            TaughtClasses(map={"car": "vehicel"}),
            r"teacher\.map: 'vehicel' is no class of ours; did you mean 'vehicle'\?",
        ),
        (TaughtClasses(), r"--teacher: it knows none of vehicle by name \(it has car, dog\)"),
    ],
)
def test_a_class_that_is_unknown_is_named_with_its_near_spelling(classes: TaughtClasses, message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        lesson_for(("car", "dog"), ("vehicle",), classes)


def test_what_is_a_car_and_a_truck_at_once_is_a_vehicle_more_surely_than_either() -> None:
    lesson = lesson_for(("car", "truck"), ("vehicle",), TaughtClasses(map={"car": "vehicle", "truck": "vehicle"}))
    seen = taught_view(raw((0, 0, 40, 40, 0.6, 0), (0, 0, 40, 38, 0.5, 1), (80, 0, 99, 20, 0.3, 0)), lesson)
    assert seen.confidences.tolist() == pytest.approx([1 - 0.4 * 0.5, 0.3])
    assert seen.boxes_xyxy[0].tolist() == [0, 0, 40, 40]  # the better one's


def test_a_person_over_a_bicycle_is_a_cyclist_and_that_much_less_a_person() -> None:
    boxes, scores = np.float32([[10, 0, 30, 60], [0, 30, 40, 70]]), np.float32([0.9, 0.4])
    seen = ridden(boxes, scores, np.array([0, 1]), (0, 1, 2))
    assert seen.boxes_xyxy.tolist() == [[0, 0, 40, 70]]
    assert seen.classes.tolist() == [2]
    assert seen.confidences.tolist() == pytest.approx([0.6])
    assert scores.tolist() == pytest.approx([0.9 * 0.4, 0.4])


@pytest.mark.parametrize(
    "person",
    [
        pytest.param((50, 0, 70, 60), id="beside it"),
        pytest.param((10, 0, 30, 90), id="in front of it, nearer"),
        pytest.param((0, -60, 20, 0), id="above it"),
        pytest.param((30, 0, 60, 60), id="with the middle beside it"),
    ],
)
def test_a_person_near_a_bicycle_is_no_cyclist(person: tuple[float, ...]) -> None:
    scores = np.float32([0.9, 0.9])
    seen = ridden(np.float32([person, (0, 30, 40, 70)]), scores, np.array([0, 1]), (0, 1, 2))
    assert len(seen.classes) == 0
    assert scores[0] == np.float32(0.9)


def test_two_people_and_two_bicycles_make_two_cyclists_the_surest_pair_first() -> None:
    boxes = np.float32([[10, 0, 30, 60], [18, 0, 38, 60], [0, 30, 40, 70], [12, 30, 52, 70]])
    seen = ridden(boxes, np.float32([0.9, 0.5, 0.9, 0.5]), np.array([0, 0, 1, 1]), (0, 1, 2))
    assert seen.confidences.tolist() == pytest.approx([0.9, 0.5])


def test_passes_of_one_scale_are_averaged_and_the_better_scale_counts() -> None:
    near, far = (0, 0, 40, 40), (100, 0, 110, 20)
    passes = [
        (0, BOTH, found((*near, 0, 0.8))),
        (0, BOTH, found((*near, 0, 0.6))),
        (1, BOTH, found((*far, 1, 0.5))),
        (1, BOTH, NONE),
    ]
    fused = fuse(passes)
    assert fused.confidences.tolist() == pytest.approx([0.7, 0.25])
    assert fused.classes.tolist() == [0, 1]


def test_a_teacher_who_does_not_know_a_class_has_not_missed_it() -> None:
    box = (0, 0, 40, 40)
    knows_it, does_not = np.array([True, False]), np.array([False, True])
    passes = [(0, knows_it, found((*box, 0, 0.9))), (0, does_not, found((80, 0, 99, 20, 1, 0.6)))]
    assert fuse(passes).confidences.tolist() == pytest.approx([0.9, 0.6])


def test_a_fused_box_is_the_mean_weighted_by_confidence() -> None:
    fused = fuse([(0, BOTH, found((0, 0, 40, 40, 0, 0.9))), (0, BOTH, found((0, 0, 44, 40, 0, 0.3)))])
    assert fused.boxes_xyxy.tolist() == [[0, 0, pytest.approx(41), 40]]


def test_what_is_fainter_than_the_faintest_is_not_taught() -> None:
    assert len(fuse([(0, BOTH, found((0, 0, 40, 40, 0, 0.09))), (0, BOTH, NONE)]).classes) == 0
    assert len(fuse([(0, BOTH, NONE), (1, BOTH, NONE)]).classes) == 0


def photographs(folder: Path) -> Path:
    """A mixture of one image, 200x100, on which people labelled vehicles alone: one, 30..70 both ways."""
    (folder / "images" / "train").mkdir(parents=True)
    (folder / "labels" / "train").mkdir(parents=True)
    cv2.imwrite(str(folder / "images" / "train" / "a.png"), np.full((100, 200, 3), 90, np.uint8))
    (folder / "labels" / "train" / "a.txt").write_text("0 0.25 0.5 0.2 0.4\n")
    (folder / "data.yaml").write_text("train: images/train\nnames: [vehicle, person]\n")
    mixture = folder / "mixture.toml"
    mixture.write_text('classes = ["vehicle", "person"]\n[[dataset]]\npath = "."\nlabels = ["vehicle"]\n')
    return mixture


def taught(tmp_path: Path, findings: Findings, knows: tuple[bool, bool] = (True, True)) -> TaughtMixture:
    return TaughtMixture(open_mixture(photographs(tmp_path)), [findings], np.array(knows))


def test_where_people_labelled_a_class_their_box_counts_and_the_teachers_does_not(tmp_path: Path) -> None:
    example = taught(tmp_path, found((32, 30, 72, 70, 0, 0.9))).read(0)
    assert example.boxes_xyxy.tolist() == [[30, 30, 70, 70]]
    assert example.confidences.tolist() == [1]


def test_a_label_that_people_missed_is_taught_where_a_teacher_is_sure(tmp_path: Path) -> None:
    example = taught(tmp_path, found((120, 30, 160, 70, 0, 0.8), (0, 0, 20, 20, 0, 0.3))).read(0)
    assert example.boxes_xyxy.tolist() == [[30, 30, 70, 70], [120, 30, 160, 70]]
    assert example.confidences.tolist() == pytest.approx([1, 0.8])


def test_a_place_that_people_set_aside_stays_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mixture = taught(tmp_path, found((120, 30, 160, 70, 1, 0.9), (10, 10, 25, 40, 1, 0.9)))
    example = mixture._mixture.read(0)
    aside = replace(example, ignored_xyxy=np.float32([[110, 20, 165, 80]]))
    monkeypatch.setattr(mixture._mixture, "read", lambda _index: aside)
    assert mixture.read(0).boxes_xyxy.tolist() == [[30, 30, 70, 70], [10, 10, 25, 40]]


def test_of_a_class_that_nobody_labelled_the_teacher_says_all(tmp_path: Path) -> None:
    example = taught(tmp_path, found((120, 30, 160, 70, 1, 0.1))).read(0)
    assert example.classes.tolist() == [0, 1]
    assert example.confidences.tolist() == pytest.approx([1, 0.1])
    assert example.labelled.tolist() == [True, True]


def test_a_class_that_neither_people_nor_teachers_know_stays_unlabelled(tmp_path: Path) -> None:
    assert taught(tmp_path, NONE, knows=(True, False)).read(0).labelled.tolist() == [True, False]


def test_confidences_go_with_their_boxes_through_augmentation(tmp_path: Path) -> None:
    mixture = taught(tmp_path, found((120, 30, 160, 70, 1, 0.1), (170, 10, 190, 90, 1, 0.7)))
    for seed in range(20):
        picture = augment(mixture, 0, 160, 96, Augmentation(), np.random.default_rng(seed))
        assert len(picture.confidences) == len(picture.classes) == len(picture.boxes_xyxy)
        assert set(picture.confidences[picture.classes == 0]) <= {np.float32(1)}
        assert set(picture.confidences[picture.classes == 1]) <= {np.float32(0.1), np.float32(0.7)}


def look(tmp_path: Path, cache: Path, **more: Any) -> TaughtMixture:
    """Let a tiny network, whose steady box is always there, look at a picture as wide as two of its inputs."""
    mixture = tmp_path / "photographs" / "mixture.toml"
    if not mixture.exists():
        photographs(mixture.parent)
        make_bundle(tmp_path / "tiny")
    teacher = load_bundle(tmp_path / "tiny")
    return teach(open_mixture(mixture), [teacher], TaughtClasses(map={LABELS[2]: "person"}), cache, **more)


def test_a_real_bundle_looks_at_the_whole_picture_and_its_mirror_image(tmp_path: Path) -> None:
    """Its steady box lies right of the middle; mirrored it lies left: neither is seen in both, so each counts half."""
    example = look(tmp_path, tmp_path / "taught.npz").read(0)
    people = example.boxes_xyxy[example.classes == 1]
    assert len(people)
    middles = (people[:, 0] + people[:, 2]) / 2
    for left, right in zip(np.sort(middles), np.sort(200 - middles), strict=True):  # symmetric as a whole
        assert left == pytest.approx(right, abs=1)
    taught = example.confidences[example.classes == 1]
    assert STEADY_SCORE / 2 - 0.01 <= taught.max() <= STEADY_SCORE


def test_findings_are_read_from_the_cache_unless_something_they_depend_on_changed(tmp_path: Path) -> None:
    looked: list[int] = []

    def told(done: int, _all: int) -> None:
        looked.append(done)

    cache = tmp_path / "taught.npz"
    first = look(tmp_path, cache, told=told).read(0)
    again = look(tmp_path, cache, told=told).read(0)
    assert looked == [1]
    np.testing.assert_array_equal(first.boxes_xyxy, again.boxes_xyxy)
    cv2.imwrite(str(tmp_path / "photographs" / "images" / "train" / "a.png"), np.zeros((80, 160, 3), np.uint8))
    look(tmp_path, cache, told=told)
    assert looked == [1, 1]
    whole = cache.read_bytes()
    damaged = [b"damaged", b"", *(whole[:at] + bytes([whole[at] ^ 255]) + whole[at + 1 :] for at in (60, 300))]
    for number, content in enumerate(damaged):
        cache.write_bytes(content)
        look(tmp_path, cache, told=told)
        assert len(looked) == 3 + number


box = st.tuples(st.integers(0, 40), st.integers(0, 40), st.integers(1, 40), st.integers(1, 40))


@settings(deadline=None, max_examples=300)
@given(box, box)
def test_labels_and_teachers_join_by_one_rule(person: tuple[int, ...], machine: tuple[int, ...]) -> None:
    """As two boxes of a dataset, and as two that a teacher finds."""
    boxes = np.array([(x, y, x + w, y + h) for x, y, w, h in (person, machine)], np.float64)
    classes = np.array([0, 1])
    _, kinds, _ = Riders(0, 1, 7).join(boxes, classes.astype(np.int32), classes, np.zeros(2, np.bool_))
    taught = ridden(boxes.astype(np.float32), np.ones(2, np.float32), classes, (0, 1, 7))
    assert (kinds.tolist() == [7]) == (taught.classes.tolist() == [7])
