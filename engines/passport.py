"""What a bundle was made from and by: the start of its passport.

Later steps (calibration, evaluation, plans) add sections; none is ever rewritten by another step.
"""

from __future__ import annotations

import hashlib
import json
import platform
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any

from engines.bundle import PASSPORT, Bundle
from engines.errors import BundleError

PASSPORT_VERSION = 1


def import_passport(source: Path, model: bytes, model_facts: dict[str, Any], decoder: str) -> dict[str, Any]:
    """Make the passport of a freshly imported network."""
    return {
        "passport_version": PASSPORT_VERSION,
        "imported": {
            "from": source.name,
            "onnx_sha256": hashlib.sha256(model).hexdigest(),
            "onnx_bytes": len(model),
            "decoder": decoder,
            **model_facts,
            "at": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "by": f"edge-perception {version('edge-perception')}",
            "onnxruntime": version("onnxruntime"),
            "python": platform.python_version(),
            "machine": platform.machine(),
        },
    }


def calibrated_passport(bundle: Bundle, model: bytes, facts: dict[str, Any]) -> dict[str, Any]:
    """Make the passport of the INT8 bundle of a float one: the float one's, and how it was calibrated."""
    return {
        **read_passport(bundle.folder),
        "passport_version": PASSPORT_VERSION,
        "calibrated": {
            "from": bundle.name,
            "from_bundle_sha256": bundle.sha256,
            "from_onnx_sha256": hashlib.sha256(bundle.model.read_bytes()).hexdigest(),
            "onnx_sha256": hashlib.sha256(model).hexdigest(),
            "onnx_bytes": len(model),
            **facts,
            "at": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "by": f"edge-perception {version('edge-perception')}",
            "python": platform.python_version(),
        },
    }


def to_text(passport: dict[str, Any]) -> str:
    """As it stands in the file."""
    return json.dumps(passport, indent=2, ensure_ascii=False) + "\n"


def read_passport(folder: Path) -> dict[str, Any]:
    """Read a bundle's passport; empty when it has none. Raises `BundleError` when it cannot be read."""
    path = folder / PASSPORT
    if not path.exists():
        return {}
    try:
        passport = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise BundleError(str(path), f"cannot be read ({error})", "import the network again") from None
    if not isinstance(passport, dict):
        raise BundleError(str(path), "is no passport", "import the network again")
    return passport
