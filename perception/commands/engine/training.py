"""What commands that train have in common: the packages that they need, and the network where none is named."""

from __future__ import annotations

from pathlib import Path


def require_training() -> None:
    """Raise `UsageError` where a package that training takes is not installed."""
    from importlib.util import find_spec

    from perception.errors import UsageError

    missing = [name for name in ("torch", "onnx") if find_spec(name) is None]
    if missing:
        raise UsageError(
            "training", f"the package {missing[0]} is not installed", "pip install 'edge-perception[train]'"
        )


def usual_network(data: Path) -> str:
    """The smallest network of the kind that one dataset's labels are for; of a mixture a detector."""
    from engines.datasets import format_of

    usual = {"images by class": "classifier-nano", "masks": "segmenter-nano"}
    return "nano" if data.suffix == ".toml" else usual.get(format_of(data), "nano")
