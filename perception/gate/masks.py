"""Masks against masks: which pixels changed their class, in each group, and what of that is within the thresholds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from perception.gate.comparison import Place
from perception.gate.mask_figures import GroupFigures, Groups, MaskClassFigures, SeenMasks, in_one_size
from perception.gate.mask_pictures import failure_picture, pictures
from perception.gate.plots import changed_pixels, mask_bars
from perception.gate.row import Row, at_least, at_most
from perception.gate.side import Look, failed_in_words
from perception.gate.thresholds import GateThresholds
from perception.gate.worst import FAILED, Pair, WorstFrame, WorstFrames
from sensors.frame import Frame


class MaskComparison:
    """`Comparison` of two segmenters; `groups` are those that both have, with the classes of both."""

    def __init__(self, groups: Groups, thresholds: GateThresholds) -> None:
        self._groups = groups
        self._thresholds = thresholds
        self._figures = {group: GroupFigures(names) for group, names in groups.items()}
        self._worst = WorstFrames()

    def add(self, frame: Frame, place: Place, looks: tuple[Look, Look]) -> None:
        """Compare one frame's masks, at the baseline's resolution."""
        one, other = (look.seen for look in looks)
        assert isinstance(one, SeenMasks)
        assert isinstance(other, SeenMasks)
        changed = {}
        for group, figures in self._figures.items():
            before, after = one.of(group), other.of(group)
            if before is not None and after is not None:
                changed[group] = figures.add(before, in_one_size(before, after))
        words = "pixels changed: " + ", ".join(f"{share:.2%} of {group}" for group, share in changed.items())
        harm = sum(changed.values())
        self._worst.offer(harm, frame, place.name, lambda: (words, pictures(frame, one, other, self._groups)))

    def show_failure(self, frame: Frame, place: Place, looks: tuple[Look, Look]) -> None:
        """Keep a frame that only one side answered."""

        def show() -> tuple[str, tuple[Pair, ...]]:
            drawn = [
                failure_picture(
                    frame, look.seen if isinstance(look.seen, SeenMasks) else None, look.failure, self._groups
                )
                for look in looks
            ]
            return failed_in_words(looks), (Pair(drawn[0], drawn[1]),)

        self._worst.offer(FAILED, frame, place.name, show)

    def says_too_little(self) -> tuple[str, str] | None:
        """The baseline sees one class alone in every group: any network that never changes would agree."""
        if any(len(self._enough(figures, by_baseline_alone=True)) > 1 for figures in self._figures.values()):
            return None
        share = self._thresholds.min_class_pixels
        return (
            f"the baseline sees only one class in each group (others are below {share:g} of the pixels)",
            "give more drives, or ones with more to see",
        )

    def rows(self) -> Iterator[Row]:
        """Of each group and each of its classes."""
        thresholds = self._thresholds
        for group, figures in self._figures.items():
            if not figures.changed:
                continue  # only one side has it, which is a row of its own
            judged = self._enough(figures)
            if judged:
                mean = sum(one.iou for one in judged.values()) / len(judged)
                yield at_least(f"mean IoU of {group}", mean, thresholds.min_group_iou, "min_group_iou")
            for name, of_class in judged.items():
                limit, key = thresholds.min_class_iou, "min_class_iou"
                if name in thresholds.iou_by_class:
                    limit, key = thresholds.iou_by_class[name], f"iou_by_class.{name}"
                yield at_least(f"IoU of {name} in {group}", of_class.iou, limit, key)
            limit = thresholds.max_changed_pixels
            yield at_most(f"share of {group}'s pixels that changed", figures.changed_share, limit, "max_changed_pixels")
            limit = thresholds.max_changed_pixels_p99
            worst = figures.changed_on_the_worst
            yield at_most(f"the same on a frame, p99, {group}", worst, limit, "max_changed_pixels_p99")

    def facts(self) -> dict[str, Any]:
        """Figures of every group and class."""
        return {
            "groups": {
                group: {
                    "changed": figures.changed_share,
                    "changed_p99": figures.changed_on_the_worst,
                    "pixels": figures.pixels,
                    "per_class": {
                        name: {"iou": one.iou, "baseline": one.baseline, "candidate": one.candidate}
                        for name, one in figures.per_class().items()
                    },
                }
                for group, figures in self._figures.items()
            }
        }

    def plots(self) -> Sequence[tuple[str, str]]:
        """By class, and along the drives."""
        by_class = {
            f"{group}: {name}": (one.iou, one.baseline / figures.pixels)
            for group, figures in self._figures.items()
            for name, one in self._enough(figures).items()
        }
        changed = {group: figures.changed for group, figures in self._figures.items() if figures.changed}
        return (
            ("Intersection over union, by class", mask_bars(by_class, self._thresholds.min_class_iou)),
            ("Share of pixels that changed", changed_pixels(changed)),
        )

    def worst(self) -> Sequence[WorstFrame]:
        """The frames of which the largest share changed."""
        return self._worst.frames()

    @property
    def legend(self) -> Sequence[tuple[str, str, str]]:
        """Colours of the second pair."""
        return (
            ("soft", "above", "the classes of each side in colours of their own"),
            ("green", "green", "both sides see the same thing here"),
            ("red", "red", "only this side sees one here, or another"),
        )

    def _enough(self, figures: GroupFigures, *, by_baseline_alone: bool = False) -> dict[str, MaskClassFigures]:
        """The classes of which there is enough to judge by, on either side."""
        least = self._thresholds.min_class_pixels * figures.pixels
        return {
            name: one
            for name, one in figures.per_class().items()
            if one.baseline >= least or (one.candidate >= least and not by_baseline_alone)
        }
