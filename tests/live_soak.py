"""Minutes of live cameras with a schedule of faults against real parts: exact accounts, flat memory, and it recovers.

    python tests/live_soak.py [--minutes 30]

`perception run` is a process of its own, as on a vehicle: three network cameras (GStreamer's RTSP server, a process
each) and a recording that plays at its own pace and is never disturbed. One after the other, again and again,

- a camera freezes (its server is stopped with SIGSTOP),
- a camera is unplugged (its server is killed) and comes back,
- bytes of a camera's stream are wrong,
- a camera is replaced by something that sends noise,
- strangers send garbage to the publisher's port,
- the wall clock steps an hour and a half ahead, and back again (what the process reads of it, by Debian's libfaketime:
  a machine's real clock is not ours to set).

Beside it, `perception subscribe` is stopped from 40 to 60 % of the time. A witness in this process reads detections and
health. Ends with 1 if

- the accounting identity does not hold for some sensor at some message of health (one a second),
- after the first minute, memory of `perception run` grows by 2 % or more from the first to the last third of the time,
  or it ends with more open files or threads than it had,
- a camera does not come back within 20 s after its fault is over, or another one falls silent for 2 s meanwhile (on a
  busy machine: for twice as long as any does while nothing is wrong),
- a stamp goes back or jumps, or the wall clock's step shows anywhere but in the wall clock's fields,
- the losses that a reader counts are not exactly what it did not get.

The table at the end says, by fault, how often it was, when it was told, and how long recovery took.
"""
# ruff: noqa: E402

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from itertools import cycle, pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

# Beside this file lie tests/engines and tests/perception, which would hide what they test.
sys.path[0] = str(Path(__file__).parents[1])

from perception.live import SLOTS
from perception.message import FrameMessage, HealthMessage, Message, SensorState, Status
from perception.stream import StreamSubscriber
from tests.bad_wire import BadWire
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
from tests.rtsp_camera import PACKAGES, RtspCamera, found_python

CAMERA = ("--size", "320x240", "--fps", "10")
FREEZES, UNPLUGGED, BAD_WIRE, UNDISTURBED = "left", "right", "rear", "front"
CAMERAS = (UNDISTURBED, FREEZES, UNPLUGGED, BAD_WIRE)

FIRST_FAULT_S = 60.0  # or a sixth of a short run
HOLD_S = 15.0  # three times as long as a camera may be silent before it counts as lost
BETWEEN_S = 8.0
RECOVERS_WITHIN_S = 20.0  # at worst the longest pause between attempts (10 s), a connection and a key frame
GIVEN_UP_AFTER_S = 40.0
SILENCE_S = 2.0  # of a camera that nobody disturbs; on a busy machine twice as long as while nothing is wrong
STEADY = 10  # results in a row until a camera counts as back
HANGS_AT, GOES_ON_AT = 0.4, 0.6  # the reader, of the whole time

# Of a sensor without faults: one waits, each slot has one, and one has left its slot and is not yet published.
MOST_IN_FLIGHT = 1 + SLOTS + 1

LIBFAKETIME = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1")
CLOCK_STEP_S = 5400
LONGEST_STEP_S = 300.0  # of a stamp: the longest outage, and far below the clock's step
CLOCK_IS_SEEN_WITHIN_S = 2.0  # libfaketime looks at its file once a second


@dataclass
class Witness:
    """Reads detections and health, and remembers when what came. Times are this process's monotonic clock, s."""

    endpoint: str
    pid: int
    arrived_s: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))  # of results, by camera
    failed_s: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    memory: list[tuple[float, float]] = field(default_factory=list)  # monotonic s, MB
    handles: list[tuple[int, int]] = field(default_factory=list)  # open files and threads
    health: list[tuple[float, HealthMessage]] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    most_in_flight: int = 0
    stalled: int = 0  # samples in which health said so of the camera that nobody disturbs
    clock_offsets_s: list[float] = field(default_factory=list)  # the publisher's wall clock less ours
    wall_s: float = 0.0  # the publisher's, as the last result has it in its ledger
    _last_ns: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._subscriber = StreamSubscriber[Message](self.endpoint, ["detections/", "health/"])
        self._thread = threading.Thread(target=self._read, name="witness")

    def __enter__(self) -> Witness:
        self._thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._thread.join(ENDS_WITHIN_S)
        self._subscriber.close()

    @property
    def lost(self) -> int:
        """Messages that did not come: the witness is always there, so none."""
        return sum(self._subscriber.lost.values())

    @property
    def messages(self) -> dict[str, int]:
        """Messages by topic that the publisher has sent, as its last health has it."""
        return {f"detections/{sensor.sensor}/": sensor.messages for sensor in self.health[-1][1].sensors}

    def silence_s(self, camera: str, begin_s: float, end_s: float) -> float:
        """The longest time without a result of a camera."""
        times = self.arrived_s[camera]
        within = times[bisect_left(times, begin_s) : bisect_right(times, end_s)]
        return max(after - before for before, after in pairwise([begin_s, *within, end_s]))

    def steady_since_s(self, camera: str, since_s: float) -> float | None:
        """When the first of `STEADY` results in a row came, with no failure among them; None: it has not yet."""
        times, failed = self.arrived_s[camera], self.failed_s[camera]
        for first in range(bisect_left(times, since_s), len(times) - STEADY + 1):
            last_s = times[first + STEADY - 1]
            if bisect_left(failed, times[first]) == bisect_right(failed, last_s):
                return times[first]
        return None

    def first_failure_s(self, camera: str, begin_s: float, end_s: float) -> float | None:
        """When a camera's first failed message came."""
        failed = self.failed_s[camera]
        place = bisect_left(failed, begin_s)
        return failed[place] if place < len(failed) and failed[place] <= end_s else None

    def _read(self) -> None:
        for message in self._subscriber:
            now_s = time.monotonic()
            if isinstance(message, HealthMessage):
                self._take_health(message, now_s)
            elif isinstance(message, FrameMessage):
                self._take_result(message, now_s)

    def _take_result(self, message: FrameMessage, now_s: float) -> None:
        before_ns = self._last_ns.get(message.sensor)
        if before_ns is not None and not 0 < message.stamp_ns - before_ns < LONGEST_STEP_S * 1e9:
            step_s = (message.stamp_ns - before_ns) / 1e9
            self.wrong.append(f"{message.sensor} frame {message.frame_sequence}: its stamp steps by {step_s:.1f} s")
        self._last_ns[message.sensor] = message.stamp_ns
        if message.status is Status.OK:
            self.arrived_s[message.sensor].append(now_s)
            self.wall_s = message.ledger.published_ns / 1e9
        else:
            self.failed_s[message.sensor].append(now_s)

    def _take_health(self, message: HealthMessage, now_s: float) -> None:
        self.health.append((now_s, message))
        self.clock_offsets_s.append(message.sent_ns / 1e9 - time.time())
        for sensor in message.sensors:
            if not sensor.balances:
                self.wrong.append(f"after {message.uptime_ns / 1e9:.0f} s the account of {sensor.sensor} has a hole")
            if sensor.sensor == UNDISTURBED:
                self.most_in_flight = max(self.most_in_flight, sensor.in_flight)
                self.stalled += sensor.state is SensorState.STALLED
        with suppress(OSError):  # the process has ended
            self.memory.append((now_s, resident_mb(self.pid)))
            files, threads = (len(list(Path(f"/proc/{self.pid}/{what}").iterdir())) for what in ("fd", "task"))
            self.handles.append((files, threads))


@dataclass(frozen=True)
class Disturbance:
    """Something that goes wrong for a while; of a camera, or of the whole."""

    name: str
    begin: Callable[[], object]
    end: Callable[[], object]
    camera: str | None = None
    hold_s: float = HOLD_S


@dataclass(frozen=True)
class Seen:
    """What became of one disturbance, in seconds; None: nobody was told, or it did not come back."""

    disturbance: Disturbance
    told_after_s: float | None
    recovered_after_s: float | None
    others_silent_s: float


class WallClock:
    """The wall clock of one process: the machine's own, and some hours beside it."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "wall-clock"
        self.offset_s = 0
        self.set(0)

    @property
    def environment(self) -> dict[str, str]:
        """What a process is started with so that it reads this clock. Its monotonic clock stays the machine's."""
        return {
            "LD_PRELOAD": str(LIBFAKETIME),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_CACHE_DURATION": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "NO_FAKE_STAT": "1",
        }

    def set(self, offset_s: int) -> None:
        """Step to so many seconds beside the machine's clock."""
        draft = self._file.with_suffix(".new")
        draft.write_text(f"{offset_s:+d}\n")
        draft.replace(self._file)
        self.offset_s = offset_s

    @property
    def now_s(self) -> float:
        """What the process should read now."""
        return time.time() + self.offset_s


class Soak:
    """One run: the schedule, what was seen, and the verdicts."""

    def __init__(self, seconds: float, clock: WallClock | None) -> None:
        self.seconds = seconds
        self.verdicts = Verdicts()
        self.seen: list[Seen] = []
        self._clock = clock
        self._clock_is_right = True
        self._calm_s = 0.0  # the longest silence of any camera while nothing was wrong
        self._samples = 0  # that the witness had taken when the schedule was over, and nothing was closed yet

    def run(self, witness: Witness, disturbances: Sequence[Disturbance], reader: Reader) -> None:
        """Disturb, one after the other, until the time is over."""
        began_s = time.monotonic()
        ends_s = began_s + self.seconds
        todo = cycle(disturbances)
        reader_is = "reading"
        self._keep_calm(witness, min(FIRST_FAULT_S, self.seconds / 6))
        while True:
            disturbance = next(todo)
            left_s = ends_s - time.monotonic()
            if left_s < disturbance.hold_s + GIVEN_UP_AFTER_S:
                time.sleep(max(0.0, left_s))
                self._samples = len(witness.handles)
                break
            self._disturb(witness, disturbance, began_s)
            self._keep_calm(witness, BETWEEN_S)
            share = (time.monotonic() - began_s) / self.seconds
            if reader_is == "reading" and share >= HANGS_AT:
                reader.hang()
                reader_is = "hanging"
                print(f"{time.monotonic() - began_s:6.0f} s  the reader hangs", flush=True)
            elif reader_is == "hanging" and share >= GOES_ON_AT:
                reader.go_on()
                reader_is = "back"
                print(f"{time.monotonic() - began_s:6.0f} s  the reader goes on", flush=True)
        reader.go_on()

    @property
    def _silence_bar_s(self) -> float:
        return max(SILENCE_S, 2 * self._calm_s)

    def _keep_calm(self, witness: Witness, seconds: float) -> None:
        """Let it run without a fault, and see how long a camera is silent then: that is the machine's doing."""
        began_s = time.monotonic()
        time.sleep(seconds)
        # Without the beginning, in which what is new starts up.
        ended_s = time.monotonic()
        silent_s = max(witness.silence_s(name, (began_s + ended_s) / 2, ended_s) for name in CAMERAS)
        self._calm_s = max(self._calm_s, silent_s)

    def _disturb(self, witness: Witness, disturbance: Disturbance, began_s: float) -> None:
        camera = disturbance.camera
        begins_s = time.monotonic()
        disturbance.begin()
        time.sleep(disturbance.hold_s)
        disturbance.end()
        ended_s = time.monotonic()
        back_s = None
        while back_s is None and time.monotonic() - ended_s < GIVEN_UP_AFTER_S:
            time.sleep(SAMPLE_S)
            steady_s = [witness.steady_since_s(name, ended_s) for name in ([camera] if camera else CAMERAS)]
            back_s = None if None in steady_s else max(since_s for since_s in steady_s if since_s)
        until_s = time.monotonic()
        told_s = witness.first_failure_s(camera, begins_s, until_s) if camera else None
        others = [name for name in CAMERAS if name != camera]
        seen = Seen(
            disturbance,
            None if told_s is None else told_s - begins_s,
            None if back_s is None else back_s - ended_s,
            max(witness.silence_s(name, begins_s, until_s) for name in others),
        )
        if self._clock and abs(witness.wall_s - self._clock.now_s) > CLOCK_IS_SEEN_WITHIN_S:
            self._clock_is_right = False
            print(f"the ledger's wall clock is {witness.wall_s - self._clock.now_s:+.1f} s off", flush=True)
        self.seen.append(seen)
        print(
            f"{begins_s - began_s:6.0f} s  {disturbance.name}: told after {_seconds(seen.told_after_s)}, "
            f"back after {_seconds(seen.recovered_after_s)}; others silent for {seen.others_silent_s:.2f} s at most; "
            f"{witness.memory[-1][1]:.1f} MB",
            flush=True,
        )

    def judge(self, witness: Witness, reader: Reader, process: subprocess.Popen[str], output: str, said: str) -> None:
        """Give the verdicts and print the table."""
        check = self.verdicts.check
        figures = json.loads(output.splitlines()[-1])
        check(process.returncode == 130 and not figures["broken"], f"it ended with {process.returncode} after Ctrl-C")
        check("Traceback" not in said, f"{len(said.splitlines())} lines on stderr and no traceback")
        check(not witness.wrong, f"the accounts held at {len(witness.health)} samples {witness.wrong[:5] or ''}")
        for name, counts in figures["sensors"].items():
            ended = counts["published"] + sum(counts["dropped"].values()) + sum(counts["failed"].values())
            check(counts["captured"] == ended, f"{name}: {counts}")
        check(
            witness.most_in_flight <= MOST_IN_FLIGHT,
            f"{witness.most_in_flight} frames of {UNDISTURBED} in flight at most (bar: {MOST_IN_FLIGHT}: one waits)",
        )
        began_s = witness.memory[0][0]
        self.verdicts.check_memory([(at_s - began_s, mb) for at_s, mb in witness.memory], self.seconds)
        settled = witness.handles[: max(1, len(witness.handles) // 6)]
        most = tuple(max(of_one) for of_one in zip(*settled, strict=True))
        last = tuple(min(of_one) for of_one in zip(*witness.handles[self._samples - 10 : self._samples], strict=True))
        check(
            all(now <= before for now, before in zip(last, most, strict=True)),
            f"open files and threads: {most} before the first fault, {last} at the end",
        )
        for seen in self.seen:
            back_s = seen.recovered_after_s
            if back_s is None or back_s > RECOVERS_WITHIN_S or seen.others_silent_s > self._silence_bar_s:
                told = f"back after {_seconds(back_s)}, others silent for {seen.others_silent_s:.1f} s"
                check(False, f"{seen.disturbance.name}: {told}")
        check(
            witness.stalled == 0 or self._calm_s > SILENCE_S,
            f"health called the camera that nobody disturbs stalled in {witness.stalled} samples; while nothing was "
            f"wrong no camera was silent for more than {self._calm_s:.2f} s",
        )
        if self._clock:
            check(self._clock_is_right, "the ledger's wall clock is the machine's, after each step of it too")
            seen_s = sorted({round(offset_s / CLOCK_STEP_S) * CLOCK_STEP_S for offset_s in witness.clock_offsets_s})
            check(seen_s == [0, CLOCK_STEP_S], f"the process has read its wall clock {seen_s} s beside the machine's")
        uptimes = [message.uptime_ns / 1e9 for _, message in witness.health]
        pause_s = max(after - before for before, after in pairwise(uptimes))
        check(pause_s < self._silence_bar_s, f"health came at least every {pause_s:.2f} s of its own monotonic clock")
        self._judge_readers(witness, reader)
        self._print_table()
        if self.verdicts.wrong:
            print("\nwhat it said:", *said.splitlines()[-60:], sep="\n")

    def _judge_readers(self, witness: Witness, reader: Reader) -> None:
        self.verdicts.check(witness.lost == 0, f"the witness lost {witness.lost} messages")
        first, last, lines, gaps = dict[str, int](), dict[str, int](), 0, 0
        for message in reader.messages():
            topic, sequence = message["topic"], message["sequence"]
            gaps += sequence - last.get(topic, sequence - 1) - 1
            first.setdefault(topic, sequence)
            last[topic] = sequence
            lines += 1
        told = reader.said().splitlines()[-1]
        self.verdicts.check(f"received {lines}, lost {gaps}, restarts 0, malformed 0" in told, f"the reader: {told}")
        sent = sum(count - first[topic] for topic, count in witness.messages.items())
        ends = len(witness.messages)  # the last message of each topic says that nothing follows: it is not printed
        self.verdicts.check(
            lines + gaps == sent - ends, f"{lines} lines + {gaps} lost = {sent - ends} messages since it came"
        )

    def _print_table(self) -> None:
        names = list(dict.fromkeys(seen.disturbance.name for seen in self.seen))
        width = max(map(len, names), default=0)
        print(f"\n{'':{width}}  {'times':>5}  {'told after s':>12}  {'back after s':>18}  {'others silent s':>15}")
        for name in names:
            of_it = [seen for seen in self.seen if seen.disturbance.name == name]
            told = [seen.told_after_s for seen in of_it if seen.told_after_s is not None]
            back = sorted(seen.recovered_after_s for seen in of_it if seen.recovered_after_s is not None)
            told_text = f"{min(told):.1f} to {max(told):.1f}" if told else "-"
            back_text = f"{back[len(back) // 2]:.1f}, at most {back[-1]:.1f}" if back else "never"
            silent_s = max(seen.others_silent_s for seen in of_it)
            print(f"{name:{width}}  {len(of_it):5}  {told_text:>12}  {back_text:>18}  {silent_s:15.2f}")
        if not self._clock:
            print("not seen: steps of the wall clock (apt install libfaketime)")


def _seconds(value: float | None) -> str:
    return "never" if value is None else f"{value:.1f} s"


def send_garbage(endpoint: str) -> None:
    """What strangers send to a publisher: nothing, another protocol, the right greeting and then nonsense, much."""
    port = int(endpoint.rpartition(":")[2])
    greeting = b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"NULL".ljust(20, b"\0") + bytes(32)
    for garbage in (b"", b"GET / HTTP/1.1\r\n\r\n", greeting, greeting + os.urandom(500), os.urandom(200_000)) * 40:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1.0) as stranger:
            stranger.settimeout(0.05)
            stranger.sendall(garbage)
            stranger.recv(1)


def vehicle_file(folder: Path, uris: dict[str, str], bundle: Path) -> Path:
    """A vehicle with these cameras; the undisturbed one is a recording."""
    lines = []
    for name, uri in uris.items():
        more = "loop = true\nevery = 2\n" if name == UNDISTURBED else ""
        lines.append(f'[[camera]]\nname = "{name}"\nuri = "{uri}"\n{more}')
    lines.append(f'[[network]]\nbundle = "{bundle}"\n[publish]\nendpoint = "tcp://127.0.0.1:0"\n')
    path = folder / "vehicle.toml"
    path.write_text("".join(lines))
    return path


def main() -> int:
    """Run and judge."""
    parser = argparse.ArgumentParser(description="Minutes of live cameras with a schedule of faults.")
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--only", default="", help="of the faults those with this in their name")
    asked = parser.parse_args()
    seconds = asked.minutes * 60
    if found_python() is None:
        sys.exit(f"live cameras need GStreamer's RTSP server: apt install {PACKAGES}")
    with ExitStack() as opened:
        folder = Path(opened.enter_context(TemporaryDirectory(prefix="edge-perception-live-soak-")))
        drive, bundle = drive_and_bundle(folder)
        clock = WallClock(folder) if LIBFAKETIME.is_file() else None
        freezing, unplugged, behind_wire = (opened.enter_context(RtspCamera(*CAMERA)) for _ in range(3))
        wire = opened.enter_context(BadWire(behind_wire.port))
        uris = {
            UNDISTURBED: str(drive),
            FREEZES: freezing.uri(),
            UNPLUGGED: unplugged.uri(),
            BAD_WIRE: f"rtsp://127.0.0.1:{wire.port}/ball",
        }
        words = ["run", str(vehicle_file(folder, uris, bundle)), "--json"]
        environment = os.environ | LARGE_BUFFERS_GO_BACK | (clock.environment if clock else {})
        said_file = folder / "said.txt"
        with said_file.open("w") as said:
            process = opened.enter_context(
                subprocess.Popen([*COMMAND, *words], env=environment, stdout=subprocess.PIPE, stderr=said, text=True)
            )
        opened.callback(process.kill)
        while "readers connect to" not in said_file.read_text():
            if process.poll() is not None:
                sys.exit(said_file.read_text())
            time.sleep(0.1)
        endpoint = said_file.read_text().splitlines()[0].split()[-1]
        reader = Reader([*COMMAND, "subscribe", endpoint, "--json"], folder / "reader.jsonl")
        opened.callback(reader.kill)
        disturbances = [
            Disturbance("a camera freezes", freezing.freeze, freezing.thaw, FREEZES),
            Disturbance("a camera is unplugged", unplugged.plug_out, unplugged.plug_in, UNPLUGGED),
            Disturbance("wrong bytes from a camera", wire.garble, wire.mend, BAD_WIRE),
            Disturbance("noise in place of a camera", wire.replace_by_noise, wire.mend, BAD_WIRE),
            Disturbance("garbage at the publisher", lambda: send_garbage(endpoint), lambda: None, hold_s=1.0),
        ]
        if clock:
            disturbances += [
                Disturbance("the clock steps ahead", lambda: clock.set(CLOCK_STEP_S), lambda: None),
                Disturbance("the clock steps back", lambda: clock.set(0), lambda: None),
            ]
        disturbances = [disturbance for disturbance in disturbances if asked.only in disturbance.name]
        soak = Soak(seconds, clock)
        with Witness(endpoint, process.pid) as witness:
            soak.run(witness, disturbances, reader)
            process.send_signal(signal.SIGINT)
            output, _ = process.communicate(timeout=ENDS_WITHIN_S)
            reader.process.wait(ENDS_WITHIN_S)
        soak.judge(witness, reader, process, output, said_file.read_text())
    return soak.verdicts.exit_code()


if __name__ == "__main__":
    sys.exit(main())
