"""What an ONNX model takes and gives, as plain values, and whether that is what its bundle says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from engines.bundle import Bundle
from engines.errors import BundleError


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One input or output. `shape` has None where a dimension is free."""

    name: str
    type: str  # as ONNX Runtime writes it, for example "tensor(float)"
    shape: tuple[int | None, ...]

    def __str__(self) -> str:
        dimensions = ", ".join("?" if d is None else str(d) for d in self.shape)
        return f"{self.name} {self.type} [{dimensions}]"


@dataclass(frozen=True, slots=True)
class Signature:
    """A model's inputs and outputs in its own order."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    def image_input(self, where: str) -> TensorSpec:
        """Give the one image input, [1, 3, H, W] or [1, H, W, 3] float32. Raises `BundleError` when it is not so."""
        remedy = "export the network with one image input of float32 [1, 3, height, width]"
        if len(self.inputs) != 1:
            found = "; ".join(map(str, self.inputs)) or "none"
            raise BundleError(where, f"has {len(self.inputs)} inputs ({found}), and one image is expected", remedy)
        image = self.inputs[0]
        if image.type != "tensor(float)" or len(image.shape) != 4 or image.shape[0] not in (1, None):
            raise BundleError(where, f"its input is {image}, which is no single float32 image", remedy)
        if image.shape[1] != 3 and image.shape[3] != 3:
            raise BundleError(where, f"its input is {image}, which has no axis of 3 colours", remedy)
        return image


def check_outputs(bundle: Bundle, found: Sequence[str]) -> None:
    """Raise `BundleError` where a role's output is not among those that the network has."""
    missing = sorted(set(bundle.settings.outputs.values()) - set(found))
    if missing:
        raise BundleError(
            str(bundle.folder / "bundle.toml"),
            f"outputs: {bundle.model.name} has no output {missing[0]!r}",
            "it has " + ", ".join(found),
        )


def check_batch(bundle: Bundle, input_rows: int | None, outputs: Mapping[str, tuple[int | None, ...]]) -> None:
    """Raise `BundleError` where a network does not take up to as many images as its bundle says.

    `input_rows`: None where that axis is free, as it has to be for fewer. `outputs`: their shapes by name, of all rows.
    """
    rows = bundle.settings.input.batch
    if rows == 1:
        return
    where, remedy = str(bundle.folder), "set batch = 1 in bundle.toml, or export the network with a free batch axis"
    if input_rows is not None:
        raise BundleError(where, f"says batch = {rows}, and its network takes {input_rows} at a time", remedy)
    for name in bundle.settings.outputs.values():
        shape = outputs.get(name, (None,))
        if not shape or shape[0] not in (None, rows):
            what = (
                f"says batch = {rows}, and of {rows} images its output {name!r} is {list(shape)}, with no row for each"
            )
            raise BundleError(where, what, remedy)
