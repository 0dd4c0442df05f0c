"""The command as a person or a script meets it: figures, files, exit codes, and errors in one line."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import av
import cv2
import drive_media
import pytest
import tiny_networks
from command import Cli, Ended

from engines.gpu import find_gpu

WAIT_S = 30.0
COMMAND = [sys.executable, "-c", "from perception.commands.app import main; main()"]

# As scripts read them: a key that is renamed breaks somebody's vehicle.
SUMMARY_KEYS = {
    "captured", "published", "dropped", "failed", "wall_s", "fps", "engine_fps", "latency_ms", "added_latency_ms",
    "cpu_ms_per_frame", "detections", "engine", "bundle", "digest", "sensors",
}  # fmt: skip


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_networks.make_bundle(tmp_path_factory.mktemp("commands") / "tiny").folder


@pytest.fixture(scope="session")
def drive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 pictures at 10 frames/s."""
    return drive_media.write_video(tmp_path_factory.mktemp("drives") / "front.mp4")


@pytest.fixture
def spoiled(bundle: Path, tmp_path: Path) -> Path:
    """A copy of the bundle that a test may change, in a folder of its own."""
    return Path(shutil.copytree(bundle, tmp_path / "bundles" / "tiny"))


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    """The command sets what holds for a whole process."""
    threads = cv2.getNumThreads()
    yield
    cv2.setNumThreads(threads)


def tree(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def contents(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() if (folder / name).is_file() else b"" for name in tree(folder)}


def assert_refused(ended: Ended, code: int, *parts: str) -> None:
    """One line on stderr that says what is wrong and what to do, after warnings of single frames at most."""
    assert ended.code == code, ended
    assert ended.out == ""
    *warnings, line = ended.err.splitlines()
    assert all(warning.startswith("warning: ") for warning in warnings)
    assert code != 2 or not warnings, "a wrong request is refused before a frame is looked at"
    assert line.startswith("error: ")
    assert "; " in line, "no remedy"
    for part in parts:
        assert part in line


# --- what a replay gives


def test_json_is_one_object_with_the_figures_of_the_run(cli: Cli, bundle: Path, drive: Path) -> None:
    ended = cli("replay", drive, "--model", bundle, "--json")
    assert (ended.code, ended.err) == (0, "")
    figures = json.loads(ended.out)
    assert set(figures) == SUMMARY_KEYS
    assert (figures["captured"], figures["published"]) == (24, 24)
    assert figures["dropped"] == figures["failed"] == {}
    for key in ("latency_ms", "added_latency_ms"):
        assert set(figures[key]) == {"p50", "p99"}
        assert figures[key]["p50"] <= figures[key]["p99"]
    assert figures["fps"] == pytest.approx(24 / figures["wall_s"], rel=0.01)
    assert figures["engine_fps"] > 0
    assert figures["cpu_ms_per_frame"] > 0
    assert figures["detections"] >= 24
    assert (figures["engine"], figures["bundle"]) == ("onnxruntime", "tiny")
    assert len(figures["digest"]) == 64
    assert figures["sensors"] == {"front": {"captured": 24, "published": 24, "dropped": {}, "failed": {}}}


def test_without_json_the_figures_are_read_by_people(cli: Cli, bundle: Path, drive: Path, tmp_path: Path) -> None:
    ended = cli("replay", drive, "--model", bundle, "--jsonl", tmp_path / "f.jsonl")
    assert (ended.code, ended.err) == (0, "")
    first, *_, wrote = ended.out.splitlines()
    assert first.startswith("24 of 24 frames published, ")
    assert wrote == f"wrote {tmp_path / 'f.jsonl'}"


def test_several_sources_and_networks_are_listed_by_name(cli: Cli, bundle: Path, drive: Path, spoiled: Path) -> None:
    other = spoiled.rename(spoiled.with_name("other"))
    ended = cli("replay", drive, f"rear={drive}", drive, "--model", bundle, "--model", other, "--json")
    figures = json.loads(ended.out)
    assert set(figures["sensors"]) == {"front", "rear", "front-2"}
    assert figures["captured"] == 72
    assert figures["bundle"] == ["tiny", "other"]
    assert figures["engine"] == ["onnxruntime", "onnxruntime"]


def test_jsonl_has_a_line_for_every_frame(cli: Cli, bundle: Path, drive: Path, tmp_path: Path) -> None:
    figures = json.loads(cli("replay", drive, "--model", bundle, "--jsonl", tmp_path / "f.jsonl", "--json").out)
    lines = [json.loads(line) for line in (tmp_path / "f.jsonl").read_text().splitlines()]
    assert [line["frame_sequence"] for line in lines] == list(range(24))
    assert [line["stamp_ns"] for line in lines] == [n * 100_000_000 for n in range(24)]
    assert {line["status"] for line in lines} == {"OK"}
    assert sum(len(line["detections"]) for line in lines) == figures["detections"]
    assert lines[3]["detections"][0].keys() == {
        "box",
        "score",
        "class_index",
        "class",
        "track_id",
        "network",
        "crop_classes",
    }
    assert tree(tmp_path) == {"f.jsonl"}


def test_render_has_a_picture_for_every_frame_at_its_stamp(cli: Cli, bundle: Path, drive: Path, tmp_path: Path) -> None:
    ended = cli("replay", drive, f"rear={drive}", "--model", bundle, "--render", tmp_path / "seen.mp4")
    assert ended.code == 0, ended
    assert tree(tmp_path) == {"seen-front.mp4", "seen-rear.mp4"}
    for path in tmp_path.iterdir():
        with av.open(str(path)) as container:
            stamps = [float(frame.pts * frame.time_base) for frame in container.decode(video=0)]
        assert stamps == pytest.approx([n / 10 for n in range(24)], abs=1e-4)


def test_one_camera_is_rendered_to_the_very_name(cli: Cli, bundle: Path, drive: Path, tmp_path: Path) -> None:
    assert cli("replay", drive, "--model", bundle, "--render", tmp_path / "seen.mp4").code == 0
    assert tree(tmp_path) == {"seen.mp4"}


def test_two_replays_have_one_digest_and_another_drive_another(
    cli: Cli, bundle: Path, drive: Path, tmp_path: Path
) -> None:
    other = drive_media.write_video(tmp_path / "front.mp4", pictures=23)
    digests = [
        json.loads(cli("replay", source, "--model", bundle, "--json", *more).out)["digest"]
        for source, more in ((drive, ()), (drive, ("--rate", "40")), (drive, ("--score", "0.71")), (other, ()))
    ]
    assert digests[0] == digests[1]
    assert len(set(digests)) == 3


def test_damaged_images_are_counted_and_the_rest_is_published(cli: Cli, bundle: Path, tmp_path: Path) -> None:
    images = drive_media.write_images(tmp_path / "drive")
    (images / "frame3.png").write_bytes(b"")
    (images / "frame8.png").write_bytes((images / "frame8.png").read_bytes()[:60])
    ended = cli("replay", images, "--model", bundle, "--json", "--jsonl", tmp_path / "f.jsonl")
    assert ended.code == 0
    figures = json.loads(ended.out)
    assert (figures["captured"], figures["published"]) == (12, 10)
    assert figures["failed"] == {"decode_failed": 2}
    lines = [json.loads(line) for line in (tmp_path / "f.jsonl").read_text().splitlines()]
    assert [line["frame_sequence"] for line in lines if line["status"] == "DECODE_FAILED"] == [3, 8]
    assert all(line["status_reason"] for line in lines if line["status"] != "OK")


def test_a_camera_without_a_picture_gets_no_video(cli: Cli, bundle: Path, tmp_path: Path) -> None:
    kitti = drive_media.write_kitti(tmp_path / "drive")
    for image in (kitti / "image_03" / "data").iterdir():
        image.unlink()
    ended = cli("replay", f"k={kitti}", "--model", bundle, "--render", tmp_path / "seen.mp4", "--jsonl", tmp_path / "f")
    assert ended.code == 0
    written = {"seen-k-image_02.mp4", "f"}
    assert {path.name for path in tmp_path.iterdir() if path.is_file()} == written
    assert {Path(line.removeprefix("wrote ")).name for line in ended.out.splitlines() if "wrote" in line} == written


def test_images_of_different_sizes_are_rendered_as_one_video(cli: Cli, bundle: Path, tmp_path: Path) -> None:
    images = drive_media.write_images(tmp_path / "drive", images=4)
    for number, size in ((1, (81, 61)), (2, (30, 48)), (3, (200, 300))):
        cv2.imwrite(str(images / f"frame{number}.png"), drive_media.picture(number, *size))
    assert cli("replay", images, "--model", bundle, "--render", tmp_path / "seen.mp4").code == 0
    with av.open(str(tmp_path / "seen.mp4")) as container:
        assert sum(1 for _ in container.decode(video=0)) == 4


def scans_alone(folder: Path) -> Path:
    drive = drive_media.write_kitti(folder / "scans")
    for camera in drive.glob("image_*"):
        shutil.rmtree(camera)
    return drive


def test_a_drive_of_scans_alone_has_figures_too(cli: Cli, bundle: Path, tmp_path: Path) -> None:
    ended = cli("replay", scans_alone(tmp_path), "--model", bundle)
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.startswith("8 of 8 frames published, 0 detections\ndigest ")


# --- what is refused: exit code 2, nothing written


def half(path: Path, target: Path, share: float = 0.6) -> Path:
    content = path.read_bytes()
    target.write_bytes(content[: int(len(content) * share)])
    return target


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["{tmp}/fornt.mp4"], ["fornt.mp4: does not exist", "did you mean", "front.mp4?"]),
        (["{tmp}/notes.mp4"], ["notes.mp4: is not a video"]),
        (["{tmp}/empty.mp4"], ["empty.mp4: is empty"]),
        (["{tmp}/pictures"], ["pictures: has no images in it"]),
        (["{drive}", "--engine", "warp"], ["--engine warp: is unknown", "onnxruntime"]),
        ([""], ["has an empty path"]),
        (["{drive}", "--start", "inf"], ["--start inf"]),
        (["{drive}", "--duration", "inf"], ["--duration inf"]),
        (["{drive}", "--jsonl", "{tmp}/pipe"], ["pipe: is no plain file"]),
        (["{tmp}/pictures2", "--jsonl", "{tmp}/pictures2/f.jsonl"], ["f.jsonl: is in what is replayed"]),
        (
            ["a={drive}", "b={tmp}/two-b.mp4", "--render", "{tmp}/two.mp4"],
            ["two-b.mp4: is in what is replayed"],
        ),
        (["{drive}", "--rate", "fast"], ["--rate fast: is no rate"]),
        (["{drive}", "--rate", "0"], ["--rate 0"]),
        (["{drive}", "--rate", "-1"], ["--rate -1"]),
        (["{drive}", "--rate", "nan"], ["--rate nan"]),
        (["{drive}", "--rate", "1e-300"], ["--rate 1e-300"]),
        (["{drive}", "--jsonl", "{tmp}/none/f.jsonl"], ["f.jsonl: cannot be written", "its folder has to exist"]),
        (["{drive}", "--jsonl", "{tmp}"], ["is a folder"]),
        (["{drive}", "--jsonl", "."], ["is a folder"]),
        (["{drive}", "--render", "{tmp}/seen.avi"], ["seen.avi: is no .mp4 file"]),
        (["{drive}", "--render", "{tmp}/front.mp4/seen.mp4"], ["seen.mp4: cannot be written"]),
        (["{tmp}/front.mp4", "--render", "{tmp}/front.mp4"], ["front.mp4: is in what is replayed"]),
        (["{tmp}/front.mp4", "--jsonl", "{tmp}/./front.mp4"], ["front.mp4: is in what is replayed"]),
        (["{drive}", "--jsonl", "{tmp}/seen.mp4", "--render", "{tmp}/seen.mp4"], ["--jsonl and to --render"]),
        (["{drive}", "--jsonl", "{tmp}/a.mcap", "--record", "{tmp}/a.mcap"], ["--jsonl and to --record"]),
        (["{drive}", "--record", "{tmp}/notes.mp4"], ["is no .mcap file"]),
        (["{drive}", "--jsonl", "x" * 300], ["cannot be written (File name too long)"]),
        (["{drive}", "--model", "x" * 300], ["there is no such bundle"]),
        (["{drive}", "--wait-readers", "1"], ["--wait-readers", "--publish ENDPOINT"]),
        (["{drive}", "--publish", "localhost"], ["localhost"]),
        (["{drive}", "--publish", "tcp://0.0.0.0:5555"], ["tcp://0.0.0.0:5555"]),
        (["a={drive}", "a={drive}"], ["two sources have this name"]),
        (["{drive}", "--start", "99"], ["gave no frame", "--start and --duration"]),
        (["{drive}", "--duration", "0", "--render", "{tmp}/seen.mp4"], ["gave no frame"]),
        (["{drive}", "--model", "{tmp}/none"], ["there is no such bundle", "perception engine import"]),
        (["{drive}", "--model", "{tmp}/front.mp4"], ["is a file, and a bundle is a folder"]),
    ],
    ids=lambda words: " ".join(map(str, words))[:50],
)
def test_a_wrong_request_is_refused_before_anything_is_written(
    cli: Cli, bundle: Path, drive: Path, tmp_path: Path, words: list[str], parts: list[str]
) -> None:
    shutil.copy(drive, tmp_path / "front.mp4")
    (tmp_path / "notes.mp4").write_text("remember to record something")
    (tmp_path / "empty.mp4").write_bytes(b"")
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures2").mkdir()
    cv2.imwrite(str(tmp_path / "pictures2" / "0.png"), tiny_networks.solid(200))
    shutil.copy(drive, tmp_path / "two-b.mp4")
    os.mkfifo(tmp_path / "pipe")
    before = contents(tmp_path)
    filled = [word.format(tmp=tmp_path, drive=drive) for word in words]
    model = [] if "--model" in words else ["--model", bundle]
    ended = cli("replay", *filled, *model)
    assert_refused(ended, 2, *parts)
    assert contents(tmp_path) == before


def test_drives_are_mined_and_done_by_the_network_that_comes_along(cli: Cli, drive: Path, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    assert cli("drive", "batch", drive, "-o", tmp_path / "out").code == 0
    assert json.loads((tmp_path / "out" / "batch.json").read_text())["bundles"][0]["name"] == "road"
    ended = cli("drive", "mine", drive, "-o", tmp_path / "mined", "--score", "0.01", "--sure", "0.02")
    assert ended.code in (0, 1), ended
    assert "24 frames" in ended.out + ended.err


def test_a_dash_is_no_file(
    cli: Cli, bundle: Path, drive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for option in ("--jsonl", "--record", "--trace"):
        ended = cli("replay", drive, "--model", bundle, option, "-")
        assert_refused(ended, 2, f"{option} -: standard output has the figures", "subscribe --json")
    assert not list(tmp_path.iterdir())


def test_a_render_of_no_camera_is_refused(cli: Cli, bundle: Path, tmp_path: Path) -> None:
    drive = scans_alone(tmp_path)
    before = contents(tmp_path)
    ended = cli("replay", drive, "--model", bundle, "--render", tmp_path / "seen.mp4")
    assert_refused(ended, 2, "seen.mp4: has nothing to show", "leave --render away")
    assert contents(tmp_path) == before


@pytest.mark.parametrize(
    ("file", "content", "parts"),
    [
        ("model.onnx", b"no network at all", ["model.onnx: does not load in ONNX Runtime"]),
        ("model.onnx", b"", ["model.onnx"]),
        ("labels.txt", b"", ["labels.txt: holds no class name"]),
        ("bundle.toml", b"decoder", ["bundle.toml: is not TOML"]),
    ],
)
def test_a_spoiled_bundle_is_refused(
    cli: Cli, spoiled: Path, drive: Path, file: str, content: bytes, parts: list[str]
) -> None:
    (spoiled / file).write_bytes(content)
    assert_refused(cli("replay", drive, "--model", spoiled), 2, *parts)


@pytest.mark.parametrize(
    ("old", "new", "parts"),
    [
        ('decoder = "yolov8"', 'decoder = "yolo8"', ['decoder "yolo8" is unknown', 'did you mean "yolov8"?']),
        ('decoder = "yolov8"', 'decoder = "yolox"', ['decoder "yolox" does not fit model.onnx']),
        ('"boxes"', '"out"', ["has no output 'out'", "it has boxes"]),
        ("pad = 114", "pads = 114", ["pads: is no key here; did you mean 'pad'"]),
    ],
)
def test_a_bundle_that_does_not_fit_its_network_is_refused(
    cli: Cli, spoiled: Path, drive: Path, old: str, new: str, parts: list[str]
) -> None:
    text = (spoiled / "bundle.toml").read_text()
    assert old in text
    (spoiled / "bundle.toml").write_text(text.replace(old, new))
    assert_refused(cli("replay", drive, "--model", spoiled), 2, *parts)


def test_fewer_labels_than_classes_are_refused(cli: Cli, spoiled: Path, drive: Path) -> None:
    (spoiled / "labels.txt").write_text("blue\n")
    assert_refused(cli("replay", drive, "--model", spoiled), 2, "labels.txt", "3")


def test_a_port_in_use_is_refused(cli: Cli, bundle: Path, drive: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        endpoint = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        assert_refused(cli("replay", drive, "--model", bundle, "--publish", endpoint), 2, endpoint, "port is in use")


# --- what breaks: exit code 3, and no file that looks whole


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_a_recording_cut_in_its_middle_ends_with_3_and_leaves_no_file(
    cli: Cli, bundle: Path, drive: Path, tmp_path: Path, share: float
) -> None:
    cut = half(drive, tmp_path / "cut.mp4", share)
    outputs = ["--jsonl", tmp_path / "f.jsonl", "--render", tmp_path / "seen.mp4"]
    assert_refused(cli("replay", cut, "--model", bundle, *outputs), 3, "cut.mp4")
    assert tree(tmp_path) == {"cut.mp4"}


def test_a_recording_without_its_index_is_refused(cli: Cli, bundle: Path, drive: Path, tmp_path: Path) -> None:
    whole = tmp_path / "plain.mp4"
    with av.open(str(drive)) as source, av.open(str(whole), "w") as target:  # its index at the end
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    cut = half(whole, tmp_path / "cut.mp4")
    whole.unlink()
    ended = cli("replay", cut, "--model", bundle, "--jsonl", tmp_path / "f.jsonl")
    assert_refused(ended, 2, "cut.mp4: is truncated", "no index (moov)")
    assert tree(tmp_path) == {"cut.mp4"}


def test_a_network_that_only_gives_nan_is_no_replay(cli: Cli, spoiled: Path, drive: Path, tmp_path: Path) -> None:
    tiny_networks.write_network(spoiled / "model.onnx", always_nan=True)
    before = tree(tmp_path)
    ended = cli("replay", drive, "--model", spoiled, "--jsonl", tmp_path / "f.jsonl", "--json")
    assert_refused(ended, 3, "every one of 24 frames failed", "holds NaN or infinity")
    assert tree(tmp_path) == before


# --- `engine`


def test_import_says_what_it_made_and_inspect_what_it_is(cli: Cli, tmp_path: Path) -> None:
    model = tiny_networks.write_network(tmp_path / "net.onnx", names="['blue', 'green', 'red']")
    ended = cli("engine", "import", model, "-o", tmp_path / "net", "--colour", "BGR")
    assert (ended.code, ended.err) == (0, "")
    assert "yolov8, 32x32 BGR, letterbox-centred, 3 classes" in ended.out
    facts = json.loads(cli("engine", "inspect", tmp_path / "net", "--json").out)
    assert (facts["decoder"], facts["labels"]) == ("yolov8", ["blue", "green", "red"])
    assert facts["onnx_inputs"] == ["image tensor(float) [1, 3, 32, 32]"]
    plain = cli("engine", "inspect", tmp_path / "net")
    assert plain.code == 0
    assert facts["sha256"] in plain.out


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["{tmp}/none.onnx"], ["none.onnx: there is no such file"]),
        (["{tmp}/empty.onnx"], ["empty.onnx: is empty"]),
        (["{tmp}/garbage.onnx"], ["garbage.onnx: does not load in ONNX Runtime"]),
        (["{tmp}/nan.onnx"], ["holds NaN or infinity"]),
        (["{tmp}/net.onnx", "--decoder", "yolov7"], ['decoder "yolov7" is unknown', "did you mean"]),
        (["{tmp}/net.onnx", "--fit", "letterbox"], ["--fit letterbox: is unknown", "letterbox-top-left"]),
        (["{tmp}/net.onnx", "--colour", "rgb"], ["--colour rgb: is unknown", "BGR, RGB"]),
        (["{tmp}/net.onnx", "--size", "640"], ["--size 640: is no size", "640x384"]),
        (["{tmp}/net.onnx", "--outputs", "boxes"], ["--outputs boxes: is no ROLE=NAME"]),
        (["{tmp}/net.onnx", "--labels", "coco"], ["names 80 classes", "has 3"]),
        (["{tmp}/net.onnx", "--decoder", "segmentation"], ["expected outputs of [1,classes,", "use --decoder yolov8"]),
        (["{tmp}/masks.onnx"], ["its 5 classes' names (3 of group_1, then 2 of group_2)", "--labels FILE"]),
        (["{tmp}/masks.onnx", "--labels", "coco"], ["names 80 classes", "has 5 (3 of group_1, then 2 of group_2)"]),
        (["{tmp}/masks.onnx", "--decoder", "yolox"], ["found 2 outputs of [1,3,32,32]", "use --decoder segmentation"]),
        (["{tmp}/masks.onnx", "--outputs", "a=color"], ["there is no such output", "colour [1, 3, 32, 32]"]),
        (["{tmp}/masks.onnx", "--outputs", "a=shade", "--outputs", "b=shade"], ["gives the output shade two roles"]),
        (["{tmp}/masks.onnx", "--outputs", "a=shade", "--outputs", "a=colour"], ["names the role a again"]),
        (["{tmp}/inside.onnx", "--outputs", "a=shade"], ["shade holds no logits", "without its last sigmoid"]),
        (["{tmp}/net.onnx", "--std", "0", "1", "1"], ["std.0"]),
    ],
    ids=lambda words: " ".join(map(str, words))[:50],
)
def test_an_import_that_is_refused_leaves_nothing(cli: Cli, tmp_path: Path, words: list[str], parts: list[str]) -> None:
    names = "['blue', 'green', 'red']"
    tiny_networks.write_network(tmp_path / "net.onnx", names=names)
    tiny_networks.write_network(tmp_path / "nan.onnx", names=names, always_nan=True)
    tiny_networks.write_segmenter(tmp_path / "masks.onnx")
    tiny_networks.write_segmenter(tmp_path / "inside.onnx", last="Sigmoid")
    (tmp_path / "empty.onnx").write_bytes(b"")
    (tmp_path / "garbage.onnx").write_bytes(b"\x93\x00garbage" * 50)
    before = tree(tmp_path)
    filled = [word.format(tmp=tmp_path) for word in words]
    assert_refused(cli("engine", "import", *filled, "-o", tmp_path / "made"), 2, *parts)
    assert tree(tmp_path) == before


def test_bench_measures_the_raw_engine(cli: Cli, bundle: Path) -> None:
    ended = cli("engine", "bench", bundle, "--seconds", "0.1", "--json")
    figures = json.loads(ended.out)
    assert {"fps", "latency_ms", "engine", "threads"} <= set(figures)
    assert (figures["device"], figures["in_flight"], figures["gpu_ms"]) == ("cpu", 2, {})
    assert figures["fps"] > 0
    assert figures["latency_ms"]["p50"] <= figures["latency_ms"]["p99"]
    pipeline = figures["pipeline"]
    assert pipeline["fps"] > 0
    assert pipeline["of_engine"] > 0
    assert 0 < pipeline["added_latency_ms"]["p50"] <= pipeline["added_latency_ms"]["p99"]
    assert "of the engine's in turns" in cli("engine", "bench", bundle, "--seconds", "0.1").out


def test_bench_measures_a_network_whose_every_frame_fails_too(cli: Cli, tmp_path: Path) -> None:
    bundle = tiny_networks.make_bundle(tmp_path / "net").folder
    broken = tiny_networks.write_network(tmp_path / "broken.onnx", always_nan=True)
    (bundle / "model.onnx").write_bytes(broken.read_bytes())
    ended = cli("engine", "bench", bundle, "--seconds", "0.1")
    assert ended.code == 0
    assert "it adds p50 -, p99 -" in ended.out


def test_bench_of_several_images_at_once_is_of_the_engine_alone(cli: Cli, tmp_path: Path) -> None:
    bundle = tiny_networks.make_bundle(tmp_path / "net", batch=3).folder
    figures = json.loads(cli("engine", "bench", bundle, "--seconds", "0.1", "--batch", "3", "--json").out)
    assert (figures["batch"], figures["pipeline"]) == (3, None)
    assert_refused(cli("engine", "bench", bundle, "--batch", "4"), 2, "--batch 4: is more than net takes", "import it")


@pytest.mark.parametrize("command", ["bench", "replay"])
def test_asking_for_a_gpu_that_is_not_there_says_what_is_missing(
    cli: Cli, bundle: Path, drive: Path, command: str
) -> None:
    if find_gpu() is not None:
        pytest.skip("a GPU is here")
    words = ("engine", "bench", bundle) if command == "bench" else ("replay", drive, "--model", bundle)
    assert_refused(cli(*words, "--engine", "tensorrt"), 2, "--engine tensorrt: cannot run here", "NVIDIA driver")


def test_probe_reports_each_way_of_feeding(cli: Cli, drive: Path, tmp_path: Path) -> None:
    model = tiny_networks.write_network(tmp_path / "net.onnx", names="['blue', 'green', 'red']")
    ended = cli("engine", "import", model, "-o", tmp_path / "net", "--probe", drive)
    assert ended.code == 0
    for how in ("as imported", "--colour BGR", "--scale 1"):
        assert how in ended.out


def test_probe_sketches_groups_and_says_how_to_name_them(cli: Cli, drive: Path, tmp_path: Path) -> None:
    model = tiny_networks.write_segmenter(tmp_path / "net.onnx")
    labels = tiny_networks.write_labels(tmp_path / "names.txt", tiny_networks.SEGMENTER_LABELS)
    words = ("engine", "import", model, "--labels", labels, "-o", tmp_path / "net", "--probe", drive)
    ended = cli(*words)
    assert ended.code == 0
    assert "group_1, from the output 'colour': blue " in ended.out
    assert "group_2, from the output 'shade': light " in ended.out
    sketched = [line.strip() for line in ended.out.splitlines() if set(line.strip()) <= set(".#o")]
    assert [len(line) for line in sketched] == [32] * 36  # no more characters than the map has pixels
    assert "Name them: --outputs NAME=colour --outputs NAME=shade --force" in ended.out
    named = cli(*words, "--outputs", "a=colour", "--outputs", "b=shade", "--force")
    assert named.code == 0
    assert "b, from the output 'shade'" in named.out
    assert "Name them" not in named.out


def test_masks_are_written_drawn_and_of_one_digest(cli: Cli, bundle: Path, drive: Path, tmp_path: Path) -> None:
    masks = tiny_networks.make_segmenter_bundle(tmp_path / "masks").folder
    words = ("replay", drive, "--model", bundle, "--model", masks, "--json")
    first = cli(*words, "--jsonl", tmp_path / "found.jsonl", "--render", tmp_path / "seen.mp4")
    second = cli(*words, "--rate", "30")
    assert first.code == second.code == 0
    assert json.loads(first.out)["digest"] == json.loads(second.out)["digest"]
    messages = [json.loads(line) for line in (tmp_path / "found.jsonl").read_text().splitlines()]
    assert len(messages) == 24
    for message in messages:
        assert [(mask["group"], mask["network"]) for mask in message["masks"]] == [("colour", 1), ("shade", 1)]
        assert all(sum(mask["run_lengths"]) == 32 * 32 for mask in message["masks"])
        assert {network for box in message["detections"] for network in [box["network"]]} == {0}
        assert len(message["ledger"]["networks"]) == 2
    alone = cli("replay", drive, "--model", masks, "--json")
    assert json.loads(alone.out)["published"] == 24


def test_a_probe_of_a_wrong_source_is_refused_before_the_bundle_is_written(cli: Cli, tmp_path: Path) -> None:
    model = tiny_networks.write_network(tmp_path / "net.onnx", names="['blue', 'green', 'red']")
    ended = cli("engine", "import", model, "-o", tmp_path / "net", "--probe", tmp_path / "none.mp4")
    assert_refused(ended, 2, "none.mp4: does not exist")
    assert not (tmp_path / "net").exists()


def test_several_cameras_are_drawn_each_into_a_file_that_is_named(
    cli: Cli, bundle: Path, drive: Path, tmp_path: Path
) -> None:
    ended = cli("replay", f"a={drive}", f"b={drive}", "--model", bundle, "--render", tmp_path / "two.mp4")
    assert ended.code == 0
    assert tree(tmp_path) == {"two-a.mp4", "two-b.mp4"}
    for name in ("two-a.mp4", "two-b.mp4"):
        assert f"wrote {tmp_path / name}" in ended.out


def test_a_replay_that_falls_behind_says_so(cli: Cli, bundle: Path, drive: Path) -> None:
    ended = cli("replay", drive, "--model", bundle, "--rate", "1e6", "--loop", "3000", "--duration", "0.5")
    assert ended.code == 0
    assert "behind rate 1e6" in ended.err


def test_a_replay_of_a_recording_that_was_cut_off_says_what_is_missing(cli: Cli, bundle: Path, tmp_path: Path) -> None:
    path = drive_media.write_mcap(tmp_path / "drive.mcap", whole=False)
    ended = cli("replay", path, "--model", bundle)
    assert ended.code == 0
    assert f"warning: {path}: it has no end" in ended.err


# --- processes


def test_a_full_disk_ends_the_replay_with_one_line_and_leaves_nothing(
    bundle: Path, drive: Path, tmp_path: Path
) -> None:
    words = ["replay", str(drive), "--model", str(bundle), "--loop", "50", "--jsonl", str(tmp_path / "f.jsonl")]
    limit = 16 * 1024  # bytes a file may have
    ended = subprocess.run(
        [*COMMAND, *words],
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: (
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN),
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
        ),
    )
    assert ended.returncode == 3
    assert ended.stdout == ""
    (line,) = ended.stderr.splitlines()
    assert line.startswith("error: ")
    assert "File too large" in line
    assert tree(tmp_path) == set()


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
def test_a_signal_while_everything_is_opened_ends_at_once(
    bundle: Path, drive: Path, tmp_path: Path, sent: signal.Signals, code: int
) -> None:
    """Sent when the first thread of the engine starts, which is in the middle of its warm-up."""
    script = f"""
import os, threading
from engines.runtime.inference_thread import InferenceThread
submit = InferenceThread.submit
def submit_and_signal(self, slot, rows):
    submit(self, slot, rows)
    os.kill(os.getpid(), {sent.value})
InferenceThread.submit = submit_and_signal
from perception.commands.app import main
main()
"""
    words = ["replay", str(drive), "--model", str(bundle), "--jsonl", str(tmp_path / "f.jsonl")]
    ended = subprocess.run(
        [sys.executable, "-c", script, *words], capture_output=True, text=True, check=False, timeout=WAIT_S
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (code, "", "")
    assert tree(tmp_path) == set()


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
def test_a_signal_drains_the_replay_and_keeps_its_files(
    bundle: Path, drive: Path, tmp_path: Path, sent: signal.Signals, code: int
) -> None:
    outputs = ["--jsonl", str(tmp_path / "f.jsonl"), "--render", str(tmp_path / "seen.mp4")]
    words = ["replay", str(drive), "--model", str(bundle), "--rate", "10", "--loop", "0", "--json", *outputs]
    with subprocess.Popen([*COMMAND, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        deadline_s = time.monotonic() + WAIT_S
        while not any(path.stat().st_size for path in tmp_path.glob(".f.*.part.jsonl")):
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline_s
            time.sleep(0.02)
        process.send_signal(sent)
        out, err = process.communicate(timeout=WAIT_S)
    assert process.returncode == code
    assert all(line.startswith("fell ") for line in err.splitlines()), err  # behind: a busy machine may be
    figures = json.loads(out)
    assert figures["captured"] == figures["published"] > 5
    lines = (tmp_path / "f.jsonl").read_text().splitlines()
    assert [json.loads(line)["frame_sequence"] for line in lines] == list(range(figures["published"]))
    with av.open(str(tmp_path / "seen.mp4")) as container:
        assert sum(1 for _ in container.decode(video=0)) == figures["published"]
    assert tree(tmp_path) == {"f.jsonl", "seen.mp4"}


def test_a_replay_that_is_stopped_before_its_first_frame_leaves_files_as_they_were(
    bundle: Path, drive: Path, tmp_path: Path
) -> None:
    (tmp_path / "f.jsonl").write_text("of the last replay")
    outputs = ["--jsonl", str(tmp_path / "f.jsonl"), "--render", str(tmp_path / "seen.mp4")]
    stream = ["--publish", "tcp://127.0.0.1:0", "--wait-readers", "1"]
    words = ["replay", str(drive), "--model", str(bundle), *stream, *outputs]
    with subprocess.Popen([*COMMAND, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert process.stderr.readline().startswith("readers connect to tcp://127.0.0.1:")
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=WAIT_S)
    assert (process.returncode, err) == (0, "")
    assert out.startswith("0 of 0 frames published")
    assert "wrote" not in out
    assert contents(tmp_path) == {"f.jsonl": b"of the last replay"}


def test_an_import_that_is_terminated_leaves_nothing(tmp_path: Path) -> None:
    """SIGTERM while the finished bundle is tried."""
    script = f"""
import os
from engines.runtime.inference_thread import InferenceThread
InferenceThread.submit = lambda self, slot, rows: os.kill(os.getpid(), {signal.SIGTERM.value})
from perception.commands.app import main
main()
"""
    model = tiny_networks.write_network(tmp_path / "tiny.onnx")
    labels = tiny_networks.write_labels(tmp_path / "labels.txt")
    before = tree(tmp_path)
    words = ["engine", "import", str(model), "--labels", str(labels), "-o", str(tmp_path / "bundles" / "tiny")]
    ended = subprocess.run(
        [sys.executable, "-c", script, *words], capture_output=True, text=True, check=False, timeout=WAIT_S
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (128 + signal.SIGTERM, "", "")
    assert tree(tmp_path) == before


def test_a_replay_on_a_terminal_shows_a_bar_and_warnings_on_lines_of_their_own(bundle: Path, tmp_path: Path) -> None:
    images = drive_media.write_images(tmp_path / "front")
    empty = sorted(images.iterdir())[0]
    empty.write_bytes(b"")
    ours, its = os.openpty()
    words = ["replay", str(images), "--model", str(bundle), "--rate", "20"]
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "120"}
    with subprocess.Popen(
        [*COMMAND, *words], stdout=subprocess.PIPE, stderr=its, text=True, env=environment
    ) as process:
        os.close(its)
        shown = b""
        with suppress(OSError):  # how a terminal ends
            while read := os.read(ours, 4096):
                shown += read
        os.close(ours)
        out, _ = process.communicate(timeout=WAIT_S)
    assert process.returncode == 0
    assert out.startswith(f"{drive_media.IMAGES - 1} of {drive_media.IMAGES} frames published")
    assert f"{drive_media.IMAGES}/{drive_media.IMAGES}" in shown.decode()
    lines = [line.rpartition("\x1b[2K")[2] for line in shown.decode().split("\r\n")]  # what is left when all is cleared
    assert f"warning: front frame 0: DECODE_FAILED: {empty.name}: is empty (0 bytes)" in lines


def test_a_replay_in_a_pipe_writes_plain_text_and_never_loads_torch(bundle: Path, drive: Path) -> None:
    code = (
        "import sys\n"
        "from perception.commands.app import main\n"
        "try: main()\n"
        "finally: print('torch' in sys.modules, 'onnxruntime' in sys.modules, file=sys.stderr)"
    )
    process = subprocess.run(
        [sys.executable, "-c", code, "replay", str(drive), "--model", str(bundle)],
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=True,
    )
    assert process.stderr == "False True\n"
    assert process.stdout.startswith("24 of 24 frames published")
    assert "\x1b" not in process.stdout
    assert "\r" not in process.stdout


HEAVY = {"torch", "cv2", "onnxruntime", "av", "numpy", "onnx", "zmq", "google.protobuf"}


@pytest.mark.parametrize(
    "code",
    [
        "import perception",
        "import sys; sys.argv[1:] = ['--help']; from perception.commands.app import main; main()",
        "import sys; sys.argv[1:] = ['replay', '--help']; from perception.commands.app import main; main()",
    ],
)
def test_asking_for_help_loads_nothing_heavy(code: str) -> None:
    report = "import atexit, sys; atexit.register(lambda: print('loaded', *sorted(sys.modules), file=sys.stderr)); "
    process = subprocess.run(
        [sys.executable, "-c", report + code], capture_output=True, text=True, timeout=WAIT_S, check=True
    )
    loaded = process.stderr.split()
    assert loaded[0] == "loaded"
    assert not HEAVY & set(loaded)
    assert "\x1b" not in process.stdout


def test_an_error_of_the_process_is_one_line_and_no_traceback(bundle: Path, tmp_path: Path) -> None:
    process = subprocess.run(
        [*COMMAND, "replay", str(tmp_path / "none.mp4"), "--model", str(bundle)],
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
    )
    assert_refused(Ended(process.returncode, process.stdout, process.stderr), 2, "none.mp4: does not exist")
