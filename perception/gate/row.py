"""One thing that a gate judged, as the verdict shows it: measured, limit, pass or not."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Row:
    """One thing that was judged, in words; `key` is its threshold's."""

    figure: str
    measured: str
    limit: str
    passed: bool
    key: str


def at_least(figure: str, measured: float, limit: float, key: str) -> Row:
    """Judge a share that must not be below its limit."""
    return Row(figure, f"{measured:.3f}", f"at least {limit:g}", measured >= limit, key)


def at_most(figure: str, measured: float, limit: float, key: str) -> Row:
    """Judge a share that must not be above its limit."""
    return Row(figure, f"{measured:.4f}", f"at most {limit:g}", measured <= limit, key)


def shifted_at_most(figure: str, measured: float, limit: float, key: str) -> Row:
    """Judge a change that must be within its limit, up or down."""
    return Row(figure, f"{measured:+.3f}", f"at most {limit:g} up or down", abs(measured) <= limit, key)
