"""A real camera behind a cable that goes bad and is mended: what is spoiled is a Fault, good pictures come again."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise

import pytest
from bad_wire import BadWire
from rtsp_camera import RtspCamera

from sensors.cameras.reconnecting import Patience
from sensors.cameras.rtsp import open_rtsp
from sensors.frame import Fault, Frame, Item

PATIENCE = Patience(first_picture_s=5.0, stall_s=2.0, first_pause_s=0.1, longest_pause_s=0.3)
WAIT_S = 60.0


class Watched:
    """Reads a source on a thread of its own."""

    def __init__(self, uri: str) -> None:
        self.items: list[Item] = []
        self._source = open_rtsp(uri, "front", PATIENCE)
        self._thread = threading.Thread(target=self._read, daemon=True)

    def until(self, holds: Callable[[list[Item]], bool], since: int = 0) -> int:
        """Wait until something holds of the items from a place on; how many there are then."""
        until_s = time.monotonic() + WAIT_S
        while not holds(self.items[since:]):
            assert time.monotonic() < until_s, self.items[-5:]
            time.sleep(0.02)
        return len(self.items)

    def _read(self) -> None:
        for item in self._source:
            self.items.append(item)  # one by one: another thread looks

    def __enter__(self) -> Watched:
        self._thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._source.close()
        self._thread.join(WAIT_S)
        assert not self._thread.is_alive()


@contextmanager
def watched_behind_a_wire() -> Iterator[tuple[Watched, BadWire]]:
    with RtspCamera() as camera, BadWire(camera.port) as wire, Watched(f"rtsp://127.0.0.1:{wire.port}/ball") as watched:
        yield watched, wire


def has_a_fault(items: list[Item]) -> bool:
    return any(isinstance(item, Fault) for item in items)


def ends_well(items: list[Item]) -> bool:
    return len(items) > 10 and all(isinstance(item, Frame) for item in items[-10:])


@pytest.mark.parametrize("spoil", [BadWire.garble, BadWire.replace_by_noise], ids=lambda spoil: str(spoil.__name__))
def test_a_camera_comes_back_when_its_wire_is_mended(spoil: Callable[[BadWire], None]) -> None:
    with watched_behind_a_wire() as (watched, wire):
        began = watched.until(ends_well)
        spoil(wire)
        told = watched.until(has_a_fault, began)
        wire.mend()
        watched.until(ends_well, told)
    items = watched.items
    assert [item.sequence for item in items] == list(range(len(items)))
    stamps = [item.stamp_ns for item in items]
    assert all(one < other for one, other in pairwise(stamps))
