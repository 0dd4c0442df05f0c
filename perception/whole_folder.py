"""Folders that are there whole or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from perception.errors import UsageError


def check_folder_place(folder: Path, what: str, marker: str, *, replace_existing: bool) -> None:
    """Raise `UsageError` where a new folder cannot take this place. Call it before what takes long.

    Only a folder that holds the file `marker` is ever replaced, which makes it `what`, for example "gate report".
    """
    if not os.path.lexists(folder):
        return
    if not replace_existing:
        raise UsageError(str(folder), "exists already", f"choose another folder, or replace a {what} with --force")
    if not (folder / marker).is_file():  # never a folder that is something else
        raise UsageError(
            str(folder), f"exists and is no {what}", f"choose another folder; --force replaces a {what} only"
        )


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """Give a temporary folder beside `folder`; it takes that name, and the place of what has it, at the block's end.

    Raises `UsageError` where the disk does not take it; `folder` is then, and after any error, as it was.
    """
    folder = folder.resolve()  # a link keeps its place
    draft: Path | None = None
    old: Path | None = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        draft.chmod(0o755)  # mkdtemp makes it private
        yield draft
        for file in draft.rglob("*"):
            if file.is_file():
                with file.open("rb") as written:
                    os.fsync(written.fileno())
        if folder.exists():
            old = draft.with_name(f"{draft.name}-old")
            folder.rename(old)
        draft.rename(folder)
    except OSError as error:
        if old is not None and not folder.exists():
            with suppress(OSError):
                old.rename(folder)
        raise UsageError(str(folder), f"cannot be written ({error.strerror})", "choose another place") from None
    finally:
        for rest in (draft, old):
            if rest is not None:
                shutil.rmtree(rest, ignore_errors=True)
