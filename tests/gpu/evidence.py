#!/usr/bin/env python3
"""Everything that only a GPU can show, run on one, and written down: `python tests/gpu/evidence.py [-o evidence.json]`.

Wants a machine with an NVIDIA driver, pycuda and a CUDA compiler; what TensorRT, cuda-bindings and the recordings are
needed for is skipped without them. The file says of every line whether it was seen here, and a line that nobody has
seen says so. A table for people goes beside it, with the ending .md. Ends with 1 if something failed.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(Path(__file__).parent)]

import measurements  # noqa: E402

from engines import default_bundle  # noqa: E402
from engines.bundle import Bundle, load_bundle  # noqa: E402
from engines.datasets import open_dataset  # noqa: E402
from engines.evaluate import evaluate  # noqa: E402
from engines.gpu import driver_version, find_gpu, is_jetson, power_mode  # noqa: E402
from engines.plans.build import build  # noqa: E402
from engines.plans.preparing import PlanRequest  # noqa: E402
from engines.runtime import Engine, open_engine  # noqa: E402
from engines.runtime.opening_cuda import open_cuda  # noqa: E402
from engines.tensorrt_library import FLAVORS  # noqa: E402
from sensors.errors import EdgePerceptionError  # noqa: E402

LABELLED = Path(os.environ.get("EDGE_PERCEPTION_DATA", ROOT.parent / "shared" / "data")) / "labelled"
COMPUTE_MS = 5.0  # of the stand-in, about a network's

NOT_SEEN = "not seen"
RAW = "raw engine: throughput and stages"
PREPROCESSING = "preprocessing of a 1080p frame (0.1 ms or less)"
THROUGHPUT = "pipeline throughput of the raw engine's, with transfers (0.97 or more)"
LATENCY = "added latency (p50 1 ms, p99 2 ms or less)"
BOXES = "boxes above 0.35 with a partner on the CPU's INT8 (99 % or more)"
ACCURACY = "mAP50 against the CPU's INT8 (within 0.005)"
CAMERAS = "host CPU at four cameras of 30 a second (25 % of a core or less)"
SOAK = "soak, memory flat (ten minutes)"
PROMISES = (RAW, PREPROCESSING, THROUGHPUT, LATENCY, BOXES, ACCURACY, CAMERAS, SOAK)
STAND_IN = "a kernel in TensorRT's place"
IMAGES = 250


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, default=Path("gpu-evidence.json"))
    parser.add_argument("--seconds", type=float, default=5.0, help="of each measurement (5)")
    parser.add_argument("--soak-minutes", type=float, default=10.0, help="of the soak, 0 for none (10)")
    parser.add_argument("--without-tests", action="store_true", help="only measure")
    arguments = parser.parse_args()
    gpu = find_gpu(0)
    if gpu is None:
        print("error: no NVIDIA GPU is here: nothing of this can be seen on this machine", file=sys.stderr)
        return 2
    began_s = time.monotonic()
    tests = [] if arguments.without_tests else run_tests()
    seen = dict.fromkeys(PROMISES, NOT_SEEN)
    measured: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, part in (("stand_in", measure_stand_in), ("plans", measure_plans)):
            try:
                measured[name] = part(Path(folder), arguments.seconds, arguments.soak_minutes * 60, seen)
            except Exception as error:  # what else was seen is worth keeping whatever happens here
                traceback.print_exc()
                measured[name] = {"failed": f"{type(error).__name__}: {error}"}
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
    print("\n".join(f"{promise}: {outcome}" for promise, outcome in seen.items()))
    return 1 if counts["failed"] or any("failed" in of for of in measured.values()) else 0


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


def measure_stand_in(folder: Path, seconds: float, soak_s: float, seen: dict[str, str]) -> dict[str, Any]:
    """Ours of a frame's time, with a kernel in the network's place that computes for some milliseconds."""
    import tiny_networks
    from simulated_tensorrt import write_plan
    from stand_in_tensorrt import StandInTensorRt, stand_in_engine

    bundle = tiny_networks.make_bundle(folder / "wide", size=(640, 384))
    write_plan(bundle, type("Card", (), {"facts": find_gpu(0)})())
    module = StandInTensorRt()

    def opens(bundle: Bundle, slots: int) -> Engine:
        return stand_in_engine(bundle, slots, module)

    module.work = 1
    while module.work < 2**24:
        if measurements.raw(bundle, opens, 0.2)["gpu_ms"].get("compute", {}).get("p50", 9.0) >= COMPUTE_MS:
            break
        module.work *= 2
    return measure(bundle, opens, STAND_IN, folder, seconds, soak_s, seen)


def measure_plans(folder: Path, seconds: float, soak_s: float, seen: dict[str, str]) -> dict[str, Any]:
    """The default network's INT8 plan, by each TensorRT that is here and whose plan loads, beside the CPU's INT8."""
    found: dict[str, Any] = {}
    for flavor in FLAVORS:
        bundle_folder = folder / flavor / default_bundle().name
        shutil.copytree(default_bundle(), bundle_folder, ignore=shutil.ignore_patterns("plans"))
        try:
            plan = build(load_bundle(bundle_folder), PlanRequest(flavor))
            bundle = load_bundle(bundle_folder)
            open_engine(bundle, flavor, slots=1).close()
        except EdgePerceptionError as missing:
            found[flavor] = {"not_seen": str(missing)}
            continue
        figures = measure(bundle, by_name(flavor), f"{flavor}, INT8", folder, seconds, soak_s, seen)
        images = measurements.images_of(measurements.footage(folder), IMAGES)
        figures["layers"] = plan.report.facts()
        figures["partners"] = measurements.partners(bundle, by_name(flavor), by_name("onnxruntime"), images)
        seen[BOXES] = f"{figures['partners']['share']} of {figures['partners']['boxes']}, {flavor}"
        if (LABELLED / "highway").is_dir():
            photographs = open_dataset(LABELLED / "highway", "val")
            names = [("vehicle", name) for name in ("car", "bus", "truck")]
            on_each = [evaluate(bundle, photographs, engine=name, class_map=names) for name in (flavor, "onnxruntime")]
            maps = [one.ap50 for one in on_each]
            figures["map50"] = dict(zip((flavor, "onnxruntime"), maps, strict=True))
            seen[ACCURACY] = f"{maps[0]:.4f} and {maps[1]:.4f}, {flavor}"
        found[flavor] = figures
    return found


def measure(
    bundle: Bundle,
    opens: measurements.Opens,
    what: str,
    folder: Path,
    seconds: float,
    soak_s: float,
    seen: dict[str, str],
) -> dict[str, Any]:
    """Speed, latency, CPU and memory of one engine; what was seen is noted among the promises, the later the better."""
    drive = measurements.footage(folder)
    raw = measurements.raw(bundle, opens, seconds)
    seen[RAW] = f"{raw['fps']} images/s with {raw['in_flight']} in flight, {what}"
    preprocessing = measurements.preprocessing_ms(bundle, opens)
    seen[PREPROCESSING] = f"p50 {preprocessing['p50']:.3f} ms, p99 {preprocessing['p99']:.3f} ms"
    fastest = measurements.pipeline(bundle, opens, drive, None)
    seen[THROUGHPUT] = f"{fastest['fps'] / raw['fps']:.3f}, {what}"
    paced = measurements.pipeline(bundle, opens, drive, 1.0)
    added = paced["added_latency_ms"]
    seen[LATENCY] = f"p50 {added['p50']:.2f} ms, p99 {added['p99']:.2f} ms, {what}"
    cameras = measurements.four_cameras(bundle, opens, drive, max(seconds, 2.0))
    seen[CAMERAS] = (
        f"{cameras['cores']:.0%} of a core, {cameras['cores_without_decoding']:.0%} without decoding recordings, {what}"
    )
    figures = {
        "engine": what,
        "raw": raw,
        "preprocess_1080p_ms": preprocessing,
        "pipeline": {"max": fastest, "real time": paced},
        "four_cameras": cameras,
    }
    if soak_s > 0:
        figures["soak"] = soak = measurements.soak(bundle, opens, drive, soak_s, free_on_device)
        seen[SOAK] = (
            f"{soak['seconds'] / 60:.1f} minutes, {soak['published']} of {soak['frames']} published, host "
            f"{soak['host_growth']:+.2%}, device {soak['device_growth_mb']:+.1f} MB, {what}"
        )
    return figures


def by_name(name: str) -> measurements.Opens:
    return lambda bundle, slots: open_engine(bundle, name, slots=slots)


def free_on_device() -> int:
    cuda = open_cuda(0)
    try:
        with cuda.attached():
            return cuda.free_bytes()[0]
    finally:
        cuda.close()


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
