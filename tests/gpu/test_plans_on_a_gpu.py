"""Real plans on a real GPU, built there: their answers against ONNX Runtime's. Skipped without GPU or TensorRT."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from engines.bundle import Bundle, load_bundle
from engines.errors import EngineError
from engines.gpu import find_gpu
from engines.importing import ImportOptions, import_network
from engines.inference import decoder_for, found_on
from engines.plans.build import build
from engines.plans.preparing import PlanRequest
from engines.results import Detections, Thresholds
from engines.runtime import open_engine
from engines.tensorrt_library import FLAVORS, open_library

sys.path.insert(0, str(Path(__file__).parents[1] / "engines" / "plans"))
from int8_networks import bundle_of, network

GPU = find_gpu(0)
pytestmark = pytest.mark.skipif(
    GPU is None or GPU.name == "Host" or find_spec("pycuda") is None,
    reason="needs an NVIDIA GPU and pycuda: see README, GPU",
)


@pytest.fixture(scope="module", params=FLAVORS)
def flavor(request: pytest.FixtureRequest) -> str:
    try:
        open_library(request.param)
    except EngineError as missing:
        pytest.skip(str(missing))
    return str(request.param)


@pytest.mark.parametrize("precision", ["int8", "fp16"])
def test_a_plans_outputs_are_the_networks(flavor: str, precision: str, tmp_path: Path) -> None:
    bundle = bundle_of(tmp_path / "net", network(scales=precision == "int8"))
    build(bundle, PlanRequest(flavor, precision=precision))
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    found = {}
    for name in ("onnxruntime", flavor):
        with open_engine(bundle, name, slots=3) as engine:
            for slot in range(3):
                engine.stage(slot, 0, image, engine.place(32, 32))
                engine.submit(slot, 1)
            rows = [engine.wait(slot).rows[0] for slot in range(3)]
            found[name] = [np.array(next(iter(row.values())), np.float64) for row in rows]
    (wanted, *_), ours = found["onnxruntime"], found[flavor]
    for output in ours:
        cosine = (output * wanted).sum() / np.sqrt((output**2).sum() * (wanted**2).sum())
        assert cosine > 0.999


@pytest.mark.data
def test_a_detectors_boxes_are_the_cpus(flavor: str, data: Path, tmp_path: Path) -> None:
    """yolox_nano in FP16 on frames of a street: 99 % of boxes above 0.35 have a partner above 0.25 with IoU > 0.9."""
    from sensors.frame import Frame
    from sensors.opening import open_source

    folder = tmp_path / "yolox_nano"
    bundle: Bundle = import_network(data / "models" / "yolox_nano.onnx", folder, ImportOptions(labels="coco"))
    build(bundle, PlanRequest(flavor, precision="fp16"))
    with open_source("demo:bikes") as source:
        images = [item.image.copy() for item in source if isinstance(item, Frame)][:100]
    found: dict[str, list[Detections]] = {}
    for name in ("onnxruntime", flavor):
        with open_engine(load_bundle(folder), name, slots=3) as engine:
            decoder = decoder_for(bundle, engine)
            pictures = ((image, engine.place(image.shape[1], image.shape[0])) for image in images)
            found[name] = list(found_on(engine, decoder, pictures, Thresholds(score=0.25)))  # type: ignore[arg-type]
    boxes = partners = 0
    for ours, theirs in zip(found[flavor], found["onnxruntime"], strict=True):
        for box, score, kind in zip(ours.boxes_xyxy, ours.scores, ours.classes, strict=True):
            if score > 0.35:
                boxes += 1
                partners += bool((_overlaps(box, theirs.boxes_xyxy[theirs.classes == kind]) > 0.9).any())
    assert boxes > 50
    assert partners / boxes >= 0.99


def _overlaps(box: np.ndarray, others: np.ndarray) -> np.ndarray:
    corners = np.concatenate([np.maximum(box[:2], others[:, :2]), np.minimum(box[2:], others[:, 2:])], axis=1)
    sides = np.maximum(corners[:, 2:] - corners[:, :2], 0)
    shared = sides.prod(axis=1)
    area = (box[2:] - box[:2]).prod()
    return np.asarray(shared / (area + (others[:, 2:] - others[:, :2]).prod(axis=1) - shared + 1e-9))
