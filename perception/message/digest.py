"""What a replay published, as one SHA-256: equal for two replays that found the same."""

from __future__ import annotations

import hashlib


class Digest:
    """Sums up message bodies topic by topic, so that the order in which cameras take turns does not matter.

    Within a topic order counts. Every body goes in after its length: no two ways of cutting the same bytes
    into messages have one digest.
    """

    def __init__(self) -> None:
        self._topics: dict[str, hashlib._Hash] = {}

    def add(self, topic: str, body: bytes) -> None:
        """Take in the next message of a topic: its bytes without session and ledger."""
        topic_hash = self._topics.get(topic)
        if topic_hash is None:
            topic_hash = self._topics[topic] = hashlib.sha256()
        topic_hash.update(len(body).to_bytes(8, "big"))
        topic_hash.update(body)

    def hexdigest(self) -> str:
        """Return the digest of all so far; more may be added after it."""
        whole = hashlib.sha256()
        for topic in sorted(self._topics):
            name = topic.encode()
            whole.update(len(name).to_bytes(8, "big"))
            whole.update(name)
            whole.update(self._topics[topic].digest())
        return whole.hexdigest()
