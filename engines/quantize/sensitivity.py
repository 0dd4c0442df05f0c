"""Which layers hurt in INT8, and the fewest of them that have to stay in float."""

from __future__ import annotations

from collections.abc import Callable, Sequence


def most_harmful_first(layers: Sequence[str], harm_of: Callable[[str], float]) -> list[str]:
    """Layers by the harm that each does, the worst first."""
    harm = {layer: harm_of(layer) for layer in layers}
    return sorted(layers, key=lambda layer: -harm[layer])


def fewest_in_float(ranked: Sequence[str], passes: Callable[[Sequence[str]], bool]) -> int | None:
    """How many of the worst layers have to stay in float, at least one, for `passes`; None where not even all but one.

    Bisection: it takes for granted that more layers in float are no worse. All of them in float is the float network,
    which is no answer, and is not tried.
    """
    low, high = 1, len(ranked)  # the float network passes
    while low < high:
        middle = (low + high) // 2
        if passes(ranked[:middle]):
            high = middle
        else:
            low = middle + 1
    return low if low < len(ranked) else None
