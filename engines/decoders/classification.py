"""Classification: one value a class, of the whole picture. What the picture is, with the next likely classes behind.

The role says what the values are: `logits`, of which the softmax is taken here, or `probabilities`, where the network
has taken it already. Shapes do not tell the two apart; an import looks at the values.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from engines.decoders.decoder import NO_GROUPS, MisfitError, Outputs, Shapes, check_finite
from engines.decoders.shapes import in_words
from engines.letterbox import Fit, Geometry, Pixels
from engines.results import Classification, Thresholds

LOGITS, PROBABILITIES = "logits", "probabilities"
TOP = 5  # classes that are given, as usual since ImageNet's top-5
_WANTED = "expected one output of [1,classes], at least 2 classes"


class Classifier:
    """Decodes `logits` or `probabilities` (classes,)."""

    name: ClassVar[str] = "classification"
    groups = NO_GROUPS
    reduction = None  # one value a class is little enough
    pixels: ClassVar[Pixels] = Pixels(colour="RGB", scale=1 / 255, fit=Fit.STRETCH)

    @classmethod
    def match(cls, shapes: Shapes, input_width: int, input_height: int) -> dict[str, str]:
        """Pair the role `logits` with the network's output. Raises `MisfitError`."""
        if len(shapes) != 1:
            raise MisfitError(f"{_WANTED}; found {in_words(shapes.values())}")
        (output,) = shapes
        cls({LOGITS: shapes[output]}, input_width, input_height)
        return {LOGITS: output}

    def __init__(self, shapes: Shapes, _input_width: int, _input_height: int) -> None:
        if len(shapes) != 1 or not {LOGITS, PROBABILITIES}.issuperset(shapes):
            named = ", ".join(sorted(shapes)) or "none"
            raise MisfitError(f"expected the one role {LOGITS!r} or {PROBABILITIES!r}; found {named}")
        ((self._role, shape),) = shapes.items()
        if not all(isinstance(size, int) and size > 0 for size in shape):
            raise MisfitError(f"{_WANTED}, in fixed sizes; found {in_words(shapes.values())}")
        if len(shape) not in (1, 2) or (len(shape) == 2 and shape[0] != 1) or shape[-1] < 2:
            raise MisfitError(f"{_WANTED}; found {in_words(shapes.values())}")
        self._class_count = shape[-1]

    @property
    def class_count(self) -> int:
        """Classes that the network tells apart."""
        return self._class_count

    def decode(self, outputs: Outputs, geometry: Geometry, thresholds: Thresholds) -> Classification:  # noqa: ARG002
        """The best classes, of equal ones the first. No threshold hides any. Raises `NonFiniteOutputError`."""
        check_finite(self._role, outputs[self._role])
        values = outputs[self._role].astype(np.float64)
        scores = softmax(values) if self._role == LOGITS else np.clip(values, 0, 1)
        best = np.argsort(-values, kind="stable")[:TOP]
        return Classification(best.astype(np.int32), scores[best].astype(np.float32))


def softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Shares (N,) that add up to 1, from any finite values (N,): the largest is taken off first, against overflow."""
    powers: NDArray[np.float64] = np.exp(logits - logits.max())
    shares: NDArray[np.float64] = powers / powers.sum()
    return shares


def are_probabilities(values: NDArray[np.floating]) -> bool:
    """Whether values (classes,) look as if the softmax had been taken already."""
    return bool(values.min() >= 0 and abs(float(values.sum(dtype=np.float64)) - 1) < 1e-2)
