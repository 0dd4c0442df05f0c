"""A camera's clock brought onto the host's: exact steps, never in the future, drift followed, jumps survived."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from sensors.cameras.stamps import FastestArrival, KernelStamps

MS = 1_000_000
S = 1_000 * MS
PERIOD_NS = 33_333_333


def stamps_of(times: list[tuple[int, int]]) -> list[int]:
    clock = FastestArrival()
    return [clock.stamp_ns(camera_ns, arrival_ns) for camera_ns, arrival_ns in times]


def test_steps_are_the_cameras_own_whatever_the_networks_jitter() -> None:
    jitter = random.Random(1)
    times = [(number * PERIOD_NS, 77 * S + number * PERIOD_NS + jitter.randrange(8 * MS)) for number in range(300)]
    times[0] = (0, 77 * S)
    assert stamps_of(times) == [77 * S + number * PERIOD_NS for number in range(300)]


@given(st.lists(st.tuples(st.integers(0, 10**15), st.integers(0, 10**15)), max_size=40))
def test_no_stamp_is_later_than_the_arrival(times: list[tuple[int, int]]) -> None:
    in_order = sorted(times, key=lambda time: time[1])
    assert all(stamp <= arrival for stamp, (_, arrival) in zip(stamps_of(in_order), in_order, strict=True))


def test_frames_held_back_and_sent_in_a_burst_do_not_put_later_ones_into_the_future() -> None:
    burst = [(number * PERIOD_NS, 10 * S + number) for number in range(25)]
    live = [(number * PERIOD_NS, 10 * S + (number - 24) * PERIOD_NS + 24) for number in range(25, 60)]
    assert stamps_of(burst + live)[25:] == [arrival for _, arrival in live]


def test_a_clock_that_drifts_is_followed_either_way() -> None:
    for parts_per_million in (-100, 100):
        clock = FastestArrival()
        for number in range(30 * 3600):
            arrival_ns = 5 * S + number * PERIOD_NS
            camera_ns = number * PERIOD_NS * (1_000_000 + parts_per_million) // 1_000_000
            stamp_ns = clock.stamp_ns(camera_ns, arrival_ns)
            assert 0 <= arrival_ns - stamp_ns < 15 * MS


def test_a_clock_that_is_set_back_or_forth_is_taken_up_again_at_once() -> None:
    before = [(number * PERIOD_NS, 50 * S + number * PERIOD_NS) for number in range(9)]
    for jump_ns in (-3600 * S, 3600 * S):
        after = [(camera_ns + jump_ns, arrival_ns + 300 * MS) for camera_ns, arrival_ns in before]
        assert stamps_of(before + after)[9:] == [arrival_ns for _, arrival_ns in after]


def test_the_kernels_stamps_are_taken_as_they_are() -> None:
    clock = KernelStamps()
    assert clock.stamp_ns(100 * S, 100 * S + 40 * MS) == 100 * S
    assert clock.stamp_ns(100 * S + PERIOD_NS, 109 * S) == 100 * S + PERIOD_NS


def test_stamps_of_another_clock_than_the_hosts_are_taken_as_any_cameras() -> None:
    wall_ns = 1_800_000_000 * S
    clock = KernelStamps()
    assert clock.stamp_ns(wall_ns, 100 * S) == 100 * S
    assert clock.stamp_ns(wall_ns + PERIOD_NS, 100 * S + PERIOD_NS + 5 * MS) == 100 * S + PERIOD_NS
    early = KernelStamps()
    assert early.stamp_ns(5 * S, 100 * S) == 100 * S, "the camera's own time since it was switched on"
