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
class Crops:
    """Which detections of another network a classifier looks at, each by itself."""

    of: str  # the other network's name, which is its bundle's
    classes: tuple[str, ...] = ()  # its classes that are looked at; none: all of them
    min_px: float = 16  # of the shorter side, in pixels of the image: on less nothing is to be seen
    most: int = 16  # a frame, the best scores first; bounds the time that a frame takes
    margin: float = 0.1  # shares of a box's sides that are seen around it


@dataclass(frozen=True, slots=True)
class Network:
    """One network of a pipeline. Whoever opened it closes its engine. `crops` None: it sees whole frames."""

    bundle: Bundle
    engine: Engine
    decoder: Decoder
    thresholds: Thresholds
    tracking: TrackerSettings
    crops: Crops | None = None


def open_network(
    bundle: Bundle,
    *,
    engine: str = AUTO,
    slots: int = 2,
    threads: int = 1,
    thresholds: Thresholds | None = None,
    crops: Crops | None = None,
) -> Network:
    """Load a bundle into an engine, warm, and make its decoder. Raises `BundleError`, `EngineError`."""
    opened = open_engine(bundle, engine, slots=slots, threads=threads)
    for note in opened.notes:
        print(f"{bundle.name} on {opened.name}: {note}", file=sys.stderr, flush=True)
    try:
        return network_on(bundle, opened, thresholds, crops)
    except BaseException:
        opened.close()
        raise


def network_on(
    bundle: Bundle, opened: Engine, thresholds: Thresholds | None = None, crops: Crops | None = None
) -> Network:
    """Make a network of an engine that is open; from now on it gives no more than the decoder needs.

    Raises `BundleError` where bundle and outputs do not fit together.
    """
    decoder = decoder_for(bundle, opened)
    tracking = TrackerSettings(vehicle_classes=vehicle_classes(bundle.labels))
    thresholds = thresholds or Thresholds()
    if decoder.reduction is not None:
        opened.reduce(decoder.reduction, thresholds)
    return Network(bundle, opened, decoder, thresholds, tracking, crops)
