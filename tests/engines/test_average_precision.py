"""COCO's figures: cases worked out by hand, and images drawn again against the same images judged anew."""

from __future__ import annotations

import builtins
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engines.average_precision import AveragePrecision, Truths
from engines.errors import EngineMissingError
from engines.results import Detections

BOX, FAR_BOX, EMPTY_PLACE = (10, 10, 30, 40), (50, 50, 90, 80), (200, 200, 220, 220)


def truths(*boxes: Any, kinds: Any = None, crowd: Any = None) -> Truths:
    table = np.array(boxes, np.float64).reshape(-1, 4)
    return Truths(
        table,
        np.zeros(len(table), np.int32) if kinds is None else np.array(kinds, np.int32),
        np.zeros(len(table), np.bool_) if crowd is None else np.array(crowd, np.bool_),
    )


def found(*boxes: Any, scores: Any, kinds: Any = None) -> Detections:
    table = np.array(boxes, np.float32).reshape(-1, 4)
    kinds = np.zeros(len(table), np.int32) if kinds is None else np.array(kinds, np.int32)
    return Detections(table, np.array(scores, np.float32), kinds)


def test_a_worked_case() -> None:
    """Hit, false, hit: precision 1 up to a recall of 0.5, 2/3 above."""
    judged = AveragePrecision(
        [found(BOX, EMPTY_PLACE, FAR_BOX, scores=[0.9, 0.8, 0.7])], [truths(BOX, FAR_BOX)], class_count=1
    )
    assert judged.ap50() == pytest.approx((51 + 50 * 2 / 3) / 101)


def test_a_loose_box_counts_up_to_its_overlap() -> None:
    half = (10, 10, 30, 31)  # IoU 21/30
    row = AveragePrecision([found(half, scores=[0.5])], [truths(BOX)], class_count=1).per_class()[0]
    np.testing.assert_allclose(row, [1, 1, 1, 1, 1, 0, 0, 0, 0, 0])


def test_a_second_box_on_the_same_thing_is_false() -> None:
    judged = AveragePrecision([found(BOX, BOX, FAR_BOX, scores=[0.9, 0.8, 0.7])], [truths(BOX, FAR_BOX)], 1)
    assert judged.ap50() == pytest.approx((51 + 50 * 2 / 3) / 101)


def test_a_crowd_is_neither_missed_nor_false() -> None:
    judged = AveragePrecision(
        [found(FAR_BOX, BOX, scores=[0.9, 0.8])], [truths(BOX, (45, 45, 100, 100), crowd=[False, True])], 1
    )
    assert judged.ap50() == pytest.approx(1)


def test_a_class_with_nothing_to_find_has_no_figure() -> None:
    judged = AveragePrecision([found(BOX, FAR_BOX, scores=[0.9, 0.8], kinds=[0, 1])], [truths(BOX)], class_count=2)
    table = judged.per_class()
    assert table[0].tolist() == [1] * 10
    assert np.isnan(table[1]).all()
    assert judged.ap50() == 1


def test_nothing_found_is_zero() -> None:
    assert AveragePrecision([Detections.empty()], [truths(BOX)], 1).ap50() == 0


@st.composite
def judged_images(draw: st.DrawFn) -> tuple[list[Detections], list[Truths], list[int]]:
    """Images with boxes in few places, so that some are hit; and a draw of them with repetition."""
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    images = draw(st.integers(1, 6))
    detections, labels = [], []
    for _ in range(images):
        count, number = random.integers(0, 6), random.integers(0, 5)
        corners = 20.0 * random.integers(0, 4, (number, 2))
        labels.append(truths(np.hstack([corners, corners + 18]), kinds=random.integers(0, 2, number)))
        moved = 20.0 * random.integers(0, 4, (count, 2)) + random.integers(0, 5, (count, 2))
        scores = np.sort(random.permutation(1000)[:count] / 1000)[::-1]
        detections.append(found(np.hstack([moved, moved + 18]), scores=scores, kinds=random.integers(0, 2, count)))
    drawn = draw(st.lists(st.integers(0, images - 1), min_size=1, max_size=8))
    return detections, labels, drawn


@given(judged_images())
@settings(max_examples=60, deadline=None)
def test_images_drawn_again_are_judged_as_if_they_were_so_many(
    case: tuple[list[Detections], list[Truths], list[int]],
) -> None:
    detections, labels, drawn = case
    judged = AveragePrecision(detections, labels, 2)
    before = judged.per_class()
    anew = AveragePrecision([detections[index] for index in drawn], [labels[index] for index in drawn], 2)
    np.testing.assert_allclose(judged.per_class(drawn), anew.per_class(), atol=1e-12)
    np.testing.assert_array_equal(judged.per_class(), before)
    np.testing.assert_array_equal(judged.per_class(range(len(labels))), before)


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name.startswith("faster_coco_eval"):
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(EngineMissingError, match=r"not installed; pip install 'edge-perception\[evaluate\]'"):
        AveragePrecision([Detections.empty()], [truths(BOX)], 1)
