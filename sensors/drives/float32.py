"""Numbers of any type as float32, as clouds and scans hold them."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def as_float32(values: ArrayLike) -> NDArray[np.float32]:
    """The nearest float32; what lies beyond its range, as damaged files have it, becomes infinite."""
    with np.errstate(over="ignore", invalid="ignore"):
        return np.asarray(values).astype(np.float32)
