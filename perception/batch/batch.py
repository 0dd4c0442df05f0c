"""The way of a batch: drives that are not done yet through a runner, then one table of all that are."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engines.bundle import load_bundle
from engines.results import Thresholds
from engines.runtime import AUTO
from perception.batch import folder
from perception.batch.drive_job import DriveJob, progress_of
from perception.batch.local import LocalRunner
from perception.batch.ray_cluster import RayRunner
from perception.batch.runner import Ended, Runner
from perception.batch.table import merge, pyarrow_parquet
from perception.errors import UsageError
from perception.whole_file import whole_file
from sensors.naming import distinct_name, safe_name, split_name, split_scheme
from sensors.opening import CAMERAS


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchRequest:
    """Which drives, through what, and where to."""

    drives: Sequence[str]  # as `replay` takes them
    bundles: Sequence[Path]
    out: Path
    workers: int
    ray: str | None = None  # a cluster's address; None: processes here
    engine: str = AUTO
    threads: int = 1
    thresholds: Thresholds = Thresholds()
    begin_anew: bool = False


@dataclass(frozen=True, slots=True)
class DriveOutcome:
    """What came of one drive. `figures`: its replay's summary, where it is done; else `reason` says why not."""

    name: str
    source: str
    reason: str
    figures: dict[str, Any] | None
    rows: int = 0
    is_earlier: bool = False  # done by an earlier run


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a batch is: drives, and frames of those that are being done."""

    done: int
    failed: int
    drives: int
    running: dict[str, tuple[int, int | None]]  # by drive: frames done, and of how many


class Batch:
    """One batch. `run` blocks; `stop` ends it early, and the same request goes on later."""

    def __init__(self, request: BatchRequest) -> None:
        """Raises `UsageError`, `BundleError` where the request is wrong; nothing is written yet."""
        pyarrow_parquet()
        self._request = request
        self._stopping = threading.Event()
        self._settings: dict[str, Any] = {
            "bundles": [[bundle.name, bundle.sha256] for bundle in map(load_bundle, request.bundles)],
            "engine": request.engine,
            "thresholds": [request.thresholds.score, request.thresholds.nms_iou],
        }
        self._runner: Runner = RayRunner(request.ray) if request.ray else LocalRunner(request.workers)
        self.jobs = _jobs(request)
        self._outcomes: dict[str, DriveOutcome] = {}

    @property
    def is_stopped(self) -> bool:
        """Whether it was ended early."""
        return self._stopping.is_set()

    def stop(self) -> None:
        """End the drives that are being done, and begin no other. Any thread, or a signal handler."""
        self._stopping.set()

    def run(self, say: Callable[[DriveOutcome], None], watch: Callable[[Progress], None]) -> list[DriveOutcome]:
        """Do what is left to do; every drive's outcome, in the request's order. `say` gets each as it ends.

        Raises `UsageError` where the folder is another batch's.
        """
        request = self._request
        with folder.opened(request.out, self._settings, begin_anew=request.begin_anew):
            left = []
            for job in self.jobs:
                found = job.places.found(folder.source_facts(job.path))
                if found is None:
                    left.append(job)
                else:
                    self._ended(DriveOutcome(job.name, job.path, "", found["figures"], found["rows"], True), say)
            watch(self._progress(left))
            if left:
                for ended in self._runner.run(left, lambda: watch(self._progress(left)), self._stopping):
                    self._ended(_outcome(ended), say)
            outcomes = [self._outcomes[job.name] for job in self.jobs if job.name in self._outcomes]
            if not self.is_stopped:
                self._write(outcomes)
        return outcomes

    def _ended(self, outcome: DriveOutcome, say: Callable[[DriveOutcome], None]) -> None:
        self._outcomes[outcome.name] = outcome
        say(outcome)

    def _progress(self, left: Sequence[DriveJob]) -> Progress:
        failed = sum(bool(outcome.reason) for outcome in self._outcomes.values())
        running = {
            job.name: progress_of(job) for job in left if job.name not in self._outcomes and job.places.draft.exists()
        }
        return Progress(len(self._outcomes) - failed, failed, len(self.jobs), running)

    def _write(self, outcomes: Sequence[DriveOutcome]) -> None:
        """The table of all that are done, and what came of each drive."""
        out = self._request.out
        done = [job for job in self.jobs if not self._outcomes[job.name].reason]
        with whole_file(out / folder.TABLE) as draft:
            rows = merge([job.places.table for job in done], draft)
        summary = {
            "done": len(done),
            "failed": len(outcomes) - len(done),
            "rows": rows,
            "table": folder.TABLE,
            "bundles": [{"name": name, "sha256": sha256} for name, sha256 in self._settings["bundles"]],
            "drives": [facts(outcome) for outcome in outcomes],
        }
        with whole_file(out / folder.SUMMARY) as draft:
            draft.write_text(json.dumps(summary, indent=2, ensure_ascii=False) + "\n")


def facts(outcome: DriveOutcome) -> dict[str, Any]:
    """One drive as `batch.json` and `--json` have it."""
    common = {"name": outcome.name, "source": outcome.source}
    if outcome.figures is None:
        return {**common, "status": "failed", "reason": outcome.reason}
    figures = {
        key: outcome.figures[key] for key in ("captured", "published", "failed", "detections", "engine", "digest")
    }
    return {**common, "status": "done", "recording": f"{outcome.name}.mcap", "rows": outcome.rows, **figures}


def _outcome(ended: Ended) -> DriveOutcome:
    job = ended.job
    found = None if ended.reason else job.places.found(folder.source_facts(job.path))
    if found is not None:
        return DriveOutcome(job.name, job.path, "", found["figures"], found["rows"])
    reason = ended.reason or f"{job.path}: changed while it was read, or its outputs are not in {job.out}"
    return DriveOutcome(job.name, job.path, reason, None)


def _jobs(request: BatchRequest) -> list[DriveJob]:
    """A job a drive, each under a name of its own. Raises `UsageError`."""
    jobs: list[DriveJob] = []
    bundles = tuple(str(bundle.resolve()) for bundle in request.bundles)
    written = [split_name(text) for text in request.drives]
    given = [name for name, _ in written if name is not None]
    taken: list[str] = []
    for name, uri in written:
        if name is not None and given.count(name) > 1:
            raise UsageError(f"drive {name!r}", "two drives have this name", "give each its own NAME=DRIVE")
        scheme, _ = split_scheme(uri)
        if scheme in CAMERAS:
            raise UsageError(uri, "is live, and no drive", "record it first: `perception record`")
        path = uri if scheme else str(Path(uri).absolute())
        own = name or distinct_name(safe_name(Path(uri).resolve().stem if not scheme else uri), [*taken, *given])
        taken.append(own)
        jobs.append(
            DriveJob(
                name=own,
                source=path if name is None else f"{name}={path}",
                path=path,
                out=request.out.absolute(),
                bundles=bundles,
                engine=request.engine,
                threads=request.threads,
                thresholds=request.thresholds,
                alone=request.workers == 1 and request.ray is None,
            )
        )
    return jobs
