"""A bounded queue between two threads: who puts waits while it is full, who gets while it is empty."""

from __future__ import annotations

from queue import SimpleQueue
from typing import Generic, TypeVar

T = TypeVar("T")


class Handover(Generic[T]):
    """Things on their way from one thread to one other.

    Two of Python's unbounded queues, one with the places that are free: both are C, where `queue.Queue` takes
    Python's locks and conditions, several times as long.
    """

    def __init__(self, places: int) -> None:
        self._things: SimpleQueue[T | None] = SimpleQueue()
        self._free: SimpleQueue[None] = SimpleQueue()
        for _ in range(places):
            self._free.put(None)

    def put(self, thing: T) -> None:
        """Wait for a free place, and put it there."""
        self._free.get()
        self._things.put(thing)

    def finish(self) -> None:
        """Tell the other side that nothing follows. Never waits."""
        self._things.put(None)

    def get(self) -> T | None:
        """Wait for the next thing; None when there is none any more."""
        thing = self._things.get()
        self._free.put(None)
        return thing
