"""What happens to a frame at run time, and the one command.

Start at `pipeline.py`: a frame's whole way. Programs that read a stream need only `Subscriber`, or `HealthSubscriber`:

    from perception import Subscriber
    with Subscriber("tcp://127.0.0.1:5555") as reader:
        for message in reader:
            ...
"""

from __future__ import annotations

from importlib.util import find_spec
from os.path import dirname
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from perception.stream import HealthSubscriber, StreamSubscriber, Subscriber

__all__ = ["HealthSubscriber", "StreamSubscriber", "Subscriber"]

for _sibling in ("engines", "sensors"):
    _spec = find_spec(_sibling)
    if _spec is None or dirname(dirname(_spec.origin or "")) != dirname(dirname(__file__)):  # noqa: PTH120
        raise ImportError(
            f"the package {_sibling!r} found on the import path is not edge-perception's: another distribution "
            "shadows it; install edge-perception in a virtual environment of its own"
        )


def __getattr__(name: str) -> Any:
    """Load a subscriber when it is first asked for: `import perception` stays quick."""
    if name in __all__:
        import perception.stream

        return getattr(perception.stream, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
