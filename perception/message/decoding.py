"""From bytes to a `FrameMessage`. They come from a socket or a file: nothing is taken for granted."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

import numpy as np
from google.protobuf.message import DecodeError

from engines.results import Detections
from perception.errors import StreamError
from perception.message import perception_pb2 as pb
from perception.message.frame_message import (
    SCHEMA_VERSION,
    FrameMessage,
    LedgerStamps,
    NamedClass,
    NetworkInfo,
    NetworkStamps,
    SemanticMask,
    Status,
)

# Pixels a side: no network's input is larger, and a hostile message must not make its reader allocate gigabytes.
_MAX_MASK_SIDE = 8192
_KNOWN_STATUSES = {int(status) for status in Status}

M = TypeVar("M", pb.FrameResult, pb.Health, pb.Preview)


class MalformedMessageError(StreamError):
    """Bytes that are no message of ours."""

    def __init__(self, what: str, remedy: str = "check that an edge-perception publisher made it") -> None:
        super().__init__("message", what, remedy)


def decode_message(payload: bytes) -> FrameMessage:
    """Read one message; raises `MalformedMessageError` on bytes that are none of ours, and nothing else.

    A newer publisher's message is read as far as this reader knows it: unknown fields are passed over, an
    unknown status is `Status.UNKNOWN` with its number in the reason. Only a higher `schema_version` is refused: it is
    raised where a reader that does not know it would misread.
    """
    message = parsed(pb.FrameResult, payload)
    check_header(message, "schema_version", "session", "sensor", "status")
    status, reason = int(message.status), message.status_reason
    if status not in _KNOWN_STATUSES:
        status, reason = Status.UNKNOWN, f"status {status}, which this reader does not know {reason}".rstrip()
    network_indexes = tuple(box.network for box in message.detections)
    # A publisher with one network may leave its description out, but not point past those that it gave.
    if network_indexes and max(network_indexes) >= max(1, len(message.networks)):
        raise MalformedMessageError(f"a box is of network {max(network_indexes)} of {len(message.networks)}")
    crop_classes = tuple(_named(box.crop_classes, message) for box in message.detections)
    return FrameMessage(
        schema_version=message.schema_version,
        session=message.session,
        sequence=message.sequence,
        sensor=message.sensor,
        frame_sequence=message.frame_sequence,
        stamp_ns=message.stamp_ns,
        image_width=message.image_width,
        image_height=message.image_height,
        status=Status(status),
        status_reason=reason,
        networks=tuple(NetworkInfo(n.name, n.bundle_sha256, n.engine) for n in message.networks),
        detections=_detections(message),
        class_names=tuple(box.class_name for box in message.detections),
        network_indexes=network_indexes,
        ledger=_ledger(message.ledger),
        masks=tuple(_mask(mask, max(1, len(message.networks))) for mask in message.masks),
        image_classes=_named(message.image_classes, message),
        crop_classes=crop_classes if any(crop_classes) else (),
    )


def parsed(kind: type[M], payload: bytes) -> M:
    """Parse a message of one kind; raises `MalformedMessageError`."""
    try:
        return kind.FromString(payload)
    except DecodeError as error:
        raise MalformedMessageError(f"{len(payload)} bytes that are no {kind.DESCRIPTOR.name} ({error})") from error


def check_header(message: pb.FrameResult | pb.Health | pb.Preview, *names: str) -> None:
    """Look that these fields are there and the schema is none that would be misread; raises `MalformedMessageError`."""
    for name in names:
        if not getattr(message, name):
            raise MalformedMessageError(f"has no {name}, which every message has")
    if message.schema_version > SCHEMA_VERSION:
        raise MalformedMessageError(
            f"has schema version {message.schema_version}, and this reader knows {SCHEMA_VERSION}",
            "update edge-perception where it is read",
        )


def _detections(message: pb.FrameResult) -> Detections:
    boxes = message.detections
    if not boxes:
        return Detections.empty()
    try:
        return Detections(
            np.array([(box.left, box.top, box.right, box.bottom) for box in boxes], np.float32),
            np.array([box.score for box in boxes], np.float32),
            np.array([box.class_index for box in boxes], np.int32),
            np.array([box.track_id for box in boxes], np.int64),
        )
    except OverflowError as error:  # unsigned on the wire, signed in arrays: a publisher of ours never gets there
        raise MalformedMessageError(f"a class index or track id is out of range ({error})") from error


def _named(found: Iterable[pb.NamedClass], message: pb.FrameResult) -> tuple[NamedClass, ...]:
    named = tuple(NamedClass(one.class_index, one.class_name, one.score, one.network) for one in found)
    networks = max(1, len(message.networks))
    for one in named:
        if one.network >= networks:
            raise MalformedMessageError(f"its class {one.class_name!r} is of network {one.network} of {networks}")
    return named


def _mask(mask: pb.SemanticMask, networks: int) -> SemanticMask:
    """Check one mask's runs; pixels are made of them when they are asked for."""
    lengths = np.array(mask.run_lengths, np.int64)
    classes = np.frombuffer(mask.run_classes, np.uint8)
    where = f"its mask {mask.group!r}"
    if not (0 < mask.width <= _MAX_MASK_SIDE and 0 < mask.height <= _MAX_MASK_SIDE):
        raise MalformedMessageError(
            f"{where} is of {mask.width} x {mask.height} pixels, and 1 to {_MAX_MASK_SIDE} a side are possible"
        )
    if len(lengths) != len(classes):
        raise MalformedMessageError(f"{where} has {len(lengths)} run lengths and {len(classes)} run classes")
    if not lengths.all() or int(lengths.sum()) != mask.width * mask.height:
        empty = int((lengths == 0).sum())
        raise MalformedMessageError(
            f"{where} has runs of {int(lengths.sum())} pixels, {empty} of them empty, for {mask.width} x {mask.height}"
        )
    if int(classes.max()) >= len(mask.class_names):
        raise MalformedMessageError(f"{where} has class {int(classes.max())} of {len(mask.class_names)}")
    if mask.network >= networks:
        raise MalformedMessageError(f"{where} is of network {mask.network} of {networks}")
    names = tuple(mask.class_names)
    return SemanticMask(mask.group, names, mask.width, mask.height, lengths, classes, mask.network)


def _ledger(stamps: pb.Ledger) -> LedgerStamps:
    return LedgerStamps(
        arrival_ns=stamps.arrival_ns,
        decoded_ns=stamps.decoded_ns,
        staged_ns=stamps.staged_ns,
        submitted_ns=stamps.submitted_ns,
        inferred_ns=stamps.inferred_ns,
        postprocessed_ns=stamps.postprocessed_ns,
        published_ns=stamps.published_ns,
        networks=tuple(NetworkStamps(times.started_ns, times.inferred_ns) for times in stamps.networks),
    )
