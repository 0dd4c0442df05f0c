"""A vehicle's cameras run live: sources, networks and the stream around one pipeline in which the newest frame wins."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import cv2

from engines.runtime import CPU_SLOTS, check_engine, slots_for
from perception.config import Vehicle
from perception.cores import running_on, split_cores
from perception.errors import StreamError, UsageError
from perception.failure_log import FailureLog
from perception.health import Health
from perception.message import NetworkInfo
from perception.network import Network, open_network
from perception.pipeline import Pipeline, Result
from perception.preview import Previews
from perception.recording import Recorder, recorder_for
from perception.stream import NullPublisher, Outbox, Publisher
from perception.stream.endpoint import check_published
from perception.stream.keys import load_pair
from perception.summary import summary
from perception.trace import check_name, trace_into
from sensors.clock import ReplayClock
from sensors.errors import EXIT_WRONG_REQUEST, EdgePerceptionError
from sensors.observed import ObservedSource
from sensors.opening import open_source
from sensors.source import Source

SLOTS = CPU_SLOTS


class EverySourceBrokeError(StreamError):
    """No camera is left that gives frames."""


def check(vehicle: Vehicle) -> None:
    """Look at what a vehicle's file names beside its bundles, and open nothing: engines, the stream's address and keys.

    Raises `UsageError` that names file and key.
    """
    settings = vehicle.settings
    for index, network in enumerate(settings.network):
        with _named(vehicle, f"network.{index}.engine"):
            check_engine(network.engine)
    if settings.publish:
        with _named(vehicle, "publish.endpoint"):
            check_published(settings.publish.endpoint, anywhere=bool(vehicle.keys) or settings.publish.insecure)
    if vehicle.keys:
        with _named(vehicle, "publish.keys"):
            load_pair(vehicle.keys)


@contextmanager
def _named(vehicle: Vehicle, key: str) -> Iterator[None]:
    """Let an error in what a key asks for name the file and the key too."""
    try:
        yield
    except EdgePerceptionError as error:
        if error.exit_code != EXIT_WRONG_REQUEST:
            raise
        raise UsageError(str(vehicle.path), f"{key}: {error.thing}: {error.what}", error.remedy) from error


class LiveRun:
    """One vehicle's run. Entering opens everything; `run` blocks until `stop`, or until no source gives any more.

    A recording among the cameras plays at its own pace, as if it were one.
    """

    def __init__(self, vehicle: Vehicle, record: Path | None = None, trace: Path | None = None) -> None:
        self._vehicle = vehicle
        self._record = record
        self._trace = trace
        self._traced: dict[str, Any] = {}  # what the trace's end says of the run
        self._recorder: Recorder | None = None
        self._opened = ExitStack()
        self._cpu_s = 0.0
        self._stopped = threading.Event()

    def __enter__(self) -> LiveRun:
        vehicle, settings = self._vehicle, self._vehicle.settings
        check(vehicle)
        if self._trace:
            check_name(self._trace)
        cv2.setNumThreads(1)  # the pipeline's own threads are the parallelism; a pool would fight the engine's
        with ExitStack() as opened:
            self._publisher: Publisher | NullPublisher = (
                opened.enter_context(
                    Publisher(settings.publish.endpoint, keys=vehicle.keys, insecure=settings.publish.insecure)
                )
                if settings.publish
                else NullPublisher()
            )
            self.networks: list[Network] = []
            engine_cores, self._other_cores = split_cores(sum(network.threads for network in settings.network))
            wanted = zip(vehicle.bundles, settings.network, strict=True)
            slots = max((slots_for(bundle, network.engine) for bundle, network in wanted), default=SLOTS)
            with running_on(engine_cores):
                for network, bundle, thresholds in zip(
                    settings.network, vehicle.bundles, vehicle.thresholds, strict=True
                ):
                    ready = open_network(
                        bundle,
                        engine=network.engine,
                        slots=slots,
                        threads=network.threads,
                        thresholds=thresholds,
                        crops=network.crops,
                    )
                    opened.callback(ready.engine.close)
                    self.networks.append(ready)
            self.networks.sort(key=lambda network: network.crops is not None)  # in the order in which they work
            # Last: a camera that waits for its reader overflows.
            self.sources: list[Source] = []
            in_nv12 = self._reads_nv12_alone()
            for index, camera in enumerate(settings.camera):
                with _named(vehicle, f"camera.{index}.uri"):
                    uri, loop = vehicle.sources[camera.name], 0 if camera.loop else 1
                    source = open_source(uri, loop=loop, name=camera.name, in_nv12=in_nv12)
                self.sources.append(opened.enter_context(source))
            self._outbox = Outbox(
                networks=[NetworkInfo(n.bundle.name, n.bundle.sha256, n.engine.name) for n in self.networks],
                labels=[network.bundle.labels for network in self.networks],
                sender=self._publisher,
            )
            sensors = [sensor.name for source in self.sources for sensor in source.info.sensors]
            self._previews = Previews(self._publisher, self._outbox.session, sensors)
            observers: list[Callable[[Result], None]] = [FailureLog(live=True), self._previews]
            read = self.sources
            if self._record:
                self._recorder = opened.enter_context(
                    recorder_for(self._record, self.sources, settings.record.settings)
                )
                observers.append(self._recorder)
                read = [ObservedSource(source, self._recorder.take) for source in self.sources]
            if self._trace:
                names = [network.bundle.name for network in self.networks]
                observers.append(opened.enter_context(trace_into(self._trace, names, self._traced)))
            self._pipeline = Pipeline(
                read,
                self.networks,
                self._outbox,
                ReplayClock(1.0),
                slots,
                observers,
                live=True,
                cameras={
                    sensor.name: camera.camera
                    for camera, source in zip(settings.camera, self.sources, strict=True)
                    for sensor in source.info.sensors
                },
            )
            self._health = Health(self._pipeline, self._outbox, self._publisher, self._recorder)
            self.ledger = self._pipeline.ledger
            self._opened = opened.pop_all()
        return self

    def __exit__(self, *exc: Any) -> None:
        self._opened.__exit__(*exc)

    def _reads_nv12_alone(self) -> bool:
        """Whether nothing needs a picture in BGR: all networks are on a GPU, none looks at crops, nothing is recorded.

        Small pictures for who watches the stream are made of either.
        """
        whole = [network.crops is None and network.engine.reads_nv12 for network in self.networks]
        return bool(whole) and all(whole) and self._record is None

    @property
    def endpoint(self) -> str | None:
        """Where readers connect; None where nothing is published."""
        return self._publisher.endpoint

    @property
    def broken(self) -> dict[str, str]:
        """Cameras that ended in an error while the others go on: name and what happened."""
        cameras = self._vehicle.settings.camera
        return {cameras[index].name: str(failure) for index, failure in self._pipeline.source_failures.items()}

    @property
    def recording_failure(self) -> str:
        """What keeps the recording from being written just now, in words."""
        return self._recorder.state().failure if self._recorder else ""

    def run(self, watch: Callable[[], None] | None = None) -> None:
        """Run to the end or until `stop`. Raises `EverySourceBrokeError` where no source is left."""
        cpu_began_s = time.process_time()
        with running_on(self._other_cores), self._health, self._previews:
            self._pipeline.run(watch, watch_every_s=1.0)
            if self._recorder:
                self._recorder.finish()
        self._cpu_s = time.process_time() - cpu_began_s
        self._traced["dropped"] = dict(self.ledger.total().dropped)  # of these there are no slices
        broken = self.broken
        if len(broken) == len(self.sources) and not self._stopped.is_set():
            raise EverySourceBrokeError(
                str(self._vehicle.path), "; ".join(broken.values()), "mend the cameras and start again"
            )

    def stop(self) -> None:
        """Drain and end. Any thread, or a signal handler."""
        self._stopped.set()
        self._pipeline.stop()

    def summary(self) -> dict[str, Any]:
        """Figures of the run, as `--json` prints them, and the sources that broke."""
        figures = summary(self._pipeline, self.networks, self._outbox, self._cpu_s, self._recorder)
        return {**figures, "broken": self.broken}
