"""Four copies of one clip as live cameras on one engine: does each get its share, and is every drop accounted for?

    python tests/benchmarks/live_fairness.py [--rounds 3] [--seconds 8]

The clip plays at its own 25 frames/s four times at once, from four decoders, through the live pipeline: with an engine
that only sleeps, half loaded and loaded twice over; the same with one of the four sources stalled after a second; and
with yolox_nano as it is. Bars, for every round by itself:

    published counts       the least of a sensor, and one, at least 0.95 of the most: the run ends with somebody's turn
    waiting                never more than one frame of a camera
    captured               published + superseded, exactly, at every sample
    one stalled            as many are published as of four that give, to 0.97 (those of the stalled one before it
                           stalled among them), or all that the others gave

What a camera gave and what was published of it is the same where the machine has the cores to spare for four decoders.
"""

from __future__ import annotations

import argparse
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import setting
from setting import median, verdict
from stand_in import StandInEngine

from engines.bundle import Bundle
from engines.results import Thresholds
from perception.cores import running_on
from perception.intake import Captured, NewestFirst
from perception.network import Network, decoder_for, open_network
from perception.pipeline import Pipeline
from perception.replay import SLOTS
from perception.stream import NullPublisher
from perception.tracking import TrackerSettings
from sensors.clock import ReplayClock
from sensors.frame import Item
from sensors.opening import open_source
from sensors.source import Source

CAMERAS = ("front", "left", "right", "rear")
HALF_LOADED_S, OVERLOADED_S = 0.005, 0.02  # an inference: 200 and 50 a second, where 100 frames come
STALLS_AFTER = 25  # frames
SHARE_BAR = 0.95  # least / most published of a sensor
STALLED_BAR = 0.97  # published where one stalls / where all four give


class Stalling:
    """A source that gives some frames and then nothing, as a camera that has frozen; it does not end."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self.info = source.info
        self._closed = threading.Event()

    def __iter__(self) -> Iterator[Item]:
        for number, item in enumerate(self._source):
            if number == STALLS_AFTER:
                self._closed.wait()
                return
            yield item

    def close(self) -> None:
        self._closed.set()
        self._source.close()

    def __enter__(self) -> Stalling:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()


class Watched(NewestFirst):
    """The live intake, and how many frames of one sensor have ever waited in it at once."""

    most_waiting = 0

    def put(self, source: int, captured: Captured) -> Captured | None:
        superseded = super().put(source, captured)
        with self._changed:
            self.most_waiting = max(self.most_waiting, *map(len, self._waiting.values()))
        return superseded


@dataclass(frozen=True)
class Outcome:
    """One run."""

    captured: list[int]  # by camera
    published: list[int]
    dropped: dict[str, int]  # by reason, of all
    most_waiting: int
    is_exact: bool  # at every sample, and at the end without a frame in flight
    latency_p99_ms: float
    wall_s: float

    def share(self, cameras: Sequence[int]) -> float:
        """The least published count of a camera as a part of the most; one frame of difference is none.

        For the run ends with somebody's turn.
        """
        of_these = [self.published[camera] for camera in cameras]
        return min(1.0, (min(of_these) + 1) / max(of_these))

    def rate(self, cameras: Sequence[int]) -> float:
        """Published frames a second."""
        return sum(self.published[camera] for camera in cameras) / self.wall_s


def run(network: Network, seconds: float, *, stalled: int | None = None) -> Outcome:
    """Four cameras for some seconds; perhaps the one at the place `stalled` stalls."""
    is_exact = True

    def look() -> None:
        nonlocal is_exact
        is_exact &= all(counts.balances for counts in pipeline.ledger.counts().values())

    with running_on(setting.OTHER_CORES), ExitStack() as opened:
        sources: list[Any] = [open_source(str(setting.CLIP), loop=0, name=camera) for camera in CAMERAS]
        if stalled is not None:
            sources[stalled] = Stalling(sources[stalled])
        for source in sources:
            opened.enter_context(source)
        outbox = setting.outbox_of(network, NullPublisher())
        pipeline = Pipeline(sources, [network], outbox, ReplayClock(1.0), SLOTS, live=True)
        pipeline._intake = intake = Watched(len(sources), CAMERAS)
        threading.Timer(seconds, pipeline.stop).start()
        pipeline.run(look)
    counts, total = pipeline.ledger.counts(), pipeline.ledger.total()
    superseded = total.dropped["superseded"]
    return Outcome(
        captured=[counts[camera].captured for camera in CAMERAS],
        published=[counts[camera].published for camera in CAMERAS],
        dropped=dict(total.dropped),
        most_waiting=intake.most_waiting,
        is_exact=is_exact and total.in_flight == 0 and total.captured == total.published + superseded,
        latency_p99_ms=pipeline.ledger.latency.ms(99) or 0.0,
        wall_s=pipeline.wall_s,
    )


def sleeping(bundle: Bundle, inference_s: float) -> Network:
    """A network whose inferences take so long and use no core."""
    engine = StandInEngine(bundle, SLOTS, inference_s=inference_s)
    return Network(bundle, engine, decoder_for(bundle, engine), Thresholds(), TrackerSettings())


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="Four live cameras on one engine: who gets what.")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=8.0)
    asked = parser.parse_args()
    outcomes: dict[str, list[Outcome]] = {}
    whole, others = range(len(CAMERAS)), range(1, len(CAMERAS))
    with setting.folder() as where, ExitStack() as opened:
        bundle = setting.bundle_in(where)
        half, over = (sleeping(bundle, inference_s) for inference_s in (HALF_LOADED_S, OVERLOADED_S))
        with running_on(setting.ENGINE_CORES):
            real = open_network(bundle, slots=SLOTS, threads=1)
        for network in (half, over, real):
            opened.enter_context(network.engine)
        ways = {
            "half loaded": (half, None),
            "half loaded, one stalled": (half, 0),
            "overloaded": (over, None),
            "overloaded, one stalled": (over, 0),
            "yolox_nano": (real, None),
        }
        run(real, 1.0)  # first calls
        print(f"{'':26}{'captured':>22}{'published':>22}  waiting  p99 ms  dropped")
        for number in range(asked.rounds):
            for way, (network, stalled) in ways.items():
                outcome = run(network, asked.seconds, stalled=stalled)
                outcomes.setdefault(way, []).append(outcome)
                captured, published = (
                    " ".join(f"{count:4d}" for count in row) for row in (outcome.captured, outcome.published)
                )
                print(
                    f"{number + 1} {way:24}  {captured:>20}  {published:>20}  {outcome.most_waiting:7d}"
                    f"  {outcome.latency_p99_ms:6.1f}  {outcome.dropped or 'none'}",
                    flush=True,
                )
    print(f"\nthe worst of {asked.rounds} rounds")
    for way, rounds in outcomes.items():
        judged = others if "stalled" in way else whole
        share = min(outcome.share(judged) for outcome in rounds)
        print(f"{way:24}  least / most published          {verdict(share, SHARE_BAR, least=True)}")
    for way in ("half loaded", "overloaded"):
        with_four = median([outcome.rate(whole) for outcome in outcomes[way]])
        given = min(
            max(
                outcome.rate(whole) / with_four,
                sum(outcome.published[camera] for camera in others)
                / sum(outcome.captured[camera] for camera in others),
            )
            for outcome in outcomes[f"{way}, one stalled"]
        )
        print(f"{way:24}  published where one stalls      {verdict(given, STALLED_BAR, least=True)}")
    every = [outcome for rounds in outcomes.values() for outcome in rounds]
    waiting = max(outcome.most_waiting for outcome in every)
    print(f"{'frames of a camera waiting':56}  {verdict(waiting, 1, least=False)}")
    exact = sum(outcome.is_exact for outcome in every) / len(every)
    print(f"{'runs in which each drop was accounted for':56}  {verdict(exact, 1, least=True)}")


if __name__ == "__main__":
    main()
