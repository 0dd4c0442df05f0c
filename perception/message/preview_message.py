"""A small picture of one frame: the values, and their way to bytes and back."""

from __future__ import annotations

from dataclasses import dataclass, field

from perception.message import perception_pb2 as pb
from perception.message.decoding import MalformedMessageError, check_header, parsed
from perception.message.encoding import sendable
from perception.message.frame_message import SCHEMA_VERSION

PREVIEW_TOPIC = "preview/"
# Far more than any publisher of ours sends: a reader must not be made to hold or to decode anything.
_MOST_JPEG_BYTES = 4 * 2**20
_MOST_SIDE = 8192  # pixels
_JPEG_BEGINS = b"\xff\xd8\xff"


def preview_topic_of(sensor: str) -> str:
    """Topic of a sensor's previews."""
    return f"{PREVIEW_TOPIC}{sensor}/"


@dataclass(frozen=True, slots=True, kw_only=True)
class PreviewMessage:
    """A JPEG of `width` x `height` pixels that covers exactly a frame's image, with nothing drawn on it."""

    schema_version: int = SCHEMA_VERSION
    session: str
    sequence: int  # of this topic in this session, from 0
    sensor: str
    frame_sequence: int
    stamp_ns: int
    width: int
    height: int
    jpeg: bytes = field(repr=False)

    @property
    def topic(self) -> str:
        """The topic it is sent on."""
        return preview_topic_of(self.sensor)

    @property
    def ends_topic(self) -> bool:
        """Never: previews are made for whoever looks, and have no end of their own."""
        return False


def encode_preview(preview: PreviewMessage) -> bytes:
    """Serialise one message."""
    return pb.Preview(
        schema_version=preview.schema_version,
        session=preview.session,
        sequence=preview.sequence,
        sensor=sendable(preview.sensor),
        frame_sequence=preview.frame_sequence,
        stamp_ns=preview.stamp_ns,
        width=preview.width,
        height=preview.height,
        jpeg=preview.jpeg,
    ).SerializeToString()


def decode_preview(payload: bytes) -> PreviewMessage:
    """Read one message; raises `MalformedMessageError` on bytes that are none of ours, and nothing else."""
    message = parsed(pb.Preview, payload)
    check_header(message, "schema_version", "session", "sensor", "jpeg")
    if not (0 < message.width <= _MOST_SIDE and 0 < message.height <= _MOST_SIDE):
        raise MalformedMessageError(f"a preview of {message.width} x {message.height} pixels")
    if len(message.jpeg) > _MOST_JPEG_BYTES or not message.jpeg.startswith(_JPEG_BEGINS):
        raise MalformedMessageError(f"a preview of {len(message.jpeg)} bytes that are no small JPEG")
    return PreviewMessage(
        schema_version=message.schema_version,
        session=message.session,
        sequence=message.sequence,
        sensor=message.sensor,
        frame_sequence=message.frame_sequence,
        stamp_ns=message.stamp_ns,
        width=message.width,
        height=message.height,
        jpeg=message.jpeg,
    )
