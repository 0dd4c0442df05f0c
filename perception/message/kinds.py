"""The kinds of message, by the beginning of their topics."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

from perception.message.decoding import MalformedMessageError, decode_message
from perception.message.frame_message import DETECTIONS_TOPIC, FrameMessage
from perception.message.health_message import HEALTH_TOPIC, HealthMessage, decode_health
from perception.message.preview_message import PREVIEW_TOPIC, PreviewMessage, decode_preview

Message: TypeAlias = FrameMessage | HealthMessage | PreviewMessage

DECODERS: Mapping[str, Callable[[bytes], Message]] = {
    DETECTIONS_TOPIC: decode_message,
    HEALTH_TOPIC: decode_health,
    PREVIEW_TOPIC: decode_preview,
}


def decode_on_topic(topic: bytes, payload: bytes) -> Message:
    """Read a message of whatever kind its topic says; raises `MalformedMessageError`, also where it lies."""
    for begins, decode in DECODERS.items():
        if topic.startswith(begins.encode()):
            message = decode(payload)
            break
    else:
        raise MalformedMessageError(f"came on the topic {topic!r}, which is none of ours")
    if topic != message.topic.encode():
        raise MalformedMessageError(f"came on the topic {topic!r}, but is of {message.topic}")
    return message
