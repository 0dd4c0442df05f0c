"""From somebody's ONNX file to a bundle: recognise it, try it, and only then write.

The finished bundle is tried before it takes its place (`new_bundle.py`): either it is there and runs, or nothing is.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from engines.bundle import LABELS, MODEL, PASSPORT, SETTINGS, Bundle, parse_labels, parse_settings
from engines.decoders import DECODERS, build_decoder, recognise
from engines.decoders.classification import LOGITS, PROBABILITIES, Classifier, are_probabilities
from engines.decoders.decoder import Decoder, MisfitError, NonFiniteOutputError
from engines.decoders.segmentation import BACKGROUND, decided_already
from engines.errors import BundleError
from engines.letterbox import Fit, Pixels
from engines.new_bundle import check_place, write_bundle
from engines.passport import import_passport, to_text
from engines.results import SegmentationMap, Thresholds
from engines.runtime.onnxruntime import OnnxRuntimeEngine, first_line, open_session, signature_of
from engines.runtime.signature import Signature, TensorSpec

COCO = "coco"  # the name by which the 80 COCO classes are asked for
CROPS = 8  # a classifier looks at a frame's detections: of so many at once each takes some two thirds of the time


@dataclass(frozen=True, slots=True)
class ImportOptions:
    """Where a decoder's defaults do not fit; None takes the default."""

    decoder: str | None = None  # None: recognised by the outputs' shapes
    labels: str | None = None  # a file, or "coco"; None: from the model's metadata
    colour: str | None = None
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
    scale: float | None = None
    fit: Fit | None = None
    pad: int | None = None
    size: tuple[int, int] | None = None  # width, height of an input whose size is free
    batch: int | None = None  # images at once at most; None: CROPS of a classifier that takes several, else 1
    outputs: Mapping[str, str] | None = None  # role -> output name
    history: Mapping[str, Any] | None = None  # sections of the passport: where the network comes from

    def applied_to(self, pixels: Pixels) -> Pixels:
        """A decoder's usual pixels with what was asked for instead."""
        names = ("colour", "mean", "std", "scale", "fit", "pad")
        wanted = {name: value for name in names if (value := getattr(self, name)) is not None}
        return replace(pixels, **wanted)


def import_network(model: Path, folder: Path, options: ImportOptions, *, replace_existing: bool = False) -> Bundle:
    """Make a bundle of an ONNX file. Raises `BundleError`; then `folder` is as it was."""
    check_place(folder, replace_existing=replace_existing)
    content = _read_model(model)
    session = open_session(model, threads=1)
    _check_one_file(content, model)
    signature = signature_of(session)
    image = signature.image_input(model.name)
    layout, width, height = _input_size(image, model.name, options.size)
    shapes = _output_shapes(session, image, layout, width, height, model.name)
    decoder, roles = _choose_decoder(shapes, width, height, model.name, signature, options)
    if decoder == Classifier.name and options.outputs is None:
        (output,) = roles.values()
        is_decided = _gives_probabilities(session, image, (3, height, width), layout, output)
        roles = {PROBABILITIES if is_decided else LOGITS: output}
    batch = options.batch or 1
    if (
        options.batch is None
        and decoder == Classifier.name
        and _takes_two(session, image, (layout, width, height), roles)
    ):
        batch = CROPS
    decoder_made = build_decoder(decoder, {role: shapes[name] for role, name in roles.items()}, width, height)
    labels = _choose_labels(options.labels, session, decoder_made, model.name)
    pixels = options.applied_to(DECODERS[decoder].pixels)
    meta = session.get_modelmeta()
    facts = {
        "producer": meta.producer_name,
        "graph": meta.graph_name,
        "inputs": [str(tensor) for tensor in signature.inputs],
        "outputs": [str(tensor) for tensor in signature.outputs],
        "metadata": {key: value[:500] for key, value in meta.custom_metadata_map.items()},
    }
    settings = _settings_text(decoder, layout, width, height, batch, pixels, roles)
    parse_settings(settings.encode(), f"the bundle of {model.name}")  # a wrong --std is said before anything is written
    files = {
        MODEL: content,
        LABELS: "".join(f"{label}\n" for label in labels).encode(),
        SETTINGS: settings.encode(),
        PASSPORT: to_text({**import_passport(model, content, facts, decoder), **(options.history or {})}).encode(),
    }
    return write_bundle(folder, files, lambda draft: _try(draft, model.name), replace_existing=replace_existing)


def _read_model(model: Path) -> bytes:
    try:
        content = model.read_bytes()
    except FileNotFoundError:
        raise BundleError(str(model), "there is no such file", "give the path of an ONNX file") from None
    except OSError as error:
        raise BundleError(str(model), f"cannot be read ({error.strerror})", "give the path of an ONNX file") from None
    if not content:
        raise BundleError(str(model), "is empty", "export or copy the network again")
    return content


def _check_one_file(content: bytes, model: Path) -> None:
    """Refuse a network whose weights lie in another file: only the one file would come into the bundle."""
    try:
        open_session(content, threads=1)
    except BundleError:
        raise BundleError(
            str(model), "keeps its weights in a second file", "export it as one file (external_data=False in torch)"
        ) from None


def _input_size(image: TensorSpec, where: str, asked: tuple[int, int] | None) -> tuple[str, int, int]:
    """Layout, width and height of the image input."""
    layout = "NCHW" if image.shape[1] == 3 else "NHWC"
    height, width = image.shape[2:] if layout == "NCHW" else image.shape[1:3]
    found = (width, height)
    if asked is None:
        if width is None or height is None:
            raise BundleError(where, f"its input {image} has no fixed size", "give one with --size WIDTHxHEIGHT")
        return layout, width, height
    if any(fixed not in (None, wanted) for fixed, wanted in zip(found, asked, strict=True)):
        raise BundleError(where, f"its input is fixed at {width}x{height}", "leave --size away")
    return layout, *asked


def _output_shapes(
    session: ort.InferenceSession, image: TensorSpec, layout: str, width: int, height: int, where: str
) -> dict[str, tuple[int, ...]]:
    """Run once on black and see: free dimensions are settled, and it is known to run."""
    try:
        outputs = session.run(None, {image.name: _black(1, layout, width, height)})
    except Exception as error:
        raise BundleError(where, f"does not run ({first_line(error)})", "export the network again") from None
    names = (output.name for output in session.get_outputs())
    return {name: np.shape(value) for name, value in zip(names, outputs, strict=True)}


def _takes_two(
    session: ort.InferenceSession, image: TensorSpec, size: tuple[str, int, int], roles: Mapping[str, str]
) -> bool:
    """Whether it takes several images at once, and gives each a row of its own."""
    if image.shape[0] is not None:
        return False
    try:
        found = session.run(list(roles.values()), {image.name: _black(2, *size)})
    except Exception:  # its batch axis is free in name alone
        return False
    return all(np.ndim(value) and len(value) == 2 for value in found)


def _black(images: int, layout: str, width: int, height: int) -> NDArray[np.float32]:
    return np.zeros((images, 3, height, width) if layout == "NCHW" else (images, height, width, 3), np.float32)


def _gives_probabilities(
    session: ort.InferenceSession, image: TensorSpec, planes: tuple[int, int, int], layout: str, output: str
) -> bool:
    """Whether a classifier has its softmax inside: seen on black and on noise, for one alone may be chance."""
    noise = np.random.default_rng(0).random((1, *planes), np.float32)
    fed = (picture if layout == "NCHW" else picture.transpose(0, 2, 3, 1) for picture in (noise, np.zeros_like(noise)))
    return all(
        are_probabilities(session.run([output], {image.name: np.ascontiguousarray(picture)})[0]) for picture in fed
    )


def _choose_decoder(
    shapes: dict[str, tuple[int, ...]],
    width: int,
    height: int,
    where: str,
    signature: Signature,
    options: ImportOptions,
) -> tuple[str, dict[str, str]]:
    """Name of the decoder, and its roles among the outputs."""
    found = ", ".join(f"{name} {list(shape)}" for name, shape in shapes.items())
    if options.decoder is None:
        fitting = recognise(shapes, width, height)
        if not fitting:
            raise BundleError(
                where,
                f"no decoder fits its outputs ({found})",
                f"bring a network of one of these families: {', '.join(sorted(DECODERS))}",
            )
        name, roles = fitting[0]
    else:
        name = options.decoder
        if name not in DECODERS:
            build_decoder(name, {}, width, height)  # raises, with the near spelling
        try:
            roles = DECODERS[name].match(shapes, width, height)
        except MisfitError as misfit:
            if options.outputs is None:
                others = [other for other, _ in recognise(shapes, width, height)]
                remedy = f"use --decoder {others[0]}" if others else "no decoder of ours fits this network"
                raise BundleError(where, f"decoder {name!r} does not fit: {misfit}", remedy) from None
            roles = {}
    if options.outputs is not None:
        known = {output.name for output in signature.outputs}
        for role, output in options.outputs.items():
            if output not in known:
                raise BundleError(where, f"--outputs {role}={output}: there is no such output", f"it has {found}")
        twice = [name for name in known if list(options.outputs.values()).count(name) > 1]
        if twice:
            raise BundleError(where, f"--outputs gives the output {twice[0]} two roles", "give each output one role")
        roles = dict(options.outputs)
    return name, roles


def _choose_labels(asked: str | None, session: ort.InferenceSession, decoder: Decoder, where: str) -> tuple[str, ...]:
    """Class names: a file, the COCO names, what the exporter left in the model's metadata, or what the roles say."""
    count, by_group = decoder.class_count, ""
    if len(decoder.groups) > 1:
        parts = (f"{classes} of {group}" for group, classes in decoder.groups.items())
        by_group = f" ({', then '.join(parts)})"
    if asked == COCO:
        origin, labels = "--labels coco", coco_labels()
    elif asked is not None:
        origin = asked
        try:
            labels = parse_labels(Path(asked).read_bytes(), asked)
        except OSError as error:
            raise BundleError(
                asked,
                f"cannot be read ({error.strerror})",
                "give a file of one class name a line, or --labels coco",
            ) from None
    else:
        origin, labels = "its metadata", _labels_of_metadata(session.get_modelmeta().custom_metadata_map)
        if not labels and decoder.groups and max(decoder.groups.values()) == 2:
            labels = tuple(name for group in decoder.groups for name in (BACKGROUND, group))
        if not labels:
            remedy = "give --labels FILE, one class name a line"
            if count == len(coco_labels()):
                remedy += ", or --labels coco for the 80 COCO classes"
            raise BundleError(where, f"says nothing of its {count} classes' names{by_group}", remedy)
    if len(labels) != count:
        raise BundleError(
            origin,
            f"names {len(labels)} classes, and {where} has {count}{by_group}",
            "give --labels with one line a class",
        )
    return labels


def coco_labels() -> tuple[str, ...]:
    """The 80 class names of COCO 2017, in the usual order."""
    return parse_labels(Path(__file__).with_name("coco.txt").read_bytes(), "engines/coco.txt")


def _labels_of_metadata(metadata: dict[str, str]) -> tuple[str, ...]:
    """Class names as exporters write them: `names`, a Python dict of index to name, as text."""
    try:
        names: Any = ast.literal_eval(metadata.get("names", ""))
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return ()
    if isinstance(names, dict) and all(isinstance(key, int) for key in names):
        names = [names[key] for key in sorted(names)]
    if not isinstance(names, list) or not all(isinstance(name, str) and name.strip() for name in names):
        return ()
    return tuple(" ".join(name.split()) for name in names)


def _settings_text(
    decoder: str, layout: str, width: int, height: int, batch: int, pixels: Pixels, roles: Mapping[str, str]
) -> str:
    """`bundle.toml`, with what each line means."""

    def text(value: str) -> str:  # a TOML basic string; JSON's escapes are a subset of TOML's
        import json

        return json.dumps(value)

    def key(role: str) -> str:
        return role if re.fullmatch(r"[A-Za-z0-9_-]+", role) else text(role)

    outputs = ", ".join(f"{key(role)} = {text(name)}" for role, name in roles.items())
    at_once = f", batch = {batch}" if batch > 1 else ""
    size = f"width = {width}, height = {height}, layout = {text(layout)}, colour = {text(pixels.colour)}{at_once}"
    return (
        f"decoder = {text(decoder)}\n"
        f"input = {{ {size} }}{'  # batch: images at once at most' if at_once else ''}\n"
        f"fit = {text(pixels.fit.value)}  # or {', '.join(fit.value for fit in Fit if fit is not pixels.fit)}\n"
        f"pad = {pixels.pad}\n"
        "# a pixel x of 0 to 255 goes in as (x * scale - mean) / std\n"
        f"scale = {float(pixels.scale)!r}\n"
        f"mean = {[float(value) for value in pixels.mean]}\n"
        f"std = {[float(value) for value in pixels.std]}\n"
        f"outputs = {{ {outputs} }}  # role = name in the ONNX file\n"
    )


def _try(bundle: Bundle, where: str) -> None:
    """Run the finished bundle once on a grey image, through the engine and the decoder."""
    settings = bundle.settings
    with OnnxRuntimeEngine(bundle, slots=1) as engine:
        image = np.full((settings.input.height, settings.input.width, 3), 114, np.uint8)
        place = engine.place(settings.input.width, settings.input.height)
        engine.stage(0, 0, image, place)
        engine.submit(0, 1)
        outputs = engine.wait(0).rows[0]
        shapes = {role: outputs[role].shape for role in settings.outputs}
        decoder = build_decoder(settings.decoder, shapes, settings.input.width, settings.input.height)
        try:
            found = decoder.decode(outputs, place, Thresholds())
        except NonFiniteOutputError as error:
            raise BundleError(
                where,
                f"{error} on a plain grey image",
                "the network, or its scale, mean and std, are wrong: export or quantise it again",
            ) from None
        if not isinstance(found, SegmentationMap):
            return
        # One picture is not enough: logits of plain grey may well lie between 0 and 1 all over.
        suspects = set(decided_already(outputs))
        for picture in (np.zeros_like(image), np.full_like(image, 255), _noise(image.shape)):
            engine.stage(0, 0, picture, place)
            engine.submit(0, 1)
            suspects &= set(decided_already(engine.wait(0).rows[0]))
        for role in sorted(suspects):
            raise BundleError(
                where,
                f"its output {settings.outputs[role]} holds no logits, but whole classes or values of 0 to 1",
                "export the network without its last sigmoid or argmax",
            )


def _noise(shape: tuple[int, ...]) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)
