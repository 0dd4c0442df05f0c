"""A source whose items pass somebody on their way: a recorder, a viewer."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from sensors.frame import Item
from sensors.source import Source, SourceInfo


class ObservedSource:
    """`take` sees each item as it is read, and gives what goes on in its place; all else is the source's own."""

    def __init__(self, source: Source, take: Callable[[Item], Item]) -> None:
        self._source = source
        self._take = take

    @property
    def info(self) -> SourceInfo:
        """The source's."""
        return self._source.info

    def __enter__(self) -> ObservedSource:
        self._source.__enter__()
        return self

    def __exit__(self, *exc: object) -> None:
        self._source.__exit__(*exc)

    def __iter__(self) -> Iterator[Item]:
        return map(self._take, self._source)

    def close(self) -> None:
        """Close the source."""
        self._source.close()
