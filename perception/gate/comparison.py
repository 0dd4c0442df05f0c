"""The contract of what two sides found, compared: boxes with boxes, masks with masks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Protocol

from perception.gate.row import Row
from perception.gate.side import Look
from perception.gate.worst import WorstFrame
from sensors.frame import Frame


class Place(NamedTuple):
    """Which drive a frame is of: its number in the request, and what it is called."""

    drive: int
    name: str


class Comparison(Protocol):
    """Takes in frames that both sides answered, and tells in the end what differs. Frames of a sensor come in order."""

    def add(self, frame: Frame, place: Place, looks: tuple[Look, Look]) -> None:
        """Compare one frame; baseline first."""

    def show_failure(self, frame: Frame, place: Place, looks: tuple[Look, Look]) -> None:
        """Keep a frame that only one side answered among the worst."""

    def says_too_little(self) -> tuple[str, str] | None:
        """Why nothing can be said of the candidate, and the remedy; None where something can."""

    def rows(self) -> Iterator[Row]:
        """Every figure held against its threshold."""

    def facts(self) -> dict[str, Any]:
        """The figures for `gate.json`."""

    def plots(self) -> Sequence[tuple[str, str]]:
        """Titles and plots as SVG."""

    def worst(self) -> Sequence[WorstFrame]:
        """The frames that differ most, the worst first."""

    @property
    def legend(self) -> Sequence[tuple[str, str, str]]:
        """What is drawn on those frames: a class of the page's style, a word, what it means."""
