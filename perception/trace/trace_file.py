"""A file in Chrome's Trace Event Format, event by event, so that a long run takes no memory.

The format: "Trace Event Format", Google; of it complete events (`X`), flow events (`s`, `t`, `f`) and names of tracks
(`M`). Perfetto reads it too, and wants slices of one track to nest or to be apart from each other.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TextIO

PROCESS = 1  # all tracks belong to one


@dataclass(frozen=True, slots=True)
class Slice:
    """Something that took its time on a track. Times are host monotonic ns, and come out in microseconds, exactly."""

    track: str
    name: str
    began_ns: int
    ended_ns: int

    @property
    def middle_ns(self) -> int:
        """Half its time on."""
        return (self.began_ns + self.ended_ns) // 2


class TraceFile:
    """Writes to an open text file. Tracks are shown by the `order` with which they are first used, then by name."""

    def __init__(self, file: TextIO, process: str) -> None:
        self._file = file
        self._tracks: dict[str, int] = {}
        self._flows = 0
        self._file.write('{"displayTimeUnit":"ms","traceEvents":[\n')
        self._file.write(json.dumps(self._named("process_name", 0, name=process)))

    def track(self, name: str, order: int) -> None:
        """Make a track known, where it is not yet."""
        if name not in self._tracks:
            self._tracks[name] = thread = len(self._tracks) + 1
            self._write(self._named("thread_name", thread, name=name))
            self._write(self._named("thread_sort_index", thread, sort_index=order))

    def add(self, slices: Sequence[Slice], arguments: dict[str, Any]) -> None:
        """Write slices that belong together, and arrows from each to the next.

        An arrow hangs on the slice in whose time it lies. In the middle, because slices meet at their ends.
        """
        for one in slices:
            event = {"ph": "X", "name": one.name, "pid": PROCESS, "tid": self._tracks[one.track], "args": arguments}
            self._write(event, one.began_ns, one.ended_ns)
        if len(slices) < 2:
            return
        self._flows += 1
        phases = ["s", *["t"] * (len(slices) - 2), "f"]
        for phase, one in zip(phases, sorted(slices, key=lambda one: one.middle_ns), strict=True):
            arrow = {"ph": phase, "name": "frame", "cat": "frame", "id": self._flows, "bp": "e"}
            self._write({**arrow, "pid": PROCESS, "tid": self._tracks[one.track]}, one.middle_ns)

    def end(self, about: dict[str, Any]) -> None:
        """Close what makes it JSON. `about` is shown beside the trace."""
        self._file.write(f'\n],"otherData":{json.dumps(about)}}}\n')

    def _write(self, event: dict[str, Any], began_ns: int | None = None, ended_ns: int | None = None) -> None:
        text = json.dumps(event, separators=(",", ":"), ensure_ascii=False)
        times = "" if began_ns is None else f',"ts":{_us(began_ns)}'
        if began_ns is not None and ended_ns is not None:
            times += f',"dur":{_us(ended_ns - began_ns)}'
        self._file.write(f",\n{text[:-1]}{times}}}")

    @staticmethod
    def _named(what: str, thread: int, **arguments: Any) -> dict[str, Any]:
        return {"ph": "M", "name": what, "pid": PROCESS, "tid": thread, "args": arguments}


def _us(time_ns: int) -> str:
    """Microseconds to the last ns: a float would lose them after some days of uptime."""
    return f"{time_ns // 1000}.{time_ns % 1000:03d}"
