"""The Decoder contract: a network's raw outputs -> results in source pixels."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from engines.letterbox import Geometry, Pixels
from engines.reduction import Reduction
from engines.results import Found, Thresholds

# One image's outputs by role, without a batch axis. Views into the engine's memory: read, never kept.
Outputs: TypeAlias = Mapping[str, NDArray[Any]]
# Output name -> shape with batch axis 1 where the network has one, in the network's order.
Shapes: TypeAlias = Mapping[str, tuple[int, ...]]


NO_GROUPS: Mapping[str, int] = MappingProxyType({})  # of per-pixel classes: a detector has none


class MisfitError(Exception):
    """A network's outputs are not of this decoder's layout; the text says in what they differ."""


class NonFiniteOutputError(Exception):
    """An output holds NaN or infinity where it decides: the inference is worthless, whatever the threshold."""


class Decoder(Protocol):
    """Decodes one family of networks. Pure and stateless: any thread, any order.

    `match` recognises the family: it pairs roles with output names (`roles`, as stored in bundle.toml) or
    raises `MisfitError`. An instance is made for one network: its roles' shapes and its input size.
    """

    name: ClassVar[str]
    pixels: ClassVar[Pixels]  # how this family usually wants its input; a bundle may differ

    @classmethod
    def match(cls, shapes: Shapes, input_width: int, input_height: int) -> dict[str, str]: ...

    def __init__(self, shapes: Shapes, input_width: int, input_height: int) -> None:
        """`shapes` is by role here. Raises `MisfitError`."""

    @property
    def class_count(self) -> int: ...

    @property
    def groups(self) -> Mapping[str, int]:
        """Classes of each group where a pixel has one of each, in the labels' order; empty for detectors."""

    @property
    def reduction(self) -> Reduction | None:
        """What a device may do of this decoding; None where it has to copy out everything.

        An engine that does it gives the roles of `engines.reduction` in place of the raw outputs; `decode` takes both.
        """

    def decode(self, outputs: Outputs, geometry: Geometry, thresholds: Thresholds) -> Found:
        """Boxes in source pixels, clipped, best score first; or class maps that cover exactly the image.

        Raises `NonFiniteOutputError` where a score that is compared, or a value of a candidate's row, is not
        finite: such a value never makes, moves or hides a detection. In a class map every value of the image decides.
        """


def check_finite(role: str, values: NDArray[Any]) -> None:
    """Raise `NonFiniteOutputError` where some of an output's values are NaN or infinite.

    Only for values that decide: reading all that the inference wrote on another core takes a quarter of a whole
    decode, and the box of a cell that nobody looks at may well be infinite. Value by value: a sum takes twice
    as long and warns of infinities, or of large values that add up to one.
    """
    if not np.isfinite(values).all():
        raise NonFiniteOutputError(f"output {role!r} holds NaN or infinity")
