"""Which JetPack a Jetson runs, and what that brings, by the version of Linux for Tegra (L4T) that it is made of.

Releases as in NVIDIA's JetPack archive; TensorRT and CUDA as in its release notes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

RELEASE = "/etc/nv_tegra_release"
OLDEST = 6  # JetPack 5 has TensorRT 8.5 and Python 3.8; 8.6 and 3.10 are needed


@dataclass(frozen=True, slots=True)
class JetPack:
    """A release. `tensorrt` and `cuda` are what it brings, empty where that is not known."""

    version: str
    tensorrt: str = ""
    cuda: str = ""

    @property
    def is_supported(self) -> bool:
        """Whether its TensorRT and Python are new enough."""
        return int(self.version.partition(".")[0]) >= OLDEST


_RELEASES = {
    "32.6.1": JetPack("4.6", "8.0.1", "10.2"),
    "32.7.1": JetPack("4.6.1", "8.2.1", "10.2"),
    "35.1.0": JetPack("5.0.2", "8.4.1", "11.4"),
    "35.2.1": JetPack("5.1", "8.5.2", "11.4"),
    "35.3.1": JetPack("5.1.1", "8.5.2", "11.4"),
    "35.4.1": JetPack("5.1.2", "8.5.2", "11.4"),
    "36.3.0": JetPack("6.0", "8.6.2", "12.2"),
    "36.4.0": JetPack("6.1", "10.3", "12.6"),
    "36.4.3": JetPack("6.2", "10.3", "12.6"),
    "36.4.4": JetPack("6.2.1", "10.3", "12.6"),
    "36.5.0": JetPack("6.2.2", "10.3", "12.6"),
    "36.5.2": JetPack("6.2.3", "10.3", "12.6"),
    "38.2.0": JetPack("7.0", "10.13", "13.0"),
    "38.2.1": JetPack("7.0", "10.13", "13.0"),
    "38.4.0": JetPack("7.1", "10.13", "13.0"),
    "39.2.0": JetPack("7.2", cuda="13.2"),
    "39.2.1": JetPack("7.2.1", cuda="13.2"),
}
_MAJOR = {32: "4", 34: "5", 35: "5", 36: "6", 38: "7", 39: "7"}


def l4t_version(release: str) -> str:
    """`36.4.3` of `# R36 (release), REVISION: 4.3, ...`; empty where the text says no such thing."""
    said = re.search(r"R(\d+)\s*\(release\),\s*REVISION:\s*(\d+)(?:\.(\d+))?", release)
    return f"{said[1]}.{said[2]}.{said[3] or 0}" if said else ""


def jetpack_of(l4t: str) -> JetPack | None:
    """The release that this L4T belongs to: only its first number where it is not in the table. None: no idea."""
    if known := _RELEASES.get(l4t):
        return known
    major = int(l4t.partition(".")[0]) if l4t else 0
    if major > max(_MAJOR):
        return JetPack(_MAJOR[max(_MAJOR)])  # newer than this table: at least that
    return JetPack(_MAJOR[major]) if major in _MAJOR else None
