"""Minutes of looped replay beside a reader that hangs, is killed and comes back: flat memory, exact accounts.

    python tests/soak.py [--minutes 10] [--rate 2]

A replay runs in this process and publishes. `perception subscribe --json` reads it from the first message on; at 40 %
of the time it is stopped (SIGSTOP), at 60 % killed (SIGKILL), and at 70 % another reader comes that resumes where the
first one's last printed line was. Once a second memory and the ledger are read. Ends with 1 if

- after the first minute, the median of resident memory in the last third of the time is 2 % or more above that of
  the first third,
- the accounting identity does not hold at some sample, or a frame is not accounted for at the end,
- the losses that the returning reader counts are not exactly the messages that no reader got.

glibc is told to give large freed buffers back (MALLOC_MMAP_THRESHOLD_, unless it is set): left to itself it keeps
some of those of each lap's decoder, and resident memory moves up and down by 8 % in steps without a trend.

Real footage and yolox_nano where the shared recordings are (EDGE_PERCEPTION_DATA, default ../shared/data); a drawn
video and a network of a few kilobytes where they are not.
"""
# ruff: noqa: E402

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

# Beside this file lie tests/engines and tests/perception, which would hide what they test.
sys.path[0] = str(Path(__file__).parents[1])

from engines.importing import ImportOptions, import_network
from perception.replay import Replay, ReplayRequest
from perception.stream import Subscriber
from tests import drive_media, tiny_networks

DATA = Path(os.environ.get("EDGE_PERCEPTION_DATA", Path(__file__).parents[2] / "shared" / "data"))
CLIP = DATA / "drives" / "videos" / "solidWhiteRight.mp4"
NETWORK = DATA / "models" / "yolox_nano.onnx"

STOPPED_AT, KILLED_AT, BACK_AT = 0.4, 0.6, 0.7  # of the whole time
MOST_GROWTH = 0.02
SETTLES_S = 60.0  # first calls, pools and queues; a run shorter than twice that settles for half of it
SAMPLE_S = 1.0
LARGE_BUFFER = "262144"  # bytes; a picture of 960x540 has 783 kB
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
ENDS_WITHIN_S = 30.0


def resident_mb() -> float:
    """Resident memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE_BYTES / 1e6


def drive_and_bundle(folder: Path) -> tuple[Path, Path]:
    """What is replayed and through what."""
    bundle = folder / "network"
    if CLIP.is_file() and NETWORK.is_file():
        import_network(NETWORK, bundle, ImportOptions(labels="coco"))
        return CLIP, bundle
    model = tiny_networks.write_network(folder / "tiny.onnx", names=str(dict(enumerate(tiny_networks.LABELS))))
    import_network(model, bundle, tiny_networks.OPTIONS)
    return drive_media.write_video(folder / "drawn.mp4", pictures=100), bundle


class Reader:
    """A reader in a process of its own, its lines in a file."""

    def __init__(self, arguments: list[str], lines: Path) -> None:
        self._lines = lines
        self._errors = lines.with_suffix(".errors")
        with lines.open("w") as out, self._errors.open("w") as errors:
            self.process = subprocess.Popen(arguments, stdout=out, stderr=errors)

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


def resume(endpoint: str, position: str) -> None:
    """Read on from a position until the stream's end: one line a message, then what was lost."""
    where = {topic: (session, sequence) for topic, (session, sequence) in json.loads(position).items()}
    with Subscriber(endpoint, resume_from=where, timeout_s=ENDS_WITHIN_S) as subscriber:
        for message in subscriber:
            line = {"sequence": message.sequence, "frame_sequence": message.frame_sequence}
            print(json.dumps(line), flush=True)
        print(json.dumps({"received": subscriber.received, "lost": sum(subscriber.lost.values())}), file=sys.stderr)


class Soak:
    """One run: what was done, what was seen, and what was wrong."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.wrong: list[str] = []
        self.samples: list[tuple[float, float]] = []  # elapsed s, resident MB

    def check(self, holds: bool, what: str) -> None:
        print(f"{'ok   ' if holds else 'WRONG'}  {what}", flush=True)
        if not holds:
            self.wrong.append(what)

    def run(self, replay: Replay, folder: Path) -> None:
        """Replay, disturb the reader, sample; then judge."""
        endpoint = replay.endpoint
        assert endpoint
        command = [sys.executable, "-c", "from perception.commands.app import main; main()"]
        first = Reader([*command, "subscribe", endpoint, "--json"], folder / "first.jsonl")
        try:
            with running(replay) as failure:
                second = self._disturb(replay, endpoint, first, folder)
        finally:
            first.process.kill()  # also where it was stopped, and something else went wrong
        second.process.wait(ENDS_WITHIN_S)
        self.check(not failure, f"the replay ended well {failure or ''}")
        self._judge_memory()
        self._judge_accounts(replay, first, second)

    def _disturb(self, replay: Replay, endpoint: str, first: Reader, folder: Path) -> Reader:
        second: Reader | None = None
        began_s = time.monotonic()
        todo = ["stop", "kill", "return"]
        unbalanced = 0
        while (elapsed_s := time.monotonic() - began_s) < self.seconds:
            self.samples.append((elapsed_s, resident_mb()))
            counts = replay.ledger.counts()
            unbalanced += sum(not sensor.balances for sensor in counts.values())
            if len(self.samples) % 30 == 1:
                captured = sum(sensor.captured for sensor in counts.values())
                print(f"{elapsed_s:6.0f} s  {self.samples[-1][1]:7.1f} MB  {captured:7d} frames", flush=True)
            share = elapsed_s / self.seconds
            if todo[:1] == ["stop"] and share >= STOPPED_AT:
                first.process.send_signal(signal.SIGSTOP)
                print(f"{elapsed_s:6.0f} s  the reader hangs", flush=True)
                todo.pop(0)
            elif todo[:1] == ["kill"] and share >= KILLED_AT:
                first.process.kill()
                first.process.wait()
                print(f"{elapsed_s:6.0f} s  the reader is killed", flush=True)
                todo.pop(0)
            elif todo[:1] == ["return"] and share >= BACK_AT:
                [last] = deque(first.messages(), maxlen=1)
                position = {last["topic"]: (last["session"], last["sequence"])}
                arguments = [sys.executable, __file__, "--resume", endpoint, json.dumps(position)]
                second = Reader(arguments, folder / "second.jsonl")
                print(f"{elapsed_s:6.0f} s  it is back, after sequence {last['sequence']}", flush=True)
                todo.pop(0)
            time.sleep(SAMPLE_S)
        self.check(not unbalanced, f"the accounting identity held at {len(self.samples)} samples")
        assert second is not None
        return second

    def _judge_memory(self) -> None:
        settled_s = min(SETTLES_S, self.seconds / 2)
        settled = [mb for elapsed_s, mb in self.samples if elapsed_s >= settled_s]
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

    def _judge_accounts(self, replay: Replay, first: Reader, second: Reader) -> None:
        total = replay.ledger.total()
        self.check(
            total.in_flight == 0 and total.captured == total.published,
            f"{total.captured} frames captured, {total.published} published, {total.in_flight} in flight",
        )
        before, after = list(first.messages()), list(second.messages())
        self.check(
            [message["sequence"] for message in before] == list(range(len(before))),
            f"the first reader got messages 0 to {len(before) - 1} without a gap",
        )
        said = json.loads(second.said().splitlines()[-1])
        missed = after[0]["sequence"] - before[-1]["sequence"] - 1
        frames = after[0]["frame_sequence"] - before[-1]["frame_sequence"] - 1
        self.check(
            said["lost"] == missed == frames,
            f"back at sequence {after[0]['sequence']}: it counts {said['lost']} lost; "
            f"{missed} sequences and {frames} frames were published between",
        )
        self.check(
            len(before) + len(after) + said["lost"] == total.published and said["received"] == len(after),
            f"{len(before)} + {len(after)} received + {said['lost']} lost = {total.published} published",
        )


@contextmanager
def running(replay: Replay) -> Iterator[list[BaseException]]:
    """Run the replay in a thread; stop and join it in the end. Gives what broke it, if anything did."""
    failure: list[BaseException] = []

    def run() -> None:
        try:
            replay.run()
        except BaseException as broke:
            failure.append(broke)

    thread = threading.Thread(target=run, name="replay")
    thread.start()
    try:
        yield failure
    finally:
        replay.stop()
        thread.join()


def main() -> int:
    """Run and judge."""
    parser = argparse.ArgumentParser(description="Minutes of replay beside a reader that hangs, dies and returns.")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--rate", type=float, default=2.0, help="times real time")
    parser.add_argument("--resume", nargs=2, metavar=("ENDPOINT", "POSITION"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.resume:
        resume(*arguments.resume)
        return 0
    if "MALLOC_MMAP_THRESHOLD_" not in os.environ:  # read before main: so start again with it
        os.environ["MALLOC_MMAP_THRESHOLD_"] = LARGE_BUFFER
        os.execv(sys.executable, [sys.executable, *sys.argv])
    with TemporaryDirectory(prefix="edge-perception-soak-") as name:
        drive, bundle = drive_and_bundle(Path(name))
        request = ReplayRequest(
            sources=[str(drive)],
            models=[str(bundle)],
            rate=arguments.rate,
            loop=0,
            publish=f"ipc://{name}/stream",
            wait_readers=1,
        )
        soak = Soak(arguments.minutes * 60)
        with Replay(request) as replay:
            soak.run(replay, Path(name))
    print(f"{len(soak.wrong)} of the checks failed" if soak.wrong else "all is well")
    return 1 if soak.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
