"""What one message says, as plain frozen values (the wire's own words are in `perception.proto`)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from engines.results import Detections

SCHEMA_VERSION = 1
DETECTIONS_TOPIC = "detections/"


def topic_of(sensor: str) -> str:
    """Topic of a sensor's results; by its last slash the prefix of `cam1` does not match `cam10`."""
    return f"{DETECTIONS_TOPIC}{sensor}/"


class Status(IntEnum):
    """What became of a frame; numbers as in `perception.proto`, which says what each means."""

    UNKNOWN = 0  # a newer publisher's, which this reader has no name for; never sent
    OK = 1
    INFERENCE_FAILED = 2
    DECODE_FAILED = 3
    END_OF_STREAM = 4


@dataclass(frozen=True, slots=True)
class NetworkInfo:
    """Which network looked at the frame: its name, its bundle's hash, the engine that ran it."""

    name: str
    bundle_sha256: str
    engine: str


@dataclass(frozen=True, slots=True)
class LedgerStamps:
    """When a frame was where, in ns since 1970 on the publisher's wall clock. 0: it never came there."""

    arrival_ns: int = 0
    decoded_ns: int = 0
    staged_ns: int = 0
    submitted_ns: int = 0
    inferred_ns: int = 0
    postprocessed_ns: int = 0
    published_ns: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class FrameMessage:
    """One message as a reader gets it: what was found on one frame, or why nothing could be.

    `class_names` and `network_indexes` run along `detections`; an index is a place in `networks`.
    `stamp_ns` is the sensor's, on the drive's clock.
    """

    schema_version: int
    session: str
    sequence: int  # of this topic in this session, from 0; a gap is a lost message
    sensor: str
    frame_sequence: int  # of this sensor, as captured; the frames' count at END_OF_STREAM
    stamp_ns: int
    image_width: int
    image_height: int
    status: Status
    status_reason: str
    networks: tuple[NetworkInfo, ...]
    detections: Detections
    class_names: tuple[str, ...]
    network_indexes: tuple[int, ...]
    ledger: LedgerStamps

    @property
    def topic(self) -> str:
        """The topic it is sent on."""
        return topic_of(self.sensor)
