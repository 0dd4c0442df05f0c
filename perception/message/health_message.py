"""How a publisher fares, once a second: the values, and their way to bytes and back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum

from perception.message import perception_pb2 as pb
from perception.message.decoding import MalformedMessageError, check_header, parsed
from perception.message.encoding import sendable
from perception.message.frame_message import SCHEMA_VERSION, NetworkInfo

HEALTH_TOPIC = "health/"


class SensorState(IntEnum):
    """How a sensor fares; numbers as in `perception.proto`, which says what each means."""

    UNKNOWN = 0  # a newer publisher's, which this reader has no name for; never sent
    RUNNING = 1
    STALLED = 2
    BROKEN = 3
    ENDED = 4


_KNOWN_STATES = frozenset(state.value for state in SensorState)


@dataclass(frozen=True, slots=True, kw_only=True)
class SensorHealth:
    """One sensor's account, of one moment; rates and latencies are of the time since the message before."""

    sensor: str
    state: SensorState
    state_reason: str = ""  # for people, where the state is BROKEN, or STALLED since something failed
    captured: int = 0
    published: int = 0
    dropped: Mapping[str, int] = field(default_factory=dict)  # by reason
    failed: Mapping[str, int] = field(default_factory=dict)
    in_flight: int = 0
    captured_hz: float = 0.0
    published_hz: float = 0.0
    last_stamp_ns: int = 0  # 0: none was captured
    latency_p50_ms: float = 0.0  # 0: none was published
    latency_p99_ms: float = 0.0
    messages: int = 0  # sent on its topic of detections so far

    @property
    def balances(self) -> bool:
        """Whether the accounting identity holds."""
        ended = self.published + sum(self.dropped.values()) + sum(self.failed.values())
        return self.captured == ended + self.in_flight


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthMessage:
    """The whole publisher's."""

    schema_version: int = SCHEMA_VERSION
    session: str
    sequence: int
    sent_ns: int  # since 1970, on the publisher's wall clock
    uptime_ns: int  # since the run began
    last: bool = False  # nothing follows in this session, on any topic
    failure: str = ""  # for people: what ended the whole run before its time
    sensors: tuple[SensorHealth, ...] = ()
    networks: tuple[NetworkInfo, ...] = ()
    readers: int = 0  # subscriptions that take detections

    @property
    def topic(self) -> str:
        """The topic it is sent on."""
        return HEALTH_TOPIC

    @property
    def ends_topic(self) -> bool:
        """Whether nothing follows on its topic in its session."""
        return self.last


def encode_health(health: HealthMessage) -> bytes:
    """Serialise one message."""
    message = pb.Health(
        schema_version=health.schema_version,
        session=health.session,
        sequence=health.sequence,
        sent_ns=health.sent_ns,
        uptime_ns=health.uptime_ns,
        last=health.last,
        failure=sendable(health.failure),
        networks=[pb.Network(name=n.name, bundle_sha256=n.bundle_sha256, engine=n.engine) for n in health.networks],
        readers=health.readers,
    )
    for sensor in health.sensors:
        message.sensors.add(
            sensor=sendable(sensor.sensor),
            state=int(sensor.state),
            state_reason=sendable(sensor.state_reason),
            captured=sensor.captured,
            published=sensor.published,
            dropped=dict(sensor.dropped),
            failed=dict(sensor.failed),
            in_flight=sensor.in_flight,
            captured_hz=sensor.captured_hz,
            published_hz=sensor.published_hz,
            last_stamp_ns=sensor.last_stamp_ns,
            latency_p50_ms=sensor.latency_p50_ms,
            latency_p99_ms=sensor.latency_p99_ms,
            messages=sensor.messages,
        )
    return message.SerializeToString()


def decode_health(payload: bytes) -> HealthMessage:
    """Read one message; raises `MalformedMessageError` on bytes that are none of ours, and nothing else.

    Of a newer publisher's as much is read as this reader knows; an unknown state is `SensorState.UNKNOWN`.
    """
    message = parsed(pb.Health, payload)
    check_header(message, "schema_version", "session")
    return HealthMessage(
        schema_version=message.schema_version,
        session=message.session,
        sequence=message.sequence,
        sent_ns=message.sent_ns,
        uptime_ns=message.uptime_ns,
        last=message.last,
        failure=message.failure,
        sensors=tuple(_sensor(sensor) for sensor in message.sensors),
        networks=tuple(NetworkInfo(n.name, n.bundle_sha256, n.engine) for n in message.networks),
        readers=message.readers,
    )


def _sensor(sensor: pb.SensorHealth) -> SensorHealth:
    if not sensor.sensor:
        raise MalformedMessageError("is the health of a sensor without a name")
    figures = (sensor.captured_hz, sensor.published_hz, sensor.latency_p50_ms, sensor.latency_p99_ms)
    if not all(math.isfinite(figure) and figure >= 0 for figure in figures):
        raise MalformedMessageError(f"{sensor.sensor!r} has a rate or latency that is no number")
    state = int(sensor.state)
    return SensorHealth(
        sensor=sensor.sensor,
        state=SensorState(state) if state in _KNOWN_STATES else SensorState.UNKNOWN,
        state_reason=sensor.state_reason,
        captured=sensor.captured,
        published=sensor.published,
        dropped=dict(sensor.dropped),
        failed=dict(sensor.failed),
        in_flight=sensor.in_flight,
        captured_hz=sensor.captured_hz,
        published_hz=sensor.published_hz,
        last_stamp_ns=sensor.last_stamp_ns,
        latency_p50_ms=sensor.latency_p50_ms,
        latency_p99_ms=sensor.latency_p99_ms,
        messages=sensor.messages,
    )
