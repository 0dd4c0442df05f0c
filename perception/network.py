"""A bundle made ready to run: its engine, its decoder, its thresholds, and how its objects are tracked."""

from __future__ import annotations

import sys
from dataclasses import dataclass

from engines.bundle import Bundle
from engines.decoders.decoder import Decoder
from engines.inference import decoder_for
from engines.results import Thresholds
from engines.runtime import AUTO, Engine, open_engine
from perception.tracking import TrackerSettings, vehicle_classes


@dataclass(frozen=True, slots=True)
class Network:
    """One network of a pipeline. Whoever opened it closes its engine."""

    bundle: Bundle
    engine: Engine
    decoder: Decoder
    thresholds: Thresholds
    tracking: TrackerSettings


def open_network(
    bundle: Bundle,
    *,
    engine: str = AUTO,
    slots: int = 2,
    threads: int = 1,
    thresholds: Thresholds | None = None,
) -> Network:
    """Load a bundle into an engine, warm, and make its decoder. Raises `BundleError`, `EngineError`."""
    opened = open_engine(bundle, engine, slots=slots, threads=threads)
    for note in opened.notes:
        print(f"{bundle.name} on {opened.name}: {note}", file=sys.stderr, flush=True)
    try:
        decoder = decoder_for(bundle, opened)
        tracking = TrackerSettings(vehicle_classes=vehicle_classes(bundle.labels))
        thresholds = thresholds or Thresholds()
        if decoder.reduction is not None:
            opened.reduce(decoder.reduction, thresholds)
        return Network(bundle, opened, decoder, thresholds, tracking)
    except BaseException:
        opened.close()
        raise
