"""A few places, each with one holder at a time."""

from __future__ import annotations

import threading

from perception.ledger import Entry
from perception.slots import Job, Slots


def job(slot: int) -> Job:
    return Job(Entry("front", slot, 0, 0), slot)


def test_every_slot_is_given_out_once() -> None:
    slots = Slots(3)
    assert {slots.take() for _ in range(3)} == {0, 1, 2}


def test_taking_waits_until_one_is_free() -> None:
    slots = Slots(1)
    first = slots.take()
    taken = threading.Event()
    waiting = threading.Thread(target=lambda: (slots.take(), taken.set()))
    waiting.start()
    assert not taken.wait(0.05)
    slots.free(first)
    assert taken.wait(5)
    waiting.join()


def test_jobs_come_in_the_order_in_which_they_were_submitted_and_then_end() -> None:
    slots = Slots(2)
    jobs = [job(1), job(0), job(1)]
    for each in jobs:
        slots.submitted(each)
    slots.finish()
    assert [slots.next_submitted() for _ in range(4)] == [*jobs, None]
