"""A vehicle's sensors recorded without a network: sources, a thread each, and one recorder."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from perception.config import Vehicle
from perception.errors import StreamError
from perception.recording import Recorder, RecordingState, recorder_for
from sensors.clock import ReplayClock
from sensors.errors import EdgePerceptionError
from sensors.frame import Frame, Item
from sensors.opening import open_source
from sensors.source import Source


class NothingToRecordError(StreamError):
    """No sensor is left that gives anything."""


class RecordRun:
    """One recording of a vehicle. Entering opens everything; `run` blocks until `stop`, or until no sensor is left.

    A recording among the cameras plays at its own pace, as if it were one.
    """

    def __init__(self, vehicle: Vehicle, path: Path) -> None:
        self._vehicle = vehicle
        self._path = path
        self._opened = ExitStack()
        self._stopping = threading.Event()
        self.broken: dict[str, str] = {}  # cameras that ended in an error while the others go on

    def __enter__(self) -> RecordRun:
        settings = self._vehicle.settings
        with ExitStack() as opened:
            self._sources: Sequence[Source] = [
                opened.enter_context(
                    open_source(self._vehicle.sources[camera.name], loop=0 if camera.loop else 1, name=camera.name)
                )
                for camera in settings.camera
            ]
            self._recorder: Recorder = opened.enter_context(
                recorder_for(self._path, self._sources, settings.record.settings)
            )
            self._opened = opened.pop_all()
        return self

    def __exit__(self, *exc: Any) -> None:
        self._opened.__exit__(*exc)

    @property
    def state(self) -> RecordingState:
        """How the recording fares."""
        return self._recorder.state()

    def run(self, watch: Callable[[], None], watch_every_s: float = 0.5) -> None:
        """Record to the end or until `stop`. Raises `NothingToRecordError` where every sensor broke."""
        names = [camera.name for camera in self._vehicle.settings.camera]
        clock = ReplayClock(1.0)
        readers = [
            threading.Thread(target=self._read, args=(name, source, clock), name=f"reader-{name}")
            for name, source in zip(names, self._sources, strict=True)
        ]
        for reader in readers:
            reader.start()
        for reader in readers:
            while reader.is_alive():
                reader.join(watch_every_s)
                watch()
        self._recorder.finish()
        if len(self.broken) == len(names) and not self._stopping.is_set():
            what = "; ".join(self.broken.values())
            raise NothingToRecordError(str(self._vehicle.path), what, "mend the cameras and start again")

    def stop(self) -> None:
        """Read no more; what was read is written. Any thread, or a signal handler."""
        self._stopping.set()
        for source in self._sources:
            source.close()

    def _read(self, name: str, source: Source, clock: ReplayClock) -> None:
        first_ns: int | None = None
        try:
            for item in source:
                first_ns = item.stamp_ns if first_ns is None else first_ns
                if not source.info.live:
                    clock.wait_until(item.stamp_ns - first_ns, self._stopping)
                if self._stopping.is_set():
                    _release(item)
                    return
                _release(self._recorder.take(item))
        except EdgePerceptionError as failure:
            self.broken[name] = str(failure)


def _release(item: Item) -> None:
    if isinstance(item, Frame):
        item.release()
