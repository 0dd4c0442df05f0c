"""What a network that is being trained is worth: what counts on images that not everybody labelled."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the train extra: pip install 'edge-perception[train]'")

from engines.letterbox import Fit  # noqa: E402
from engines.training.datasets import Example  # noqa: E402
from engines.training.networks.detector import Grid  # noqa: E402
from engines.training.validation import validate  # noqa: E402

SIZE = (64, 32)
BOX, OTHER = (8.0, 8.0, 24.0, 24.0), (40.0, 8.0, 56.0, 24.0)


class Sure(torch.nn.Module):
    """Finds class 0 in `BOX` with 0.6 and in `OTHER` with 0.9, whatever it is shown."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def forward(self, images: Any) -> Any:
        grid = Grid.of(*SIZE)
        raw = torch.full((1, 4 + 2, len(grid.strides)), -9.0)
        for cell, (box, logit) in enumerate(((BOX, 0.4), (OTHER, 2.2))):
            left, top, right, bottom = box
            stride = float(grid.strides[cell])
            raw[0, 0, cell] = ((left + right) / 2 - grid.centres[0, cell]) / stride
            raw[0, 1, cell] = ((top + bottom) / 2 - grid.centres[1, cell]) / stride
            raw[0, 2, cell], raw[0, 3, cell] = np.log((right - left) / stride), np.log((bottom - top) / stride)
            raw[0, 4, cell] = logit
        return raw.expand(len(images), -1, -1)


class Images:
    """A mixture of one picture, of which this is known."""

    classes = ("vehicle", "person")

    def __init__(self, boxes: Any, ignored: Any = (), labelled: Any = (True, True)) -> None:
        image = np.zeros((SIZE[1], SIZE[0], 3), np.uint8)
        as_boxes = [np.array(rows, np.float32).reshape(-1, 4) for rows in (boxes, ignored)]
        classes = np.zeros(len(as_boxes[0]), np.int64)
        self._examples = [Example(image, as_boxes[0], classes, as_boxes[1], np.array(labelled))]

    def __len__(self) -> int:
        return len(self._examples)

    def read(self, index: int) -> Example:
        return self._examples[index]


def ap50(images: Images) -> dict[str, float]:
    network: Any = Sure().train()
    found = validate(network, images, SIZE, Fit.LETTERBOX_TOP_LEFT)  # type: ignore[arg-type]
    assert network.training
    return found


def test_what_is_found_where_nothing_is_costs_precision() -> None:
    assert ap50(Images([BOX]))["vehicle"] == pytest.approx(0.5, abs=0.01)
    assert ap50(Images([BOX, OTHER]))["vehicle"] == pytest.approx(1)


def test_what_is_found_in_an_ignored_place_is_not_judged() -> None:
    nothing_found = (28.0, 24.0, 36.0, 31.0)
    assert ap50(Images([BOX], ignored=[OTHER, nothing_found]))["vehicle"] == pytest.approx(1)


def test_a_class_that_nobody_labelled_on_an_image_is_not_judged_there() -> None:
    images = Images([BOX])
    images._examples += Images([], labelled=(False, True))._examples
    assert ap50(images)["vehicle"] == pytest.approx(0.5, abs=0.01)
    images._examples += Images([])._examples  # where it was looked for, both are wrong
    assert ap50(images)["vehicle"] < 0.45


def test_all_is_the_mean_of_the_classes_that_there_are() -> None:
    found = ap50(Images([BOX, OTHER]))
    assert np.isnan(found["person"])
    assert found["all"] == pytest.approx(1)
