"""What a sensor gives: frames, scans and their stamps, from cameras and recorded drives.

Knows nothing of networks or sockets and imports neither `engines` nor `perception`. Start at `source.py`
(the `Source` contract), `opening.py` (`open_source`) and `frame.py` (the values that a source gives).
"""

from importlib.util import find_spec
from os.path import dirname

for _sibling in ("engines", "perception"):
    _spec = find_spec(_sibling)
    if _spec is None or dirname(dirname(_spec.origin or "")) != dirname(dirname(__file__)):  # noqa: PTH120
        raise ImportError(
            f"the package {_sibling!r} found on the import path is not edge-perception's: another "
            "distribution shadows it; install edge-perception in a virtual environment of its own"
        )
