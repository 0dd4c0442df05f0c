"""What was measured of a plan on the device that it runs on, noted in its passport."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from engines.bundle import Bundle
from engines.errors import EngineError
from engines.gpu import driver_version, power_mode
from engines.plan_file import PASSPORT, device_index
from engines.runtime.machine import THIS_MACHINE, Machine, plan_of
from engines.tensorrt_library import FLAVORS


def note(
    bundle: Bundle, engine: str, what: str, figures: Mapping[str, Any], machine: Machine = THIS_MACHINE
) -> Path | None:
    """Put figures into the passport of the plan that `engine` runs, under `measured` and `what`; give its folder.

    They stand beside the GPU, driver and power mode that they were measured with, and replace older ones of their kind.
    None where the engine runs no plan. Raises `EngineError` where the passport cannot be written.
    """
    if engine not in FLAVORS:
        return None
    plan = plan_of(bundle, machine.open_library(engine), machine)
    gpu = machine.find_gpu(device_index(plan.device) if plan.device.startswith("cuda") else 0)
    file = plan.folder / PASSPORT
    draft = file.with_name(f".{PASSPORT}.{os.getpid()}.part")
    noted = {
        **figures,
        "gpu": gpu.facts() if gpu else None,
        "driver": driver_version(),
        "power_mode": power_mode(),
        "at": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }
    try:
        passport = json.loads(file.read_bytes())
        passport["measured"] = passport.get("measured", {}) | {what: noted}
        with draft.open("w", encoding="utf-8") as target:
            target.write(json.dumps(passport, indent=2, ensure_ascii=False) + "\n")
            target.flush()
            os.fsync(target.fileno())
        draft.replace(file)
    except OSError as error:
        raise EngineError(str(file), f"cannot be written ({error.strerror})", "make room, and measure again") from None
    finally:
        draft.unlink(missing_ok=True)
    return plan.folder
