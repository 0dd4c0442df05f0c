"""What a reader knows of messages that it did not get.

Each topic numbers its messages from 0 in each session; a gap is a loss. Whoever joins late has lost nothing.
Whoever was there when the publisher started again (a new session) has lost what it did not get from 0 on.
What an old session sent after the last message seen cannot be known.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from perception.message import Message, PreviewMessage

Position = tuple[str, int]  # session, and the sequence of the last message got


class Continuity:
    """Counts over the messages of one publisher, in the order in which they came."""

    def __init__(self, resume_from: Mapping[str, Position] | None = None) -> None:
        self.lost: Counter[str] = Counter()  # by topic
        self.restarts = 0
        self.position: dict[str, Position] = dict(resume_from or {})
        self._session: str | None = None
        self._was_there = bool(self.position)
        self._open: set[str] = set()
        self._has_ends = False  # in this session

    @property
    def ended(self) -> bool:
        """Whether every topic seen in this session has come to its end. Previews have none, and are not waited for."""
        return self._has_ends and not self._open

    def admit(self, message: Message) -> bool:
        """Take note of a message; False if it is none that can come now, because its sequence goes back."""
        topic = message.topic
        if message.session != self._session:
            self._begin(message.session)
        session, last = self.position.get(topic, ("", -1))
        if session == message.session:
            if message.sequence <= last:
                return False
            self._lose(topic, message.sequence - last - 1)
        elif self._was_there:
            self._lose(topic, message.sequence)
        self.position[topic] = (message.session, message.sequence)
        if message.ends_topic:
            self._open.discard(topic)
            self._has_ends = True
        elif not isinstance(message, PreviewMessage):
            self._open.add(topic)
        return True

    def _begin(self, session: str) -> None:
        """A session that was not read before: the first, or that of a publisher that has started again."""
        if self._session is not None:
            self.restarts += 1
            self._was_there = True
        elif self.position and all(known != session for known, _ in self.position.values()):
            self.restarts += 1
        self._session = session
        self._open.clear()
        self._has_ends = False

    def _lose(self, topic: str, count: int) -> None:
        if count:
            self.lost[topic] += count
