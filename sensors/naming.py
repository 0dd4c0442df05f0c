"""What a user writes for a source, `NAME=URI`, taken apart; and its URI as it may be shown."""

from __future__ import annotations

import os
import re
from collections.abc import Collection

from sensors.errors import RequestError

# Names are part of ZeroMQ topics and of file names, so no slash, no space, nothing that needs quoting.
_SAFE = re.compile(r"[A-Za-z0-9._-]+")
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")
_SECRET_PATH = re.compile("user|pass|pwd|auth|token", re.IGNORECASE)
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):(.*)", re.DOTALL)


def split_name(text: str) -> tuple[str | None, str]:
    """Split `NAME=URI`; without a name, (None, URI).

    A `=` after a slash or a colon belongs to the path or URI, so `./a=b.mp4` names a file; `a=b.mp4` does
    where there is such a file.
    """
    name, equals, uri = text.partition("=")
    is_path = os.path.exists(text)  # noqa: PTH110  Path.exists raises on text too long for a path
    if not equals or "/" in name or ":" in name or is_path:
        return None, text
    return check_name(name), uri


def check_name(name: str) -> str:
    """Give `name` back if it may be a sensor's name, else raise RequestError."""
    if not _SAFE.fullmatch(name):
        what = f"the name {name!r} has other characters than letters, digits, '.', '_' and '-'"
        raise RequestError(f"source {name!r}", what, f"call it {safe_name(name)!r}, say")
    return name


def safe_name(text: str) -> str:
    """Make a sensor's name of any text: each run of other characters becomes one `_`."""
    return _UNSAFE.sub("_", text) or "_"


def distinct_name(name: str, taken: Collection[str]) -> str:
    """Give `name`, or `name-2`, `name-3`, ... if it is taken."""
    candidate, number = name, 1
    while candidate in taken:
        number += 1
        candidate = f"{name}-{number}"
    return candidate


def split_scheme(uri: str) -> tuple[str, str]:
    """Split `scheme:rest`; without a scheme, ("", uri). A scheme has two letters or more."""
    match = _SCHEME.fullmatch(uri)
    return (match[1].lower(), match[2]) if match else ("", uri)


def shown(uri: str) -> str:
    """Give a URI without what may be secret in it: user, password, query. Paths stay as they are."""
    scheme, rest = split_scheme(uri)
    if not rest.startswith("//"):
        return uri
    # The last @ of all, since passwords may hold one, and a / or ? too: cameras' default passwords do, unescaped.
    address, question, _ = rest[2:].rpartition("@")[2].partition("?")
    host, slash, path = address.partition("/")
    # Some cameras want user=NAME_password=SECRET in the path.
    return f"{scheme}://{host}{slash}{'...' if _SECRET_PATH.search(path) else path}{question and '?...'}"
