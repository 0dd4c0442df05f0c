"""One of the two bundles, ready: a frame goes in, tracked boxes or masks come out, and how long it took."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from engines.bundle import Bundle
from engines.decoders import NonFiniteOutputError
from engines.errors import EngineError
from engines.results import Detections, Found, SegmentationMap
from perception.clearance import Postprocessing
from perception.gate.mask_figures import Groups, SeenMasks, shared_masks
from perception.gate.matching import Seen, doubles
from perception.gate.thresholds import GateThresholds
from perception.network import Network
from perception.tracking import Tracker
from sensors.frame import Frame

_SLOT = 0  # one frame is looked at at a time, so that neither side's time holds the other's
_NO_GROUPS: Groups = {}


@dataclass(frozen=True, slots=True)
class Look:
    """What a side made of one frame: what it saw, or why it failed."""

    seen: Seen | SeenMasks | None
    elapsed_ns: int
    failure: str = ""


class Side:
    """A network with the trackers of its own. `names` are the classes of both sides, `groups` the same of masks."""

    def __init__(
        self, network: Network, names: Sequence[str], thresholds: GateThresholds, groups: Groups = _NO_GROUPS
    ) -> None:
        self._network = network
        self._thresholds = thresholds
        self._groups = groups
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
        """Take a frame the whole way from its staging to its tracked boxes, or its masks."""
        engine = self._network.engine
        place = engine.place(frame.width, frame.height)
        began_ns = time.monotonic_ns()
        try:
            engine.stage(_SLOT, 0, frame.image, place, frame.format)
            engine.submit(_SLOT, 1)
            found: Found = self._network.decoder.decode(engine.wait(_SLOT).rows[0], place, self._network.thresholds)
        except (EngineError, NonFiniteOutputError) as failure:
            return Look(None, time.monotonic_ns() - began_ns, str(failure))
        if isinstance(found, Detections):
            found = self._trackers[drive, frame.sensor].update(found, frame.stamp_ns)
        elapsed_ns = time.monotonic_ns() - began_ns
        if isinstance(found, SegmentationMap):
            return Look(shared_masks(found, self.bundle.labels, self._groups), elapsed_ns)
        assert isinstance(found, Detections)  # a gate refuses classifiers before it looks at a frame
        sure = found.scores > self._least[found.classes]
        named = replace(found, classes=self._name_of[found.classes])
        return Look(Seen(named, sure, doubles(named, self._thresholds.double_iou)), elapsed_ns)


def shared_names(baseline: Bundle, candidate: Bundle) -> tuple[str, ...]:
    """The classes of both sides: a class is what it is called, wherever it stands in a bundle's list."""
    return tuple(dict.fromkeys((*baseline.labels, *candidate.labels)))


def class_names_by_group(network: Network) -> dict[str, tuple[str, ...]]:
    """What a segmenter calls the classes of each of its groups; empty for a detector."""
    names, first = {}, 0
    for group, count in network.decoder.groups.items():
        names[group] = network.bundle.labels[first : first + count]
        first += count
    return names


def shared_groups(baseline: Groups, candidate: Groups) -> dict[str, tuple[str, ...]]:
    """The groups of both sides, each with the classes that either side calls so."""
    groups = dict.fromkeys((*baseline, *candidate))
    return {group: tuple(dict.fromkeys((*baseline.get(group, ()), *candidate.get(group, ())))) for group in groups}


def lacking_classes(baseline: Mapping[str, Sequence[str]], candidate: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """Classes of the baseline's groups that the candidate has not in the group of that name."""
    return tuple(
        f"{name} of {group}"
        for group, names in baseline.items()
        for name in names
        if name not in candidate.get(group, ())
    )


def failed_in_words(looks: tuple[Look, Look]) -> str:
    """Which side could not answer."""
    failed = [name for name, look in zip(("the baseline", "the candidate"), looks, strict=True) if not look.seen]
    return f"{' and '.join(failed)} failed"
