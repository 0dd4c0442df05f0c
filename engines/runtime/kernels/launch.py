"""One kernel's launch, as plain values: whoever has a device, or a host that stands in for one, can make it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True, slots=True)
class Launch:
    """A kernel and all that its launch needs. With pycuda, asynchronously on a stream:

        functions[launch.kernel](launch.arguments, grid=launch.grid, block=launch.block, stream=stream)

    `arguments` is the kernel's one parameter, a struct passed by value: a structured NumPy scalar with the device
    addresses in it. With the driver's own API it is `arguments.tobytes()`, at which `kernelParams[0]` points. No
    kernel takes dynamic shared memory.
    """

    kernel: str
    arguments: np.void
    grid: tuple[int, int]
    block: tuple[int, int, int]


def packed(layout: np.dtype[Any], **values: Any) -> np.void:
    """A struct of this layout with every field set. Raises `TypeError` where a field is missing or unknown."""
    names = set(layout.names or ())
    if names != set(values):
        raise TypeError(f"fields {', '.join(sorted(names ^ set(values)))} do not fit")
    struct = np.zeros(1, layout)
    for name, value in values.items():
        struct[name] = value
    scalar: np.void = struct[0]
    return scalar


def blocks(size: int, of: int) -> int:
    """Blocks of `of` threads that cover `size`; at least one, as CUDA wants."""
    return max(1, -(-size // of))
