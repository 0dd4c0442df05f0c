"""What INT8 costs a network: the same frames and labelled images through real engines, in float and in INT8."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from engines.accuracy import Accuracy, measure
from engines.accuracy_loss import AccuracyLoss
from engines.bench import cpu_ms
from engines.bundle import LABELS, MODEL, SETTINGS, Bundle, load_bundle
from engines.datasets import Dataset
from engines.errors import DatasetError
from engines.inference import decoder_for, found_on
from engines.quantize.agreement import SAME, Agreement, agreement, damage
from engines.quantize.frames import Picture
from engines.results import Detections, Found, Thresholds
from engines.runtime import open_engine

REFERENCE = "onnxruntime"  # where the search for layers is judged; the end is judged on every engine
_THRESHOLDS = Thresholds(score=0.05)  # low: criteria have their own


def cpu_engines() -> tuple[str, ...]:
    """The engines on which a bundle is judged here."""
    return (REFERENCE, "openvino") if find_spec("openvino") else (REFERENCE,)


@dataclass(frozen=True, slots=True)
class Limits:
    """What INT8 may cost.

    `max_loss`: AP50, top-1 or mean IoU lost on labelled images. `min_agreement`: share of float's finds that it finds
    too, and of its own that float does. `min_same`: share of its boxes that another engine puts in the same place. A
    tiny network in INT8 is so sensitive that the last bit of a SiLU decides where a box lies (yolox_nano, 2 layers in
    float: 76 % the same); what differs from engine to engine at a desk will differ on the vehicle.
    """

    max_loss: float = 0.02
    min_agreement: float = 0.85
    min_same: float = 0.9


@dataclass(frozen=True, slots=True)
class Judgement:
    """One engine's word on an INT8 network."""

    engine: str
    agreement: Agreement  # of what float finds
    borne_out: Agreement  # of what it finds itself, by float
    accuracy: AccuracyLoss | None  # None without labels

    def objection(self, limits: Limits) -> str:
        """Why it is refused, in words; nothing where it passes."""
        if self.agreement.share < limits.min_agreement:
            return (
                f"on {self.engine} it finds {self.agreement.share:.3f} of what float finds, "
                f"and --min-agreement is {limits.min_agreement:g}"
            )
        if self.borne_out.share < limits.min_agreement:
            return (
                f"on {self.engine} float finds {self.borne_out.share:.3f} of what it finds, the rest is invented, "
                f"and --min-agreement is {limits.min_agreement:g}"
            )
        if self.accuracy is not None and not self.accuracy.loss <= limits.max_loss:
            return (
                f"on {self.engine} it loses {self.accuracy.loss:.3f} {self.accuracy.before.measure} "
                f"({self.accuracy.before.value:.3f} to {self.accuracy.after.value:.3f}), "
                f"and --max-loss is {limits.max_loss:g}"
            )
        return ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What all engines say; those behind one that objects were not asked."""

    judgements: tuple[Judgement, ...]
    same: Agreement | None  # the boxes of the INT8 file on two engines; None where there is one, or was not asked

    def objection(self, limits: Limits) -> str:
        """Why it is refused, in words; nothing where it passes."""
        for judgement in self.judgements:
            if objection := judgement.objection(limits):
                return objection
        if self.same is not None and self.same.share < limits.min_same:
            return (
                f"two engines find the same in it only to {self.same.share:.3f}, and --min-same is {limits.min_same:g}"
            )
        return ""


class Judge:
    """Compares networks of one bundle with its float one. `folder` is for what it writes, and is its caller's."""

    def __init__(
        self,
        bundle: Bundle,
        pictures: Sequence[Picture],
        dataset: Dataset | None,
        class_map: Sequence[tuple[str, str]],
        threads: int,
        folder: Path,
    ) -> None:
        self._float = bundle
        self._pictures = pictures
        self._dataset = dataset
        self._class_map = class_map
        self._threads = threads
        self._folder = folder
        self._float_found: dict[str, list[Found]] = {}
        self._float_accuracy: dict[str, Accuracy] = {}

    def bundle_of(self, model: bytes) -> Bundle:
        """A bundle like the float one with another network; there is one at a time."""
        folder = self._folder / "candidate"
        folder.mkdir(exist_ok=True)
        for name in (SETTINGS, LABELS):
            (folder / name).write_bytes((self._float.folder / name).read_bytes())
        (folder / MODEL).write_bytes(model)
        return load_bundle(folder)

    def verdict(self, model: bytes, limits: Limits) -> Verdict:
        """Ask each engine about an INT8 network, until one objects, and then whether they found the same."""
        bundle = self.bundle_of(model)
        judgements: list[Judgement] = []
        found: list[list[Found]] = []
        for engine in cpu_engines():
            if engine not in self._float_found:
                self._float_found[engine] = self._run(self._float, engine, self._pictures)
            found.append(self._run(bundle, engine, self._pictures))
            ours = self._float_found[engine]
            there, back = agreement(ours, found[-1]), agreement(found[-1], ours)
            judgements.append(Judgement(engine, there, back, self._accuracy(bundle, engine)))
            if judgements[-1].objection(limits):
                return Verdict(tuple(judgements), None)
        return Verdict(tuple(judgements), _same(*found) if len(found) > 1 else None)

    def require_finds(self, fewest: int, frames: str) -> None:
        """Raise `DatasetError` where float finds so few boxes on the frames that INT8 cannot be judged by them."""
        found = self._float_found[REFERENCE] = self._run(self._float, REFERENCE, self._pictures)
        count = agreement(found, found).count
        if count < fewest and any(isinstance(one, Detections) for one in found):
            what = f"float finds {count:g} boxes on the frames to judge by, and {fewest} are needed"
            raise DatasetError(frames, what, "give a drive that shows what the network was trained to find")

    def damage(self, model: bytes, pictures: Sequence[Picture], before: Sequence[Found]) -> float:
        """How much of what float finds on some pictures (`before`) is gone, 0 to 1."""
        return damage(before, self._run(self.bundle_of(model), REFERENCE, pictures))

    def float_found(self, pictures: Sequence[Picture]) -> list[Found]:
        """What the float network finds."""
        return self._run(self._float, REFERENCE, pictures)

    def cpu_ms(self, model: bytes, engine: str) -> tuple[float, float]:
        """CPU time an inference takes in float and in INT8, measured in turns."""
        with (
            open_engine(self._float, engine, threads=self._threads) as in_float,
            open_engine(self.bundle_of(model), engine, threads=self._threads) as in_int8,
        ):
            one, other = cpu_ms([in_float, in_int8])
        return one, other

    def _run(self, bundle: Bundle, engine: str, pictures: Iterable[Picture]) -> list[Found]:
        with open_engine(bundle, engine, threads=self._threads) as opened:
            fed = ((picture.pixels, picture.place) for picture in pictures)
            return list(found_on(opened, decoder_for(bundle, opened), fed, _THRESHOLDS))

    def _accuracy(self, bundle: Bundle, engine: str) -> AccuracyLoss | None:
        if self._dataset is None:
            return None
        if engine not in self._float_accuracy:
            self._float_accuracy[engine] = self._evaluate(self._float, engine, self._dataset)
        before, after = self._float_accuracy[engine], self._evaluate(bundle, engine, self._dataset)
        return AccuracyLoss(before, after)

    def _evaluate(self, bundle: Bundle, engine: str, dataset: Dataset) -> Accuracy:
        return measure(bundle, dataset, engine=engine, threads=self._threads, class_map=self._class_map)


def _same(one: Sequence[Found], other: Sequence[Found]) -> Agreement:
    """Each side is asked for the other's boxes."""
    there, back = agreement(one, other, SAME), agreement(other, one, SAME)
    return Agreement(there.found + back.found, there.count + back.count)
