"""Foxglove's schemas: the values of `sensors.frame` as messages that Foxglove shows, and back.

https://docs.foxglove.dev/docs/sdk/schemas. As protobuf, by the classes of `foxglove-schemas-protobuf`; readings, whose
fields differ from drive to drive, as JSON. Radar targets are a point cloud, since Foxglove has no schema of its own for
them; what a channel holds stands in its metadata, and where it does not a point cloud is a lidar's.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from foxglove_schemas_protobuf.CameraCalibration_pb2 import CameraCalibration as CameraCalibrationMessage
from foxglove_schemas_protobuf.CompressedImage_pb2 import CompressedImage
from foxglove_schemas_protobuf.CompressedVideo_pb2 import CompressedVideo
from foxglove_schemas_protobuf.FrameTransforms_pb2 import FrameTransforms
from foxglove_schemas_protobuf.Log_pb2 import Log
from foxglove_schemas_protobuf.PackedElementField_pb2 import PackedElementField
from foxglove_schemas_protobuf.PointCloud_pb2 import PointCloud as PointCloudMessage
from foxglove_schemas_protobuf.RawImage_pb2 import RawImage
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.message import DecodeError, Message
from google.protobuf.timestamp_pb2 import Timestamp
from numpy.typing import NDArray

from sensors.calibration import CameraCalibration, Transform
from sensors.drives.float32 import as_float32

NS_PER_S = 1_000_000_000
LOCATION = "foxglove.LocationFix"
READING = "edge.perception.Reading"

MESSAGES: dict[str, type[Message]] = {
    message.DESCRIPTOR.full_name: message
    for message in (
        CompressedImage,
        CompressedVideo,
        RawImage,
        PointCloudMessage,
        CameraCalibrationMessage,
        FrameTransforms,
        Log,
    )
}

_NUMBERS = {
    PackedElementField.UINT8: "u1",
    PackedElementField.INT8: "i1",
    PackedElementField.UINT16: "<u2",
    PackedElementField.INT16: "<i2",
    PackedElementField.UINT32: "<u4",
    PackedElementField.INT32: "<i4",
    PackedElementField.FLOAT32: "<f4",
    PackedElementField.FLOAT64: "<f8",
}
_IMAGE_DATA = bytes([CompressedImage.DESCRIPTOR.fields_by_name["data"].number << 3 | 2])  # its tag: bytes follow
_WIDEST_POINT = 1 << 16  # bytes; a wider one is a damaged message


class UnreadableMessageError(Exception):
    """A message that does not hold what its schema says; the text says why, for a `Fault`."""


def schema_of(message: type[Message]) -> bytes:
    """A protobuf schema as MCAP wants it: a FileDescriptorSet of the message's file and all that it imports."""
    files: dict[str, Any] = {}

    def gather(file: Any) -> None:
        for imported in file.dependencies:
            if imported.name not in files:
                gather(imported)
        files[file.name] = file

    gather(message.DESCRIPTOR.file)
    found = FileDescriptorSet()
    for file in files.values():
        file.CopyToProto(found.file.add())
    return found.SerializeToString()


def time_of(stamp_ns: int) -> Timestamp:
    """A stamp as protobuf has it."""
    return Timestamp(seconds=stamp_ns // NS_PER_S, nanos=stamp_ns % NS_PER_S)


def image_message(sensor: str, stamp_ns: int, image_format: str, data: bytes) -> bytes:
    """`foxglove.CompressedImage`. The picture is laid behind the rest instead of through protobuf: two copies less."""
    head = CompressedImage(timestamp=time_of(stamp_ns), frame_id=sensor, format=image_format).SerializeToString()
    return b"".join([head, _IMAGE_DATA, _varint(len(data)), data])


def _varint(number: int) -> bytes:
    """A number as protobuf writes lengths: 7 bits a byte, the lowest first."""
    written = bytearray()
    while number > 127:
        written.append(number & 127 | 128)
        number >>= 7
    written.append(number)
    return bytes(written)


def video_message(sensor: str, stamp_ns: int, data: bytes) -> bytes:
    """`foxglove.CompressedVideo`: one picture's H.264 in Annex B form."""
    return CompressedVideo(timestamp=time_of(stamp_ns), frame_id=sensor, format="h264", data=data).SerializeToString()


def points_message(sensor: str, stamp_ns: int, table: NDArray[np.float32], fields: Sequence[str]) -> bytes:
    """`foxglove.PointCloud` of rows (N, len(fields)) float32."""
    message = PointCloudMessage(
        timestamp=time_of(stamp_ns),
        frame_id=sensor,
        point_stride=4 * len(fields),
        data=np.ascontiguousarray(table, "<f4").tobytes(),
    )
    message.pose.orientation.w = 1.0
    for place, name in enumerate(fields):
        message.fields.add(name=name, offset=4 * place, type=PackedElementField.FLOAT32)
    return message.SerializeToString()


def points_of(message: Any) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    """Rows (N, fields) float32 of a PointCloud, and the fields' names. Raises `UnreadableMessageError`."""
    stride, data = message.point_stride, message.data
    fields = [(field.name, field.offset, _NUMBERS.get(field.type)) for field in message.fields]
    if not fields or not 0 < stride <= _WIDEST_POINT:
        raise UnreadableMessageError("a point cloud without fields, or with points of no size")
    for name, offset, number in fields:
        if number is None or offset + np.dtype(number).itemsize > stride:
            raise UnreadableMessageError(f"the point cloud's field {name!r} is of no known type, or outside of a point")
    if len(data) % stride:
        whole = len(data) // stride
        raise UnreadableMessageError(f"the point cloud is cut short: {len(data)} bytes are {whole} points and a part")
    names = tuple(name for name, _, _ in fields)
    if [(offset, number) for _, offset, number in fields] == [(4 * n, "<f4") for n in range(stride // 4)]:
        return np.frombuffer(data, "<f4").reshape(-1, len(fields)), names
    table = np.empty((len(data) // stride, len(fields)), np.float32)
    rows = np.frombuffer(data, np.uint8).reshape(-1, stride)
    for place, (_, offset, number) in enumerate(fields):
        kind = np.dtype(number)
        column = np.ascontiguousarray(rows[:, offset : offset + kind.itemsize]).view(kind)
        table[:, place] = as_float32(column[:, 0])
    return table, names


def reading_message(stamp_ns: int, sensor: str, values: NDArray[np.float64], fields: Sequence[str]) -> bytes:
    """A reading as JSON; a number that is none (NaN, infinite) is null."""
    numbers = {
        name: value if math.isfinite(value) else None for name, value in zip(fields, values.tolist(), strict=True)
    }
    seconds, nanos = divmod(stamp_ns, NS_PER_S)
    return json.dumps({"timestamp": {"sec": seconds, "nsec": nanos}, "frame_id": sensor, **numbers}).encode()


def reading_schema(fields: Sequence[str]) -> tuple[str, bytes]:
    """Name and JSON schema of readings: Foxglove's LocationFix, and more, where they are positions."""
    name = LOCATION if {"latitude", "longitude"} <= set(fields) else READING
    time = {"type": "object", "properties": {"sec": {"type": "integer"}, "nsec": {"type": "integer"}}}
    numbers = {field: {"type": ["number", "null"]} for field in fields}
    properties = {"timestamp": time, "frame_id": {"type": "string"}, **numbers}
    return name, json.dumps({"title": name, "type": "object", "properties": properties}).encode()


def reading_of(data: bytes, fields: Sequence[str]) -> NDArray[np.float64]:
    """The values of a reading's fields, NaN where there is no number. Raises `UnreadableMessageError`."""
    try:
        found = json.loads(data)
        values = [found.get(name) for name in fields]
        return np.array([math.nan if value is None else float(value) for value in values], np.float64)
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise UnreadableMessageError(f"a reading is no JSON object of numbers ({error})") from None


def calibration_message(camera: CameraCalibration, stamp_ns: int) -> bytes:
    """`foxglove.CameraCalibration`."""
    rectification = np.eye(3) if camera.rectification is None else camera.rectification
    return CameraCalibrationMessage(
        timestamp=time_of(stamp_ns),
        frame_id=camera.sensor,
        width=camera.width,
        height=camera.height,
        distortion_model=camera.distortion_model or "plumb_bob",
        D=camera.distortion or [0.0] * 5,
        K=camera.intrinsics.ravel().tolist(),
        R=rectification.ravel().tolist(),
        P=camera.projection.ravel().tolist(),
    ).SerializeToString()


def calibration_of(message: Any, sensor: str) -> CameraCalibration | None:
    """The calibration that a message tells; None where it tells none."""
    numbers = list(message.P) or [value for row in np.array(message.K).reshape(-1, 3) for value in (*row, 0.0)]
    projection = np.array(numbers, np.float64)
    if projection.size != 12 or not np.isfinite(projection).all():
        return None
    distortion = tuple(message.D)
    rectification = np.array(message.R, np.float64)
    return CameraCalibration(
        sensor=sensor,
        projection=projection.reshape(3, 4),
        width=message.width,
        height=message.height,
        distortion=distortion if any(distortion) else (),
        distortion_model=message.distortion_model if any(distortion) else "",
        rectification=rectification.reshape(3, 3) if rectification.size == 9 and rectification.any() else None,
    )


def transforms_message(transforms: Sequence[Transform], stamp_ns: int) -> bytes:
    """`foxglove.FrameTransforms`."""
    message = FrameTransforms()
    for one in transforms:
        added = message.transforms.add(
            timestamp=time_of(stamp_ns), parent_frame_id=one.parent, child_frame_id=one.child
        )
        added.translation.x, added.translation.y, added.translation.z = one.matrix[:3, 3].tolist()
        x, y, z, w = quaternion_of(one.matrix[:3, :3])
        added.rotation.x, added.rotation.y, added.rotation.z, added.rotation.w = x, y, z, w
    return message.SerializeToString()


def transforms_of(message: Any) -> list[Transform]:
    """The transforms that a message tells."""
    found = []
    for one in message.transforms:
        matrix = np.eye(4)
        turn = one.rotation
        matrix[:3, :3] = rotation_of(turn.x, turn.y, turn.z, turn.w)
        matrix[:3, 3] = one.translation.x, one.translation.y, one.translation.z
        if np.isfinite(matrix).all():
            found.append(Transform(one.parent_frame_id, one.child_frame_id, matrix))
    return found


def quaternion_of(rotation: NDArray[np.float64]) -> tuple[float, float, float, float]:
    """The unit quaternion (x, y, z, w) of a rotation (3, 3). Bar-Itzhack 2000: the largest eigenvector of K.

    Where the matrix is only nearly a rotation, as calibrations are, it is the nearest rotation's.
    """
    (xx, xy, xz), (yx, yy, yz), (zx, zy, zz) = rotation
    k = np.array(
        [
            [xx - yy - zz, yx + xy, zx + xz, zy - yz],
            [yx + xy, yy - xx - zz, zy + yz, xz - zx],
            [zx + xz, zy + yz, zz - xx - yy, yx - xy],
            [zy - yz, xz - zx, yx - xy, xx + yy + zz],
        ]
    )
    x, y, z, w = np.linalg.eigh(k)[1][:, -1].tolist()
    return (x, y, z, w) if w >= 0 else (-x, -y, -z, -w)


def rotation_of(x: float, y: float, z: float, w: float) -> NDArray[np.float64]:
    """The rotation (3, 3) of a quaternion of any length; no turn for one of length 0."""
    norm = x * x + y * y + z * z + w * w
    if not norm:
        return np.eye(3)
    s = 2 / norm
    return np.array(
        [
            [1 - s * (y * y + z * z), s * (x * y - z * w), s * (x * z + y * w)],
            [s * (x * y + z * w), 1 - s * (x * x + z * z), s * (y * z - x * w)],
            [s * (x * z - y * w), s * (y * z + x * w), 1 - s * (x * x + y * y)],
        ]
    )


def log_message(sensor: str, stamp_ns: int, reason: str) -> bytes:
    """`foxglove.Log`, for a Fault."""
    return Log(timestamp=time_of(stamp_ns), level=Log.ERROR, name=sensor, message=reason).SerializeToString()


def parsed(message: type[Message], data: bytes | memoryview) -> Any:
    """Parse a protobuf message. Raises `UnreadableMessageError`."""
    try:
        return message.FromString(data)  # type: ignore[arg-type]  # it takes a view as well, and copies it once
    except DecodeError:
        raise UnreadableMessageError(f"a message is no {message.DESCRIPTOR.full_name}") from None
