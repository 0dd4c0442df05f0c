"""Real networks on a real road: boxes are those of the plain decoders and there is a car; masks lie on the road."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray
from plain_decoders import assert_same, detect

from engines.decoders import DECODERS, MisfitError, build_decoder, recognise
from engines.letterbox import Preprocessor
from engines.results import Detections, SegmentationMap, Thresholds

pytestmark = pytest.mark.data

CAR = 2  # of COCO's 80
NETWORKS = {
    "yolox_nano.onnx": "yolox",
    "yolo11n_320_float.onnx": "yolov8",
    "yolov8n_640_qdq_int8.onnx": "yolov8",
    "nanodet_m_320.onnx": "nanodet",
}


@lru_cache(maxsize=1)
def road_frames(video: Path) -> list[NDArray[np.uint8]]:
    """Frames 0, 60 and 150, (540, 960, 3) BGR."""
    capture = cv2.VideoCapture(str(video))
    frames = []
    for index in range(151):
        assert capture.grab()
        if index in (0, 60, 150):
            frames.append(np.asarray(capture.retrieve()[1], np.uint8))
    capture.release()
    return frames


def session(path: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def shapes(network: onnxruntime.InferenceSession) -> dict[str, Any]:
    return {output.name: tuple(output.shape) for output in network.get_outputs()}


@pytest.mark.parametrize(("file", "name"), NETWORKS.items())
def test_boxes_on_the_road_are_those_of_the_plain_decoder(data: Path, file: str, name: str) -> None:
    network = session(data / "models" / file)
    (image_input,) = network.get_inputs()
    _, _, height, width = image_input.shape
    ((recognised, roles),) = recognise(shapes(network), width, height)
    assert recognised == name
    decoder = build_decoder(name, {r: shapes(network)[o] for r, o in roles.items()}, width, height)
    preprocessor = Preprocessor(decoder.pixels, width, height)
    tensor = np.empty((1, 3, height, width), np.float32)
    cars = 0
    for frame in road_frames(data / "drives" / "videos" / "solidWhiteRight.mp4"):
        place = preprocessor.geometry(frame.shape[1], frame.shape[0])
        preprocessor.write(frame, place, tensor[0])
        raw = network.run(list(roles.values()), {image_input.name: tensor})
        outputs = {r: v[0] if v.ndim == 3 else v for r, v in zip(roles, raw, strict=True)}
        for thresholds in (Thresholds(), Thresholds(0.1, 0.5, ((CAR, 0.05),))):
            found = decoder.decode(outputs, place, thresholds)
            assert isinstance(found, Detections)
            assert_same(found, detect(name, outputs, place, thresholds))
        found = decoder.decode(outputs, place, Thresholds())
        assert isinstance(found, Detections)
        cars += int((found.classes == CAR).sum())
    assert cars >= 1


@pytest.mark.parametrize(
    ("file", "width", "height"),
    [
        ("lstr_360x640.onnx", 640, 360),
        ("gtsrb_cnn_nhwc.onnx", 30, 30),
    ],
)
def test_networks_of_no_family_are_refused(data: Path, file: str, width: int, height: int) -> None:
    found = shapes(session(data / "models" / file))
    assert recognise(found, width, height) == []
    for decoder in DECODERS.values():
        with pytest.raises(MisfitError, match=r"expected .*; found "):
            decoder.match(found, width, height)


def test_the_road_and_its_lines_are_where_they_are_seen(data: Path) -> None:
    """The file's names are swapped: only the pixels say that its output `lanes` is the drivable area."""
    network = session(data / "models" / "twinlitenet_swapped_names.onnx")
    ((name, roles),) = recognise(shapes(network), 640, 360)
    assert (name, roles) == ("segmentation", {"group_1": "lanes", "group_2": "segmentation"})
    decoder = build_decoder(name, {"road": (1, 2, 360, 640), "lines": (1, 2, 360, 640)}, 640, 360)
    preprocessor = Preprocessor(decoder.pixels, 640, 360)
    tensor = np.empty((1, 3, 360, 640), np.float32)
    for frame in road_frames(data / "drives" / "videos" / "solidWhiteRight.mp4"):
        place = preprocessor.geometry(frame.shape[1], frame.shape[0])
        preprocessor.write(frame, place, tensor[0])
        first, second = network.run(["lanes", "segmentation"], {"input": tensor})
        found = decoder.decode({"road": first[0], "lines": second[0]}, place, Thresholds())
        assert isinstance(found, SegmentationMap)
        road, lines = (one.classes for one in found.maps)
        np.testing.assert_array_equal(road, first[0].argmax(axis=0))
        assert 0.25 < road.mean() < 0.45
        assert 0.01 < lines.mean() < 0.05
        assert not road[:180].any(), "the upper half is sky and hills"
        assert road[300:, 200:440].mean() > 0.9, "the lane ahead"
        # Painted lines are brighter than the road around them.
        grey = cv2.cvtColor(cv2.resize(frame, (640, 360)), cv2.COLOR_BGR2GRAY)
        near = slice(220, 350)
        beside = cv2.dilate(lines, np.ones((1, 31), np.uint8)).astype(bool) & (lines == 0)
        assert grey[near][lines[near] == 1].mean() > grey[near][beside[near]].mean() + 20
