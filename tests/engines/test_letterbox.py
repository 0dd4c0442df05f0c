"""Geometry there and back, and pixels against plain arithmetic."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from engines.letterbox import Fit, Geometry, Pixels, Preprocessor, geometry
from sensors.frame import PixelFormat

fits = st.sampled_from(Fit)
source_sides = st.integers(1, 4000)
input_sides = st.integers(32, 1280)
shares = st.floats(0, 1, width=32)


def picture(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


@given(
    fits,
    st.tuples(source_sides, source_sides),
    st.tuples(input_sides, input_sides),
    st.tuples(shares, shares, shares, shares),
)
def test_boxes_come_back_where_they_were(
    fit: Fit, source: tuple[int, int], network: tuple[int, int], corners: tuple[float, ...]
) -> None:
    width, height = source
    place = geometry(fit, *source, *network)
    xs, ys = sorted(corners[:2]), sorted(corners[2:])
    boxes = np.array([[xs[0] * width, ys[0] * height, xs[1] * width, ys[1] * height]], np.float32)
    np.testing.assert_allclose(place.to_source(place.to_input(boxes)), boxes, atol=1e-2)


@given(fits, source_sides, source_sides, input_sides, input_sides)
def test_the_image_lies_inside_the_input(fit: Fit, width: int, height: int, to_w: int, to_h: int) -> None:
    place = geometry(fit, width, height, to_w, to_h)
    assert place.left >= 0
    assert place.top >= 0
    assert 1 <= place.width <= to_w - place.left
    assert 1 <= place.height <= to_h - place.top
    if fit is Fit.STRETCH:
        assert (place.width, place.height) == (to_w, to_h)
    else:
        assert place.width == to_w or place.height == to_h
        # Both sides have one scale, to the rounding of the shorter one to whole pixels.
        scale = min(to_w / width, to_h / height)
        assert abs(place.width - width * scale) <= max(0.5, 1 - width * scale) + 1e-6
        assert abs(place.height - height * scale) <= max(0.5, 1 - height * scale) + 1e-6


@given(source_sides, source_sides, input_sides, input_sides)
def test_padding_is_even_when_centred_and_right_and_below_when_not(
    width: int, height: int, to_w: int, to_h: int
) -> None:
    centred = geometry(Fit.LETTERBOX_CENTRED, width, height, to_w, to_h)
    assert to_w - centred.width - 2 * centred.left in (0, 1)
    assert to_h - centred.height - 2 * centred.top in (0, 1)
    corner = geometry(Fit.LETTERBOX_TOP_LEFT, width, height, to_w, to_h)
    assert (corner.left, corner.top) == (0, 0)


def test_a_full_hd_image_lies_as_the_networks_demos_have_it() -> None:
    expected = Geometry(1920, 1080, 640, 640, left=0, top=140, width=640, height=360)
    assert geometry(Fit.LETTERBOX_CENTRED, 1920, 1080, 640, 640) == expected


def test_boxes_are_clipped_to_the_source() -> None:
    place = geometry(Fit.LETTERBOX_CENTRED, 200, 100, 100, 100)
    outside = np.array([[-50, -50, 150, 150]], np.float32)
    assert place.to_source(outside).tolist() == [[0, 0, 200, 100]]


channels = st.tuples(st.floats(0, 255), st.floats(0, 255), st.floats(0, 255))
stds = st.tuples(st.floats(0.05, 70), st.floats(0.05, 70), st.floats(0.05, 70))


@st.composite
def pixel_settings(draw: st.DrawFn) -> Pixels:
    scale = draw(st.sampled_from([1.0, 1 / 255, 2 / 255]))
    mean = tuple(grey * scale for grey in draw(channels))
    colour = draw(st.sampled_from(["BGR", "RGB"]))
    is_plain = draw(st.booleans())
    values = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)) if is_plain else (mean, draw(stds))
    return Pixels(colour, scale, *values, draw(fits), draw(st.integers(0, 255)))


def plain_tensor(image: NDArray[np.uint8], pixels: Pixels, place: Geometry) -> NDArray[np.float64]:
    """The input tensor in float64, padding laid first and the image upon it."""
    canvas = np.full((place.input_height, place.input_width, 3), pixels.pad, np.float64)
    scaled = cv2.resize(image, (place.width, place.height), interpolation=cv2.INTER_LINEAR)
    canvas[place.top :, place.left :][: place.height, : place.width] = scaled
    if pixels.colour == "RGB":
        canvas = canvas[:, :, ::-1]
    return ((canvas * pixels.scale - pixels.mean) / pixels.std).transpose(2, 0, 1)


def grey_levels(pixels: Pixels) -> NDArray[np.float64]:
    """What one grey level comes to in the tensor, channel by channel, (3, 1, 1)."""
    return (pixels.scale / np.array(pixels.std))[:, None, None]


def written(
    image: NDArray[np.uint8], pixels: Pixels, width: int, height: int, kind: PixelFormat = PixelFormat.BGR
) -> NDArray[np.float32]:
    preprocessor = Preprocessor(pixels, width, height)
    rows = image.shape[0] * 2 // 3 if kind.is_nv12 else image.shape[0]
    out = np.full((3, height, width), np.nan, np.float32)  # what is not written shows
    preprocessor.write(image, preprocessor.geometry(image.shape[1], rows), out, kind)
    return out


@settings(deadline=None)
@given(pixel_settings(), *[st.integers(1, 90)] * 2, *[st.integers(1, 64)] * 2)
def test_pixels_are_those_of_plain_arithmetic(pixels: Pixels, width: int, height: int, to_w: int, to_h: int) -> None:
    image = picture(height, width)
    place = geometry(pixels.fit, width, height, to_w, to_h)
    expected = plain_tensor(image, pixels, place)
    difference = np.abs(written(image, pixels, to_w, to_h) - expected) / grey_levels(pixels)
    assert difference.max() < 1e-3  # of a grey level: float32 against float64


def test_scratch_memory_carries_nothing_from_one_image_to_the_next() -> None:
    pixels = Pixels("RGB", 1 / 255, fit=Fit.LETTERBOX_CENTRED)
    preprocessor = Preprocessor(pixels, 64, 48)
    out = np.empty((3, 48, 64), np.float32)
    for seed, (height, width) in enumerate([(40, 90), (90, 40), (48, 64), (40, 90)]):
        image = picture(height, width, seed)
        preprocessor.write(image, preprocessor.geometry(width, height), out)
        np.testing.assert_array_equal(out, written(image, pixels, 64, 48))


@pytest.mark.parametrize("fit", Fit)
def test_nv12_gives_what_its_bgr_gives(fit: Fit) -> None:
    # Smooth, because NV12 holds one colour for four pixels.
    ramp_x, ramp_y = np.meshgrid(np.linspace(40, 200, 96), np.linspace(60, 180, 64))
    image = np.stack([ramp_x, ramp_y, (ramp_x + ramp_y) / 2], axis=-1).astype(np.uint8)
    planar = cv2.cvtColor(image, cv2.COLOR_BGR2YUV_I420)
    chroma = planar[64:].reshape(2, -1).T.reshape(32, 96)  # U and V planes -> UVUV rows
    nv12 = np.ascontiguousarray(np.vstack([planar[:64], chroma]))
    pixels = Pixels("BGR", fit=fit)
    found = written(nv12, pixels, 80, 80, PixelFormat.NV12)
    np.testing.assert_allclose(found, written(image, pixels, 80, 80), atol=4)
