"""What a training is made of at one step, in one file: there whole or not at all.

A checkpoint is good once the next step's loss is a number: weights can be beyond repair while every figure of the step
that made them still is one. Until then (`proven`) the one before lies beside it, an empty file where there was none.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import torch

from engines.errors import TrainingError

CHECKPOINT = "checkpoint.pt"
VERSION = 1


def save(path: Path, state: dict[str, Any]) -> None:
    """Write a state of tensors and plain values, with torch's random generators."""
    content = {"version": VERSION, "random": random_state(), **state}
    draft = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with draft.open("wb") as file:
            torch.save(content, file)
            file.flush()
            os.fsync(file.fileno())
        _keep_before(path)
        draft.replace(path)
    except OSError as error:
        raise TrainingError(str(path), f"cannot be written ({error.strerror})", "make room, and --resume") from None
    finally:
        draft.unlink(missing_ok=True)


def proven(path: Path) -> None:
    """Say that a step was made from the checkpoint: what it replaced is not needed any more."""
    _before(path).unlink(missing_ok=True)


def last_good(path: Path) -> Path | None:
    """Put the last checkpoint that is good in its place, where a training diverged; None where there is none."""
    before = _before(path)
    if before.is_file():
        if before.stat().st_size:
            before.replace(path)
        else:
            before.unlink()
            path.unlink(missing_ok=True)
    return path if path.is_file() else None


def _before(path: Path) -> Path:
    return path.with_name(f".{path.name}.before")


def _keep_before(path: Path) -> None:
    before = _before(path)
    before.unlink(missing_ok=True)
    if not path.exists():
        before.touch()
        return
    try:
        os.link(path, before)
    except OSError:  # a file system without links
        shutil.copyfile(path, before)


def load(path: Path) -> dict[str, Any]:
    """Read a state. Nothing in the file is executed. Raises `TrainingError`."""
    if not path.is_file():
        raise TrainingError(str(path), "there is no such checkpoint", "give a training's folder, or start without it")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises RuntimeError, UnpicklingError, EOFError and others for a damaged file
        first = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise TrainingError(str(path), f"is no checkpoint ({first})", "give one that `engine train` wrote") from None
    if not isinstance(state, dict) or state.get("version") != VERSION:
        raise TrainingError(str(path), "is no checkpoint of this version", "train again")
    return state


def random_state() -> dict[str, Any]:
    """Where torch's generators stand. Pictures need none: each makes its own of the seed and its position."""
    state: dict[str, Any] = {"torch": torch.get_rng_state()}
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state_all()
    return state


def restore_random_state(state: dict[str, Any]) -> None:
    """Put the generators back where they stood."""
    torch.set_rng_state(state["torch"])
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state["cuda"])
