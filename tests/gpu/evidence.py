#!/usr/bin/env python3
"""Everything that only a GPU can show, run on one, and written down: `python tests/gpu/evidence.py [-o evidence.json]`.

Wants a machine with an NVIDIA driver, pycuda and a CUDA compiler; what TensorRT, cuda-bindings and the recordings are
needed for is skipped without them. The file says of every line whether it was seen here, and a line that nobody has
seen says so. A table for people goes beside it, with the ending .md. Ends with 1 if something failed.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import tempfile
import time
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(Path(__file__).parent)]

from engines.gpu import driver_version, find_gpu, is_jetson, power_mode  # noqa: E402

NOT_SEEN = "not seen"
# What issue and README promise of a GPU, and no test above measures by itself: filled in by the measurements below,
# or by who has the machine that it takes.
PROMISES = {
    "raw engine: throughput and stages": "measured with the stand-in kernel where TensorRT is not there",
    "pipeline throughput of the raw engine's, with transfers (0.97 or more)": NOT_SEEN,
    "added latency (p50 1 ms, p99 2 ms or less)": NOT_SEEN,
    "preprocessing of a 1080p frame (0.1 ms or less)": NOT_SEEN,
    "INT8 boxes and mAP50 against the CPU's": NOT_SEEN,
    "host CPU at four cameras of 30 a second (25 % of a core or less)": NOT_SEEN,
    "ten minutes of soak, memory flat": NOT_SEEN,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, default=Path("gpu-evidence.json"))
    parser.add_argument("--seconds", type=float, default=5.0, help="of each measurement")
    arguments = parser.parse_args()
    gpu = find_gpu(0)
    if gpu is None:
        print("error: no NVIDIA GPU is here: nothing of this can be seen on this machine", file=sys.stderr)
        return 2
    began_s = time.monotonic()
    tests = run_tests()
    seen = dict(PROMISES)
    measured: dict[str, Any] = {}
    try:
        measured = measure_stand_in(arguments.seconds)
        if find_spec("skvideo") is not None:
            measured["pipeline"] = measure_pipeline(arguments.seconds)
            for name, figure in measured["pipeline"]["promises"].items():
                seen[name] = figure
        seen["raw engine: throughput and stages"] = "measured"
        took_ms = measured["preprocess_1080p_ms"]["p50"]
        seen["preprocessing of a 1080p frame (0.1 ms or less)"] = f"{took_ms:.3f} ms"
    except Exception as error:  # the tests' outcome is worth keeping whatever happens here
        measured["failed"] = f"{type(error).__name__}: {error}"
    evidence = {
        "at": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "seconds": round(time.monotonic() - began_s, 1),
        "machine": {
            **gpu.facts(),
            "driver": driver_version(),
            "is_jetson": is_jetson(),
            "power_mode": power_mode(),
            "cpu": platform.processor() or platform.machine(),
            "python": platform.python_version(),
            "packages": {name: installed(name) for name in ("pycuda", "cuda-bindings", "tensorrt", "tensorrt_rtx")},
        },
        "commit": subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
        ).stdout.strip(),
        "tests": tests,
        "measured": measured,
        "promises": seen,
    }
    write(arguments.output, json.dumps(evidence, indent=2) + "\n")
    write(arguments.output.with_suffix(".md"), as_table(evidence))
    counts = {outcome: sum(test["outcome"] == outcome for test in tests) for outcome in ("passed", "failed", NOT_SEEN)}
    print(f"{arguments.output}: {', '.join(f'{count} {outcome}' for outcome, count in counts.items())}")
    return 1 if counts["failed"] or "failed" in measured else 0


def run_tests() -> list[dict[str, str]]:
    """The suite of this folder: name, outcome (passed, failed, not seen), and why not."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={report}", "tests/gpu"]
        subprocess.run(command, cwd=ROOT, check=False)
        found = []
        for case in ElementTree.parse(report).iter("testcase"):
            problem = next((child for child in case if child.tag in ("failure", "error", "skipped")), None)
            outcome = "passed" if problem is None else NOT_SEEN if problem.tag == "skipped" else "failed"
            why = "" if problem is None else (problem.get("message") or "").splitlines()[0][:300]
            found.append({"test": f"{case.get('classname')}::{case.get('name')}", "outcome": outcome, "why": why})
        return found


def measure_stand_in(seconds: float) -> dict[str, Any]:
    """Stages of the engine with a kernel in the network's place: what is ours of a frame's time."""
    import numpy as np
    import tiny_networks
    from simulated_tensorrt import write_plan
    from stand_in_tensorrt import StandInTensorRt, stand_in_engine

    from engines.bench import measure

    with tempfile.TemporaryDirectory() as folder:
        bundle = tiny_networks.make_bundle(Path(folder) / "wide", size=(640, 384))
        card = type("Card", (), {"facts": find_gpu(0)})()
        write_plan(bundle, card)
        with stand_in_engine(bundle, 3, StandInTensorRt()) as engine:
            speed = measure(engine, seconds)
            image = np.random.default_rng(0).integers(0, 256, (1080, 1920, 3), np.uint8)
            place = engine.place(1920, 1080)
            times = []
            for _ in range(200):
                engine.stage(0, 0, image, place)
                engine.submit(0, 1)
                times.append(engine.wait(0).gpu.preprocess_ms)
            return {
                "engine": "a kernel in TensorRT's place",
                "in_flight": speed.in_flight,
                "fps": round(speed.fps, 1),
                "gpu_ms": speed.gpu_ms,
                "preprocess_1080p_ms": {
                    "p50": float(np.median(times[20:])),
                    "p99": float(np.percentile(times[20:], 99)),
                },
                "notes": engine.notes,
            }


def measure_pipeline(seconds: float, compute_ms: float = 5.0) -> dict[str, Any]:
    """The demo drive through the whole pipeline, on a stand-in network that computes for some `compute_ms`."""
    import tiny_networks
    from simulated_tensorrt import write_plan
    from stand_in_tensorrt import StandInTensorRt, stand_in_engine

    from engines.bench import measure
    from engines.inference import decoder_for
    from engines.results import Thresholds
    from perception.message import NetworkInfo
    from perception.network import Network
    from perception.pipeline import Pipeline
    from perception.stream import NullPublisher, Outbox
    from perception.tracking import TrackerSettings
    from sensors.clock import ReplayClock
    from sensors.opening import open_source

    with tempfile.TemporaryDirectory() as folder:
        bundle = tiny_networks.make_bundle(Path(folder) / "wide", size=(640, 384))
        write_plan(bundle, type("Card", (), {"facts": find_gpu(0)})())
        module = StandInTensorRt()
        module.work = 1
        figures: dict[str, Any] = {}
        while module.work < 2**24:  # until it takes as long as a network
            with stand_in_engine(bundle, 3, module) as engine:
                if measure(engine, 0.2).gpu_ms["compute"]["p50"] >= compute_ms:
                    break
            module.work *= 2
        with stand_in_engine(bundle, 3, module) as engine:
            figures["raw_fps"] = measure(engine, seconds).fps
            decoder = decoder_for(bundle, engine)
            network = Network(bundle, engine, decoder, Thresholds(), TrackerSettings())
            for name, rate in (("max", None), ("real time", 1.0)):
                outbox = Outbox([NetworkInfo("stand-in", "ab" * 32, "tensorrt")], [bundle.labels], NullPublisher())
                with open_source("demo:bikes") as source:
                    pipeline = Pipeline([source], [network], outbox, ReplayClock(rate), 3)
                    before_s = time.process_time()
                    pipeline.run()
                ledger = pipeline.ledger
                figures[name] = {
                    "fps": ledger.total().published / pipeline.wall_s,
                    "failed": ledger.total().failed.total(),
                    "added_latency_ms": {"p50": ledger.added_latency.ms(50), "p99": ledger.added_latency.ms(99)},
                    "cpu_cores": (time.process_time() - before_s) / pipeline.wall_s,
                }
    added = figures["real time"]["added_latency_ms"]
    figures["promises"] = {
        "pipeline throughput of the raw engine's, with transfers (0.97 or more)": (
            f"{figures['max']['fps'] / figures['raw_fps']:.3f}, with a kernel in TensorRT's place"
        ),
        "added latency (p50 1 ms, p99 2 ms or less)": f"p50 {added['p50']:.2f} ms, p99 {added['p99']:.2f} ms",
    }
    return figures


def installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def as_table(evidence: dict[str, Any]) -> str:
    machine = evidence["machine"]
    lines = [
        f"# {machine['name']}, {machine['architecture']}, driver {machine['driver']}, {evidence['at']}",
        "",
        "| what | outcome |",
        "| --- | --- |",
        *(f"| {test['test'].rpartition('.')[2]} | {test['outcome']} {test['why']} |" for test in evidence["tests"]),
        *(f"| {promise} | {outcome} |" for promise, outcome in evidence["promises"].items()),
    ]
    return "\n".join(lines) + "\n"


def write(path: Path, text: str) -> None:
    draft = path.with_name(f".{path.name}.part")
    draft.write_text(text)
    draft.replace(path)


if __name__ == "__main__":
    sys.exit(main())
