"""A stream of which the test decides every message: frames, their previews, and the health, over a real socket."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

from engines.results import Detections, Found
from perception.message import HealthMessage, NetworkInfo, PreviewMessage, SensorHealth, SensorState, Status
from perception.message.health_message import HEALTH_TOPIC, encode_health
from perception.message.preview_message import encode_preview
from perception.stream import Outbox, Publisher

ROAD = NetworkInfo("road", "ab" * 32, "onnxruntime")
LABELS = ("person", "car")
WAIT_S = 20.0
NEVER = threading.Event()
GREY = (96, 96, 96)


def jpeg(width: int, height: int, bgr: Sequence[int] = GREY) -> bytes:
    """One colour; JPEG gives it back within a few levels."""
    _, encoded = cv2.imencode(".jpg", np.full((height, width, 3), bgr, np.uint8), [cv2.IMWRITE_JPEG_QUALITY, 95])
    return encoded.tobytes()


def boxes(*corners: Sequence[float], track_ids: Sequence[int] = (), class_index: int = 1) -> Detections:
    count = len(corners)
    return Detections(
        np.array(corners, np.float32).reshape(-1, 4),
        np.full(count, 0.87, np.float32),
        np.full(count, class_index, np.int32),
        np.array(track_ids or [0] * count, np.int64),
    )


def health_of(*sensors: SensorHealth, session: str = "one", sequence: int = 0, **more: Any) -> HealthMessage:
    defaults = {"sent_ns": 0, "uptime_ns": 65_000_000_000, "networks": (ROAD,), "readers": 1}
    return HealthMessage(session=session, sequence=sequence, sensors=sensors, **(defaults | more))


class MadeStream:
    """One session on a publisher."""

    def __init__(
        self, publisher: Publisher, labels: Sequence[str] = LABELS, size: tuple[int, int] = (200, 100)
    ) -> None:
        self.publisher = publisher
        self.outbox = Outbox([ROAD], [labels], publisher)
        self.size = size  # of the images
        self._previews: Counter[str] = Counter()
        self._healths = 0

    def frame(
        self,
        number: int,
        found: Found | None = None,
        sensor: str = "front",
        status: Status = Status.OK,
        reason: str = "",
    ) -> None:
        failed = status is not Status.OK
        self.outbox.send(
            sensor=sensor,
            frame_sequence=number,
            stamp_ns=number * 40_000_000,
            width=self.size[0],
            height=self.size[1],
            status=status,
            reason=reason,
            detections=[] if failed else [found or Detections.empty()],
        )

    def preview(self, number: int, bgr: Sequence[int] = GREY, sensor: str = "front") -> None:
        message = PreviewMessage(
            session=self.outbox.session,
            sequence=self._previews[sensor],
            sensor=sensor,
            frame_sequence=number,
            stamp_ns=number * 40_000_000,
            width=self.size[0],
            height=self.size[1],
            jpeg=jpeg(*self.size, bgr),
        )
        self._previews[sensor] += 1
        self.publisher.send(message.topic, encode_preview(message))

    def health(self, *sensors: SensorHealth, **more: Any) -> None:
        message = health_of(
            *(sensors or (SensorHealth(sensor="front", state=SensorState.RUNNING),)),
            session=self.outbox.session,
            sequence=self._healths,
            **more,
        )
        self._healths += 1
        self.publisher.send(HEALTH_TOPIC, encode_health(message))
