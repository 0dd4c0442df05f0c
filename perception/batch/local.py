"""A batch's drives on this machine: so many processes at a time, one a drive."""

from __future__ import annotations

import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection, wait
from threading import Event
from typing import Any

from perception.batch.drive_job import DriveJob, work
from perception.batch.runner import WATCH_EVERY_S, Ended

_DIED = 70  # exit code of a process whose batch is gone


class LocalRunner:
    """`Runner` of processes that are started afresh: what a library leaves behind in one reaches no other drive."""

    def __init__(self, workers: int) -> None:
        self._workers = workers

    def run(self, jobs: Sequence[DriveJob], watch: Callable[[], None], stopping: Event) -> Iterator[Ended]:
        """As the contract says."""
        context = get_context("spawn")
        waiting = deque(jobs)
        running: dict[Connection, tuple[DriveJob, Any]] = {}
        try:
            while (waiting or running) and not stopping.is_set():
                while waiting and len(running) < self._workers:
                    job = waiting.popleft()
                    receiver, sender = context.Pipe(duplex=False)
                    process = context.Process(target=_work, args=(job, sender), name=f"drive-{job.name}")
                    process.start()
                    sender.close()  # so that the pipe ends with the process
                    running[receiver] = job, process
                for ready in wait(list(running), timeout=WATCH_EVERY_S):
                    assert isinstance(ready, Connection)
                    job, process = running.pop(ready)
                    reason = _received(ready, process)
                    yield Ended(job, reason)
                watch()
        finally:
            for _, process in running.values():
                process.terminate()
            for receiver, (_, process) in running.items():
                process.join()
                receiver.close()


def _received(receiver: Connection, process: Any) -> str:
    """What a process said at its end, or how it died."""
    try:
        reason: str | None = receiver.recv()
    except EOFError:
        reason = None
    receiver.close()
    process.join()
    if reason is not None:
        return reason
    code = process.exitcode
    how = f"by {signal.Signals(-code).name}" if code is not None and code < 0 else f"with exit code {code}"
    return f"its process ended {how}; SIGKILL is often the kernel's, for want of memory: try fewer --workers"


def _work(job: DriveJob, sender: Connection) -> None:
    """In the process of one drive."""
    threading.Thread(target=_end_with_the_batch, name="parent", daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of a terminal it reaches all; the batch ends its processes itself
    sender.send(work(job))


def _end_with_the_batch() -> None:
    """A batch that was killed leaves no process behind, which would write into the folder of the next."""
    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(_DIED)
