"""Splits by drive: neighbouring frames show the same scene, so both sides of a split never hold frames of one drive."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

from engines.datasets import LabelledImage
from engines.errors import DatasetError


def split_by_drive(
    images: Sequence[LabelledImage], pattern: str, val_share: float
) -> dict[str, tuple[LabelledImage, ...]]:
    """Put whole drives into `train` and `val`; both hold one at least.

    The first group of the regular expression `pattern`, searched for in a file's name (in its path, where the pattern
    has a slash), names its drive. In the order of a hash of their names, which a further drive does not change, each
    drive goes to val that brings val nearer to `val_share` of the images. Raises `DatasetError`.
    """
    drives: dict[str, list[LabelledImage]] = {}
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise DatasetError(f"drives.pattern {pattern!r}", f"is no regular expression ({error})", "mend it") from None
    if not compiled.groups:
        raise DatasetError(
            f"drives.pattern {pattern!r}", "has no group", r"put the drive's name into (), as in ^(.+)_\d+"
        )
    for image in images:
        found = compiled.search(image.path.as_posix()) if "/" in pattern else compiled.search(image.path.name)
        if found is None or not found.group(1):
            raise DatasetError(str(image.path), f"has no drive by the pattern {pattern!r}", "mend drives.pattern")
        drives.setdefault(found.group(1), []).append(image)
    if len(drives) < 2:
        raise DatasetError(
            f"drives.pattern {pattern!r}",
            f"finds {len(drives)} drive in {len(images)} images",
            "a split takes two drives at least; record another, or give a dataset of its own as val",
        )
    order = sorted(drives, key=lambda drive: hashlib.sha256(drive.encode()).digest())
    held: list[str] = []
    count, wanted = 0, val_share * len(images)
    for drive in order:
        size = len(drives[drive])
        is_nearer = abs(count + size - wanted) < abs(count - wanted)
        if is_nearer and len(held) < len(drives) - 1:
            held.append(drive)
            count += size
    if not held:
        held = [min(order, key=lambda drive: len(drives[drive]))]
    return {
        "train": tuple(image for drive in drives if drive not in held for image in drives[drive]),
        "val": tuple(image for drive in drives if drive in held for image in drives[drive]),
    }
