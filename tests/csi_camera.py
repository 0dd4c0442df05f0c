"""A Jetson's `gst-launch-1.0` for another machine: GStreamer's test picture where a CSI camera's sensor would be, and
its own decoder in the place of the Jetson's.

Everything else of the pipeline is what runs on the Jetson: caps, conversion, Matroska, the pipe, the process.
"""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import sys
from pathlib import Path

REAL = shutil.which("gst-launch-1.0") or ""
HAS_DECODER = bool(REAL) and subprocess.run(["gst-inspect-1.0", "--exists", "openh264dec"], check=False).returncode == 0
WHY_NO_DECODER = "needs GStreamer's openh264dec: apt install gstreamer1.0-plugins-bad"
WHY_NOT = "needs gst-launch-1.0: apt install gstreamer1.0-tools gstreamer1.0-plugins-good"

_LAUNCH = f"""#!{sys.executable}
import os, pathlib, sys, time

here = pathlib.Path(__file__).parent
(here / "asked").write_text("\\n".join(sys.argv[1:]))
(here / "pid").write_text(str(os.getpid()))
print("GST_ARGUS: Creating output stream", flush=True)
says, starts_late = here / "says", here / "starts_late"
if starts_late.exists():
    time.sleep(float(starts_late.read_text()))
if says.exists():
    print(says.read_text(), flush=True)
    sys.exit(0)
TURNS = {{"flip-method=1": "90l", "flip-method=2": "180", "flip-method=3": "90r"}}
words = []
for word in sys.argv[1:]:
    if word == "nvarguscamerasrc":
        words += ["videotestsrc", "is-live=true", "pattern=smpte"]
    elif word == "nvv4l2decoder":
        words += ["openh264dec"]
    elif word == "nvvidconv":
        words += ["videoconvert"]
    elif word in TURNS:
        words += ["!", "videoflip", "video-direction=" + TURNS[word]]
    elif not word.startswith("sensor-id="):
        words.append(word.replace("(memory:NVMM)", ""))
os.execv({REAL!r}, ["gst-launch-1.0", *words])
"""


class CsiCameras:
    """What the machine's CSI ports do; while it is entered, `gst-launch-1.0` is this one."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path_before = os.environ.get("PATH", "")

    def __enter__(self) -> CsiCameras:
        self._folder.mkdir(exist_ok=True)
        launch = self._folder / "gst-launch-1.0"
        launch.write_text(_LAUNCH)
        launch.chmod(launch.stat().st_mode | stat.S_IXUSR)
        os.environ["PATH"] = f"{self._folder}{os.pathsep}{self._path_before}"
        return self

    def __exit__(self, *_exc: object) -> None:
        os.environ["PATH"] = self._path_before

    @property
    def asked(self) -> list[str]:
        """The words of the last pipeline."""
        return (self._folder / "asked").read_text().splitlines()

    @property
    def pid(self) -> int:
        """The last pipeline's process."""
        return int((self._folder / "pid").read_text())

    def say(self, text: str | None) -> None:
        """Let pipelines end with this, as Argus does when it cannot; None: work again."""
        says = self._folder / "says"
        if text is None:
            says.unlink()
        else:
            says.write_text(text)

    def start_late(self, seconds: float) -> None:
        """Let a pipeline give nothing for a while at first, as Argus takes its time."""
        (self._folder / "starts_late").write_text(str(seconds))

    def freeze(self) -> None:
        os.kill(self.pid, signal.SIGSTOP)

    def crash(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
