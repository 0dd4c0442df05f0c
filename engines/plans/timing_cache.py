"""What a builder has timed on a device, kept between builds: one file and one lock for each library and device."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def cache_folder() -> Path:
    """Where caches of this user lie."""
    root = os.environ.get("XDG_CACHE_HOME")
    return (Path(root) if root else Path.home() / ".cache") / "edge-perception" / "timing"


@contextmanager
def locked_cache(folder: Path, key: str) -> Iterator[Path]:
    """Hold the cache file of `key` against other builds; they wait. The file may not exist yet."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{key}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield folder / f"{key}.cache"


def keep(path: Path, content: bytes) -> None:
    """Write the cache whole. Call it under its lock."""
    draft = path.with_suffix(f".{os.getpid()}.part")
    try:
        draft.write_bytes(content)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
