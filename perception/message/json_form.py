"""A message as JSON: one object, the field names of `perception.proto`."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perception.message.frame_message import FrameMessage, NamedClass
from perception.message.health_message import HealthMessage
from perception.message.kinds import Message
from perception.message.preview_message import PreviewMessage


def to_json_dict(message: Message) -> dict[str, Any]:
    """Return what `json.dumps` prints. Stamps are JSON integers in ns; a box is [left, top, right, bottom].

    `network` of a detection is an index into `networks`. A float that is no number (a network gone wrong)
    is null, because JSON has no NaN. A mask stays in runs, which are far shorter than its pixels. A preview's JPEG is
    in base64.
    """
    if isinstance(message, HealthMessage):
        sensors = [{**asdict(sensor), "state": sensor.state.name} for sensor in message.sensors]
        return {"topic": message.topic, **asdict(message), "sensors": sensors}
    if isinstance(message, PreviewMessage):
        return {"topic": message.topic, **asdict(message), "jpeg": b64encode(message.jpeg).decode()}
    return _frame(message)


def _frame(message: FrameMessage) -> dict[str, Any]:
    found = message.detections
    return {
        "schema_version": message.schema_version,
        "topic": message.topic,
        "session": message.session,
        "sequence": message.sequence,
        "sensor": message.sensor,
        "frame_sequence": message.frame_sequence,
        "stamp_ns": message.stamp_ns,
        "image_width": message.image_width,
        "image_height": message.image_height,
        "status": message.status.name,
        "status_reason": message.status_reason,
        "networks": [asdict(network) for network in message.networks],
        "detections": [
            {
                "box": box,
                "score": score,
                "class_index": class_index,
                "class": class_name,
                "track_id": track_id,
                "network": network,
                "crop_classes": crop_classes,
            }
            for box, score, class_index, class_name, track_id, network, crop_classes in zip(
                _shortest(found.boxes_xyxy),
                _shortest(found.scores),
                found.classes.tolist(),
                message.class_names,
                found.track_ids.tolist(),
                message.network_indexes,
                [_named(of_one) for of_one in message.crop_classes] or [[] for _ in message.class_names],
                strict=True,
            )
        ],
        "image_classes": _named(message.image_classes),
        "masks": [
            {
                "group": mask.group,
                "class_names": list(mask.class_names),
                "width": mask.width,
                "height": mask.height,
                "run_lengths": mask.run_lengths.tolist(),
                "run_classes": mask.run_classes.tolist(),
                "network": mask.network,
            }
            for mask in message.masks
        ],
        "ledger": asdict(message.ledger),
    }


def _named(classes: Sequence[NamedClass]) -> list[dict[str, Any]]:
    scores = _shortest(np.array([one.score for one in classes], np.float32))
    return [
        {"class": one.class_name, "class_index": one.class_index, "score": score, "network": one.network}
        for one, score in zip(classes, scores, strict=True)
    ]


def _shortest(values: NDArray[np.float32]) -> list[Any]:
    """Return floats with the fewest digits that name the same float32: 0.87, not 0.8700000047683716."""
    shortest = values.astype(str).astype(np.float64)
    return np.where(np.isfinite(shortest), shortest, None).tolist()  # type: ignore[call-overload,no-any-return]
