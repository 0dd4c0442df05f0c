"""How far activations reach: histograms over real frames, and the scale that each method makes of one.

Scales are symmetric, as TensorRT wants them: a value is `scale * q`, q from -128 to 127, so only magnitudes count.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from engines.errors import BundleError
from engines.quantize.float_network import FloatNetwork
from engines.runtime.onnxruntime import open_session

BINS = 2048
_LEVELS = 128  # magnitudes of a signed byte, 0 included
_PERCENTILE = 0.9999
_SMALLEST = 1e-8  # of a scale: a tensor that is 0 on every frame
_CLIPS_TRIED = 96  # between a tenth of the largest magnitude and all of it

Histogram = NDArray[np.float64]  # (BINS,) counts of magnitudes from 0 to the largest


class Ranges:
    """Magnitudes of some tensors over some inputs: the largest, and a histogram of all."""

    def __init__(self, largest: Mapping[str, float], histograms: Mapping[str, Histogram]) -> None:
        self._largest = largest
        self._histograms = histograms

    def scale(self, tensor: str, method: str) -> float:
        """The value of one step. `method` is one of `METHODS`."""
        largest = self._largest[tensor]
        clip = METHODS[method](self._histograms[tensor]) * largest
        return max(clip / (_LEVELS - 1), _SMALLEST)


def measure_ranges(
    network: FloatNetwork,
    tensors: Sequence[str],
    inputs: Callable[[], Iterable[NDArray[np.float32]]],
    threads: int,
) -> Ranges:
    """Run the network over its inputs (1, ...) twice: once for the largest magnitudes, once for the histograms."""
    run = _probe(network, tensors, threads)
    largest = dict.fromkeys(tensors, 0.0)
    for values in map(run, inputs()):
        for name, value in zip(tensors, values, strict=True):
            magnitude = max(float(value.max(initial=0)), -float(value.min(initial=0)))
            if not np.isfinite(magnitude):  # NaN too: max and min give it on
                what = f"its tensor {name!r} holds NaN or infinity on a frame"
                raise BundleError(network.where, what, "export the network again")
            largest[name] = max(largest[name], magnitude)
    histograms = {name: np.zeros(BINS) for name in tensors}
    for values in map(run, inputs()):
        for name, value in zip(tensors, values, strict=True):
            if largest[name] > 0:
                places = (np.abs(value) / np.float32(largest[name]) * np.float32(BINS - 1)).astype(np.int32)
                histograms[name] += np.bincount(places.ravel(), minlength=BINS)
    return Ranges(largest, histograms)


def _probe(
    network: FloatNetwork, tensors: Iterable[str], threads: int
) -> Callable[[NDArray[np.float32]], list[NDArray[np.float32]]]:
    """A session that gives the values of these tensors, the network's own input among them where it is asked for."""
    proto = onnx.ModelProto()
    proto.CopyFrom(network.proto)
    image = proto.graph.input[0].name
    inner = [name for name in tensors if name != image]
    del proto.graph.output[:]
    proto.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in inner)
    session = open_session(proto.SerializeToString(), threads) if inner else None

    def run(fed: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        found: dict[str, Any] = {image: fed}
        if session is not None:
            found |= zip(inner, session.run(inner, {image: fed}), strict=True)
        return [found[name] for name in tensors]

    return run


# --- what part of the largest magnitude is kept; the rest saturates -----------------------------------------------


def _minmax(_histogram: Histogram) -> float:
    return 1.0


def _percentile(histogram: Histogram) -> float:
    total = histogram.sum()
    if not total:
        return 1.0
    reached = np.searchsorted(np.cumsum(histogram), _PERCENTILE * total)
    return float((min(int(reached), BINS - 1) + 1) / BINS)


def _mse(histogram: Histogram) -> float:
    """The clip with the smallest mean squared error of quantising (rounding inside, saturation outside)."""
    magnitudes = (np.arange(BINS) + 0.5) / BINS
    clips = np.linspace(0.1, 1.0, _CLIPS_TRIED)
    steps = clips[:, None] / (_LEVELS - 1)
    quantised = np.minimum(np.rint(magnitudes / steps), _LEVELS - 1) * steps
    errors = ((quantised - magnitudes) ** 2) @ histogram
    return float(clips[int(errors.argmin())])


def _entropy(histogram: Histogram) -> float:
    """The clip after which 128 levels tell most of what the histogram told: least Kullback-Leibler divergence.

    The method of S. Migacz, "8-bit Inference with TensorRT", GTC 2017. Zeros are left out, since they are exact at
    any scale, and after a ReLU there are so many that they decide alone.
    """
    counts = histogram.copy()
    counts[0] = 0
    if not counts.any():
        return 1.0
    best, best_divergence = BINS, np.inf
    for kept in range(_LEVELS, BINS + 1, 16):
        inside = counts[:kept]
        reference = inside.copy()
        reference[-1] += counts[kept:].sum()
        groups = (np.arange(kept) * _LEVELS) // kept
        sums = np.bincount(groups, inside, _LEVELS)
        filled = np.bincount(groups, inside > 0, _LEVELS)
        spread = np.divide(sums, filled, out=np.zeros(_LEVELS), where=filled > 0)
        candidate = np.where(inside > 0, spread[groups], 0)
        if not candidate.any():
            continue
        divergence = _divergence(reference, candidate)
        if divergence < best_divergence:
            best, best_divergence = kept, divergence
    return best / BINS


def _divergence(reference: Histogram, candidate: Histogram) -> float:
    """Kullback-Leibler, of two unnormalised histograms; where the candidate has nothing, a small part of all."""
    p = reference / reference.sum()
    q = candidate / candidate.sum()
    there = p > 0
    return float(np.sum(p[there] * np.log(p[there] / np.maximum(q[there], 1e-9))))


METHODS: Mapping[str, Callable[[Histogram], float]] = {
    "minmax": _minmax,
    "percentile": _percentile,
    "entropy": _entropy,
    "mse": _mse,
}
