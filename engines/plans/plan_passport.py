"""A plan's passport, and what is refused by it before anything deserialises the plan.

A plan is a folder of two files, `plan.engine` and `passport.json`. TensorRT tells a foreign plan by "magicTag", or not
at all until it crashes; a passport tells it in words.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from engines.bundle import Bundle
from engines.errors import EngineError
from engines.plans.device import Gpu

PLAN, PASSPORT = "plan.engine", "passport.json"
VERSION = 1


def read_plan(folder: Path, bundle: Bundle, version: str, gpu: Gpu | None) -> bytes:
    """Give a plan's bytes where its passport fits the bundle, the library's `version` and the GPU.

    Raises `EngineError` with every mismatch in words and the command that rebuilds the plan.
    """
    folder = Path(folder)
    if folder.is_file():
        raise EngineError(str(folder), f"is {_what_it_is(folder)}, and a plan here is a folder", _rebuild(bundle, None))
    try:
        passport = json.loads((folder / PASSPORT).read_bytes())
        content = (folder / PLAN).read_bytes()
    except (OSError, ValueError) as error:
        raise EngineError(str(folder), f"is no plan of ours ({error})", _rebuild(bundle, None)) from None
    if not isinstance(passport, dict) or passport.get("plan_passport_version") != VERSION:
        raise EngineError(str(folder), "has a passport of another version", _rebuild(bundle, None))
    wrong = mismatches(passport, content, bundle, version, gpu)
    if wrong:
        raise EngineError(str(folder), "; ".join(wrong), _rebuild(bundle, passport, folder))
    return content


def mismatches(passport: dict[str, Any], content: bytes, bundle: Bundle, version: str, gpu: Gpu | None) -> list[str]:
    """Everything in which a passport does not fit, in words."""
    wrong = []
    size = passport.get("plan_bytes")
    if len(content) != size:
        wrong.append(f"its plan has {len(content)} bytes of {size}: truncated, or replaced")
    elif hashlib.sha256(content).hexdigest() != passport.get("plan_sha256"):
        wrong.append("its plan is not the one of its passport: damaged, or replaced")
    if passport.get("bundle_sha256") != bundle.sha256:
        wrong.append(f"it was built from another bundle than {bundle.name} is now (of {passport.get('bundle')})")
    if passport.get("version") != version:
        wrong.append(f"it was built by {passport.get('flavor')} {passport.get('version')}, and {version} is here")
    built_on = passport.get("gpu")
    if isinstance(built_on, dict) and gpu is not None:
        for key, word in (("name", "GPU"), ("architecture", "architecture")):
            if built_on.get(key) != getattr(gpu, key):
                wrong.append(f"it was built on the {word} {built_on.get(key)}, and {getattr(gpu, key)} is here")
    elif isinstance(built_on, dict):
        wrong.append(f"it was built on {built_on.get('name')}, and no GPU is here")
    return wrong


def _what_it_is(path: Path) -> str:
    with path.open("rb") as file:
        head = file.read(64)
    if head[4:5] == b"{":  # a length of four bytes, then JSON
        return "an .engine of ultralytics"
    return "an .engine or plan of another tool"


def _rebuild(bundle: Bundle, passport: dict[str, Any] | None, folder: Path | None = None) -> str:
    command = f"perception engine build {bundle.folder}"
    if passport is not None:
        command += f" --flavor {passport.get('flavor')} --precision {passport.get('precision')}"
        command += f" --device {passport.get('device')} -o {folder} --force"
    return f"build it here with `{command}`"
