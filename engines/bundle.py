"""A network as a folder: `bundle.toml`, `model.onnx`, `labels.txt`, `passport.json`.

The folder says everything that a caller would otherwise have to know: how pixels go in, how outputs come
out, what the classes are called. Its hash covers the first three files.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from engines.errors import BundleError
from engines.letterbox import Fit, Pixels
from engines.settings_file import SettingsError, Strict, parse

SETTINGS, MODEL, LABELS, PASSPORT = "bundle.toml", "model.onnx", "labels.txt", "passport.json"
_HASHED = (SETTINGS, MODEL, LABELS)
MAX_BATCH = 64  # a slot's memory is made for it; more crops than that are looked at in turns
_MAX_INPUT = 8192  # pixels a side; a hostile file must not make us allocate more than 200 million floats


class InputSettings(Strict):
    """The network's image input. `batch`: images that go in at once at most, where its batch axis is free."""

    width: Annotated[int, Field(ge=1, le=_MAX_INPUT)]
    height: Annotated[int, Field(ge=1, le=_MAX_INPUT)]
    layout: Literal["NCHW", "NHWC"] = "NCHW"
    colour: Literal["BGR", "RGB"]
    batch: Annotated[int, Field(ge=1, le=MAX_BATCH)] = 1


Finite = Annotated[float, Field(allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class BundleSettings(Strict):
    """What `bundle.toml` says. Pixels go in as `(x * scale - mean) / std`, x in 0..255, in `colour` order."""

    decoder: str
    input: InputSettings
    fit: Fit
    pad: Annotated[int, Field(ge=0, le=255)] = 114
    mean: tuple[Finite, Finite, Finite] = (0.0, 0.0, 0.0)
    std: tuple[Positive, Positive, Positive] = (1.0, 1.0, 1.0)
    scale: Positive = 1.0
    outputs: dict[str, str]  # role -> output name in the ONNX file

    @property
    def pixels(self) -> Pixels:
        """How an image becomes the input tensor."""
        return Pixels(self.input.colour, self.scale, self.mean, self.std, self.fit, self.pad)


@dataclass(frozen=True)
class Bundle:
    """A bundle that was read and checked. Its model is not loaded; an engine does that."""

    folder: Path
    settings: BundleSettings
    labels: tuple[str, ...]

    @property
    def name(self) -> str:
        """The folder's name: what people call this network."""
        return self.folder.resolve().name

    @property
    def model(self) -> Path:
        """The ONNX file."""
        return self.folder / MODEL

    @cached_property
    def sha256(self) -> str:
        """Hash over settings, model and labels, each with its name and length; hexadecimal."""
        return bundle_hash({name: _read(self.folder / name) for name in _HASHED})


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BundleError(str(path), f"cannot be read ({error.strerror})", "check its permissions") from None


def bundle_hash(files: dict[str, bytes]) -> str:
    """Hash a bundle's three files, in their fixed order."""
    digest = hashlib.sha256()
    for name in _HASHED:
        digest.update(f"{name} {len(files[name])}\n".encode())
        digest.update(files[name])
    return digest.hexdigest()


def load_bundle(folder: Path | str) -> Bundle:
    """Read and check a bundle's folder. Raises `BundleError`."""
    folder = Path(folder)
    if not os.path.exists(folder):  # noqa: PTH110  Path.exists raises on text too long for a path
        raise BundleError(
            str(folder),
            "there is no such bundle",
            "make one with `perception engine import model.onnx --decoder NAME --labels FILE -o DIR`",
        )
    if not folder.is_dir():
        raise BundleError(
            str(folder),
            "is a file, and a bundle is a folder",
            f"make one of it with `perception engine import {folder} --decoder NAME --labels FILE -o DIR`",
        )
    for name in _HASHED:
        if not (folder / name).is_file():
            raise BundleError(str(folder), f"has no {name}", "import the network again")
    settings = parse_settings(_read(folder / SETTINGS), str(folder / SETTINGS))
    labels = parse_labels(_read(folder / LABELS), str(folder / LABELS))
    return Bundle(folder, settings, labels)


def parse_settings(text: bytes, where: str) -> BundleSettings:
    """Read a `bundle.toml`; `where` names it in errors. Raises `BundleError`."""
    try:
        return parse(text, BundleSettings)
    except SettingsError as error:
        raise BundleError(where, str(error), "mend that, or import the network again") from None


def parse_labels(text: bytes, where: str) -> tuple[str, ...]:
    """Read class names, one a line, blank lines at the end ignored. Raises `BundleError`."""
    try:
        lines = [line.strip() for line in text.decode("utf-8-sig").splitlines()]
    except UnicodeDecodeError:
        raise BundleError(where, "is not UTF-8 text", "write one class name a line, in UTF-8") from None
    while lines and not lines[-1]:
        lines.pop()
    if not lines:
        raise BundleError(where, "holds no class name", "write one class name a line")
    if "" in lines:
        raise BundleError(where, f"line {lines.index('') + 1} is empty", "write one class name a line")
    return tuple(lines)
