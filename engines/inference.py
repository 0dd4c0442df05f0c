"""A loaded bundle over pictures that are at hand: no drive, no clock, no stream. For measuring, not for running."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from engines.bundle import LABELS, Bundle
from engines.decoders import build_decoder
from engines.decoders.decoder import Decoder
from engines.errors import BundleError
from engines.letterbox import Geometry
from engines.results import Found, Thresholds
from engines.runtime import Engine


def decoder_for(bundle: Bundle, engine: Engine) -> Decoder:
    """Make the decoder that a bundle names, for the outputs that its engine really gives.

    Raises `BundleError` where the two, or the labels, do not fit together.
    """
    engine.submit(0, 1)  # what lies in the slot does not matter: only the outputs' shapes are looked at
    outputs = engine.wait(0).rows[0]
    settings = bundle.settings
    shapes = {role: outputs[role].shape for role in settings.outputs}  # in the labels' order
    decoder = build_decoder(settings.decoder, shapes, settings.input.width, settings.input.height)
    if decoder.class_count != len(bundle.labels):
        raise BundleError(
            str(bundle.folder / LABELS),
            f"names {len(bundle.labels)} classes, and the network has {decoder.class_count}",
            "write one line a class, or import the network again",
        )
    return decoder


def found_on(
    engine: Engine,
    decoder: Decoder,
    pictures: Iterable[tuple[NDArray[np.uint8], Geometry]],
    thresholds: Thresholds,
) -> Iterator[Found]:
    """Give what is found on each picture (H, W, 3) BGR, in order. The next one is read while one is inferred.

    Raises `EngineError`, `NonFiniteOutputError`; as many results came before as there were pictures before that one.
    """
    in_flight: deque[tuple[int, Geometry]] = deque()
    for number, (pixels, place) in enumerate(pictures):
        slot = number % engine.slots
        engine.stage(slot, 0, pixels, place)
        engine.submit(slot, 1)
        if in_flight:
            yield _finish(engine, decoder, thresholds, *in_flight.popleft())
        in_flight.append((slot, place))
    while in_flight:
        yield _finish(engine, decoder, thresholds, *in_flight.popleft())


def _finish(engine: Engine, decoder: Decoder, thresholds: Thresholds, slot: int, place: Geometry) -> Found:
    return decoder.decode(engine.wait(slot).rows[0], place, thresholds)
