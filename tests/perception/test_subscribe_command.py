"""`perception subscribe` as a process: what it prints, how it ends."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import numpy as np
import pytest
from made_stream import MadeStream

from engines.results import ClassMap, Detections, SegmentationMap
from perception.message import NetworkInfo, SensorHealth, SensorState, Status
from perception.message.encoding import BodyEncoder, encode_tail
from perception.stream import Outbox, Publisher

WAIT_S = 20.0
NEVER = threading.Event()
COMMAND = [sys.executable, "-c", "from perception.commands.app import main; main()", "subscribe"]
FOUND = Detections(
    np.float32([[1, 2, 3, 4], [5, 6, 7, 8], [1, 1, 2, 2]]), np.float32([0.87, 0.5, 0.4]), np.int32([1, 1, 0])
)

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def publisher() -> Iterator[Publisher]:
    with Publisher("tcp://127.0.0.1:0") as publisher:
        yield publisher


@pytest.fixture
def start(publisher: Publisher) -> Iterator[Start]:
    """Starts the command on the publisher and returns it once it reads."""
    with ExitStack() as opened:

        def started(*options: str, awaited: int | None = 1) -> subprocess.Popen[str]:
            process = opened.enter_context(
                subprocess.Popen(
                    [*COMMAND, publisher.endpoint, *options],
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                )
            )
            opened.callback(process.kill)
            if awaited:
                assert publisher.wait_for_readers(awaited, NEVER, WAIT_S)
            return process

        yield started


def send(publisher: Publisher, count: int, end: bool = True) -> None:
    outbox = Outbox([NetworkInfo("road", "ab" * 32, "onnxruntime")], [("person", "car")], publisher)
    for frame in range(count):
        outbox.send(
            sensor="front",
            frame_sequence=frame,
            stamp_ns=frame * 40_000_000,
            width=640,
            height=480,
            status=Status.OK,
            detections=[FOUND],
            ledger={"arrival_ns": 1_000_000_000, "published_ns": 1_023_100_000},
        )
    outbox.send(
        sensor="front",
        frame_sequence=count,
        stamp_ns=count * 40_000_000,
        width=0,
        height=0,
        status=Status.DECODE_FAILED,
        reason="packet 3: invalid data",
    )
    if end:
        outbox.end("front", count + 1, 0)


def test_one_line_a_message_and_a_summary(start: Start, publisher: Publisher) -> None:
    process = start()
    send(publisher, 2)
    output, errors = process.communicate(timeout=WAIT_S)
    assert output.splitlines() == [
        "front  frame 0  0.000 s  3 boxes (2 car, 1 person)  latency 23.1 ms",
        "front  frame 1  0.040 s  3 boxes (2 car, 1 person)  latency 23.1 ms",
        "front  frame 2  0.080 s  DECODE_FAILED: packet 3: invalid data",
    ]
    assert errors == "received 3, lost 0, restarts 0, malformed 0\n"
    assert process.returncode == 0


def test_masks_are_told_by_their_shares(start: Start, publisher: Publisher) -> None:
    process = start()
    labels = ("background", "drivable", "grass", "road", "sky", "water")
    ground = np.repeat(np.uint8([0, 1, 2, 3]), [1, 8, 4, 7]).reshape(4, 5)
    maps = (ClassMap("drivable", np.uint8([[0, 1, 0, 0]]), 0, 2), ClassMap("ground", ground, 2, 4))
    outbox = Outbox([NetworkInfo("road", "ab" * 32, "onnxruntime")], [labels], publisher)
    outbox.send(
        sensor="front",
        frame_sequence=0,
        stamp_ns=0,
        width=640,
        height=480,
        status=Status.OK,
        detections=[SegmentationMap(maps)],
    )
    outbox.end("front", 1, 0)
    output, _ = process.communicate(timeout=WAIT_S)
    assert output == "front  frame 0  0.000 s  0 boxes  drivable 25.0%  road 40.0%  water 35.0%  sky 20.0%\n"


def test_json_is_one_object_a_line(start: Start, publisher: Publisher) -> None:
    process = start("--json", "--count", "2")
    send(publisher, 5, end=False)
    output, errors = process.communicate(timeout=WAIT_S)
    messages = [json.loads(line) for line in output.splitlines()]
    assert [m["frame_sequence"] for m in messages] == [0, 1]
    assert messages[0]["detections"][0]["score"] == 0.87
    assert "received 2" in errors
    assert process.returncode == 0


FRONT = SensorHealth(
    sensor="front",
    state=SensorState.RUNNING,
    captured=300,
    published=280,
    dropped={"superseded": 12, "skipped": 5},
    failed={"decode_failed": 2},
    in_flight=1,
    captured_hz=25.0,
    published_hz=24.04,
    latency_p50_ms=12.34,
    latency_p99_ms=31.0,
)
BROKEN = SensorHealth(sensor="rear", state=SensorState.BROKEN, state_reason="rear.mp4: ends early; copy it again")


@pytest.fixture
def stream(publisher: Publisher) -> MadeStream:
    publisher.offer(["health/", "preview/front/"])  # so that a test sees its subscription come
    return MadeStream(publisher, size=(64, 36))


def await_reader_of(publisher: Publisher, topic: str) -> None:
    deadline_s = time.monotonic() + WAIT_S
    while not publisher.is_wanted(topic) and time.monotonic() < deadline_s:
        publisher.wait_for_readers(10**9, NEVER, 0.01)


def test_health_is_a_line_a_sensor_to_its_last_word(start: Start, publisher: Publisher, stream: MadeStream) -> None:
    process = start("--topic", "health/", awaited=None)
    await_reader_of(publisher, "health/")
    stream.frame(0)
    stream.health(FRONT, BROKEN, uptime_ns=12_000_000_000)
    stream.health(SensorHealth(sensor="front", state=SensorState.ENDED), uptime_ns=13_100_000_000, last=True)
    output, errors = process.communicate(timeout=WAIT_S)
    assert output.splitlines() == [
        "health  12.0 s  front  RUNNING  25.0/s captured, 24.0/s published  latency p50 12.3 ms, p99 31.0 ms  "
        "280 of 300 published, 1 in flight  dropped: skipped 5, superseded 12  failed: decode_failed 2",
        "health  12.0 s  rear  BROKEN: rear.mp4: ends early; copy it again  0.0/s captured, 0.0/s published  "
        "0 of 0 published, 0 in flight",
        "health  13.1 s  front  ENDED  0.0/s captured, 0.0/s published  0 of 0 published, 0 in flight",
        "health  13.1 s  the run has ended",
    ]
    assert errors == "received 2, lost 0, restarts 0, malformed 0\n"
    assert process.returncode == 0


def test_the_last_word_of_a_run_that_broke_says_why(start: Start, publisher: Publisher, stream: MadeStream) -> None:
    process = start("--topic", "health/", awaited=None)
    await_reader_of(publisher, "health/")
    stream.health(last=True, failure="tiny: lost its device; start again")
    output, _ = process.communicate(timeout=WAIT_S)
    assert output.splitlines()[-1] == "health  65.0 s  tiny: lost its device; start again"


def test_health_as_json_is_one_object_a_line(start: Start, publisher: Publisher, stream: MadeStream) -> None:
    process = start("--topic", "health/", "--json", awaited=None)
    await_reader_of(publisher, "health/")
    stream.health(FRONT, last=True)
    output, _ = process.communicate(timeout=WAIT_S)
    told = json.loads(output)
    assert (told["topic"], told["last"], told["networks"][0]["engine"]) == ("health/", True, "onnxruntime")
    assert told["sensors"][0]["dropped"] == {"superseded": 12, "skipped": 5}
    assert told["sensors"][0]["state"] == "RUNNING"


def test_previews_are_told_by_frame_and_size(start: Start, publisher: Publisher, stream: MadeStream) -> None:
    process = start("--topic", "preview/front/", "--count", "1", awaited=None)
    await_reader_of(publisher, "preview/front/")
    stream.preview(12)
    output, _ = process.communicate(timeout=WAIT_S)
    assert output.startswith("front  frame 12  0.480 s  preview 64x36, 0.")


def test_a_topic_of_no_kind_is_refused() -> None:
    process = subprocess.run(
        [*COMMAND, "tcp://127.0.0.1:1", "--topic", "healt"], capture_output=True, text=True, timeout=WAIT_S, check=False
    )
    assert process.returncode == 2
    assert process.stderr.startswith(
        "error: topic 'healt': does not begin with detections/ or health/ or preview/; use"
    )


def end_at(publisher: Publisher, sequence: int) -> None:
    """Send one message, and the stream's end under this sequence: 1 if nothing is to be missed."""
    encoder = BodyEncoder([], [])
    for number, status in ((0, Status.OK), (sequence, Status.END_OF_STREAM)):
        body = encoder.encode(sequence=number, sensor="front", frame_sequence=0, stamp_ns=0, status=status)
        publisher.send("detections/front/", body + encode_tail("one", None))


def test_a_loss_is_exit_code_1(start: Start, publisher: Publisher) -> None:
    process = start()
    end_at(publisher, 3)
    _, errors = process.communicate(timeout=WAIT_S)
    assert errors == "received 1, lost 2, restarts 0, malformed 0\n"
    assert process.returncode == 1


def test_garbage_is_said_once_and_is_exit_code_1(start: Start, publisher: Publisher) -> None:
    process = start()
    publisher.send("detections/front/", b"\xff")
    publisher.send("detections/front/", b"\xff")
    end_at(publisher, 1)
    _, errors = process.communicate(timeout=WAIT_S)
    warning, summary = errors.splitlines()
    assert warning.startswith("passed over: message: 1 bytes that are no FrameResult")
    assert summary == "received 1, lost 0, restarts 0, malformed 2"
    assert process.returncode == 1


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
def test_a_signal_ends_it_with_a_summary(start: Start, publisher: Publisher, sent: signal.Signals, code: int) -> None:
    process = start()
    send(publisher, 1, end=False)
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.readline()
    process.send_signal(sent)
    _, errors = process.communicate(timeout=WAIT_S)
    assert errors == "received 2, lost 0, restarts 0, malformed 0\n"
    assert process.returncode == code


def test_a_closed_pipe_ends_it_quietly(start: Start, publisher: Publisher) -> None:
    process = start()
    assert process.stdout is not None
    assert process.stderr is not None
    send(publisher, 1, end=False)
    process.stdout.readline()
    process.stdout.close()
    while process.poll() is None:
        send(publisher, 1, end=False)
        time.sleep(0.01)
    assert process.stderr.read() == ""
    assert process.returncode == 0


def test_silence_gets_a_hint_and_then_an_end() -> None:
    process = subprocess.run(
        [*COMMAND, "tcp://127.0.0.1:1", "--timeout", "3.2"],
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
    )
    hint, summary, error = process.stderr.splitlines()
    assert re.match(r"still waiting: tcp://127.0.0.1:1: nothing received for [\d.]+ s: no publisher is there", hint)
    assert summary.startswith("received 0")
    assert re.match(r"error: tcp://127.0.0.1:1: nothing received for [\d.]+ s: no publisher is there; start it", error)
    assert process.returncode == 3


def test_a_wrong_endpoint_is_exit_code_2() -> None:
    process = subprocess.run(
        [*COMMAND, "tcp://0.0.0.0:5555"], capture_output=True, text=True, timeout=WAIT_S, check=False
    )
    assert process.stderr.startswith("error: tcp://0.0.0.0:5555: is open to the network")
    assert process.returncode == 2


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys, perception.commands.subscribe; assert not {'zmq', 'numpy', 'google.protobuf'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
