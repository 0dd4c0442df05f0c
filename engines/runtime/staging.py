"""An image's way into a network's input on the device, on one slot's stream: by the fused kernel, or by the CPU.

The kernel reads the image as it came, so that it alone is copied. Where no kernel could be compiled the CPU letterboxes
straight into page-locked memory, and the finished tensor is copied: the same answer, for some 2 ms of a core.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from engines.letterbox import Geometry, Pixels, Preprocessor
from engines.runtime.cuda import Buffer, Cuda, Stream
from engines.runtime.plan_session import PlanTensor
from sensors.frame import PixelFormat

MAX_PLACES = 16  # sizes of images whose weights a slot keeps; a camera has one

WrittenImage = NDArray[np.uint8]


class Staging(Protocol):
    """One slot's. A row is written only when nothing of it is being read or written by the device any more."""

    @property
    def address(self) -> int:
        """Of the network's input on the device."""

    def write(
        self, row: int, image: WrittenImage, place: Geometry, kind: PixelFormat, stream: Stream, copied: Any
    ) -> None:
        """Put the image, whose pixels are of this kind, on its way; record `copied` behind the copy.

        The image may be released when this returns.
        """

    def settled(self) -> None:
        """Hear that the device has come to all that was written: nothing is kept for it any more."""


MakeStaging = Callable[[Cuda], Staging]


class OnHost:
    """The CPU's letterbox into page-locked memory."""

    def __init__(self, cuda: Cuda, preprocessor: Preprocessor, tensor: PlanTensor, *, is_nhwc: bool) -> None:
        self._cuda = cuda
        self._preprocessor = preprocessor
        self._buffer = Buffer(cuda, tensor.size)
        whole = self._buffer.host.array[: tensor.size].view(tensor.dtype).reshape(tensor.shape)
        self._target = whole.transpose(0, 3, 1, 2) if is_nhwc else whole
        self._floats = self._target if tensor.dtype == np.float32 else np.zeros(self._target.shape, np.float32)
        self._row_size = tensor.size // len(whole)
        self._places: list[Geometry | None] = [None] * len(whole)  # of the image that a row's memory holds

    @property
    def address(self) -> int:
        """Of the network's input on the device."""
        return self._buffer.address

    def write(
        self, row: int, image: WrittenImage, place: Geometry, kind: PixelFormat, stream: Stream, copied: Any
    ) -> None:
        """Letterbox, then copy the tensor."""
        is_padded, self._places[row] = self._places[row] == place, None  # until the image is there
        self._preprocessor.write(image, place, self._floats[row], kind, is_padded=is_padded)
        self._places[row] = place
        if self._floats is not self._target:
            np.copyto(self._target[row], self._floats[row], casting="same_kind")
        self._buffer.copy_in(self._row_size, stream, row * self._row_size)
        self._cuda.record(copied, stream)

    def settled(self) -> None:
        """Nothing is kept."""


class OnDevice:
    """The fused kernel. `kernels` gives a loaded kernel by its name."""

    def __init__(
        self, cuda: Cuda, kernels: Callable[[str], Any], pixels: Pixels, tensor: PlanTensor, *, is_nhwc: bool
    ) -> None:
        self._cuda = cuda
        self._kernels = kernels
        self._pixels = pixels
        self._dtype = tensor.dtype
        self._is_nhwc = is_nhwc
        rows = tensor.shape[0]
        self._input = cuda.device_memory(tensor.size)
        self._row_size = tensor.size // rows
        self._images = [Buffer(cuda, 1) for _ in range(rows)]
        # The kernel's launches, and its weights; those that made room for others, while a kernel may still read them.
        self._places: dict[tuple[Geometry, PixelFormat], tuple[Any, Buffer]] = {}
        self._left: list[tuple[Any, Buffer]] = []
        self._padded: list[Geometry | None] = [None] * rows  # the place whose padding a row of the input holds

    @property
    def address(self) -> int:
        """Of the network's input on the device."""
        return self._input.address

    def write(
        self, row: int, image: WrittenImage, place: Geometry, kind: PixelFormat, stream: Stream, copied: Any
    ) -> None:
        """Copy the image, then launch."""
        from engines.runtime.kernels.letterbox import DeviceImage, ImageFormat

        if self._images[row].size < image.nbytes:  # the first image of its size: a camera does not change it
            self._images[row] = Buffer(self._cuda, image.nbytes)
        letterbox, weights = self._at(place, kind, stream)
        memory = self._images[row]
        np.copyto(memory.host.array[: image.nbytes].reshape(image.shape), image)
        memory.copy_in(image.nbytes, stream)
        self._cuda.record(copied, stream)
        pitch = image.shape[1] * (1 if kind.is_nv12 else 3)
        launch = letterbox.launch(
            DeviceImage(ImageFormat(kind.value), memory.address, pitch),
            weights.address,
            self._input.address + row * self._row_size,
            is_padded=self._padded[row] == place,
        )
        self._padded[row] = None
        width, height = launch.grid
        self._cuda.launch(
            self._kernels(launch.kernel), (width, height, 1), launch.block, launch.arguments.tobytes(), stream
        )
        self._padded[row] = place

    def settled(self) -> None:
        """Let go of the weights that made room for others."""
        self._left.clear()

    def _at(self, place: Geometry, kind: PixelFormat, stream: Stream) -> tuple[Any, Buffer]:
        """The launches for images of a place, whose weights are copied to the device once."""
        from engines.runtime.kernels.letterbox import ImageFormat, Letterbox

        known = self._places.get((place, kind))
        if known is None:
            while len(self._places) >= MAX_PLACES:
                self._left.append(self._places.pop(next(iter(self._places))))
            letterbox = Letterbox(self._pixels, place, ImageFormat(kind.value), self._dtype, is_nhwc=self._is_nhwc)
            weights = Buffer(self._cuda, letterbox.taps.nbytes)
            weights.host.array[: weights.size] = letterbox.taps.view(np.uint8).ravel()
            weights.copy_in(weights.size, stream)
            known = self._places[place, kind] = letterbox, weights
        return known
