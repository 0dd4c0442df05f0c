"""What the benchmarks share: the recordings, a bundle and a clip made of them, and how a table is printed.

Data: EDGE_PERCEPTION_DATA, default ../shared/data beside this checkout.

As a script it is the second process of a benchmark:

    python tests/benchmarks/setting.py decode VIDEO FPS     decodes in a loop at this pace
    python tests/benchmarks/setting.py read ENDPOINT        reads a stream and does nothing with it
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import av
import cv2
import numpy as np
import zmq
from numpy.typing import NDArray

from engines.bundle import Bundle, load_bundle
from engines.importing import ImportOptions, import_network
from perception.cores import running_on, split_cores
from perception.message import NetworkInfo
from perception.network import Network, open_network
from perception.pipeline import Pipeline, Result
from perception.replay import SLOTS
from perception.stream import NullPublisher, Outbox, Publisher
from sensors.clock import ReplayClock
from sensors.opening import open_sources

DATA = Path(os.environ.get("EDGE_PERCEPTION_DATA", Path(__file__).parents[3] / "shared" / "data"))
CLIP = DATA / "drives" / "videos" / "solidWhiteRight.mp4"  # 221 frames of 960x540 at 25 fps
NETWORK = DATA / "models" / "yolox_nano.onnx"

ENGINE_CORES, OTHER_CORES = split_cores(engine_threads=1)

WARM_UP_S = 1.0  # of a second process, before it is measured against


@contextmanager
def folder() -> Iterator[Path]:
    """A folder for what is made of the recordings; ends the program where they are not."""
    if not (CLIP.is_file() and NETWORK.is_file()):
        sys.exit(f"{DATA} holds no recordings: set EDGE_PERCEPTION_DATA to the folder of {CLIP.name}'s drives/")
    cv2.setNumThreads(1)  # as a replay does
    with TemporaryDirectory(prefix="edge-perception-") as path:
        yield Path(path)


def bundle_in(where: Path) -> Bundle:
    """yolox_nano as a bundle."""
    import_network(NETWORK, where / "yolox_nano", ImportOptions(labels="coco"))
    return load_bundle(where / "yolox_nano")


def clip_720p_in(where: Path) -> Path:
    """The clip scaled to 1280x720 and encoded anew, as measurements.md has it: libx264, crf 23."""
    path = where / "720p.mp4"
    with av.open(str(CLIP)) as source, av.open(str(path), "w") as target:
        stream = target.add_stream("libx264", rate=source.streams.video[0].average_rate, options={"crf": "23"})
        stream.width, stream.height, stream.pix_fmt = 1280, 720, "yuv420p"
        for picture in source.decode(video=0):
            scaled = picture.reformat(1280, 720, "yuv420p")
            target.mux(stream.encode(scaled))
        target.mux(stream.encode(None))
    return path


def first_image() -> NDArray[np.uint8]:
    """The clip's first picture, (540, 960, 3) BGR."""
    with av.open(str(CLIP)) as container:
        return next(container.decode(video=0)).to_ndarray(format="bgr24")


@contextmanager
def opened_network(bundle: Bundle) -> Iterator[Network]:
    """The bundle in an engine with one thread and as many slots as a replay has."""
    with running_on(ENGINE_CORES):
        network = open_network(bundle, slots=SLOTS, threads=1)
    with network.engine:
        yield network


def outbox_of(network: Network, sender: Publisher | NullPublisher) -> Outbox:
    """A fresh session of one network's messages."""
    info = NetworkInfo(network.bundle.name, network.bundle.sha256, network.engine.name)
    return Outbox([info], [network.bundle.labels], sender)


@contextmanager
def opened_pipeline(
    clip: Path,
    network: Network,
    outbox: Outbox,
    rate: float | None = None,
    observers: Sequence[Callable[[Result], None]] = (),
) -> Iterator[Pipeline]:
    """The clip and the pipeline as `perception replay` puts them together, ready to run, on the cores it has there."""
    with running_on(OTHER_CORES), ExitStack() as opened:
        sources = [opened.enter_context(source) for source in open_sources([str(clip)])]
        yield Pipeline(sources, [network], outbox, ReplayClock(rate), SLOTS, observers)


@contextmanager
def second_process(*arguments: str) -> Iterator[None]:
    """Run this file as a script beside what is measured."""
    process = subprocess.Popen([sys.executable, __file__, *arguments], stdin=subprocess.PIPE)
    try:
        time.sleep(WARM_UP_S)
        yield
    finally:
        process.kill()
        process.wait()


def median(values: Sequence[float]) -> float:
    """The median of some rounds."""
    return float(np.median(np.array(values)))


def verdict(ratio: float, bar: float, *, least: bool) -> str:
    """A ratio beside its bar: at least, or at most."""
    kept = ratio >= bar if least else ratio <= bar
    return f"{ratio:.3f}  (bar: {'at least' if least else 'at most'} {bar})  {'kept' if kept else 'MISSED'}"


def _decode(video: str, fps: float) -> None:
    cv2.setNumThreads(1)
    due_s = time.monotonic()
    while True:
        for source in open_sources([video]):
            with source:
                for _ in source:
                    due_s = max(due_s + 1 / fps, time.monotonic() - 1)  # behind by a second at most
                    time.sleep(max(0.0, due_s - time.monotonic()))


def _read(endpoint: str) -> None:
    context = zmq.Context()
    socket = context.socket(zmq.SUB)
    socket.subscribe("")
    socket.connect(endpoint)
    while True:
        socket.recv_multipart()


if __name__ == "__main__":
    if sys.argv[1] == "decode":
        _decode(sys.argv[2], float(sys.argv[3]))
    else:
        _read(sys.argv[2])
