"""A bundle comes into being: written beside its place, tried, and only then renamed. It is there and works, or not."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from engines.bundle import SETTINGS, Bundle, load_bundle
from engines.errors import BundleError


def check_place(folder: Path, *, replace_existing: bool) -> None:
    """Raise `BundleError` where a new bundle cannot take this place. Call it before what takes long."""
    if not os.path.exists(folder):  # noqa: PTH110  Path.exists raises on too long a name
        return
    if not replace_existing:
        raise BundleError(str(folder), "exists already", "choose another folder, or replace it with --force")
    if not (folder / SETTINGS).is_file():  # never a folder that is something else
        raise BundleError(
            str(folder), "exists and is no bundle", "choose another folder; --force replaces bundles only"
        )


def write_bundle(
    folder: Path, files: Mapping[str, bytes], try_out: Callable[[Bundle], None], *, replace_existing: bool = False
) -> Bundle:
    """Write a bundle's files, try the finished bundle, give it its place.

    Raises `BundleError`, or what `try_out` raises; `folder` is then as it was.
    """
    check_place(folder, replace_existing=replace_existing)
    folder = folder.resolve()  # a link keeps its place; the bundle that it points to is replaced
    new_parents = [parent for parent in folder.parents if not os.path.exists(parent)]  # noqa: PTH110  innermost first
    draft: Path | None = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        draft.chmod(0o755)  # mkdtemp makes it private; a bundle is not
        for name, content in files.items():
            (draft / name).write_bytes(content)
        try_out(load_bundle(draft))
        give_place(draft, folder)
    except BaseException as error:
        if draft is not None:
            shutil.rmtree(draft, ignore_errors=True)
        for parent in new_parents:
            with suppress(OSError):
                parent.rmdir()
        if isinstance(error, OSError):
            raise BundleError(
                str(folder), f"cannot be written ({error.strerror or error})", "choose another place"
            ) from None
        raise
    return load_bundle(folder)


def give_place(draft: Path, folder: Path) -> None:
    """Rename a finished folder into its place, and remove what was there; both on the disk first.

    What was there is put back where that fails, and lies beside it, hidden, where the process is killed in between.
    """
    for path in (*draft.iterdir(), draft):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    if not folder.exists():
        draft.rename(folder)
        return
    aside = folder.with_name(f"{draft.name}.before")
    folder.rename(aside)
    try:
        draft.rename(folder)
    except BaseException:
        aside.rename(folder)
        raise
    shutil.rmtree(aside)
