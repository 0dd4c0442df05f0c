"""One of the two bundles, ready: a frame goes in, tracked boxes come out, and how long it took."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from engines.bundle import Bundle
from engines.decoders import NonFiniteOutputError
from engines.errors import BundleError, EngineError
from engines.results import Detections
from perception.clearance import Postprocessing
from perception.gate.matching import Seen, doubles
from perception.gate.thresholds import GateThresholds
from perception.network import Network
from perception.tracking import Tracker
from sensors.frame import Frame

_SLOT = 0  # one frame is looked at at a time, so that neither side's time holds the other's


@dataclass(frozen=True, slots=True)
class Look:
    """What a side made of one frame: what it saw, or why it failed."""

    seen: Seen | None
    elapsed_ns: int
    failure: str = ""


class Side:
    """A network with the trackers of its own; `names` are the classes of both sides."""

    def __init__(self, network: Network, names: Sequence[str], thresholds: GateThresholds) -> None:
        if network.decoder.groups:
            raise BundleError(
                str(network.bundle.folder),
                f"its decoder, {network.bundle.settings.decoder}, finds no boxes",
                "give a detector: a gate compares boxes and tracks",
            )
        self._network = network
        self._thresholds = thresholds
        self._name_of = np.array([names.index(label) for label in network.bundle.labels], np.int32)
        self._least = network.thresholds.per_class(len(network.bundle.labels)) + np.float32(thresholds.margin)
        self._trackers: defaultdict[tuple[int, str], Tracker] = defaultdict(lambda: Tracker(network.tracking))

    @property
    def bundle(self) -> Bundle:
        """What is judged."""
        return self._network.bundle

    @property
    def engine(self) -> str:
        """The name of what runs it."""
        return self._network.engine.name

    @property
    def postprocessing(self) -> Postprocessing:
        """With which thresholds it runs."""
        return Postprocessing.of(self._network.thresholds, self.bundle.labels)

    def look(self, frame: Frame, drive: int) -> Look:
        """Take a frame the whole way from its staging to its tracked boxes."""
        engine = self._network.engine
        place = engine.place(frame.width, frame.height)
        began_ns = time.monotonic_ns()
        try:
            engine.stage(_SLOT, 0, frame.image, place)
            engine.submit(_SLOT, 1)
            found = self._network.decoder.decode(engine.wait(_SLOT).rows[0], place, self._network.thresholds)
        except (EngineError, NonFiniteOutputError) as failure:
            return Look(None, time.monotonic_ns() - began_ns, str(failure))
        assert isinstance(found, Detections)
        found = self._trackers[drive, frame.sensor].update(found, frame.stamp_ns)
        elapsed_ns = time.monotonic_ns() - began_ns
        sure = found.scores > self._least[found.classes]
        named = replace(found, classes=self._name_of[found.classes])
        return Look(Seen(named, sure, doubles(named, self._thresholds.double_iou)), elapsed_ns)


def shared_names(baseline: Bundle, candidate: Bundle) -> tuple[str, ...]:
    """The classes of both sides: a class is what it is called, wherever it stands in a bundle's list."""
    return tuple(dict.fromkeys((*baseline.labels, *candidate.labels)))
