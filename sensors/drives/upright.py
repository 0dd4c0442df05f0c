"""A decoded picture as a person would see it: BGR, turned upright, with square pixels."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import av
import av.filter
import cv2
import numpy as np
from numpy.typing import NDArray

from sensors.frame import PixelFormat

# PyAV's `VideoFrame.rotation` is counter-clockwise degrees. Compared with what OpenCV shows of the same
# files: phone clips stored with -90 need a turn clockwise.
_TURNS = {
    -90: cv2.ROTATE_90_CLOCKWISE,
    270: cv2.ROTATE_90_CLOCKWISE,
    90: cv2.ROTATE_90_COUNTERCLOCKWISE,
    -270: cv2.ROTATE_90_COUNTERCLOCKWISE,
    180: cv2.ROTATE_180,
    -180: cv2.ROTATE_180,
}

# Real anamorphic video lies between 1:2 and 2:1. What is far outside is a damaged header, and would ask
# for images of gigabytes.
_WIDEST_PIXEL = 4


class UprightBgr:
    """Turns one video's decoded pictures into images. For one thread.

    `pixel_aspect` is a pixel's width over its height. Where it is not 1 the *short* side of the pixel is
    stretched, so that nothing the sensor saw is thrown away: 640x360 at 2:3 becomes 640x540.
    """

    def __init__(self, pixel_aspect: Fraction | None) -> None:
        aspect = pixel_aspect or Fraction(1)
        is_plausible = Fraction(1, _WIDEST_PIXEL) <= aspect <= _WIDEST_PIXEL
        self._aspect = aspect if is_plausible else Fraction(1)
        self._conversion: av.filter.Graph | None = None
        self._converts: tuple[object, ...] = ()  # the kind of picture that the conversion is made for

    def pixels(self, picture: Any) -> tuple[NDArray[np.uint8], PixelFormat]:
        """Give the image, and how it holds its pixels. Raises as `image` does."""
        return self.image(picture), PixelFormat.BGR

    def image(self, picture: Any) -> NDArray[np.uint8]:
        """Give (H, W, 3) uint8 BGR; rows may be padded, pixels within a row are not.

        The common case, upright with square pixels, is a view of FFmpeg's own memory, which the array
        keeps alive. Raises av.FFmpegError or ValueError where the picture cannot be converted.
        """
        converted = self._converted(picture)
        plane = converted.planes[0]
        rows = np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, plane.line_size)
        image = rows[:, : plane.width * 3].reshape(plane.height, plane.width, 3)
        if self._aspect != 1:
            image = cv2.resize(image, self._square_size(plane.width, plane.height)).astype(np.uint8, copy=False)
        turn = _TURNS.get(round(picture.rotation))
        return image if turn is None else cv2.rotate(image, turn).astype(np.uint8, copy=False)

    def _converted(self, picture: Any) -> Any:
        """Convert to BGR, the same pixels as PyAV's `to_ndarray(format="bgr24")`.

        By a filter graph and not by `reformat`, because a graph keeps a pool of buffers: `reformat` asks
        the system for fresh pages each time, 0.4 to 0.8 ms of a 720p picture's 2.1 to 2.9.
        """
        kind = (picture.width, picture.height, picture.format.name, picture.colorspace, picture.color_range)
        if self._conversion is None or kind != self._converts:
            self._conversion, self._converts = _conversion_to_bgr(picture), kind
        try:
            self._conversion.push(picture)
            return self._conversion.pull()
        except (av.FFmpegError, ValueError):
            self._conversion = None  # a graph that has failed once takes no more
            raise

    def leaves_as_it_is(self, picture: Any) -> bool:
        """Whether a picture is upright already and has square pixels."""
        return self._aspect == 1 and round(picture.rotation) not in _TURNS

    def size(self, picture: Any) -> tuple[int, int]:
        """Give the width and height that `image` will have, without converting."""
        width, height = self._square_size(picture.width, picture.height)
        is_on_its_side = round(picture.rotation) % 180 == 90
        return (height, width) if is_on_its_side else (width, height)

    def _square_size(self, width: int, height: int) -> tuple[int, int]:
        if self._aspect >= 1:
            return max(1, round(width * self._aspect)), height
        return width, max(1, round(height / self._aspect))


def _conversion_to_bgr(picture: Any) -> av.filter.Graph:
    graph = av.filter.Graph()
    graph.threads = 1  # the default takes every core for a conversion of 0.3 ms, and the others have work
    # The time base is not used, but has to be given.
    source = graph.add_buffer(
        width=picture.width, height=picture.height, format=picture.format, time_base=Fraction(1, 1000)
    )
    graph.link_nodes(
        source, graph.add("scale", "flags=bilinear"), graph.add("format", "bgr24"), graph.add("buffersink")
    ).configure()
    return graph
