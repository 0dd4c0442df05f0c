"""Between the readers and the feeder: which frame comes next, and which one goes when there are too many.

A recorded drive loses nothing and is taken in the order of its stamps, so that its result never depends on timing. Of
a live camera only the newest frame is worth an inference: one waits, and a newer one takes its place.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from perception.handover import Handover
from perception.ledger import Entry
from sensors.frame import Fault, Item

# Decoded frames of a recorded source that wait for the feeder: one to hand over while the next is decoded.
READ_AHEAD = 2
# Faults of one live sensor that wait for their message; a camera that gives nothing else must not fill the memory.
MOST_FAULTS = 8


@dataclass(frozen=True, slots=True)
class Captured:
    """An item that was entered in the ledger, and waits for the feeder."""

    item: Item
    entry: Entry
    elapsed_ns: int  # of its source's time since its first stamp


class Intake(Protocol):
    """Filled by one reader a source, emptied by the feeder."""

    def put(self, source: int, captured: Captured) -> Captured | None:
        """Hand on an item; return the one that had to give way to it, if any."""

    def finish(self, source: int) -> None:
        """Say that this source gives no more. Never waits."""

    def take(self) -> Captured | None:
        """Wait for the next item; None once all sources have finished and nothing waits."""


class InStampOrder:
    """Recorded sources: all items, the earliest of all sources first. A reader waits while its queue is full."""

    def __init__(self, sources: int) -> None:
        self._queues: list[Handover[Captured]] = [Handover(READ_AHEAD) for _ in range(sources)]
        self._heads: list[Captured | None] = [None] * sources
        self._due = list(range(sources))  # sources whose next item has to be looked at before one is given

    def put(self, source: int, captured: Captured) -> None:
        """Hand on an item; wait while the source's queue is full."""
        self._queues[source].put(captured)

    def finish(self, source: int) -> None:
        """Say that this source gives no more."""
        self._queues[source].finish()

    def take(self) -> Captured | None:
        """Wait until every source has an item or has finished, and give the earliest."""
        for index in self._due:
            self._heads[index] = self._queues[index].get()
        waiting = [(head.elapsed_ns, index, head) for index, head in enumerate(self._heads) if head is not None]
        if not waiting:
            self._due = []
            return None
        _, index, earliest = min(waiting, key=lambda entry: entry[:2])
        self._due = [index]  # at the next call: waiting for it now would hold this one up
        return earliest


class NewestFirst:
    """Live sensors in turns, the newest frame of each. Nobody waits but the feeder."""

    def __init__(self, sources: int, sensors: Sequence[str]) -> None:
        self._reading = sources
        self._waiting: dict[str, deque[Captured]] = {sensor: deque() for sensor in sensors}
        self._turns = deque(sensors)  # whose turn it is first
        self._changed = threading.Condition()

    def put(self, _source: int, captured: Captured) -> Captured | None:
        """Hand on an item; return what it replaces: the frame that waited, or a Fault when they are too many."""
        with self._changed:
            waiting = self._waiting[captured.item.sensor]
            superseded = self._superseded(waiting, captured.item)
            if superseded is not None:
                waiting.remove(superseded)
            waiting.append(captured)
            self._changed.notify()
        return superseded

    def finish(self, _source: int) -> None:
        """Say that this source gives no more."""
        with self._changed:
            self._reading -= 1
            self._changed.notify()

    def take(self) -> Captured | None:
        """Wait for an item of any sensor, and give that of the sensor whose last turn is longest ago."""
        with self._changed:
            while True:
                for sensor in self._turns:
                    if self._waiting[sensor]:
                        self._turns.remove(sensor)
                        self._turns.append(sensor)
                        return self._waiting[sensor].popleft()
                if not self._reading:
                    return None
                self._changed.wait()

    @staticmethod
    def _superseded(waiting: deque[Captured], newer: Item) -> Captured | None:
        """A frame gives way to a frame and not to a Fault: it is still the newest that was seen."""
        is_fault = isinstance(newer, Fault)
        alike = [captured for captured in waiting if isinstance(captured.item, Fault) == is_fault]
        return alike[0] if len(alike) >= (MOST_FAULTS if is_fault else 1) else None
