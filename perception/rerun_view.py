"""A drive shown in Rerun: pictures with boxes and masks on them, scans, faults; live, or as a file to open later.

What sensors gave is logged as it is read, what was found on it when it is found, both at the sensor's stamp: one
timeline holds all. Entities: `SENSOR` a picture or a scan, `SENSOR/found` its boxes, `SENSOR/GROUP` a mask.
Reference: <https://rerun.io/docs>, the archetypes EncodedImage, Boxes2D, SegmentationImage, Points3D.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from perception.errors import UsageError
from perception.message import FrameMessage, SemanticMask, Status, decode_message
from perception.pipeline import Result
from perception.rendering import colour_of
from perception.whole_file import whole_file
from sensors.frame import Fault, Frame, Item, PointCloud, RadarScan
from sensors.yuv import bgr

LIVE = "live"
SUFFIX = ".rrd"
TIMELINE = "stamp"
_APPLICATION = "edge-perception"
_EARLIEST_DATE_NS = 10**18  # September 2001: what is below counts from a device's start, or a video's
_MEDIA = {"jpeg": "image/jpeg", "png": "image/png", "webp": "image/webp"}
_JPEG_QUALITY = 90
_TARGET_RADIUS_M = 0.25  # of a radar target: there are few, and far away
_MASK_OPACITY = 0.45


class RerunView:
    """Logs items and what was found into one recording. Any thread."""

    def __init__(self, rerun: Any, recording: Any) -> None:
        self._rerun = rerun
        self._recording = recording
        self._named: set[str] = set()  # masks' groups whose classes Rerun knows by name

    def show(self, item: Item) -> None:
        """Log what a sensor gave; readings of motion are no picture and left out."""
        rerun = self._rerun
        shown: Any
        if isinstance(item, Frame):
            shown = self._picture(item)
        elif isinstance(item, PointCloud):
            shown = rerun.Points3D(_positions(item.points, item.fields))
        elif isinstance(item, RadarScan):
            shown = rerun.Points3D(_positions(item.targets, item.fields), radii=_TARGET_RADIUS_M)
        elif isinstance(item, Fault):
            shown = rerun.TextLog(item.reason, level="WARN")
        else:
            return
        entity = f"{item.sensor}/faults" if isinstance(item, Fault) else item.sensor
        self._log(entity, item.stamp_ns, shown)

    def take(self, item: Item) -> Item:
        """Log it on its way: of an `ObservedSource`."""
        self.show(item)
        return item

    def show_found(self, result: Result) -> None:
        """Log what was found on a frame: an observer of the pipeline."""
        if result.frame is None or result.status is not Status.OK:
            return
        message = decode_message(result.payload)
        assert isinstance(message, FrameMessage)
        found = message.detections
        tracks = found.track_ids.tolist()
        labels = [
            f"{name} {track} {score:.2f}" if track else f"{name} {score:.2f}"
            for name, track, score in zip(message.class_names, tracks, found.scores.tolist(), strict=True)
        ]
        boxes = self._rerun.Boxes2D(
            array=found.boxes_xyxy,
            array_format=self._rerun.Box2DFormat.XYXY,
            labels=labels,
            colors=[colour_of(track)[::-1] for track in tracks],
        )
        self._log(f"{message.sensor}/found", message.stamp_ns, boxes)
        for mask in message.masks:
            self._show_mask(message, mask)

    def _show_mask(self, message: FrameMessage, mask: SemanticMask) -> None:
        entity = f"{message.sensor}/{mask.group}"
        if entity not in self._named:
            self._named.add(entity)
            names = list(enumerate(mask.class_names))
            self._recording.log(entity, self._rerun.AnnotationContext(names), static=True)
        size = (message.image_width, message.image_height)  # Rerun lays pixel on pixel
        classes = cv2.resize(mask.to_array(), size, interpolation=cv2.INTER_NEAREST)
        shown = self._rerun.SegmentationImage(classes, opacity=_MASK_OPACITY)
        self._log(entity, message.stamp_ns, shown)

    def _picture(self, frame: Frame) -> Any:
        if frame.coded is not None and frame.coded.format in _MEDIA:
            return self._rerun.EncodedImage(contents=frame.coded.data, media_type=_MEDIA[frame.coded.format])
        coded = cv2.imencode(".jpg", bgr(frame), [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])[1].tobytes()
        return self._rerun.EncodedImage(contents=coded, media_type=_MEDIA["jpeg"])

    def _log(self, entity: str, stamp_ns: int, shown: Any) -> None:
        # The time is the thread's own: readers and the completer log at once.
        if stamp_ns >= _EARLIEST_DATE_NS:
            self._recording.set_time(TIMELINE, timestamp=np.datetime64(stamp_ns, "ns"))
        else:
            self._recording.set_time(TIMELINE, duration=np.timedelta64(stamp_ns, "ns"))
        self._recording.log(entity, shown)


@contextmanager
def rerun_view(target: str) -> Iterator[RerunView]:
    """Open Rerun's viewer for `live`, else save into the file `target`, which is there whole or not at all.

    Raises `UsageError` where it cannot be.
    """
    rerun = _rerun(target)
    recording = rerun.RecordingStream(_APPLICATION)
    recording.set_log_tick_enabled(False)
    recording.set_log_time_enabled(False)
    if target == LIVE:
        try:
            recording.spawn()
        except (RuntimeError, OSError) as error:
            raise UsageError(
                "--rerun live", f"the viewer does not start ({error})", "save it: --rerun FILE.rrd"
            ) from None
        yield RerunView(rerun, recording)
        recording.flush()
        return
    path = Path(target)
    if path.suffix.lower() != SUFFIX:
        raise UsageError(f"--rerun {target}", "is neither live nor an .rrd file", "give a name that ends in .rrd")
    with whole_file(path) as draft:
        recording.save(draft)
        try:
            yield RerunView(rerun, recording)
        finally:
            recording.flush()
            recording.disconnect()


def _rerun(target: str) -> Any:
    try:
        import rerun
    except ImportError:
        raise UsageError(
            f"--rerun {target}", "the package rerun-sdk is not installed", "pip install 'edge-perception[rerun]'"
        ) from None
    return rerun


def _positions(table: NDArray[np.float32], fields: tuple[str, ...]) -> NDArray[np.float32]:
    """x, y and z, (N, 3); z is 0 for what has none."""
    columns = [fields.index(name) for name in ("x", "y", "z") if name in fields]
    points = table[:, columns]
    if points.shape[1] < 3:
        points = np.hstack([points, np.zeros((len(points), 3 - points.shape[1]), np.float32)])
    return np.asarray(points, np.float32)
