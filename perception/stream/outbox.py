"""The last step of a result before the socket: numbered, encoded, summed up, sent.

Works the same with a socket and without one, so that a replay that publishes nothing still has its messages
and its digest.
"""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Sequence
from typing import Protocol

from engines.results import Found
from perception.message.digest import Digest
from perception.message.encoding import BodyEncoder, LedgerTimes, encode_tail, sendable
from perception.message.frame_message import NetworkInfo, Status, topic_of

SESSION_BYTES = 8  # 64 random bits: two starts that share a session would hide a restart


class Sender(Protocol):
    """Where an outbox puts its messages: a `Publisher`, or a `NullPublisher`."""

    def send(self, topic: str, payload: bytes) -> None:
        """Hand one message over, without waiting."""


class Outbox:
    """One session's messages. Not thread-safe: one thread sends."""

    def __init__(self, networks: Sequence[NetworkInfo], labels: Sequence[Sequence[str]], sender: Sender) -> None:
        self.session = secrets.token_hex(SESSION_BYTES)
        self.networks = tuple(networks)
        self._encoder = BodyEncoder(networks, labels)
        self._sender = sender
        self._sent: Counter[str] = Counter()  # messages by topic: the next one's sequence
        self._digest = Digest()

    def send(
        self,
        *,
        sensor: str,
        frame_sequence: int,
        stamp_ns: int,
        width: int,
        height: int,
        status: Status,
        reason: str = "",
        detections: Sequence[Found] = (),
        ledger: LedgerTimes | None = None,
    ) -> bytes:
        """Send what became of one frame and return the payload, as it left.

        `detections`: one entry a network, in their order, or none at all where the frame failed.
        `ledger`: wall-clock ns by the message's names (`arrival_ns`, ...).
        """
        topic = topic_of(sendable(sensor))
        body = self._encoder.encode(
            sequence=self._sent[topic],
            sensor=sensor,
            frame_sequence=frame_sequence,
            stamp_ns=stamp_ns,
            width=width,
            height=height,
            status=status,
            reason=reason,
            detections=detections,
        )
        self._sent[topic] += 1
        self._digest.add(topic, body)
        payload = body + encode_tail(self.session, ledger)
        self._sender.send(topic, payload)
        return payload

    def end(self, sensor: str, frame_count: int, stamp_ns: int) -> bytes:
        """Tell the sensor's readers that nothing follows. `frame_count`: frames that it captured.

        End all sensors together, after the last frame of the last one: a reader stops once every topic
        that it has seen is at its end.
        """
        return self.send(
            sensor=sensor,
            frame_sequence=frame_count,
            stamp_ns=stamp_ns,
            width=0,
            height=0,
            status=Status.END_OF_STREAM,
        )

    def sent(self, sensor: str) -> int:
        """Messages that were sent of a sensor so far. Any thread."""
        return self._sent[topic_of(sendable(sensor))]

    def digest(self) -> str:
        """SHA-256 over all that was sent so far, session and ledger left out."""
        return self._digest.hexdigest()
