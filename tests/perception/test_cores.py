"""The engine's cores and the others': apart where cores are few, shared where they are not."""

from __future__ import annotations

import os
import threading

import pytest

from perception.cores import running_on, split_cores


@pytest.mark.parametrize(
    ("cores", "threads", "engine", "others"),
    [
        ({0, 1}, 1, {1}, {0}),
        ({2, 5, 7}, 1, {7}, {2, 5}),
        ({0, 1, 2, 3}, 2, {2, 3}, {0, 1}),
        ({0}, 1, {0}, {0}),
        ({0, 1}, 2, {0, 1}, {0, 1}),
        ({0, 1}, 4, {0, 1}, {0, 1}),
        (set(range(8)), 1, set(range(8)), set(range(8))),
    ],
)
def test_cores_are_split_only_where_they_are_few(
    monkeypatch: pytest.MonkeyPatch, cores: set[int], threads: int, engine: set[int], others: set[int]
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: cores)
    assert split_cores(threads) == (engine, others)


def test_threads_started_inside_keep_the_cores_and_the_starter_gets_its_own_back() -> None:
    before = os.sched_getaffinity(0)
    one = {min(before)}
    seen: list[set[int]] = []
    with running_on(one):
        thread = threading.Thread(target=lambda: seen.append(os.sched_getaffinity(0)))
        thread.start()
        thread.join()
    assert seen == [one]
    assert os.sched_getaffinity(0) == before
