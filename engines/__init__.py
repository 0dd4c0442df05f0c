"""What a network is: made, measured, and run.

Imports `sensors` and never `perception`. Start at `bundle.py` (a network as a folder), then `runtime/`
(the Engine contract) and `decoders/` (a network's raw outputs to results).
"""

from importlib.util import find_spec
from os.path import dirname

for _sibling in ("sensors", "perception"):
    _spec = find_spec(_sibling)
    if _spec is None or dirname(dirname(_spec.origin or "")) != dirname(dirname(__file__)):  # noqa: PTH120
        raise ImportError(
            f"the package {_sibling!r} found on the import path is not edge-perception's: another distribution "
            "shadows it; install edge-perception in a virtual environment of its own"
        )
