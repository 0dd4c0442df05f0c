"""Launches of letterbox.cu: an image in device memory -> the network's input tensor, as `engines.letterbox` does it.

The scaling is OpenCV's INTER_LINEAR, bit for bit. Its weights depend on an image's place alone: they are worked out
here, once, and lie in device memory beside the slot's buffers.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from enum import Enum
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from engines.letterbox import Geometry, Pixels
from engines.runtime.kernels.launch import Launch, blocks, packed
from sensors.frame import PixelFormat
from sensors.yuv import YuvCoefficients, coefficients

SOURCE = "letterbox.cu"
BLOCK = (32, 8, 1)  # a warp writes 32 pixels of a row, so that its stores are one or two lines of memory

_KERNELS = {"float32": "letterbox_float32", "float16": "letterbox_float16", "int8": "letterbox_int8"}
_NO_COLOURS = {field.name: 0 for field in fields(YuvCoefficients)}
_WEIGHT_ONE = 2048  # OpenCV's INTER_RESIZE_COEF_SCALE

# struct Tap
TAP = np.dtype([("first", "<i4"), ("second", "<i4"), ("first_weight", "<i4"), ("second_weight", "<i4")])
Taps: TypeAlias = NDArray[np.void]

# struct LetterboxArguments
LETTERBOX_ARGUMENTS = np.dtype(
    [
        ("image", "<u8"),
        ("chroma", "<u8"),
        ("columns", "<u8"),
        ("rows", "<u8"),
        ("tensor", "<u8"),
        ("plane_stride", "<i8"),
        ("row_stride", "<i4"),
        ("column_stride", "<i4"),
        ("image_pitch", "<i4"),
        ("chroma_pitch", "<i4"),
        ("is_nv12", "<i4"),
        ("dark", "<i4"),
        ("luma", "<i4"),
        ("blue_u", "<i4"),
        ("green_u", "<i4"),
        ("green_v", "<i4"),
        ("red_v", "<i4"),
        ("is_reversed", "<i4"),
        ("left", "<i4"),
        ("top", "<i4"),
        ("width", "<i4"),
        ("height", "<i4"),
        ("region_left", "<i4"),
        ("region_top", "<i4"),
        ("region_width", "<i4"),
        ("region_height", "<i4"),
        ("gain", "<f4", 3),
        ("bias", "<f4", 3),
        ("pad", "<f4", 3),
        ("int8_scale", "<f4"),
    ],
    align=True,
)


class ImageFormat(Enum):
    """How an image lies in device memory; those of a `PixelFormat` have its value."""

    BGR = "bgr"  # three bytes a pixel
    RGB = "rgb"
    # A plane of luma; one of U and V by turns, half as wide and high. Even width and height.
    NV12 = "nv12"
    NV12_FULL = "nv12-full"
    NV12_709 = "nv12-709"
    NV12_709_FULL = "nv12-709-full"

    @property
    def is_nv12(self) -> bool:
        """Whether it is one of the four."""
        return self not in (ImageFormat.BGR, ImageFormat.RGB)


@dataclass(frozen=True, slots=True)
class DeviceImage:
    """One image in device memory (or in what stands in for it): addresses, and bytes from row to row.

    `chroma` and `chroma_pitch` are NV12's second plane; 0: it follows the first one's last row, at the same pitch.
    """

    format: ImageFormat
    address: int
    pitch: int
    chroma: int = 0
    chroma_pitch: int = 0


class Letterbox:
    """The way of images of one place and format into tensors of one kind. Made once a geometry, launched once a frame.

    `dtype` is the network's input type: float32, float16, or int8 with `int8_scale`, what one step stands for. The
    tensor is one image's, (3, height, width), or (height, width, 3) with `is_nhwc`. `taps` has to be copied into
    device memory once, as it is; its address goes into every launch. Raises `ValueError` for NV12 of odd sizes, and
    for a type that no kernel writes.
    """

    def __init__(
        self,
        pixels: Pixels,
        place: Geometry,
        image_format: ImageFormat,
        dtype: Any = np.float32,
        *,
        int8_scale: float = 1.0,
        is_nhwc: bool = False,
    ) -> None:
        name = np.dtype(dtype).name
        if name not in _KERNELS:
            raise ValueError(f"a network's input of {name} is written by no kernel; use one of {', '.join(_KERNELS)}")
        is_nv12 = image_format.is_nv12
        if is_nv12 and (place.source_width % 2 or place.source_height % 2):
            raise ValueError(f"NV12 of {place.source_width}x{place.source_height} has half a pixel of colour")
        self.format = image_format
        self.taps: Taps = taps(place)
        self._kernel = _KERNELS[name]
        self._place = place
        normalisation = pixels.normalisation()
        width, height = place.input_width, place.input_height
        plane, row, column = (1, 3 * width, 3) if is_nhwc else (width * height, width, 1)
        order = "RGB" if image_format is ImageFormat.RGB else "BGR"  # NV12 becomes BGR on the way
        self._same = {
            "plane_stride": plane,
            "row_stride": row,
            "column_stride": column,
            "is_nv12": is_nv12,
            **(asdict(coefficients(PixelFormat(image_format.value))) if is_nv12 else _NO_COLOURS),
            "is_reversed": order != pixels.colour,
            "left": place.left,
            "top": place.top,
            "width": place.width,
            "height": place.height,
            "gain": normalisation.gain,
            "bias": normalisation.bias,
            "pad": normalisation.padding,
            "int8_scale": int8_scale,
        }

    def launch(self, image: DeviceImage, taps_address: int, tensor_address: int, *, is_padded: bool = False) -> Launch:
        """Write `image` into the tensor. `is_padded`: the tensor still has the padding of an image at this place.

        Raises `ValueError` for an image of another format.
        """
        if image.format is not self.format:
            raise ValueError(f"an image in {image.format.value} where {self.format.value} was agreed upon")
        place = self._place
        region = (
            (place.left, place.top, place.width, place.height)
            if is_padded
            else (0, 0, place.input_width, place.input_height)
        )
        arguments = packed(
            LETTERBOX_ARGUMENTS,
            image=image.address,
            chroma=image.chroma or image.address + image.pitch * place.source_height,
            columns=taps_address,
            rows=taps_address + place.width * TAP.itemsize,
            tensor=tensor_address,
            image_pitch=image.pitch,
            chroma_pitch=image.chroma_pitch or image.pitch,
            region_left=region[0],
            region_top=region[1],
            region_width=region[2],
            region_height=region[3],
            **self._same,
        )
        grid = blocks(region[2], BLOCK[0]), blocks(region[3], BLOCK[1])
        return Launch(self._kernel, arguments, grid, BLOCK)


@lru_cache(maxsize=64)
def taps(place: Geometry) -> Taps:
    """Weights of the columns, then of the rows, of an image scaled to `place`: (width + height,) of `TAP`.

    OpenCV's `resize` with INTER_LINEAR, 8 bits a channel: positions in double, rounded to float before the whole
    part is taken off; weights in 1/2048, ties to even. Outside the outermost pixels' centres the edge counts twice.
    """
    both = np.concatenate([_axis(place.source_width, place.width), _axis(place.source_height, place.height)])
    both.setflags(write=False)
    return both


def _axis(source: int, scaled: int) -> Taps:
    position = ((np.arange(scaled) + 0.5) * (source / scaled) - 0.5).astype(np.float32)
    first = np.floor(position)
    share = position - first
    axis = np.zeros(scaled, TAP)
    axis["first"] = np.clip(first, 0, source - 1)
    axis["second"] = np.clip(first + 1, 0, source - 1)
    axis["first_weight"] = np.rint((np.float32(1) - share) * np.float32(_WEIGHT_ONE))
    axis["second_weight"] = np.rint(share * np.float32(_WEIGHT_ONE))
    return axis
