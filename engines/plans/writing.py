"""A plan's folder, written whole or not at all."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engines.errors import BundleError
from engines.plan_file import PASSPORT, PLAN


def check_place(place: Path, *, replace_existing: bool) -> None:
    """Raise `BundleError` where something is there already that is no plan, or must not be replaced."""
    if place.exists() and not (replace_existing and (place / PASSPORT).is_file()):
        raise BundleError(str(place), "exists already", "choose another folder with -o, or replace a plan with --force")


def write_plan(place: Path, plan: bytes, passport: Mapping[str, Any], beside: Mapping[str, bytes]) -> None:
    """Write a plan, its passport and the files `beside` it, by name. What was there is replaced."""
    files = {PLAN: plan, **beside}
    files[PASSPORT] = (json.dumps(passport, indent=2, ensure_ascii=False) + "\n").encode()
    draft: Path | None = None
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f".{place.name}-", dir=place.parent))
        draft.chmod(0o755)
        for name, content in files.items():
            with (draft / name).open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        if place.exists():
            shutil.rmtree(place)
        draft.rename(place)
    except BaseException as error:
        if draft is not None:
            shutil.rmtree(draft, ignore_errors=True)
        if isinstance(error, OSError):
            raise BundleError(
                str(place), f"cannot be written ({error.strerror or error})", "choose another place with -o"
            ) from None
        raise
