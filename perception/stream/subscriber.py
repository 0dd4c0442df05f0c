"""The readers that most programs need: one of what was found, one of how the publisher fares.

    with Subscriber("tcp://127.0.0.1:5555") as subscriber:
        for message in subscriber:
            print(message.sensor, message.stamp_ns, len(message.detections))
    print(sum(subscriber.lost.values()), "lost")

Each gives messages of one kind; `StreamSubscriber`, on which they stand, reads any topics at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from perception.errors import UsageError
from perception.message.frame_message import DETECTIONS_TOPIC, FrameMessage
from perception.message.health_message import HEALTH_TOPIC, HealthMessage
from perception.stream.continuity import Position
from perception.stream.stream_subscriber import StreamSubscriber


class Subscriber(StreamSubscriber[FrameMessage]):
    """Reads what was found. `topic`: a prefix, for example detections/front/; the rest as in `StreamSubscriber`."""

    def __init__(
        self,
        endpoint: str,
        topic: str = DETECTIONS_TOPIC,
        *,
        newest: bool = False,
        follow: bool = False,
        timeout_s: float | None = None,
        resume_from: Mapping[str, Position] | None = None,
        keys: Path | None = None,
        server_key: Path | None = None,
        insecure: bool = False,
    ) -> None:
        if not topic.startswith(DETECTIONS_TOPIC):
            raise UsageError(
                f"topic {topic!r}",
                f"does not begin with {DETECTIONS_TOPIC}",
                "use detections/SENSOR/; HealthSubscriber and StreamSubscriber read the others",
            )
        super().__init__(
            endpoint,
            [topic],
            newest=newest,
            follow=follow,
            timeout_s=timeout_s,
            resume_from=resume_from,
            keys=keys,
            server_key=server_key,
            insecure=insecure,
        )


class HealthSubscriber(StreamSubscriber[HealthMessage]):
    """Reads how the publisher fares, once a second, to its last word. Arguments as in `StreamSubscriber`."""

    def __init__(
        self,
        endpoint: str,
        *,
        follow: bool = False,
        timeout_s: float | None = None,
        keys: Path | None = None,
        server_key: Path | None = None,
        insecure: bool = False,
    ) -> None:
        super().__init__(
            endpoint,
            [HEALTH_TOPIC],
            follow=follow,
            timeout_s=timeout_s,
            keys=keys,
            server_key=server_key,
            insecure=insecure,
        )
