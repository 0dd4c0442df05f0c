"""What comes next, and what gives way, between the readers and the feeder."""

from __future__ import annotations

import threading
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perception.intake import MOST_FAULTS, Captured, InStampOrder, NewestFirst
from perception.ledger import Entry
from sensors.frame import Fault, Frame

IMAGE = np.zeros((1, 1, 3), np.uint8)


def captured(sensor: str, number: int, elapsed_ns: int = 0, *, fault: bool = False) -> Captured:
    entry = Entry(sensor, number, elapsed_ns, 0)
    item = Fault(sensor, number, 0, 0, "cut") if fault else Frame(sensor, number, 0, 0, 0, IMAGE)
    return Captured(item, entry, elapsed_ns)


def named(item: Captured | None) -> tuple[str, int] | None:
    return None if item is None else (item.item.sensor, item.item.sequence)


def taken(intake: Any) -> list[tuple[str, int] | None]:
    return [named(item) for item in iter(intake.take, None)]


@given(st.lists(st.lists(st.integers(0, 50), max_size=8).map(sorted), min_size=1, max_size=4))
def test_recorded_sources_are_merged_by_time_and_nothing_is_lost(times: list[list[int]]) -> None:
    intake = InStampOrder(len(times))

    def read(source: int) -> None:
        for number, elapsed_ns in enumerate(times[source]):
            intake.put(source, captured(str(source), number, elapsed_ns))
        intake.finish(source)

    readers = [threading.Thread(target=read, args=(source,)) for source in range(len(times))]
    for reader in readers:
        reader.start()
    order = taken(intake)
    for reader in readers:
        reader.join()
    every = [(ns, source, number) for source, row in enumerate(times) for number, ns in enumerate(row)]
    assert order == [(str(source), number) for _, source, number in sorted(every)]
    assert intake.take() is None


def test_a_recorded_item_is_given_before_its_successor_is_there() -> None:
    intake = InStampOrder(1)
    intake.put(0, captured("front", 0))
    got: list[Any] = []
    feeder = threading.Thread(target=lambda: got.append(intake.take()), daemon=True)
    feeder.start()
    feeder.join(5)
    assert named(got[0]) == ("front", 0)


def test_a_newer_live_frame_takes_the_place_of_the_one_that_waits() -> None:
    intake = NewestFirst(1, ["front"])
    assert intake.put(0, captured("front", 0)) is None
    assert named(intake.put(0, captured("front", 1))) == ("front", 0)
    assert named(intake.put(0, captured("front", 2))) == ("front", 1)
    intake.finish(0)
    assert taken(intake) == [("front", 2)]


def test_a_fault_and_a_frame_do_not_supersede_each_other() -> None:
    intake = NewestFirst(1, ["front"])
    assert intake.put(0, captured("front", 0)) is None
    for number in range(1, MOST_FAULTS + 1):
        assert intake.put(0, captured("front", number, fault=True)) is None
    assert named(intake.put(0, captured("front", 20, fault=True))) == ("front", 1)
    assert named(intake.put(0, captured("front", 21))) == ("front", 0)
    intake.finish(0)
    assert taken(intake) == [("front", number) for number in (*range(2, MOST_FAULTS + 1), 20, 21)]


def test_sensors_take_turns_however_much_one_gives() -> None:
    intake = NewestFirst(3, ["a", "b", "c"])
    turns = []
    intake.put(1, captured("b", 0))
    intake.put(2, captured("c", 0))
    for number in range(1, 31):
        intake.put(0, captured("a", number))  # a always has one
        if number % 2:
            intake.put(1, captured("b", number))
        item = intake.take()
        assert item is not None
        turns.append(item.item.sensor)
    counts = Counter(turns)
    assert counts["a"] <= counts["b"] + 2
    assert counts["b"] >= 10


def test_taking_waits_for_an_item_or_the_last_sources_end() -> None:
    intake = NewestFirst(2, ["a", "b"])
    got: list[Any] = []
    feeder = threading.Thread(target=lambda: got.extend([intake.take(), intake.take()]), daemon=True)
    feeder.start()
    intake.finish(0)
    feeder.join(0.1)
    assert feeder.is_alive()
    intake.put(1, captured("b", 0))
    feeder.join(0.1)
    assert feeder.is_alive()
    intake.finish(1)
    feeder.join(5)
    assert [named(item) for item in got] == [("b", 0), None]


@pytest.mark.parametrize("kind", ["recorded", "live"])
def test_without_sources_there_is_nothing(kind: str) -> None:
    intake: Any = InStampOrder(0) if kind == "recorded" else NewestFirst(0, [])
    assert intake.take() is None
