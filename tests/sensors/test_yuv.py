"""NV12 of every kind: read by the standard that its camera has made it by, and left so where that can be told."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import av
import cv2
import numpy as np
import pytest
from av.video.reformatter import ColorRange, Colorspace
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from sensors.cameras.upright_nv12 import UprightNv12, kind_of
from sensors.drives.upright import UprightBgr
from sensors.frame import Frame, PixelFormat
from sensors.yuv import bgr, coefficients, to_bgr

KINDS = [kind for kind in PixelFormat if kind.is_nv12]
TAGS = {
    PixelFormat.NV12: (Colorspace.ITU601, ColorRange.MPEG),
    PixelFormat.NV12_FULL: (Colorspace.ITU601, ColorRange.JPEG),
    PixelFormat.NV12_709: (Colorspace.ITU709, ColorRange.MPEG),
    PixelFormat.NV12_709_FULL: (Colorspace.ITU709, ColorRange.JPEG),
}


def of_one_colour(y: int, u: int, v: int) -> NDArray[np.uint8]:
    """NV12 of 4x2 pixels."""
    return np.uint8([[y] * 4, [y] * 4, [u, v, u, v]])


@pytest.mark.parametrize(
    ("kind", "yuv", "wanted"),
    [  # the colour bars of ITU-R BT.471, 100 %, in BGR; of each standard in whole numbers
        (PixelFormat.NV12, (235, 128, 128), (255, 255, 255)),
        (PixelFormat.NV12, (16, 128, 128), (0, 0, 0)),
        (PixelFormat.NV12, (81, 90, 240), (0, 0, 255)),
        (PixelFormat.NV12_FULL, (255, 128, 128), (255, 255, 255)),
        (PixelFormat.NV12_FULL, (76, 85, 255), (0, 0, 255)),
        (PixelFormat.NV12_709, (235, 128, 128), (255, 255, 255)),
        (PixelFormat.NV12_709, (63, 102, 240), (0, 0, 255)),
        (PixelFormat.NV12_709, (173, 42, 26), (0, 255, 0)),
        (PixelFormat.NV12_709, (32, 240, 118), (255, 0, 0)),
        (PixelFormat.NV12_709_FULL, (54, 99, 255), (0, 0, 255)),
        (PixelFormat.NV12_709_FULL, (0, 128, 128), (0, 0, 0)),
    ],
)
def test_the_colour_bars_of_each_standard(kind: PixelFormat, yuv: Any, wanted: Any) -> None:
    np.testing.assert_allclose(to_bgr(of_one_colour(*yuv), kind)[1, 2].astype(int), wanted, atol=3)


@given(st.sampled_from(KINDS), *[st.integers(0, 255)] * 3)
def test_a_pixel_is_the_formula_in_whole_numbers(kind: PixelFormat, y: int, u: int, v: int) -> None:
    of, half = coefficients(kind), 2**19
    luma, u_off, v_off = max(y - of.dark, 0) * of.luma, u - 128, v - 128
    sums = luma + of.blue_u * u_off, luma + of.green_u * u_off + of.green_v * v_off, luma + of.red_v * v_off
    wanted = [min(max((one + half) >> 20, 0), 255) for one in sums]
    assert to_bgr(of_one_colour(y, u, v), kind)[0, 0].tolist() == wanted


def test_bgr_is_given_back_as_it_is() -> None:
    image = np.zeros((2, 2, 3), np.uint8)
    assert to_bgr(image, PixelFormat.BGR) is image
    assert bgr(Frame("front", 0, 0, 0, 0, image)) is image


def picture(width: int = 96, height: int = 64, layout: str = "yuv420p") -> Any:
    """A decoded picture of smooth colours, because four pixels share one."""
    x, y = np.meshgrid(np.linspace(30, 220, width), np.linspace(50, 200, height))
    image = np.stack([x, y, (x + y) / 2], axis=-1).astype(np.uint8)
    return av.VideoFrame.from_ndarray(image, format="bgr24").reformat(format=layout)


@pytest.mark.parametrize("layout", ["yuv420p", "nv12"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("width", [96, 98, 70])  # FFmpeg's rows are longer than the picture's
def test_a_picture_is_left_in_nv12_and_means_what_its_bgr_shows(kind: PixelFormat, layout: str, width: int) -> None:
    made = picture(width, layout=layout)
    made.colorspace, made.color_range = TAGS[kind]
    image, found = UprightNv12(None).pixels(made)
    assert found is kind
    assert image.shape == (96, width)
    right, as_bgr = UprightNv12(None).image(made), to_bgr(image, kind)
    assert np.abs(as_bgr.astype(int) - right)[2:-2, 2:-2].max() <= 8, "FFmpeg smooths colours between pixels"
    others = [np.abs(to_bgr(image, other).astype(int) - right).mean() for other in KINDS if other is not kind]
    assert np.abs(as_bgr.astype(int) - right).mean() < min(others) / 2, "and no other standard fits as well"


def test_a_camera_that_says_nothing_means_bt_601() -> None:
    made = picture()
    made.colorspace, made.color_range = 2, ColorRange.UNSPECIFIED
    assert kind_of(made) is PixelFormat.NV12
    assert kind_of(picture(layout="yuvj420p")) is PixelFormat.NV12_FULL


def test_what_is_turned_stretched_or_of_another_kind_becomes_bgr() -> None:
    made = picture()
    turned = UprightNv12(Fraction(3, 2)).pixels(made)
    assert turned[0].shape == (64, 144, 3)
    assert turned[1] is PixelFormat.BGR
    odd, wide, deep = picture(97, 63), picture(layout="yuv422p"), picture(layout="yuv420p10le")
    bt2020 = picture()
    bt2020.colorspace = Colorspace.BT2020
    for other in (odd, wide, deep, bt2020):
        image, kind = UprightNv12(None).pixels(other)
        assert kind is PixelFormat.BGR
        np.testing.assert_array_equal(image, UprightBgr(None).image(other))


def test_every_picture_has_memory_of_its_own() -> None:
    upright = UprightNv12(None)
    first, _ = upright.pixels(picture())
    before = first.copy()
    upright.pixels(picture(layout="nv12"))
    np.testing.assert_array_equal(first, before)


@pytest.mark.parametrize("kind", KINDS)
def test_opencv_agrees_where_it_knows_the_standard(kind: PixelFormat) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (96, 64), np.uint8)
    of_opencv = cv2.cvtColor(noise, cv2.COLOR_YUV2BGR_NV12)
    assert np.array_equal(to_bgr(noise, kind), of_opencv) is (kind is PixelFormat.NV12)
