"""A source whose stamps are what a policy makes of them, where the reader itself leaves its clock alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

from sensors.clock_policy import ClockPolicy
from sensors.errors import RequestError
from sensors.frame import Item, restamped
from sensors.source import Source, SourceInfo
from sensors.survey import Survey, survey_of


class ReclockedSource:
    """The source with its policies, by the sensors' names. Its stamps are in order: there is nothing to hold."""

    def __init__(self, source: Source, clocks: Mapping[str, ClockPolicy]) -> None:
        self._source = source
        self._clocks = clocks
        self.clock_changes: dict[str, Counter[str]] = {}
        names = [sensor.name for sensor in source.info.sensors]
        for sensor in clocks.keys() - set(names):
            raise RequestError(
                f"--clock {sensor}=...", "the drive has no such sensor", f"use one of {', '.join(names)}"
            )

    @property
    def info(self) -> SourceInfo:
        """The source's."""
        return self._source.info

    def __enter__(self) -> ReclockedSource:
        self._source.__enter__()
        return self

    def __exit__(self, *exc: object) -> None:
        self._source.__exit__(*exc)

    def close(self) -> None:
        """Close the source."""
        self._source.close()

    def survey(self) -> Survey:
        """The source's: as the drive tells its stamps."""
        return survey_of(self._source)

    def __iter__(self) -> Iterator[Item]:
        rates = {sensor.name: sensor.rate_hz for sensor in self._source.info.sensors}
        firsts: dict[str, int] = {}
        lasts: dict[str, int] = {}
        dropped: Counter[str] = Counter()
        for item in self._source:
            policy = self._clocks.get(item.sensor)
            if policy is None:
                yield item
                continue
            stamp_ns = item.stamp_ns + policy.offset_ns
            first_ns = firsts.setdefault(item.sensor, stamp_ns)
            is_repeated = lasts.get(item.sensor) == stamp_ns
            lasts[item.sensor] = stamp_ns
            changes = self.clock_changes.setdefault(item.sensor, Counter())
            if policy.remedy == "drop" and is_repeated:
                changes["its stamp is that of the one before it"] += 1
                dropped[item.sensor] += 1
                continue
            rate_hz = rates[item.sensor]
            if policy.remedy == "restamp" and rate_hz:
                even_ns = first_ns + round(item.sequence * 1e9 / rate_hz)
                changes["stamps made even"] += even_ns != stamp_ns
                stamp_ns = even_ns
            yield restamped(item, stamp_ns=stamp_ns, sequence=item.sequence - dropped[item.sensor])
