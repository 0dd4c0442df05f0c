"""The letterbox kernel, compiled for the host, against the CPU path."""

from __future__ import annotations

import numpy as np
import pytest
from host_device import HostDevice, needs_compiler
from hypothesis import given, settings
from hypothesis import strategies as st
from letterbox_cases import Case, check, check_padding_is_left_alone, random_case, run
from numpy.typing import NDArray

from engines.letterbox import Fit, Pixels
from engines.runtime.kernels import DeviceImage, ImageFormat, Letterbox
from sensors.frame import PixelFormat
from sensors.yuv import to_bgr

pytestmark = needs_compiler
device = HostDevice()


def test_tensors_of_a_thousand_random_cases_are_the_cpu_paths() -> None:
    for seed in range(1000):
        check(device, random_case(seed))


@settings(deadline=None)
@given(
    st.sampled_from(ImageFormat),
    *[st.integers(1, 40)] * 4,
    st.sampled_from(Fit),
    st.integers(0, 255),
    st.sampled_from(["BGR", "RGB"]),
    st.integers(0, 9),
)
def test_tensors_of_small_images_are_the_cpu_paths(
    image_format: ImageFormat,
    width: int,
    height: int,
    input_width: int,
    input_height: int,
    fit: Fit,
    pad: int,
    colour: str,
    spare: int,
) -> None:
    if image_format.is_nv12:
        width, height = width + width % 2, height + height % 2
    pixels = Pixels(colour, 1 / 255, (0.4, 0.5, 0.6), (0.2, 0.3, 0.25), fit, pad)
    check(
        device,
        Case(image_format, width, height, spare, 9 - spare, spare > 4, input_width, input_height, pixels, False, width),
    )


@pytest.mark.parametrize("seed", range(40))
def test_padding_that_is_there_is_left_alone(seed: int) -> None:
    check_padding_is_left_alone(device, random_case(seed))


def every_colour() -> NDArray[np.uint8]:
    """NV12 of 4096 x 4096 in which every U and V meets 64 lumas; a row of pairs has one U, and every V."""
    v, u = np.meshgrid(np.arange(256), np.arange(256))
    chroma = np.stack([u, v], axis=-1).reshape(256, 512)
    luma = np.random.default_rng(0).permuted(np.tile(np.arange(256, dtype=np.uint8), 1024)).reshape(512, 512)
    return np.concatenate([luma, chroma.astype(np.uint8)])


@pytest.mark.parametrize("kind", [kind for kind in PixelFormat if kind.is_nv12])
def test_nv12_of_every_u_and_v_becomes_the_cpus_bgr(kind: PixelFormat) -> None:
    image = every_colour()
    case = Case(ImageFormat(kind.value), 512, 512, 0, 0, False, 512, 512, Pixels(fit=Fit.STRETCH), False, 0)
    expected = to_bgr(image, kind)
    np.testing.assert_array_equal(run(device, case, image, np.float32).transpose(1, 2, 0), expected)


def test_what_no_kernel_can_do_is_refused() -> None:
    place = random_case(0).place
    with pytest.raises(ValueError, match="float64"):
        Letterbox(Pixels(), place, ImageFormat.BGR, np.float64)
    odd = Case(ImageFormat.NV12, 5, 4, 0, 0, False, 8, 8, Pixels(), False, 0).place
    with pytest.raises(ValueError, match="half a pixel"):
        Letterbox(Pixels(), odd, ImageFormat.NV12)


def test_an_image_of_another_format_is_refused() -> None:
    letterbox = Letterbox(Pixels(), random_case(0).place, ImageFormat.BGR)
    with pytest.raises(ValueError, match="nv12"):
        letterbox.launch(DeviceImage(ImageFormat.NV12, 0, 64), 0, 0)
