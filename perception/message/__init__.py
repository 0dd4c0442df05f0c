"""What goes over the wire: `perception.proto`, its generated code, and the way to and from our own values.

`frame_message.py` says what a message is, `encoding.py` makes its bytes, `decoding.py` reads them,
`json_form.py` prints them, `digest.py` sums them up. Nothing here knows a socket. Imports `engines.results`
for what was found.
"""

from perception.message.decoding import MalformedMessageError, decode_message
from perception.message.digest import Digest
from perception.message.encoding import LedgerTimes
from perception.message.frame_message import (
    FrameMessage,
    LedgerStamps,
    NetworkInfo,
    NetworkStamps,
    SemanticMask,
    Status,
    topic_of,
)
from perception.message.json_form import to_json_dict

__all__ = [
    "Digest",
    "FrameMessage",
    "LedgerStamps",
    "LedgerTimes",
    "MalformedMessageError",
    "NetworkInfo",
    "NetworkStamps",
    "SemanticMask",
    "Status",
    "decode_message",
    "to_json_dict",
    "topic_of",
]
