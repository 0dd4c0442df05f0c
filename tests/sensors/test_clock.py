"""When an item of a replay is due, with a time of the test's own: nothing sleeps."""

from __future__ import annotations

import threading

import pytest

from sensors.clock import LONGEST_WAIT_S, ReplayClock

SECOND = 1_000_000_000


class Time:
    """Passes only while somebody waits; `stop_at_s` sets the event then."""

    def __init__(self, stop_at_s: float = float("inf")) -> None:
        self.now_ns = 500 * SECOND
        self.waits_s: list[float] = []
        self._stop_ns = self.now_ns + stop_at_s * SECOND

    def now(self) -> int:
        return self.now_ns

    def wait(self, stop: threading.Event, seconds: float) -> bool:
        assert seconds <= threading.TIMEOUT_MAX
        self.waits_s.append(seconds)
        self.now_ns += round(seconds * SECOND)
        if self.now_ns >= self._stop_ns:
            stop.set()
        return stop.is_set()


def clock(rate: float | None, time: Time) -> ReplayClock:
    return ReplayClock(rate, time.now, time.wait)


@pytest.mark.parametrize("rate", [0.5, 1.0, 3.0])
def test_an_item_is_due_at_its_stamp_divided_by_the_rate(rate: float) -> None:
    time, stop = Time(), threading.Event()
    paced = clock(rate, time)
    began_ns = paced.wait_until(0, stop)
    for elapsed_s in (0.04, 0.08, 2.0):
        due_ns = paced.wait_until(round(elapsed_s * SECOND), stop)
        assert (due_ns - began_ns) / SECOND == pytest.approx(elapsed_s / rate, abs=1e-6)


def test_as_fast_as_possible_waits_for_nothing() -> None:
    time = Time()
    free = clock(None, time)
    assert not free.paces
    assert free.wait_until(10**18, threading.Event()) == time.now_ns
    assert time.waits_s == []


def test_what_is_late_goes_at_once_and_what_follows_is_not_hurried() -> None:
    time, stop = Time(), threading.Event()
    paced = clock(1.0, time)
    began_ns = paced.wait_until(0, stop)
    time.now_ns += 3 * SECOND  # something held us up
    assert paced.wait_until(1 * SECOND, stop) == began_ns + 3 * SECOND
    assert paced.wait_until(4 * SECOND, stop) == began_ns + 4 * SECOND


def test_a_drive_that_is_entered_late_starts_at_once() -> None:
    time = Time()
    assert clock(1.0, time).wait_until(70 * SECOND, threading.Event()) == time.now_ns
    assert time.waits_s == []


def test_a_stop_ends_the_wait() -> None:
    time, stop = Time(stop_at_s=1), threading.Event()
    paced = clock(0.001, time)
    paced.wait_until(0, stop)
    paced.wait_until(3600 * SECOND, stop)
    assert stop.is_set()
    assert len(time.waits_s) == 1


def test_a_very_slow_replay_waits_in_pieces_that_a_system_can_wait() -> None:
    time, stop = Time(stop_at_s=3 * LONGEST_WAIT_S), threading.Event()
    paced = clock(1e-6, time)
    paced.wait_until(0, stop)
    paced.wait_until(86_400 * SECOND, stop)
    assert time.waits_s == [LONGEST_WAIT_S] * 3
