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
from engines.results import Classification, Detections, Found, SegmentationMap, Thresholds
from engines.runtime.onnxruntime import open_session
from sensors.frame import Fault, Frame
from sensors.source import Source
from sensors.yuv import bgr

FRAMES = 8  # looked at; spread evenly over the first `_SPREAD_OVER` frames
_SPREAD_OVER = 160
_SKETCH_COLUMNS, _SKETCH_ROWS = 64, 18  # 16:9, as a character is about twice as high as wide
_CLASS_CHARACTERS = ".#ox+*=%@abcdefghijklmnpqrstuvwyz"


@dataclass(frozen=True, slots=True)
class GroupSeen:
    """Where one group of per-pixel classes lay: what a person tells a road from its lines by."""

    group: str
    output: str  # its name in the ONNX file
    shares: dict[str, float]  # class name -> share of all pixels of all frames
    sketch: tuple[str, ...]  # lines of text: the middle frame, a class a character


@dataclass(frozen=True, slots=True)
class Finding:
    """What the network found with one way of feeding it."""

    how: str  # "as imported", or what was changed
    boxes: int  # of a classifier: frames, each is one class
    mean_score: float
    classes: dict[str, int]  # name -> boxes, most first
    groups: tuple[GroupSeen, ...] = ()  # of a network of per-pixel classes, which has no boxes

    @property
    def total_score(self) -> float:
        """What findings are compared by: many sure boxes are better than few or unsure ones."""
        return self.boxes * self.mean_score


def probe(bundle: Bundle, source: Source) -> list[Finding]:
    """Run a bundle on frames of a source; the first finding is the bundle as it is, then some alternatives.

    Raises `BundleError` when the source gives no frame or the outputs hold NaN.
    """
    every = _SPREAD_OVER // FRAMES
    images = [bgr(frame) for frame in islice(_frames(source), 0, _SPREAD_OVER, every)]
    if not images:
        raise BundleError(source.info.uri, "gives no frame to probe with", "give a video or a folder of images")
    return [_run(bundle, settings, how, images) for how, settings in _variants(bundle.settings)]


def _frames(source: Source) -> Iterator[Frame]:
    for item in source:
        if isinstance(item, Frame):
            yield item
        elif isinstance(item, Fault) and source.info.live:  # it would try again for ever
            raise BundleError(source.info.uri, item.reason, "probe with a recording, or mend the camera")


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
    found: list[Found] = []
    for image in images:
        place = preprocessor.geometry(image.shape[1], image.shape[0])
        preprocessor.write(image, place, tensor[0])
        fed = tensor if shape.layout == "NCHW" else np.ascontiguousarray(tensor.transpose(0, 2, 3, 1))
        values = session.run(list(settings.outputs.values()), {session.get_inputs()[0].name: fed})
        outputs = {
            role: value[0] if value.ndim and value.shape[0] == 1 else value
            for role, value in zip(settings.outputs, values, strict=True)
        }
        shapes = {role: value.shape for role, value in outputs.items()}  # in the labels' order
        decoder = build_decoder(settings.decoder, shapes, shape.width, shape.height)
        try:
            found.append(decoder.decode(outputs, place, Thresholds()))
        except NonFiniteOutputError as error:
            raise BundleError(bundle.name, f"{error}", "export or quantise the network again") from None
    things = [(one.scores, one.classes) for one in found if isinstance(one, Detections)]
    things += [(one.scores[:1], one.classes[:1]) for one in found if isinstance(one, Classification)]
    scores = np.concatenate([np.empty(0, np.float32), *(of_one for of_one, _ in things)])
    classes = Counter(bundle.labels[index] for _, kinds in things for index in kinds)
    mean = float(scores.mean()) if len(scores) else 0.0
    masks = [one for one in found if isinstance(one, SegmentationMap)]
    return Finding(how, len(scores), mean, dict(classes.most_common()), _groups(bundle, masks))


def _groups(bundle: Bundle, frames: list[SegmentationMap]) -> tuple[GroupSeen, ...]:
    seen = []
    for group in zip(*(frame.maps for frame in frames), strict=True):  # the same one on every frame
        first = group[0]
        pixels = np.concatenate([one.classes.ravel() for one in group])
        counts = np.bincount(pixels, minlength=first.class_count)
        names = bundle.labels[first.first_label : first.first_label + first.class_count]
        shares = dict(zip(names, (counts / len(pixels)).tolist(), strict=True))
        output = bundle.settings.outputs[first.group]
        seen.append(GroupSeen(first.group, output, shares, _sketch(group[len(group) // 2].classes)))
    return tuple(seen)


def _sketch(classes: NDArray[np.uint8]) -> tuple[str, ...]:
    """A class map as text, class 0 a dot. A character shows the greatest class in its part: lines are thin."""
    height, width = classes.shape
    tops = np.linspace(0, height, min(height, _SKETCH_ROWS), endpoint=False).astype(np.intp)
    lefts = np.linspace(0, width, min(width, _SKETCH_COLUMNS), endpoint=False).astype(np.intp)
    most = np.maximum.reduceat(np.maximum.reduceat(classes, tops, axis=0), lefts, axis=1)
    return tuple("".join(_CLASS_CHARACTERS[index % len(_CLASS_CHARACTERS)] for index in row) for row in most)


def advice(findings: list[Finding]) -> str | None:
    """What to try when another way of feeding the network finds clearly more; None when all is well."""
    imported, *others = findings
    if imported.groups:
        return _advice_on_groups(imported.groups)
    better = [
        other for other in others if other.boxes >= 3 and other.total_score > _large_gain(other) * imported.total_score
    ]
    if better:
        best = max(better, key=lambda finding: finding.total_score)
        return f"with {best.how} it finds {best.boxes} boxes instead of {imported.boxes}: look at both with --render"
    if imported.boxes == 0:
        return "it finds nothing: check --colour, --scale, --mean and --std against how it was trained"
    return None


def _large_gain(finding: Finding) -> float:
    """How many times what was found as imported is worth a word: more boxes alone are no proof.

    On eight frames of a highway the wrong order of colours finds 45 boxes and the right one 30 (yolox_nano); a network
    for 0..1 that is fed 0..255 sees 20 telephones and 4 cars where the right way sees the cars (YOLO11n). One
    for 0..255 that is fed 0..1 sees nothing.
    """
    return 10 if finding.how.startswith("--scale") else 2


def _advice_on_groups(groups: tuple[GroupSeen, ...]) -> str | None:
    """Say where a group is always of one class; more of a thing is no better, so pixels are not judged."""
    for seen in groups:
        name, share = max(seen.shares.items(), key=lambda entry: entry[1])
        if share == 1:
            return f"{seen.group} is {name} everywhere: check --colour, --scale, --mean and --std against its training"
    return None
