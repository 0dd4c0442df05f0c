"""Virtual time of a replay: when an item with a given stamp is due on the host's monotonic clock."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Event

# At once: a system clock takes no more than some 290 years, and a tiny rate asks for them.
LONGEST_WAIT_S = 3600.0


class ReplayClock:
    """Paces a replay: stamp `s` is due `s / rate` after stamp 0.

    All sources of one replay share one clock. `rate` None means as fast as possible: nothing waits.
    Time and waiting are arguments, so that a test needs no sleeping.
    """

    def __init__(
        self,
        rate: float | None,
        now_ns: Callable[[], int] = time.monotonic_ns,
        wait_s: Callable[[Event, float], bool] = Event.wait,
    ) -> None:
        self._rate = rate
        self._now_ns = now_ns
        self._wait_s = wait_s
        self._origin_ns: int | None = None
        self.behind_ns = 0  # how long after its moment the latest item came to be waited for

    @property
    def paces(self) -> bool:
        """Whether items wait until they are due."""
        return self._rate is not None

    def wait_until(self, elapsed_ns: int, stop: Event) -> int:
        """Block until `elapsed_ns` of the drive's time has passed, or `stop` is set; give the host time then.

        The first call starts the clock. A replay that fell behind is not hurried: what is due goes at once.
        """
        now = self._now_ns()
        if self._rate is None:
            return now
        if self._origin_ns is None:
            self._origin_ns = now - round(elapsed_ns / self._rate)
        due_ns = self._origin_ns + round(elapsed_ns / self._rate)
        self.behind_ns = max(0, now - due_ns)
        while now < due_ns and not self._wait_s(stop, min((due_ns - now) / 1e9, LONGEST_WAIT_S)):
            now = self._now_ns()
        return self._now_ns()
