"""What a recorded drive holds, without reading its frames: the stamps of every sensor, as the drive tells them.

`clock_faults.py` judges them. The stamps are raw: in the order of capture, whatever is wrong with them.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from sensors.frame import Fault, Frame
from sensors.source import Kind, Source


@dataclass(frozen=True, slots=True)
class SensorSurvey:
    """One sensor. `stamps_ns` (N,) int64 and `numbers` (N,) int64, the drive's own number of each."""

    sensor: str
    kind: Kind
    stamps_ns: NDArray[np.int64]
    numbers: NDArray[np.int64]
    without_file: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))  # stamped, and not there
    without_stamp: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))  # there, and not stamped
    other_clocks_ns: tuple[tuple[str, NDArray[np.int64]], ...] = ()  # what else the drive tells of when, by name; (N,)
    notes: tuple[str, ...] = ()  # what else is not as it should be, for people


@dataclass(frozen=True, slots=True)
class Survey:
    """A whole drive. `notes`: what is to be known of it beyond its sensors' stamps, for people."""

    sensors: tuple[SensorSurvey, ...]
    size_bytes: int = 0
    notes: tuple[str, ...] = ()
    is_damaged: bool = False


@runtime_checkable
class Surveyed(Protocol):
    """A source that tells its stamps without reading what they are of."""

    def survey(self) -> Survey: ...


def survey_of(source: Source) -> Survey:
    """What a recorded source holds; one that cannot tell is read through."""
    if isinstance(source, Surveyed):
        return source.survey()
    stamps: dict[str, list[int]] = defaultdict(list)
    missing: dict[str, list[int]] = defaultdict(list)
    for item in source:
        if isinstance(item, Fault):
            missing[item.sensor].append(item.sequence)
        stamps[item.sensor].append(item.stamp_ns)
        if isinstance(item, Frame):
            item.release()
    return Survey(
        tuple(
            SensorSurvey(
                sensor.name,
                sensor.kind,
                np.array(stamps[sensor.name], np.int64),
                np.arange(len(stamps[sensor.name])),
                without_file=np.array(missing[sensor.name], np.int64),
            )
            for sensor in source.info.sensors
        )
    )
