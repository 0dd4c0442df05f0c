"""A plan's passport, and what is refused by it before anything deserialises the plan.

A plan is a folder of two files, `plan.engine` and `passport.json`. TensorRT tells a foreign plan by "magicTag", or not
at all until it crashes; a passport tells it in words.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engines.bundle import Bundle
from engines.errors import EngineError
from engines.gpu import Gpu

PLAN, PASSPORT = "plan.engine", "passport.json"
VERSION = 1


@dataclass(frozen=True)
class FittingPlan:
    """A plan that was let in. `device` as it was built for, "cuda:0" or "dla:1"."""

    folder: Path
    device: str
    content: bytes


def device_index(device: str) -> int:
    """The number in `cuda:1`."""
    number = device.partition(":")[2]
    return int(number) if number.isdecimal() else 0


def find_plan(
    bundle: Bundle, flavor: str, version: str, gpu_of: Callable[[int], Gpu | None], precision: str
) -> FittingPlan:
    """Give the bundle's newest plan that fits; one for the GPU before one for a DLA.

    Raises `EngineError`: why the newest does not fit, or that there is none, and the command that builds one.
    """
    plans = bundle.folder / "plans"
    found = [(folder, passport) for folder, passport in _passports(plans) if passport.get("flavor") == flavor]
    found.sort(
        key=lambda pair: (not str(pair[1].get("device")).startswith("dla"), str(pair[1].get("at"))), reverse=True
    )
    refusals: list[EngineError] = []
    for folder, passport in found:
        device = str(passport.get("device"))
        try:
            gpu = gpu_of(device_index(device) if device.startswith("cuda") else 0)
            return FittingPlan(folder, device, read_plan(folder, bundle, version, gpu))
        except EngineError as refusal:
            refusals.append(refusal)
    if refusals:
        raise refusals[0]
    raise EngineError(
        bundle.name,
        f"has no plan of {flavor} (none in {plans})",
        f"build one here with `perception engine build {bundle.folder} --flavor {flavor} --precision {precision}`",
    )


def built_on(bundle: Bundle) -> list[tuple[str, str | None]]:
    """Flavour, and name of the GPU that it is bound to, of every plan of a bundle."""
    return [
        (str(passport.get("flavor")), passport["gpu"].get("name") if isinstance(passport.get("gpu"), dict) else None)
        for _, passport in _passports(bundle.folder / "plans")
    ]


def _passports(plans: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Every plan's folder whose passport can be read at all."""
    for path in sorted(plans.glob(f"*/{PASSPORT}")):
        with suppress(OSError, ValueError):
            passport = json.loads(path.read_bytes())
            if isinstance(passport, dict):
                yield path.parent, passport


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
