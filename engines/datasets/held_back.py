"""Which drives are held back to judge by. Neighbouring frames show the same scene, so a drive is never divided."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping


def held_back(drives: Mapping[str, int], share: float) -> list[str]:
    """Choose among two drives or more, name -> number of images: one at least is held back, and one is left.

    In the order of a hash of their names, which a further drive does not change, each drive is held back that brings
    the images held back nearer to `share` of all.
    """
    order = sorted(drives, key=lambda drive: hashlib.sha256(drive.encode()).digest())
    held: list[str] = []
    count, wanted = 0, share * sum(drives.values())
    for drive in order:
        is_nearer = abs(count + drives[drive] - wanted) < abs(count - wanted)
        if is_nearer and len(held) < len(drives) - 1:
            held.append(drive)
            count += drives[drive]
    return held or [min(order, key=lambda drive: drives[drive])]
