"""What commands that train have in common: the packages that they need, and the network where none is named."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from engines.training.datasets import Labels


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


def require_judging(labels: Labels) -> None:
    """Raise `UsageError` where what judges detectors is not installed: before it is asked for, hours later."""
    from engines.training.datasets import Labels

    if labels is Labels.BOXES:
        require_training("faster_coco_eval", extra="train,evaluate")


def checkpoint_of(run: Path) -> Path:
    """The checkpoint of a training that is named by its folder, or by the file itself."""
    from engines.training.checkpoint import CHECKPOINT

    return run / CHECKPOINT if run.is_dir() else run


def usual_network(data: Path) -> str:
    """The smallest network of the kind that one dataset's labels are for; of a mixture a detector."""
    from engines.datasets import format_of

    usual = {"images by class": "classifier-nano", "masks": "segmenter-nano"}
    return "nano" if data.suffix == ".toml" else usual.get(format_of(data), "nano")
