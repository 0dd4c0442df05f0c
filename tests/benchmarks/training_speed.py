"""How fast a training is, what it waits for, and what a second process gives: interleaved runs of the real command.

    python tests/benchmarks/training_speed.py [--rounds 3] [--steps 25] [--batch 32] [--network nano]

Each run is `perception engine train` on the photographs of labelled/highway, with one thread a process, judged by its
own curve.csv (the first steps, in which memory and kernels are made ready, are left out):

    alone      one process, which makes its own pictures
    loader     one process, and one that makes pictures for it
    together   two processes under torchrun, each with half of every batch

and the loader by itself, one process. Images a second of the whole training. The loader is not the bottleneck where it
makes more than the network takes, and where a training with a loader of its own hardly waits. The smaller a batch, the
smaller a process's half, and the more the exchange of gradients counts: at 16 pictures two processes gain 1.59 times.
"""

from __future__ import annotations

import argparse
import csv
import subprocess
import sys
import time
from pathlib import Path

from setting import DATA, folder, median, verdict

from engines.training.batches import Pictures, Share, batches
from engines.training.datasets import Labels, open_mixture
from engines.training.tasks import task_of

LEFT_OUT = 5  # steps at the beginning
BAR_TOGETHER, BAR_LOADER = 1.6, 1.0
PERCEPTION = (sys.executable, "-c", "from perception.commands.app import main; main()")
TOGETHER = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--no-python")


def train(
    output: Path, network: str, batch: int, steps: int, launcher: tuple[str, ...] = (), workers: int = 0
) -> tuple[float, float]:
    """Images a second, and the share of the time in which it waited for pictures."""
    data = DATA / "labelled" / "highway" / "data.yaml"
    epochs = steps * batch / images()
    words = [*launcher, *PERCEPTION, "engine", "train", str(data), "-o", str(output), "--network", network]
    words += ["--batch", str(batch), "--epochs", str(epochs), "--threads", "1", "--workers", str(workers)]
    done = subprocess.run(words, check=False, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr or done.stdout)
    with (output / "curve.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))[LEFT_OUT:]
    seconds = sum(batch / float(row["images_per_s"]) for row in rows)
    waited = sum(batch / float(row["images_per_s"]) * float(row["waiting"]) for row in rows)
    return len(rows) * batch / seconds, waited / seconds


def images() -> int:
    """How many images an epoch has."""
    return len(open_mixture(DATA / "labelled" / "highway" / "data.yaml", "train", root=None, labels=Labels.BOXES))


def load(network: str, batch: int, steps: int) -> float:
    """Pictures a second that one process makes."""
    task = task_of(network)
    mixture = open_mixture(DATA / "labelled" / "highway" / "data.yaml", "train", root=None, labels=Labels.BOXES)
    pictures = Pictures(mixture, task.size, task.augmentation, 0, task.picture)
    stream = batches(pictures, Share(batch), task.target, first_step=0, steps=steps, workers=0)
    next(stream)
    began_s = time.perf_counter()
    made = sum(len(one.sources) for one in stream)
    return made / (time.perf_counter() - began_s)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=25)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--network", default="nano")
    asked = parser.parse_args()
    network, batch, steps = asked.network, asked.batch, asked.steps
    rows = []
    with folder() as where:
        size = "x".join(map(str, task_of(network).size))
        print(f"{network} at {size}, images a second, batch {batch}, one thread a process")
        print("         alone (waiting)   loader (waiting)   together (waiting)   loader by itself", flush=True)
        for number in range(asked.rounds):
            alone = train(where / f"alone{number}", network, batch, steps)
            beside = train(where / f"beside{number}", network, batch, steps, workers=1)
            together = train(where / f"together{number}", network, batch, steps, TOGETHER)
            by_itself = load(network, batch, steps)
            print(
                f"round {number + 1:2d} {alone[0]:8.1f} ({alone[1]:4.0%}) {beside[0]:11.1f} ({beside[1]:4.0%})"
                f" {together[0]:13.1f} ({together[1]:4.0%}) {by_itself:14.1f}",
                flush=True,
            )
            rows.append((alone[0], beside[0], together[0], by_itself, beside[1]))
    print(f"two processes / one             {verdict(median([r[2] / r[0] for r in rows]), BAR_TOGETHER, least=True)}")
    print(f"pictures made / pictures taken  {verdict(median([r[3] / r[1] for r in rows]), BAR_LOADER, least=True)}")
    print(f"waiting beside a loader         {median([r[4] for r in rows]):.1%}")


if __name__ == "__main__":
    main()
