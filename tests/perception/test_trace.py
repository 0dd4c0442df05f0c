"""The time line of a run: every frame is on it, its times are the ledger's, and tracks can be read by Perfetto."""

from __future__ import annotations

import gzip
import json
import signal
import sys
import tracemalloc
from collections import defaultdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import drive_media
import pytest
import tiny_networks
from hypothesis import given
from hypothesis import strategies as st

from perception.commands.app import main
from perception.errors import UsageError
from perception.ledger import Entry
from perception.message import Status
from perception.pipeline import Result
from perception.replay import SLOTS, Replay, ReplayRequest
from perception.trace import FrameTrace, check_name, trace_into
from perception.trace.trace_file import Slice, TraceFile
from sensors.source import Span

FRAMES = 24
Event = dict[str, Any]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_networks.make_bundle(tmp_path_factory.mktemp("traced") / "tiny").folder


@pytest.fixture(scope="module")
def masks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_networks.make_segmenter_bundle(tmp_path_factory.mktemp("traced") / "masks").folder


@pytest.fixture(scope="module")
def drive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return drive_media.write_video(tmp_path_factory.mktemp("traced") / "front.mp4")


def events_of(path: Path) -> list[Event]:
    text = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    # To the ns: times come as decimal fractions of a microsecond.
    trace = json.loads(text, parse_float=lambda digits: int(digits.replace(".", "")))
    return list(trace["traceEvents"])


def about_of(path: Path) -> dict[str, Any]:
    text = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    return dict(json.loads(text)["otherData"])


def tracks_of(events: list[Event]) -> dict[int, str]:
    return {event["tid"]: event["args"]["name"] for event in events if event["name"] == "thread_name"}


def slices_of(events: list[Event], name: str) -> list[Event]:
    return [event for event in events if event["ph"] == "X" and event["name"] == name]


def assert_tracks_can_be_read(events: list[Event]) -> None:
    """On no track does a slice begin before the one before has ended."""
    by_track: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for event in events:
        if event["ph"] == "X":
            assert event["dur"] >= 0
            by_track[event["tid"]].append((event["ts"], event["ts"] + event["dur"]))
    for track, slices in by_track.items():
        slices.sort()
        for (_, ended), (began, _) in pairwise(slices):
            assert began >= ended, tracks_of(events)[track]


@pytest.mark.parametrize("rate", [None, 20.0])
@pytest.mark.parametrize("suffix", [".json", ".json.gz"])
def test_every_frame_is_there_with_the_ledgers_times(
    bundle: Path, masks: Path, drive: Path, tmp_path: Path, suffix: str, rate: float | None
) -> None:
    trace, lines = tmp_path / f"trace{suffix}", tmp_path / "lines.jsonl"
    request = ReplayRequest(
        sources=[f"front={drive}", f"rear={drive}"],
        models=[str(bundle), str(masks)],
        rate=rate,
        trace=trace,
        jsonl=lines,
    )
    with Replay(request) as run:
        run.run()
    assert trace in run.files
    events = events_of(trace)
    tracks = tracks_of(events)
    assert_tracks_can_be_read(events)

    def by_frame(slices: list[Event]) -> dict[tuple[str, int], Event]:
        found = {(event["args"]["sensor"], event["args"]["frame"]): event for event in slices}
        assert len(found) == len(slices)
        return found

    published = by_frame(slices_of(events, "publish"))
    assert set(published) == {(sensor, frame) for sensor in ("front", "rear") for frame in range(FRAMES)}
    decoded, staged = by_frame(slices_of(events, "decode")), by_frame(slices_of(events, "stage"))
    inferences, waited = slices_of(events, "inference"), by_frame(slices_of(events, "wait"))
    held = by_frame([event for event in events if event["ph"] == "X" and tracks[event["tid"]].startswith("slot ")])
    assert len(inferences) == 2 * len(published)
    assert about_of(trace)["frames"] == len(published)
    assert set(held) == set(staged) == set(published)
    assert {tracks[event["tid"]] for event in held.values()} == {f"slot {slot}" for slot in range(SLOTS)}

    # What JSON lines have of the ledger is on the wall clock; differences are the same on both, to the ns.
    for message in map(json.loads, lines.read_text().splitlines()):
        if message["status"] != "OK":
            continue  # the end of the stream
        frame, ledger = (message["sensor"], message["frame_sequence"]), message["ledger"]
        at_ns = {name: int(value) for name, value in ledger.items() if name.endswith("_ns")}
        stage = staged[frame]
        staged_ns = stage["ts"] + stage["dur"]
        offset = staged_ns - at_ns["staged_ns"]
        assert published[frame]["ts"] - offset == at_ns["postprocessed_ns"]
        assert at_ns["inferred_ns"] + offset == held[frame]["ts"] + held[frame]["dur"]
        if rate is None:
            assert decoded[frame]["ts"] - offset == at_ns["arrival_ns"]
            assert decoded[frame]["dur"] == at_ns["decoded_ns"] - at_ns["arrival_ns"]
            assert waited[frame]["ts"] - offset == at_ns["decoded_ns"]
        assert waited[frame]["ts"] + waited[frame]["dur"] == stage["ts"] == held[frame]["ts"]
        own = sorted(
            (e for e in inferences if (e["args"]["sensor"], e["args"]["frame"]) == frame), key=lambda e: e["tid"]
        )
        told = sorted((int(n["started_ns"]), int(n["inferred_ns"])) for n in ledger["networks"])
        assert sorted((e["ts"] - offset, e["ts"] + e["dur"] - offset) for e in own) == told


def test_arrows_follow_each_frame_through_slices_of_its_own(bundle: Path, drive: Path, tmp_path: Path) -> None:
    with Replay(ReplayRequest(sources=[str(drive)], models=[str(bundle)], trace=tmp_path / "t.json")) as run:
        run.run()
    events = events_of(tmp_path / "t.json")
    slices = [event for event in events if event["ph"] == "X"]
    flows: dict[int, list[Event]] = defaultdict(list)
    for event in events:
        if event["ph"] in ("s", "t", "f"):
            flows[event["id"]].append(event)
    assert len(flows) == FRAMES
    for arrows in flows.values():
        assert [arrow["ph"] for arrow in arrows] == ["s", *["t"] * (len(arrows) - 2), "f"]
        assert [arrow["ts"] for arrow in arrows] == sorted(arrow["ts"] for arrow in arrows)
        through = [
            one
            for arrow in arrows
            for one in slices
            if one["tid"] == arrow["tid"] and one["ts"] <= arrow["ts"] <= one["ts"] + one["dur"]
        ]
        assert len(through) == len(arrows)  # one slice each
        assert len({one["args"]["frame"] for one in through}) == 1
        assert [one["name"] for one in through] == ["decode", "wait", "stage", "inference", "postprocess", "publish"]


def test_a_frame_that_failed_is_there_with_its_reason(bundle: Path, tmp_path: Path) -> None:
    images = drive_media.write_images(tmp_path / "images")
    damaged = sorted(images.iterdir())[1]
    damaged.write_bytes(damaged.read_bytes()[:40])
    with Replay(ReplayRequest(sources=[str(images)], models=[str(bundle)], trace=tmp_path / "t.json")) as run:
        run.run()
        captured = run.ledger.total().captured
    published = slices_of(events_of(tmp_path / "t.json"), "publish")
    assert len(published) == captured
    failed = [event["args"] for event in published if event["args"]["status"] != "OK"]
    assert [(args["frame"], args["status"]) for args in failed] == [(1, "DECODE_FAILED")]
    assert failed[0]["reason"]


# --- whole or not at all


def test_a_run_that_breaks_leaves_no_trace_and_what_was_there_stays(
    bundle: Path, drive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trace = tmp_path / "trace.json"
    trace.write_text("of yesterday")
    monkeypatch.setattr("perception.pipeline.Tracker.update", lambda *_: 1 / 0)
    with (
        pytest.raises(ZeroDivisionError),
        Replay(ReplayRequest(sources=[str(drive)], models=[str(bundle)], trace=trace)) as run,
    ):
        run.run()
    assert trace.read_text() == "of yesterday"
    assert [path.name for path in tmp_path.iterdir()] == ["trace.json"]


def test_a_run_that_is_stopped_has_a_whole_trace_of_what_was_captured(
    bundle: Path, drive: Path, tmp_path: Path
) -> None:
    trace = tmp_path / "trace.json"
    request = ReplayRequest(sources=[str(drive)], models=[str(bundle)], rate=1.0, loop=0, trace=trace)
    with Replay(request) as run:
        run.run(lambda: run.stop() if run.ledger.total().published >= 3 else None)
        captured = run.ledger.total().captured
    assert len(slices_of(events_of(trace), "publish")) == captured >= 3


def test_without_a_frame_there_is_no_file(tmp_path: Path) -> None:
    for name in ("trace.json", "trace.json.gz"):
        with trace_into(tmp_path / name, [], {}):
            pass
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["trace.txt", "trace", "trace.gz", "json"])
def test_a_name_that_no_viewer_takes_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match=r"ends in \.json or \.json\.gz"):
        check_name(Path(name))


def test_the_command_refuses_two_outputs_of_one_name(
    bundle: Path, drive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.json"
    words = ["replay", str(drive), "--model", str(bundle), "--trace", str(out), "--jsonl", str(out)]
    monkeypatch.setattr(sys, "argv", ["perception", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert "is given to --jsonl and to --trace" in capsys.readouterr().err
    assert not out.exists()


# --- made times


def entry_of(number: int, slot: int, *stamps: int) -> Entry:
    arrival, decoded, taken, staged, submitted, began, inferred, postprocessed, published = stamps
    entry = Entry("front", number, 0, arrival, decoded, taken, slot, staged, submitted, inferred, ((began, inferred),))
    entry.postprocessed_ns, entry.published_ns = postprocessed, published
    return entry


def written(tmp_path: Path, entries: list[Entry]) -> list[Event]:
    path = tmp_path / "made.json"
    with trace_into(path, ["road"], {}) as trace:
        for entry in entries:
            trace(Result(entry, None, Status.OK, "", (), b""))
    return events_of(path)


def test_frames_that_overlap_on_a_gpu_get_a_track_a_stream(tmp_path: Path) -> None:
    us = 1000
    entries = [
        entry_of(n, n % 3, *(us * at for at in (n + 1, n + 2, n + 3, n + 4, n + 5, n + 6, n + 30, n + 31, n + 32)))
        for n in range(3)
    ]
    events = written(tmp_path, entries)
    assert_tracks_can_be_read(events)
    tracks = tracks_of(events)
    assert sorted(tracks[event["tid"]] for event in slices_of(events, "inference")) == ["road", "road 2", "road 3"]


def test_arrows_go_on_in_time_where_one_slice_lies_within_anothers_time(tmp_path: Path) -> None:
    with (tmp_path / "made.json").open("w") as file:
        trace = TraceFile(file, "test")
        for track in ("long", "short"):
            trace.track(track, 0)
        trace.add([Slice("long", "long", 1000, 9000), Slice("short", "short", 2000, 3000)], {})
        trace.end({})
    arrows = [event for event in events_of(tmp_path / "made.json") if event["ph"] in ("s", "f")]
    assert [(arrow["ph"], arrow["ts"]) for arrow in arrows] == [("s", 2500), ("f", 5000)]


@given(st.lists(st.lists(st.integers(1, 10**6), min_size=9, max_size=9), max_size=20), st.integers(1, 4))
def test_tracks_can_be_read_whatever_the_times_are(steps: list[list[int]], slots: int) -> None:
    """As a pipeline gives them: one feeder, one completer, slots in turns."""
    path = []

    class Kept(list[str]):
        def write(self, text: str) -> int:
            self.append(text)
            return len(text)

    file: Any = Kept()
    trace_file = TraceFile(file, "test")
    trace = FrameTrace(trace_file, ["road"])
    fed_ns, done_ns, free_ns = 1, 1, [1] * slots
    for number, step in enumerate(steps):
        arrival = step[0] + 1
        decoded = arrival + step[1]
        taken = max(decoded + step[2], fed_ns, free_ns[number % slots])
        staged = taken + step[3]
        submitted = fed_ns = staged + step[4]
        began = submitted + step[5]
        inferred = began + step[6]
        postprocessed = max(inferred, done_ns) + step[7]
        published = done_ns = postprocessed + step[8]
        free_ns[number % slots] = postprocessed
        stamps = arrival, decoded, taken, staged, submitted, began, inferred, postprocessed, published
        trace(Result(entry_of(number, number % slots, *stamps), None, Status.OK, "", (), b""))
        path.append(number)
    trace_file.end({})
    events = json.loads("".join(file), parse_float=lambda digits: int(digits.replace(".", "")))["traceEvents"]
    assert_tracks_can_be_read(events)
    assert [event["args"]["frame"] for event in slices_of(events, "publish")] == path


def test_a_long_run_takes_no_memory(tmp_path: Path) -> None:
    def peak_of(frames: int) -> int:
        tracemalloc.start()
        with trace_into(tmp_path / "long.json.gz", ["road"], {}) as trace:
            for n in range(frames):
                at = 1_000_000 * (n + 1)
                stamps = [at + step for step in (0, 10, 20, 30, 40, 50, 60, 70, 80)]
                trace(Result(entry_of(n, n % 2, *stamps), None, Status.OK, "", (), b""))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    assert peak_of(1000) < 1.2 * peak_of(200)


def test_a_vehicle_can_be_traced_too(
    bundle: Path, drive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    vehicle, trace = tmp_path / "vehicle.toml", tmp_path / "trace.json"
    vehicle.write_text(f'[[camera]]\nname = "front"\nuri = "{drive}"\nevery = 2\n[[network]]\nbundle = "{bundle}"\n')
    monkeypatch.setattr(sys, "argv", ["perception", "run", str(vehicle), "--trace", str(trace), "--json"])
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    assert signal.getsignal(signal.SIGTERM) == before
    told = json.loads(capsys.readouterr().out)
    events = events_of(trace)
    assert_tracks_can_be_read(events)
    assert len(slices_of(events, "publish")) == told["published"] > 0
    assert about_of(trace)["dropped"] == told["dropped"]
    assert told["dropped"]["skipped"] == FRAMES // 2


def test_a_span_of_a_drive_begins_its_trace_where_it_begins(bundle: Path, drive: Path, tmp_path: Path) -> None:
    request = ReplayRequest(
        sources=[str(drive)], models=[str(bundle)], span=Span(1_000_000_000, 500_000_000), trace=tmp_path / "t.json"
    )
    with Replay(request) as run:
        run.run()
    stamps = [event["args"]["stamp_ns"] for event in slices_of(events_of(tmp_path / "t.json"), "publish")]
    assert min(stamps) >= 1_000_000_000
