"""One connection to a camera, opened and read by a thread of its own.

A thread of its own, because FFmpeg can be interrupted only by a callback that takes Python's lock several times a
packet. Beside a thread that computes in Python, an 8 Mbit/s stream fell behind by more than a second with it, and was
never later than 12 ms without. So nobody interrupts: who waits here may leave at any moment, and the thread ends by
itself, with the connection, once FFmpeg's own time limit is over.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from queue import Empty, Full, Queue
from types import TracebackType
from typing import Any, Protocol

import av

from sensors.cameras.hardware import decoder_of
from sensors.cameras.left_behind import may_be_left_behind
from sensors.cameras.stamps import Clock
from sensors.cameras.upright_nv12 import UprightNv12
from sensors.drives.decoding import CODECS_THAT_HIDE, Outcome, decoded, item_of, new_packet, settled
from sensors.drives.packets import WaitingPackets
from sensors.drives.upright import UprightBgr
from sensors.frame import Item

_HANDED_OVER = 2  # items that wait: one is taken while the next is decoded
_LOOK_S = 0.2  # how soon a thread that waits to hand over sees that nobody takes it
_GOODBYE_S = 0.5  # for a camera that gives frames to be told that nobody reads on; some let few readers in
_NS_PER_S = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Lost:
    """Why a connection gives no more. `is_final`: trying again would not help, if it is the camera's first answer."""

    what: str
    remedy: str
    is_final: bool = False


class Camera(Protocol):
    """One kind of camera, as far as kinds differ."""

    @property
    def uri(self) -> str:
        """As it may be shown: without user, password and query."""

    def open(self, is_left: Callable[[], bool]) -> Any:
        """Open it as an FFmpeg container. Blocks, but not for ever; need not go on once `is_left`."""

    def why(self, error: Exception) -> Lost:
        """Say in words why opening or reading failed. What FFmpeg's errors say holds the password."""

    def clock(self) -> Clock:
        """Give the clock of one connection."""


class Connection:
    """Reads until it is left, or the camera gives no more. Entering starts it, leaving never waits long."""

    def __init__(self, camera: Camera, sensor: str, *, in_nv12: bool = False) -> None:
        self._camera = camera
        self._sensor = sensor
        self._upright = UprightNv12 if in_nv12 else UprightBgr
        self._queue: Queue[Item | Lost | BaseException] = Queue(_HANDED_OVER)
        self._left = threading.Event()
        # Daemon: a camera that does not answer does not keep the program from ending.
        self._thread = threading.Thread(target=self._run, name=f"camera-{sensor}", daemon=True)
        may_be_left_behind(self._thread)

    def __enter__(self) -> Connection:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._left.set()
        self._thread.join(_GOODBYE_S)

    @property
    def is_alive(self) -> bool:
        """Whether its thread still waits for the camera."""
        return self._thread.is_alive()

    def next(self, wait_s: float) -> Item | Lost | None:
        """Give the next item, with the connection's own stamps and no sequence; None where none came in time."""
        try:
            told = self._queue.get(timeout=wait_s)
        except Empty:
            return None
        if isinstance(told, BaseException):
            raise told
        return told

    def _run(self) -> None:
        try:
            with self._camera.open(self._left.is_set) as container:
                # Before it is closed: saying goodbye to a camera that has frozen takes FFmpeg its time limit once more.
                self._hand_over(self._read_to_the_end(container))
        except Exception as error:
            self._hand_over(self._told_of(error))

    def _read_to_the_end(self, container: Any) -> Lost | BaseException:
        try:
            return self._read(container)
        except Exception as error:
            return self._told_of(error)

    def _told_of(self, error: Exception) -> Lost | BaseException:
        """What a camera's errors mean; a bug is itself, and raised in the thread that iterates."""
        is_the_cameras = isinstance(error, (av.FFmpegError, OSError, ValueError, MemoryError))
        return self._camera.why(error) if is_the_cameras else error

    def _hand_over(self, told: Item | Lost | BaseException) -> None:
        while not self._left.is_set():
            try:
                self._queue.put(told, timeout=_LOOK_S)
            except Full:
                continue
            return

    def _read(self, container: Any) -> Lost:
        streams = container.streams.video
        if not streams or streams[0].codec_context is None:
            kinds = ", ".join(sorted({stream.type for stream in container.streams})) or "nothing"
            what = f"gives no video that this FFmpeg can decode (but {kinds})"
            return Lost(what, "set the camera's main stream to H.264, and give its path", is_final=True)
        stream = streams[0]
        # A thread a slice or none: with frame threads each picture would wait for as many later ones.
        stream.codec_context.thread_count, stream.codec_context.thread_type = 1, "SLICE"
        upright = self._upright(stream.sample_aspect_ratio)
        clock = self._camera.clock()
        is_begun = False
        for outcome in self._outcomes(container, stream):
            # Joining in the middle, there is nothing to see before the first key frame, and nothing lost.
            is_begun = is_begun or outcome.picture is not None
            if is_begun:
                camera_ns = round(outcome.ticks * stream.time_base * _NS_PER_S)
                stamp_ns = clock.stamp_ns(camera_ns, outcome.arrival_ns)
                self._hand_over(item_of(outcome, upright, self._sensor, 0, stamp_ns))
        return Lost("ended the stream", "look whether it is on")

    def _outcomes(self, container: Any, stream: Any) -> Iterator[Outcome]:
        with decoder_of(stream) as decoder:
            yield from self._decoded(container, stream, decoder)

    def _decoded(self, container: Any, stream: Any, decoder: Any) -> Iterator[Outcome]:
        waiting = WaitingPackets(may_hide=decoder.name in CODECS_THAT_HIDE)
        for number, coded in enumerate(container.demux(stream)):
            if self._left.is_set():
                return
            packet = new_packet(number, coded, is_timed=True)
            if coded.pts is not None or coded.dts is not None:  # FFmpeg knows no time for RTP's very first packet
                waiting.add(packet)
            for picture in decoded(decoder, coded, packet):
                yield from settled(waiting, picture, time.monotonic_ns(), is_timed=True)
