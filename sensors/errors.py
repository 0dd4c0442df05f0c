"""Every error that a person may read, bottom of the tree.

EdgePerceptionError             exit code 3 unless a leaf says otherwise
├── RequestError                the request or its input is wrong (exit code 2)
│   ├── SourceNotFoundError     no such path, device or address
│   └── ... engines.errors.BundleError, perception.errors.UsageError
├── SourceError                 a source broke while it was read, or cannot be read at all
└── ... engines.errors.EngineError, perception.errors.StreamError

Each message names the thing, what is wrong with it, and what to do next.
"""

from __future__ import annotations

EXIT_ANSWER_IS_NO = 1
EXIT_WRONG_REQUEST = 2
EXIT_BROKE = 3


class EdgePerceptionError(Exception):
    """Something a person has to know: `thing` (file, camera, key), `what` is wrong, `remedy`."""

    exit_code = EXIT_BROKE

    def __init__(self, thing: str, what: str, remedy: str) -> None:
        super().__init__(f"{thing}: {what}; {remedy}")
        self.thing = thing
        self.what = what
        self.remedy = remedy

    def __reduce__(self) -> tuple[type[EdgePerceptionError], tuple[str, str, str]]:
        """Go from one process to another: as made of these three, where an exception is made of its message alone."""
        return type(self), (self.thing, self.what, self.remedy)


class RequestError(EdgePerceptionError):
    """The request, or a file that it names, is wrong. Nothing was started and nothing written."""

    exit_code = EXIT_WRONG_REQUEST


class SourceNotFoundError(RequestError):
    """A source that does not exist or is not of a kind that can be opened."""


class SourceError(EdgePerceptionError):
    """What ends a source: raised on opening when nothing can be read, later when no more can be."""
