"""A network camera by RTSP: `rtsp://USER:PASSWORD@HOST/PATH`, over TCP unless it ends in `#transport=udp`.

Over TCP by default, as with Frigate and go2rtc: over UDP a lost packet spoils pictures up to the next key frame.
`rtsps://` is encrypted, but the certificate is not checked: cameras sign their own.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from typing import Any

import av

from sensors.cameras.addresses import RtspAddress, rtsp_address
from sensors.cameras.connection import Lost
from sensors.cameras.reconnecting import Patience, ReconnectingCamera
from sensors.cameras.stamps import Clock, FastestArrival
from sensors.naming import shown

# FFmpeg's limit for reading is over later than ours: at its own it first gives the frame that its parser holds back,
# and then waits as long again, so that a camera that froze seemed to live twice as long.
_AFTER_US_S = 1.0
_LOOK = "check its address and whether it is on"


def open_rtsp(uri: str, name: str, patience: Patience = Patience(), *, in_nv12: bool = False) -> ReconnectingCamera:
    """Make a source of an RTSP URI; connects when it is iterated. Raises `RequestError` where it is written wrongly."""
    return ReconnectingCamera(RtspCamera(uri, rtsp_address(uri), patience), name, patience, in_nv12=in_nv12)


class RtspCamera:
    """Stamps are the RTP timestamps, which begin anew at each connection, brought onto the host's monotonic clock."""

    def __init__(self, uri: str, address: RtspAddress, patience: Patience) -> None:
        self.uri = shown(uri)
        self._address = address
        self._patience = patience
        self._url = address.secret_url()
        self._asked_s = 0.0

    def open(self, is_left: Callable[[], bool]) -> Any:  # noqa: ARG002  FFmpeg ends by its own time limit
        self._asked_s = time.monotonic()
        socket.getaddrinfo(self._address.host, self._address.port)  # FFmpeg does not tell an unknown name from others
        options = {
            "rtsp_transport": self._address.transport,
            "allowed_media_types": "video",  # with sound, FFmpeg holds video back for it, and shifts its times
            "timeout": str(round((self._patience.stall_s + _AFTER_US_S) * 1e6)),
            "fpsprobesize": "0",  # the rate is not asked for, so a second of frames need not be waited for
        }
        return av.open(
            self._url,
            format="rtsp",
            options=options,
            metadata_errors="replace",
            # Without a limit for reading: see connection.py.
            timeout=(self._patience.first_picture_s, None),
        )

    def why(self, error: Exception) -> Lost:
        told = getattr(error, "strerror", None) or type(error).__name__
        match error:
            case av.error.HTTPUnauthorizedError() | av.error.HTTPForbiddenError():
                return Lost("refuses user or password (401)", "give rtsp://USER:PASSWORD@HOST/PATH", is_final=True)
            case av.error.HTTPNotFoundError():
                return Lost("has no such stream (404)", "look up the stream's path for this model", is_final=True)
            case av.error.HTTPOtherClientError() | av.error.HTTPBadRequestError():
                what = "refuses this stream: perhaps it has no video, or others watch already"
                return Lost(what, "look up the stream's path for this model", is_final=True)
            case av.error.HTTPServerError():
                return Lost("has trouble of its own (a 5xx answer)", "look at its own pages, and start it again")
            case socket.gaierror():
                return Lost(f"the name {self._address.host} is not known", "check the address and the network's DNS")
            case ConnectionRefusedError():
                return Lost("refuses the connection: nothing listens on that port", _LOOK)
            case av.error.InvalidDataError() if time.monotonic() - self._asked_s < self._patience.stall_s:
                return Lost("answers in something else than RTSP", "check that host and port are a camera's")
            case av.error.EOFError():
                return Lost("hung up", _LOOK)
            case av.error.ExitError() | TimeoutError() | av.error.InvalidDataError():  # FFmpeg's time limits, all three
                return Lost(f"gives no answer in RTSP for {self._patience.stall_s:g} s", _LOOK)
        return Lost(f"cannot be read: {told[:1].lower()}{told[1:]}", _LOOK)

    def clock(self) -> Clock:
        return FastestArrival()
