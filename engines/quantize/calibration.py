"""Calibration from start to end: a float bundle goes in, an INT8 bundle that is nearly as good comes out, or nothing.

    frames of drives -> ranges of activations -> the best method -> is everything in INT8 good enough?
      no: each layer alone in INT8, which hurts most? -> the fewest of the worst left in float that are good enough
    -> judged on every engine of this machine, on frames that were not calibrated on -> the bundle

The search is judged by what the network finds, not by tensors: a layer whose numbers are off may matter little.
"""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import numpy_helper

from engines.accuracy_loss import AccuracyLoss
from engines.bundle import LABELS, MODEL, PASSPORT, SETTINGS, Bundle
from engines.datasets import Dataset
from engines.errors import BundleError, CalibrationRefusedError
from engines.letterbox import Preprocessor
from engines.new_bundle import check_place, write_bundle
from engines.passport import calibrated_passport, to_text
from engines.quantize.float_network import Layer, prepare
from engines.quantize.frames import Picture, Pictures, take_pictures
from engines.quantize.judge import Judge, Limits, Verdict
from engines.quantize.lint import lint
from engines.quantize.placement import place
from engines.quantize.ranges import measure_ranges
from engines.quantize.search import Search
from sensors.source import Source

FRAMES = 64  # to calibrate on, and as many to judge by
FEWEST_FINDS = 8  # boxes that float finds on the frames to judge by; a share of fewer says little
_RANKED_ON = 16  # of them each layer is ranked on


@dataclass(frozen=True, slots=True)
class CalibrationRequest:
    """How a bundle is to be calibrated."""

    limits: Limits = field(default_factory=Limits)
    weight_bits: int = 8  # 7 keeps sums from saturating on x86 CPUs without VNNI
    frames: int = FRAMES
    threads: int = 1
    class_map: tuple[tuple[str, str], ...] = ()  # see `match_classes`


@dataclass(frozen=True, slots=True)
class Calibration:
    """What was done, and what it gained and lost."""

    method: str
    layers: int
    left_in_float: tuple[str, ...]
    int8_share: float  # of all multiplications
    verdict: Verdict
    cpu_ms: dict[str, tuple[float, float]]  # engine -> an inference in float, in INT8


DEFAULT = CalibrationRequest()


def calibrate(
    bundle: Bundle,
    sources: Sequence[Source],
    folder: Path,
    request: CalibrationRequest = DEFAULT,
    dataset: Dataset | None = None,
    *,
    replace_existing: bool = False,
    say: Callable[[str], None] = lambda _line: None,
) -> Calibration:
    """Make the INT8 bundle `folder` of a float one. `say` is told of each step, a line each.

    Raises `CalibrationRefusedError` where it would lose more than it may; `BundleError`, `DatasetError`,
    `EngineError`. Nothing is written then.
    """
    if folder.resolve() == bundle.folder.resolve():
        raise BundleError(str(folder), "is the float bundle itself", "give the INT8 one a folder of its own")
    check_place(folder, replace_existing=replace_existing)
    size = bundle.settings.input
    image = (1, 3, size.height, size.width) if size.layout == "NCHW" else (1, size.height, size.width, 3)
    network = prepare(bundle.model, image)
    pictures = take_pictures(bundle, sources, request.frames, say)
    say(f"{len(pictures.calibrating)} frames to calibrate on, {len(pictures.judging)} others to judge by")
    ranges = measure_ranges(
        network, place(network).tensors, lambda: inputs_of(bundle, pictures.calibrating), request.threads
    )
    with TemporaryDirectory(prefix="edge-perception-") as scratch:
        judge = Judge(bundle, pictures.judging, dataset, request.class_map, request.threads, Path(scratch))
        sample = pictures.calibrating[:_RANKED_ON]
        judge.require_finds(FEWEST_FINDS, ", ".join(pictures.sources))
        search = Search(network, ranges, judge, sample, request.limits, request.weight_bits, say)
        method, left, verdict = search.fewest_in_float()
        proto = search.proto(method, left)
        model = proto.SerializeToString()
        result = Calibration(
            method=method,
            layers=len(network.layers),
            left_in_float=left,
            int8_share=_int8_share(network.layers, left),
            verdict=verdict,
            cpu_ms={one.engine: judge.cpu_ms(model, one.engine) for one in verdict.judgements},
        )
    if faults := lint(proto):
        what = f"its INT8 network would not run as meant on TensorRT ({faults[0]})"
        raise CalibrationRefusedError(str(bundle.folder), what, "use it in float, in FP16 on a GPU")
    passport = calibrated_passport(bundle, model, _facts(proto, pictures, request, dataset, result))
    files = {
        SETTINGS: (bundle.folder / SETTINGS).read_bytes(),
        LABELS: (bundle.folder / LABELS).read_bytes(),
        MODEL: model,
        PASSPORT: to_text(passport).encode(),
    }
    for beside in sorted((*bundle.folder.glob("ATTRIBUTION*"), *bundle.folder.glob("CARD*"))):  # whom it is owed to
        files[beside.name] = beside.read_bytes()
    write_bundle(folder, files, lambda _tried_long_ago: None, replace_existing=replace_existing)
    return result


def inputs_of(bundle: Bundle, pictures: Sequence[Picture]) -> Iterator[NDArray[np.float32]]:
    """Each picture as the network's input, with a batch axis of 1."""
    size = bundle.settings.input
    preprocessor = Preprocessor(bundle.settings.pixels, size.width, size.height)
    for picture in pictures:
        planes = np.zeros((3, size.height, size.width), np.float32)
        preprocessor.write(picture.pixels, picture.place, planes)
        yield planes[None] if size.layout == "NCHW" else np.ascontiguousarray(planes.transpose(1, 2, 0))[None]


def _int8_share(layers: Sequence[Layer], left_in_float: Sequence[str]) -> float:
    left = frozenset(left_in_float)
    whole = sum(layer.multiplications for layer in layers)
    return sum(layer.multiplications for layer in layers if layer.name not in left) / whole if whole else 0.0


def _facts(
    proto: Any, pictures: Pictures, request: CalibrationRequest, dataset: Dataset | None, result: Calibration
) -> dict[str, Any]:
    """What the passport keeps of a calibration."""
    judged: dict[str, Any] = {}
    for judgement in result.verdict.judgements:
        before_ms, after_ms = result.cpu_ms[judgement.engine]
        judged[judgement.engine] = {
            "version": version(judgement.engine),
            "agreement": round(judgement.agreement.share, 4),
            "borne_out": round(judgement.borne_out.share, 4),
            "cpu_ms": {"float32": round(before_ms, 3), "int8": round(after_ms, 3)},
        }
        if (accuracy := judgement.accuracy) is not None:
            judged[judgement.engine][key_of(accuracy)] = {
                "float32": round(accuracy.before.value, 4),
                "int8": round(accuracy.after.value, 4),
                "loss_5_to_95_percent": [round(bound, 4) for bound in accuracy.loss_bounds],
            }
    return {
        "method": result.method,
        "weight_bits": request.weight_bits,
        "layers": result.layers,
        "left_in_float": list(result.left_in_float),
        "int8_share_of_multiplications": round(result.int8_share, 4),
        "scales_sha256": scales_sha256(proto),
        "frames": {
            "sources": [Path(uri).name or uri for uri in pictures.sources],
            "calibrated_on": len(pictures.calibrating),
            "judged_by": len(pictures.judging),
            "sha256": pictures.sha256,
        },
        "labels": None
        if dataset is None
        else {"dataset": dataset.name, "split": dataset.split, "images": len(dataset.images)},
        "limits": asdict(request.limits),
        "judged": judged,
        "same_on_both_engines": None if result.verdict.same is None else round(result.verdict.same.share, 4),
        "machine": platform.processor() or platform.machine(),
    }


def key_of(accuracy: AccuracyLoss) -> str:
    """The name of its measure as a passport and JSON have it: ap50, top_1, mean_iou."""
    return accuracy.before.measure.lower().replace("-", "_").replace(" ", "_")


def scales_sha256(proto: Any) -> str:
    """Of all scales of an INT8 network, by name."""
    scales = {node.input[1] for node in proto.graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")}
    digest = hashlib.sha256()
    for tensor in sorted(proto.graph.initializer, key=lambda tensor: tensor.name):
        if tensor.name in scales:
            digest.update(tensor.name.encode())
            digest.update(numpy_helper.to_array(tensor).tobytes())
    return digest.hexdigest()
