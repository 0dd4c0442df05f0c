"""Drives on which it is known what is worth labelling: the tiny networks score how blue a frame is, and each frame has
a pattern of its own in green, so that no two are alike. Frames as mining sees them are made here too.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import onnx
import tiny_networks
from numpy.typing import NDArray
from onnx import numpy_helper

from engines.bundle import Bundle
from engines.datasets.near_duplicates import PictureHash
from engines.importing import import_network
from engines.results import Detections
from perception.mining.looked import Looked

SEEN, UNSURE, UNSEEN = 200, 100, 50  # of blue: scores of 0.78, 0.39 and 0.20
STEP_NS = 100_000_000  # between two images of a folder


def picture(blue: int, pattern: int) -> NDArray[np.uint8]:
    image = np.zeros((tiny_networks.SIDE, tiny_networks.SIDE, 3), np.uint8)
    image[..., 0] = blue
    small = np.random.default_rng(pattern).integers(0, 60, (6, 6), np.uint8)
    image[..., 1] = cv2.resize(small, image.shape[1::-1], interpolation=cv2.INTER_NEAREST)
    return image


def write_drive(folder: Path, blues: Sequence[int], *, first_pattern: int = 0, suffix: str = ".png") -> Path:
    folder.mkdir(parents=True)
    for number, blue in enumerate(blues):
        assert cv2.imwrite(str(folder / f"{number:03}{suffix}"), picture(blue, first_pattern + number))
    return folder


def make_teacher(folder: Path, steady_score: float = 0.0, labels: Sequence[str] = tiny_networks.LABELS) -> Bundle:
    """A tiny network that gives its steady, red box this score; it has other names for its classes, if so wished."""
    model = tiny_networks.write_network(folder.with_suffix(".onnx"), names=str(list(labels)))
    network = onnx.load(str(model))
    (bias,) = (tensor for tensor in network.graph.initializer if tensor.name == "bias")
    rows = numpy_helper.to_array(bias).reshape(7, -1).copy()
    rows[6, 1] = steady_score
    bias.CopyFrom(numpy_helper.from_array(rows.reshape(-1), "bias"))
    onnx.save(network, str(model))
    return import_network(model, folder, tiny_networks.OPTIONS)


def found(*boxes: tuple[tuple[float, float, float, float], float, int, int]) -> Detections:
    """Detections of (box, score, class, id)."""
    return Detections(
        np.array([box for box, *_ in boxes], np.float32).reshape(-1, 4),
        np.array([score for _, score, *_ in boxes], np.float32),
        np.array([kind for *_, kind, _ in boxes], np.int32),
        np.array([track for *_, track in boxes], np.int64),
    )


def looked(
    sequence: int,
    model: Detections,
    teacher: Detections | None = None,
    *,
    stamp_ns: int | None = None,
    bits: int | None = None,
    sensor: str = "front",
    drive: int = 0,
) -> Looked:
    """A frame of 200x100; by default 100 ms after the one before, and like no other."""
    rng = np.random.default_rng(sequence if bits is None else bits)
    bits = int(rng.integers(1 << 63)) if bits is None else bits
    small = rng.normal(size=(16, 16)).astype(np.float32)
    picture_hash = PictureHash(bits, int(rng.integers(1 << 63)), small / np.float32(np.linalg.norm(small)))
    stamp_ns = sequence * STEP_NS if stamp_ns is None else stamp_ns
    return Looked(drive, sensor, sequence, stamp_ns, (200, 100), picture_hash, model, teacher)
