"""The search for what stays in float: which layers hurt in INT8, and how few of them have to be left.

Each layer is tried alone in INT8 and ranked by what is then no longer found. How many of the worst have to stay in
float is bisected, judged each time by the whole verdict.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

from engines.errors import CalibrationRefusedError
from engines.quantize.float_network import FloatNetwork
from engines.quantize.frames import Picture
from engines.quantize.judge import Judge, Limits, Verdict
from engines.quantize.placement import place, quantised
from engines.quantize.ranges import METHODS, Ranges

_METHODS_TRIED = 2  # at each step: the best with everything in INT8


class Search:
    """For the method, and the fewest layers in float, with which an INT8 network passes; `say` is told of each step."""

    def __init__(
        self,
        network: FloatNetwork,
        ranges: Ranges,
        judge: Judge,
        sample: Sequence[Picture],
        limits: Limits,
        weight_bits: int,
        say: Callable[[str], None],
    ) -> None:
        self._network = network
        self._ranges = ranges
        self._judge = judge
        self._sample = sample
        self._limits = limits
        self._weight_bits = weight_bits
        self._say = say
        self._objection = ""
        self._before = judge.float_found(sample)
        damages = {method: self._damage(method, ()) for method in METHODS}
        self._methods = sorted(damages, key=lambda method: damages[method])[:_METHODS_TRIED]
        kept = ", ".join(f"{method} {1 - damage:.3f}" for method, damage in damages.items())
        self._say(f"all {len(network.layers)} layers in INT8, share of what float finds that is kept: {kept}")

    def proto(self, method: str, left_in_float: Sequence[str]) -> Any:
        """One INT8 network, an `onnx.ModelProto`."""
        placement = place(self._network, frozenset(left_in_float))
        scales = {tensor: self._ranges.scale(tensor, method) for tensor in placement.tensors}
        return quantised(self._network, placement, scales, self._weight_bits)

    def fewest_in_float(self) -> tuple[str, tuple[str, ...], Verdict]:
        """Give the method, the layers that stay in float, and the verdict. Raises `CalibrationRefusedError`."""
        if passed := self._passing(()):
            return passed[0], (), passed[1]
        self._say(f"ranking {len(self._network.layers)} layers, each alone in INT8")
        found: dict[int, tuple[str, Verdict]] = {}

        def passes(left: Sequence[str]) -> bool:
            if passed := self._passing(left):
                found[len(left)] = passed
            return passed is not None

        count = fewest_in_float(self._ranked, passes)
        if count is None:
            remedy = "give more frames of the drives that it will see, allow more, or use it in float (FP16 on a GPU)"
            raise CalibrationRefusedError("calibration", f"no INT8 network is good enough: {self._objection}", remedy)
        method, verdict = found[count]
        return method, tuple(self._ranked[:count]), verdict

    @cached_property
    def _ranked(self) -> list[str]:
        """Layers, the one that does most harm alone in INT8 first."""
        layers = [layer.name for layer in self._network.layers]
        return most_harmful_first(
            layers, lambda alone: self._damage(self._methods[0], [layer for layer in layers if layer != alone])
        )

    def _damage(self, method: str, left_in_float: Sequence[str]) -> float:
        model = self.proto(method, left_in_float).SerializeToString()
        return self._judge.damage(model, self._sample, self._before)

    def _passing(self, left: Sequence[str]) -> tuple[str, Verdict] | None:
        """The first method that passes with these layers in float; None where none does."""
        for method in self._methods:
            verdict = self._judge.verdict(self.proto(method, left).SerializeToString(), self._limits)
            self._objection = verdict.objection(self._limits)
            self._say(f"{method}, {len(left)} in float: {self._objection or in_words(verdict)}")
            if not self._objection:
                return method, verdict
        return None


def in_words(verdict: Verdict) -> str:
    """A verdict as a person reads it."""
    worst = min(verdict.judgements, key=lambda judgement: judgement.agreement.share)
    text = f"finds {worst.agreement.share:.3f} of what float finds"
    if worst.accuracy is not None:
        before, after = worst.accuracy.before, worst.accuracy.after
        text += f", {after.measure} {after.value:.3f} (float {before.value:.3f})"
    return text if verdict.same is None else f"{text}, {verdict.same.share:.3f} the same on both engines"


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
