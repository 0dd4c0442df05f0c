"""What commands that train have in common: the packages that they need, and the network where none is named."""

from __future__ import annotations

from pathlib import Path


def require_training(*beside: str, extra: str = "train") -> None:
    """Raise `UsageError` where a package is missing that is needed here: torch, onnx and these, of the extra."""
    from importlib.util import find_spec

    from perception.errors import UsageError

    missing = [name for name in ("torch", "onnx", *beside) if find_spec(name) is None]
    if missing:
        package = missing[0].replace("_", "-")
        raise UsageError(
            "training", f"the package {package} is not installed", f"pip install 'edge-perception[{extra}]'"
        )


def usual_network(data: Path) -> str:
    """The smallest network of the kind that one dataset's labels are for; of a mixture a detector."""
    from engines.datasets import format_of

    usual = {"images by class": "classifier-nano", "masks": "segmenter-nano"}
    return "nano" if data.suffix == ".toml" else usual.get(format_of(data), "nano")
