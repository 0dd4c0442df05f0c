"""Options of two parts, written LEFT=RIGHT."""

from __future__ import annotations

from collections.abc import Sequence

from perception.errors import UsageError


def split_pair(option: str, text: str, form: str, example: str) -> tuple[str, str]:
    """Split LEFT=RIGHT at its first equals sign. Raises `UsageError`."""
    left, equals, right = text.partition("=")
    if not (left and equals and right):
        raise UsageError(f"{option} {text}", f"is no {form}", f"write for example {example}")
    return left, right


def class_pairs(texts: Sequence[str] | None) -> list[tuple[str, str]]:
    """Read what `--map` was given: (bundle's class, dataset's class)."""
    return [split_pair("--map", text, "BUNDLE_CLASS=DATASET_CLASS", "motorcycle=motorbike") for text in texts or ()]
