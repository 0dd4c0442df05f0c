"""A frame's whole way, source to socket. Read this file and you know it.

    reader (one a source)   read and decode -> wait until the frame is due -> enter it in the ledger -> intake
    feeder                  a free slot, the intake's next frame: stage into every engine's input -> submit
    inference thread        (inside a CPU engine) runs what was submitted
    completer               wait in submit order -> decode -> track -> classify what was found (where a network of a
                            second stage is given) -> publish, close the ledger -> observers

Of a recorded drive nothing is dropped: where the intake or the slots are full, the one before waits, back to the
reader. Live, the newest frame of each camera wins and the older one's fate is "superseded"; a source that breaks
leaves the others running. Every item that was entered in the ledger is closed there, also when a thread fails or the
run is stopped.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from engines.decoders.decoder import NonFiniteOutputError
from engines.errors import EngineError
from engines.results import Detections, Found
from perception.camera import Camera
from perception.intake import Captured, InStampOrder, Intake, NewestFirst
from perception.ledger import Entry, Fate, Ledger, LedgerError
from perception.message import LedgerTimes, Status
from perception.network import Network
from perception.second_stage import SecondStage
from perception.slots import Job, Slots
from perception.stream import Outbox
from perception.tracking import Tracker
from sensors.clock import ReplayClock
from sensors.errors import EdgePerceptionError
from sensors.frame import Fault, Frame, Item
from sensors.source import Source

EVERY_FRAME = Camera()


@dataclass(frozen=True, slots=True)
class Result:
    """What is known of one item once its message is published; what observers get."""

    entry: Entry
    frame: Frame | None  # valid only during the call
    status: Status
    reason: str  # for people, where status is not OK
    detections: Sequence[Found]  # one a network; empty where the item failed
    payload: bytes  # the message as it was sent


class Pipeline:
    """One run over some sources. `run` blocks; `stop` may be called from any thread or signal handler.

    `live`: the newest frame wins, recorded sources (at the clock's pace) included. `cameras`: by sensor, where
    something other than every whole frame is wanted.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        networks: Sequence[Network],
        outbox: Outbox,
        clock: ReplayClock,
        slots: int,
        observers: Sequence[Callable[[Result], None]] = (),
        *,
        live: bool = False,
        cameras: Mapping[str, Camera] | None = None,
    ) -> None:
        self.ledger = Ledger()
        self.wall_s = 0.0
        self.last_failure = ""  # of a frame, in words
        self.failing: dict[str, str] = {}  # sensors whose latest result is a failure, in words
        self.source_failures: dict[int, Exception] = {}  # by place in `sources`: live ones that broke; others go on
        self.ended_sensors: dict[str, str] = {}  # whose source gives no more: what broke it, or nothing
        self._sources = sources
        self._networks = [network for network in networks if network.crops is None]  # that see whole frames
        self._second_stage = SecondStage(networks)
        self._outbox = outbox
        self._clock = clock
        self._slots = Slots(slots)
        self._observers = observers
        self._live = live
        self._cameras = dict(cameras or {})
        self._trackers: dict[tuple[str, int], Tracker] = {}
        self._last_stamps_ns = {sensor.name: 0 for source in sources for sensor in source.info.sensors}
        self._intake: Intake = (
            NewestFirst(len(sources), list(self._last_stamps_ns)) if live else InStampOrder(len(sources))
        )
        self._stopping = threading.Event()
        self._failure: BaseException | None = None

    def run(self, watch: Callable[[], None] | None = None, watch_every_s: float = 0.1) -> None:
        """Read the sources to their end, or until `stop`; raise what broke on the way, after draining.

        `watch` is called about every `watch_every_s` on this thread, for a progress bar.
        """
        threads = [
            threading.Thread(target=self._read, args=(index, source), name=f"reader-{index}")
            for index, source in enumerate(self._sources)
        ]
        completer = threading.Thread(target=self._complete_all, name="completer")
        threads += [threading.Thread(target=self._feed, name="feeder"), completer]
        began_ns = time.monotonic_ns()
        for thread in threads:
            thread.start()
        while completer.is_alive():
            completer.join(watch_every_s if watch else None)
            if watch:
                watch()
        for thread in threads:
            thread.join()
        self.wall_s = (time.monotonic_ns() - began_ns) / 1e9
        if self._failure is not None:
            raise self._failure

    @property
    def sensors(self) -> tuple[str, ...]:
        """Every sensor of the sources by name."""
        return tuple(self._last_stamps_ns)

    @property
    def failure(self) -> str:
        """What ended the run before its time, in words; nothing where nothing did."""
        return in_words(self._failure)

    def stop(self) -> None:
        """Read no more; what was captured still goes its way to the end."""
        self._stopping.set()
        for source in self._sources:
            source.close()

    # --- reader ---------------------------------------------------------------------------------------

    def _read(self, index: int, source: Source) -> None:
        first_stamp_ns: int | None = None
        paces = self._clock.paces and not source.info.live  # a camera has its own pace
        broke: BaseException | None = None
        try:
            for item in source:
                if first_stamp_ns is None:
                    first_stamp_ns = item.stamp_ns
                elapsed_ns = item.stamp_ns - first_stamp_ns
                due_ns = self._clock.wait_until(elapsed_ns, self._stopping) if paces else 0
                if self._stopping.is_set():
                    _release(item)
                    break
                try:
                    entry = self.ledger.open(item)
                except LedgerError:
                    _release(item)
                    raise
                if paces:
                    # The frame was decoded ahead and waited: to the rest of the way it arrives when it is due.
                    entry.arrival_ns = due_ns
                    entry.decoded_ns = due_ns if entry.decoded_ns else 0
                if isinstance(item, Frame) and entry.sequence % self._camera(entry.sensor).every:
                    self._drop(Captured(item, entry, elapsed_ns), "skipped")
                elif (superseded := self._intake.put(index, Captured(item, entry, elapsed_ns))) is not None:
                    self._drop(superseded, "superseded")
        except BaseException as failure:
            broke = failure
            if self._live and isinstance(failure, EdgePerceptionError):
                self.source_failures[index] = failure
            else:
                self._fail(failure)
        finally:
            for sensor in source.info.sensors:
                self.ended_sensors[sensor.name] = in_words(broke)
            self._intake.finish(index)

    def _drop(self, captured: Captured, reason: str) -> None:
        self.ledger.drop(captured.entry, reason)
        _release(captured.item)

    # --- feeder ---------------------------------------------------------------------------------------

    def _feed(self) -> None:
        # The slot first: a live frame is chosen when it can be staged, and is the newest then.
        slot = self._slots.take()
        while (captured := self._intake.take()) is not None:
            self._slots.submitted(self._stage(captured, slot))
            slot = self._slots.take()
        self._slots.finish()

    def _stage(self, captured: Captured, slot: int) -> Job:
        """Put a frame into every network's input and start them; what cannot be staged only keeps its turn."""
        item, entry = captured.item, captured.entry
        entry.taken_ns, entry.slot = time.monotonic_ns(), slot
        if isinstance(item, Fault):
            return Job(entry, slot, fault=item.reason)
        if not isinstance(item, Frame):
            return Job(entry, slot)  # a scan: no network takes it, and its message says that it was there, and when
        staged = 0
        try:
            places = tuple(network.engine.place(item.width, item.height) for network in self._networks)
            for network, place in zip(self._networks, places, strict=True):
                network.engine.stage(slot, 0, item.image, place, item.format)
            entry.staged_ns = time.monotonic_ns()
            entry.submitted_ns = time.monotonic_ns()
            for network in self._networks:
                network.engine.submit(slot, 1)
                staged += 1
        except BaseException as failure:
            for network in self._networks[:staged]:
                with suppress(EngineError):  # its own failure is not what ends the run
                    network.engine.wait(slot)
            item.release()
            self._fail(failure)
            return Job(entry, slot, fault=f"could not be staged: {failure}")
        return Job(entry, slot, item, places)

    # --- completer ------------------------------------------------------------------------------------

    def _complete_all(self) -> None:
        while (job := self._slots.next_submitted()) is not None:
            try:
                self._complete(job)
            except BaseException as failure:
                self._fail(failure)
                if job.entry.fate is Fate.IN_FLIGHT:
                    self.ledger.fail(job.entry, "aborted")
        try:
            for sensor, stamp_ns in self._last_stamps_ns.items():
                captured = self.ledger.counts().get(sensor)
                self._outbox.end(sensor, captured.captured if captured else 0, stamp_ns)
        except BaseException as failure:
            self._fail(failure)

    def _complete(self, job: Job) -> None:
        entry, frame = job.entry, job.frame
        try:
            try:
                detections, status, reason = self._infer(job)
            finally:
                self._slots.free(job.slot)  # results are copies: the next frame may be staged while this one goes on
            if status is Status.OK and frame is not None:
                camera = self._camera(entry.sensor)
                detections = [
                    self._tracker(entry.sensor, index).update(
                        camera.kept(found, frame.width, frame.height), entry.stamp_ns
                    )
                    if isinstance(found, Detections)
                    else found
                    for index, found in enumerate(detections)
                ]
                detections, status, reason = self._second_stage.add(detections, frame, entry)
            entry.postprocessed_ns = entry.published_ns = time.monotonic_ns()
            payload = self._outbox.send(
                sensor=entry.sensor,
                frame_sequence=entry.sequence,
                stamp_ns=entry.stamp_ns,
                width=frame.width if frame else 0,
                height=frame.height if frame else 0,
                status=status,
                reason=reason,
                detections=detections,
                ledger=self._wall_clock(entry),
            )
            entry.published_ns = time.monotonic_ns()
            self._last_stamps_ns[entry.sensor] = entry.stamp_ns
            if status is Status.OK:
                self.ledger.publish(entry, sum(len(found) for found in detections if isinstance(found, Detections)))
                self.failing.pop(entry.sensor, None)
            else:
                self.last_failure = self.failing[entry.sensor] = reason
                self.ledger.fail(entry, status.name.lower())
            result = Result(entry, frame, status, reason, detections, payload)
            for observe in self._observers:
                observe(result)
        finally:
            if frame:
                frame.release()

    def _infer(self, job: Job) -> tuple[list[Found], Status, str]:
        """Wait for every network's inference and decode it. A frame that fails is a status, not an exception."""
        if job.fault:
            return [], Status.DECODE_FAILED, job.fault
        if job.frame is None:
            return [], Status.OK, ""
        detections: list[Found] = []
        failures: list[str] = []
        bugs: list[Exception] = []
        for network, place in zip(self._networks, job.places, strict=True):
            times = (0, 0)
            try:
                completed = network.engine.wait(job.slot)
                times = completed.started_ns, completed.inferred_ns
                detections.append(network.decoder.decode(completed.rows[0], place, network.thresholds))
                job.entry.inferred_ns = max(job.entry.inferred_ns, completed.inferred_ns)
                job.entry.gpu += (completed.gpu,) if completed.gpu else ()
            except (EngineError, NonFiniteOutputError) as failure:
                failures.append(f"{network.bundle.name}: {failure}")
            except Exception as bug:  # raised once every engine is done with the slot
                bugs.append(bug)
            finally:
                job.entry.inferences += (times,)
        if bugs:
            raise bugs[0]
        if failures:
            return [], Status.INFERENCE_FAILED, "; ".join(failures)
        return detections, Status.OK, ""

    def _tracker(self, sensor: str, network: int) -> Tracker:
        tracker = self._trackers.get((sensor, network))
        if tracker is None:
            tracker = self._trackers[sensor, network] = Tracker(self._networks[network].tracking)
        return tracker

    # --- all threads ----------------------------------------------------------------------------------

    def _camera(self, sensor: str) -> Camera:
        return self._cameras.get(sensor, EVERY_FRAME)

    def _fail(self, failure: BaseException) -> None:
        """Remember the first failure and let the run drain."""
        if self._failure is None:
            self._failure = failure
        self.stop()

    def _wall_clock(self, entry: Entry) -> LedgerTimes:
        """An entry's times on the wall clock, by the message's names; 0 stays 0.

        By what the wall clock says now: a vehicle boots with a wrong one and sets it on the way.
        """
        offset = time.time_ns() - time.monotonic_ns()

        def wall(times: Mapping[str, int]) -> dict[str, int]:
            return {name: time_ns + offset if time_ns else 0 for name, time_ns in times.items()}

        times = {
            "arrival_ns": entry.arrival_ns,
            "decoded_ns": entry.decoded_ns,
            "staged_ns": entry.staged_ns,
            "submitted_ns": entry.submitted_ns,
            "inferred_ns": entry.inferred_ns,
            "postprocessed_ns": entry.postprocessed_ns,
            "published_ns": entry.published_ns,
        }
        if len(entry.inferences) < 2:
            return wall(times)  # one network's are the frame's own
        not_asked = ((0, 0),) * (len(self._outbox.networks) - len(entry.inferences))  # of a frame that failed before
        of_each = [wall({"started_ns": began, "inferred_ns": ended}) for began, ended in entry.inferences + not_asked]
        return {**wall(times), "networks": of_each}


def in_words(failure: BaseException | None) -> str:
    """What a failure says to people; nothing where there is none."""
    return "" if failure is None else str(failure) or type(failure).__name__


def _release(item: Item) -> None:
    """Give back the memory of an item that goes no further."""
    if isinstance(item, Frame):
        item.release()
