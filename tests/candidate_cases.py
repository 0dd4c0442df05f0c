"""Random outputs of detectors for the candidates' kernels, on any device, against the decoders on the CPU."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from letterbox_cases import Device
from numpy.typing import NDArray

from engines.decoders import Decoder, NonFiniteOutputError, build_decoder
from engines.decoders.grids import STRIDES, cell_count
from engines.letterbox import Fit, geometry
from engines.results import Detections, Thresholds
from engines.runtime.kernels import Candidates

GUARD = 64  # bytes behind the work memory and the result, which nothing may touch
DETECTORS = ("yolox", "yolov8", "nanodet")
MOST = 1000


@dataclass(frozen=True)
class Case:
    """One image's raw outputs by role, and how they are to be decoded."""

    decoder: Decoder
    outputs: Mapping[str, NDArray[Any]]
    thresholds: Thresholds
    input_width: int
    input_height: int
    seed: int

    def decode(self, outputs: Mapping[str, NDArray[Any]], thresholds: Thresholds) -> Detections:
        """By the CPU's decoder, on an image twice as wide as the input and letterboxed into it."""
        width, height = 2 * self.input_width, 2 * self.input_height + 17
        place = geometry(Fit.LETTERBOX_CENTRED, width, height, self.input_width, self.input_height)
        found = self.decoder.decode(outputs, place, thresholds)
        assert isinstance(found, Detections)
        return found


def random_case(seed: int, family: str | None = None) -> Case:
    """Few boxes and thousands, tied scores, scores a step above 1, boxes without size, half floats."""
    rng = np.random.default_rng(seed)
    family = family or str(rng.choice(DETECTORS))
    width, height = (int(side) for side in rng.choice([32, 50, 96, 160, 256], 2))
    if rng.random() < 0.05:
        width = height = 320
    classes = int(rng.choice([1, 2, 5, 20]))
    share = float(rng.choice([0, 0.003, 0.02, 0.2, 1]))  # of cells with something in them
    strides = (*STRIDES, 64) if family == "nanodet" and rng.random() < 0.3 else STRIDES
    counts = {stride: cell_count(width, height, stride) for stride in strides}
    outputs = {
        "yolox": lambda: {"predictions": _yolox(rng, sum(counts.values()), classes, share)},
        "yolov8": lambda: {"predictions": _yolov8(rng, sum(counts.values()), classes, share, width, height)},
        "nanodet": lambda: _nanodet(rng, counts, classes, share),
    }[family]()
    if rng.random() < 0.3:
        outputs = {role: values.astype(np.float16) for role, values in outputs.items()}
    decoder = build_decoder(family, {role: (1, *values.shape) for role, values in outputs.items()}, width, height)
    by_class = tuple((index, float(rng.uniform(0.05, 0.9))) for index in range(classes) if rng.random() < 0.3)
    thresholds = Thresholds(
        score=float(rng.choice([0.0, 0.05, 0.3, 0.5])),
        nms_iou=float(rng.choice([0.3, 0.5, 0.65])),
        score_by_class=by_class,
        max_detections=MOST,
    )
    return Case(decoder, outputs, thresholds, width, height, seed)


def check(device: Device, case: Case) -> bool:
    """The device's candidates are the decoder's. Gives whether that is so behind the suppression too.

    Its exponential may be a rounding step off, and so may an overlap that is just at the limit. So the suppression is
    compared on the very same boxes, to the last bit.
    """
    raw = {role: values.astype(np.float32) for role, values in case.outputs.items()}  # as the kernels compute
    everything = replace(case.thresholds, nms_iou=None)
    unsuppressed = run(device, case, everything)
    expected = case.decode(raw, everything)
    assert_same(case.decode(unsuppressed, everything), expected)
    suppressed = run(device, case, case.thresholds)
    kept, from_same_boxes = case.decode(suppressed, case.thresholds), case.decode(unsuppressed, case.thresholds)
    for field in ("boxes_xyxy", "scores", "classes"):
        np.testing.assert_array_equal(getattr(kept, field), getattr(from_same_boxes, field))
    assert len(suppressed["candidates"]) <= len(unsuppressed["candidates"])
    on_host = case.decode(raw, case.thresholds)
    return len(on_host) == len(kept) and bool(np.array_equal(on_host.scores, kept.scores))


def assert_same(one: Detections, other: Detections) -> None:
    """Scores and classes to the last bit, in one order; boxes within the rounding of an exponential."""
    np.testing.assert_array_equal(one.scores, other.scores)
    np.testing.assert_array_equal(one.classes, other.classes)
    np.testing.assert_allclose(one.boxes_xyxy, other.boxes_xyxy, rtol=1e-5, atol=2e-3)


def run(device: Device, case: Case, thresholds: Thresholds) -> dict[str, NDArray[Any]]:
    """What the device gives in place of the raw outputs. Its memory holds rubbish before."""
    assert case.decoder.reduction is not None
    dtype = next(iter(case.outputs.values())).dtype
    candidates = Candidates(case.decoder.reduction, thresholds, dtype)
    rng = np.random.default_rng(case.seed)
    held = {role: device.upload(values) for role, values in case.outputs.items()}
    limits = device.upload(candidates.limits)
    sizes = candidates.work_bytes, candidates.result_bytes
    rubbish = [rng.integers(0, 256, size + GUARD, np.uint8) for size in sizes]
    work, result = (device.upload(bytes_) for bytes_ in rubbish)
    addresses = {role: device.address(memory) for role, memory in held.items()}
    for launch in candidates.launches(addresses, device.address(limits), device.address(work), device.address(result)):
        device.launch(launch)
    for memory, size, before in zip((work, result), sizes, rubbish, strict=True):
        np.testing.assert_array_equal(device.download(memory)[size:], before[size:])
    return candidates.read(device.download(result)[: candidates.result_bytes])


def outcome(case: Case, outputs: Mapping[str, NDArray[Any]]) -> str | int:
    """How many boxes, or what is wrong with the outputs."""
    try:
        return len(case.decode(outputs, case.thresholds))
    except NonFiniteOutputError as error:
        return str(error)


def _scores(rng: np.random.Generator, cells: int, classes: int, share: float) -> NDArray[np.float32]:
    """Of one class high, of the others low; in half of all cases in steps, so that many are equal."""
    scores = rng.uniform(0, 0.04, (cells, classes))
    hit = np.flatnonzero(rng.random(cells) < share)
    scores[hit, rng.integers(classes, size=len(hit))] = rng.uniform(0, 1.004, len(hit))
    if rng.random() < 0.5:
        scores = np.rint(scores * 16) / 16
    return scores.astype(np.float32)


def _yolox(rng: np.random.Generator, cells: int, classes: int, share: float) -> NDArray[np.float32]:
    box = np.concatenate([rng.normal(0.5, 0.8, (cells, 2)), rng.normal(1, 0.7, (cells, 2))], axis=1)
    absurd = np.flatnonzero(rng.random(cells) < 0.01)
    box[absurd] = rng.choice([-60000, -90, 0, 90, 60000], (len(absurd), 4))
    objectness = np.where(rng.random(cells) < share, rng.uniform(0, 1.004, cells), rng.uniform(0, 0.02, cells))
    if rng.random() < 0.5:
        objectness = np.rint(objectness * 8) / 8
    scores = _scores(rng, cells, classes, 0.9)
    return np.concatenate([box, objectness[:, None], scores], axis=1).astype(np.float32)


def _yolov8(
    rng: np.random.Generator, cells: int, classes: int, share: float, width: int, height: int
) -> NDArray[np.float32]:
    centres = rng.uniform(0, 1, (cells, 2)) * [width, height]
    sizes = rng.choice([0, 8, 20, 40], (cells, 2)) * rng.uniform(0.8, 1.2, (cells, 2))
    if rng.random() < 0.5:  # whole numbers, some of which overlap by just the limit
        centres, sizes = np.rint(centres / 4) * 4, np.rint(sizes / 8) * 8
    return np.concatenate([centres, sizes, _scores(rng, cells, classes, share)], axis=1).T.astype(np.float32)


def _nanodet(
    rng: np.random.Generator, counts: Mapping[int, int], classes: int, share: float
) -> dict[str, NDArray[np.float32]]:
    bins = int(rng.choice([8, 17]))  # 4 * 8 and 4 * 17 columns: no number of classes
    outputs = {}
    for stride, cells in counts.items():
        outputs[f"scores_{stride}"] = _scores(rng, cells, classes, share)
        outputs[f"distances_{stride}"] = rng.normal(0, 3, (cells, 4 * bins)).astype(np.float32)
    return outputs
