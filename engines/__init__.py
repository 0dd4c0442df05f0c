"""What a network is: made, measured, and run.

Imports `sensors` and never `perception`. Start at `bundle.py` (a network as a folder), then `runtime/`
(the Engine contract) and `decoders/` (a network's raw outputs to results).
"""

import os
import sys
from importlib.util import find_spec
from os.path import dirname
from pathlib import Path

for _sibling in ("sensors", "perception"):
    _spec = find_spec(_sibling)
    if _spec is None or dirname(dirname(_spec.origin or "")) != dirname(dirname(__file__)):  # noqa: PTH120
        raise ImportError(
            f"the package {_sibling!r} found on the import path is not edge-perception's: another distribution "
            "shadows it; install edge-perception in a virtual environment of its own"
        )

# A vehicle tells nobody what it runs. ONNX Runtime's official builds, since 1.29 those for Linux too, report it to
# their maker unless this is set before they are imported; so does OpenVINO, through a package that it can do without.
# Both keep a number for the device on its disk.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # as if it were not installed


def default_bundle() -> Path:
    """Folder of the network that comes along: vehicle, person, cyclist, in INT8. Its CARD.md says how good it is."""
    return Path(__file__).parent / "bundles" / "road"
