"""Minutes of looped replay beside a reader that hangs, is killed and comes back: flat memory, exact accounts.

    python tests/soak.py [--minutes 10] [--rate 2]

A replay runs in this process and publishes. `perception subscribe --json` reads it from the first message on; at 40 %
of the time it is stopped (SIGSTOP), at 60 % killed (SIGKILL), and at 70 % another reader comes that resumes where the
first one's last printed line was. Once a second memory and the ledger are read. Ends with 1 if

- after the first minute, the median of resident memory in the last third of the time is 2 % or more above that of
  the first third,
- the accounting identity does not hold at some sample, or a frame is not accounted for at the end,
- the losses that the returning reader counts are not exactly the messages that no reader got.
"""
# ruff: noqa: E402

from __future__ import annotations

import argparse
import json
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

# Beside this file lie tests/engines and tests/perception, which would hide what they test.
sys.path[0] = str(Path(__file__).parents[1])

from perception.replay import Replay, ReplayRequest
from perception.stream import Subscriber
from tests.endurance import (
    COMMAND,
    ENDS_WITHIN_S,
    LARGE_BUFFERS_GO_BACK,
    SAMPLE_S,
    Reader,
    Verdicts,
    drive_and_bundle,
    resident_mb,
)

STOPPED_AT, KILLED_AT, BACK_AT = 0.4, 0.6, 0.7  # of the whole time


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
        self.verdicts = Verdicts()
        self.samples: list[tuple[float, float]] = []  # elapsed s, resident MB

    def run(self, replay: Replay, folder: Path) -> None:
        """Replay, disturb the reader, sample; then judge."""
        endpoint = replay.endpoint
        assert endpoint
        first = Reader([*COMMAND, "subscribe", endpoint, "--json"], folder / "first.jsonl")
        try:
            with running(replay) as failure:
                second = self._disturb(replay, endpoint, first, folder)
        finally:
            first.kill()  # also where it was stopped, and something else went wrong
        second.process.wait(ENDS_WITHIN_S)
        self.verdicts.check(not failure, f"the replay ended well {failure or ''}")
        self.verdicts.check_memory(self.samples, self.seconds)
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
                first.hang()
                print(f"{elapsed_s:6.0f} s  the reader hangs", flush=True)
                todo.pop(0)
            elif todo[:1] == ["kill"] and share >= KILLED_AT:
                first.kill()
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
        self.verdicts.check(not unbalanced, f"the accounting identity held at {len(self.samples)} samples")
        assert second is not None
        return second

    def _judge_accounts(self, replay: Replay, first: Reader, second: Reader) -> None:
        total, check = replay.ledger.total(), self.verdicts.check
        check(
            total.in_flight == 0 and total.captured == total.published,
            f"{total.captured} frames captured, {total.published} published, {total.in_flight} in flight",
        )
        before, after = list(first.messages()), list(second.messages())
        check(
            [message["sequence"] for message in before] == list(range(len(before))),
            f"the first reader got messages 0 to {len(before) - 1} without a gap",
        )
        said = json.loads(second.said().splitlines()[-1])
        missed = after[0]["sequence"] - before[-1]["sequence"] - 1
        frames = after[0]["frame_sequence"] - before[-1]["frame_sequence"] - 1
        check(
            said["lost"] == missed == frames,
            f"back at sequence {after[0]['sequence']}: it counts {said['lost']} lost; "
            f"{missed} sequences and {frames} frames were published between",
        )
        check(
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
    if not LARGE_BUFFERS_GO_BACK.keys() <= os.environ.keys():  # read before main: so start again with it
        os.environ.update(LARGE_BUFFERS_GO_BACK)
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
    return soak.verdicts.exit_code()


if __name__ == "__main__":
    sys.exit(main())
