"""Ids that last: which boxes of successive frames are one object.

`tracker` decides who matches whom, `motion` says where everyone should be by now, `assignment` solves the
exact matching between the two. No clock, no image and no randomness: ids are a function of the detections and
stamps that went in. Imports `engines.results` and numpy, nothing else.
"""

from perception.tracking.tracker import Tracker, TrackerSettings, vehicle_classes

__all__ = ["Tracker", "TrackerSettings", "vehicle_classes"]
