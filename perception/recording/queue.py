"""What waits to be recorded: bounded by its memory, between whoever gives and the recorder's thread."""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass

from sensors.frame import Frame, Item, PointCloud, RadarScan, Reading

MOST_WAITING_BYTES = 256 << 20  # some 90 frames of 1280x720


@dataclass(frozen=True, slots=True)
class FoundMessage:
    """A message of the stream that waits to be recorded."""

    sensor: str
    stamp_ns: int
    sequence: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class Waiting:
    """One thing that waits."""

    what: Item | FoundMessage
    arrived_ns: int  # on the wall clock
    size: int


class WaitingQueue:
    """First in, first out. Any thread gives, one takes."""

    def __init__(self) -> None:
        self._queue: deque[Waiting] = deque()
        self._bytes = 0
        self._is_stopped = False
        self._changed = threading.Condition()

    def put(self, what: Item | FoundMessage, arrived_ns: int, *, waits: bool = False) -> bool:
        """Take it in. False where there is no room, or no more is taken. `waits`: until there is room."""
        size = _size(what)
        with self._changed:
            while waits and self._has_no_room(size) and not self._is_stopped:
                self._changed.wait()
            if self._is_stopped or self._has_no_room(size):
                return False
            self._queue.append(Waiting(what, arrived_ns, size))
            self._bytes += size
            self._changed.notify_all()
        return True

    def get(self, until_s: float) -> Waiting | None:
        """The next one; None where none comes until then (monotonic), or nothing will come."""
        with self._changed:
            while not self._queue and not self._is_stopped and time.monotonic() < until_s:
                self._changed.wait(max(0.0, until_s - time.monotonic()))
            if not self._queue:
                return None
            waiting = self._queue.popleft()
            self._bytes -= waiting.size
            self._changed.notify_all()
        return waiting

    def stop(self) -> None:
        """Take in nothing more; what waits is still given."""
        with self._changed:
            self._is_stopped = True
            self._changed.notify_all()

    @property
    def is_over(self) -> bool:
        """Whether nothing waits, and nothing will."""
        with self._changed:
            return self._is_stopped and not self._queue

    def _has_no_room(self, size: int) -> bool:
        return bool(self._queue) and self._bytes + size > MOST_WAITING_BYTES


def _size(what: Item | FoundMessage) -> int:
    if isinstance(what, FoundMessage):
        return len(what.payload)
    if isinstance(what, Frame):
        return what.image.nbytes + (len(what.coded.data) if what.coded else 0)
    if isinstance(what, PointCloud):
        return what.points.nbytes
    if isinstance(what, RadarScan):
        return what.targets.nbytes
    return what.values.nbytes if isinstance(what, Reading) else len(what.reason)
