"""Whether two networks follow the same objects: tracks of one side that the other has not, and ids that change."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TypeAlias

from perception.gate.matching import FrameMatch

TrackKey: TypeAlias = tuple[int, str, int]  # drive, sensor, id

FOLLOWED = 0.5  # of a track's boxes: mostly tracked, in the words of Li, Huang and Nevatia 2009, begins higher


@dataclass(frozen=True, slots=True)
class TrackFigures:
    """`baseline` and `candidate`: tracks that are long enough to be judged."""

    baseline: int
    candidate: int
    vanished: int  # of the baseline's
    appeared: int  # of the candidate's
    id_switches: int


@dataclass(slots=True)
class Tracks:
    """An account of every track of both sides."""

    _boxes: tuple[Counter[TrackKey], Counter[TrackKey]] = field(default_factory=lambda: (Counter(), Counter()))
    _shared: tuple[Counter[TrackKey], Counter[TrackKey]] = field(default_factory=lambda: (Counter(), Counter()))
    _latest: dict[TrackKey, int] = field(default_factory=dict)  # the candidate's id on a track of the baseline
    _switches: Counter[TrackKey] = field(default_factory=Counter)

    def add(self, drive: int, sensor: str, frame: FrameMatch) -> None:
        """Take in one frame; a sensor's frames come in order."""
        ids = frame.baseline.found.track_ids.tolist(), frame.candidate.found.track_ids.tolist()
        for boxes, of_side in zip(self._boxes, ids, strict=True):
            boxes.update((drive, sensor, track) for track in of_side if track)
        for row, column in zip(frame.baseline_rows.tolist(), frame.candidate_rows.tolist(), strict=True):
            track, other = ids[0][row], ids[1][column]
            if not (track and other):
                continue
            key = drive, sensor, track
            self._shared[0][key] += 1
            self._shared[1][drive, sensor, other] += 1
            # As in CLEAR MOT (Bernardin and Stiefelhagen 2008, 2.1.4): who was partners before stays so while both
            # overlap enough, or two boxes on one car would change places at every frame.
            latest = self._latest.get(key, other)
            if latest != other and not _is_still_there(frame, row, latest):
                self._switches[key] += 1
                latest = other
            self._latest[key] = latest

    def figures(self, min_frames: int) -> TrackFigures:
        """Judge the tracks that have at least so many boxes."""
        counted: list[int] = []
        unfollowed: list[int] = []
        for boxes, shared in zip(self._boxes, self._shared, strict=True):
            long = [key for key, count in boxes.items() if count >= min_frames]
            counted.append(len(long))
            unfollowed.append(sum(shared[key] < FOLLOWED * boxes[key] for key in long))
        return TrackFigures(counted[0], counted[1], unfollowed[0], unfollowed[1], self._switches.total())


def _is_still_there(frame: FrameMatch, row: int, track: int) -> bool:
    """Whether a box of this track of the candidate lies on a box of the baseline, as one that could be its partner."""
    return bool(frame.could_match[row, frame.candidate.found.track_ids == track].any())
