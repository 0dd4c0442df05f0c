"""Pairing by stamp, against a plain way to say the same, and on a real drive."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sensors.drives.kitti import KittiDrive
from sensors.frame import Frame, Item, PointCloud
from sensors.pairing import pair

MS = 1_000_000
DRIVE = Path("drives/kitti_2011_09_26/2011_09_26/2011_09_26_drive_0001_sync")

stamps = st.lists(st.integers(0, 60), max_size=12)  # few values, so that ties and repeated stamps are many
distinct = st.lists(st.integers(-(2**61), 2**61) | st.integers(0, 60), max_size=12, unique=True)


def plainly(reference: list[int], other: list[int], tolerance: int) -> list[tuple[int, int]]:
    """The closest two again and again; of equally close ones the earliest."""
    free, other_free = set(range(len(reference))), set(range(len(other)))
    pairs = []
    while free and other_free:
        apart, _, _, one, two = min(
            (abs(reference[i] - other[j]), reference[i], other[j], i, j) for i in free for j in other_free
        )
        if apart > tolerance:
            break
        pairs.append((one, two))
        free.remove(one)
        other_free.remove(two)
    return sorted(pairs, key=lambda indices: (reference[indices[0]], indices[0]))


@given(stamps, stamps, st.integers(0, 40))
def test_the_closest_two_are_paired_then_the_closest_of_the_rest(
    one: list[int], two: list[int], tolerance: int
) -> None:
    found = pair(one, two, tolerance)
    apart = sorted(abs(one[i] - two[j]) for i, j in found)
    assert apart == sorted(abs(one[i] - two[j]) for i, j in plainly(one, two, tolerance))


@given(distinct, distinct, st.integers(0, 2**62))
def test_with_distinct_stamps_the_very_pairs_are_the_plain_ones(one: list[int], two: list[int], tolerance: int) -> None:
    assert [tuple(indices) for indices in pair(one, two, tolerance).tolist()] == plainly(one, two, tolerance)


@given(stamps, stamps, st.integers(0, 40))
def test_every_item_is_in_one_pair_at_most_and_within_the_tolerance(
    one: list[int], two: list[int], tolerance: int
) -> None:
    found = pair(one, two, tolerance)
    assert found.shape == (len(found), 2)
    assert len(set(found[:, 0].tolist())) == len(set(found[:, 1].tolist())) == len(found)
    assert all(abs(one[i] - two[j]) <= tolerance for i, j in found)
    assert [one[i] for i in found[:, 0]] == sorted(one[i] for i in found[:, 0])


@given(distinct, distinct, st.integers(0, 40), st.randoms())
def test_the_order_in_which_stamps_are_given_changes_nothing(
    one: list[int], two: list[int], tolerance: int, random: object
) -> None:
    shuffled, other = list(one), list(two)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    random.shuffle(other)  # type: ignore[attr-defined]
    expected = [(one[i], two[j]) for i, j in pair(one, two, tolerance)]
    assert [(shuffled[i], other[j]) for i, j in pair(shuffled, other, tolerance)] == expected


def test_a_lost_frame_leaves_its_scan_alone_and_shifts_nothing() -> None:
    frames = np.delete(np.arange(10) * 100 * MS + 10 * MS, 4)
    scans = np.arange(10) * 100 * MS
    assert pair(frames, scans, 25 * MS)[:, 1].tolist() == [0, 1, 2, 3, 5, 6, 7, 8, 9]


def test_an_item_whose_nearest_is_taken_gets_the_next_one() -> None:
    assert pair([0, 10], [6, 12], 10).tolist() == [[0, 0], [1, 1]]


def test_of_two_equally_close_the_earlier_one_is_taken() -> None:
    assert pair([10], [12, 8], 5).tolist() == [[0, 1]]
    assert pair([12, 8], [10], 5).tolist() == [[1, 0]]


def test_a_negative_tolerance_is_refused() -> None:
    with pytest.raises(ValueError, match="less than 0"):
        pair([1], [1], -1)


@pytest.mark.data
def test_kittis_frames_pair_with_the_scan_of_their_moment(data: Path) -> None:
    """Frame 25 is the seventh that is there and the third scan the last: by index they would pair with 2 s apart."""
    with KittiDrive(data / DRIVE, "k") as drive:
        items: list[Item] = list(drive)
    frames = [item for item in items if isinstance(item, Frame) and item.sensor == "k-image_02"]
    scans = [item for item in items if isinstance(item, PointCloud)]
    found = pair([frame.stamp_ns for frame in frames], [scan.stamp_ns for scan in scans], 25 * MS)
    assert [(frames[i].sequence, scans[j].sequence) for i, j in found] == [(0, 0), (1, 1), (2, 2)]
    assert all(abs(frames[i].stamp_ns - scans[j].stamp_ns - 10.5 * MS) < 0.2 * MS for i, j in found)
    late = pair([frame.stamp_ns for frame in frames[1:]], [scan.stamp_ns for scan in scans], 25 * MS)
    assert late.tolist() == [[0, 1], [1, 2]], "the first frame is missing, and its scan stays alone"
