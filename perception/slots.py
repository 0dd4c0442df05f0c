"""The fixed set of in-flight places: which are free, and which wait for their inference, in order.

A slot's number is also the engines' slot number. The feeder takes a free one and hands it on submitted; the
completer takes them in submit order and frees them. That there are few bounds memory and latency.
"""

from __future__ import annotations

from dataclasses import dataclass
from queue import SimpleQueue

from engines.letterbox import Geometry
from perception.ledger import Entry
from sensors.frame import Frame


@dataclass(frozen=True, slots=True)
class Job:
    """One item in its slot. A scan, and what could not be read or staged, has no frame: it only keeps its turn."""

    entry: Entry
    slot: int
    frame: Frame | None = None
    places: tuple[Geometry, ...] = ()  # the frame's place in each network's input
    fault: str = ""  # why there is nothing to infer


class Slots:
    """Free slots on one side, submitted jobs on the other."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._free: SimpleQueue[int] = SimpleQueue()
        self._submitted: SimpleQueue[Job | None] = SimpleQueue()
        for slot in range(count):
            self._free.put(slot)

    def take(self) -> int:
        """Block until a slot is free, and take it."""
        return self._free.get()

    def free(self, slot: int) -> None:
        """Give a slot back."""
        self._free.put(slot)

    def submitted(self, job: Job) -> None:
        """Hand a job to the completer."""
        self._submitted.put(job)

    def finish(self) -> None:
        """Tell the completer that nothing follows."""
        self._submitted.put(None)

    def next_submitted(self) -> Job | None:
        """Block for the next job in submit order; None when there is none any more."""
        return self._submitted.get()
