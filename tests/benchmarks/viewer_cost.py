"""What being looked at costs the process that perceives: health and previews with no viewer, with one, with two.

    python tests/benchmarks/viewer_cost.py [--rounds 4]

The same clip, network and pipeline in turns: bare (neither health nor previews), then as `perception replay` and `run`
have it with no viewer, with one `perception view` and with two. Once paced at the clip's 25 frames/s, where CPU a frame
is told (of the whole process but inference, ZeroMQ's thread and the encoder of previews included), and once as fast as
it goes. The viewers run on this machine: what they take of its cores is in the speed as well.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import setting
from cpu_per_frame import InferenceCpu
from setting import median, verdict

from perception.health import Health
from perception.message.preview_message import preview_topic_of
from perception.network import Network
from perception.preview import Previews
from perception.stream import Publisher

PACED_S = 4.0
SENSOR = setting.CLIP.stem
CPU_BAR = 1.02  # no viewer / bare: nothing that can be measured
SPEED_BAR = 0.97  # one viewer / bare
VIEW = "from perception.commands.app import main; main()"


@contextmanager
def viewed(viewers: int) -> Iterator[Publisher]:
    """A publisher with so many `perception view` on it."""
    with ExitStack() as opened:
        publisher = opened.enter_context(Publisher("tcp://127.0.0.1:0"))
        publisher.offer([preview_topic_of(SENSOR)])
        for _ in range(viewers):
            words = ["view", publisher.endpoint, "--port", "0", "--no-open"]
            process = opened.enter_context(
                subprocess.Popen([sys.executable, "-c", VIEW, *words], stderr=subprocess.DEVNULL)
            )
            opened.callback(process.kill)
        if not publisher.wait_for_readers(viewers, threading.Event(), 30.0):
            raise SystemExit("a viewer did not connect")
        yield publisher


class Run:
    """One clip through one network, again and again."""

    def __init__(self, clip: Path, network: Network) -> None:
        self._clip, self._network = clip, network
        self._inference = InferenceCpu(network)

    def __call__(self, publisher: Publisher, rate: float | None, *, bare: bool) -> tuple[float, float]:
        """CPU ms a frame but inference, and frames/s."""
        outbox = setting.outbox_of(self._network, publisher)
        previews = Previews(publisher, outbox.session, [SENSOR])
        observers = [] if bare else [previews]
        self._inference.total_s = 0.0
        with setting.opened_pipeline(self._clip, self._network, outbox, rate, observers) as pipeline:
            if rate:
                threading.Timer(PACED_S, pipeline.stop).start()
            began_s = time.process_time()
            with ExitStack() as around:
                if not bare:
                    around.enter_context(Health(pipeline, outbox, publisher))
                    around.enter_context(previews)
                pipeline.run()
            used_s = time.process_time() - began_s
        if (previews._sent.total() > 0) != (publisher.readers > 0 and not bare):
            raise SystemExit(f"{previews._sent.total()} previews were made for {publisher.readers} viewers")
        frames = pipeline.ledger.total().published
        return (used_s - self._inference.total_s) * 1e3 / frames, frames / pipeline.wall_s


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="What being looked at costs.")
    parser.add_argument("--rounds", type=int, default=4)
    rounds = parser.parse_args().rounds
    ways = {"bare": (0, True), "no viewer": (0, False), "one viewer": (1, False), "two viewers": (2, False)}
    cpu_ms: dict[str, list[float]] = {way: [] for way in ways}
    speed: dict[str, list[float]] = {way: [] for way in ways}
    with setting.folder() as where, ExitStack() as opened:
        network = opened.enter_context(setting.opened_network(setting.bundle_in(where)))
        run = Run(setting.CLIP, network)
        publishers = {way: opened.enter_context(viewed(viewers)) for way, (viewers, _) in ways.items()}
        run(publishers["bare"], None, bare=True)  # first calls
        for number in range(rounds):
            order = list(ways) if number % 2 == 0 else list(ways)[::-1]  # nobody always comes first
            for way in order:
                bare = ways[way][1]
                cpu_ms[way].append(run(publishers[way], 1.0, bare=bare)[0])
                speed[way].append(run(publishers[way], None, bare=bare)[1])
                print(f"round {number} {way:12} {cpu_ms[way][-1]:6.2f} ms {speed[way][-1]:7.1f} frames/s", flush=True)
    print(f"medians of {rounds} rounds: CPU a frame but inference at 25 frames/s; speed as fast as it goes")
    for way in ways:
        of_cpu = median([mine / bare for mine, bare in zip(cpu_ms[way], cpu_ms["bare"], strict=True)])
        of_speed = median([mine / bare for mine, bare in zip(speed[way], speed["bare"], strict=True)])
        figures = f"{median(cpu_ms[way]):6.2f} ms  x{of_cpu:.3f}   {median(speed[way]):7.1f} frames/s  x{of_speed:.3f}"
        print(f"{way:12} {figures}")
        if way == "no viewer":
            print(f"  CPU, no viewer / bare    {verdict(of_cpu, CPU_BAR, least=False)}")
        if way == "one viewer":
            print(f"  speed, one viewer / bare {verdict(of_speed, SPEED_BAR, least=True)}")


if __name__ == "__main__":
    main()
