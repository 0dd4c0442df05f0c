"""Throughput of `replay --rate max` against the raw engine looped, one inference thread, in turns in one run.

    python tests/benchmarks/replay_speed.py [--rounds 5]

The raw engine infers one staged picture again and again. While a second process decodes the same clip at the
replay's own pace it shows what the engine can give beside the decoding that a replay needs; alone, what the
machine can give. The stand-in engine sleeps 8 ms: what is lost against it is the pipeline's own.
"""

from __future__ import annotations

import argparse

import setting
from setting import CLIP, median, verdict

from engines.bench import measure
from engines.bundle import Bundle
from engines.runtime import ENGINES, open_engine
from perception.replay import SLOTS, Replay, ReplayRequest

BAR_REAL, BAR_STAND_IN = 0.95, 0.97
RAW_S = 4.0
LOOPS = 2  # of the clip in a round: 3 to 4 s, so that starting and draining (20 ms) count for little
STAND_IN = "stand-in"


def replayed_fps(bundle: Bundle, engine: str) -> float:
    request = ReplayRequest(
        sources=[str(CLIP)], models=[str(bundle.folder)], engine=engine, threads=1, rate=None, loop=LOOPS
    )
    with Replay(request) as run:
        run.run()
        return float(run.summary()["fps"])


def raw_fps(bundle: Bundle, engine: str) -> float:
    with open_engine(bundle, engine, slots=SLOTS, threads=1) as opened:
        return measure(opened, RAW_S).fps


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="Replay speed against the raw engine's.")
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    ENGINES[STAND_IN] = "stand_in:StandInEngine"
    with setting.folder() as where:
        bundle = setting.bundle_in(where)
        replayed_fps(bundle, "onnxruntime")  # what is first used is loaded
        print("frames/s   replay  raw, beside a decoder  raw alone   stand-in: replay     raw", flush=True)
        rows = []
        for number in range(rounds):
            replay = replayed_fps(bundle, "onnxruntime")
            with setting.second_process("decode", str(CLIP), f"{replay}"):
                beside = raw_fps(bundle, "onnxruntime")
            alone = raw_fps(bundle, "onnxruntime")
            row = (replay, beside, alone, replayed_fps(bundle, STAND_IN), raw_fps(bundle, STAND_IN))
            print("round {:2d} {:9.1f} {:22.1f} {:10.1f} {:18.1f} {:7.1f}".format(number + 1, *row), flush=True)
            rows.append(row)
    beside_ratio = median([row[0] / row[1] for row in rows])
    print(f"replay / raw beside a decoder  {verdict(beside_ratio, BAR_REAL, least=True)}")
    print(f"replay / raw alone             {median([row[0] / row[2] for row in rows]):.3f}  (reported)")
    stand_in_ratio = median([row[3] / row[4] for row in rows])
    print(f"stand-in: replay / raw         {verdict(stand_in_ratio, BAR_STAND_IN, least=True)}")
    print("(medians over the rounds of each round's ratio)")


if __name__ == "__main__":
    main()
