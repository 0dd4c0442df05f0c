"""One image file into 8-bit BGR, or the reason why not."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from sensors.drives.whole_image import missing_end
from sensors.frame import CodedImage


class UnreadableFileError(Exception):
    """A file that was captured and cannot be read; the text says why, for a `Fault`."""


def read_file(file: Path) -> bytes:
    """Read a file that is there and not empty. Raises `UnreadableFileError`."""
    try:
        data = file.read_bytes()
    except OSError as error:
        raise UnreadableFileError(f"{file.name}: cannot be read: {error.strerror}") from None
    if not data:
        raise UnreadableFileError(f"{file.name}: is empty (0 bytes)")
    return data


def read_image(file: Path) -> NDArray[np.uint8]:
    """Read (H, W, 3) BGR as OpenCV makes it: grey repeated, alpha dropped, 16 bits to 8, EXIF orientation applied.

    Raises `UnreadableFileError`, also where the file was cut short, which decoders fill with grey.
    """
    return decode_image(read_file(file), file.name)


def read_coded_image(file: Path) -> tuple[NDArray[np.uint8], CodedImage]:
    """As `read_image`, and the file itself beside it."""
    data = read_file(file)
    return decode_image(data, file.name), CodedImage(image_format(data), data)


def image_format(data: bytes) -> str:
    """What a file's first bytes say that it is: jpeg, png, webp, or other."""
    if data.startswith(b"\xff\xd8"):
        return "jpeg"
    if data.startswith(b"\x89PNG"):
        return "png"
    return "webp" if data.startswith(b"RIFF") and data[8:12] == b"WEBP" else "other"


def decode_image(data: bytes, name: str) -> NDArray[np.uint8]:
    """The image that a file's bytes hold, as `read_image` gives it; `name` is for the `UnreadableFileError`."""
    lack = missing_end(data)
    if lack is not None:
        raise UnreadableFileError(f"{name}: is cut short: {lack}")
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) if data else None
    except (cv2.error, MemoryError) as error:  # sizes that OpenCV refuses
        told = getattr(error, "err", "") or "there is not enough memory"  # without the place in OpenCV's sources
        raise UnreadableFileError(f"{name}: cannot be decoded: {told}") from None
    if image is None:
        raise UnreadableFileError(f"{name}: is damaged, or not an image")
    return image.astype(np.uint8, copy=False)
