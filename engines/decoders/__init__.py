"""A network's raw outputs to results on the source image: one file a family of networks.

`decoder.py` has the contract, `candidates.py` and `nms.py` what all detectors share. A new family is a new
file and a line in `DECODERS`. Decoders keep no state, never see an image and never touch a device;
this room imports numpy, `engines.letterbox`, `engines.results`, `engines.reduction` and `engines.errors`.
"""

from __future__ import annotations

from difflib import get_close_matches

from engines.decoders.classification import Classifier
from engines.decoders.decoder import Decoder, MisfitError, NonFiniteOutputError, Outputs, Shapes
from engines.decoders.nanodet import Nanodet
from engines.decoders.segmentation import Segmentation
from engines.decoders.yolov8 import Yolov8
from engines.decoders.yolox import Yolox
from engines.errors import BundleError

__all__ = [
    "DECODERS",
    "Decoder",
    "MisfitError",
    "NonFiniteOutputError",
    "Outputs",
    "Shapes",
    "build_decoder",
    "recognise",
]

DECODERS: dict[str, type[Decoder]] = {
    Classifier.name: Classifier,
    Nanodet.name: Nanodet,
    Segmentation.name: Segmentation,
    Yolov8.name: Yolov8,
    Yolox.name: Yolox,
}


def build_decoder(name: str, shapes_by_role: Shapes, input_width: int, input_height: int) -> Decoder:
    """The decoder that a bundle names, made for its network. Raises `BundleError`."""
    if name not in DECODERS:
        near = get_close_matches(name, DECODERS, n=1)
        hint = f' (did you mean "{near[0]}"?)' if near else ""
        raise BundleError(
            "bundle.toml", f'decoder "{name}" is unknown{hint}', f"use one of {', '.join(sorted(DECODERS))}"
        )
    try:
        return DECODERS[name](shapes_by_role, input_width, input_height)
    except MisfitError as misfit:
        raise BundleError(
            "bundle.toml",
            f'decoder "{name}" does not fit model.onnx: {misfit}',
            "name the decoder and the outputs that fit, or import the network again",
        ) from None


def recognise(shapes: Shapes, input_width: int, input_height: int) -> list[tuple[str, dict[str, str]]]:
    """Every decoder whose layout a network's outputs have, with the roles that it gives them.

    None: no family that we know. Several: the shapes alone do not tell, and a person has to.
    """
    fitting = []
    for name, decoder in DECODERS.items():
        try:
            fitting.append((name, decoder.match(shapes, input_width, input_height)))
        except MisfitError:
            continue
    return fitting
