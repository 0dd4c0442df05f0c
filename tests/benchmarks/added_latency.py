"""What the pipeline adds to the engine's own time, against the sum of its steps, at the clip's own pace.

    python tests/benchmarks/added_latency.py [--rounds 5]

Rounds of the real pipeline and of its steps alone take turns. The steps alone: one thread reads, waits until the
frame is due, and does stage, inference, decoding with suppression, tracking, message and sending one after the other;
each step is timed, and inference not counted. So both see the same load and the same cold caches.

The second table is the pipeline's: each step as its own thread did it, and the handoffs between the threads.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event
from typing import Any

import numpy as np
import setting
from setting import CLIP, verdict

from perception.ledger import Entry
from perception.message import Status
from perception.network import Network
from perception.pipeline import Result
from perception.stream import Publisher
from perception.tracking import Tracker
from sensors.clock import ReplayClock
from sensors.frame import Frame
from sensors.opening import open_sources

BAR = 1.3
ROUND_S = 6.0
SKIPPED = 10  # frames at each round's beginning: first calls
STEPS = ("stage", "decode and NMS", "track", "encode and send")
Times = dict[str, list[float]]  # ms by what took them


class Spans:
    """Begin and end of the calls made on one frame, ns."""

    def __init__(self) -> None:
        self.last: dict[str, tuple[int, int]] = {}

    def wrap(self, owner: Any, method: str, name: str) -> tuple[Any, str, Any]:
        """Time a method of an object or class from now on; returns what undoes it."""
        real = getattr(owner, method)

        def timed(*arguments: Any, **options: Any) -> Any:
            began_ns = time.monotonic_ns()
            try:
                return real(*arguments, **options)
            finally:
                self.last[name] = (began_ns, time.monotonic_ns())

        setattr(owner, method, timed)
        return owner, method, real


@contextmanager
def timed_steps(network: Network, outbox: Any) -> Iterator[Spans]:
    """Time the steps where the pipeline calls them."""
    spans = Spans()
    undo = [
        spans.wrap(network.engine, "stage", "stage"),
        spans.wrap(network.engine, "wait", "wait"),
        spans.wrap(network.decoder, "decode", "decode and NMS"),
        spans.wrap(Tracker, "update", "track"),
        spans.wrap(outbox, "send", "encode and send"),
    ]
    try:
        yield spans
    finally:
        for owner, method, real in undo:
            setattr(owner, method, real)


def pipeline_round(network: Network, publisher: Publisher, times: Times) -> None:
    """One round of the real pipeline; adds its added latency, its steps and its handoffs."""
    outbox = setting.outbox_of(network, publisher)
    seen = 0

    def observe(result: Result) -> None:
        nonlocal seen
        seen += 1
        if seen > SKIPPED:
            add_breakdown(result.entry, spans.last, times)

    with (
        timed_steps(network, outbox) as spans,
        setting.opened_pipeline(CLIP, network, outbox, 1.0, [observe]) as pipeline,
    ):
        end_s = time.monotonic() + ROUND_S
        pipeline.run(lambda: pipeline.stop() if time.monotonic() >= end_s else None)


def add_breakdown(entry: Entry, spans: dict[str, tuple[int, int]], times: Times) -> None:
    """Where one frame's added latency went: its steps, and what lies between them."""
    marks = {
        "reader -> feeder": spans["stage"][0] - entry.decoded_ns,
        "stage": spans["stage"][1] - spans["stage"][0],
        "stage -> submitted": entry.submitted_ns - spans["stage"][1],
        "engine -> completer": spans["wait"][1] - entry.inferred_ns,
        "decode and NMS": spans["decode and NMS"][1] - spans["decode and NMS"][0],
        "track": spans["track"][1] - spans["track"][0],
        "encode and send": spans["encode and send"][1] - spans["encode and send"][0],
    }
    marks["between the completer's steps"] = entry.added_latency_ns - sum(marks.values())
    for name, took_ns in marks.items():
        times[name].append(took_ns / 1e6)
    times["added"].append(entry.added_latency_ns / 1e6)
    # Not part of the added latency, told because it is a handoff too.
    times["(feeder -> engine)"].append((entry.inferences[0][0] - entry.submitted_ns) / 1e6)


def steps_round(network: Network, publisher: Publisher, times: Times) -> None:
    """One round of the steps alone, on this thread; adds each step and their sum."""
    outbox, tracker, clock = setting.outbox_of(network, publisher), Tracker(), ReplayClock(1.0)
    stop = Event()  # that nobody sets
    end_s = time.monotonic() + ROUND_S
    infer: Callable[[int, int], None] = network.engine._infer  # on this thread, not on the engine's
    outputs = network.engine.wait
    network.engine.submit(0, 1)
    rows = outputs(0).rows
    [source] = open_sources([str(CLIP)])
    with source:
        for number, frame in enumerate(source):
            assert isinstance(frame, Frame)
            clock.wait_until(frame.stamp_ns, stop)
            if time.monotonic() >= end_s:
                break
            marks = [time.monotonic_ns()]
            place = network.engine.place(frame.width, frame.height)
            network.engine.stage(0, 0, frame.image, place)
            marks.append(time.monotonic_ns())
            infer(0, 1)
            began_ns = time.monotonic_ns()
            found = network.decoder.decode(rows[0], place, network.thresholds)
            marks.append(time.monotonic_ns())
            found = tracker.update(found, frame.stamp_ns)
            marks.append(time.monotonic_ns())
            outbox.send(
                sensor=frame.sensor,
                frame_sequence=frame.sequence,
                stamp_ns=frame.stamp_ns,
                width=frame.width,
                height=frame.height,
                status=Status.OK,
                detections=[found],
                ledger={"arrival_ns": time.time_ns(), "published_ns": time.time_ns()},
            )
            marks.append(time.monotonic_ns())
            if number < SKIPPED:
                continue
            took = np.diff(marks) / 1e6
            took[1] = (marks[2] - began_ns) / 1e6
            for name, ms in zip(STEPS, took, strict=True):
                times[name].append(ms)
            times["sum"].append(float(took.sum()))


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description="Added latency against the sum of the steps.")
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    ours, alone = defaultdict(list), defaultdict(list)
    with (
        setting.folder() as where,
        Publisher("tcp://127.0.0.1:0") as publisher,
        setting.opened_network(setting.bundle_in(where)) as network,
        setting.second_process("read", publisher.endpoint),
    ):
        for _ in range(rounds):
            pipeline_round(network, publisher, ours)
            steps_round(network, publisher, alone)

    def line(name: str, values: list[float]) -> str:
        p50, p99 = np.percentile(values, (50, 99))
        return f"{name:<32} {p50:7.3f} {p99:8.3f}"

    print(f"{len(ours['added'])} frames of the pipeline, {len(alone['sum'])} of the steps alone")
    print(f"{'ms':<32} {'p50':>7} {'p99':>8}")
    for name in (*STEPS, "sum"):
        print(line(f"alone: {name}", alone[name]))
    for name, values in ours.items():
        print(line(f"pipeline: {name}", values))
    p50 = float(np.median(ours["added"]) / np.median(alone["sum"]))
    p99 = float(np.percentile(ours["added"], 99) / np.percentile(alone["sum"], 99))
    print(f"added latency / sum of the steps, p50  {verdict(p50, BAR, least=False)}")
    print(f"added latency / sum of the steps, p99  {p99:.3f}  (reported)")


if __name__ == "__main__":
    main()
