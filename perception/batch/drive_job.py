"""One drive of a batch, done in a process of its own: replayed, recorded, and its rows written."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engines.results import Thresholds
from perception.batch.folder import DrivePlaces, source_facts
from perception.batch.table import TableWriter
from perception.errors import StreamError
from perception.replay import Replay, ReplayRequest
from sensors.errors import EdgePerceptionError

_TOLD_EVERY_S = 1.0
_PROGRESS = "progress.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class DriveJob:
    """What is to be done with one drive; goes to another process, or another machine that sees the same files."""

    name: str
    source: str  # as `replay` takes it, with an absolute path
    path: str  # the same without NAME=
    out: Path  # absolute
    bundles: tuple[str, ...]  # absolute
    engine: str
    threads: int
    thresholds: Thresholds
    alone: bool  # on its machine

    @property
    def places(self) -> DrivePlaces:
        """Where its outputs go."""
        return DrivePlaces(self.out, self.name)


class NotRecordedError(StreamError):
    """Something of a drive is not in its recording."""


def work(job: DriveJob) -> str:
    """Do a drive in this process, whose outputs go to the drive's log. Why it failed, in words; "" where it is done."""
    try:
        job.places.log.parent.mkdir(parents=True, exist_ok=True)
        with job.places.log.open("w") as log:
            for stream in (sys.stdout, sys.stderr):
                stream.flush()
            os.dup2(log.fileno(), 2)
            os.dup2(log.fileno(), 1)
            run_drive(job)
    except EdgePerceptionError as error:
        shutil.rmtree(job.places.draft, ignore_errors=True)
        return str(error)
    except Exception as error:  # a bug of ours, or of a library: the other drives go on, and the log has the rest
        traceback.print_exc()
        shutil.rmtree(job.places.draft, ignore_errors=True)
        return f"{job.source}: {type(error).__name__}: {error}; the whole story is in {job.places.log}"
    return ""


def run_drive(job: DriveJob) -> None:
    """Do a drive; its files are in their places when this returns. Raises what ended it."""
    places = job.places
    places.begin()
    source = source_facts(job.path)
    recording, table = places.draft / places.recording.name, places.draft / places.table.name
    request = ReplayRequest(
        sources=[job.source],
        models=job.bundles,
        engine=job.engine,
        threads=job.threads,
        thresholds=job.thresholds,
        record=recording,
        alone=job.alone,
    )
    with TableWriter(table, job.name) as rows, Replay(request, [rows]) as replay:
        replay.run(_teller(replay, places.draft / _PROGRESS))
        figures = replay.summary()
    dropped = figures["recording"]["dropped"]
    if dropped:
        reasons = ", ".join(f"{count} of {name}: {why}" for name, of in dropped.items() for why, count in of.items())
        raise NotRecordedError(job.source, f"was not recorded whole ({reasons})", "make room on the disk")
    places.finish(recording, table, {"source": source, "rows": rows.rows, "figures": figures})


def progress_of(job: DriveJob) -> tuple[int, int | None]:
    """Frames that are done of a drive that is being done, and of how many, where that is known."""
    try:
        told = json.loads((job.places.draft / _PROGRESS).read_text())
        return int(told["done"]), told["total"]
    except (OSError, ValueError, KeyError, TypeError):  # not there yet, or half-written: the next one comes soon
        return 0, None


def _teller(replay: Replay, file: Path) -> Callable[[], None]:
    counts = [sensor.count for sensor in replay.sensors]
    total = None if None in counts else sum(count or 0 for count in counts)
    told_s = 0.0

    def tell() -> None:
        nonlocal told_s
        if time.monotonic() - told_s < _TOLD_EVERY_S:
            return
        told_s = time.monotonic()
        account = replay.ledger.total()
        facts: dict[str, Any] = {"done": account.captured - account.in_flight, "total": total}
        file.write_text(json.dumps(facts))

    return tell
