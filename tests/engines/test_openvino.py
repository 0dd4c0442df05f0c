"""What is OpenVINO's own; that it keeps the Engine contract is tested with the others."""

from __future__ import annotations

import builtins
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import tiny_networks

from engines import runtime
from engines.bundle import load_bundle
from engines.decoders import build_decoder
from engines.errors import BundleError, EngineMissingError
from engines.importing import ImportOptions, import_network
from engines.results import Detections, Thresholds
from engines.runtime import best_engine, open_engine
from engines.runtime.openvino import _compiled


def found_by(engine_name: str, folder: Path, images: list[Any]) -> list[Detections]:
    bundle = load_bundle(folder)
    size = bundle.settings.input
    with open_engine(bundle, engine_name) as engine:
        found = []
        for image in images:
            place = engine.place(image.shape[1], image.shape[0])
            engine.stage(0, 0, image, place)
            engine.submit(0, 1)
            outputs = engine.wait(0).rows[0]
            shapes = {role: values.shape for role, values in outputs.items()}
            decoder: Any = build_decoder(bundle.settings.decoder, shapes, size.width, size.height)
            found.append(decoder.decode(outputs, place, Thresholds()))
    return found


@pytest.mark.data
@pytest.mark.parametrize("name", ["yolox_nano", "yolo11n_320_float", "nanodet_m_320"])
def test_float_networks_find_the_same_as_in_onnxruntime(name: str, data: Path, tmp_path: Path) -> None:
    import_network(data / "models" / f"{name}.onnx", tmp_path / name, ImportOptions(labels="coco"))
    with av.open(str(data / "drives" / "videos" / "solidWhiteRight.mp4")) as video:
        images = [picture.to_ndarray(format="bgr24") for picture in video.decode(video=0)][::45]
    ours = found_by("openvino", tmp_path / name, images)
    theirs = found_by("onnxruntime", tmp_path / name, images)
    assert sum(map(len, theirs)) > len(images)
    for one, other in zip(ours, theirs, strict=True):
        assert one.classes.tolist() == other.classes.tolist()
        np.testing.assert_allclose(one.scores, other.scores, atol=1e-3)
        np.testing.assert_allclose(one.boxes_xyxy, other.boxes_xyxy, atol=0.2)


def test_a_free_input_size_is_fixed_to_the_bundles(tmp_path: Path) -> None:
    model = tiny_networks.write_network(tmp_path / "free.onnx", free_size=True, names="{0: 'a', 1: 'b', 2: 'c'}")
    import_network(model, tmp_path / "free", replace(tiny_networks.OPTIONS, size=(32, 32)))
    bundle = load_bundle(tmp_path / "free")
    (outside,) = _compiled(bundle, (3, 32, 32), 1, 1).inputs
    assert outside.get_partial_shape().is_static
    with open_engine(bundle, "openvino", slots=1) as engine:
        engine.stage(0, 0, tiny_networks.solid(200, 10, 10), engine.place(32, 32))
        engine.submit(0, 1)
        assert np.isfinite(engine.wait(0).rows[0]["predictions"]).all()


def test_without_the_package_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = tiny_networks.make_bundle(tmp_path / "tiny")
    real = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name == "openvino":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    message = r"openvino is not installed; pip install 'edge-perception\[openvino\]'"
    with pytest.raises(EngineMissingError, match=message) as caught:
        open_engine(bundle, "openvino")
    assert caught.value.exit_code == 2


def test_a_network_that_does_not_load_is_said_in_one_line(tmp_path: Path) -> None:
    bundle = tiny_networks.make_bundle(tmp_path / "tiny")
    bundle.model.write_bytes(b"no network")
    with pytest.raises(BundleError, match=r"model\.onnx: does not load in OpenVINO \(.+\)") as raised:
        open_engine(bundle, "openvino")
    assert "\n" not in str(raised.value)


def test_an_output_that_is_not_there_is_named(tmp_path: Path) -> None:
    bundle = tiny_networks.make_bundle(tmp_path / "tiny")
    outputs = dict.fromkeys(bundle.settings.outputs, "nowhere")
    wrong = replace(bundle, settings=bundle.settings.model_copy(update={"outputs": outputs}))
    with pytest.raises(BundleError, match="has no output 'nowhere'; it has boxes"):
        open_engine(wrong, "openvino")


@pytest.mark.data
def test_auto_takes_openvino_for_int8_and_onnxruntime_for_float(data: Path, tmp_path: Path) -> None:
    for name, engine in (("yolov8n_640_qdq_int8", "openvino"), ("nanodet_m_320", "onnxruntime")):
        import_network(data / "models" / f"{name}.onnx", tmp_path / name, ImportOptions(labels="coco"))
        assert best_engine(load_bundle(tmp_path / name)) == engine


def test_auto_takes_onnxruntime_where_openvino_is_not_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = tiny_networks.make_bundle(tmp_path / "tiny")
    monkeypatch.setattr(runtime, "is_quantised", lambda _model: True)
    assert best_engine(bundle) == "openvino"
    monkeypatch.setattr(runtime, "find_spec", lambda _name: None)
    assert best_engine(bundle) == "onnxruntime"
    monkeypatch.undo()
    monkeypatch.setattr(runtime, "is_quantised", lambda _model: True)
    monkeypatch.setattr(runtime, "is_x86", lambda: False)
    assert best_engine(bundle) == "onnxruntime"


def test_an_output_is_found_under_each_of_its_names(tmp_path: Path) -> None:
    """OpenVINO gives the output of an Identity the name of its input too, and names either first."""
    bundle = tiny_networks.make_segmenter_bundle(tmp_path / "masks")
    with open_engine(bundle, "openvino") as engine:
        engine.submit(0, 1)
        assert {role: values.shape for role, values in engine.wait(0).rows[0].items()} == {
            "colour": (3, 32, 32),
            "shade": (1, 32, 32),
        }
