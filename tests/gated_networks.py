"""A tiny network whose boxes crowd, what can go wrong with it, and a drive on which that shows.

On every frame it sees a blue thing whose score is the mean of blue, and two red ones that overlap by 0.6 (IoU), so
that NMS lets them both be; a third, 0.78 from the first, goes.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import onnx
import tiny_networks
from onnx import numpy_helper

from engines.bundle import Bundle
from engines.importing import import_network

FRAMES = 24
STRIPED_FRAMES = 8
BOXES = 3 * FRAMES
LATE_ENOUGH = "max_latency_p50 = 1e6\nmax_latency_p99 = 1e6\n"  # a test does not judge how busy a machine is


def make_baseline(folder: Path) -> Bundle:
    model = tiny_networks.write_network(
        folder.with_suffix(".onnx"), names=str(list(tiny_networks.LABELS)), convolutions="plain"
    )
    _change(model, "bias", _crowd)
    return import_network(model, folder, tiny_networks.OPTIONS)


def damaged(baseline: Bundle, folder: Path) -> Path:
    """The second convolution sees nothing."""
    _change(_copy(baseline, folder) / "model.onnx", "w2", np.zeros_like)
    return folder


def failing(baseline: Bundle, folder: Path) -> Path:
    """A score is no number."""

    def spoil(bias: np.ndarray) -> np.ndarray:
        return np.where(np.arange(bias.size) == bias.size - 1, np.float32(np.nan), bias).astype(np.float32)

    _change(_copy(baseline, folder) / "model.onnx", "bias", spoil)
    return folder


def swapped_classes(baseline: Bundle, folder: Path) -> Path:
    blue, green, red = tiny_networks.LABELS
    tiny_networks.write_labels(_copy(baseline, folder) / "labels.txt", (red, green, blue))
    return folder


def swapped_channels(baseline: Bundle, folder: Path) -> Path:
    settings = _copy(baseline, folder) / "bundle.toml"
    text = settings.read_text()
    here, there = ('"BGR"', '"RGB"') if '"BGR"' in text else ('"RGB"', '"BGR"')
    assert here in text
    settings.write_text(text.replace(here, there))
    return folder


def renamed_class(baseline: Bundle, folder: Path) -> Path:
    tiny_networks.write_labels(_copy(baseline, folder) / "labels.txt", ("blue", "green", "crimson"))
    return folder


def moved(baseline: Bundle, folder: Path) -> Path:
    """Every box is 1.5 pixels to the right: found again, but not in its place."""

    def move(bias: np.ndarray) -> np.ndarray:
        rows = bias.reshape(7, -1).copy()
        rows[0, :4] += 1.5
        return rows.reshape(-1)

    _change(_copy(baseline, folder) / "model.onnx", "bias", move)
    return folder


def fainter(baseline: Bundle, folder: Path) -> Path:
    """The red things score 0.1 less."""

    def fade(bias: np.ndarray) -> np.ndarray:
        rows = bias.reshape(7, -1).copy()
        rows[6, 1:4] -= 0.1
        return rows.reshape(-1)

    _change(_copy(baseline, folder) / "model.onnx", "bias", fade)
    return folder


# --- of masks: which of blue, green, red a pixel is most, and whether it is dark -------------------------


def make_segmenter(folder: Path) -> Bundle:
    return tiny_networks.make_segmenter_bundle(folder)


def damaged_segmenter(baseline: Bundle, folder: Path) -> Path:
    """The convolution that tells the colours sees nothing."""
    _change(_copy(baseline, folder) / "model.onnx", "as_it_is", np.zeros_like)
    return folder


def failing_segmenter(baseline: Bundle, folder: Path) -> Path:
    """A value that every pixel has is no number."""
    _change(_copy(baseline, folder) / "model.onnx", "half", lambda values: np.full_like(values, np.nan))
    return folder


def shifted_segmenter(baseline: Bundle, folder: Path) -> Path:
    """What is grey is dark too: a mask that grew."""
    _change(_copy(baseline, folder) / "model.onnx", "half", lambda values: values + np.float32(0.25))
    return folder


def segmenter_with_swapped_classes(baseline: Bundle, folder: Path) -> Path:
    blue, green, red, light, dark = tiny_networks.SEGMENTER_LABELS
    tiny_networks.write_labels(_copy(baseline, folder) / "labels.txt", (red, green, blue, light, dark))
    return folder


def segmenter_with_a_renamed_class(baseline: Bundle, folder: Path) -> Path:
    blue, green, _, light, dark = tiny_networks.SEGMENTER_LABELS
    tiny_networks.write_labels(_copy(baseline, folder) / "labels.txt", (blue, green, "crimson", light, dark))
    return folder


def segmenter_with_swapped_lanes(baseline: Bundle, folder: Path) -> Path:
    """Of a real one with two groups of two classes: the second group's names the other way round."""
    nothing, road, also_nothing, line = baseline.labels
    tiny_networks.write_labels(_copy(baseline, folder) / "labels.txt", (nothing, road, line, also_nothing))
    return folder


def with_a_damaged_layer(baseline: Bundle, folder: Path) -> Path:
    """Of a real one: half of the weights of its largest convolution are gone."""
    network = onnx.load(str(_copy(baseline, folder) / "model.onnx"))
    kernels = [tensor for tensor in network.graph.initializer if len(tensor.dims) == 4]
    largest = max(kernels, key=lambda tensor: int(np.prod(tensor.dims)))

    def halve(values: np.ndarray) -> np.ndarray:
        spoilt = values.copy()
        spoilt[: len(spoilt) // 2] = 0
        return spoilt

    _change(folder / "model.onnx", largest.name, halve)
    return folder


def with_cars_called_trucks(baseline: Bundle, folder: Path) -> Path:
    """Of a real one with COCO's classes: the two names swapped."""
    swapped = {"car": "truck", "truck": "car"}
    labels = tuple(swapped.get(label, label) for label in baseline.labels)
    tiny_networks.write_labels(_copy(baseline, folder) / "labels.txt", labels)
    return folder


def write_coloured_drive(folder: Path, frames: int = STRIPED_FRAMES) -> Path:
    """Stripes of blue, green, red and black that move, and one that is half dark."""
    folder.mkdir(parents=True)
    for number in range(frames):
        image = np.zeros((48, 64, 3), np.uint8)
        for stripe, colour in enumerate(((230, 40, 40), (40, 230, 40), (40, 40, 230), (20, 60, 20))):
            image[:, 16 * stripe : 16 * (stripe + 1)] = colour
        image[number : number + 12, 20:44] = (180, 190, 170)
        assert cv2.imwrite(str(folder / f"{number:02}.png"), image)
    return folder


def write_drive(folder: Path, frames: int = FRAMES) -> Path:
    """Images that are all blue enough, and of different green."""
    folder.mkdir(parents=True)
    for number in range(frames):
        image = tiny_networks.solid(200, 5 * number)
        image[: 1 + number % 8] = (240, 0, 0)
        assert cv2.imwrite(str(folder / f"{number:02}.png"), image)
    return folder


def _crowd(bias: np.ndarray) -> np.ndarray:
    rows = bias.reshape(7, -1).copy()
    for cell, shift, score in ((2, 3.0, 0.6), (3, 1.5, 0.55)):
        rows[:4, cell] = rows[:4, 1]
        rows[0, cell] += shift
        rows[6, cell] = score
    return rows.reshape(-1)


def _copy(baseline: Bundle, folder: Path) -> Path:
    shutil.copytree(baseline.folder, folder)
    return folder


def _change(model: Path, name: str, change: Callable[[np.ndarray], np.ndarray]) -> None:
    network = onnx.load(str(model))
    (tensor,) = (tensor for tensor in network.graph.initializer if tensor.name == name)
    tensor.CopyFrom(numpy_helper.from_array(change(numpy_helper.to_array(tensor)), name))
    onnx.save(network, str(model))
