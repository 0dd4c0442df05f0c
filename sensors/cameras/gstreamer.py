"""A GStreamer pipeline as a process of its own, whose raw pictures come as Matroska through a pipe.

By `gst-launch-1.0`, because no wheel can what JetPack's GStreamer can: pip's OpenCV has none and hides JetPack's, and
PyGObject is bound to the system's Python. A crash in a camera's driver ends that process and not the vehicle's.

A picture of 1920x1080 costs 1.4 ms of CPU here to be read from the pipe, and comes 0.02 s after its time.
"""

from __future__ import annotations

import fcntl
import os
import re
import select
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, BinaryIO

import av

GST_LAUNCH, GST_INSPECT = "gst-launch-1.0", "gst-inspect-1.0"

_BUFFER = 1 << 20  # bytes; also the largest pipe that Linux gives to anybody
_TO_LOOK_S = 0.2  # between looks whether somebody still wants pictures
_END_S = 0.5  # for a pipeline to end by itself once it is asked to
_TOLD = 4000  # characters of what it said last
# Live pictures are handed on at once, and stamped to 0.1 ms (the unit is ns).
_AS_MATROSKA = ("matroskamux", "streamable=true", "timecodescale=100000")
_ADDRESS = re.compile(r"0x[0-9a-f]{6,}")


class PipelineError(OSError):
    """A pipeline that ended or was silent. Its text is what it said, or nothing."""


class Silent(PipelineError):
    """A pipeline that gave nothing for as long as was waited."""


def is_installed() -> bool:
    """Whether this machine can launch pipelines."""
    return shutil.which(GST_LAUNCH) is not None


class Pipeline:
    """One that runs: what PyAV's container is to a reader, and on leaving it is gone. For one thread.

    `elements`: the pipeline's words up to raw I420 pictures. `is_left`: nobody wants its pictures any more. `first_s`:
    how long it may take to give anything, `silent_s`: to give more. `inherited`: descriptors that it takes over. Raises
    `PipelineError` here and on reading, `av.FFmpegError` where what comes is not what was asked for.
    """

    def __init__(
        self,
        elements: Sequence[str],
        is_left: Callable[[], bool],
        first_s: float,
        silent_s: float,
        inherited: Sequence[int] = (),
    ) -> None:
        pictures, writing = os.pipe()
        talk, talking = os.pipe()
        try:
            fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, _BUFFER)
            sink = ("!", *_AS_MATROSKA, "!", "fdsink", f"fd={writing}", "sync=false")
            self._process = subprocess.Popen(
                [GST_LAUNCH, "-q", *elements, *sink],
                stdin=subprocess.DEVNULL,
                stdout=talking,  # drivers talk there too, so the pictures have a way of their own
                stderr=talking,
                pass_fds=(writing, *inherited),
                start_new_session=True,  # Ctrl-C of a terminal is the program's to handle
                env=os.environ | {"LC_ALL": "C"},
            )
        except BaseException:
            os.close(pictures)
            os.close(talk)
            raise
        finally:
            for descriptor in (writing, talking, *inherited):
                os.close(descriptor)
        self._pipe = _Pipe(pictures, talk, is_left, first_s, silent_s)
        try:
            self._container: Any = av.open(
                self._pipe, format="matroska", buffer_size=_BUFFER, options={"fpsprobesize": "0"}
            )
        except BaseException as error:
            told = self._ended_with(error)
            self.__exit__()
            raise told from None

    def __enter__(self) -> Pipeline:
        return self

    def __exit__(self, *_exc: object) -> None:
        self._pipe.close()
        self._process.terminate()
        try:
            self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()  # it hangs in a driver
            self._process.wait()

    @property
    def streams(self) -> Any:
        """Those of PyAV's container."""
        return self._container.streams

    def demux(self, stream: Any) -> Iterator[Any]:
        """Packets as they come. Ends only by an error: a camera has no end."""
        try:
            yield from self._container.demux(stream)
        except (OSError, av.FFmpegError) as error:
            raise self._ended_with(error) from None
        raise self._ended_with(EOFError())

    def _ended_with(self, error: BaseException) -> BaseException:
        """The error, in the pipeline's own words where it ended because of itself."""
        if self._pipe.is_silent:
            return Silent()
        if not isinstance(error, (OSError, av.FFmpegError, EOFError)):
            return error
        try:
            self._process.wait(_END_S)  # what it says last comes with its end
        except subprocess.TimeoutExpired:
            return error
        return PipelineError(self._pipe.last_words())


class _Pipe:
    """The reading ends of a pipeline, for PyAV, that do not wait for ever."""

    def __init__(self, pictures: int, talk: int, is_left: Callable[[], bool], first_s: float, silent_s: float) -> None:
        self._pictures: BinaryIO = os.fdopen(pictures, "rb", buffering=0)
        self._talk: BinaryIO = os.fdopen(talk, "rb", buffering=0)
        os.set_blocking(talk, False)
        self._open = [self._pictures, self._talk]
        self._said = b""
        self._is_left = is_left
        self._wait_s, self._silent_s = first_s, silent_s
        self.is_silent = False  # as long as was waited

    def read(self, size: int) -> bytes:
        """Give what there is; nothing once it has ended, is left, or was silent for too long."""
        until_s = time.monotonic() + self._wait_s
        while not (self._is_left() or self.is_silent):
            ready, _, _ = select.select(self._open, [], [], _TO_LOOK_S)
            if self._talk in ready:
                self._listen()
            if self._pictures in ready:
                self._wait_s = self._silent_s
                return self._pictures.read(size)
            self.is_silent = time.monotonic() > until_s
        return b""

    def last_words(self) -> str:
        """What the pipeline said last."""
        while self._listen():
            pass
        return _ADDRESS.sub("", self._said.decode(errors="replace"))

    def close(self) -> None:
        self._pictures.close()
        self._talk.close()

    def _listen(self) -> bool:
        """Keep the last of what it said, which also keeps it from waiting for us. Whether there was more."""
        more = self._talk.read(_TOLD)  # None: nothing now; nothing at all: never again
        if more == b"" and self._talk in self._open:
            self._open.remove(self._talk)
        self._said = (self._said + (more or b""))[-_TOLD:]
        return bool(more)
