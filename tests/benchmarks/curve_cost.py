"""What CURVE costs a message: the publisher's `send`, and the CPU of both ends, against the same stream without keys.

    python tests/benchmarks/curve_cost.py [--rounds 7] [--messages 4000] [--bytes 1500]

Both streams are there at once and take turns, round by round, so that both see the same machine. One reader each, on
loopback in this process; encryption is done by ZeroMQ's own threads, so it is seen in the CPU's time, not in `send`.
A message of 1,500 bytes is a frame with some 20 boxes.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import zmq

from perception.stream import Publisher
from perception.stream.keys import load_pair, new_keys

TOPIC = "detections/front/"
BATCH = 200  # messages sent before they are read: far below any queue's limit


def reader_of(context: zmq.Context[zmq.Socket[bytes]], endpoint: str, reader: Path | None, server: bytes) -> zmq.Socket:
    """A bare reader, so that nothing but the socket is timed."""
    socket = context.socket(zmq.SUB)
    socket.linger = 0
    if reader:
        pair = load_pair(reader)
        socket.curve_publickey, socket.curve_secretkey, socket.curve_serverkey = pair.public, pair.secret, server
    socket.subscribe(TOPIC)
    socket.connect(endpoint)
    return socket


def one_round(publisher: Publisher, reader: zmq.Socket, messages: int, payload: bytes) -> tuple[float, float, float]:
    """Microseconds a message: in `send`, from first to last on the clock, and of CPU in all threads."""
    in_send_s, began_s, cpu_began_s = 0.0, time.perf_counter(), time.process_time()
    for _ in range(messages // BATCH):
        batch_began_s = time.perf_counter()
        for _ in range(BATCH):
            publisher.send(TOPIC, payload)
        in_send_s += time.perf_counter() - batch_began_s
        for _ in range(BATCH):
            reader.recv_multipart()
    sent = messages // BATCH * BATCH
    return tuple(  # type: ignore[return-value]
        seconds / sent * 1e6
        for seconds in (in_send_s, time.perf_counter() - began_s, time.process_time() - cpu_began_s)
    )


def main() -> None:
    """Run the rounds and print medians and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--messages", type=int, default=4000)
    parser.add_argument("--bytes", type=int, default=1500)
    asked = parser.parse_args()
    payload, times = bytes(asked.bytes), {"plain": [], "curve": []}  # type: ignore[var-annotated]
    with ExitStack() as opened:
        folder = Path(opened.enter_context(tempfile.TemporaryDirectory()))
        vehicle, laptop = new_keys("vehicle", folder), new_keys("laptop", folder)
        (vehicle / "readers" / "laptop.key").write_bytes((laptop / "laptop.key").read_bytes())
        server = load_pair(vehicle).public
        context = opened.enter_context(zmq.Context())
        streams = {}
        for name, keys, own in (("plain", None, None), ("curve", vehicle, laptop)):
            publisher = opened.enter_context(Publisher("tcp://127.0.0.1:0", keys=keys))
            reader = opened.enter_context(reader_of(context, publisher.endpoint, own, server))
            if not publisher.wait_for_readers(1, threading.Event(), 10.0):
                raise SystemExit(f"the {name} reader did not connect")
            streams[name] = publisher, reader
        for _ in range(asked.rounds):
            for name, (publisher, reader) in streams.items():
                times[name].append(one_round(publisher, reader, asked.messages, payload))
    print(f"{asked.bytes} bytes a message, medians of {asked.rounds} rounds, us a message")
    for index, what in enumerate(("send", "sent and read", "CPU, both ends")):
        plain, curve = (statistics.median(row[index] for row in times[name]) for name in ("plain", "curve"))
        print(f"{what:16} plain {plain:7.1f}   CURVE {curve:7.1f}   +{curve - plain:6.1f}   x{curve / plain:.2f}")


if __name__ == "__main__":
    main()
