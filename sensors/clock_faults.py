"""What is wrong with a drive's clocks: found in the stamps alone, counted, and told with the frames that it concerns.

Nothing is mended here. What is no fault of a file but of how drives are thought of is told as well: that sensors start
at different moments, and lie apart at one index.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import combinations, pairwise

import numpy as np
from numpy.typing import NDArray

from sensors.survey import SensorSurvey, Survey

GAP_PERIODS = 1.5  # a step from here on has lost something
UNEVEN = 0.01  # of the median period; KITTI's triggered cameras keep 0.002, free-running ones do not keep this
MOST_TOLD = 6  # single steps and ranges in words; all are counted
APART_NS = 1_000_000_000  # between two sensors' stamps: from here on they have nothing in common
_NS_PER_MS = 1e6
_ROUND_NS = tuple(digit * 10**power for power in range(6, 13) for digit in (1, 2, 5))  # 1 ms to 5000 s


class ClockFaultKind(Enum):
    """What can be wrong."""

    STEPS_BACK = "steps back"
    REPEATED = "repeated stamps"
    GAP = "gaps"
    UNEVEN = "uneven period"
    WITHOUT_FILE = "stamps without a file"
    WITHOUT_STAMP = "files without a stamp"
    OTHER_CLOCK = "another clock"
    APART = "no common time"
    LATE = "starts late"
    INDEX_APART = "apart at one index"
    SAME_STAMPS = "the same stamps"


@dataclass(frozen=True, slots=True)
class ClockFault:
    """One fault of one sensor. `frames`: the drive's own numbers, of the items at which it shows."""

    sensor: str
    kind: ClockFaultKind
    count: int
    frames: tuple[int, ...]
    what: str  # for people


def find_clock_faults(survey: Survey) -> list[ClockFault]:
    """Judge a drive's stamps."""
    found: list[ClockFault] = []
    for sensor in survey.sensors:
        found += _of_files(sensor)
        found += _of_steps(sensor.sensor, "", sensor.stamps_ns, sensor.numbers)
        for clock, values in sensor.other_clocks_ns:
            found += _of_other_clock(sensor, clock, values)
    found += _between_sensors(survey.sensors)
    return found


def ranges(numbers: Sequence[int]) -> str:
    """Numbers in words: `1-17, 60`."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number <= runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    shown = [str(first) if first == last else f"{first}-{last}" for first, last in runs[:MOST_TOLD]]
    return ", ".join([*shown, *(["..."] if len(runs) > MOST_TOLD else [])])


def in_words(ns: float) -> str:
    """A duration: 360.187 ms, 64.005 s, 238.4 days."""
    size = abs(ns)
    if size < 1e9:
        return f"{ns / 1e6:.3f} ms"
    if size < 172_800e9:
        return f"{ns / 1e9:.3f} s"
    return f"{ns / 86_400e9:.1f} days"


def _of_files(sensor: SensorSurvey) -> Iterator[ClockFault]:
    for kind, numbers in (
        (ClockFaultKind.WITHOUT_FILE, sensor.without_file),
        (ClockFaultKind.WITHOUT_STAMP, sensor.without_stamp),
    ):
        if len(numbers):
            frames = tuple(numbers.tolist())
            yield ClockFault(sensor.sensor, kind, len(frames), frames, f"frames {ranges(frames)}")


def _of_steps(
    sensor: str, clock: str, stamps_ns: NDArray[np.int64], numbers: NDArray[np.int64]
) -> Iterator[ClockFault]:
    steps = np.diff(stamps_ns)
    ahead = steps[steps > 0]
    of_clock = f" by {clock}" if clock else ""
    yield from _told_each(sensor, ClockFaultKind.STEPS_BACK, steps, numbers, steps < 0, of_clock)
    if (repeated := steps == 0).any():
        frames = tuple(numbers[1:][repeated].tolist())
        what = f"{len(frames)} of {len(steps)} steps are 0{of_clock}: frames {ranges(frames)}"
        yield ClockFault(sensor, ClockFaultKind.REPEATED, len(frames), frames, what)
    if len(ahead) < 2:
        return
    period = float(np.median(ahead))
    is_gap = steps > GAP_PERIODS * period
    is_uneven = (steps > 0) & ~is_gap & (np.abs(steps - period) > UNEVEN * period)
    # Of a bus whose messages come when they come (CAN) a long step is no loss: only an even clock shows one.
    is_even = is_uneven.sum() < len(ahead) / 2
    lost = int(np.round(steps[is_gap] / period).sum()) - int(is_gap.sum()) if is_even else 0
    yield from _told_each(
        sensor, ClockFaultKind.GAP, steps, numbers, is_gap, f"{of_clock}, at a period of {in_words(period)}", lost
    )
    if is_uneven.any():
        frames = tuple(numbers[1:][is_uneven].tolist())
        what = (
            f"{len(frames)} of {len(steps)} steps differ by over {UNEVEN:.0%} from {in_words(period)}{of_clock}: "
            f"{in_words(float(steps[is_uneven].min()))} to {in_words(float(steps[is_uneven].max()))}"
        )
        if tiny := int((steps[is_uneven] < period / 10).sum()):
            what += f", {tiny} below a tenth of it"
        if len(frames) <= MOST_TOLD:
            what += f", to frames {ranges(frames)}"
        yield ClockFault(sensor, ClockFaultKind.UNEVEN, len(frames), frames, what)


def _told_each(
    sensor: str,
    kind: ClockFaultKind,
    steps: NDArray[np.int64],
    numbers: NDArray[np.int64],
    which: NDArray[np.bool_],
    more: str,
    lost: int = 0,
) -> Iterator[ClockFault]:
    """Single steps, each with its two frames."""
    places = np.flatnonzero(which)
    if not len(places):
        return
    told = [f"{in_words(abs(int(steps[p])))} from frame {numbers[p]} to {numbers[p + 1]}" for p in places[:MOST_TOLD]]
    rest = f" and {len(places) - MOST_TOLD} more" if len(places) > MOST_TOLD else ""
    missing = f", {lost} lost" if lost else ""
    by_size = _by_size(np.abs(steps[places])) if rest else ""
    yield ClockFault(
        sensor,
        kind,
        len(places),
        tuple(numbers[places + 1].tolist()),
        f"{', '.join(told)}{rest}{more}{missing}{by_size}",
    )


def _by_size(sizes_ns: NDArray[np.int64]) -> str:
    """How many are longer than round durations, which do not depend on this drive's period: `, 192 over 20 ms`."""
    counted = []
    for limit_ns in _ROUND_NS:
        if sizes_ns.min() <= limit_ns and (longer := int((sizes_ns > limit_ns).sum())):
            seconds = f"{limit_ns // 10**9} s" if limit_ns >= 10**9 else f"{limit_ns // 10**6} ms"
            counted.append(f", {longer} over {seconds}")
    return "".join(counted)


def _of_other_clock(sensor: SensorSurvey, clock: str, values: NDArray[np.int64]) -> Iterator[ClockFault]:
    is_told = values >= 0
    differences = (values - sensor.stamps_ns)[is_told]
    if not len(differences):
        return
    least, most = int(differences.min()), int(differences.max())
    if least or most:
        spread = f", and drifts by {in_words(most - least)}" if most > least else ""
        ahead = "ahead of" if differences[0] > 0 else "behind"
        seconds = f"{abs(int(differences[0])) / 1e9:.3f} s"
        days = f" ({in_words(abs(int(differences[0])))})" if abs(differences[0]) > 172_800e9 else ""
        what = f"{clock} is {seconds}{days} {ahead} the stamps{spread}"
        frames = tuple(sensor.numbers[is_told].tolist())
        yield ClockFault(sensor.sensor, ClockFaultKind.OTHER_CLOCK, len(differences), frames, what)
        yield from _of_steps(sensor.sensor, clock, values[is_told], sensor.numbers[is_told])


def _between_sensors(sensors: Sequence[SensorSurvey]) -> Iterator[ClockFault]:
    timed = [sensor for sensor in sensors if len(sensor.stamps_ns)]
    apart = set()
    for sensor in timed:
        others = [other for other in timed if other is not sensor]
        if others and not any(_overlap(sensor, other) for other in others):
            apart.add(sensor.sensor)
            offsets = sorted((_first(sensor) - _first(other) for other in others), key=abs)
            ahead = "after" if offsets[0] > 0 else "before"
            far = f" to {in_words(abs(offsets[-1]))}" if len(offsets) > 1 else ""
            what = (
                "its stamps overlap with no other sensor's: the first is "
                f"{in_words(abs(offsets[0]))}{far} {ahead} those of the others"
            )
            yield ClockFault(sensor.sensor, ClockFaultKind.APART, len(sensor.stamps_ns), (), what)
    together = [sensor for sensor in timed if sensor.sensor not in apart]
    if len(together) > 1:
        earliest = min(together, key=_first)
        for sensor in together:
            late, period = _first(sensor) - _first(earliest), _period(sensor)
            if period and late > period:
                first = int(sensor.numbers[0])
                what = f"its first stamp, frame {first}, is {in_words(late)} after that of {earliest.sensor}"
                yield ClockFault(sensor.sensor, ClockFaultKind.LATE, 1, (first,), what)
    yield from _at_one_index(together)


def _at_one_index(sensors: Sequence[SensorSurvey]) -> Iterator[ClockFault]:
    """Sensors with as many stamps each look as if item n of one belonged to item n of the other."""
    if len(sensors) < 2:
        return
    reference = next((sensor for sensor in sensors if sensor.kind == "lidar"), sensors[0])
    for sensor in sensors:
        if sensor is reference or not len(sensor.numbers) or not np.array_equal(sensor.numbers, reference.numbers):
            continue
        differences = sensor.stamps_ns - reference.stamps_ns
        least, most = int(differences.min()), int(differences.max())
        if least or most:
            what = (
                f"{least / _NS_PER_MS:+.1f} to {most / _NS_PER_MS:+.1f} ms from {reference.sensor} at one index: "
                "pair by stamp"
            )
            yield ClockFault(sensor.sensor, ClockFaultKind.INDEX_APART, len(differences), (), what)
    for one, other in combinations(sensors, 2):
        shared = min(len(one.stamps_ns), len(other.stamps_ns))
        if shared > 1 and np.array_equal(one.stamps_ns[:shared], other.stamps_ns[:shared]):
            what = f"its first {shared} stamps are those of {other.sensor}"
            yield ClockFault(one.sensor, ClockFaultKind.SAME_STAMPS, shared, (), what)


def _first(sensor: SensorSurvey) -> int:
    return int(sensor.stamps_ns.min())


def _period(sensor: SensorSurvey) -> float:
    steps = [later - earlier for earlier, later in pairwise(sensor.stamps_ns.tolist()) if later > earlier]
    return float(np.median(steps)) if steps else 0.0


def _overlap(one: SensorSurvey, other: SensorSurvey) -> bool:
    """Whether two sensors saw at one time, or nearly: a sensor may have a single item."""
    before, after = (one, other) if one.stamps_ns.min() <= other.stamps_ns.min() else (other, one)
    return bool(after.stamps_ns.min() - before.stamps_ns.max() <= APART_NS)
