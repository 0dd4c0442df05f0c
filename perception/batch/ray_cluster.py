"""A batch's drives as tasks of a Ray cluster, whose machines see the same paths and have this package.

`ADDRESS` is Ray's: `local` starts it on this machine alone, `auto` finds the one that runs here, `HOST:PORT` or
`ray://HOST:PORT` names one. Reference: <https://docs.ray.io/en/latest/ray-core/api/doc/ray.init.html>.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from threading import Event
from typing import Any

from perception.batch.drive_job import DriveJob, work
from perception.batch.runner import WATCH_EVERY_S, Ended
from perception.errors import UsageError


class RayRunner:
    """`Runner` of a Ray cluster: a task a drive, which takes as many of its CPUs as the engine has threads."""

    def __init__(self, address: str) -> None:
        try:
            import ray
        except ImportError:
            raise UsageError(
                f"--ray {address}", "the package ray is not installed", "pip install 'edge-perception[ray]'"
            ) from None
        self._ray: Any = ray
        self._address = address

    def run(self, jobs: Sequence[DriveJob], watch: Callable[[], None], stopping: Event) -> Iterator[Ended]:
        """As the contract says. Raises `UsageError` where there is no cluster."""
        ray = self._ray
        self._connect()
        try:
            waiting = {self._submit(job): job for job in jobs}
            while waiting and not stopping.is_set():
                done, _ = ray.wait(list(waiting), timeout=WATCH_EVERY_S)
                for task in done:
                    yield Ended(waiting.pop(task), self._result(task))
                watch()
            for task in waiting:
                ray.cancel(task, force=True)
        finally:
            ray.shutdown()

    def _connect(self) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # reports to its maker
        try:
            self._ray.init(address=self._address, log_to_driver=False, logging_level=logging.ERROR)
        except (ConnectionError, ValueError, RuntimeError, OSError) as error:
            why = str(error).strip().splitlines()[0][:200]
            raise UsageError(
                f"--ray {self._address}", f"no cluster ({why})", "start one with `ray start --head`, or use local"
            ) from None

    def _submit(self, job: DriveJob) -> Any:
        # Not tried again by Ray: a drive that kills its process would kill the next one too.
        task = self._ray.remote(num_cpus=job.threads * len(job.bundles), max_retries=0)(work)
        return task.options(name=job.name).remote(job)

    def _result(self, task: Any) -> str:
        try:
            return str(self._ray.get(task))
        except self._ray.exceptions.RayError as error:
            return f"its task ended ({type(error).__name__}: {str(error).strip().splitlines()[0][:200]})"
