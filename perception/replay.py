"""A replay put together: sources, networks, stream and files around one pipeline, and the summary at its end."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2

from engines.bundle import Bundle, load_bundle
from engines.results import Thresholds
from engines.runtime import AUTO, CPU_SLOTS, slots_for
from perception.cores import running_on, split_cores
from perception.errors import StreamError, UsageError
from perception.failure_log import FailureLog, say_what_is_cut_off
from perception.health import Health
from perception.message import NetworkInfo, Status, decode_message, to_json_dict
from perception.network import Crops, Network, open_network
from perception.pipeline import Pipeline, Result
from perception.preview import Previews
from perception.recording import Recorder, recorder_for
from perception.rendering import VideoWriter, draw
from perception.rerun_view import LIVE, rerun_view
from perception.second_stage import FINDING_NO_BOXES, looked_at
from perception.stream import NullPublisher, Outbox, Publisher
from perception.summary import summary
from perception.trace import check_name, trace_into
from perception.whole_file import whole_file
from sensors.clock import ReplayClock
from sensors.observed import ObservedSource
from sensors.opening import open_sources
from sensors.source import SensorInfo, Source, Span
from sensors.yuv import bgr

SLOTS = CPU_SLOTS


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayRequest:
    """What is to be replayed, through what, and where to."""

    sources: Sequence[str]
    models: Sequence[str]
    second: Sequence[str] = ()  # classifiers, on crops of what the first detector among the models finds
    crops: Crops = Crops(of="")  # which of them; of whom is found out
    engine: str = AUTO
    threads: int = 1
    rate: float | None = None  # times real time; None: as fast as possible
    span: Span = Span()
    loop: int = 1  # times each source is played; 0: until stopped
    thresholds: Thresholds = Thresholds()
    publish: str | None = None
    wait_readers: int = 0
    keys: Path | None = None  # of the stream: a folder
    insecure: bool = False  # publish to the network without keys
    jsonl: Path | None = None
    render: Path | None = None
    record: Path | None = None
    trace: Path | None = None
    rerun: str | None = None  # show it in Rerun: `live`, or a file to save
    alone: bool = True  # on this machine: then the engine has cores to itself where there are few


class Replay:
    """One replay. Entering opens everything, and fails before anything is written; `run` blocks.

    Its files take their names when it is left without an error; one with nothing in it does not.
    """

    def __init__(self, request: ReplayRequest, observers: Sequence[Callable[[Result], None]] = ()) -> None:
        """`observers` get each result too."""
        self._request = request
        self._observers = observers
        self._opened = ExitStack()
        self._stopping = threading.Event()
        self._cpu_s = 0.0
        self.files: dict[Path, None] = {}  # that something was written into, in that order

    def __enter__(self) -> Replay:
        request = self._request
        cv2.setNumThreads(1)  # the pipeline's own threads are the parallelism; a pool would fight the engine's
        with ExitStack() as opened:
            models = [load_bundle(model) for model in request.models]
            second = [load_bundle(model) for model in request.second]
            crops = _crops(request.crops, models) if second else None
            for bundle in second:
                looked_at(bundle, crops or request.crops, models)
            bundles = [*models, *second]
            sources: list[Source] = [
                opened.enter_context(source)
                for source in open_sources(request.sources, span=request.span, loop=request.loop)
            ]
            _check_recorded(sources)
            say_what_is_cut_off(sources)
            self.sensors: tuple[SensorInfo, ...] = tuple(sensor for s in sources for sensor in s.info.sensors)
            cameras = [sensor.name for sensor in self.sensors if sensor.kind == "camera"]
            self._videos_by_camera = _video_files(request.render, cameras) if request.render else {}
            outputs = [("--jsonl", request.jsonl), *(("--render", video) for video in self._videos_by_camera.values())]
            saved = Path(request.rerun) if request.rerun not in (None, LIVE) else None
            written = [("--record", request.record), ("--trace", request.trace), ("--rerun", saved)]
            _check_outputs([*outputs, *written], sources)
            if request.trace:
                check_name(request.trace)
            self._recorder: Recorder | None = None
            if request.record:
                self._recorder = recorder_for(request.record, sources, waits=True)
                sources = [ObservedSource(source, self._recorder.take) for source in sources]
            view = opened.enter_context(rerun_view(request.rerun)) if request.rerun else None
            if view:
                sources = [ObservedSource(source, view.take) for source in sources]
            self._publisher: Publisher | NullPublisher
            if request.publish:
                self._publisher = opened.enter_context(
                    Publisher(request.publish, keys=request.keys, insecure=request.insecure)
                )
            else:
                self._publisher = NullPublisher()
            slots = max((slots_for(bundle, request.engine) for bundle in bundles), default=SLOTS)
            self.networks = self._open_networks(models, second, crops, slots, opened)
            self._labels = [bundle.labels for bundle in bundles]
            self._outbox = Outbox(
                networks=[NetworkInfo(n.bundle.name, n.bundle.sha256, n.engine.name) for n in self.networks],
                labels=self._labels,
                sender=self._publisher,
            )
            self._previews = Previews(self._publisher, self._outbox.session, [sensor.name for sensor in self.sensors])
            observers = self._all_observers(opened)
            if view:
                observers.append(view.show_found)
            self._clock = ReplayClock(request.rate)
            self._pipeline = Pipeline(sources, self.networks, self._outbox, self._clock, slots, observers)
            self._health = Health(self._pipeline, self._outbox, self._publisher, self._recorder)
            self.ledger = self._pipeline.ledger
            self._opened = opened.pop_all()
        return self

    def __exit__(self, *exc: Any) -> None:
        self._opened.__exit__(*exc)

    def _open_networks(
        self, models: Sequence[Bundle], second: Sequence[Bundle], crops: Crops | None, slots: int, opened: ExitStack
    ) -> list[Network]:
        """All networks, warm; those of the second stage last. Their engines have cores to themselves where it pays."""
        request = self._request
        every_core = os.sched_getaffinity(0)
        engine_cores, self._other_cores = (
            split_cores(request.threads * (len(models) + len(second))) if request.alone else (every_core, every_core)
        )
        networks = []
        with running_on(engine_cores):
            for bundle, looks_at in [*((model, None) for model in models), *((model, crops) for model in second)]:
                network = open_network(
                    bundle,
                    engine=request.engine,
                    slots=slots,
                    threads=request.threads,
                    thresholds=request.thresholds,
                    crops=looks_at,
                )
                opened.callback(network.engine.close)
                networks.append(network)
        return networks

    def _all_observers(self, opened: ExitStack) -> list[Callable[[Result], None]]:
        """Those that were given, and those that the request's files need."""
        request = self._request
        observers: list[Callable[[Result], None]] = [FailureLog(), self._previews, *self._observers]
        if request.jsonl:
            observers.append(self._json_lines(request.jsonl, opened))
        if self._videos_by_camera:
            observers.append(self._videos(opened))
        if self._recorder:
            observers.append(opened.enter_context(self._recorder))
        if request.trace:
            observers.append(self._trace(request.trace, opened))
        return observers

    @property
    def behind_s(self) -> float:
        """How late the latest item was read, in seconds after it was due; 0 at rate max."""
        return self._clock.behind_ns / 1e9

    @property
    def endpoint(self) -> str | None:
        """Where readers connect; None where nothing is published."""
        return self._publisher.endpoint

    def run(self, watch: Callable[[], None] | None = None) -> None:
        """Wait for the readers that were asked for, then replay to the end or until `stop`.

        Raises what ended it early, after draining; `EdgePerceptionError` where a person can mend it.
        """
        if self._request.wait_readers:
            self._publisher.wait_for_readers(self._request.wait_readers, self._stopping)
        if self._stopping.is_set():
            return
        cpu_began_s = time.process_time()
        with running_on(self._other_cores), self._health, self._previews:
            self._pipeline.run(watch)
            if self._recorder:
                self._recorder.finish()
        self._cpu_s = time.process_time() - cpu_began_s
        total = self.ledger.total()
        if not total.captured and not self._stopping.is_set():
            raise UsageError(
                ", ".join(self._request.sources), "gave no frame", "check --start and --duration against the drive"
            )
        if total.captured and not total.published:
            raise NothingPublishedError(
                ", ".join(self._request.sources),
                f"every one of {total.captured} frames failed ({self._pipeline.last_failure})",
                "look whether the drive plays elsewhere, and try the network with `perception engine import --probe`",
            )

    def stop(self) -> None:
        """Drain and end. Any thread, or a signal handler."""
        self._stopping.set()
        self._pipeline.stop()

    def summary(self) -> dict[str, Any]:
        """Figures of the run, as `--json` prints them. Latencies are None where nothing was published."""
        return summary(self._pipeline, self.networks, self._outbox, self._cpu_s, self._recorder)

    # --- files ----------------------------------------------------------------------------------------

    def _json_lines(self, path: Path, opened: ExitStack) -> Callable[[Result], None]:
        draft = opened.enter_context(whole_file(path))
        file = opened.enter_context(draft.open("w", encoding="utf-8"))

        def write(result: Result) -> None:
            file.write(json.dumps(to_json_dict(decode_message(result.payload)), ensure_ascii=False) + "\n")
            self.files[path] = None

        return write

    def _trace(self, path: Path, opened: ExitStack) -> Callable[[Result], None]:
        names = [network.bundle.name for network in self.networks]
        trace = opened.enter_context(trace_into(path, names, {"sources": list(self._request.sources)}))

        def write(result: Result) -> None:
            trace(result)
            self.files[path] = None

        return write

    def _videos(self, opened: ExitStack) -> Callable[[Result], None]:
        """One video a camera."""
        rates = {sensor.name: sensor.rate_hz for sensor in self.sensors}
        videos: dict[str, VideoWriter] = {}
        for camera, path in self._videos_by_camera.items():
            draft = opened.enter_context(whole_file(path))
            videos[camera] = opened.enter_context(VideoWriter(draft, rates[camera]))

        def write(result: Result) -> None:
            if result.frame is None:
                return  # the picture of a damaged packet does not exist; the video's stamps leave the gap
            caption = f"{result.entry.sensor}  {result.entry.stamp_ns / 1e9:.2f} s  frame {result.entry.sequence}"
            if result.status is not Status.OK:
                image = draw(bgr(result.frame), [], [], f"{caption}  {result.status.name}")
            else:
                image = draw(bgr(result.frame), result.detections, self._labels, caption)
            videos[result.entry.sensor].write(image, result.entry.stamp_ns)
            self.files[self._videos_by_camera[result.entry.sensor]] = None

        return write


class NothingPublishedError(StreamError):
    """Every single frame failed: that is no replay."""


def _video_files(path: Path, cameras: Sequence[str]) -> dict[str, Path]:
    """Name each camera's video: FILE.mp4, or FILE-SENSOR.mp4 where there are several."""
    if path.suffix.lower() != ".mp4":
        raise UsageError(str(path), "is no .mp4 file", "give --render a name that ends in .mp4")
    if not cameras:
        raise UsageError(str(path), "has nothing to show: no source has a camera", "leave --render away")
    if len(cameras) == 1:
        return {cameras[0]: path}
    return {camera: path.with_stem(f"{path.stem}-{camera}") for camera in cameras}


def _crops(crops: Crops, models: Sequence[Bundle]) -> Crops:
    """The crops of the first detector. Raises `UsageError` where there is none."""
    finding_boxes = [bundle for bundle in models if bundle.settings.decoder not in FINDING_NO_BOXES]
    if not finding_boxes:
        raise UsageError("--second", "looks at what a detector finds, and no --model is one", "give a detector too")
    return replace(crops, of=finding_boxes[0].name)


def _check_recorded(sources: Sequence[Source]) -> None:
    for source in sources:
        if source.info.live:
            what = "is live: a replay reads every frame of a recording, and would fall behind"
            raise UsageError(source.info.uri, what, "put it into a vehicle's TOML for `perception run`, or record it")


def _check_outputs(files: Sequence[tuple[str, Path | None]], sources: Sequence[Source]) -> None:
    """Refuse to write over or into what is read (a recording cannot be made again), or two things to one file."""
    read = [Path(source.info.uri).resolve() for source in sources]
    written: dict[Path, str] = {}
    for option, path in files:
        if path is None:
            continue
        if str(path) == "-":
            remedy = "give a file; `perception subscribe --json` writes a stream's messages there"
            raise UsageError(f"{option} -", "standard output has the figures of the run", remedy)
        target = path.resolve()
        if any(target == source or source in target.parents for source in read):
            raise UsageError(str(path), "is in what is replayed, and would change it", "choose another place")
        if target in written:
            raise UsageError(str(path), f"is given to {written[target]} and to {option}", "give each a name of its own")
        written[target] = option
