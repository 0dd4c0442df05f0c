"""A recorded source played again and again as one endless drive."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count
from threading import Event, Lock

from sensors.errors import RequestError, SourceError
from sensors.frame import Item, restamped
from sensors.source import Source, SourceInfo

# The step from the last item to the first one of the next lap, where neither the rate nor a second item
# tells it: a drive of one image.
_PERIOD_OF_ONE_ITEM_NS = 100_000_000

_NS_PER_S = 1_000_000_000


class LoopingSource:
    """Reads a source `times` times; 0 means until closed. The source is opened anew for each lap.

    Stamps go on by the drive's length (last stamp - first stamp + one period) and sequences run on, so a
    reader sees one long drive. Faults come in every lap.
    """

    def __init__(self, open_once: Callable[[], Source], times: int) -> None:
        if times < 0:
            raise RequestError("--loop", f"{times} is less than 0", "give how often to play, 0 for ever")
        self._open_once = open_once
        self._times = times
        self._closed = Event()
        self._changing = Lock()  # between close() and the change to the next lap's source
        self._source = open_once()
        self._info = _info_of_all_laps(self._source.info, times)

    @property
    def info(self) -> SourceInfo:
        """The source's own, with the counts of all laps; None where it has no end."""
        return self._info

    def __enter__(self) -> LoopingSource:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """End the lap being read and start no other. Any thread, any number of times."""
        with self._changing:
            self._closed.set()
            self._source.close()

    def __iter__(self) -> Iterator[Item]:
        shift_ns = 0
        given: Counter[str] = Counter()
        for lap in count():
            if lap == self._times > 0 or (lap and not self._opened_again()):
                return
            length = _LapLength(self._info)
            sequences = given.copy()
            for item in self._source:
                length.see(item)
                given[item.sensor] += 1
                sequence = sequences[item.sensor] + item.sequence
                yield restamped(item, sequence=sequence, stamp_ns=item.stamp_ns + shift_ns)
            if not length.has_items:
                return  # an empty span, looped without end, would spin here
            shift_ns += length.ns()

    def _opened_again(self) -> bool:
        with self._changing:
            if self._closed.is_set():
                return False
            self._source.close()
            try:
                self._source = self._open_once()
            except RequestError as error:  # it was there for the lap before
                raise SourceError(error.thing, error.what, error.remedy) from error
            return True


class _LapLength:
    """How far the stamps of the next lap lie behind those of this one."""

    def __init__(self, info: SourceInfo) -> None:
        self._rates = {sensor.name: sensor.rate_hz for sensor in info.sensors}
        self._first_ns: dict[str, int] = {}
        self._last_ns: dict[str, int] = {}
        self._counts: Counter[str] = Counter()

    def see(self, item: Item) -> None:
        self._first_ns.setdefault(item.sensor, item.stamp_ns)
        self._last_ns[item.sensor] = item.stamp_ns
        self._counts[item.sensor] += 1

    @property
    def has_items(self) -> bool:
        return bool(self._counts)

    def ns(self) -> int:
        """One period more than from the first stamp to the last, of all sensors: they stay in step."""
        last_sensor = max(self._last_ns, key=self._last_ns.__getitem__)
        span_ns = self._last_ns[last_sensor] - min(self._first_ns.values())
        return span_ns + self._period_ns(last_sensor)

    def _period_ns(self, sensor: str) -> int:
        rate_hz = self._rates.get(sensor)
        if rate_hz:
            return round(_NS_PER_S / rate_hz)
        steps = self._counts[sensor] - 1
        if not steps:
            return _PERIOD_OF_ONE_ITEM_NS
        return (self._last_ns[sensor] - self._first_ns[sensor]) // steps


def _info_of_all_laps(info: SourceInfo, times: int) -> SourceInfo:
    return replace(
        info,
        sensors=tuple(
            replace(sensor, count=sensor.count * times if times and sensor.count is not None else None)
            for sensor in info.sensors
        ),
    )
