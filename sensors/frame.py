"""What a source gives: plain frozen values that import numpy and nothing else.

Stamps are the sensor's own time in ns on the drive's clock. `arrival_ns` and `decoded_ns` are host
monotonic time (`time.monotonic_ns`), for latency only. The two clocks are never mixed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray


class PixelFormat(Enum):
    """How `Frame.image` holds its pixels."""

    BGR = "bgr"  # (H, W, 3) uint8, blue first
    # (H * 3 / 2, W) uint8: Y rows, then interleaved UV rows at half height; by BT.601 or BT.709, limited or full range
    NV12 = "nv12"
    NV12_FULL = "nv12-full"
    NV12_709 = "nv12-709"
    NV12_709_FULL = "nv12-709-full"

    @property
    def is_nv12(self) -> bool:
        """Whether it is one of the four."""
        return self is not PixelFormat.BGR


def _owned_by_python() -> None:
    """Release of memory that its last reference frees."""


@dataclass(frozen=True, slots=True)
class CodedImage:
    """The file that a frame's image was decoded from, where one file holds exactly that image."""

    format: str  # "jpeg", "png", "webp" or "other"
    data: bytes


@dataclass(frozen=True, slots=True)
class Frame:
    """One image of one sensor.

    The memory belongs to the source until `release` is called (once, by whoever took the frame off the
    source, from any thread); after that the source may reuse it. `sequence` counts from 0 per sensor, as
    captured, Faults included.
    """

    sensor: str
    sequence: int
    stamp_ns: int
    arrival_ns: int
    decoded_ns: int
    image: NDArray[np.uint8]
    format: PixelFormat = PixelFormat.BGR
    release: Callable[[], None] = _owned_by_python
    coded: CodedImage | None = None  # what a recording takes instead of coding the image anew

    @property
    def width(self) -> int:
        """Pixels a row."""
        return int(self.image.shape[1])

    @property
    def height(self) -> int:
        """Rows of pixels."""
        rows = int(self.image.shape[0])
        return rows * 2 // 3 if self.format.is_nv12 else rows


@dataclass(frozen=True, slots=True)
class PointCloud:
    """One lidar scan: `points` (N, len(fields)) float32 in the sensor's own axes, metres."""

    sensor: str
    sequence: int
    stamp_ns: int
    arrival_ns: int
    decoded_ns: int
    points: NDArray[np.float32]
    fields: tuple[str, ...]  # column names, for example ("x", "y", "z", "reflectance")


@dataclass(frozen=True, slots=True)
class RadarScan:
    """One radar sweep: `targets` (N, len(fields)) float32 in the sensor's own axes, metres and m/s."""

    sensor: str
    sequence: int
    stamp_ns: int
    arrival_ns: int
    decoded_ns: int
    targets: NDArray[np.float32]
    fields: tuple[str, ...]  # column names, for example ("x", "y", "radial_velocity")


@dataclass(frozen=True, slots=True)
class Reading:
    """One reading of what moves the vehicle or tells where it is: GNSS, IMU, wheels. `values` (N,) float64 by name.

    Fields called `latitude`, `longitude` (degrees, WGS 84) and `altitude` (metres) are a position.
    """

    sensor: str
    sequence: int
    stamp_ns: int
    arrival_ns: int
    decoded_ns: int
    values: NDArray[np.float64]
    fields: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Fault:
    """A packet, file or scan that the source captured but could not read. What follows still comes."""

    sensor: str
    sequence: int
    stamp_ns: int
    arrival_ns: int
    reason: str  # for people, for example "packet 30: invalid data found when processing input"


Item: TypeAlias = Frame | PointCloud | RadarScan | Reading | Fault


def restamped(item: Item, **changes: Any) -> Item:
    """Return the same item with some of its fields changed; the memory is shared, not copied."""
    from dataclasses import replace

    return replace(item, **changes)
