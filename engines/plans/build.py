"""`perception engine build`: a bundle becomes a plan with its passport, or nothing is written."""

from __future__ import annotations

import hashlib
import itertools
import platform
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any

from engines.bundle import Bundle
from engines.errors import EngineError, PlanRefusedError
from engines.gpu import Gpu, driver_version, find_gpu, is_jetson, power_mode, why_no_gpu
from engines.passport import read_passport
from engines.plan_file import VERSION
from engines.plans.building import Built, build_plan
from engines.plans.layer_report import LayerReport, layer_report
from engines.plans.network_file import has_scales
from engines.plans.preparing import PlanRequest, Prepared, prepare
from engines.plans.timing_cache import cache_folder, locked_cache
from engines.plans.writing import check_place, write_plan
from engines.quantize.calibration import scales_sha256
from engines.tensorrt_library import Library, open_library

# Of a plan for a DLA with ranges, as trtexec reads them: --calib and --onnx.
SCALES, WITHOUT_PAIRS = "scales.cache", "without_pairs.onnx"


@dataclass(frozen=True, slots=True)
class Plan:
    """A plan that was written."""

    folder: Path
    passport: dict[str, Any]
    report: LayerReport


def build(
    bundle: Bundle,
    request: PlanRequest,
    output: Path | None = None,
    *,
    replace_existing: bool = False,
    say: Callable[[str], None] = lambda _line: None,
) -> Plan:
    """Build and write. Raises `EngineError`, `BundleError`, or `PlanRefusedError` below a share that is required."""
    kind, index = request.target
    gpu = find_gpu(index if kind == "cuda" else 0)
    if gpu is None and request.flavor == "tensorrt":
        raise _no_gpu(request.device)
    library = open_library(request.flavor)
    prepared = prepare(bundle, library, request)
    # TensorRT for RTX makes the kernels when the plan is loaded: its plans are bound to no card.
    bound = gpu if library.flavor == "tensorrt" else None
    target = bound.architecture if bound else "any"
    place = output or bundle.folder / "plans" / f"{library.flavor}-{target}-{kind}{index}-{request.precision}"
    check_place(place, replace_existing=replace_existing)
    began_s = time.monotonic()
    say(f"building with {library.flavor} {library.version} for {bound.name if bound else 'any card that it supports'}")
    key = re.sub(r"[^\w.-]+", "_", f"{library.flavor}-{library.version}-{bound.name if bound else 'any'}-{target}")
    with locked_cache(cache_folder(), key) as cache:
        built = build_plan(library, prepared.parsed.SerializeToString(), prepared.shapes, prepared.settings, cache, say)
        cache_sha256 = hashlib.sha256(cache.read_bytes()).hexdigest() if cache.exists() else None
    report = layer_report(prepared.bundled, built.rows, built.dla)
    _refuse_below(bundle, request, report)
    beside = _for_a_dla(prepared, library)
    passport = {
        **_identity(bundle, prepared),
        "flavor": library.flavor,
        "version": library.version,
        "precision": request.precision,
        "device": request.device,
        **_machine(bound, gpu),
        **_content(prepared, built, report),
        "beside_sha256": {name: hashlib.sha256(content).hexdigest() for name, content in beside.items()},
        "workspace_mib": request.workspace_mib,
        "timing_cache_sha256": cache_sha256,
        "seconds": round(time.monotonic() - began_s, 2),
        "at": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "by": f"edge-perception {version('edge-perception')}",
    }
    write_plan(place, built.plan, passport, beside)
    return Plan(place, passport, report)


def _for_a_dla(prepared: Prepared, library: Library) -> dict[str, bytes]:
    if prepared.implicit is None:
        return {}
    scales = prepared.implicit.cache(library.numbers).encode()
    return {SCALES: scales, WITHOUT_PAIRS: prepared.parsed.SerializeToString()}


def _no_gpu(device: str) -> EngineError:
    """TensorRT builds where the plan will run: why it cannot here, and what there is."""
    if device.startswith("dla") and not is_jetson():
        why = "is not there: of all machines only a Jetson Orin or Xavier has DLAs, and not every one"
        return EngineError(device, why, "build there, or for --device cuda:0")
    there = list(itertools.takewhile(bool, map(find_gpu, range(16))))
    if there:
        names = ", ".join(f"cuda:{index} ({gpu.name})" for index, gpu in enumerate(there) if gpu)
        return EngineError(device, "is not there", f"there is {names}")
    what, remedy = why_no_gpu()
    elsewhere = "" if is_jetson() else "; --flavor tensorrt_rtx builds plans without a GPU"
    why = f"is not there, and TensorRT builds on the device that the plan is for: {what}"
    return EngineError(device, why, f"{remedy}{elsewhere}")


def _refuse_below(bundle: Bundle, request: PlanRequest, report: LayerReport) -> None:
    """Raise `PlanRefusedError` where fewer convolutions run as they should than is required."""
    if report.share < request.require_int8:
        names = "; ".join(f"{layer.name}: {', '.join(layer.why) or layer.runs_in}" for layer in report.surprises[:5])
        raise PlanRefusedError(
            bundle.name,
            f"{report.int8} of {len(report.layers)} convolutions run in INT8 ({report.share:.1%}), and "
            f"{request.require_int8:.1%} are required{': ' + names if names else ''}",
            "calibrate it again with `perception engine calibrate`, or ask for less with --require-int8",
        )
    if request.require_dla > 0 and not report.is_for_dla:
        what = f"{request.require_dla:.1%} of its convolutions are required on the DLA, and this TensorRT does not tell"
        raise PlanRefusedError(bundle.name, what, "leave --require-dla away, and look at the speed")
    if report.dla_share < request.require_dla:
        names = ", ".join(layer.name for layer in report.layers if not layer.on_dla)
        raise PlanRefusedError(
            bundle.name,
            f"{report.on_dla} of {len(report.layers)} convolutions run on the DLA ({report.dla_share:.1%}), and "
            f"{request.require_dla:.1%} are required; elsewhere, or not sure: {names[:300]}",
            "build it for cuda:0, or ask for less with --require-dla",
        )


def _identity(bundle: Bundle, prepared: Prepared) -> dict[str, Any]:
    """What the plan was made of."""
    return {
        "plan_passport_version": VERSION,
        "bundle": bundle.name,
        "bundle_sha256": bundle.sha256,
        "onnx_sha256": hashlib.sha256(bundle.model.read_bytes()).hexdigest(),
        "scales_sha256": scales_sha256(prepared.bundled) if has_scales(prepared.bundled) else None,
        "calibration_frames_sha256": read_passport(bundle.folder).get("calibrated", {}).get("frames", {}).get("sha256"),
    }


def _machine(bound: Gpu | None, gpu: Gpu | None) -> dict[str, Any]:
    """Where it was made, and what it is bound to."""
    return {
        "gpu": bound.facts() if bound else None,
        "built_on": gpu.facts() if gpu else None,
        "driver": driver_version(),
        "power_mode": power_mode(),
        "machine": platform.machine(),
    }


def _content(prepared: Prepared, built: Built, report: LayerReport) -> dict[str, Any]:
    """What it is."""
    shapes = {name: {key: list(shape) for key, shape in of._asdict().items()} for name, of in prepared.shapes.items()}
    return {
        "flags": list(built.flags),
        "shapes": shapes,
        "plan_bytes": len(built.plan),
        "plan_sha256": hashlib.sha256(built.plan).hexdigest(),
        "layers": report.facts(),
    }
