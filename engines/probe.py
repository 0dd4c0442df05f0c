"""Does a network see anything? Runs a bundle over a few real frames, beside likely mistakes in its pixels.

A network fed the wrong colour order or scale loads, runs, and finds little or nothing. Only real frames show it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from engines.bundle import Bundle, BundleSettings
from engines.decoders import build_decoder
from engines.decoders.decoder import NonFiniteOutputError
from engines.errors import BundleError
from engines.letterbox import Preprocessor
from engines.results import Detections, Thresholds
from engines.runtime.onnxruntime import open_session
from sensors.frame import Frame
from sensors.source import Source

FRAMES = 8  # looked at; spread evenly over the first `_SPREAD_OVER` frames
_SPREAD_OVER = 160


@dataclass(frozen=True, slots=True)
class Finding:
    """What the network found with one way of feeding it."""

    how: str  # "as imported", or what was changed
    boxes: int
    mean_score: float
    classes: dict[str, int]  # name -> boxes, most first

    @property
    def total_score(self) -> float:
        """What findings are compared by: many sure boxes are better than few or unsure ones."""
        return self.boxes * self.mean_score


def probe(bundle: Bundle, source: Source) -> list[Finding]:
    """Run a bundle on frames of a source; the first finding is the bundle as it is, then some alternatives.

    Raises `BundleError` when the source gives no frame or the outputs hold NaN.
    """
    every = _SPREAD_OVER // FRAMES
    images = [frame.image for frame in islice(_frames(source), 0, _SPREAD_OVER, every)]
    if not images:
        raise BundleError(source.info.uri, "gives no frame to probe with", "give a video or a folder of images")
    return [_run(bundle, settings, how, images) for how, settings in _variants(bundle.settings)]


def _frames(source: Source) -> Iterator[Frame]:
    return (item for item in source if isinstance(item, Frame))


def _variants(settings: BundleSettings) -> Iterator[tuple[str, BundleSettings]]:
    yield "as imported", settings
    other = "RGB" if settings.input.colour == "BGR" else "BGR"
    swapped = settings.input.model_copy(update={"colour": other})
    yield f"--colour {other}", settings.model_copy(update={"input": swapped})
    if settings.scale == 1.0:
        yield "--scale 1/255", settings.model_copy(update={"scale": 1 / 255})
    else:
        yield "--scale 1", settings.model_copy(update={"scale": 1.0})


def _run(bundle: Bundle, settings: BundleSettings, how: str, images: list[NDArray[np.uint8]]) -> Finding:
    session = open_session(bundle.model, threads=1)
    shape = settings.input
    preprocessor = Preprocessor(settings.pixels, shape.width, shape.height)
    tensor = np.zeros((1, 3, shape.height, shape.width), np.float32)
    found: list[Detections] = []
    for image in images:
        place = preprocessor.geometry(image.shape[1], image.shape[0])
        preprocessor.write(image, place, tensor[0])
        fed = tensor if shape.layout == "NCHW" else np.ascontiguousarray(tensor.transpose(0, 2, 3, 1))
        values = session.run(list(settings.outputs.values()), {session.get_inputs()[0].name: fed})
        outputs = {
            role: value[0] if value.ndim and value.shape[0] == 1 else value
            for role, value in zip(settings.outputs, values, strict=True)
        }
        shapes = {role: value.shape for role, value in outputs.items()}
        decoder = build_decoder(settings.decoder, shapes, shape.width, shape.height)
        try:
            found.append(decoder.decode(outputs, place, Thresholds()))
        except NonFiniteOutputError as error:
            raise BundleError(bundle.name, f"{error}", "export or quantise the network again") from None
    scores = np.concatenate([detections.scores for detections in found])
    classes = Counter(bundle.labels[index] for detections in found for index in detections.classes)
    mean = float(scores.mean()) if len(scores) else 0.0
    return Finding(how, len(scores), mean, dict(classes.most_common()))


def advice(findings: list[Finding]) -> str | None:
    """What to try when another way of feeding the network finds clearly more; None when all is well."""
    imported, *others = findings
    best = max(others, key=lambda finding: finding.total_score)
    # The right order of colours may well find fewer boxes than the wrong one (yolox_nano: 30 against 45 on eight
    # frames): only a large gain is worth a word.
    if best.total_score > 2 * imported.total_score and best.boxes >= 3:
        return f"with {best.how} it finds {best.boxes} boxes instead of {imported.boxes}: look at both with --render"
    if imported.boxes == 0:
        return "it finds nothing: check --colour, --scale, --mean and --std against how it was trained"
    return None
