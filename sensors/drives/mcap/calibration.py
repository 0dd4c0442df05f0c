"""What an MCAP file tells of its cameras and of where its sensors sit."""

from __future__ import annotations

from sensors.calibration import Calibration
from sensors.drives.mcap import foxglove
from sensors.drives.mcap.channels import sensor_of
from sensors.drives.mcap.chunk import DamagedError
from sensors.drives.mcap.reading import McapFile


def recorded_calibration(file: McapFile) -> Calibration:
    """Cameras and transforms: the first message of each channel."""
    cameras, transforms = {}, {}
    for channel in file.channels.values():
        schema = file.schemas.get(channel.schema_id)
        name = schema.name if schema is not None else ""
        if channel.message_encoding != "protobuf" or name not in (
            "foxglove.CameraCalibration",
            "foxglove.FrameTransforms",
        ):
            continue
        for entry in file.within([channel.id])[:1].tolist():
            try:
                message = foxglove.parsed(foxglove.MESSAGES[name], file.message(entry).data)
                if name == "foxglove.FrameTransforms":
                    transforms.update({(one.parent, one.child): one for one in foxglove.transforms_of(message)})
                    continue
                sensor = message.frame_id or sensor_of(channel)
                camera = foxglove.calibration_of(message, sensor)
            except (DamagedError, foxglove.UnreadableMessageError, ValueError):
                continue
            if camera is not None:
                cameras[sensor] = camera
    return Calibration(tuple(cameras.values()), tuple(transforms.values()))
