"""What is written in the arguments of several commands: a choice, a size, a pair LEFT=RIGHT."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite

from perception.errors import UsageError

MOST_PIXELS = 8192  # of an input's side, as a bundle has it
OR_DEFAULT = "Default: the one that comes along."


def one_of(option: str, value: str | None, allowed: tuple[str, ...]) -> str | None:
    """The value, or None. Raises `UsageError` where it is none of those allowed."""
    if value is None or value in allowed:
        return value
    raise UsageError(f"{option} {value}", "is unknown", f"use one of {', '.join(allowed)}")


def finite(option: str, value: float | None) -> None:
    """Raise `UsageError` where a number is none that can be counted to."""
    if value is not None and not isfinite(value):
        raise UsageError(f"{option} {value}", "has no end", "give a number; Ctrl-C ends a training too")


def parse_size(text: str | None) -> tuple[int, int] | None:
    """Width and height of `640x384`, or None. Raises `UsageError`."""
    if text is None:
        return None
    width, _, height = text.lower().partition("x")
    if not (width.isdecimal() and height.isdecimal() and int(width) and int(height)):
        raise UsageError(f"--size {text}", "is no size", "write it as 640x384")
    if max(len(width), len(height)) > 4 or max(int(width), int(height)) > MOST_PIXELS:
        raise UsageError(
            f"--size {text[:40]}", f"is more than {MOST_PIXELS} pixels a side", "write for example 640x384"
        )
    return int(width), int(height)


def split_pair(option: str, text: str, form: str, example: str) -> tuple[str, str]:
    """Split LEFT=RIGHT at its first equals sign. Raises `UsageError`."""
    left, equals, right = text.partition("=")
    if not (left and equals and right):
        raise UsageError(f"{option} {text}", f"is no {form}", f"write for example {example}")
    return left, right


def class_pairs(texts: Sequence[str] | None) -> list[tuple[str, str]]:
    """Read what `--map` was given: (bundle's class, dataset's class)."""
    return [split_pair("--map", text, "BUNDLE_CLASS=DATASET_CLASS", "motorcycle=motorbike") for text in texts or ()]
