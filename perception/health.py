"""How the whole publisher fares, said once a second on a thread of its own: also while every camera is silent.

The first message goes out when the run begins, the last one when it has ended, after every sensor's end of stream.
Not part of the digest: it tells of this run, and not of the drive.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from math import ceil

from perception.ledger import Moment, SensorCounts
from perception.message import HealthMessage, SensorHealth, SensorState
from perception.message.encoding import sendable
from perception.message.health_message import HEALTH_TOPIC, encode_health
from perception.pipeline import Pipeline
from perception.stream import NullPublisher, Outbox, Publisher

EVERY_S = 1.0
STALLED_AFTER_S = 2.0  # slower than any camera, and soon enough for a person who waits
_NOTHING = Moment(SensorCounts(), 0, ())


class Health:
    """Says it while it is entered; nothing, and without a thread, where nothing is published."""

    def __init__(self, pipeline: Pipeline, outbox: Outbox, publisher: Publisher | NullPublisher) -> None:
        self._pipeline = pipeline
        self._outbox = outbox
        self._publisher = publisher
        self._sequence = 0
        self._previous: dict[str, Moment] = {}
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="health")

    def __enter__(self) -> Health:
        if self._publisher.endpoint:
            self._began_s = self._previous_s = time.monotonic()
            self._came_s = dict.fromkeys(self._pipeline.sensors, self._began_s)  # when a sensor last gave something
            self._thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        """Say the last word."""
        if self._publisher.endpoint:
            self._stopping.set()
            self._thread.join()
            self._say(last=True)

    def _run(self) -> None:
        due_s = self._began_s
        while not self._stopping.is_set():
            self._say(last=False)
            due_s = max(due_s + EVERY_S, time.monotonic())  # not twice at once after a pause of the whole process
            self._stopping.wait(due_s - time.monotonic())

    def _say(self, *, last: bool) -> None:
        message = self._message(time.monotonic(), last)
        self._publisher.send(HEALTH_TOPIC, encode_health(message))
        self._sequence += 1

    def _message(self, now_s: float, last: bool) -> HealthMessage:
        moments = self._pipeline.ledger.moment()
        elapsed_s = now_s - self._previous_s
        sensors = tuple(
            self._sensor(sensor, moments.get(sensor, _NOTHING), now_s, elapsed_s) for sensor in self._pipeline.sensors
        )
        self._previous, self._previous_s = moments, now_s
        return HealthMessage(
            session=self._outbox.session,
            sequence=self._sequence,
            sent_ns=time.time_ns(),
            uptime_ns=round((now_s - self._began_s) * 1e9),
            last=last,
            failure=self._pipeline.failure,
            sensors=sensors,
            networks=self._outbox.networks,
            readers=self._publisher.readers,
        )

    def _sensor(self, sensor: str, moment: Moment, now_s: float, elapsed_s: float) -> SensorHealth:
        counts, before = moment.counts, self._previous.get(sensor, _NOTHING).counts
        captured, published = counts.captured - before.captured, counts.published - before.published
        if captured:
            self._came_s[sensor] = now_s
        # Of published ones: of a sensor that no network takes there are no latencies at all.
        latencies = moment.latencies_ns[-published:] if published else ()
        broke, reason = self._pipeline.ended_sensors.get(sensor), ""
        if broke:
            state = SensorState.BROKEN
        elif broke is not None:
            state = SensorState.ENDED
        elif now_s - self._came_s[sensor] >= STALLED_AFTER_S:
            state = SensorState.STALLED
            reason = self._pipeline.failing.get(sensor, "")  # a live camera's outage is a failed frame
        else:
            state = SensorState.RUNNING
        return SensorHealth(
            sensor=sendable(sensor),
            state=state,
            state_reason=broke or reason,
            captured=counts.captured,
            published=counts.published,
            dropped=counts.dropped,
            failed=counts.failed,
            in_flight=counts.in_flight,
            captured_hz=captured / elapsed_s if elapsed_s > 0 else 0.0,
            published_hz=published / elapsed_s if elapsed_s > 0 else 0.0,
            last_stamp_ns=moment.last_stamp_ns,
            latency_p50_ms=_percentile_ms(latencies, 50),
            latency_p99_ms=_percentile_ms(latencies, 99),
            messages=self._outbox.sent(sensor),
        )


def _percentile_ms(durations_ns: Sequence[int], percent: int) -> float:
    """The duration below or at which `percent` of them lie, the nearest rank; 0 where there are none."""
    if not durations_ns:
        return 0.0
    return sorted(durations_ns)[ceil(len(durations_ns) * percent / 100) - 1] / 1e6
