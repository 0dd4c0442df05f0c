"""Which of the frames that are worth it are taken: the best by each reason in turn, and none twice."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass

from engines.datasets.near_duplicates import are_near
from perception.mining.looked import Finding, Looked


@dataclass(frozen=True, slots=True)
class Candidate:
    """A frame, and what makes it worth labelling: at least one finding."""

    frame: Looked
    findings: tuple[Finding, ...]

    def weight_of(self, reason: str) -> float:
        """How much it is worth by one reason."""
        return sum(finding.weight for finding in self.findings if finding.reason == reason)

    @property
    def reasons(self) -> list[str]:
        """Each once, what weighs most first."""
        return sorted(
            {finding.reason for finding in self.findings}, key=lambda reason: (-self.weight_of(reason), reason)
        )


@dataclass(frozen=True, slots=True)
class Choice:
    """Frames in the order of their drives and stamps, and how many were left out for being like one that was taken."""

    taken: tuple[Candidate, ...]
    alike: int


def choose(candidates: Sequence[Candidate], count: int, apart_ns: int) -> Choice:
    """Take at most `count`, none of them a near-duplicate of another, those of one sensor `apart_ns` apart at least."""
    queues: list[deque[Candidate]] = []
    for reason in sorted({reason for candidate in candidates for reason in candidate.reasons}):
        of_reason = [candidate for candidate in candidates if reason in candidate.reasons]
        queues.append(deque(sorted(of_reason, key=lambda candidate: -candidate.weight_of(reason))))
    taken: list[Candidate] = []
    seen: set[tuple[int, str, int]] = set()
    by_sensor: defaultdict[tuple[int, str], list[int]] = defaultdict(list)
    alike = 0
    while len(taken) < count and (queues := [queue for queue in queues if queue]):
        for queue in queues:
            while queue and len(taken) < count:
                candidate = queue.popleft()
                frame = candidate.frame
                if (frame.drive, frame.sensor, frame.sequence) in seen:
                    continue
                seen.add((frame.drive, frame.sensor, frame.sequence))
                stamps_ns = by_sensor[frame.drive, frame.sensor]
                if any(abs(stamp_ns - frame.stamp_ns) < apart_ns for stamp_ns in stamps_ns) or any(
                    are_near(frame.hash, other.frame.hash) for other in taken
                ):
                    alike += 1
                    continue
                taken.append(candidate)
                stamps_ns.append(frame.stamp_ns)
                break
    order = sorted(taken, key=lambda one: (one.frame.drive, one.frame.stamp_ns, one.frame.sensor, one.frame.sequence))
    return Choice(tuple(order), alike)
