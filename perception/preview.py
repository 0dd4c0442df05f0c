"""Small pictures for people to look at, made only while somebody has subscribed to them.

The completer's thread takes what it cannot do without: a copy scaled down, right from the frame's memory, at most ten
times a second and sensor, after the frame's results are out. JPEG is made on a thread of its own, that of the newest
frame where it cannot keep up, and with a priority below everything that perception does.
"""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from perception.message.encoding import sendable
from perception.message.preview_message import PreviewMessage, encode_preview, preview_topic_of
from perception.pipeline import Result
from perception.stream import NullPublisher, Publisher
from sensors.frame import Frame
from sensors.yuv import bgr, to_bgr

LONGEST_SIDE = 640  # pixels
JPEG_QUALITY = 70
LEAST_PERIOD_NS = 100_000_000  # between two previews of one sensor
_NICE = 10  # of 19; Linux has it by thread


@dataclass(frozen=True, slots=True)
class _Picture:
    """A frame scaled down, which waits to be encoded."""

    frame_sequence: int
    stamp_ns: int
    image: NDArray[np.uint8]  # (H, W, 3) BGR


class Previews:
    """An observer of the pipeline that sends previews while it is entered."""

    def __init__(self, publisher: Publisher | NullPublisher, session: str, sensors: Sequence[str]) -> None:
        self._publisher = publisher
        self._session = session
        self._topics = {sensor: preview_topic_of(sendable(sensor)) for sensor in sensors}
        publisher.offer(self._topics.values())
        self._due_ns = dict.fromkeys(sensors, 0)
        self._sent: Counter[str] = Counter()
        self._waiting: dict[str, _Picture] = {}  # one a sensor, the longest waiting sensor first
        self._changed = threading.Condition()
        self._stopping = False
        self._thread = threading.Thread(target=self._encode_all, name="previews")

    def __enter__(self) -> Previews:
        if self._publisher.endpoint:
            self._thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        if self._publisher.endpoint:
            with self._changed:
                self._stopping = True
                self._changed.notify()
            self._thread.join()

    def __call__(self, result: Result) -> None:
        """Look at one result: take its picture if somebody wants it and it is time."""
        frame, now_ns = result.frame, time.monotonic_ns()
        if frame is None or now_ns < self._due_ns[frame.sensor]:
            return
        if not self._publisher.is_wanted(self._topics[frame.sensor]):
            return
        self._due_ns[frame.sensor] = now_ns + LEAST_PERIOD_NS
        picture = _Picture(frame.sequence, frame.stamp_ns, scaled_down(frame))
        with self._changed:
            self._waiting[frame.sensor] = picture  # in the place of an older one
            self._changed.notify()

    def _encode_all(self) -> None:
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
        while True:
            with self._changed:
                while not self._waiting and not self._stopping:
                    self._changed.wait()
                if not self._waiting:
                    return
                sensor = next(iter(self._waiting))
                picture = self._waiting.pop(sensor)
            self._send(sensor, picture)

    def _send(self, sensor: str, picture: _Picture) -> None:
        _, jpeg = cv2.imencode(".jpg", picture.image, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
        height, width = picture.image.shape[:2]
        message = PreviewMessage(
            session=self._session,
            sequence=self._sent[sensor],
            sensor=sensor,
            frame_sequence=picture.frame_sequence,
            stamp_ns=picture.stamp_ns,
            width=width,
            height=height,
            jpeg=jpeg.tobytes(),
        )
        self._sent[sensor] += 1
        self._publisher.send(self._topics[sensor], encode_preview(message))


def scaled_down(frame: Frame) -> NDArray[np.uint8]:
    """A copy of a frame's image, (H, W, 3) BGR, that fits into a square of `LONGEST_SIDE` pixels; never enlarged.

    Linear: the frame's thread pays for it. 0.15 to 0.3 ms from 1280x720 and 1920x1080, where averaging all pixels
    (INTER_AREA) takes up to 1.7 ms and looks hardly better at these factors.
    """
    width, height = frame.width, frame.height
    scale = LONGEST_SIDE / max(width, height)
    if scale >= 1:
        image = bgr(frame)
        return image.copy() if image is frame.image else image
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    if frame.format.is_nv12:  # first smaller, then BGR: of the large one that may take 15 ms
        return _of_nv12(frame, size)
    return np.asarray(cv2.resize(frame.image, size, interpolation=cv2.INTER_LINEAR), np.uint8)


def _of_nv12(frame: Frame, size: tuple[int, int]) -> NDArray[np.uint8]:
    width, height = (side + side % 2 for side in size)
    luma, pairs = frame.image[: frame.height], frame.image[frame.height :].reshape(frame.height // 2, -1, 2)
    small = np.empty((height * 3 // 2, width), np.uint8)
    cv2.resize(luma, (width, height), dst=small[:height], interpolation=cv2.INTER_LINEAR)
    small[height:] = cv2.resize(pairs, (width // 2, height // 2), interpolation=cv2.INTER_LINEAR).reshape(-1, width)
    return to_bgr(small, frame.format)[: size[1], : size[0]]
