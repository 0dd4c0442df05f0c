"""A camera on a Jetson's CSI port: `csi://0?width=1920&height=1080&fps=30&rotate=180`.

By NVIDIA's Argus, which runs sensor and image processor, through GStreamer's `nvarguscamerasrc`. No Jetson was at hand
for this: the pipeline's every other part is tested with GStreamer's own test picture in the sensor's place.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

from sensors.cameras.addresses import CsiAddress, csi_address
from sensors.cameras.connection import Lost
from sensors.cameras.gstreamer import GST_LAUNCH, Pipeline, Silent, is_installed
from sensors.cameras.reconnecting import Patience, ReconnectingCamera
from sensors.cameras.stamps import Clock, FastestArrival
from sensors.errors import RequestError

_FLIP_METHOD = {90: 3, 180: 2, 270: 1}  # of `nvvidconv`: 1 is a quarter to the left
_DAEMON = "start its daemon again: sudo systemctl restart nvargus-daemon"
# What Argus and gst-launch say, in the order in which it is looked for: what it means, and whether that is final.
_MEANT = {
    'no element "nv': (
        "is asked of a GStreamer without nvarguscamerasrc",
        "on a Jetson: sudo apt install nvidia-l4t-gstreamer nvidia-l4t-camera; elsewhere there are no CSI cameras",
        True,
    ),
    "no cameras available": ("is not there: Argus finds no camera at all", "look at cable and device tree", True),
    "invalid camera device": ("is not there: Argus finds fewer cameras", "give a lower number", True),
    "invalid sensor": ("is not there: Argus finds fewer cameras", "give a lower number", True),
    "failed to create capturesession": (
        "is used by another program, or Argus hangs",
        f"end that one, or {_DAEMON}",
        False,
    ),
    "connecting to nvargus-daemon": ("has no Argus to ask", _DAEMON, False),
    "frame rate": ("does not give this rate", "leave fps away, or see the modes that Argus lists", True),
    "not-negotiated": ("does not give this size or rate", "leave them away, or see the modes that Argus lists", True),
    "could not link": ("does not give this size or rate", "leave them away, or see the modes that Argus lists", True),
}


def open_csi(uri: str, name: str, patience: Patience = Patience(), *, in_nv12: bool = False) -> ReconnectingCamera:
    """Make a source of a CSI camera's URI. Raises `RequestError` where GStreamer is missing."""
    address = csi_address(uri)
    if not is_installed():
        remedy = "on a Jetson: sudo apt install gstreamer1.0-tools nvidia-l4t-gstreamer"
        raise RequestError(f"csi://{address.sensor}", f"needs {GST_LAUNCH}, which is not here", remedy)
    return ReconnectingCamera(CsiCamera(address, patience), name, patience, in_nv12=in_nv12)


class CsiCamera:
    """Stamps are GStreamer's times of the pictures, brought onto the host's monotonic clock at each connection anew."""

    def __init__(self, address: CsiAddress, patience: Patience) -> None:
        self.uri = f"csi://{address.sensor}"
        self._address = address
        self._patience = patience

    def open(self, is_left: Callable[[], bool]) -> Any:
        return Pipeline(elements(self._address), is_left, self._patience.first_picture_s, self._patience.stall_s)

    def why(self, error: Exception) -> Lost:
        if isinstance(error, Silent):
            return Lost("gave no picture for too long", _DAEMON)
        told = str(error)
        for said, (what, remedy, is_final) in _MEANT.items():
            if said in told.lower():
                return Lost(what, remedy, is_final)
        lines = [line.strip() for line in told.splitlines() if line.strip()]
        worst = [line for line in lines if "error" in line.lower()] or lines
        return Lost(f"ended: {worst[0][:200]}" if worst else "ended without a word", _DAEMON)

    def clock(self) -> Clock:
        return FastestArrival()


def elements(address: CsiAddress) -> tuple[str, ...]:
    """The pipeline's words, from the sensor to raw pictures in ordinary memory."""
    size = f",width={address.width},height={address.height}" if address.width else ""
    rate = _as_fraction(address.fps or 0)
    rated = f",framerate={rate.numerator}/{rate.denominator}" if rate else ""
    asked = f"video/x-raw(memory:NVMM),format=NV12{size}{rated}"
    turned = (f"flip-method={_FLIP_METHOD[address.rotate]}",) if address.rotate else ()
    source = ("nvarguscamerasrc", f"sensor-id={address.sensor}")
    return (*source, "!", asked, "!", "nvvidconv", *turned, "!", "video/x-raw,format=I420")


def _as_fraction(rate: float) -> Fraction:
    """29.97 is written for 30000/1001, which GStreamer does not take 2997/100 for."""
    ntsc = Fraction(1000 * round(rate), 1001)
    return ntsc if rate != round(rate) and abs(rate - ntsc) < 0.005 else Fraction(rate).limit_denominator(1000)
