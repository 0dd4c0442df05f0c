"""What a camera's URI says, taken apart and checked. Opens nothing, and loads no FFmpeg.

What is ours stands where the camera's own words cannot: after the `#` of an RTSP URI (its query belongs to the camera),
in the query of a V4L2 or CSI one. Messages never repeat a URI's user, password or query.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, unquote

from sensors.errors import RequestError
from sensors.naming import shown, split_scheme

TRANSPORTS = ("tcp", "udp")

_RTSP_PORT = {"rtsp": 554, "rtsps": 322}
_HOST_AND_PORT = re.compile(r"(\[[0-9A-Fa-f:.%]+\]|[^:\[\]\s]+)(?::(\d{1,5}))?")
_ENVIRONMENT = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_RTSP_REMEDY = "write rtsp://USER:PASSWORD@HOST:PORT/PATH"
_CSI_REMEDY = "write csi://0?width=1920&height=1080&fps=30&rotate=180"
_V4L2_REMEDY = "write v4l2:///dev/video0?width=1280&height=720&fps=30&format=mjpeg"


@dataclass(frozen=True, slots=True)
class RtspAddress:
    """Where an RTSP camera is. In `user` and `password`, `${NAME}` stands for that variable of the environment."""

    scheme: str
    host: str  # an IPv6 address without its brackets
    port: int
    path: str  # with the camera's own query
    transport: str = "tcp"
    user: str = field(default="", repr=False)
    password: str = field(default="", repr=False)

    def secret_url(self) -> str:
        """The whole URL with user and password: only for FFmpeg, never for a person or a log.

        Raises `RequestError` where the environment lacks a name that is asked for.
        """
        user, password = (quote(self._from_environment(text), safe="") for text in (self.user, self.password))
        who = f"{user}:{password}@" if user or password else ""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{who}{host}:{self.port}{self.path}"

    def _from_environment(self, text: str) -> str:
        for name in _ENVIRONMENT.findall(text):
            if name not in os.environ:
                what = f"${{{name}}} is not in the environment"
                raise RequestError(f"{self.scheme}://{self.host}", what, f"set {name} where this is started")
        return _ENVIRONMENT.sub(lambda match: os.environ[match[1]], text)


def rtsp_address(uri: str) -> RtspAddress:
    """Take `rtsp://USER:PASSWORD@HOST:PORT/PATH?QUERY#transport=udp` apart. Raises `RequestError`.

    User and password may be percent-encoded; what leaves no doubt, like a single `@` or `/` in them, need not be.
    """
    scheme, rest = split_scheme(uri)
    who, at, where = _credentials(uri, rest.removeprefix("//"))
    where, _, ours = where.partition("#")
    authority = re.match(r"[^/?]*", where)
    host_and_port = _HOST_AND_PORT.fullmatch(authority[0]) if authority else None
    if not rest.startswith("//") or authority is None or host_and_port is None:
        raise RequestError(shown(uri), "names no host, or no port that is a number", _RTSP_REMEDY)
    port = int(host_and_port[2] or _RTSP_PORT[scheme])
    if not 0 < port < 65536:
        raise RequestError(shown(uri), f"has no port {port}", "give a port from 1 to 65535")
    path = where[authority.end() :]
    if any(character <= " " for character in path):
        raise RequestError(shown(uri), "has a blank in its path", "write %20 for it")
    settings = _settings(shown(uri), ours, {"transport": _transport})
    user, _, password = who.partition(":") if at else ("", "", "")
    return RtspAddress(
        scheme, host_and_port[1].strip("[]"), port, path, **settings, user=unquote(user), password=unquote(password)
    )


def _credentials(uri: str, rest: str) -> tuple[str, str, str]:
    """Split at the `@` behind the credentials; ("", "", rest) where there are none.

    Always the last one of all, so that no part of a password is ever taken for the host, and shown as one.
    """
    authority = re.split("[/?#]", rest, maxsplit=1)[0]
    is_behind = "@" in rest[len(authority) :]
    if is_behind and ("@" in authority or _HOST_AND_PORT.fullmatch(authority)):
        remedy = "write %40 for each @ but the one before the host, and %2F for / in a password"
        raise RequestError(shown(uri), "has an @ of which it is not plain whether the password ends there", remedy)
    return rest.rpartition("@")


@dataclass(frozen=True, slots=True)
class V4l2Address:
    """A Video4Linux2 device, and what is asked of it; None leaves it as the camera is set."""

    device: Path
    width: int | None = None
    height: int | None = None
    fps: float | None = None
    format: str | None = None  # FFmpeg's name of a pixel format or codec: mjpeg, yuyv422, h264


def v4l2_address(uri: str) -> V4l2Address:
    """Take `v4l2:///dev/video0?width=1280&height=720&fps=30&format=mjpeg` apart. Raises `RequestError`."""
    _, rest = split_scheme(uri)
    device, _, query = rest.partition("?")
    path = Path(unquote(device.removeprefix("//")))
    if not path.is_absolute() or "\0" in str(path):
        raise RequestError(shown(uri), "names no device by its whole path", _V4L2_REMEDY)
    known = {"width": _pixels, "height": _pixels, "fps": _rate, "format": _format}
    address = V4l2Address(path, **_settings(str(path), query, known))
    if (address.width is None) != (address.height is None):
        raise RequestError(str(path), "has one of width and height", "give both, or none")
    return address


@dataclass(frozen=True, slots=True)
class CsiAddress:
    """A camera on a Jetson's CSI port, by the number that Argus gives it, and what is asked of it.

    `rotate` turns its picture, in degrees clockwise, as the camera is mounted.
    """

    sensor: int
    width: int | None = None
    height: int | None = None
    fps: float | None = None
    rotate: int = 0


def csi_address(uri: str) -> CsiAddress:
    """Take `csi://0?width=1920&height=1080&fps=30&rotate=180` apart. Raises `RequestError`."""
    _, rest = split_scheme(uri)
    sensor, _, query = rest.partition("?")
    number = sensor.removeprefix("//")
    if not re.fullmatch(r"\d{1,2}", number, re.ASCII):
        raise RequestError(shown(uri), "names no camera by its number", _CSI_REMEDY)
    known = {"width": _pixels, "height": _pixels, "fps": _rate, "rotate": _turn}
    address = CsiAddress(int(number), **_settings(f"csi://{number}", query, known))
    if (address.width is None) != (address.height is None):
        raise RequestError(f"csi://{number}", "has one of width and height", "give both, or none")
    return address


def _settings(thing: str, text: str, known: Mapping[str, Callable[[str], Any]]) -> dict[str, Any]:
    """Read `key=value&key=value`; what is not known, given twice or no value of its kind is refused."""
    found: dict[str, Any] = {}
    for key, value in parse_qsl(text, keep_blank_values=True):
        if key not in known:
            near = get_close_matches(key, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"
            raise RequestError(thing, f"{key[:40]!r} is no setting of a camera", hint)
        if key in found:
            raise RequestError(thing, f"{key!r} is there twice", "leave one away")
        try:
            found[key] = known[key](value)
        except ValueError as error:
            raise RequestError(thing, f"{key}={value[:40]!r} is not possible", str(error)) from None
    return found


def _transport(text: str) -> str:
    if text not in TRANSPORTS:
        raise ValueError(f"use one of {', '.join(TRANSPORTS)}")
    return text


def _pixels(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < int(text[:9]) <= 32768 and len(text) < 6):
        raise ValueError("give pixels from 1 to 32768")
    return int(text)


def _rate(text: str) -> float:
    if not re.fullmatch(r"\d{1,4}(\.\d{1,6})?", text, re.ASCII) or not 0 < float(text) <= 1000:
        raise ValueError("give frames a second, above 0 and at most 1000")
    return float(text)


def _turn(text: str) -> int:
    if text not in ("0", "90", "180", "270"):
        raise ValueError("give 0, 90, 180 or 270 degrees clockwise")
    return int(text)


def _format(text: str) -> str:
    if not re.fullmatch(r"[a-z0-9_]{1,20}", text):
        raise ValueError("give FFmpeg's name of it: mjpeg, yuyv422, nv12, h264")
    return text
