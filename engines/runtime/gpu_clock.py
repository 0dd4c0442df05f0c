"""When the device came to an event, on the host's clock.

Events know only the time between two of them. An anchor is an event of which the host's time is known as well: it is
recorded on a stream with nothing else on it. It is renewed, because two clocks drift.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import Any

from engines.runtime.cuda import Cuda

RENEW_NS = 1_000_000_000  # by then clocks that differ by 10 ppm are 10 us apart


@dataclass(slots=True)
class _Anchor:
    event: Any
    host_ns: int


class GpuClock:
    """Of one device. Made, and asked, in threads that are attached to it."""

    def __init__(self, cuda: Cuda) -> None:
        self.renew_ns = RENEW_NS
        self._cuda = cuda
        self._stream = cuda.new_stream()
        self._lock = threading.Lock()
        # Two: what is asked about lies behind the older one, also just after the newer was renewed.
        self._older, self._newer = (self._record(_Anchor(cuda.new_event(), 0)) for _ in range(2))

    def host_ns(self, event: Any) -> int:
        """The host's monotonic time at which the device came to an event; some 20 us off. The event is done."""
        with self._lock:
            if time.monotonic_ns() - self._newer.host_ns > self.renew_ns:
                self._older, self._newer = self._newer, self._record(self._older)
            return self._older.host_ns + round(self._cuda.elapsed_ms(self._older.event, event) * 1e6)

    def _record(self, anchor: _Anchor) -> _Anchor:
        self._cuda.record(anchor.event, self._stream)
        anchor.host_ns = time.monotonic_ns()
        self._cuda.synchronize(anchor.event)
        return anchor
