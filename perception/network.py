"""A bundle made ready to run: its engine, its decoder, its thresholds, and how its objects are tracked."""

from __future__ import annotations

from dataclasses import dataclass

from engines.bundle import LABELS, Bundle
from engines.decoders import build_decoder
from engines.decoders.decoder import Decoder
from engines.errors import BundleError
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
    try:
        decoder = decoder_for(bundle, opened)
        tracking = TrackerSettings(vehicle_classes=vehicle_classes(bundle.labels))
        return Network(bundle, opened, decoder, thresholds or Thresholds(), tracking)
    except BaseException:
        opened.close()
        raise


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
