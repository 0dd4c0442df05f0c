"""The Engine contract: the same calls serve a CPU session, a CUDA stream and a test's fake.

An engine has a few slots, fixed at opening, each with its own input and output memory. One thread stages and
submits, one waits; the two never hold the same slot. A slot's life is stage (once a row, row 0 first), submit, wait,
and only then stage again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from engines.letterbox import Geometry
from engines.reduction import Reduction
from engines.results import Thresholds
from sensors.frame import PixelFormat


@dataclass(frozen=True, slots=True)
class GpuTimes:
    """One slot's times, ms, in trtexec's words: all but the last on the device, by its own events.

    `copy_in` (H2D), `compute` (GPU compute), `copy_out` (D2H), `enqueue` (the host's, to start the inference); and what
    trtexec does not have: `preprocess` (the letterbox), `reduce` (to the candidates, where that is asked for). Copies
    are 0 where host and device share their memory.
    """

    copy_in_ms: float
    preprocess_ms: float
    compute_ms: float
    reduce_ms: float
    copy_out_ms: float
    enqueue_ms: float

    def by_stage(self) -> dict[str, float]:
        """In the order in which they happen, by the names under which people get them."""
        return {
            "enqueue": self.enqueue_ms,
            "h2d": self.copy_in_ms,
            "preprocess": self.preprocess_ms,
            "compute": self.compute_ms,
            "reduce": self.reduce_ms,
            "d2h": self.copy_out_ms,
        }


@dataclass(frozen=True, slots=True)
class Completed:
    """One slot's finished inference. Times are host monotonic ns.

    `rows[r]` has the outputs of row r, of as many as were submitted, by role and without a batch axis: views into the
    slot's memory, valid until the slot is staged again.
    """

    rows: tuple[Mapping[str, NDArray[Any]], ...]
    started_ns: int
    inferred_ns: int
    gpu: GpuTimes | None = None  # of an engine on a GPU


class Engine(Protocol):
    """A loaded bundle on one device. A context manager; ready (warmed up at every shape) once it is open."""

    @property
    def name(self) -> str:
        """Which engine this is, as `--engine` has it."""

    @property
    def device(self) -> str:
        """Where it runs, for example "cpu" or "cuda:0"."""

    @property
    def slots(self) -> int: ...

    @property
    def max_rows(self) -> int:
        """Images that one slot takes at most."""

    @property
    def notes(self) -> Sequence[str]:
        """What a person should hear once, of something that works and could be better."""

    @property
    def reads_nv12(self) -> bool:
        """Whether NV12 is less work for it than BGR: then a camera's pictures may be left so."""

    def place(self, width: int, height: int) -> Geometry:
        """Where an image of this size will lie in the input."""

    def reduce(self, reduction: Reduction, thresholds: Thresholds) -> bool:
        """Leave the decoder no more than its candidates, as `engines.reduction` says, from the next submit on.

        False where the engine does not do that: its outputs stay raw. Called with nothing in flight.
        """

    def stage(
        self,
        slot: int,
        row: int,
        image: NDArray[np.uint8],
        geometry: Geometry,
        kind: PixelFormat = PixelFormat.BGR,
    ) -> None:
        """Put one image, letterboxed and normalised as the bundle says, into the slot's input memory.

        The image may be released when this returns, unless the engine's device reads it later (it says so
        in its own documentation).
        """

    def submit(self, slot: int, rows: int) -> None:
        """Start inference on the slot's first `rows` rows. Returns at once."""

    def wait(self, slot: int) -> Completed:
        """Block, with the GIL free, until the slot's inference is done.

        Raises `EngineError` when that inference failed; the slot can be staged again then too.
        """

    def close(self) -> None:
        """Finish what was submitted and free everything. May be called more than once."""

    def __enter__(self) -> Engine: ...

    def __exit__(self, *exc: object) -> None: ...
