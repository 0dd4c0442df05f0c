"""How a recording fares: what is on the disk, what is not and why, and what keeps it from writing."""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from sensors.frame import Fault, Item

MOST_NOTED_DROPS = 1000  # Faults that wait to be recorded in the place of what was dropped

TOO_SLOW, DISK_FULL, DISK_FAILED, UNWRITABLE = "too_slow", "disk_full", "disk_failed", "unwritable"


@dataclass(slots=True)
class RecordingState:
    """How a recording fares: a copy, of one moment."""

    path: Path
    recorded: Counter[str] = field(default_factory=Counter)  # items by sensor
    dropped: dict[str, Counter[str]] = field(default_factory=dict)  # items by sensor and reason
    bytes_written: int = 0
    parts: int = 0
    parts_removed: int = 0
    failure: str = ""  # for people: what keeps it from writing just now

    def drops(self) -> Counter[str]:
        """Items that are not in the recording, by reason."""
        total: Counter[str] = Counter()
        for reasons in self.dropped.values():
            total.update(reasons)
        return total


class Account:
    """Keeps a recording's state. Every method: any thread.

    An item that is dropped is noted, as a Fault to record in its place. Items that a chunk took with it are counted
    alone: which they were is not known any more.
    """

    def __init__(self, path: Path, sensors: Iterable[str]) -> None:
        self._lock = threading.Lock()
        self._state = RecordingState(path, dropped={sensor: Counter() for sensor in sensors})
        self._noted: deque[Fault] = deque(maxlen=MOST_NOTED_DROPS)

    def state(self) -> RecordingState:
        """A copy of how it fares now."""
        with self._lock:
            now = self._state
            return RecordingState(
                now.path,
                now.recorded.copy(),
                {sensor: reasons.copy() for sensor, reasons in now.dropped.items()},
                now.bytes_written,
                now.parts,
                now.parts_removed,
                now.failure,
            )

    def drop(self, item: Item, reason: str) -> None:
        """Count and note an item that is not recorded."""
        words = f"was not recorded: {reason.replace('_', ' ')}"
        fault = Fault(item.sensor, item.sequence, item.stamp_ns, item.arrival_ns, words)
        with self._lock:
            self._state.dropped.setdefault(item.sensor, Counter())[reason] += 1
            self._noted.append(fault)

    def next_noted(self) -> Fault | None:
        """The oldest drop that is not recorded yet. It is noted no more."""
        with self._lock:
            return self._noted.popleft() if self._noted else None

    def open_part(self) -> None:
        """Count a part that was opened."""
        with self._lock:
            self._state.parts += 1

    def record(self, items: Mapping[str, int], bytes_written: int, *, is_well: bool) -> None:
        """Count items that are on the disk. `is_well`: what kept it from writing is over."""
        with self._lock:
            self._state.recorded.update(items)
            self._state.bytes_written = bytes_written
            if is_well:
                self._state.failure = ""

    def lose(self, items: Mapping[str, int], reason: str) -> None:
        """Count items that were to be written with a chunk, and went with it."""
        with self._lock:
            for sensor, count in items.items():
                self._state.dropped[sensor][reason] += count

    def close_part(self, lost: Mapping[str, int], bytes_written: int) -> None:
        """Take back items that were recorded, and that the part's end took with it."""
        with self._lock:
            self._state.bytes_written = bytes_written
            for sensor, count in lost.items():
                self._state.recorded[sensor] -= count
                self._state.dropped[sensor][DISK_FULL] += count

    def remove_parts(self, removed: int) -> None:
        """Say how many parts are gone so far."""
        with self._lock:
            self._state.parts_removed = removed

    def fail(self, words: str) -> None:
        """Say what keeps it from writing."""
        with self._lock:
            self._state.failure = words
