"""One frame's line in the ledger as slices: on the thread that worked, on the engine, and on the slot that it held."""

from __future__ import annotations

import gzip
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO, cast

from perception.errors import UsageError
from perception.ledger import Entry
from perception.message import Status
from perception.pipeline import Result
from perception.trace.trace_file import Slice, TraceFile
from perception.whole_file import whole_file

_COMPLETER, _FEEDER = "completer", "feeder"
# Tracks from top to bottom, as a frame goes.
_ORDER = {"decode": 0, "wait": 100, _FEEDER: 200, "inference": 300, _COMPLETER: 400, "slot": 500}


class FrameTrace:
    """Writes every result's slices. One a run; called by the completer alone.

    Where frames of one kind of work overlap (a decoder reads ahead, a GPU has several streams), the work has several
    tracks, `front: decode`, `front: decode 2`: slices of one track never overlap.
    """

    def __init__(self, file: TraceFile, networks: Sequence[str]) -> None:
        self._file = file
        self._networks = networks
        self._lanes: dict[str, list[int]] = {}  # of a kind of work: when the last slice of each of its tracks ended
        self._completed_ns = 0
        self.frames = 0
        file.track(_COMPLETER, _ORDER[_COMPLETER])

    def __call__(self, result: Result) -> None:
        """Write one result."""
        entry = result.entry
        about = {
            "sensor": entry.sensor,
            "frame": entry.sequence,
            "stamp_ns": entry.stamp_ns,
            "status": result.status.name,
        }
        if result.status is not Status.OK:
            about["reason"] = result.reason
        self._file.add(self._stages(entry), about)
        if (held := self._held(entry)) is not None:
            self._file.add([held], about)
        self.frames += 1

    def _stages(self, entry: Entry) -> list[Slice]:
        """What was done with the frame, in the order in which it began."""
        sensor, taken_ns = entry.sensor, entry.taken_ns
        stages = [
            self._slice(f"{sensor}: decode", "decode", entry.arrival_ns, entry.decoded_ns),
            self._slice(f"{sensor}: wait", "wait", entry.decoded_ns or entry.arrival_ns, taken_ns),
            self._slice(_FEEDER, "stage", taken_ns, entry.staged_ns, _FEEDER),
        ]
        for network, (began_ns, ended_ns) in zip(self._networks, entry.inferences, strict=False):
            stages.append(self._slice(network, "inference", began_ns, ended_ns))
        # The completer turns to a frame when its inference is done, and when it is done with the frame before.
        turned_ns = max(entry.inferred_ns or entry.submitted_ns or taken_ns, self._completed_ns)
        stages.append(self._slice(_COMPLETER, "postprocess", turned_ns, entry.postprocessed_ns, _COMPLETER))
        stages.append(Slice(_COMPLETER, "publish", entry.postprocessed_ns, entry.published_ns))
        self._completed_ns = entry.published_ns
        return sorted((one for one in stages if one is not None), key=lambda one: one.began_ns)

    def _held(self, entry: Entry) -> Slice | None:
        """The slot, from the frame's coming into it until its last inference is done."""
        ended_ns = max(entry.submitted_ns, *(ended for _, ended in entry.inferences), 0)
        if not 0 < entry.taken_ns < ended_ns:
            return None
        track = f"slot {entry.slot}"
        self._file.track(track, _ORDER["slot"] + entry.slot)
        return Slice(track, f"{entry.sensor} {entry.sequence}", entry.taken_ns, ended_ns)

    def _slice(self, work: str, name: str, began_ns: int, ended_ns: int, kind: str = "") -> Slice | None:
        """A slice on the first track of this work that is free; None where the frame did not come there."""
        if not 0 < began_ns < ended_ns:
            return None
        lanes = self._lanes.setdefault(work, [])
        lane = next((lane for lane, free_from_ns in enumerate(lanes) if free_from_ns <= began_ns), len(lanes))
        lanes[lane : lane + 1] = [ended_ns]
        track = f"{work} {lane + 1}" if lane else work
        self._file.track(track, _ORDER[kind or name] + lane)
        return Slice(track, name, began_ns, ended_ns)


def check_name(path: Path) -> None:
    """Raise `UsageError` for a name that no viewer would know for a trace."""
    if not path.name.lower().endswith((".json", ".json.gz")):
        raise UsageError(str(path), "is no name of a trace", "give --trace a name that ends in .json or .json.gz")


@contextmanager
def trace_into(path: Path, networks: Sequence[str], about: Mapping[str, Any]) -> Iterator[FrameTrace]:
    """Give an observer that writes `path`, which is there whole or, after an error or without a frame, not at all.

    `.json`, or `.json.gz`, which Perfetto reads as it is and which takes a tenth of the room. `networks`: their names,
    in the pipeline's order. `about` is read at the end, and may be added to until then.
    """
    with whole_file(path) as draft:
        with _opened(draft) as file:
            trace = TraceFile(file, "perception")
            frames = FrameTrace(trace, networks)
            yield frames
            trace.end({**about, "frames": frames.frames, "clock": "CLOCK_MONOTONIC, microseconds"})
        if not frames.frames:
            draft.write_bytes(b"")


def _opened(draft: Path) -> TextIO:
    if draft.suffix.lower() == ".gz":
        return cast(TextIO, gzip.open(draft, "wt", encoding="utf-8"))
    return draft.open("w", encoding="utf-8")
