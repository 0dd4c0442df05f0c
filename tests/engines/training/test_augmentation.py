"""A box stays around its pixels, whatever is done to the picture: painted boxes are looked for by their colour."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from engines.datasets import LabelledImage
from engines.letterbox import Fit, Pixels, Preprocessor
from engines.training.datasets import UNLABELLED, Augmentation, Example, Mixture, augment, letterboxed, varied
from engines.training.datasets.augmentation import PAD
from engines.training.datasets.class_map import class_map
from engines.training.datasets.mixture import Part

GREY = 90  # background: neither the padding's grey nor any of the colours
COLOURS = np.array([(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0)], np.uint8)  # B, G, R of class 0 to 3
GEOMETRY = replace(Augmentation(), hue=0, saturation=0, brightness=0, blur=0, night=0, rain=0)
KINDS = tuple("abcd")


class Painted(Mixture):
    """A mixture whose images are made in memory, so that thousands of cases take seconds."""

    def __init__(self, examples: list[Example]) -> None:
        images = tuple(LabelledImage.without_boxes(Path(str(number))) for number in range(len(examples)))
        super().__init__(KINDS, [Part("painted", images, class_map(KINDS, KINDS, names={}))])
        self._examples = examples

    def read(self, index: int) -> Example:
        return self._examples[index]


def painted(width: int, height: int, boxes: list[tuple[int, int, int, int]], first: int = 0) -> Example:
    """A grey image with one rectangle a class; they do not overlap."""
    image = np.full((height, width, 3), GREY, np.uint8)
    for number, (left, top, right, bottom) in enumerate(boxes):
        image[top:bottom, left:right] = COLOURS[first + number]
    return Example(
        image,
        np.array(boxes, np.float32).reshape(-1, 4),
        np.arange(first, first + len(boxes)),
        np.empty((0, 4), np.float32),
        np.ones(4, np.bool_),
    )


def seen(image: NDArray[np.uint8], kind: int) -> tuple[float, float, float, float] | None:
    """The bounds of the pixels that are mostly of one colour."""
    near = np.abs(image.astype(int) - COLOURS[kind]).max(axis=2) < 80
    if not near.any():
        return None
    rows, columns = np.flatnonzero(near.any(axis=1)), np.flatnonzero(near.any(axis=0))
    return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)


@st.composite
def one_image(draw: st.DrawFn, first: int = 0, count: int = 2) -> Example:
    """Each box in a column of its own."""
    column = draw(st.integers(30, 120))
    height = draw(st.integers(40, 160))
    boxes = []
    for number in range(count):
        left = number * column + draw(st.integers(0, column // 2 - 4))
        right = draw(st.integers(left + 10, (number + 1) * column))
        top = draw(st.integers(0, height // 2))
        boxes.append((left, top, right, draw(st.integers(top + 10, height))))
    return painted(column * count, height, boxes, first)


SEEDS = st.integers(0, 2**32 - 1)
SIZES = st.tuples(st.integers(64, 200), st.integers(64, 200))


@given(example=one_image(), size=SIZES, seed=SEEDS)
@settings(max_examples=150, deadline=None)
def test_a_box_stays_around_its_pixels(example: Example, size: tuple[int, int], seed: int) -> None:
    made = augment(Painted([example]), 0, *size, replace(GEOMETRY, mosaic=0), np.random.default_rng(seed))
    assert made.image.shape == (size[1], size[0], 3)
    judge(made, loose_px=4 + 0.09 * max(size))


def judge(made: Example, loose_px: float) -> None:
    """Every colour lies inside its box, which is not much larger: rotation and shear leave room in the corners."""
    kinds = made.classes.tolist()
    assert len(set(kinds)) == len(kinds)
    for kind in range(4):
        bounds = seen(made.image, kind)
        if kind in kinds:
            left, top, right, bottom = made.boxes_xyxy[kinds.index(kind)]
            assert bounds is not None
            assert left - 1.5 <= bounds[0] <= left + loose_px
            assert top - 1.5 <= bounds[1] <= top + loose_px
            assert right - loose_px <= bounds[2] <= right + 1.5
            assert bottom - loose_px <= bounds[3] <= bottom + 1.5
        elif bounds is not None:  # too little of it is left: ignored, and the ignored place is around it
            around = [
                box[0] - 1.5 <= bounds[0] and box[1] - 1.5 <= bounds[1] and box[2] + 1.5 >= bounds[2]
                and box[3] + 1.5 >= bounds[3]
                for box in made.ignored_xyxy
            ]  # fmt: skip
            assert any(around)


@given(parts=st.tuples(*(one_image(first=number, count=1) for number in range(4))), size=SIZES, seed=SEEDS)
@settings(max_examples=100, deadline=None)
def test_in_a_mosaic_too(parts: tuple[Example, ...], size: tuple[int, int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    mixture = Painted(list(parts))
    order = iter([1, 2, 3])
    mixture.draw = lambda rng, like=None: next(order)  # type: ignore[method-assign, assignment]  # each image once
    judge(augment(mixture, 0, *size, replace(GEOMETRY, mosaic=1), rng), loose_px=4 + 0.09 * max(size))


@given(example=one_image(), size=SIZES, seed=SEEDS)
@settings(max_examples=100, deadline=None)
def test_without_turning_a_box_is_exact(example: Example, size: tuple[int, int], seed: int) -> None:
    straight = replace(GEOMETRY, mosaic=0, rotate_deg=0, shear_deg=0)
    judge(augment(Painted([example]), 0, *size, straight, np.random.default_rng(seed)), loose_px=1.5)


@given(example=one_image(), size=SIZES, seed=SEEDS)
@settings(max_examples=60, deadline=None)
def test_boxes_are_inside_the_picture_and_have_area(example: Example, size: tuple[int, int], seed: int) -> None:
    made = augment(Painted([example]), 0, *size, GEOMETRY, np.random.default_rng(seed))
    for boxes in (made.boxes_xyxy, made.ignored_xyxy):
        assert (boxes >= 0).all()
        assert (boxes <= [*size, *size]).all()
        assert (boxes[:, 2:] > boxes[:, :2]).all()
    assert ((made.boxes_xyxy[:, 2:] - made.boxes_xyxy[:, :2]) >= GEOMETRY.min_side_px).all()


def test_ignored_places_go_with_the_picture() -> None:
    example = painted(100, 80, [(20, 10, 60, 50)])
    ignoring = replace_ignored(example)
    for seed in range(30):
        made = augment(Painted([ignoring]), 0, 120, 90, replace(GEOMETRY, mosaic=0), np.random.default_rng(seed))
        bounds = seen(made.image, 0)
        if bounds is None:
            continue
        (place,) = made.ignored_xyxy
        np.testing.assert_allclose(place, bounds, atol=12)
        assert len(made.boxes_xyxy) == 0


def replace_ignored(example: Example) -> Example:
    """The same picture, with its boxes to be ignored."""
    none = np.empty((0, 4), np.float32)
    return Example(example.image, none, np.empty(0, np.int64), example.boxes_xyxy, example.labelled)


def test_the_same_generator_gives_the_same_picture() -> None:
    mixture = Painted([painted(90, 70, [(5, 5, 40, 40)], number) for number in range(4)])
    everything = replace(Augmentation(), night=0.5, rain=0.5, blur=0.5)
    for seed in range(8):
        one, other = (augment(mixture, 1, 96, 64, everything, np.random.default_rng(seed)) for _ in range(2))
        np.testing.assert_array_equal(one.image, other.image)
        np.testing.assert_array_equal(one.boxes_xyxy, other.boxes_xyxy)
    first, second = (augment(mixture, 1, 96, 64, everything, np.random.default_rng(seed)) for seed in (1, 2))
    assert (first.image != second.image).any()


def test_images_that_are_shared_are_never_written_to() -> None:
    example = painted(90, 70, [(5, 5, 40, 40)])
    before = example.image.copy()
    for array in (example.image, example.boxes_xyxy):
        array.flags.writeable = False
    everything = replace(Augmentation(), night=1, rain=1, blur=1, mosaic=1)
    for seed in range(5):
        augment(Painted([example]), 0, 90, 70, everything, np.random.default_rng(seed))
    np.testing.assert_array_equal(example.image, before)


@pytest.mark.parametrize(
    ("change", "moves"),
    [
        ({"hue": 0.1}, False),
        ({"saturation": 0.6}, False),
        ({"brightness": 0.4}, False),
        ({"blur": 1.0}, False),
        ({"night": 1.0}, False),
        ({"rain": 1.0}, False),
        ({"flip": 1.0}, True),
        ({"scale": (0.5, 0.6)}, True),
        ({"translate": 0.3}, True),
        ({"stretch": 0.5}, True),
        ({"rotate_deg": 20.0}, True),
        ({"shear_deg": 20.0}, True),
        ({"mosaic": 1.0}, True),
    ],
)
def test_every_strength_does_something_alone(change: dict[str, float], moves: bool) -> None:
    """And what changes the looks moves no box."""
    image = painted(96, 64, [(4, 8, 40, 40), (60, 10, 90, 60)])
    mixture = Painted([image] * 4)
    plain = augment(mixture, 0, 96, 64, Augmentation.off(), np.random.default_rng(3))
    np.testing.assert_array_equal(plain.boxes_xyxy, image.boxes_xyxy)
    np.testing.assert_array_equal(plain.image, image.image)
    made = augment(mixture, 0, 96, 64, replace(Augmentation.off(), **change), np.random.default_rng(3))
    assert (made.image != plain.image).any()
    same = made.boxes_xyxy.shape == plain.boxes_xyxy.shape and np.allclose(made.boxes_xyxy, plain.boxes_xyxy)
    assert same is not moves


def test_every_strength_is_tried_above() -> None:
    marks = test_every_strength_does_something_alone.pytestmark  # type: ignore[attr-defined]
    tried = {name for case in marks[0].args[1] for name in case[0]}
    rest = {"mosaic_scale", "blur_px", "min_visible", "min_side_px"}  # how, not whether
    rest.add("erase")  # of whole pictures alone: below
    assert tried | rest == {field.name for field in fields(Augmentation)}


def test_night_is_dark_and_rain_is_seen() -> None:
    bright = painted(120, 90, [(10, 10, 60, 60)])
    bright.image[bright.image.max(axis=2) == GREY] = 170
    off = Augmentation.off()
    for seed in range(5):
        night = augment(Painted([bright]), 0, 120, 90, replace(off, night=1), np.random.default_rng(seed)).image
        assert night.mean() < 0.85 * bright.image.mean()
        rain = augment(Painted([bright]), 0, 120, 90, replace(off, rain=1), np.random.default_rng(seed)).image
        assert np.abs(rain[70:].astype(int) - 170).max() > 15


def test_a_rest_of_a_box_is_ignored_and_not_background() -> None:
    """Of a wide box that is mostly outside, the part in the picture is neither taught nor unlearned."""
    example = painted(400, 100, [(0, 20, 400, 80)])
    near = replace(Augmentation.off(), scale=(8.0, 8.1), min_visible=0.5)
    made = augment(Painted([example]), 0, 100, 100, near, np.random.default_rng(0))
    assert len(made.boxes_xyxy) == 0
    assert len(made.ignored_xyxy) == 1


@pytest.mark.parametrize("fit", list(Fit))
@given(example=one_image(), size=SIZES)
@settings(max_examples=25, deadline=None)
def test_letterboxed_is_what_a_bundle_sees(fit: Fit, example: Example, size: tuple[int, int]) -> None:
    made = letterboxed(example, *size, fit)
    judge(made, loose_px=2.5)
    runtime = Preprocessor(Pixels(fit=fit), *size)
    tensor = np.empty((3, size[1], size[0]), np.float32)
    runtime.write(example.image, runtime.geometry(example.image.shape[1], example.image.shape[0]), tensor)
    np.testing.assert_array_equal(made.image.transpose(2, 0, 1).astype(np.float32), tensor)


@given(example=one_image(), size=SIZES, seed=SEEDS)
@settings(max_examples=40, deadline=None)
def test_a_mask_stays_on_its_pixels(example: Example, size: tuple[int, int], seed: int) -> None:
    mask = np.full(example.image.shape[:2], 9, np.uint8)
    for kind, (left, top, right, bottom) in enumerate(example.boxes_xyxy.astype(int).tolist()):
        mask[top:bottom, left:right] = kind
    picture, moved = varied(example.image, mask, *size, GEOMETRY, np.random.default_rng(seed))
    assert moved is not None
    assert picture.shape[:2] == moved.shape == (size[1], size[0])
    for kind in range(len(example.classes)):
        colour = np.abs(picture.astype(int) - COLOURS[kind]).max(axis=2) < 60
        assert (moved[cv2.erode(colour.astype(np.uint8), np.ones((3, 3)), borderValue=1) > 0] == kind).all()
    assert set(np.unique(moved).tolist()) <= {0, 1, 9, UNLABELLED}


def test_an_image_without_a_mask_is_varied_alone() -> None:
    picture, mask = varied(painted(32, 32, []).image, None, 24, 24, Augmentation(), np.random.default_rng(0))
    assert picture.shape == (24, 24, 3)
    assert mask is None


def test_a_patch_is_erased_and_the_rest_is_as_it_was() -> None:
    image = np.full((40, 60, 3), 200, np.uint8)
    for seed in range(30):
        rng = np.random.default_rng(seed)
        picture, _ = varied(image, None, 60, 40, replace(Augmentation.off(), erase=1.0), rng)
        rows, columns = np.nonzero((picture == PAD).all(axis=2))
        height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
        assert len(rows) == height * width  # one rectangle
        assert 8 <= height <= 20
        assert 12 <= width <= 30
        assert (picture == 200).all(axis=2).sum() == 40 * 60 - len(rows)


def test_a_letterboxed_mask_lies_on_its_picture() -> None:
    image = np.zeros((30, 60, 3), np.uint8)
    image[:, 30:] = 255
    mask = (image[..., 0] > 0).astype(np.uint8)
    made = letterboxed(Example.without_boxes(image, np.ones(2, np.bool_), mask=mask), 64, 64)
    assert made.mask is not None
    np.testing.assert_array_equal(made.mask[:32], made.image[:32, :, 0] > 127)
    assert (made.mask[32:] == UNLABELLED).all()


def test_a_mosaic_is_of_images_that_label_the_same() -> None:
    """An unknown class in one corner would otherwise be background, or the boxes of another be thrown away."""
    examples = [painted(60, 60, [(10, 10, 50, 50)], kind) for kind in (0, 0, 1, 1)]
    images = tuple(LabelledImage.without_boxes(Path(str(number))) for number in range(4))
    mixture = Painted(examples)
    one, other = (class_map(KINDS, KINDS, names={}, labels=labels) for labels in ("a", "b"))
    Mixture.__init__(mixture, KINDS, [Part("one", images[:2], one), Part("other", images[2:], other)])
    for seed in range(20):
        made = augment(mixture, 0, 90, 90, replace(GEOMETRY, mosaic=1), np.random.default_rng(seed))
        assert set(made.classes.tolist()) <= {0}
