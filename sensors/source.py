"""The Source contract: something that gives frames. `opening.py` makes one of a path or a URI."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

from sensors.calibration import Calibration
from sensors.frame import Item

Kind: TypeAlias = Literal["camera", "lidar", "radar", "motion"]  # of Frames, PointClouds, RadarScans, Readings
NO_CALIBRATION = Calibration()


@dataclass(frozen=True, slots=True)
class SensorInfo:
    """One sensor of a source; None where the container does not say."""

    name: str
    kind: Kind
    rate_hz: float | None = None
    count: int | None = None  # items within the span that will be read
    width: int | None = None
    height: int | None = None


@dataclass(frozen=True, slots=True)
class SourceInfo:
    """What is known of a source before it is read. `uri` carries no credentials.

    `cut_off`: of a recording whose end is missing, what is, in words.
    """

    uri: str
    sensors: tuple[SensorInfo, ...]
    live: bool
    calibration: Calibration = NO_CALIBRATION
    cut_off: str = ""


class Source(Protocol):
    """Gives a drive's items, live or recorded.

    A context manager, iterated once, by one thread. Iteration gives items in stamp order per sensor; a
    damaged packet or file is a `Fault` and what follows still comes. Only what ends the source raises:
    `SourceError`. `close()` may be called from any thread, more than once, and ends a blocked read:
    the iteration then stops without an error.
    """

    @property
    def info(self) -> SourceInfo: ...

    def __enter__(self) -> Source: ...

    def __exit__(self, *exc: object) -> None: ...

    def __iter__(self) -> Iterator[Item]: ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Span:
    """Which part of a recorded drive is read: from `start_ns` after its first stamp, for `duration_ns`.

    Start inclusive, end exclusive; None means to the end.
    """

    start_ns: int = 0
    duration_ns: int | None = None

    @property
    def end_ns(self) -> int | None:
        """Nanoseconds after the first stamp at which reading stops."""
        return None if self.duration_ns is None else self.start_ns + self.duration_ns
