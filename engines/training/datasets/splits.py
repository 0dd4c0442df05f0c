"""Splits by drive: neighbouring frames show the same scene, so both sides of a split never hold frames of one drive."""

from __future__ import annotations

import re
from collections.abc import Sequence

from engines.datasets import LabelledImage
from engines.datasets.held_back import held_back
from engines.errors import DatasetError


def split_by_drive(
    images: Sequence[LabelledImage], pattern: str, val_share: float
) -> dict[str, tuple[LabelledImage, ...]]:
    """Put whole drives into `train` and `val`; both hold one at least.

    The first group of the regular expression `pattern`, searched for in a file's name (in its path, where the pattern
    has a slash), names its drive; `held_back` says which go to val. Raises `DatasetError`.
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
    held = held_back({drive: len(of_drive) for drive, of_drive in drives.items()}, val_share)
    return {
        "train": tuple(image for drive in drives if drive not in held for image in drives[drive]),
        "val": tuple(image for drive in drives if drive in held for image in drives[drive]),
    }
