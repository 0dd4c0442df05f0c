"""What one message says, as plain frozen values (the wire's own words are in `perception.proto`)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

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
class NetworkStamps:
    """When one network's engine was busy with the frame, as in `LedgerStamps`."""

    started_ns: int = 0
    inferred_ns: int = 0


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
    networks: tuple[NetworkStamps, ...] = ()  # along the message's networks, where there are several


@dataclass(frozen=True, slots=True, eq=False)
class SemanticMask:
    """A class for every pixel of the image, at the network's resolution, as runs row by row.

    `run_lengths` (N,) int64 add up to `width` * `height`; `run_classes` (N,) uint8 index `class_names`.
    """

    group: str
    class_names: tuple[str, ...]
    width: int
    height: int
    run_lengths: NDArray[np.int64]
    run_classes: NDArray[np.uint8]
    network: int  # a place in the message's networks

    def to_array(self) -> NDArray[np.uint8]:
        """Class of each pixel, (height, width). It covers exactly the image."""
        return np.repeat(self.run_classes, self.run_lengths).reshape(self.height, self.width)

    def shares(self) -> dict[str, float]:
        """Share of the image by class name, 0 to 1. Classes of one name are added up."""
        pixels = np.bincount(self.run_classes, weights=self.run_lengths, minlength=len(self.class_names))
        shares: dict[str, float] = {}
        for name, count in zip(self.class_names, pixels.tolist(), strict=True):
            shares[name] = shares.get(name, 0.0) + count / (self.width * self.height)
        return shares


@dataclass(frozen=True, slots=True)
class NamedClass:
    """What a network takes an image, or a part of it, for; `network` is a place in the message's networks."""

    class_index: int
    class_name: str
    score: float
    network: int


@dataclass(frozen=True, slots=True, eq=False)
class FrameMessage:
    """One message as a reader gets it: what was found on one frame, or why nothing could be.

    `class_names` and `network_indexes` run along `detections`; an index is a place in `networks`. So do `crop_classes`
    where further networks looked at the detections: what they say of each; else it is empty.
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
    masks: tuple[SemanticMask, ...] = ()  # one a group of classes, network by network
    image_classes: tuple[NamedClass, ...] = ()  # what the image is as a whole, network by network, best first
    crop_classes: tuple[tuple[NamedClass, ...], ...] = ()

    @property
    def topic(self) -> str:
        """The topic it is sent on."""
        return topic_of(self.sensor)

    @property
    def ends_topic(self) -> bool:
        """Whether nothing follows on its topic in its session."""
        return self.status is Status.END_OF_STREAM
