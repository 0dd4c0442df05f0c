"""One network as it looks at frames one by one, and what its classes are to the model's."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from engines.errors import BundleError
from engines.matched_classes import match_classes
from engines.results import Detections
from perception.errors import UsageError
from perception.network import Network
from perception.tracking import Tracker

_SLOT = 0  # one frame at a time


class Looker:
    """A network, and a tracker for each sensor of each drive. `targets` (its classes,): the model's, or -1."""

    def __init__(self, network: Network, targets: NDArray[np.int32]) -> None:
        if network.decoder.groups:
            raise BundleError(
                str(network.bundle.folder),
                f"its decoder, {network.bundle.settings.decoder}, finds no boxes",
                "give a detector: frames are mined by their boxes",
            )
        self._network = network
        self._targets = targets
        self._trackers: defaultdict[tuple[int, str], Tracker] = defaultdict(lambda: Tracker(network.tracking))

    def look(self, image: NDArray[np.uint8]) -> Detections:
        """Boxes on an image (H, W, 3) BGR, in the model's classes, without ids.

        Raises `EngineError`, `NonFiniteOutputError`.
        """
        engine = self._network.engine
        place = engine.place(image.shape[1], image.shape[0])
        engine.stage(_SLOT, 0, image, place)
        engine.submit(_SLOT, 1)
        found = self._network.decoder.decode(engine.wait(_SLOT).rows[0], place, self._network.thresholds)
        assert isinstance(found, Detections)
        kinds = self._targets[found.classes]
        known = kinds >= 0
        return Detections(found.boxes_xyxy[known], found.scores[known], kinds[known])

    def follow(self, found: Detections, drive: int, sensor: str, stamp_ns: int) -> Detections:
        """Give ids to what was found on the next frame of a sensor."""
        return self._trackers[drive, sensor].update(found, stamp_ns)


def teacher_targets(
    teacher: Sequence[str], model: Sequence[str], pairs: Sequence[tuple[str, str]]
) -> NDArray[np.int32]:
    """For each class of the teacher (N,) the model's that it is, or -1.

    `pairs` of (teacher's class, model's class) come first, then equal names. Raises `DatasetError` for a name that is
    unknown or where nothing pairs, `UsageError` where one class of the teacher would be several of the model's.
    """
    matched = match_classes(teacher, model, pairs, sides=("teacher", "model"))
    for judged in range(len(matched.names)):
        names = [name for name, position in zip(model, matched.of_dataset, strict=True) if position == judged]
        if len(names) > 1:
            raise UsageError("--map", f"makes {' and '.join(names)} of the model one", "pair each with another class")
    ours = {position: kind for kind, position in enumerate(matched.of_dataset) if position >= 0}
    return np.array([ours.get(position, -1) for position in matched.of_bundle], np.int32)
