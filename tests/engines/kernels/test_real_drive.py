"""The kernels, compiled for the host, on a real road: the tensor of a real frame, the boxes of real networks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import onnxruntime
import pytest
from candidate_cases import Case, run
from host_device import HostDevice, needs_compiler
from numpy.typing import NDArray

from engines.decoders import DECODERS, build_decoder
from engines.letterbox import Preprocessor
from engines.results import Detections, Thresholds
from engines.runtime.kernels import DeviceImage, ImageFormat, Letterbox
from sensors.frame import PixelFormat

pytestmark = [needs_compiler, pytest.mark.data]
device = HostDevice()

NETWORKS = {"yolox_nano.onnx": "yolox", "yolo11n_320_float.onnx": "yolov8", "nanodet_m_320.onnx": "nanodet"}


@pytest.mark.parametrize("image_format", [ImageFormat.BGR, ImageFormat.NV12])
@pytest.mark.parametrize(("file", "name"), NETWORKS.items())
def test_a_real_frame_goes_through_as_on_the_cpu(data: Path, file: str, name: str, image_format: ImageFormat) -> None:
    network = onnxruntime.InferenceSession(data / "models" / file, providers=["CPUExecutionProvider"])
    (image_input,) = network.get_inputs()
    _, _, height, width = image_input.shape
    kind = DECODERS[name]
    shapes = {output.name: tuple(output.shape) for output in network.get_outputs()}
    roles = kind.match(shapes, width, height)
    decoder = build_decoder(name, {role: shapes[output] for role, output in roles.items()}, width, height)
    image = frame(data, image_format)
    preprocessor = Preprocessor(kind.pixels, width, height)
    place = preprocessor.geometry(960, 540)

    on_cpu = np.zeros((1, 3, height, width), np.float32)
    preprocessor.write(image, place, on_cpu[0], PixelFormat(image_format.value))
    tensor = np.zeros_like(on_cpu)
    letterbox = Letterbox(kind.pixels, place, image_format)
    source = DeviceImage(image_format, device.address(image), image.strides[0])
    device.launch(letterbox.launch(source, device.address(letterbox.taps), device.address(tensor)))
    np.testing.assert_array_equal(tensor, on_cpu)

    found = network.run(list(roles.values()), {image_input.name: tensor})
    outputs = {role: v[0] if v.ndim == 3 else v for role, v in zip(roles, found, strict=True)}
    thresholds = Thresholds(0.05)
    raw = decoder.decode(outputs, place, thresholds)
    assert isinstance(raw, Detections)
    assert len(raw) >= 2
    for nms_iou in (None, thresholds.nms_iou):
        case = Case(decoder, outputs, replace(thresholds, nms_iou=nms_iou), width, height, 0)
        reduced = decoder.decode(run(device, case, case.thresholds), place, thresholds)
        assert isinstance(reduced, Detections)
        np.testing.assert_array_equal(reduced.scores, raw.scores)
        np.testing.assert_array_equal(reduced.classes, raw.classes)
        np.testing.assert_allclose(reduced.boxes_xyxy, raw.boxes_xyxy, rtol=1e-5, atol=1e-3)


def frame(data: Path, image_format: ImageFormat) -> NDArray[np.uint8]:
    """Of a road with cars, (540, 960, 3) BGR, or the same as (810, 960) NV12."""
    capture = cv2.VideoCapture(str(data / "drives" / "videos" / "solidWhiteRight.mp4"))
    image = np.asarray(capture.read()[1], np.uint8)
    capture.release()
    if image_format is ImageFormat.BGR:
        return image
    i420 = cv2.cvtColor(image, cv2.COLOR_BGR2YUV_I420)
    u_and_v = i420[540:].reshape(2, -1)
    return np.concatenate([i420[:540], np.stack([u_and_v[0], u_and_v[1]], axis=-1).reshape(270, 960)])
