"""One image file into 8-bit BGR, or the reason why not."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from sensors.drives.whole_image import missing_end


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
    data = read_file(file)
    lack = missing_end(data)
    if lack is not None:
        raise UnreadableFileError(f"{file.name}: is cut short: {lack}")
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except (cv2.error, MemoryError) as error:  # sizes that OpenCV refuses
        told = getattr(error, "err", "") or "there is not enough memory"  # without the place in OpenCV's sources
        raise UnreadableFileError(f"{file.name}: cannot be decoded: {told}") from None
    if image is None:
        raise UnreadableFileError(f"{file.name}: is damaged, or not an image")
    return image.astype(np.uint8, copy=False)
