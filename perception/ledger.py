"""Every frame's stamps and fate, and the identity that proves that none was lost.

At every moment, per sensor:
    captured = published + sum(dropped by reason) + sum(failed by reason) + in flight

The four terms are counted apart from each other (in flight is the set of open entries), so that a frame that is
forgotten or closed twice breaks the identity instead of hiding in it.
"""

from __future__ import annotations

import math
import threading
from collections import Counter, defaultdict, deque
from dataclasses import dataclass, field
from enum import Enum

import numpy as np

from engines.runtime.engine import GpuTimes
from sensors.frame import Fault, Item


class Fate(Enum):
    """What became of a frame: exactly one of these in the end."""

    IN_FLIGHT = "in flight"
    PUBLISHED = "published"
    DROPPED = "dropped"
    FAILED = "failed"


@dataclass(slots=True, eq=False)
class Entry:
    """One frame's line in the ledger. Times are host monotonic ns; 0: it has not come there."""

    sensor: str
    sequence: int
    stamp_ns: int
    arrival_ns: int
    decoded_ns: int = 0
    taken_ns: int = 0  # it came into its slot
    slot: int = -1  # -1: it has not come into one
    staged_ns: int = 0
    submitted_ns: int = 0
    inferred_ns: int = 0  # of several networks the last one's
    inferences: tuple[tuple[int, int], ...] = ()  # when each network's engine turned to it and was done; 0: it failed
    gpu: tuple[GpuTimes, ...] = ()  # by stage, of each network on a GPU
    postprocessed_ns: int = 0
    published_ns: int = 0
    crops: int = 0  # detections that networks of a second stage looked at
    crops_left_out: int = 0  # and that were one too many for them
    fate: Fate = Fate.IN_FLIGHT
    reason: str = ""

    @property
    def latency_ns(self) -> int:
        """From the frame's arrival to its message being handed on."""
        return self.published_ns - self.arrival_ns

    @property
    def added_latency_ns(self) -> int:
        """What we add to the engine's own time, from the decoded frame to the message."""
        return (self.published_ns - self.decoded_ns) - (self.inferred_ns - self.submitted_ns)


@dataclass(slots=True)
class SensorCounts:
    """One sensor's account. A copy of a consistent moment."""

    captured: int = 0
    published: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    in_flight: int = 0

    @property
    def balances(self) -> bool:
        """Whether the accounting identity holds."""
        return self.captured == (self.published + self.dropped.total() + self.failed.total() + self.in_flight)

    def copy(self) -> SensorCounts:
        """A copy that no longer changes."""
        return SensorCounts(self.captured, self.published, Counter(self.dropped), Counter(self.failed), self.in_flight)


# Latencies that are kept apart of each sensor, to tell those of the last second: two of a camera at 240 frames/s.
RECENT_LATENCIES = 512


@dataclass(frozen=True, slots=True)
class Moment:
    """One sensor at one moment."""

    counts: SensorCounts
    last_stamp_ns: int  # of what was captured last; 0: nothing was
    latencies_ns: tuple[int, ...]  # of what was published last, the newest last; `RECENT_LATENCIES` at most


class Percentiles:
    """Percentiles of any number of durations in fixed memory.

    A histogram with bins that grow by 1 %, from 1 microsecond to 1,000 s; an answer is within 1 % of the
    exact percentile. What lies outside is counted in the outermost bins.
    """

    _LOWEST_NS = 1_000
    _GROWTH = math.log(1.01)
    _BINS = math.ceil(math.log(1e9) / _GROWTH)

    def __init__(self) -> None:
        self._counts = np.zeros(self._BINS, np.int64)

    def add(self, duration_ns: int) -> None:
        """Count one duration."""
        bin_ = int(math.log(max(duration_ns, self._LOWEST_NS) / self._LOWEST_NS) / self._GROWTH)
        self._counts[min(bin_, self._BINS - 1)] += 1

    def ms(self, percent: float) -> float | None:
        """The value below which `percent` of the durations lie, in ms; None where there are none."""
        total = int(self._counts.sum())
        if total == 0:
            return None
        rank = max(1, math.ceil(total * percent / 100))
        bin_ = int(np.searchsorted(np.cumsum(self._counts), rank))
        return self._LOWEST_NS * math.exp((bin_ + 0.5) * self._GROWTH) / 1e6


class Ledger:
    """The account of one run. Any thread may write; a reading is one consistent moment."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[str, SensorCounts] = {}
        self._open: dict[str, set[int]] = {}  # sensor -> sequences in flight
        self._last_stamps_ns: dict[str, int] = {}
        self._recent_ns: dict[str, deque[int]] = defaultdict(lambda: deque(maxlen=RECENT_LATENCIES))
        self.latency = Percentiles()
        self.added_latency = Percentiles()
        self.gpu: dict[str, Percentiles] = {}  # by stage; empty where nothing ran on a GPU
        self._busy_ns: list[int] = []  # by network
        self._busy_until_ns: list[int] = []
        self.inferences = 0
        self.detections = 0
        self.crops = 0
        self.crops_left_out = 0

    def open(self, item: Item) -> Entry:
        """Enter what a source captured. Raises `LedgerError` when this sequence was entered before."""
        decoded_ns = 0 if isinstance(item, Fault) else item.decoded_ns
        entry = Entry(item.sensor, item.sequence, item.stamp_ns, item.arrival_ns, decoded_ns)
        with self._lock:
            counts = self._counts.setdefault(item.sensor, SensorCounts())
            in_flight = self._open.setdefault(item.sensor, set())
            if item.sequence != counts.captured:
                raise LedgerError(
                    f"{item.sensor}: frame {item.sequence} came where {counts.captured} was due: "
                    "the source lost or repeated a number"
                )
            counts.captured += 1
            in_flight.add(item.sequence)
            self._last_stamps_ns[item.sensor] = item.stamp_ns
        return entry

    @property
    def engine_busy_ns(self) -> int:
        """How long the busiest network's engine was busy: they work beside each other, and no run is faster."""
        with self._lock:
            return max(self._busy_ns, default=0)

    def publish(self, entry: Entry, detections: int) -> None:
        """Close an entry whose result was handed on."""
        with self._lock:
            self._close(entry, Fate.PUBLISHED, "").published += 1
            self.detections += detections
            self.crops += entry.crops
            self.crops_left_out += entry.crops_left_out
            if not entry.inferences:
                return  # a scan that no network takes: no inference, and no latency of one
            self.inferences += 1
            more = [0] * (len(entry.inferences) - len(self._busy_ns))
            self._busy_ns += more
            self._busy_until_ns += more
            for network, (started_ns, inferred_ns) in enumerate(entry.inferences):
                # Frames on a GPU overlap: what two of them share is one time.
                self._busy_ns[network] += max(0, inferred_ns - max(started_ns, self._busy_until_ns[network]))
                self._busy_until_ns[network] = max(inferred_ns, self._busy_until_ns[network])
            for times in entry.gpu:
                for stage, took_ms in times.by_stage().items():
                    self.gpu.setdefault(stage, Percentiles()).add(round(took_ms * 1e6))
            self.latency.add(entry.latency_ns)
            self._recent_ns[entry.sensor].append(entry.latency_ns)
            self.added_latency.add(entry.added_latency_ns)

    def drop(self, entry: Entry, reason: str) -> None:
        """Close an entry that was given up on purpose. `reason` is one of few, and short: it is a counter's name."""
        with self._lock:
            self._close(entry, Fate.DROPPED, reason).dropped[reason] += 1

    def fail(self, entry: Entry, reason: str) -> None:
        """Close an entry that failed. `reason` as in `drop`."""
        with self._lock:
            self._close(entry, Fate.FAILED, reason).failed[reason] += 1

    def counts(self) -> dict[str, SensorCounts]:
        """Every sensor's account at this moment."""
        with self._lock:
            return {sensor: self._account(sensor) for sensor in self._counts}

    def moment(self) -> dict[str, Moment]:
        """Every sensor's account at this moment, and what was seen last. A sensor that gave nothing is not in it."""
        with self._lock:
            return {
                sensor: Moment(self._account(sensor), self._last_stamps_ns[sensor], tuple(self._recent_ns[sensor]))
                for sensor in self._counts
            }

    def total(self) -> SensorCounts:
        """The sum over all sensors at this moment."""
        total = SensorCounts()
        for counts in self.counts().values():
            total.captured += counts.captured
            total.published += counts.published
            total.dropped += counts.dropped
            total.failed += counts.failed
            total.in_flight += counts.in_flight
        return total

    def _account(self, sensor: str) -> SensorCounts:
        counts = self._counts[sensor].copy()
        counts.in_flight = len(self._open[sensor])
        return counts

    def _close(self, entry: Entry, fate: Fate, reason: str) -> SensorCounts:
        if entry.fate is not Fate.IN_FLIGHT:
            raise LedgerError(f"{entry.sensor}: frame {entry.sequence} is {entry.fate.value} and would be {fate.value}")
        self._open[entry.sensor].remove(entry.sequence)
        entry.fate, entry.reason = fate, reason
        return self._counts[entry.sensor]


class LedgerError(Exception):
    """The account does not balance: a bug of ours or of a source, never of the user's input."""
