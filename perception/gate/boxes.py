"""Boxes against boxes: who has a partner, which tracks last, and what of that is within the thresholds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from perception.gate.box_pictures import failure_picture, in_words, pictures
from perception.gate.comparison import Place
from perception.gate.figures import ClassFigures, Figures
from perception.gate.matching import Seen, match
from perception.gate.plots import class_bars, score_cloud, timeline
from perception.gate.row import Row, at_least, shifted_at_most
from perception.gate.side import Look, failed_in_words
from perception.gate.thresholds import GateThresholds
from perception.gate.tracks import TrackFigures, Tracks
from perception.gate.worst import FAILED, Pair, WorstFrame, WorstFrames
from sensors.frame import Frame

SPARE = 1  # tracks, or changes of an id, that are let pass whatever their share: one is chance


class BoxComparison:
    """`Comparison` of two detectors; `names` are the classes of both."""

    def __init__(self, names: Sequence[str], thresholds: GateThresholds) -> None:
        self._names = names
        self._thresholds = thresholds
        self._figures = Figures(names)
        self._tracks = Tracks()
        self._differences: list[tuple[int, int]] = []  # of each frame: missed and added boxes
        self._worst = WorstFrames()

    def add(self, frame: Frame, place: Place, looks: tuple[Look, Look]) -> None:
        """Match the boxes of one frame."""
        one, other = (look.seen for look in looks)
        assert isinstance(one, Seen)
        assert isinstance(other, Seen)
        matched = match(one, other, self._thresholds.match_iou)
        self._figures.add(matched)
        self._tracks.add(place.drive, frame.sensor, matched)
        self._differences.append((matched.missed, matched.added))
        self._worst.offer(
            matched.harm, frame, place.name, lambda: (in_words(matched), pictures(frame, matched, self._names))
        )

    def show_failure(self, frame: Frame, place: Place, looks: tuple[Look, Look]) -> None:
        """Keep a frame that only one side answered."""

        def show() -> tuple[str, tuple[Pair, ...]]:
            drawn = [
                failure_picture(frame, look.seen if isinstance(look.seen, Seen) else None, look.failure, self._names)
                for look in looks
            ]
            return failed_in_words(looks), (Pair(drawn[0], drawn[1]),)

        self._worst.offer(FAILED, frame, place.name, show)

    def says_too_little(self) -> tuple[str, str] | None:
        """Fewer boxes than `min_boxes`."""
        boxes, least = self._figures.all_classes.baseline, self._thresholds.min_boxes
        if boxes >= least:
            return None
        return (
            f"the baseline finds {boxes} boxes, and min_boxes is {least}",
            "give more drives, or ones with more to see",
        )

    def rows(self) -> Iterator[Row]:
        """Of all boxes, of each class, of tracks."""
        yield from self._of_boxes()
        yield from self._of_classes()
        yield from self._of_tracks(self._tracks.figures(self._thresholds.min_track_frames))

    def facts(self) -> dict[str, Any]:
        """Figures of boxes and tracks."""
        figures = self._figures
        return {
            "all_classes": _class_facts(figures.all_classes),
            "per_class": {name: _class_facts(of_class) for name, of_class in figures.per_class().items()},
            "share_of_doubles": figures.share_of_doubles(),
            "tracks": asdict(self._tracks.figures(self._thresholds.min_track_frames)),
        }

    def plots(self) -> Sequence[tuple[str, str]]:
        """By class, along the drives, and by score."""
        return (
            ("Boxes found on both sides, by class", class_bars(self._figures.per_class(), self._thresholds)),
            ("Boxes that only one side has, without excused ones", timeline(self._differences)),
            ("Scores of boxes that both have", score_cloud(self._figures.partners)),
        )

    def worst(self) -> Sequence[WorstFrame]:
        """The frames that differ most."""
        return self._worst.frames()

    @property
    def legend(self) -> Sequence[tuple[str, str, str]]:
        """Colours of the boxes."""
        excused = (
            f"only on this side, and excused: its score is less than {self._thresholds.margin:g} above the threshold, "
            "so no figure counts it"
        )
        return (
            ("green", "green", "found by both"),
            ("red", "red", "only on this side"),
            ("red dashed", "dashed", excused),
        )

    def _of_boxes(self) -> Iterator[Row]:
        thresholds, total = self._thresholds, self._figures.all_classes
        yield at_least("match rate", total.match_rate, thresholds.min_match_rate, "min_match_rate")
        yield at_least("recall", total.recall, thresholds.min_recall, "min_recall")
        if total.candidate:
            yield at_least("precision", total.precision, thresholds.min_precision, "min_precision")
        if total.mean_iou is not None:
            yield at_least("mean IoU of partners", total.mean_iou, thresholds.min_mean_iou, "min_mean_iou")
        if total.score_shift is not None:
            yield self._shift("score shift", total.score_shift)
        one, other = self._figures.share_of_doubles()
        limit = thresholds.max_doubles_change
        words = f"{one:.3f} to {other:.3f}"
        passed = abs(other - one) <= limit
        yield Row("share of doubles", words, f"changes by at most {limit:g}", passed, "max_doubles_change")

    def _of_classes(self) -> Iterator[Row]:
        """Where there is enough to judge by: of recall the baseline's boxes, of precision the candidate's."""
        thresholds = self._thresholds
        enough = thresholds.min_class_boxes
        for name, of_class in self._figures.per_class().items():
            own = thresholds.recall_by_class.get(name)
            if own is not None and of_class.baseline:
                yield at_least(f"recall of {name}", of_class.recall, own, f"recall_by_class.{name}")
            elif of_class.baseline >= enough:
                yield at_least(f"recall of {name}", of_class.recall, thresholds.min_class_recall, "min_class_recall")
            if of_class.candidate >= enough:
                limit = thresholds.min_class_precision
                yield at_least(f"precision of {name}", of_class.precision, limit, "min_class_precision")
            if of_class.baseline >= enough and of_class.score_shift is not None:
                yield self._shift(f"score shift of {name}", of_class.score_shift)

    def _of_tracks(self, tracks: TrackFigures) -> Iterator[Row]:
        thresholds = self._thresholds
        for what, count, total, limit, key in (
            (
                "vanished tracks",
                tracks.vanished,
                tracks.baseline,
                thresholds.max_vanished_tracks,
                "max_vanished_tracks",
            ),
            (
                "appeared tracks",
                tracks.appeared,
                tracks.candidate,
                thresholds.max_appeared_tracks,
                "max_appeared_tracks",
            ),
            ("id switches", tracks.id_switches, tracks.baseline, thresholds.max_id_switches, "max_id_switches"),
        ):
            most = max(SPARE, int(limit * total))
            words = f"{count} on {total} tracks" if key == "max_id_switches" else f"{count} of {total}"
            yield Row(what, words, f"at most {most} ({limit:g} a track)", count <= most, key)

    def _shift(self, figure: str, measured: float) -> Row:
        return shifted_at_most(figure, measured, self._thresholds.max_score_shift, "max_score_shift")


def _class_facts(figures: ClassFigures) -> dict[str, Any]:
    shares = {"recall": figures.recall, "precision": figures.precision, "match_rate": figures.match_rate}
    return {**asdict(figures), **shares}
