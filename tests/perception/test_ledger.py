"""The account: exactly one fate a frame, and an identity that holds whatever happens in whatever order."""

from __future__ import annotations

import threading
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engines.runtime.engine import GpuTimes
from perception.ledger import Entry, Fate, Ledger, LedgerError, Percentiles
from sensors.frame import Fault, Frame

REASONS = ("superseded", "stopped", "decode_failed")


def frame(sequence: int, sensor: str = "front") -> Frame:
    return Frame(sensor, sequence, sequence * 100, 1_000, 2_000, np.zeros((1, 1, 3), np.uint8))


def assert_account(ledger: Ledger, expected: dict[str, Counter[str]]) -> None:
    counts = ledger.counts()
    assert set(counts) == set(expected)
    for sensor, known in expected.items():
        found = counts[sensor]
        assert found.balances
        assert found.captured == known["captured"]
        assert found.published == known["published"]
        assert found.in_flight == known["open"]
        assert found.dropped == Counter({r: known[f"drop {r}"] for r in REASONS if known[f"drop {r}"]})
        assert found.failed == Counter({r: known[f"fail {r}"] for r in REASONS if known[f"fail {r}"]})


actions = st.tuples(
    st.sampled_from(["open", "open", "publish", "drop", "fail"]),
    st.sampled_from(["front", "rear", "left"]),
    st.integers(0, 20),
    st.sampled_from(REASONS),
)


@given(st.lists(actions, max_size=60))
def test_the_identity_holds_after_every_step_of_any_run(steps: list[tuple[str, str, int, str]]) -> None:
    ledger = Ledger()
    open_entries: dict[str, list[Entry]] = {}
    expected: dict[str, Counter[str]] = {}
    for action, sensor, which, reason in steps:
        entries = open_entries.setdefault(sensor, [])
        if action == "open":
            known = expected.setdefault(sensor, Counter())
            entries.append(ledger.open(frame(known["captured"], sensor)))
            known.update(captured=1, open=1)
        elif entries:
            entry, known = entries.pop(which % len(entries)), expected[sensor]
            known["open"] -= 1
            if action == "publish":
                ledger.publish(entry, 0)
                known["published"] += 1
            elif action == "drop":
                ledger.drop(entry, reason)
                known[f"drop {reason}"] += 1
            else:
                ledger.fail(entry, reason)
                known[f"fail {reason}"] += 1
        assert_account(ledger, expected)
    total = ledger.total()
    assert total.balances
    assert total.captured == sum(known["captured"] for known in expected.values())
    assert total.in_flight == sum(known["open"] for known in expected.values())


@pytest.mark.parametrize("first", ["publish", "drop", "fail"])
@pytest.mark.parametrize("second", ["publish", "drop", "fail"])
def test_a_frame_has_one_fate_only(first: str, second: str) -> None:
    ledger = Ledger()
    entry = ledger.open(frame(0))
    close = {
        "publish": lambda: ledger.publish(entry, 0),
        "drop": lambda: ledger.drop(entry, "stopped"),
        "fail": lambda: ledger.fail(entry, "aborted"),
    }
    close[first]()
    fate = entry.fate
    with pytest.raises(LedgerError, match=r"front: frame 0 is .* and would be"):
        close[second]()
    assert entry.fate is fate
    assert ledger.total().balances
    assert ledger.total().captured == 1


@pytest.mark.parametrize("wrong", [1, 3, 7])
def test_a_number_that_was_lost_or_came_twice_is_an_error_and_not_counted(wrong: int) -> None:
    ledger = Ledger()
    for sequence in range(2):
        ledger.open(frame(sequence))
    with pytest.raises(LedgerError, match=rf"frame {wrong} came where 2 was due"):
        ledger.open(frame(wrong))
    assert ledger.counts()["front"].captured == ledger.counts()["front"].in_flight == 2
    ledger.open(frame(2))


def test_a_fault_is_captured_too() -> None:
    ledger = Ledger()
    entry = ledger.open(Fault("front", 0, 5, 1_000, "packet 0: invalid data"))
    assert (entry.stamp_ns, entry.arrival_ns, entry.decoded_ns) == (5, 1_000, 0)
    assert entry.fate is Fate.IN_FLIGHT
    ledger.fail(entry, "decode_failed")
    assert (entry.fate, entry.reason) == (Fate.FAILED, "decode_failed")
    assert ledger.total().failed == {"decode_failed": 1}


def test_counts_are_a_copy_of_their_moment() -> None:
    ledger = Ledger()
    entry = ledger.open(frame(0))
    before = ledger.counts()["front"]
    ledger.fail(entry, "aborted")
    assert (before.in_flight, before.failed.total()) == (1, 0)
    ledger.counts()["front"].failed["aborted"] += 1
    assert ledger.counts()["front"].balances


def test_latencies_are_the_designs_sums() -> None:
    entry = Entry("front", 0, 0, arrival_ns=100, decoded_ns=130)
    entry.submitted_ns, entry.inferred_ns, entry.published_ns = 150, 200, 230
    assert entry.latency_ns == 130
    assert entry.added_latency_ns == (230 - 130) - (200 - 150)


def test_publishing_adds_up_the_engines_time_detections_and_latencies() -> None:
    ledger = Ledger()
    for sequence in range(3):
        entry = ledger.open(frame(sequence))
        entry.arrival_ns, entry.decoded_ns = 0, 5_000_000
        entry.submitted_ns, entry.inferred_ns = 6_000_000, 16_000_000
        later = 20 * sequence
        spans_ms = (8 + later, 12 + later), (7 + later, 16 + later)
        entry.inferences = tuple((began * 1_000_000, ended * 1_000_000) for began, ended in spans_ms)
        entry.published_ns = 20_000_000
        ledger.publish(entry, sequence)
    assert (ledger.inferences, ledger.engine_busy_ns, ledger.detections) == (3, 27_000_000, 3)
    assert ledger.latency.ms(50) == pytest.approx(20, rel=0.01)
    assert ledger.added_latency.ms(99) == pytest.approx(5, rel=0.01)


def test_what_frames_on_one_engine_share_is_counted_once() -> None:
    ledger = Ledger()
    for sequence, span in enumerate(((0, 10), (4, 14), (5, 8), (20, 25))):
        entry = ledger.open(frame(sequence))
        entry.inferences = (span,)
        ledger.publish(entry, 0)
    assert ledger.engine_busy_ns == 19


def test_the_times_on_a_gpu_are_kept_by_stage() -> None:
    ledger = Ledger()
    entry = ledger.open(frame(0))
    entry.inferences, entry.gpu = ((0, 1),), (GpuTimes(1, 2, 3, 4, 5, 6),)
    ledger.publish(entry, 0)
    assert {stage: round(times.ms(50) or 0) for stage, times in ledger.gpu.items()} == {
        "h2d": 1,
        "preprocess": 2,
        "compute": 3,
        "reduce": 4,
        "d2h": 5,
        "enqueue": 6,
    }


def test_the_identity_holds_while_many_threads_write() -> None:
    ledger, stop, unbalanced = Ledger(), threading.Event(), []

    def write(sensor: str) -> None:
        for sequence in range(400):
            entry = ledger.open(frame(sequence, sensor))
            (ledger.fail if sequence % 3 else ledger.drop)(entry, "stopped")

    def watch() -> None:
        while not stop.is_set():
            unbalanced.extend(counts for counts in ledger.counts().values() if not counts.balances)

    writers = [threading.Thread(target=write, args=(f"camera{n}",)) for n in range(3)]
    watcher = threading.Thread(target=watch)
    for thread in (watcher, *writers):
        thread.start()
    for thread in writers:
        thread.join()
    stop.set()
    watcher.join()
    assert unbalanced == []
    total = ledger.total()
    assert (total.captured, total.in_flight) == (1200, 0)


durations_ns = st.lists(st.integers(1_000, 900_000_000_000), min_size=1, max_size=200)


@given(durations_ns, st.floats(0.1, 100))
def test_percentiles_are_within_one_percent_of_the_exact_ones(durations: list[int], percent: float) -> None:
    percentiles = Percentiles()
    for duration_ns in durations:
        percentiles.add(duration_ns)
    exact_ms = float(np.percentile(durations, percent, method="inverted_cdf")) / 1e6
    assert percentiles.ms(percent) == pytest.approx(exact_ms, rel=0.01)


def test_percentiles_count_what_lies_outside_their_range() -> None:
    percentiles = Percentiles()
    assert percentiles.ms(50) is None
    for duration_ns in (-5, 0, 10, 10**15):
        percentiles.add(duration_ns)
    assert percentiles.ms(50) == pytest.approx(0.001, rel=0.01)
    assert percentiles.ms(100) == pytest.approx(1e6, rel=0.01)
