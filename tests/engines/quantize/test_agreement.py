"""Whether two networks found the same things."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engines.quantize.agreement import SAME, SHOWN, agreement, damage, iou_table
from engines.results import ClassMap, Detections, SegmentationMap


def boxes(*rows: tuple[float, float, float, float, float, int]) -> Detections:
    """Each left, top, right, bottom, score, class; best first."""
    table = np.array(sorted(rows, key=lambda row: -row[4]), np.float64).reshape(-1, 6)
    return Detections(table[:, :4].astype(np.float32), table[:, 4].astype(np.float32), table[:, 5].astype(np.int32))


CAR = (10.0, 10.0, 50.0, 40.0, 0.8, 2)


def moved(row: tuple[float, ...], pixels: float = 0, score: float | None = None, kind: int | None = None) -> tuple:
    return (row[0] + pixels, row[1], row[2] + pixels, row[3], row[4] if score is None else score, kind or row[5])


@pytest.mark.parametrize(
    ("other", "share"),
    [
        (boxes(CAR), 1.0),
        (boxes(moved(CAR, 8)), 1.0),  # IoU 0.67
        (boxes(moved(CAR, 20)), 0.0),  # IoU 0.33
        (boxes(moved(CAR, score=0.31)), 1.0),
        (boxes(moved(CAR, score=0.29)), 0.0),
        (boxes(moved(CAR, kind=7)), 0.0),
        (Detections.empty(), 0.0),
    ],
    ids=["same", "near", "far", "weaker", "too weak", "another class", "nothing"],
)
def test_a_box_is_found_again_or_not(other: Detections, share: float) -> None:
    assert agreement([boxes(CAR)], [other], SHOWN).share == share


def test_a_box_answers_for_one_box_only() -> None:
    twice = boxes(CAR, moved(CAR, 2, score=0.7))
    assert agreement([twice], [boxes(CAR)], SHOWN).share == 0.5


def test_what_is_new_is_no_disagreement_from_this_side() -> None:
    assert agreement([boxes(CAR)], [boxes(CAR, moved(CAR, 200))], SHOWN).share == 1
    assert agreement([boxes(CAR, moved(CAR, 200))], [boxes(CAR)], SHOWN).share == 0.5


def test_a_box_from_nowhere_is_damage_too() -> None:
    """A network that finds everything everywhere has lost nothing, and is worth nothing."""
    assert damage([boxes(CAR)], [boxes(CAR)]) == 0
    invented = boxes(CAR, *(moved(CAR, 100 * place) for place in range(1, 4)))
    assert damage([boxes(CAR)], [invented]) == pytest.approx(0.75)


def test_frames_are_compared_with_their_own() -> None:
    assert agreement([boxes(CAR), boxes()], [boxes(), boxes(CAR)], SHOWN).share == 0
    assert agreement([boxes(), boxes()], [boxes(CAR), boxes()], SHOWN).share == 1  # nothing to find


def test_the_same_box_on_two_engines_is_closer() -> None:
    assert agreement([boxes(CAR)], [boxes(moved(CAR, 1))], SAME).share == 1  # IoU 0.95
    assert agreement([boxes(CAR)], [boxes(moved(CAR, 3))], SAME).share == 0  # IoU 0.86
    assert agreement([boxes(moved(CAR, score=0.36))], [boxes(moved(CAR, score=0.26))], SAME).share == 1


def test_damage_grows_with_what_is_moved_weakened_or_lost() -> None:
    before = [boxes(CAR, moved(CAR, 200, score=0.4))]
    harms = [
        damage(before, before),
        damage(before, [boxes(moved(CAR, 1), moved(CAR, 200, score=0.4))]),
        damage(before, [boxes(moved(CAR, 4), moved(CAR, 200, score=0.3))]),
        damage(before, [boxes(moved(CAR, 4))]),
        damage(before, [boxes()]),
    ]
    assert harms == sorted(harms)
    assert len(set(harms)) == 5
    assert (harms[0], harms[-1]) == (pytest.approx(0, abs=1e-6), 1)


def masks(*rows: str) -> SegmentationMap:
    classes = np.array([[int(character) for character in row] for row in rows], np.uint8)
    return SegmentationMap((ClassMap("drivable", classes, 0, 2),))


def test_masks_agree_by_the_mean_of_their_classes_overlaps() -> None:
    share = agreement([masks("0011", "0011")], [masks("0001", "0011")], SHOWN).share
    assert share == pytest.approx((4 / 5 + 3 / 4) / 2)
    assert damage([masks("0011")], [masks("0011")]) == 0


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(*[st.floats(0, 50)] * 2, *[st.floats(1, 50)] * 2), min_size=1, max_size=5))
def test_iou_is_that_of_counted_area(rows: list[tuple[float, float, float, float]]) -> None:
    corners = np.array([(x, y, x + w, y + h) for x, y, w, h in rows], np.float32)
    table = iou_table(corners, corners)
    assert np.allclose(np.diag(table), 1)
    assert np.allclose(table, table.T)
    for one, row in zip(corners, table, strict=True):
        for other, found in zip(corners, row, strict=True):
            width = max(0.0, min(one[2], other[2]) - max(one[0], other[0]))
            height = max(0.0, min(one[3], other[3]) - max(one[1], other[1]))
            areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
            assert found == pytest.approx(width * height / (sum(areas) - width * height), abs=1e-5)
