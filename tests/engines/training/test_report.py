"""The report of a training: what it counts, what it shows, and that it is there whatever became of the training."""

from __future__ import annotations

import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("torch", reason="needs the train extra: pip install 'edge-perception[train]'")

from engines.average_precision import AveragePrecision, Truths
from engines.results import Detections
from engines.training.datasets import UNLABELLED, Example
from engines.training.report.classifiers import mixed_up
from engines.training.report.confusion import confusion, pair
from engines.training.report.figures import confusion_matrix, course, precision_recall, read_columns
from engines.training.report.judging import Judged
from engines.training.report.pictures import best_and_worst
from engines.training.report.segmenters import compared, in_percent

A, B, FAR = (0.0, 0, 10, 10), (20.0, 0, 30, 10), (60.0, 60, 70, 70)


def found(*boxes: tuple[tuple[float, ...], float, int]) -> Detections:
    return Detections(
        np.array([box for box, *_ in boxes], np.float32).reshape(-1, 4),
        np.array([score for _, score, _ in boxes], np.float32),
        np.array([kind for *_, kind in boxes], np.int32),
    )


def truths(*boxes: tuple[tuple[float, ...], int], crowd: tuple[int, ...] = ()) -> Truths:
    crowds = np.zeros(len(boxes), np.bool_)
    crowds[list(crowd)] = True
    return Truths(
        np.array([box for box, _ in boxes], np.float64).reshape(-1, 4),
        np.array([kind for _, kind in boxes], np.int32),
        crowds,
    )


def table_of(one: Detections, other: Truths, classes: int = 2) -> list[list[int]]:
    return confusion([(one, other, pair(one, other))], classes).tolist()


# --- confusion


def test_right_wrong_missed_and_false_have_their_places() -> None:
    seen = found((A, 0.9, 0), (B, 0.8, 0), (FAR, 0.7, 1))
    there = truths((A, 0), (B, 1), ((80, 80, 90, 90), 1))
    assert table_of(seen, there) == [[1, 0, 0], [1, 0, 1], [0, 1, 0]]


def test_a_second_box_on_one_object_is_false_and_below_the_score_nothing_counts() -> None:
    assert table_of(found((A, 0.9, 0), (A, 0.8, 0), (A, 0.29, 0)), truths((A, 0))) == [[1, 0, 0], [0, 0, 0], [1, 0, 0]]


def test_of_two_objects_in_one_place_a_box_takes_the_one_of_its_class() -> None:
    assert table_of(found((A, 0.9, 1), (A, 0.8, 0)), truths((A, 0), (A, 1))) == [[1, 0, 0], [0, 1, 0], [0, 0, 0]]


def test_a_crowd_is_neither_missed_nor_is_what_lies_in_it_false() -> None:
    crowd = truths(((0, 0, 100, 100), 0), crowd=(0,))
    assert table_of(found((A, 0.9, 0)), crowd) == [[0] * 3] * 3


box = st.tuples(st.integers(0, 20), st.integers(0, 20), st.integers(1, 15), st.integers(1, 15), st.integers(0, 1))
corners = st.lists(box, max_size=6)


@settings(deadline=None, max_examples=60)
@given(corners, corners)
def test_every_object_and_every_box_is_counted_once(seen: list[tuple[int, ...]], there: list[tuple[int, ...]]) -> None:
    one = found(*(((x, y, x + w, y + h), 0.9, kind) for x, y, w, h, kind in seen))
    other = truths(*(((x, y, x + w, y + h), kind) for x, y, w, h, kind in there))
    table = confusion([(one, other, pair(one, other))], 2)
    assert table[:2].sum(axis=1).tolist() == [int((other.classes == kind).sum()) for kind in range(2)]
    assert table[:, :2].sum(axis=0).tolist() == [int((one.classes == kind).sum()) for kind in range(2)]
    assert table[2, 2] == 0


# --- curves


def test_the_mean_of_a_precision_curve_is_the_classs_ap50() -> None:
    pytest.importorskip("faster_coco_eval")
    near_b = (23.1, 0, 33.1, 10)  # an IoU of 0.53
    seen = [found((A, 0.9, 0), (FAR, 0.8, 0), (near_b, 0.7, 0)), found((A, 0.95, 0))]
    there = [truths((A, 0), (B, 0)), truths((B, 0))]
    precision = AveragePrecision(seen, there, 2)
    assert precision.curves().shape == (2, 101)
    assert precision.curves()[0].mean() == pytest.approx(precision.per_class()[0, 0])
    assert precision.curves()[0][0] == pytest.approx(0.5), "the surest box is false, the next one right"
    assert np.isnan(precision.curves()[1]).all()


def test_columns_are_read_as_far_as_they_are_whole(tmp_path: Path) -> None:
    file = tmp_path / "curve.csv"
    assert read_columns(file) == {}
    file.write_text("step,loss,rate\n0,2.5,0.1\n1,nan,0.2\n2,1.25,0.")
    columns = read_columns(file)
    assert columns["step"].tolist() == [0, 1]
    assert np.isnan(columns["loss"][1])
    file.write_text("step,loss")
    assert read_columns(file) == {}


def points_of(svg: str) -> list[int]:
    return [len(points.split()) for points in re.findall(r'polyline points="([^"]*)"', svg)]


def test_a_long_curve_is_drawn_with_few_points_and_a_short_one_with_all(tmp_path: Path) -> None:
    for steps, drawn in ((5000, 400), (7, 7)):
        curve = {name: np.arange(steps, dtype=float) for name in ("step", "loss", "boxes", "rate", "gradient")}
        plots = dict(course(curve, {}))
        assert points_of(plots["Loss"]) == [drawn, drawn]
        assert points_of(plots["Learning rate"]) == [drawn]
    assert course({}, {}) == []


def test_plots_of_what_is_hardly_there_are_drawn() -> None:
    one = {"step": np.array([3.0]), "all": np.array([np.nan]), "car": np.array([0.5])}
    assert "<circle" in dict(course({}, one))["On the validation split"]
    assert points_of(precision_recall({"car": np.full(101, np.nan)})) == []
    assert "<svg" in confusion_matrix(np.zeros((3, 3), int), ["car", "person"])


def test_names_cannot_break_the_page() -> None:
    table = np.eye(2, dtype=int)
    assert "<b>" not in confusion_matrix(table, ["<b>"])
    assert "<b>" not in precision_recall({"<b>": np.ones(101), "c": np.ones(101)})


# --- best and worst


class Pictures:
    """As much of a mixture as is drawn."""

    classes = ("car", "person")

    def __init__(self, count: int) -> None:
        self._count = count

    def read(self, index: int) -> object:
        class Example:
            image = np.full((100, 100, 3), 10 * index, np.uint8)

        return Example()

    def path_of(self, index: int) -> Path:
        return Path(f"{index}.png")


def test_the_worst_has_most_errors_the_best_most_that_is_right_and_none_is_both() -> None:
    images = [
        (found((A, 0.9, 0)), truths((A, 0))),
        (found((A, 0.9, 0), (B, 0.9, 1)), truths((A, 0), (B, 1))),
        (found((FAR, 0.9, 0)), truths((A, 0))),
        (found(), truths((A, 0), (B, 1), (FAR, 1))),
        (found(), truths()),
    ]
    seen, there = zip(*images, strict=True)
    judged = Judged(Pictures(5), "", seen, there, np.ones((2, 10)), np.ones((2, 101)))  # type: ignore[arg-type]
    best, worst = best_and_worst(judged, [pair(one, other) for one, other in images])
    assert [shown.caption for shown in worst] == [
        "3.png: 0 found, 3 missed, 0 false at a score of 0.3",
        "2.png: 0 found, 1 missed, 1 false at a score of 0.3",
    ]
    assert [shown.caption.split(":")[0] for shown in best] == ["1.png", "0.png"]
    drawn = cv2.imdecode(np.frombuffer(worst[0].jpeg, np.uint8), cv2.IMREAD_COLOR)
    red = (drawn[..., 2] > 180) & (drawn[..., 1] < 110)
    assert red.sum() > 500, "what is missed is framed in red"


# --- classes of whole pictures and of pixels


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=40))
def test_every_picture_is_counted_where_it_was_taken_for_what(pairs: list[tuple[int, int]]) -> None:
    truth, seen = np.array(pairs).T
    counts = mixed_up(truth, seen, 4)
    assert counts.sum() == len(pairs)
    assert counts[4].sum() == counts[:, 4].sum() == 0
    for row, column in pairs:
        assert counts[row, column] == pairs.count((row, column))


def test_of_many_classes_those_are_shown_that_are_mixed_up() -> None:
    truth = np.arange(50)
    seen = truth.copy()
    seen[[7, 31]] = [31, 7]
    counts = mixed_up(truth, seen, 50)
    assert counts[7, 31] == counts[31, 7] == 1
    assert (counts.sum(axis=1) > 0).sum() == 20


def test_masks_are_compared_at_their_own_size_and_only_where_somebody_labelled() -> None:
    mask = np.array([[0, 0, 1, 1], [0, 0, 1, UNLABELLED]], np.uint8)
    example = Example.without_boxes(np.zeros((2, 4, 3), np.uint8), np.ones(2, np.bool_), mask=mask)
    seen, there = compared(example, np.array([[0, 1]], np.uint8))
    assert seen.tolist() == [[0, 0, 1, 1], [0, 0, 1, 1]]
    assert there.tolist() == [[0, 0, 1, 1], [0, 0, 1, -1]]
    assert in_percent(np.array([[1, 2], [0, 0]])).tolist() == [[33, 67], [0, 0]]
