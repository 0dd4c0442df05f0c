"""What the soaks share: the footage and the network, a reader in a process of its own, memory, and the verdicts.

Real footage and yolox_nano where the shared recordings are (EDGE_PERCEPTION_DATA, default ../shared/data); a drawn
video and a network of a few kilobytes where they are not.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from engines.importing import ImportOptions, import_network
from tests import drive_media, tiny_networks

DATA = Path(os.environ.get("EDGE_PERCEPTION_DATA", Path(__file__).parents[2] / "shared" / "data"))
CLIP = DATA / "drives" / "videos" / "solidWhiteRight.mp4"
NETWORK = DATA / "models" / "yolox_nano.onnx"

COMMAND = [sys.executable, "-c", "from perception.commands.app import main; main()"]

MOST_GROWTH = 0.02
SETTLES_S = 60.0  # first calls, pools and queues; a run shorter than twice that settles for half of it
SAMPLE_S = 1.0
ENDS_WITHIN_S = 30.0
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")

# glibc is told to give large freed buffers back, unless it is told something already: left to itself it keeps some of
# those of each lap's decoder, and resident memory moves up and down by 8 % in steps without a trend. Read before main.
LARGE_BUFFERS_GO_BACK = {"MALLOC_MMAP_THRESHOLD_": "262144"}  # bytes; a picture of 960x540 has 783 kB


def resident_mb(process: int | str = "self") -> float:
    """Resident memory of a process."""
    return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * PAGE_BYTES / 1e6


def drive_and_bundle(folder: Path) -> tuple[Path, Path]:
    """What is played and through what."""
    bundle = folder / "network"
    if CLIP.is_file() and NETWORK.is_file():
        import_network(NETWORK, bundle, ImportOptions(labels="coco"))
        return CLIP, bundle
    model = tiny_networks.write_network(folder / "tiny.onnx", names=str(dict(enumerate(tiny_networks.LABELS))))
    import_network(model, bundle, tiny_networks.OPTIONS)
    return drive_media.write_video(folder / "drawn.mp4", pictures=100), bundle


class Reader:
    """A reader in a process of its own, its lines in a file."""

    def __init__(self, arguments: Sequence[str], lines: Path) -> None:
        self._lines = lines
        self._errors = lines.with_suffix(".errors")
        with lines.open("w") as out, self._errors.open("w") as errors:
            self.process = subprocess.Popen(arguments, stdout=out, stderr=errors)

    def hang(self) -> None:
        """Stop it where it is."""
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Let it go on."""
        self.process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it, also where it hangs."""
        self.process.kill()
        self.process.wait()

    def messages(self) -> Iterator[dict[str, Any]]:
        """What it has printed; a line that was cut short by its death does not count.

        One at a time: thousands of them as objects would show in the memory that is watched here.
        """
        with self._lines.open() as lines:
            for line in lines:
                if line.endswith("\n"):
                    yield json.loads(line)

    def said(self) -> str:
        """Its last words on stderr."""
        return self._errors.read_text().strip()


class Verdicts:
    """What was looked at, and what of it was wrong."""

    def __init__(self) -> None:
        self.wrong: list[str] = []

    def check(self, holds: bool, what: str) -> None:
        """Say one verdict."""
        print(f"{'ok   ' if holds else 'WRONG'}  {what}", flush=True)
        if not holds:
            self.wrong.append(what)

    def check_memory(self, samples: Sequence[tuple[float, float]], seconds: float) -> None:
        """Judge samples of (elapsed s, resident MB): flat, once the process has settled."""
        settled_s = min(SETTLES_S, seconds / 2)
        settled = [mb for elapsed_s, mb in samples if elapsed_s >= settled_s]
        # Single samples move with each lap's decoder and with the pictures that happen to wait: 1.5 MB each.
        third = max(1, len(settled) // 3)
        before, after = float(np.median(settled[:third])), float(np.median(settled[-third:]))
        growth = after / before - 1
        self.check(
            growth < MOST_GROWTH,
            f"memory after {settled_s:.0f} s: median {before:.1f} MB in the first third, {after:.1f} in the last, "
            f"{growth:+.2%} (bar: less than {MOST_GROWTH:+.0%}); single samples from {min(settled):.1f} to "
            f"{max(settled):.1f}",
        )

    def exit_code(self) -> int:
        """Say the last word."""
        print(f"{len(self.wrong)} of the checks failed" if self.wrong else "all is well")
        return 1 if self.wrong else 0
