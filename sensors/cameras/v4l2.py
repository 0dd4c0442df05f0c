"""A camera of this machine by Video4Linux2: `v4l2:///dev/video0?width=1280&height=720&fps=30&format=mjpeg`.

By FFmpeg, which hands the kernel's stamp of each buffer on unchanged, in microseconds; OpenCV gives none as exact. No
camera was at hand when this was written: refusals and words are tested, pictures are not.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import av

from sensors.cameras.addresses import V4l2Address, v4l2_address
from sensors.cameras.connection import Lost
from sensors.cameras.reconnecting import Patience, ReconnectingCamera
from sensors.cameras.stamps import Clock, KernelStamps
from sensors.errors import RequestError, SourceNotFoundError

_MAJOR = 81  # the number of video devices among Linux's character devices (devices.txt)
_GROUP = "add the user to the group that owns it: sudo usermod -aG video USER, then log in again"


def open_v4l2(uri: str, name: str, patience: Patience = Patience(), *, in_nv12: bool = False) -> ReconnectingCamera:
    """Make a source of a V4L2 URI. Raises `RequestError` where the device is missing, barred or no camera at all."""
    address = v4l2_address(uri)
    _check_device(address.device)
    return ReconnectingCamera(V4l2Camera(address), name, patience, in_nv12=in_nv12)


def _check_device(device: Path) -> None:
    try:
        status = device.stat()
    except FileNotFoundError:
        raise SourceNotFoundError(str(device), "does not exist", devices_like(device)) from None
    except (OSError, ValueError) as error:
        raise RequestError(str(device), f"cannot be looked at ({error})", "check the path") from None
    if not stat.S_ISCHR(status.st_mode) or os.major(status.st_rdev) != _MAJOR:
        raise RequestError(str(device), "is no camera", f"give a camera's device; {devices_like(device)}")
    if not os.access(device, os.R_OK | os.W_OK):
        raise RequestError(str(device), "may not be opened by this user", _GROUP)


def devices_like(device: Path, folder: Path = Path("/dev")) -> str:
    """What there is in its place, in words, the nearest name first."""
    there = sorted(path.name for path in folder.glob("video*"))
    if not there:
        return f"there is no {folder}/video* at all: is the camera plugged in?"
    near = get_close_matches(device.name, there, n=1)
    return f"did you mean {folder / near[0]}?" if near else f"in {folder} there are {', '.join(there)}"


class V4l2Camera:
    """One device; stamps are the kernel's own, on the host's monotonic clock."""

    def __init__(self, address: V4l2Address) -> None:
        self.uri = f"v4l2://{address.device}"
        self._address = address

    def open(self, is_left: Callable[[], bool]) -> Any:  # noqa: ARG002  FFmpeg ends by its own time limit
        return av.open(str(self._address.device), format="v4l2", options=ffmpeg_options(self._address))

    def why(self, error: Exception) -> Lost:
        device = self._address.device
        told = getattr(error, "strerror", None) or type(error).__name__
        match getattr(error, "errno", None):
            case errno.ENODEV | errno.ENOTTY:
                what = "gives no pictures: it is unplugged, or the second device that a camera has for its settings"
                return Lost(what, devices_like(device), is_final=True)
            case errno.EINVAL:
                what = "does not give this size, rate or format"
                return Lost(what, f"look with v4l2-ctl --list-formats-ext -d {device}", is_final=True)
            case errno.EBUSY:
                return Lost("is used by another program", f"end that one: fuser {device} tells which")
            case errno.EACCES | errno.EPERM:
                return Lost("may not be opened by this user", _GROUP, is_final=True)
            case errno.ENOENT | errno.ENXIO | errno.EIO:
                return Lost("is not there any more", "plug the camera in")
        return Lost(f"cannot be read: {told[:1].lower()}{told[1:]}", "plug the camera out and in")

    def clock(self) -> Clock:
        return KernelStamps()


def ffmpeg_options(address: V4l2Address) -> dict[str, str]:
    """What FFmpeg's `v4l2` input is asked for."""
    asked = {
        "video_size": f"{address.width}x{address.height}" if address.width else None,
        "framerate": f"{address.fps:g}" if address.fps else None,
        "input_format": address.format,
    }
    return {option: value for option, value in asked.items() if value}
