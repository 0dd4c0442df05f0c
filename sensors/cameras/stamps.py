"""From a camera's own clock to the host's monotonic one, so that the stamps of several live sensors can be paired.

A camera's times tell exactly how far its frames are apart, and nothing of when its zero was: RTP's begin at a random
number at each connection. The wall clock of RTCP's sender reports is left alone: FFmpeg tells it seconds after the
first frame, many cameras have never set theirs, and one that is set on the way jumps.
"""

from __future__ import annotations

from typing import Protocol

# The two clocks drift apart by up to 100 ppm: 12 ms in two windows, well below the step of a frame.
WINDOW_NS = 60_000_000_000
# More than a frame can be late without the camera counting as lost: then its clock was set back.
CLOCK_SET_BACK_NS = 10_000_000_000

# A kernel's stamp is older than the frame's arrival by exposure and transfer.
OLDEST_KERNEL_STAMP_NS = 10_000_000_000


class Clock(Protocol):
    """Brings one connection's times onto the host's monotonic clock. For one thread."""

    def stamp_ns(self, camera_ns: int, arrival_ns: int) -> int: ...


class FastestArrival:
    """Assumes that the fastest frame of the last one to two minutes took no time at all.

    A stamp is the camera's time plus the smallest (arrival - camera's time) of these: later than the exposure by the
    shortest delay in camera and network, never later than the arrival, free of the network's jitter. It follows a clock
    that drifts, and frames that a server held back and sends in a burst on connecting do not spoil it.
    """

    def __init__(self) -> None:
        self._smallest_ns: int | None = None
        self._of_window_before_ns: int | None = None
        self._window_began_ns = 0

    def stamp_ns(self, camera_ns: int, arrival_ns: int) -> int:
        """Give the stamp of a frame that the camera took at `camera_ns` and that came at `arrival_ns`."""
        apart_ns = arrival_ns - camera_ns
        known = [ns for ns in (self._of_window_before_ns, self._smallest_ns) if ns is not None]
        if not known or apart_ns > min(known) + CLOCK_SET_BACK_NS:
            self._of_window_before_ns = self._smallest_ns = None
            self._window_began_ns = arrival_ns
        elif arrival_ns - self._window_began_ns >= WINDOW_NS:
            self._of_window_before_ns, self._smallest_ns = self._smallest_ns, None
            self._window_began_ns = arrival_ns
        self._smallest_ns = apart_ns if self._smallest_ns is None else min(self._smallest_ns, apart_ns)
        if self._of_window_before_ns is not None:
            return camera_ns + min(self._smallest_ns, self._of_window_before_ns)
        return camera_ns + self._smallest_ns


class KernelStamps:
    """The times are the host's monotonic clock already, as Video4Linux2 drivers should give them.

    A driver that stamps by another clock, and those are off by hours or more, is taken as any other camera.
    """

    def __init__(self) -> None:
        self._of_another_clock = FastestArrival()

    def stamp_ns(self, camera_ns: int, arrival_ns: int) -> int:
        """Give the kernel's own stamp where it is one of the last seconds."""
        if 0 <= arrival_ns - camera_ns < OLDEST_KERNEL_STAMP_NS:
            return camera_ns
        return self._of_another_clock.stamp_ns(camera_ns, arrival_ns)
