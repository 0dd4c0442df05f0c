"""A looped drive is one long drive."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import drive_media
import pytest

from sensors.errors import RequestError, SourceError
from sensors.frame import Fault, Item
from sensors.looping import LoopingSource
from sensors.opening import open_source
from sensors.source import SensorInfo, SourceInfo

MS = 1_000_000


class TwoSensors:
    """A made source: `left` every 10 ms and `right` every 20 ms, first stamps 5 and 7 ms."""

    def __init__(self, items: list[Item] | None = None, rate_hz: float | None = None) -> None:
        self.info = SourceInfo(
            "made:", tuple(SensorInfo(name, "camera", rate_hz, 3) for name in ("left", "right")), live=False
        )
        left = [Fault("left", n, (5 + 10 * n) * MS, 1, "made") for n in range(3)]
        right = [Fault("right", n, (7 + 20 * n) * MS, 1, "made") for n in range(3)]
        self._items = [*left, *right] if items is None else items
        self.is_closed = False

    def __enter__(self) -> TwoSensors:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[Item]:
        return iter(self._items)

    def close(self) -> None:
        self.is_closed = True


def test_stamps_go_on_by_the_drives_length_and_sequences_run_on(tmp_path: Path) -> None:
    path = drive_media.write_video(tmp_path / "drive.mp4")
    items = list(open_source(str(path), loop=3))
    assert [item.stamp_ns for item in items] == [n * 100 * MS for n in range(3 * drive_media.PICTURES)]
    assert [item.sequence for item in items] == list(range(3 * drive_media.PICTURES))


def test_several_sensors_stay_in_step() -> None:
    items = list(LoopingSource(TwoSensors, 2))
    left = [item.stamp_ns // MS for item in items if item.sensor == "left"]
    right = [item.stamp_ns // MS for item in items if item.sensor == "right"]
    # From 5 ms to 47 ms, and one period of `right`, which comes last: 62 ms.
    assert left == [5, 15, 25, 67, 77, 87]
    assert right == [7, 27, 47, 69, 89, 109]
    assert [item.sequence for item in items if item.sensor == "right"] == list(range(6))


def test_the_declared_rate_is_the_period_where_there_is_one() -> None:
    items = list(LoopingSource(lambda: TwoSensors(rate_hz=100.0), 2))
    assert items[6].stamp_ns == (5 + 42 + 10) * MS


def test_one_item_without_a_rate_loops_every_tenth_of_a_second() -> None:
    one: list[Item] = [Fault("left", 0, 3 * MS, 1, "made")]
    assert [item.stamp_ns // MS for item in LoopingSource(lambda: TwoSensors(one), 3)] == [3, 103, 203]


def test_counts_are_those_of_all_laps_and_unknown_without_end() -> None:
    assert [sensor.count for sensor in LoopingSource(TwoSensors, 4).info.sensors] == [12, 12]
    assert [sensor.count for sensor in LoopingSource(TwoSensors, 0).info.sensors] == [None, None]


def test_an_empty_drive_looped_without_end_ends() -> None:
    assert list(LoopingSource(lambda: TwoSensors([]), 0)) == []


def test_every_lap_is_closed() -> None:
    opened: list[TwoSensors] = []

    def open_once() -> TwoSensors:
        opened.append(TwoSensors())
        return opened[-1]

    with LoopingSource(open_once, 3) as source:
        list(source)
    assert [lap.is_closed for lap in opened] == [True] * 3


def test_a_drive_that_vanishes_between_laps_breaks_the_source(tmp_path: Path) -> None:
    path = drive_media.write_video(tmp_path / "drive.mp4")
    source = open_source(str(path), loop=2)
    items = iter(source)
    next(items)
    path.unlink()
    with pytest.raises(SourceError, match="does not exist"):
        list(items)


def test_a_truncated_drive_is_not_looped(tmp_path: Path) -> None:
    path = drive_media.write_video(tmp_path / "drive.mp4")
    path.write_bytes(path.read_bytes()[: drive_media.packets(path)[15][0]])
    items: list[Item] = []
    with pytest.raises(SourceError, match="15 of 24"):
        items.extend(islice(open_source(str(path), loop=0), 100))


def test_a_negative_number_of_laps_is_refused() -> None:
    with pytest.raises(RequestError, match="less than 0"):
        LoopingSource(TwoSensors, -1)
