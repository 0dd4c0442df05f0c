"""What was found is looked at once more: a classifier on the crops of another network's detections.

It runs in the completer, after tracking, on engines of its own, so that a network alone pays nothing for it. How many
crops a frame may have is bounded; what is beyond is left out and counted, the best scores come first. Where a crop's
inference fails the whole frame has failed: half an answer would look like a whole one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from difflib import get_close_matches

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.bundle import Bundle
from engines.decoders.classification import Classifier
from engines.decoders.decoder import NonFiniteOutputError, Outputs
from engines.decoders.segmentation import Segmentation
from engines.errors import EngineError
from engines.letterbox import Fit
from engines.results import Classification, CropClasses, Detections, Found
from perception.errors import UsageError
from perception.ledger import Entry
from perception.message import Status
from perception.network import Crops, Network
from sensors.frame import Frame
from sensors.yuv import bgr

FINDING_NO_BOXES = (Classifier.name, Segmentation.name)  # decoders


class SecondStage:
    """All networks of a run that look at crops; they stand behind those that see whole frames.

    Raises `UsageError` where one is to look at what no other network finds.
    """

    def __init__(self, networks: Sequence[Network]) -> None:
        first = [network for network in networks if network.crops is None]
        assert list(networks[: len(first)]) == first  # a frame's results stand in this order
        self._stages = [_Stage(network, network.crops, first) for network in networks if network.crops is not None]

    def add(self, found: list[Found], frame: Frame, entry: Entry) -> tuple[list[Found], Status, str]:
        """What was found with what each network here says of it, or nothing where one failed, and why."""
        if not self._stages:
            return found, Status.OK, ""
        image = bgr(frame)
        classified = list(found)
        failures: list[str] = []
        for stage in self._stages:
            try:
                classified.append(stage.look(image, found, entry))
            except (EngineError, NonFiniteOutputError) as failure:
                failures.append(f"{stage.name}: {failure}")
        if failures:
            return [], Status.INFERENCE_FAILED, "; ".join(failures)
        return classified, Status.OK, ""


class _Stage:
    """One classifier, and the network whose detections it looks at."""

    def __init__(self, network: Network, crops: Crops, first: Sequence[Network]) -> None:
        self.name = network.bundle.name
        self._of, self._classes = looked_at(network.bundle, crops, [other.bundle for other in first])
        self._network, self._crops = network, crops
        settings = network.bundle.settings
        self._keeps_aspect = settings.fit is not Fit.STRETCH
        self._pad = settings.pad
        shape = (network.engine.slots, network.engine.max_rows, settings.input.height, settings.input.width, 3)
        self._canvases = np.empty(shape, np.uint8)
        self._place = network.engine.place(settings.input.width, settings.input.height)

    def look(self, image: NDArray[np.uint8], found: Sequence[Found], entry: Entry) -> CropClasses:
        """Classify the detections of a frame (H, W, 3) BGR, and enter the time and the number in its account.

        Raises `EngineError`, `NonFiniteOutputError`, with no inference left under way.
        """
        detections = found[self._of]
        assert isinstance(detections, Detections)  # `looked_at` takes no others
        wanted = self._wanted(detections)
        rows = wanted[: self._crops.most]
        entry.crops += len(rows)
        entry.crops_left_out += len(wanted) - len(rows)
        engine = self._network.engine
        answers: list[Classification] = []
        failure: EngineError | NonFiniteOutputError | None = None
        began_ns = ended_ns = 0
        waiting: deque[tuple[int, int]] = deque()  # slots under way, and their rows
        chunks = deque(rows[start : start + engine.max_rows] for start in range(0, len(rows), engine.max_rows))
        slot = 0
        while waiting or (chunks and failure is None):
            if chunks and failure is None and len(waiting) < engine.slots:
                chunk = chunks.popleft()
                try:
                    self._submit(slot, image, detections.boxes_xyxy[chunk])
                    waiting.append((slot, len(chunk)))
                except EngineError as broken:
                    failure = broken
                slot = (slot + 1) % engine.slots
                continue
            done, count = waiting.popleft()
            try:
                completed = engine.wait(done)
                began_ns, ended_ns = began_ns or completed.started_ns, completed.inferred_ns
                answers += [self._decoded(completed.rows[row]) for row in range(count)]
            except (EngineError, NonFiniteOutputError) as broken:
                failure = failure or broken
        entry.inferences += ((began_ns, ended_ns),)
        if failure is not None:
            raise failure
        entry.inferred_ns = max(entry.inferred_ns, ended_ns)
        return CropClasses(
            self._of,
            rows,
            np.array([one.classes[0] for one in answers], np.int32),
            np.array([one.scores[0] for one in answers], np.float32),
        )

    def _wanted(self, detections: Detections) -> NDArray[np.int64]:
        """Places of the detections that are of a class that is looked at, and large enough; they are best first."""
        sides = detections.boxes_xyxy[:, 2:] - detections.boxes_xyxy[:, :2]
        is_wanted = sides.min(axis=1, initial=np.inf) >= self._crops.min_px
        if self._classes is not None:
            is_wanted &= np.isin(detections.classes, self._classes)
        return np.flatnonzero(is_wanted).astype(np.int64)

    def _submit(self, slot: int, image: NDArray[np.uint8], boxes_xyxy: NDArray[np.float32]) -> None:
        for row, box in enumerate(boxes_xyxy):
            canvas = self._canvases[slot, row]
            crop(image, box, canvas, margin=self._crops.margin, keeps_aspect=self._keeps_aspect, pad=self._pad)
            self._network.engine.stage(slot, row, canvas, self._place)
        self._network.engine.submit(slot, len(boxes_xyxy))

    def _decoded(self, outputs: Outputs) -> Classification:
        found = self._network.decoder.decode(outputs, self._place, self._network.thresholds)
        assert isinstance(found, Classification)  # `looked_at` takes no others
        return found


def crop(
    image: NDArray[np.uint8],
    box_xyxy: NDArray[np.float32],
    canvas: NDArray[np.uint8],
    *,
    margin: float = 0.0,
    keeps_aspect: bool = True,
    pad: int = 114,
) -> None:
    """Draw a part of an image (H, W, 3) on the whole canvas (h, w, 3): a box, with a margin in shares of its sides.

    `keeps_aspect`: what lies beside the box is taken in until it has the canvas's shape, as a picture has that is
    letterboxed but without the grey; else it is stretched. What is outside the image is `pad`. Scaled down, every
    pixel counts (INTER_AREA): a car of 300 pixels in 32 would else be a few dots of it.
    """
    rows, columns = canvas.shape[:2]
    corners = box_xyxy.astype(np.float64)
    centre, size = (corners[:2] + corners[2:]) / 2, (corners[2:] - corners[:2]) * (1 + 2 * margin)
    if keeps_aspect:
        size = np.array([columns, rows]) * (size / [columns, rows]).max()
    size = np.maximum(size, 1)
    left, top = np.floor(centre - size / 2 + 0.5).astype(int).tolist()
    width, height = np.maximum(1, np.round(size)).astype(int).tolist()
    inside = max(left, 0), max(top, 0), min(left + width, image.shape[1]), min(top + height, image.shape[0])
    first_x, first_y = round((inside[0] - left) * columns / width), round((inside[1] - top) * rows / height)
    last_x, last_y = round((inside[2] - left) * columns / width), round((inside[3] - top) * rows / height)
    if (first_x, first_y, last_x, last_y) != (0, 0, columns, rows):
        canvas[:] = pad
    if last_x > first_x and last_y > first_y:
        is_smaller = columns < width or rows < height
        canvas[first_y:last_y, first_x:last_x] = cv2.resize(
            image[inside[1] : inside[3], inside[0] : inside[2]],
            (last_x - first_x, last_y - first_y),
            interpolation=cv2.INTER_AREA if is_smaller else cv2.INTER_LINEAR,
        )


def looked_at(bundle: Bundle, crops: Crops, first: Sequence[Bundle]) -> tuple[int, list[int] | None]:
    """The place of the network whose detections a bundle is to look at, and indexes of its classes; None: all.

    `first`: the networks that see whole frames. Raises `UsageError` where the two do not fit together.
    """
    if bundle.settings.decoder != Classifier.name:
        what = f"is to look at crops, and finds no class of a picture (its decoder is {bundle.settings.decoder})"
        raise UsageError(str(bundle.folder), what, "give a network whose decoder is classification")
    named = [index for index, one in enumerate(first) if one.name == crops.of]
    known = ", ".join(one.name for one in first)
    if len(named) != 1:
        count = f"{len(named)} networks have" if named else "no network has"
        what = f"is to look at crops of {crops.of!r}, and {count} that name"
        raise UsageError(str(bundle.folder), what, f"name one of {known}, each in a folder of its own name")
    of = first[named[0]]
    if of.settings.decoder in FINDING_NO_BOXES:
        raise UsageError(
            str(bundle.folder), f"is to look at crops of {of.name}, which finds no boxes", "name a detector"
        )
    for name in crops.classes:
        if name not in of.labels:
            near = get_close_matches(name, of.labels, n=1)
            hint = f"did you mean {near[0]!r}?" if near else "labels.txt in that bundle has them"
            raise UsageError(str(bundle.folder), f"is to look at {name!r}, which is no class of {of.name}", hint)
    return named[0], [index for index, label in enumerate(of.labels) if label in crops.classes] or None
