"""The bounded queue between two threads."""

from __future__ import annotations

import threading
import time

from perception.handover import Handover


def test_things_come_in_order_and_then_the_end() -> None:
    handover: Handover[int] = Handover(3)
    received: list[int | None] = []
    reader = threading.Thread(target=lambda: received.extend(iter(handover.get, None)))
    reader.start()
    for number in range(1000):
        handover.put(number)
    handover.finish()
    reader.join(10)
    assert received == list(range(1000))


def test_no_more_than_its_places_wait() -> None:
    handover: Handover[int] = Handover(2)
    put: list[int] = []

    def fill() -> None:
        for number in range(4):
            handover.put(number)
            put.append(number)

    writer = threading.Thread(target=fill)
    writer.start()
    time.sleep(0.2)
    assert put == [0, 1]
    assert handover.get() == 0
    writer.join(0.2)
    assert put == [0, 1, 2]
    assert [handover.get() for _ in range(3)] == [1, 2, 3]
    writer.join(10)
    assert not writer.is_alive()


def test_the_end_needs_no_free_place() -> None:
    handover: Handover[int] = Handover(1)
    handover.put(7)
    handover.finish()
    assert [handover.get(), handover.get()] == [7, None]
