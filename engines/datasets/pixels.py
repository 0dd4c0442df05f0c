"""Images of datasets as pixels: from files or from inside a zip file, and whole or not at all.

OpenCV 4 fills up a JPEG that is cut off with grey, and a network would learn from the grey;
so the end of the picture is looked for first.
"""

from __future__ import annotations

import os
import zipfile
import zlib
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.errors import DatasetError

IMAGE_SUFFIXES = {".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}
_REMEDY = "copy it again, or take it out of the dataset"
_END_OF_IMAGE = 0xD9
_WITHOUT_LENGTH = {0x01, *range(0xD0, 0xD9)}  # JPEG markers that stand alone (ITU-T T.81, B.1.1.3)


def read_pixels(path: Path) -> NDArray[np.uint8]:
    """The image (H, W, 3) BGR, turned as its EXIF says. Raises `DatasetError`."""
    pixels: NDArray[np.uint8] = _decoded(path, cv2.IMREAD_COLOR)
    return pixels


def read_mask(path: Path) -> NDArray[np.uint8]:
    """A mask's class ids (H, W). Raises `DatasetError`, also for a mask of colours."""
    mask = _decoded(path, cv2.IMREAD_UNCHANGED)
    if mask.ndim != 2 or mask.dtype != np.uint8:
        raise DatasetError(
            str(path), "is no mask of class ids", "a mask is an 8-bit grey PNG whose values are class ids"
        )
    return mask


def check_mask_size(path: Path, mask: NDArray[np.uint8], width: int, height: int) -> None:
    """Raise `DatasetError` where a mask is not of its image's size."""
    if mask.shape != (height, width):
        raise DatasetError(
            str(path), f"is {mask.shape[1]}x{mask.shape[0]}, and its image {width}x{height}", "make both one size"
        )


def _decoded(path: Path, flags: int) -> NDArray[Any]:
    try:
        content = content_of(path)
        if is_cut_off(content):
            raise DatasetError(str(path), "is cut off: the file ends before its picture does", _REMEDY)
        pixels = cv2.imdecode(np.frombuffer(content, np.uint8), flags) if content else None
    except (OSError, cv2.error):
        pixels = None
    if pixels is None:
        raise DatasetError(str(path), "cannot be read as an image", _REMEDY)
    return pixels


def content_of(path: Path) -> bytes:
    """The bytes of a file, or of an entry of a zip file that `path` leads into. Raises `OSError`."""
    archive = next((parent for parent in path.parents if parent.suffix.lower() == ".zip"), None)
    if archive is None or not archive.is_file():
        return path.read_bytes()
    try:
        return _opened(archive, os.getpid()).read(path.relative_to(archive).as_posix())
    except (KeyError, zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError) as error:
        raise OSError(str(error)) from None


@lru_cache(maxsize=8)
def _opened(archive: Path, _process: int) -> zipfile.ZipFile:
    """Each process opens a zip file for itself: a forked one would share the place where the other reads."""
    return zipfile.ZipFile(archive)


def is_cut_off(content: bytes) -> bool:
    """Whether a JPEG or PNG ends before its picture does. False for every other format."""
    if content.startswith(b"\x89PNG"):
        return b"IEND" not in content
    if content.startswith(b"\xff\xd8"):
        return not _reaches_end_of_jpeg(content)
    return False


def _reaches_end_of_jpeg(content: bytes) -> bool:
    """Whether the markers lead to an end of image. Thumbnails lie inside segments, which are skipped."""
    position = 2
    while (position := content.find(b"\xff", position)) >= 0 and position + 1 < len(content):
        marker = content[position + 1]
        if marker == _END_OF_IMAGE:
            return True
        if marker in {0x00, 0xFF} or marker in _WITHOUT_LENGTH:
            position += 1 if marker == 0xFF else 2  # 0xFF00 is a byte of data, 0xFFFF is padding
            continue
        position += 2 + int.from_bytes(content[position + 2 : position + 4], "big")
    return False
