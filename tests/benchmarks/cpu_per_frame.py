"""CPU of everything but inference, a 720p frame: the pipeline against a plain loop written by hand.

    python tests/benchmarks/cpu_per_frame.py [--rounds 7]

Both decode the same H.264 clip with one thread, run yolox_nano in ONNX Runtime with one thread, and publish to one
reader over TCP, as fast as they can and in turns. The CPU is that of the whole process, ZeroMQ's thread
included, less that of the thread that infers while it infers. The plain loop does not track: the tracker is left
out of ours too and its cost told beside.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import setting
import zmq
from numpy.typing import NDArray
from setting import median, verdict

import perception.pipeline
from engines.bundle import Bundle
from engines.decoders.grids import STRIDES, cell_corners
from engines.results import Detections
from engines.runtime.onnxruntime import open_session
from perception.message import perception_pb2 as pb
from perception.network import Network
from perception.stream import Publisher
from perception.tracking import Tracker

BAR = 1.0
SCORE, NMS_IOU = 0.3, 0.65


class NullTracker:
    """Tracks nothing."""

    def __init__(self, *_settings: object) -> None:
        pass

    def update(self, detections: Detections, _stamp_ns: int) -> Detections:
        return detections


class TimedTracker(Tracker):
    """The real one, and the CPU that it took."""

    cpu_s = 0.0

    def update(self, detections: Detections, stamp_ns: int) -> Detections:
        began_s = time.thread_time()
        try:
            return super().update(detections, stamp_ns)
        finally:
            TimedTracker.cpu_s += time.thread_time() - began_s


@contextmanager
def tracking_with(tracker: type[Any]) -> Iterator[None]:
    real, perception.pipeline.Tracker = perception.pipeline.Tracker, tracker
    try:
        yield
    finally:
        perception.pipeline.Tracker = real


class InferenceCpu:
    """The CPU that an engine's inferences took, on whatever thread."""

    def __init__(self, network: Network) -> None:
        self.total_s = 0.0
        thread = network.engine._thread
        infer = thread._infer

        def timed(slot: int, rows: int) -> None:
            began_s = time.thread_time()
            infer(slot, rows)
            self.total_s += time.thread_time() - began_s

        thread._infer = timed


def our_ms(clip: Path, network: Network, inference: InferenceCpu, publisher: Publisher) -> tuple[float, float]:
    """CPU ms a frame but inference, and that of inference; from the run's beginning, as a replay's summary has it."""
    inference.total_s = 0.0
    with setting.opened_pipeline(clip, network, setting.outbox_of(network, publisher)) as pipeline:
        began_s = time.process_time()
        pipeline.run()
        used_s = time.process_time() - began_s
    frames = pipeline.ledger.total().published
    return (used_s - inference.total_s) * 1e3 / frames, inference.total_s * 1e3 / frames


class PlainLoop:
    """What one writes by hand: no threads, no faults, no ledger, buffers kept, classes of hopeful boxes only."""

    def __init__(self, bundle: Bundle, endpoint: str) -> None:
        self._session = open_session(bundle.model, 1)
        self._input = self._session.get_inputs()[0].name
        size = bundle.settings.input
        self._size = (size.width, size.height)
        self._labels = bundle.labels
        self._canvas = np.full((size.height, size.width, 3), 114, np.uint8)
        grids = [cell_corners(size.width, size.height, stride) for stride in STRIDES]
        self._cells = np.concatenate(grids)
        self._strides = np.repeat(np.array(STRIDES, np.float32), [len(grid) for grid in grids])[:, None]
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.PUB)
        self._socket.linger = 0
        port = self._socket.bind_to_random_port("tcp://127.0.0.1")
        self.endpoint = endpoint.rpartition(":")[0] + f":{port}"
        self.detections = 0

    def close(self) -> None:
        self._socket.close()
        self._context.term()

    def run(self, clip: Path) -> tuple[float, float]:
        """CPU ms a frame but inference, and that of inference."""
        frames, inference_s, self.detections = 0, 0.0, 0
        began_s = time.process_time()
        with av.open(str(clip)) as container:
            stream = container.streams.video[0]
            stream.codec_context.thread_count = 1
            stream.codec_context.thread_type = "SLICE"
            for picture in container.decode(stream):
                image = picture.to_ndarray(format="bgr24")
                blob, scale = self._letterbox(image)
                infer_began_s = time.thread_time()
                (output,) = self._session.run(None, {self._input: blob})
                inference_s += time.thread_time() - infer_began_s
                boxes, scores, classes = self._decode(output[0], scale, image.shape[1], image.shape[0])
                self._send(frames, round(picture.time * 1e9), image, boxes, scores, classes)
                self.detections += len(scores)
                frames += 1
        used_s = time.process_time() - began_s
        return (used_s - inference_s) * 1e3 / frames, inference_s * 1e3 / frames

    def _letterbox(self, image: NDArray[np.uint8]) -> tuple[NDArray[np.float32], float]:
        height, width = image.shape[:2]
        scale = min(self._size[0] / width, self._size[1] / height)
        scaled_size = (round(width * scale), round(height * scale))
        self._canvas[: scaled_size[1], : scaled_size[0]] = cv2.resize(image, scaled_size)
        return np.ascontiguousarray(self._canvas.transpose(2, 0, 1)[None], np.float32), scale

    def _decode(self, output: NDArray[np.float32], scale: float, width: int, height: int) -> tuple[Any, Any, Any]:
        hopeful = np.flatnonzero(output[:, 4] > SCORE)
        rows = output[hopeful]
        classes = rows[:, 5:].argmax(1)
        scores = rows[:, 4] * rows[np.arange(len(rows)), 5 + classes]
        kept = scores > SCORE
        rows, classes, scores, cells = rows[kept], classes[kept], scores[kept], hopeful[kept]
        centres = (rows[:, :2] + self._cells[cells]) * self._strides[cells]
        sizes = np.exp(rows[:, 2:4]) * self._strides[cells]
        tops = centres - sizes / 2
        picked = cv2.dnn.NMSBoxesBatched(np.concatenate([tops, sizes], 1), scores, classes, SCORE, NMS_IOU)
        picked = np.asarray(picked, np.intp)
        boxes = np.concatenate([tops, tops + sizes], 1)[picked] / scale
        boxes = boxes.clip(0, [width, height, width, height])
        return boxes, scores[picked], classes[picked]

    def _send(self, sequence: int, stamp_ns: int, image: Any, boxes: Any, scores: Any, classes: Any) -> None:
        message = pb.FrameResult(
            schema_version=1,
            sequence=sequence,
            sensor="front",
            frame_sequence=sequence,
            stamp_ns=stamp_ns,
            image_width=image.shape[1],
            image_height=image.shape[0],
            status=1,
            session="plain",
        )
        rows = zip(boxes.tolist(), scores.tolist(), classes.tolist(), strict=True)
        for (left, top, right, bottom), score, class_index in rows:
            message.detections.add(
                left=left,
                top=top,
                right=right,
                bottom=bottom,
                score=score,
                class_index=class_index,
                class_name=self._labels[class_index],
            )
        self._socket.send_multipart([b"detections/front/", message.SerializeToString()])


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="CPU of everything but inference.")
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    ours: list[tuple[float, float]] = []
    plain: list[tuple[float, float]] = []
    with setting.folder() as where, Publisher("tcp://127.0.0.1:0") as publisher:
        bundle, clip = setting.bundle_in(where), setting.clip_720p_in(where)
        loop = PlainLoop(bundle, publisher.endpoint)
        with (
            setting.opened_network(bundle) as network,
            setting.second_process("read", publisher.endpoint),
            setting.second_process("read", loop.endpoint),
        ):
            inference = InferenceCpu(network)
            print("ms of CPU a frame    ours: inference    rest   plain: inference    rest", flush=True)
            for number in range(rounds + 1):
                with tracking_with(NullTracker):
                    of_ours = our_ms(clip, network, inference, publisher)
                of_plain = loop.run(clip)
                if number == 0:
                    continue  # first calls
                ours.append(of_ours)
                plain.append(of_plain)
                print(
                    f"round {number:2d} {of_ours[1]:27.2f} {of_ours[0]:7.2f} {of_plain[1]:18.2f} {of_plain[0]:7.2f}",
                    flush=True,
                )
            with tracking_with(TimedTracker):
                TimedTracker.cpu_s = 0.0
                with setting.opened_pipeline(clip, network, setting.outbox_of(network, publisher)) as pipeline:
                    pipeline.run()
                tracker_ms = TimedTracker.cpu_s * 1e3 / pipeline.ledger.total().published
                found = (pipeline.ledger.detections, loop.detections)
        loop.close()
    our, theirs = median([rest for rest, _ in ours]), median([rest for rest, _ in plain])
    print(f"median rest: ours {our:.2f} ms, plain loop {theirs:.2f} ms; found {found[0]} and {found[1]} boxes")
    print(f"our tracker, apart: {tracker_ms:.2f} ms")
    ratio = median([a / b for (a, _), (b, _) in zip(ours, plain, strict=True)])
    print(f"ours / plain loop, CPU but inference  {verdict(ratio, BAR, least=False)}")
    # Threads of their own leave the inference's cache warmer and the rest's colder: the sum tells what it comes to.
    whole = median([sum(a) / sum(b) for a, b in zip(ours, plain, strict=True)])
    print(f"ours / plain loop, all CPU            {whole:.3f}  (reported)")


if __name__ == "__main__":
    main()
