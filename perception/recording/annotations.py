"""What was found on a frame as Foxglove draws it on the frame's picture."""

from __future__ import annotations

import colorsys

from foxglove_schemas_protobuf.Color_pb2 import Color
from foxglove_schemas_protobuf.ImageAnnotations_pb2 import ImageAnnotations
from foxglove_schemas_protobuf.PointsAnnotation_pb2 import PointsAnnotation
from google.protobuf.timestamp_pb2 import Timestamp

from perception.message import perception_pb2 as pb

_GOLDEN = 0.618034  # hues of successive tracks lie far apart


def annotations_of(found: pb.FrameResult) -> bytes:
    """`foxglove.ImageAnnotations` of a frame: its boxes, their classes, scores and ids. Empty where there are none."""
    message = ImageAnnotations(timestamp=Timestamp(seconds=found.stamp_ns // 10**9, nanos=found.stamp_ns % 10**9))
    for box in found.detections:
        colour = _colour(box.track_id or box.class_index)
        outline = message.points.add(
            timestamp=message.timestamp, type=PointsAnnotation.LINE_LOOP, outline_color=colour, thickness=2
        )
        for x, y in ((box.left, box.top), (box.right, box.top), (box.right, box.bottom), (box.left, box.bottom)):
            outline.points.add(x=x, y=y)
        track = f" {box.track_id}" if box.track_id else ""
        crops = "".join(f" > {one.class_name} {one.score:.2f}" for one in box.crop_classes)
        text = message.texts.add(
            timestamp=message.timestamp,
            text=f"{box.class_name}{track} {box.score:.2f}{crops}",
            font_size=14,
            text_color=Color(r=1, g=1, b=1, a=1),
            background_color=colour,
        )
        text.position.x, text.position.y = box.left, box.top
    return message.SerializeToString()


def _colour(number: int) -> Color:
    red, green, blue = colorsys.hsv_to_rgb(number * _GOLDEN % 1, 0.8, 0.9)
    return Color(r=red, g=green, b=blue, a=1)
