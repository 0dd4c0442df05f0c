"""Which boxes of two sides are partners, and what that says of tracks and times."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engines.results import Detections
from perception.gate.figures import Figures
from perception.gate.latency import Latencies
from perception.gate.matching import FrameMatch, Seen, doubles, match
from perception.gate.tracks import Tracks
from perception.tracking.tracker import iou

MATCH_IOU = 0.5


def seen(*boxes: tuple[float, float, float, float], classes: int | list[int] = 0, ids: list[int] | None = None) -> Seen:
    count = len(boxes)
    found = Detections(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.linspace(0.9, 0.5, count, dtype=np.float32),
        np.full(count, classes, np.int32) if isinstance(classes, int) else np.array(classes, np.int32),
        np.array(ids if ids is not None else [0] * count, np.int64),
    )
    return Seen(found, np.ones(count, np.bool_), doubles(found, 0.3))


corner = st.integers(0, 12)
box = st.tuples(corner, corner, st.integers(1, 12), st.integers(1, 12)).map(
    lambda b: (float(b[0]), float(b[1]), float(b[0] + b[2]), float(b[1] + b[3]))
)


@st.composite
def sides(draw: st.DrawFn) -> Seen:
    boxes = draw(st.lists(box, max_size=6))
    return seen(*boxes, classes=draw(st.lists(st.integers(0, 1), min_size=len(boxes), max_size=len(boxes))))


@given(sides(), sides())
def test_partners_are_one_to_one_of_one_class_and_overlap(one: Seen, other: Seen) -> None:
    matched = match(one, other, MATCH_IOU)
    assert len(set(matched.baseline_rows)) == len(matched.baseline_rows)
    assert len(set(matched.candidate_rows)) == len(matched.candidate_rows)
    assert (one.found.classes[matched.baseline_rows] == other.found.classes[matched.candidate_rows]).all()
    table = iou(one.found.boxes_xyxy.astype(np.float64), other.found.boxes_xyxy.astype(np.float64))
    assert (table[matched.baseline_rows, matched.candidate_rows] >= MATCH_IOU).all()
    # What is left alone on both sides could not have been paired.
    rest = table[np.ix_(matched.only_baseline, matched.only_candidate)]
    same = one.found.classes[matched.only_baseline][:, None] == other.found.classes[matched.only_candidate][None]
    assert (rest[same] < MATCH_IOU).all()


@given(sides(), sides())
def test_it_does_not_matter_which_side_is_asked(one: Seen, other: Seen) -> None:
    there, back = match(one, other, MATCH_IOU), match(other, one, MATCH_IOU)
    assert there.overlaps.sum() == pytest.approx(back.overlaps.sum())


@given(sides())
def test_every_frame_is_like_itself(one: Seen) -> None:
    matched = match(one, one, MATCH_IOU)
    assert (matched.missed, matched.added) == (0, 0)
    assert matched.harm == 0


def test_a_greedy_choice_would_lose_a_partner() -> None:
    # The first of the baseline is closest to the only one that the second could have.
    one = seen((0, 0, 10, 10), (0, 0, 10, 14))
    other = seen((0, 0, 10, 11), (0, 0, 10, 6))
    matched = match(one, other, MATCH_IOU)
    assert sorted(zip(matched.baseline_rows.tolist(), matched.candidate_rows.tolist(), strict=True)) == [(0, 1), (1, 0)]


def test_a_double_overlaps_a_better_box_of_its_class() -> None:
    near, far = (0.0, 0.0, 10.0, 10.0), (40.0, 0.0, 50.0, 10.0)
    assert seen(near, near, far).doubles.tolist() == [False, True, False]
    assert seen(near, near, far, classes=[0, 1, 0]).doubles.tolist() == [False, False, False]
    assert seen().doubles.tolist() == []


def frames(pairs: list[tuple[list[int], list[int]]]) -> list[FrameMatch]:
    """Frames with one box a track id, in a place of its own; id 0: a box without a track, -1: no box."""

    def side(ids: list[int]) -> Seen:
        places = [place for place, track in enumerate(ids) if track >= 0]
        boxes = [(100.0 * place, 0.0, 100.0 * place + 50, 50.0) for place in places]
        return seen(*boxes, ids=[ids[place] for place in places])

    return [match(side(one), side(other), MATCH_IOU) for one, other in pairs]


def test_tracks_that_only_one_side_follows_are_counted_on_their_side() -> None:
    tracks = Tracks()
    for frame in frames([([1, -1], [-1, 1])] * 6 + [([1, -1], [2, 1])] * 4):
        tracks.add(0, "front", frame)
    figures = tracks.figures(min_frames=5)
    assert (figures.baseline, figures.candidate) == (1, 1)  # the candidate's 2 is too short
    assert (figures.vanished, figures.appeared) == (1, 1)  # 4 of 10 boxes are followed, and 0 of 10
    assert tracks.figures(min_frames=4).candidate == 2


def test_a_box_without_a_track_follows_nothing() -> None:
    tracks = Tracks()
    for frame in frames([([1], [0])] * 10):
        tracks.add(0, "front", frame)
    assert tracks.figures(5).vanished == 1


def test_an_id_that_changes_on_a_track_is_a_switch_also_after_a_gap() -> None:
    tracks = Tracks()
    for frame in frames([([1], [7])] * 5 + [([1], [-1])] * 2 + [([1], [8])] * 5 + [([1], [8])] * 2):
        tracks.add(0, "front", frame)
    assert tracks.figures(5).id_switches == 1
    for frame in frames([([1], [9])] * 5):
        tracks.add(0, "rear", frame)  # ids of another sensor are others
    assert tracks.figures(5).id_switches == 1


def test_two_boxes_on_one_object_that_change_places_are_no_switch() -> None:
    """The first of both lies nearer in every other frame; its track never ends."""
    tracks = Tracks()
    object_, near, off = (0.0, 0.0, 50.0, 50.0), (0.0, 0.0, 50.0, 48.0), (0.0, 0.0, 50.0, 40.0)
    for number in range(10):
        boxes = (near, off) if number % 2 else (off, near)
        tracks.add(0, "front", match(seen(object_, ids=[1]), seen(*boxes, ids=[7, 8]), MATCH_IOU))
    assert tracks.figures(5).id_switches == 0
    tracks.add(0, "front", match(seen(object_, ids=[1]), seen(near, ids=[7]), MATCH_IOU))
    assert tracks.figures(5).id_switches == 1


def test_figures_count_by_class_and_by_side() -> None:
    figures = Figures(("car", "person"))
    here, there = (0.0, 0.0, 10.0, 10.0), (30.0, 0.0, 40.0, 10.0)
    figures.add(match(seen(here, there, classes=[0, 1]), seen(here, classes=[0]), MATCH_IOU))
    figures.add(match(seen(here, classes=[0]), seen(here, there, classes=[0, 0]), MATCH_IOU))
    everything, by_class = figures.all_classes, figures.per_class()
    assert (everything.recall, everything.precision) == (2 / 3, 2 / 3)
    assert everything.match_rate == 4 / 6
    assert (by_class["car"].recall, by_class["car"].precision) == (1, 2 / 3)
    assert (by_class["person"].recall, by_class["person"].candidate) == (0, 0)
    assert by_class["person"].score_shift is None


def test_one_hiccup_does_not_make_a_side_slow_and_slowness_does() -> None:
    hiccup, slow = Latencies(), Latencies()
    for number in range(100):
        hiccup.add(10_000_000, 200_000_000 if number == 50 else 10_000_000)
        slow.add(10_000_000 + number, 20_000_000 + number)
    assert hiccup.slowdown(99).at_least == pytest.approx(1)
    assert slow.slowdown(50).at_least == pytest.approx(2, rel=0.01)
    assert slow.slowdown(99).ratio == pytest.approx(2, rel=0.01)
