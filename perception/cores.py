"""Which cores the engine computes on, and which are left to everything else, where cores are few.

An inference runs for milliseconds without a pause. Where no core idles, the scheduler wakes our other threads on
the very core that computes, though the other one has time: on 2 cores the engine waited 3 of 10 ms for its own
core, and a replay reached 100 frames/s instead of 130. Threads inherit the cores of the thread that starts them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

# With more cores to spare than this there is an idle one for each of our threads, and fixed places would only
# make several replays on one machine fight for the same core.
MOST_SPARE = 2


def split_cores(engine_threads: int) -> tuple[set[int], set[int]]:
    """Give the engine's cores and the others'; both are all cores where there is nothing to gain."""
    available = sorted(os.sched_getaffinity(0))
    spare = len(available) - engine_threads
    if not 0 < spare <= MOST_SPARE:
        return set(available), set(available)
    return set(available[spare:]), set(available[:spare])


@contextmanager
def running_on(cores: set[int]) -> Iterator[None]:
    """Keep this thread, and those that it starts, on some cores."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
