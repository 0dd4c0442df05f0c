"""What a network was trained from and how, for its passport."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from datetime import datetime, timezone
from importlib.metadata import version
from typing import Any

from engines.training.datasets import Mixture
from engines.training.settings import Settings


def trained_section(
    mixture: Mixture,
    settings: Settings,
    *,
    step: int,
    spent_s: float,
    world: int,
    started_from: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The passport's section `trained`: of plain values, so that it fits into a checkpoint too.

    `started_from`: this section of the training whose weights it began with; what that learnt from is in it still.
    """
    return {
        "recipe": settings.recipe,
        "steps": step,
        "pictures": step * settings.batch,
        "hours": round(spent_s / 3600, 3),
        "processes": world,
        "classes": list(mixture.classes),
        "data": [
            {
                "dataset": part.name,
                "images": len(part.images),
                "weight": part.weight,
                "labels": [name for name, known in zip(mixture.classes, part.class_map.labelled, strict=True) if known],
            }
            for part in mixture.parts
        ],
        "teachers": list(mixture.teachers),
        **({"started_from": dict(started_from)} if started_from else {}),
        "at": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "by": f"edge-perception {version('edge-perception')}",
        "torch": version("torch"),
        "machine": platform.machine(),
    }
