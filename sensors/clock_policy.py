"""What is done with a sensor's clock when a drive is converted: said beforehand, and written into the drive.

A stamp is faulty where it is missing, or lies before one that came earlier. Without a policy it makes its item a Fault.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import numpy as np

from sensors.errors import RequestError

# fault: a faulty stamp is a Fault. drop: its item is left out, and so is one whose stamp is that of the one before.
# hold: it gets the last good stamp. restamp: all get even stamps, from the first good one at the median period.
Remedy: TypeAlias = Literal["fault", "drop", "hold", "restamp"]
_REMEDIES: tuple[Remedy, ...] = get_args(Remedy)
_OFFSET = "offset:"
_LONGEST_OFFSET_S = 1e9

NO_STAMP = "has no stamp"
STEPS_BACK = "its stamp is before that of the file before it"
REPEATED = "its stamp is that of the file before it"


@dataclass(frozen=True, slots=True)
class ClockPolicy:
    """One sensor's. `offset_ns` is added to every stamp before all else."""

    remedy: Remedy = "fault"
    offset_ns: int = 0

    def __str__(self) -> str:
        offset = f"offset:{self.offset_ns / 1e9:.9g}" if self.offset_ns else ""
        return ",".join(part for part in (offset, self.remedy if self.remedy != "fault" else "") if part) or "fault"


@dataclass(frozen=True, slots=True)
class Judged:
    """What became of one stamp."""

    stamp_ns: int
    fault: str = ""  # why its item is a Fault
    dropped: str = ""  # why its item is left out
    mended: str = ""  # what was wrong with a stamp that the policy replaced


def parse_policies(texts: Sequence[str]) -> dict[str, ClockPolicy]:
    """Policies by sensor, written `SENSOR=REMEDY`, `SENSOR=offset:SECONDS`, or both with a comma. RequestError."""
    found: dict[str, ClockPolicy] = {}
    for text in texts:
        sensor, _, rest = text.partition("=")
        remedy: Remedy = "fault"
        offset_ns = 0
        for part in rest.split(","):
            if part.startswith(_OFFSET):
                offset_ns = _offset_ns(text, part.removeprefix(_OFFSET))
            elif sensor and part in _REMEDIES:
                remedy = part
            else:
                what = f"{part!r} is no policy" if sensor and part else "names no sensor and policy"
                known = f"{', '.join(_REMEDIES)} or offset:SECONDS"
                raise RequestError(f"--clock {text}", what, f"write SENSOR=POLICY, with {known}")
        found[sensor] = ClockPolicy(remedy, offset_ns)
    return found


def _offset_ns(text: str, seconds: str) -> int:
    try:
        offset_s = float(seconds)
    except ValueError:
        offset_s = math.nan
    if not abs(offset_s) < _LONGEST_OFFSET_S:
        raise RequestError(f"--clock {text}", f"{seconds!r} is no number of seconds", "write offset:-64.005, say")
    return round(offset_s * 1e9)


def judge(stamps_ns: Sequence[int | None], policy: ClockPolicy) -> list[Judged]:
    """Judge a sensor's raw stamps, in the order of capture; those that come out never go back."""
    moved = [None if stamp is None else stamp + policy.offset_ns for stamp in stamps_ns]
    if policy.remedy == "restamp":
        return _restamped(moved)
    judged: list[Judged] = []
    first = next((stamp for stamp in moved if stamp is not None), 0)
    last, is_first = first, True
    for stamp in moved:
        wrong = NO_STAMP if stamp is None else STEPS_BACK if stamp < last else ""
        is_repeated = stamp == last and not is_first
        if wrong or (is_repeated and policy.remedy == "drop"):
            judged.append(_faulty(last, wrong or REPEATED, policy.remedy))
            continue
        assert stamp is not None
        last, is_first = stamp, False
        judged.append(Judged(stamp))
    return judged


def _faulty(last_ns: int, wrong: str, remedy: Remedy) -> Judged:
    if remedy == "drop":
        return Judged(last_ns, dropped=wrong)
    if remedy == "hold":
        return Judged(last_ns, mended=wrong)
    return Judged(last_ns, fault=wrong)


def _restamped(stamps_ns: Sequence[int | None]) -> list[Judged]:
    known = [stamp for stamp in stamps_ns if stamp is not None]
    steps = [step for step in np.diff(np.array(known, np.int64)).tolist() if step > 0]
    period_ns = round(float(np.median(steps))) if steps else 0
    first = known[0] if known else 0
    before = next((place for place, stamp in enumerate(stamps_ns) if stamp is not None), 0)
    return [
        Judged(even, mended="" if even == stamp else "stamps made even")
        for even, stamp in ((first + (place - before) * period_ns, stamp) for place, stamp in enumerate(stamps_ns))
    ]
