"""The contract of what does a batch's drives, each in a process of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from threading import Event
from typing import NamedTuple, Protocol

from perception.batch.drive_job import DriveJob

WATCH_EVERY_S = 0.5


class Ended(NamedTuple):
    """A drive that came to its end; `reason`: why it failed, "" where it is done."""

    job: DriveJob
    reason: str


class Runner(Protocol):
    """Does drives in any order. A process that dies fails its drive and no other."""

    def run(self, jobs: Sequence[DriveJob], watch: Callable[[], None], stopping: Event) -> Iterator[Ended]:
        """Give each drive as it ends; call `watch` now and then; end early, with all processes, on `stopping`."""
