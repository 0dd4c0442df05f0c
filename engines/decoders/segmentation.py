"""Semantic segmentation: a class for every pixel, in one or more groups that are decided apart from each other.

Each output is a group: (C, H, W) values of C classes, of which the greatest wins (softmax does not change which), or
one channel of logits, whose class is 1 where the sigmoid exceeds one half, that is where the logit exceeds 0.
A group's name is its output's role: what an exporter called the output is often wrong, and its shape does not tell
drivable area from lane lines, so that only a person can name them.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, ClassVar, TypeAlias

import numpy as np
from numpy.typing import NDArray

from engines.decoders.decoder import MisfitError, Outputs, Shapes, check_finite
from engines.decoders.shapes import in_words
from engines.letterbox import Fit, Geometry, Pixels
from engines.results import ClassMap, SegmentationMap, Thresholds

BACKGROUND = "background"  # the first class of a group of two: where the thing is not
_MAX_CLASSES = 256  # a class is a byte
_CHANNELS_AND_SIZE = 3  # axes of an output without its batch

Cut: TypeAlias = slice | NDArray[np.intp]


class Segmentation:
    """Decodes any number of roles, each (C, H, W) or (1, H, W): groups of classes named as their roles."""

    name: ClassVar[str] = "segmentation"
    pixels: ClassVar[Pixels] = Pixels(colour="RGB", scale=1 / 255, fit=Fit.STRETCH)

    @classmethod
    def match(cls, shapes: Shapes, input_width: int, input_height: int) -> dict[str, str]:
        """Number the outputs `group_1`, `group_2`, ... in the network's order; an only one is `classes`.

        Raises `MisfitError`. All have to be of one size: heads of several strides are a detector's.
        """
        names = ["classes"] if len(shapes) == 1 else [f"group_{index}" for index in range(1, len(shapes) + 1)]
        roles = dict(zip(names, shapes, strict=True))
        cls({role: shapes[output] for role, output in roles.items()}, input_width, input_height)
        wanted = _expected(input_width, input_height)
        if len({tuple(shape[-2:]) for shape in shapes.values()}) > 1:
            raise MisfitError(f"{wanted}, all of one height and width; found {in_words(shapes.values())}")
        if any(len(shape) == _CHANNELS_AND_SIZE and shape[0] == 1 for shape in shapes.values()):
            raise MisfitError(f"{wanted}; found {in_words(shapes.values())}")  # classes themselves, or no batch axis
        return roles

    def __init__(self, shapes: Shapes, input_width: int, input_height: int) -> None:
        wanted = _expected(input_width, input_height)
        misfit = MisfitError(f"{wanted}; found {in_words(shapes.values())}")
        if not shapes:
            raise misfit
        self._groups: dict[str, int] = {}
        for role, shape in shapes.items():
            if not all(isinstance(size, int) and size > 0 for size in shape):
                raise MisfitError(f"{wanted}, in fixed sizes; found {in_words(shapes.values())}")
            has_batch = len(shape) == _CHANNELS_AND_SIZE + 1 and shape[0] == 1
            if not has_batch and len(shape) != _CHANNELS_AND_SIZE:
                raise misfit
            channels, height, width = shape[-_CHANNELS_AND_SIZE:]
            if channels > _MAX_CLASSES or not _is_map_of(width, height, input_width, input_height):
                raise misfit
            self._groups[role] = max(2, channels)

    @property
    def class_count(self) -> int:
        """Classes of all groups together; a single channel has two."""
        return sum(self._groups.values())

    @property
    def groups(self) -> Mapping[str, int]:
        """Classes of each group, in the order in which the labels name them."""
        return self._groups

    reduction = None  # every pixel counts

    def decode(self, outputs: Outputs, geometry: Geometry, thresholds: Thresholds) -> SegmentationMap:  # noqa: ARG002
        """Class maps of exactly the image: padding is cut away. Raises `NonFiniteOutputError`."""
        maps: list[ClassMap] = []
        first_label = 0
        for role, class_count in self._groups.items():
            values = _inside(outputs[role], geometry)
            check_finite(role, values)
            maps.append(ClassMap(role, _classes(values), first_label, class_count))
            first_label += class_count
        return SegmentationMap(tuple(maps))


def decided_already(outputs: Outputs) -> list[str]:
    """Roles whose only channel looks like no logits, but whole classes or values of 0 to 1: the sigmoid or argmax is
    inside the network, and a threshold of 0 would find the thing everywhere. Only runs over several images show it.
    """
    return [
        role
        for role, values in outputs.items()
        if values.shape[0] == 1 and (values.dtype.kind in "iub" or (values.min() >= 0 and values.max() <= 1))
    ]


def _classes(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Class of each pixel, (H, W), of finite values (C, H, W). Of equal ones the first wins."""
    if len(values) == 1:
        return np.asarray(values[0] > 0).view(np.uint8)
    if len(values) == 2:  # 0.1 ms for 360 x 640, where an argmax over the first axis takes 3
        return np.asarray(values[1] > values[0]).view(np.uint8)
    best = values[0].copy()
    classes = np.zeros(best.shape, np.uint8)
    for index in range(1, len(values)):
        is_better = values[index] > best
        np.copyto(best, values[index], where=is_better)
        classes[is_better] = index
    return classes


def _inside(values: NDArray[Any], place: Geometry) -> NDArray[Any]:
    """Cut (C, H, W) to the part that the image lies in, at the same resolution."""
    rows = _cut(values.shape[1], place.input_height, place.top, place.height)
    columns = _cut(values.shape[2], place.input_width, place.left, place.width)
    inside: NDArray[Any] = values[:, rows][:, :, columns]
    return inside


@lru_cache(maxsize=64)
def _cut(size: int, input_size: int, start: int, length: int) -> Cut:
    """Pixels of an axis of a map that cover the image's share of that axis of the input, the nearest to each centre.

    Where the map is as fine as the input these are the image's own pixels, a slice that costs nothing.
    """
    count = max(1, round(length * size / input_size))
    centres = start + (np.arange(count) + 0.5) * (length / count)  # in pixels of the input
    indexes = np.minimum((centres * size / input_size).astype(np.intp), size - 1)
    if indexes[-1] - indexes[0] == count - 1:
        return slice(int(indexes[0]), int(indexes[-1]) + 1)
    return indexes


def _is_map_of(width: int, height: int, input_width: int, input_height: int) -> bool:
    """Whether a map has the input's shape, at its resolution or a coarser one, up to a pixel of rounding."""
    is_no_finer = width <= input_width and height <= input_height
    return is_no_finer and abs(width * input_height - height * input_width) <= max(input_width, input_height)


def _expected(input_width: int, input_height: int) -> str:
    return (
        "expected outputs of [1,classes,height,width], at most 256 classes, "
        f"height and width as of the {input_width}x{input_height} input or evenly smaller"
    )
