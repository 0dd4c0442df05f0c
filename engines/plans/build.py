"""`perception engine build`: a bundle becomes a plan with its passport, or nothing is written."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import platform
import re
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any

from engines.bundle import Bundle
from engines.errors import BundleError, EngineError, PlanRefusedError
from engines.gpu import driver_version, find_gpu, power_mode, why_no_gpu
from engines.passport import read_passport
from engines.plan_file import PASSPORT, PLAN, VERSION
from engines.plans.building import BuildSettings, build_plan
from engines.plans.layer_report import LayerReport, layer_report
from engines.plans.network_file import expand_weights, has_scales, in_halves
from engines.plans.timing_cache import cache_folder, locked_cache
from engines.quantize.calibration import scales_sha256
from engines.tensorrt_library import Library, open_library


@dataclass(frozen=True, slots=True)
class PlanRequest:
    """What is asked for. `require_int8` is a share of all convolutions, 0 to 1."""

    flavor: str = "tensorrt"
    device: str = "cuda:0"
    precision: str = "int8"
    require_int8: float = 0.0
    workspace_mib: int = 1024


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
    """Build and write. Raises `EngineError`, `BundleError`, or `PlanRefusedError` below `require_int8`."""
    kind, index = _device(request.device)
    gpu = find_gpu(index if kind == "cuda" else 0)
    if gpu is None and request.flavor == "tensorrt":
        raise _no_gpu(request.device)
    library = open_library(request.flavor)
    proto, settings = _network(bundle, library, request, index if kind == "dla" else None)
    # TensorRT for RTX makes the kernels when the plan is loaded: its plans are bound to no card.
    bound = gpu if library.flavor == "tensorrt" else None
    target = bound.architecture if bound else "any"
    place = output or bundle.folder / "plans" / f"{library.flavor}-{target}-{kind}{index}-{request.precision}"
    if place.exists() and not (replace_existing and (place / PASSPORT).is_file()):
        raise BundleError(str(place), "exists already", "choose another folder with -o, or replace a plan with --force")
    shapes = _shapes(proto, bundle)
    began_s = time.monotonic()
    say(f"building with {library.flavor} {library.version} for {bound.name if bound else 'any card that it supports'}")
    key = re.sub(r"[^\w.-]+", "_", f"{library.flavor}-{library.version}-{bound.name if bound else 'any'}-{target}")
    with locked_cache(cache_folder(), key) as cache:
        built = build_plan(library, proto.SerializeToString(), shapes, settings, cache, say)
        cache_sha256 = hashlib.sha256(cache.read_bytes()).hexdigest() if cache.exists() else None
    report = layer_report(proto, built.rows)
    if report.share < request.require_int8:
        names = "; ".join(f"{layer.name}: {', '.join(layer.why) or layer.runs_in}" for layer in report.surprises[:5])
        raise PlanRefusedError(
            bundle.name,
            f"{report.int8} of {len(report.layers)} convolutions run in INT8 ({report.share:.1%}), and "
            f"{request.require_int8:.1%} are required{': ' + names if names else ''}",
            "calibrate it again with `perception engine calibrate`, or ask for less with --require-int8",
        )
    passport = {
        "plan_passport_version": VERSION,
        "bundle": bundle.name,
        "bundle_sha256": bundle.sha256,
        "onnx_sha256": hashlib.sha256(bundle.model.read_bytes()).hexdigest(),
        "scales_sha256": scales_sha256(proto) if has_scales(proto) else None,
        "calibration_frames_sha256": read_passport(bundle.folder).get("calibrated", {}).get("frames", {}).get("sha256"),
        "flavor": library.flavor,
        "version": library.version,
        "precision": request.precision,
        "device": request.device,
        "gpu": bound.facts() if bound else None,
        "built_on": gpu.facts() if gpu else None,
        "driver": driver_version(),
        "power_mode": power_mode(),
        "flags": list(built.flags),
        "workspace_mib": request.workspace_mib,
        "timing_cache_sha256": cache_sha256,
        "shapes": {name: list(shape) for name, shape in shapes.items()},
        "plan_bytes": len(built.plan),
        "plan_sha256": hashlib.sha256(built.plan).hexdigest(),
        "layers": report.facts(),
        "seconds": round(time.monotonic() - began_s, 2),
        "at": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "by": f"edge-perception {version('edge-perception')}",
        "machine": platform.machine(),
    }
    _write(place, built.plan, passport)
    return Plan(place, passport, report)


def _no_gpu(device: str) -> EngineError:
    """TensorRT builds where the plan will run: why it cannot here, and what there is."""
    there = list(itertools.takewhile(bool, map(find_gpu, range(16))))
    if there:
        names = ", ".join(f"cuda:{index} ({gpu.name})" for index, gpu in enumerate(there) if gpu)
        return EngineError(device, "is not there", f"there is {names}")
    what, remedy = why_no_gpu()
    elsewhere = "" if device.startswith("dla") else "; --flavor tensorrt_rtx builds plans without a GPU"
    why = f"is not there, and TensorRT builds on the device that the plan is for: {what}"
    return EngineError(device, why, f"{remedy}{elsewhere}")


def _device(text: str) -> tuple[str, int]:
    found = re.fullmatch(r"(cuda|dla):(\d{1,2})", text)
    if found is None:
        raise BundleError(f"--device {text}", "is no device", "write it as cuda:0 or dla:0")
    return found[1], int(found[2])


def _network(bundle: Bundle, library: Library, request: PlanRequest, dla: int | None) -> tuple[Any, BuildSettings]:
    import onnx

    try:
        proto = onnx.load(bundle.model)
    except Exception as error:  # protobuf has errors of its own
        raise BundleError(str(bundle.model), f"cannot be read ({error})", "import the network again") from None
    scaled = has_scales(proto)
    int8 = request.precision == "int8"
    if int8 and not scaled:
        raise BundleError(
            bundle.name,
            "has no scales, so nothing of it can run in INT8",
            f"make an INT8 bundle with `perception engine calibrate {bundle.folder} -o DIR`, or use --precision fp16",
        )
    if not int8 and scaled:
        raise BundleError(bundle.name, "is an INT8 network", "use --precision int8, or build its float bundle")
    if dla is not None and int8:
        raise EngineError(
            f"dla:{dla}", "takes INT8 by implicit scales, which are not derived yet", "use cuda:0, or --precision fp16"
        )
    if dla is not None and library.flavor == "tensorrt_rtx":
        raise EngineError(f"dla:{dla}", "is unknown to TensorRT for RTX", "use --flavor tensorrt")
    if scaled and library.expands_weights:
        expand_weights(proto)
    by_flag = hasattr(library.trt.BuilderFlag, "FP16") and library.flavor == "tensorrt"
    if not int8 and not by_flag:
        proto = in_halves(proto)
    return proto, BuildSettings(int8, not int8 and by_flag, request.workspace_mib * 2**20, dla)


def _shapes(proto: Any, bundle: Bundle) -> dict[str, tuple[int, ...]]:
    """Of dynamic inputs: one image of the bundle's size."""
    size = bundle.settings.input
    image = (1, 3, size.height, size.width) if size.layout == "NCHW" else (1, size.height, size.width, 3)
    constants = {tensor.name for tensor in proto.graph.initializer}
    shapes: dict[str, tuple[int, ...]] = {}
    for value in proto.graph.input:
        axes = value.type.tensor_type.shape.dim
        if value.name not in constants and len(axes) == len(image) and any(not axis.dim_value for axis in axes):
            shapes[value.name] = image
    return shapes


def _write(place: Path, plan: bytes, passport: dict[str, Any]) -> None:
    draft: Path | None = None
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f".{place.name}-", dir=place.parent))
        draft.chmod(0o755)
        (draft / PLAN).write_bytes(plan)
        (draft / PASSPORT).write_text(json.dumps(passport, indent=2, ensure_ascii=False) + "\n")
        for name in (PLAN, PASSPORT):
            with (draft / name).open("rb") as file:
                os.fsync(file.fileno())
        if place.exists():
            shutil.rmtree(place)
        draft.rename(place)
    except BaseException as error:
        if draft is not None:
            shutil.rmtree(draft, ignore_errors=True)
        if isinstance(error, OSError):
            raise BundleError(
                str(place), f"cannot be written ({error.strerror or error})", "choose another place with -o"
            ) from None
        raise
