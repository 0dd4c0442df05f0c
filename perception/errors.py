"""Errors of the runtime process (the tree's root is `sensors.errors`).

RequestError
├── UsageError          an argument, or a combination of them, is wrong (exit code 2)
└── RefusedError        the publisher does not let this reader in: a key is wrong or missing (exit code 2)
EdgePerceptionError
└── StreamError         the stream cannot be published or read (exit code 3)
    └── message.MalformedMessageError   bytes that are no message of ours
"""

from __future__ import annotations

from sensors.errors import EdgePerceptionError, RequestError


class UsageError(RequestError):
    """What was asked for cannot be done as it was asked."""


class RefusedError(RequestError):
    """The publisher does not let this reader in; asking again with the same keys would not help."""


class StreamError(EdgePerceptionError):
    """The stream cannot be published or read."""
