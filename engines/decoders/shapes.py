"""What the shapes of a network's outputs say, and how they are told to a person."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from engines.decoders.decoder import MisfitError, Shapes


def in_words(shapes: Iterable[tuple[Any, ...]]) -> str:
    """Shapes as a sentence has them: "2 outputs of [1,2,360,640] and [1,7,2]"; equal ones are named once."""
    texts = ["[" + ",".join("?" if size is None else str(size) for size in shape) + "]" for shape in shapes]
    if not texts:
        return "no output"
    count = "1 output" if len(texts) == 1 else f"{len(texts)} outputs"
    return f"{count} of {' and '.join(dict.fromkeys(texts))}"


def without_batch(shapes: Shapes, expected: str) -> dict[str, tuple[int, int]]:
    """Every output as (rows, columns), a leading batch axis of 1 taken away.

    Raises `MisfitError`, which begins with `expected`, where an output has another rank or batch, or a
    size that the file leaves open (None, a name, or not positive).
    """
    plain: dict[str, tuple[int, int]] = {}
    for name, shape in shapes.items():
        if not all(isinstance(size, int) and size > 0 for size in shape):
            raise MisfitError(f"{expected}, in fixed sizes; found {in_words(shapes.values())}")
        if len(shape) == 3 and shape[0] == 1:
            plain[name] = (shape[1], shape[2])
        elif len(shape) == 2:
            plain[name] = (shape[0], shape[1])
        else:
            raise MisfitError(f"{expected}; found {in_words(shapes.values())}")
    return plain


def only_role(shapes: Mapping[str, object], role: str) -> None:
    """Raise `MisfitError` unless `shapes` has this one role and no other."""
    if set(shapes) != {role}:
        named = ", ".join(sorted(shapes)) or "none"
        raise MisfitError(f"expected the one role {role!r}; found {named}")
