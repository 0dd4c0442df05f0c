"""Ids last: on made-up drives whose truth is known."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engines.results import Detections
from perception.errors import UsageError
from perception.tracking import Tracker, TrackerSettings, tracker, vehicle_classes

PERSON, CAR, TRUCK = 0, 2, 7
VEHICLES = TrackerSettings(vehicle_classes=(CAR, TRUCK))
EVEN_10 = np.arange(0, 4, 1 / 10)
EVEN_30 = np.arange(0, 4, 1 / 30)
IRREGULAR = np.cumsum(np.tile([0.02, 0.2, 0.05, 0.13], 10))
CLOCKS = pytest.mark.parametrize("times_s", [EVEN_10, EVEN_30, IRREGULAR], ids=["10 fps", "30 fps", "irregular"])


def ns(seconds: float) -> int:
    return round(seconds * 1_000_000_000)


def detections(boxes: Iterable[object], scores: object = 0.9, classes: object = CAR) -> Detections:
    corners = np.array(list(boxes), np.float32).reshape(-1, 4)
    return Detections(
        corners,
        np.broadcast_to(np.asarray(scores, np.float32), len(corners)).copy(),
        np.broadcast_to(np.asarray(classes, np.int32), len(corners)).copy(),
    )


def car(x: float, y: float = 100, width: float = 60, height: float = 40) -> tuple[float, float, float, float]:
    """A box by its centre; pixels."""
    return x - width / 2, y - height / 2, x + width / 2, y + height / 2


def follow(
    position: Callable[[float], float | None],
    times_s: np.ndarray,
    settings: TrackerSettings | None = None,
) -> list[int]:
    """Drive one car, hidden where `position` is None; give its id at each sight."""
    ours, ids = Tracker(settings or TrackerSettings()), []
    for time_s in times_s:
        x = position(time_s)
        found = ours.update(detections([] if x is None else [car(x)]), ns(time_s))
        ids += found.track_ids.tolist()
    return ids


def test_what_is_sure_in_the_very_first_frame_has_an_id_at_once() -> None:
    found = Tracker().update(detections([car(100), car(300), car(500)], scores=[0.9, 0.7, 0.55]), 0)
    assert found.track_ids.tolist() == [1, 2, 0]
    assert found.track_ids.dtype == np.int64


def test_later_an_object_is_seen_twice_before_it_has_an_id() -> None:
    ours = Tracker()
    ours.update(Detections.empty(), 0)
    seen = [ours.update(detections([car(100)]), ns(0.1 * step)).track_ids[0] for step in (1, 2, 3)]
    assert seen == [0, 1, 1]


def test_a_box_seen_once_and_then_not_leaves_no_trace() -> None:
    ours = Tracker()
    seen = [
        ours.update(detections([car(100)] if step in (1, 3, 4) else []), ns(0.1 * step)).track_ids.tolist()
        for step in range(5)
    ]
    assert seen == [[], [0], [], [0], [1]]


def test_detections_come_back_as_they_went_in_but_for_their_ids() -> None:
    given_ = detections([car(100), car(300)], scores=[0.9, 0.4], classes=[CAR, PERSON])
    found = Tracker().update(given_, 0)
    assert found.boxes_xyxy is given_.boxes_xyxy
    assert found.scores is given_.scores
    assert found.classes is given_.classes
    assert given_.track_ids.tolist() == [0, 0]


@CLOCKS
def test_a_fast_car_keeps_its_id_at_any_frame_rate(times_s: np.ndarray) -> None:
    # 150 pixels a second, and 200 ms between some frames: half a car's width.
    assert set(follow(lambda time_s: 100 + 150 * time_s, times_s)) == {1}


def test_steps_that_vary_are_bridged_by_the_speed_not_by_the_frame() -> None:
    # Once its speed is known, a car that moves by two of its widths between frames is still expected there.
    steps = np.concatenate([np.full(30, 0.03), np.tile([0.3, 0.03, 0.03], 5)])
    assert set(follow(lambda time_s: 100 + 400 * time_s, np.cumsum(steps))) == {1}


@CLOCKS
def test_an_occlusion_shorter_than_the_keep_time_keeps_the_id(times_s: np.ndarray) -> None:
    ids = follow(lambda time_s: None if 2 <= time_s < 2.7 else 100 + 100 * time_s, times_s)
    assert set(ids) == {1}


@CLOCKS
def test_an_occlusion_longer_than_the_keep_time_ends_the_track(times_s: np.ndarray) -> None:
    ids = follow(lambda time_s: None if 2 <= time_s < 3.2 else 100.0, times_s)
    assert set(ids) == {1, 0, 2}
    assert ids[-1] == 2


@CLOCKS
def test_the_keep_time_is_a_setting(times_s: np.ndarray) -> None:
    def position(time_s: float) -> float | None:
        return None if 2 <= time_s < 3.2 else 100.0

    assert set(follow(position, times_s, TrackerSettings(keep_s=1.5))) == {1}


@CLOCKS
def test_crossing_cars_keep_their_ids_though_suppression_hides_one(times_s: np.ndarray) -> None:
    ours, seen = Tracker(), []
    for time_s in times_s:
        left, right = 100 + 100 * time_s, 500 - 100 * time_s
        both = [car(left, 100), car(right, 104)]
        # NMS leaves one box where two overlap by more than 0.65: for these, within 12 pixels.
        found = ours.update(detections(both if abs(left - right) > 12 else both[:1]), ns(time_s))
        seen.append(found.track_ids.tolist())
    assert {tuple(ids) for ids in seen} <= {(1, 2), (1,)}
    assert seen[-1] == [1, 2]


@CLOCKS
def test_a_score_that_sinks_for_long_keeps_the_id(times_s: np.ndarray) -> None:
    ours, ids = Tracker(), []
    for time_s in times_s:
        score = 0.35 if 1 < time_s < 3.5 else 0.9
        ids += ours.update(detections([car(100 + 80 * time_s)], score), ns(time_s)).track_ids.tolist()
    assert set(ids) == {1}


def test_doubtful_boxes_alone_never_become_a_track() -> None:
    ours = Tracker()
    for step in range(10):
        assert ours.update(detections([car(100)], 0.49), ns(0.1 * step)).track_ids.tolist() == [0]


def test_a_sure_box_goes_before_a_doubtful_one() -> None:
    ours = Tracker()
    ours.update(detections([car(100)]), 0)
    found = ours.update(detections([car(105), car(100)], scores=[0.8, 0.4]), ns(0.1))
    assert found.track_ids.tolist() == [1, 0]


def test_a_doubtful_box_must_lie_where_one_is_expected() -> None:
    ours = Tracker()
    ours.update(detections([car(100)]), 0)
    assert ours.update(detections([car(125)], 0.4), ns(0.1)).track_ids.tolist() == [0]  # IoU 0.41
    assert ours.update(detections([car(125)], 0.8), ns(0.2)).track_ids.tolist() == [1]


@pytest.mark.parametrize("settings", [TrackerSettings(), VEHICLES])
@pytest.mark.parametrize("score", [0.4, 0.9])
def test_a_car_never_takes_a_persons_id(settings: TrackerSettings, score: float) -> None:
    ours = Tracker(settings)
    assert ours.update(detections([car(100)], classes=PERSON), 0).track_ids.tolist() == [1]
    for step in range(1, 4):
        found = ours.update(detections([car(100)], score, classes=CAR), ns(0.1 * step))
        assert found.track_ids[0] != 1


def test_a_car_that_is_called_a_truck_in_turns_keeps_its_id() -> None:
    ours = Tracker(VEHICLES)
    ids = [
        ours.update(detections([car(100 + step)], classes=CAR if step % 2 else TRUCK), ns(0.1 * step)).track_ids[0]
        for step in range(10)
    ]
    assert set(ids) == {1}


def test_a_truck_that_lies_elsewhere_does_not_take_a_cars_id() -> None:
    ours = Tracker(VEHICLES)
    ours.update(detections([car(100)]), 0)
    assert ours.update(detections([car(120)], classes=TRUCK), ns(0.1)).track_ids.tolist() == [0]  # IoU 0.5


def test_a_car_that_turned_out_a_truck_is_followed_as_a_truck() -> None:
    ours = Tracker(VEHICLES)
    ours.update(detections([car(100)]), 0)
    ours.update(detections([car(100)], classes=TRUCK), ns(0.1))
    assert ours.update(detections([car(120)], classes=TRUCK), ns(0.2)).track_ids.tolist() == [1]  # IoU 0.5


def test_without_vehicle_classes_a_flip_is_another_object() -> None:
    ours = Tracker()
    ours.update(detections([car(100)]), 0)
    assert ours.update(detections([car(100)], classes=TRUCK), ns(0.1)).track_ids.tolist() == [0]


def test_a_second_box_on_one_car_gets_no_id_of_its_own() -> None:
    ours = Tracker(VEHICLES)
    for step in range(5):
        both = detections([car(100), car(101)], scores=[0.9, 0.7], classes=[CAR, TRUCK])
        assert ours.update(both, ns(0.1 * step)).track_ids.tolist() == [1, 0]


def test_a_box_on_a_part_of_a_car_starts_no_track() -> None:
    """As small detectors see the front half of a car that drives into the picture, sure of it for a frame or two."""
    ours = Tracker(VEHICLES)
    for step in range(8):
        both = detections(
            [(5, 298, 130, 360), (5, 304, 98, 357)], scores=[0.8, 0.67], classes=[CAR, [CAR, TRUCK][step % 2]]
        )
        assert ours.update(both, ns(0.04 * step)).track_ids.tolist() == [1, 0]


@pytest.mark.parametrize(
    "second",
    [(40, 320, 80, 355), (60, 298, 160, 360), (5, 304, 98, 420)],
    ids=["much smaller: a car before a truck", "beside it", "sticks out below: nearer"],
)
def test_an_object_that_only_covers_another_one_has_a_track(second: tuple[float, ...]) -> None:
    ours = Tracker(VEHICLES)
    for step in range(2):
        found = ours.update(detections([(5, 298, 130, 360), second], scores=[0.8, 0.67]), ns(0.04 * step))
        assert found.track_ids.tolist() == [1, 2]


def test_a_rider_and_his_horse_both_get_ids_though_their_boxes_agree() -> None:
    horse = 17
    found = Tracker(VEHICLES).update(detections([car(100), car(101)], classes=[horse, PERSON]), 0)
    assert found.track_ids.tolist() == [1, 2]


def test_vehicle_classes_are_found_by_name() -> None:
    assert vehicle_classes(["person", "Car", "bicycle", "truck", "bus", "carrot"]) == (1, 3, 4)


def test_frames_without_detections_are_time_that_passes() -> None:
    ours = Tracker()
    assert len(ours.update(Detections.empty(), 0)) == 0
    ours.update(detections([car(100)]), ns(0.1))
    ours.update(detections([car(100)]), ns(0.2))
    for step in range(3, 12):
        assert ours.update(Detections.empty(), ns(0.1 * step)).track_ids.shape == (0,)
    assert ours.update(detections([car(100)]), ns(1.2)).track_ids.tolist() == [1]


def test_a_stamp_a_little_back_counts_as_no_time() -> None:
    ours = Tracker()
    ids = [
        ours.update(detections([car(100 + 100 * time_s)]), ns(time_s)).track_ids[0]
        for time_s in (0, 0.1, 0.2, 0.15, 0.15, 0.25, 0.35)
    ]
    assert set(ids) == {1}


def test_a_stamp_a_little_back_does_not_make_a_hidden_car_younger() -> None:
    ours = Tracker()
    ours.update(detections([car(100)]), 0)
    for time_s in (0.8, 0.1):
        ours.update(Detections.empty(), ns(time_s))
    assert ours.update(detections([car(100)]), ns(0.4)).track_ids.tolist() == [0]  # unseen for 0.8 + 0.3 s


@pytest.mark.parametrize("jump_s", [-1000.0, -1.1, 1.1, 1e9])
def test_a_jump_of_the_clock_ends_all_tracks_and_ids_go_on(jump_s: float) -> None:
    ours = Tracker()
    assert ours.update(detections([car(100)]), ns(2000)).track_ids.tolist() == [1]
    after = [ours.update(detections([car(100)]), ns(2000 + jump_s + dt)).track_ids[0] for dt in (0, 0.1)]
    assert after == [0, 2]


def test_boxes_that_are_not_finite_are_passed_by_and_harm_nobody() -> None:
    ours = Tracker()
    bad = (np.nan, 0, 10, 10), (0, 0, np.inf, 10)
    for step in range(5):
        found = ours.update(detections([bad[0], car(100), bad[1], (5, 5, 5, 5)]), ns(0.1 * step))
        assert found.track_ids.tolist()[:3] == [0, 1, 0]


def test_memory_is_bounded_and_the_tracks_seen_last_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracker, "MAX_TRACKS", 4)
    ours = Tracker()
    ours.update(detections([car(x) for x in (100, 300, 500, 700)]), 0)
    for step in (1, 2):
        last = ours.update(detections([car(x) for x in (100, 300, 900, 1100)]), ns(0.1 * step))
    assert last.track_ids.tolist() == [1, 2, 5, 6]
    assert ours.update(detections([car(x) for x in (100, 500)]), ns(0.3)).track_ids.tolist() == [1, 0]


@pytest.mark.parametrize("wrong", [{"keep_s": -1}, {"keep_s": np.nan}, {"high_score": 1.1}, {"start_score": -0.1}])
def test_settings_that_cannot_be_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="tracker"):
        TrackerSettings(**wrong)


BOX = st.tuples(st.integers(0, 8), st.integers(0, 4), st.sampled_from([40, 60, 80]), st.floats(0.3, 1))
FRAME = st.lists(st.tuples(BOX, st.sampled_from([PERSON, CAR, TRUCK])), max_size=8)
DRIVE = st.lists(st.tuples(FRAME, st.sampled_from([0, 33, 100, 400, -50, 1500, -3000])), max_size=12)


@settings(max_examples=150, deadline=None)
@given(drive=DRIVE)
def test_on_any_drive_ids_are_unique_in_a_frame_keep_their_kind_and_repeat_with_the_input(
    drive: list,
) -> None:
    ours, again = Tracker(VEHICLES), Tracker(VEHICLES)
    kind_of: dict[int, bool] = {}
    retired: set[int] = set()
    stamp_ms = 10_000
    for frame, step_ms in drive:
        stamp_ms += step_ms
        found = detections(
            [car(30 * x, 30 * y, side, side) for (x, y, side, _), _ in frame],
            [score for (*_, score), _ in frame],
            [class_ for _, class_ in frame],
        )
        if abs(step_ms) > 1000:
            retired = set(kind_of)
        ids = ours.update(found, stamp_ms * 1_000_000).track_ids
        assert np.array_equal(ids, again.update(found, stamp_ms * 1_000_000).track_ids)
        given_out = ids[ids > 0].tolist()
        assert len(set(given_out)) == len(given_out)
        assert not retired & set(given_out)
        assert not (ids[found.scores < 0.5] > max(kind_of, default=0)).any()
        for id_, class_ in zip(ids.tolist(), found.classes.tolist(), strict=True):
            if id_:
                assert kind_of.setdefault(id_, class_ == PERSON) == (class_ == PERSON)
    assert sorted(kind_of) == list(range(1, len(kind_of) + 1))
