"""Real plans on a real GPU, built there: their answers against ONNX Runtime's. Skipped without GPU or TensorRT."""

from __future__ import annotations

import shutil
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from engines import default_bundle
from engines.bundle import Bundle, load_bundle
from engines.errors import EngineError
from engines.gpu import find_gpu
from engines.importing import ImportOptions, import_network
from engines.plans.build import build
from engines.plans.preparing import PlanRequest
from engines.runtime import open_engine
from engines.tensorrt_library import FLAVORS, open_library

sys.path.insert(0, str(Path(__file__).parents[1] / "engines" / "plans"))
from int8_networks import bundle_of, network
from measurements import footage, images_of, partners

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
    """yolox_nano in FP16 on frames of a street."""
    folder = tmp_path / "yolox_nano"
    build(
        import_network(data / "models" / "yolox_nano.onnx", folder, ImportOptions(labels="coco")),
        PlanRequest(flavor, precision="fp16"),
    )
    check_partners(load_bundle(folder), flavor, "onnxruntime", tmp_path)


def test_the_default_networks_int8_boxes_are_the_cpus(flavor: str, tmp_path: Path) -> None:
    folder = tmp_path / "road"
    shutil.copytree(default_bundle(), folder, ignore=shutil.ignore_patterns("plans"))
    plan = build(load_bundle(folder), PlanRequest(flavor))
    assert plan.report.surprises == []
    check_partners(load_bundle(folder), flavor, "onnxruntime", tmp_path)


def check_partners(bundle: Bundle, ours: str, theirs: str, folder: Path) -> None:
    images = images_of(footage(folder), 250)
    ways = [lambda bundle, slots, name=name: open_engine(bundle, name, slots=slots) for name in (ours, theirs)]
    found = partners(bundle, *ways, images)
    assert found["boxes"] > 30
    assert found["share"] >= 0.99
