"""Files that are there whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from perception.errors import UsageError


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Give a temporary name beside `path`; it takes the name `path` when the block ends without an error.

    A file that nothing was written into takes no name. The temporary name keeps the suffix, by which video writers
    choose their container. Raises `UsageError` when the folder cannot be written to.
    """
    try:
        path = path.resolve()  # a link keeps its place; what it points to is replaced
        if path.is_dir():
            raise UsageError(str(path), "is a folder", "give the name of a file")
        if path.exists() and not path.is_file():
            raise UsageError(str(path), "is no plain file, and would be replaced by one", "give the name of a file")
        draft = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")
        draft.touch()
    except OSError as error:
        raise UsageError(
            str(path),
            f"cannot be written ({error.strerror})",
            "choose another place; its folder has to exist",
        ) from None
    try:
        yield draft
        with draft.open("rb") as file:
            os.fsync(file.fileno())
        if draft.stat().st_size:
            draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
