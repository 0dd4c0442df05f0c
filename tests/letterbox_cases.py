"""Random images, places and networks for the letterbox kernel, on any device, against `engines.letterbox`."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from engines.letterbox import Fit, Geometry, Pixels, Preprocessor
from engines.runtime.kernels import DeviceImage, ImageFormat, Launch, Letterbox
from sensors.frame import PixelFormat

# On x86 the kernel's fixed point is OpenCV's own. Builds for ARM may scale with another library's rounding.
IS_EXACT = platform.machine() == "x86_64"
GUARD = 64  # elements before and behind a tensor, which nothing may touch
UNTOUCHED = 77


class Device(Protocol):
    """What a test asks of a device; `host_device.HostDevice` is one, and so is a real one under tests/gpu."""

    def upload(self, array: NDArray[Any]) -> Any: ...
    def address(self, memory: Any) -> int: ...
    def launch(self, launch: Launch) -> None: ...
    def download(self, memory: Any) -> NDArray[Any]: ...


@dataclass(frozen=True)
class Case:
    image_format: ImageFormat
    width: int
    height: int
    spare: int  # bytes between a row's end and the next row
    chroma_spare: int
    is_apart: bool  # NV12's planes lie apart
    input_width: int
    input_height: int
    pixels: Pixels
    is_nhwc: bool
    seed: int

    @property
    def place(self) -> Geometry:
        preprocessor = Preprocessor(self.pixels, self.input_width, self.input_height)
        return preprocessor.geometry(self.width, self.height)


def random_case(seed: int) -> Case:
    """Noise of every size from one pixel, for networks of every shape; small ones are as likely as large ones."""
    rng = np.random.default_rng(seed)

    def size(largest: int) -> int:
        return int(np.exp(rng.uniform(0, np.log(largest + 1))))

    image_format = ImageFormat(rng.choice([value.value for value in ImageFormat]))
    width, height = size(2200), size(1400)
    input_width, input_height = size(900), size(700)
    kind = rng.integers(4)
    if kind == 0:  # halves, where some libraries average four pixels
        width, height = 2 * input_width, 2 * input_height
    elif kind == 1:  # not scaled at all along one axis
        width = input_width
    if image_format.is_nv12:
        width, height = width + width % 2, height + height % 2
    scale = float(rng.choice([1, 1 / 255, 2 / 255]))
    is_plain = rng.random() < 0.3
    pixels = Pixels(
        colour=str(rng.choice(["BGR", "RGB"])),
        scale=scale,
        mean=(0.0, 0.0, 0.0) if is_plain else tuple(rng.uniform(0, 255, 3) * scale),
        std=(1.0, 1.0, 1.0) if is_plain else tuple(rng.uniform(0.05, 70, 3)),
        fit=Fit(rng.choice([fit.value for fit in Fit])),
        pad=int(rng.integers(256)),
    )
    return Case(
        image_format,
        width,
        height,
        spare=int(rng.choice([0, 1, 37])),
        chroma_spare=int(rng.choice([0, 2, 51])),
        is_apart=bool(rng.random() < 0.5),
        input_width=input_width,
        input_height=input_height,
        pixels=pixels,
        is_nhwc=bool(rng.random() < 0.2),
        seed=seed,
    )


def check(device: Device, case: Case) -> None:
    """Every tensor of this case: float against the CPU path, half and INT8 against the float's own rounding."""
    image, tensor = _expected(case)
    gain = np.abs(case.pixels.normalisation().gain)[:, None, None]
    written = run(device, case, image, np.float32)
    levels = np.abs(written.astype(np.float64) - tensor) / gain
    assert levels.max() <= (0 if IS_EXACT else 1 + 1e-4), f"{levels.max()} grey levels off"
    half = run(device, case, image, np.float16)
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(half, written.astype(np.float16))
    step = float(np.float32(np.abs(written).max() / 100 or 1))  # some values are beyond 127 steps' neighbours
    steps = np.clip(np.rint(written / np.float32(step)), -128, 127).astype(np.int8)
    np.testing.assert_array_equal(run(device, case, image, np.int8, int8_scale=step), steps)
    tight = step / 4  # most of the range saturates
    steps = np.clip(np.rint(written / np.float32(tight)), -128, 127).astype(np.int8)
    np.testing.assert_array_equal(run(device, case, image, np.int8, int8_scale=tight), steps)


def check_padding_is_left_alone(device: Device, case: Case) -> None:
    """With `is_padded` the image's own part is written, and nothing else."""
    image, tensor = _expected(case)
    place = case.place
    inside = np.zeros(tensor.shape, np.bool_)
    inside[:, place.top : place.top + place.height, place.left : place.left + place.width] = True
    written = run(device, case, image, np.float32, is_padded=True)
    assert (written[~inside] == UNTOUCHED).all()
    gain = np.abs(case.pixels.normalisation().gain)[:, None, None]
    assert (np.abs(written - tensor) / gain)[inside].max() <= (0 if IS_EXACT else 1 + 1e-4)


def run(
    device: Device,
    case: Case,
    image: NDArray[np.uint8],
    dtype: Any,
    *,
    int8_scale: float = 1.0,
    is_padded: bool = False,
) -> NDArray[Any]:
    """The tensor (3, H, W) that the kernel writes. Nothing outside it may change."""
    letterbox = Letterbox(
        case.pixels, case.place, case.image_format, dtype, int8_scale=int8_scale, is_nhwc=case.is_nhwc
    )
    size = 3 * case.input_height * case.input_width
    memory = device.upload(np.full(size + 2 * GUARD, UNTOUCHED, dtype))
    luma, chroma = (_pitched(case, plane, spare) for plane, spare in _planes(case, image))
    held = [device.upload(plane) for plane in (luma, chroma)]
    if case.image_format.is_nv12 and not case.is_apart:
        chroma = _pitched(case, image[case.height :], case.spare)
        held = [device.upload(np.concatenate([luma, chroma]))]
    source = DeviceImage(
        case.image_format,
        device.address(held[0]),
        luma.shape[1],
        chroma=device.address(held[1]) if len(held) > 1 else 0,
        chroma_pitch=chroma.shape[1] if len(held) > 1 else 0,
    )
    taps = device.upload(letterbox.taps)
    start = device.address(memory) + GUARD * np.dtype(dtype).itemsize
    device.launch(letterbox.launch(source, device.address(taps), start, is_padded=is_padded))
    after = device.download(memory)
    assert (after[:GUARD] == UNTOUCHED).all()
    assert (after[-GUARD:] == UNTOUCHED).all()
    tensor = after[GUARD:-GUARD]
    if case.is_nhwc:
        return tensor.reshape(case.input_height, case.input_width, 3).transpose(2, 0, 1)
    return tensor.reshape(3, case.input_height, case.input_width)


def _expected(case: Case) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """The case's picture as its format has it, without spare bytes, and the CPU path's tensor of it."""
    rng = np.random.default_rng(case.seed)
    shape = (case.height * 3 // 2, case.width) if case.image_format.is_nv12 else (case.height, case.width, 3)
    image = rng.integers(0, 256, shape, np.uint8)
    for_cpu = np.ascontiguousarray(image[:, :, ::-1]) if case.image_format is ImageFormat.RGB else image
    tensor = np.full((3, case.input_height, case.input_width), np.nan, np.float32)
    kind = PixelFormat(case.image_format.value) if case.image_format.is_nv12 else PixelFormat.BGR
    Preprocessor(case.pixels, case.input_width, case.input_height).write(for_cpu, case.place, tensor, kind)
    return image, tensor


def _planes(case: Case, image: NDArray[np.uint8]) -> list[tuple[NDArray[np.uint8], int]]:
    if case.image_format.is_nv12:
        return [(image[: case.height], case.spare), (image[case.height :], case.chroma_spare)]
    return [(image.reshape(case.height, -1), case.spare), (np.zeros((1, 1), np.uint8), 0)]


def _pitched(case: Case, plane: NDArray[np.uint8], spare: int) -> NDArray[np.uint8]:
    """The plane with noise between its rows: whoever reads it gets something else."""
    noise = np.random.default_rng(case.seed + 1).integers(0, 256, (len(plane), spare), np.uint8)
    return np.concatenate([plane, noise], axis=1)
