"""What goes over the wire: `perception.proto`, its generated code, and the way to and from our own values.

`frame_message.py` says what a message is, `encoding.py` makes its bytes, `decoding.py` reads them, `digest.py` sums
them up. `health_message.py` and `preview_message.py` do all that for the two other kinds, `kinds.py` tells the three
apart by their topics, `json_form.py` prints any. Nothing here knows a socket. Imports `engines.results` for what was
found.
"""

from perception.message.decoding import MalformedMessageError, decode_message
from perception.message.digest import Digest
from perception.message.encoding import LedgerTimes
from perception.message.frame_message import (
    FrameMessage,
    LedgerStamps,
    NamedClass,
    NetworkInfo,
    NetworkStamps,
    SemanticMask,
    Status,
    topic_of,
)
from perception.message.health_message import HealthMessage, RecordingHealth, SensorHealth, SensorState
from perception.message.json_form import to_json_dict
from perception.message.kinds import Message
from perception.message.preview_message import PreviewMessage

__all__ = [
    "Digest",
    "FrameMessage",
    "HealthMessage",
    "LedgerStamps",
    "LedgerTimes",
    "MalformedMessageError",
    "Message",
    "NamedClass",
    "NetworkInfo",
    "NetworkStamps",
    "PreviewMessage",
    "RecordingHealth",
    "SemanticMask",
    "SensorHealth",
    "SensorState",
    "Status",
    "decode_message",
    "to_json_dict",
    "topic_of",
]
