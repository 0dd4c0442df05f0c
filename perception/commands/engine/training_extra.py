"""What the training side takes beyond the base install."""

from __future__ import annotations


def require_training() -> None:
    """Raise `UsageError` where a package that training takes is not installed."""
    from importlib.util import find_spec

    from perception.errors import UsageError

    missing = [name for name in ("torch", "onnx") if find_spec(name) is None]
    if missing:
        raise UsageError(
            "training", f"the package {missing[0]} is not installed", "pip install 'edge-perception[train]'"
        )
