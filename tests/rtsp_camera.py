"""Starts and stops the RTSP camera of the tests, a process of its own (`rtsp_server.py`)."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
from pathlib import Path

import pytest

_PROGRAM = Path(__file__).with_name("rtsp_server.py")
_NEEDS = ("Gst", "GstRtspServer", "x264enc")
PACKAGES = "gir1.2-gst-rtsp-server-1.0 python3-gi gstreamer1.0-plugins-{base,good,ugly}"
_CHECK = """
import gi
gi.require_version("GstRtspServer", "1.0")
from gi.repository import Gst, GstRtspServer
Gst.init(None)
assert all(Gst.ElementFactory.find(name) for name in ("videotestsrc", "x264enc", "rtph264pay"))
"""


def found_python() -> str | None:
    """The Python with GStreamer's bindings, if there is one."""
    for python in ("/usr/bin/python3", shutil.which("python3")):
        if python and subprocess.run([python, "-c", _CHECK], capture_output=True, check=False).returncode == 0:
            return python
    return None


def system_python() -> str:
    """The Python with GStreamer's bindings; skips the test where there is none, but fails it in CI."""
    if python := found_python():
        return python
    told = f"GStreamer's RTSP server not found; install {PACKAGES}"
    if os.environ.get("CI") == "true":
        pytest.fail(told)
    pytest.skip(told)


def free_port() -> int:
    """A port on which nothing listens just now."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port: int = listening.getsockname()[1]
        return port


class RtspCamera:
    """A camera that can be plugged in and out. `options` are those of `rtsp_server.py`."""

    def __init__(self, *options: str, port: int | None = None) -> None:
        self._python = system_python()
        self._options = options
        self._process: subprocess.Popen[str] | None = None
        self.port = port or free_port()

    def uri(self, path: str = "/ball", user: str = "", scheme: str = "rtsp") -> str:
        return f"{scheme}://{user}{user and '@'}127.0.0.1:{self.port}{path}"

    def plug_in(self) -> RtspCamera:
        command = [self._python, str(_PROGRAM), "--port", str(self.port), *self._options]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        assert int(self._process.stdout.readline()) == self.port
        return self

    def plug_out(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def freeze(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def __enter__(self) -> RtspCamera:
        return self.plug_in()

    def __exit__(self, *exc: object) -> None:
        self.plug_out()
