"""The thread on which a CPU engine runs what was submitted, in submit order.

A CPU session computes on the thread that calls it. This thread makes `submit` return at once, so that the next
image is staged and the last one decoded meanwhile.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from queue import SimpleQueue


class InferenceThread:
    """Runs `infer(slot, rows)` for every submitted slot; remembers when, or why it failed."""

    def __init__(self, infer: Callable[[int, int], None], slots: int) -> None:
        self._infer = infer
        self._submitted: SimpleQueue[tuple[int, int] | None] = SimpleQueue()
        # A lock a slot, held while its inference is not done: the cheapest thing in Python to wait on.
        self._busy = [threading.Lock() for _ in range(slots)]
        self._times_ns = [(0, 0)] * slots
        self._failures: list[Exception | None] = [None] * slots
        for lock in self._busy:
            lock.acquire()
        self._thread = threading.Thread(target=self._run, name="inference", daemon=True)
        self._thread.start()

    def submit(self, slot: int, rows: int) -> None:
        """Queue one slot. Returns at once."""
        self._submitted.put((slot, rows))

    def wait(self, slot: int) -> tuple[int, int]:
        """Block until the slot's inference ended; give its start and end in monotonic ns.

        Raises whatever `infer` raised.
        """
        self._busy[slot].acquire()
        failure = self._failures[slot]
        if failure is not None:
            raise failure
        return self._times_ns[slot]

    def close(self) -> None:
        """Finish what was submitted and end the thread."""
        if self._thread.is_alive():
            self._submitted.put(None)
            self._thread.join()

    def _run(self) -> None:
        while (item := self._submitted.get()) is not None:
            slot, rows = item
            started_ns = time.monotonic_ns()
            self._failures[slot] = None
            try:
                self._infer(slot, rows)
            except Exception as failure:  # carried to whoever waits for this slot
                self._failures[slot] = failure
            self._times_ns[slot] = (started_ns, time.monotonic_ns())
            self._busy[slot].release()
