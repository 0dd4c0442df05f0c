"""A camera that comes back: connects, gives what comes, and connects again after an outage, until it is closed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from threading import Event

from sensors.cameras.connection import Camera, Connection, Lost
from sensors.errors import SourceError
from sensors.frame import Fault, Item, restamped
from sensors.source import SensorInfo, SourceInfo

_LOOK_S = 0.2  # how soon a blocked reader sees that the source was closed


@dataclass(frozen=True, slots=True)
class Patience:
    """How long is waited for a camera, in seconds."""

    first_picture_s: float = 15.0  # connecting, and a key frame: cameras send one every 10 s at the least
    stall_s: float = 5.0  # no picture for so long: the camera has frozen, or its network is gone
    first_pause_s: float = 0.5  # before connecting again; doubles, and begins anew once pictures came
    longest_pause_s: float = 10.0


class ReconnectingCamera:
    """Source of a live camera's frames; opening it connects to nothing, so a camera may come up after the vehicle.

    An outage is one Fault, however long it lasts: when the camera is lost, or is not there at the start. Sequences go
    on after it, and stamps never go back: they are the host's monotonic clock (see `stamps.py` and each kind). What
    will not come right by itself (wrong password, no such stream, no video) raises `SourceError` if it is the camera's
    very first answer; later it is an outage too, because cameras that boot refuse for a while.

    Who iterates slower than the camera gets old frames; the live pipeline does not.
    """

    def __init__(self, camera: Camera, name: str, patience: Patience = Patience(), *, in_nv12: bool = False) -> None:
        """`in_nv12`: pictures that a decoder gives so, or nearly, are left so (see `UprightNv12`)."""
        self._in_nv12 = in_nv12
        self._camera = camera
        self._patience = patience
        self._closed = Event()
        self._info = SourceInfo(uri=camera.uri, sensors=(SensorInfo(name, "camera"),), live=True)
        self._name = name
        self._sequence = 0
        self._last_ns = 0

    @property
    def info(self) -> SourceInfo:
        """Name and address, without credentials; size and rate are the camera's to change, so they are not known."""
        return self._info

    def __enter__(self) -> ReconnectingCamera:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """End the iteration within a fraction of a second, whatever it waits for. Any thread, any number of times."""
        self._closed.set()

    def __iter__(self) -> Iterator[Item]:
        is_first_answer, is_out, pause_s = True, False, self._patience.first_pause_s
        while not self._closed.is_set():
            with Connection(self._camera, self._name, in_nv12=self._in_nv12) as connection:
                wait_s = self._patience.first_picture_s
                while (told := self._next(connection, wait_s)) is not None and not isinstance(told, Lost):
                    wait_s = self._patience.stall_s
                    is_out, pause_s = False, self._patience.first_pause_s
                    yield self._numbered(told)
            if told is None:
                return
            if told.is_final and is_first_answer:
                raise SourceError(self._camera.uri, told.what, told.remedy)
            is_first_answer = False
            if not is_out:
                is_out = True
                now_ns = time.monotonic_ns()
                reason = f"{self._camera.uri}: {told.what}; trying again until it gives frames ({told.remedy})"
                yield self._numbered(Fault(self._name, 0, now_ns, now_ns, reason))
            self._pause(pause_s, connection)
            pause_s = min(2 * pause_s, self._patience.longest_pause_s)

    def _next(self, connection: Connection, wait_s: float) -> Item | Lost | None:
        """Wait for what the camera gives; None once closed."""
        until_s = time.monotonic() + wait_s
        while not self._closed.is_set():
            told = connection.next(_LOOK_S)
            if told is not None:
                return None if self._closed.is_set() else told
            if time.monotonic() > until_s:
                return Lost(f"gave no picture for {wait_s:g} s", "look at the camera and its network")
        return None

    def _pause(self, pause_s: float, connection: Connection) -> None:
        """Wait before connecting again; in any case until the last connection is gone: one at a time."""
        self._closed.wait(pause_s)
        while connection.is_alive and not self._closed.wait(_LOOK_S):
            pass

    def _numbered(self, item: Item) -> Item:
        self._last_ns = max(item.stamp_ns, self._last_ns + 1)
        numbered = restamped(item, sequence=self._sequence, stamp_ns=self._last_ns)
        self._sequence += 1
        return numbered
