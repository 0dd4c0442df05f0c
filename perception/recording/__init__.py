"""A run recorded as MCAP while it goes on: what the sensors gave, and what was found on it.

`Recorder` has a thread of its own and never holds up what perceives; an `ObservedSource` brings it what is read. That
waits (`queue.py`), is written (`writer.py`) and accounted for (`state.py`). The container and the sensors' schemas are
`sensors.drives.mcap`; what is ours to add, the detections, is here.
"""

from perception.recording.parts import RecordSettings
from perception.recording.recorder import Recorder, recorder_for
from perception.recording.state import RecordingState

__all__ = ["RecordSettings", "Recorder", "RecordingState", "recorder_for"]
