"""How often a device that failed is opened again: a process that only loads plans for ever is as good as dead."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(slots=True)
class Restarts:
    """How often a failed device is tried again: `limit` times, ever later, and anew once it has held for a while."""

    limit: int = 5
    first_wait_s: float = 0.5  # doubled each time
    steady_s: float = 60.0
    refusals: int = 3  # inferences in a row that TensorRT does not start
    clock_s: Callable[[], float] = time.monotonic
    count: int = 0
    _last_s: float = field(default=-1e9)

    @property
    def is_over(self) -> bool:
        """Whether there will be no more tries."""
        return self.count >= self.limit

    def lost(self) -> None:
        """Hear that a device that worked does not: what came long before counts no more."""
        if self.clock_s() - self._last_s > self.steady_s:
            self.count = 0

    def wait_s(self) -> float:
        """How long until the next try; 0 where it may be now."""
        return max(0.0, self._last_s + self.first_wait_s * 2**self.count / 2 - self.clock_s()) if self.count else 0.0

    def began(self) -> None:
        """Count a try."""
        self.count += 1
        self._last_s = self.clock_s()
