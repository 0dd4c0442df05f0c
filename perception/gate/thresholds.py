"""What a candidate may differ by: one table of TOML, every key with its meaning.

The defaults are for an INT8 network against the float one that it was made of.
"""

from __future__ import annotations

import json
from pathlib import Path
from textwrap import wrap
from typing import Annotated, Any

from pydantic import Field

from engines.settings_file import SettingsError, Strict, parse
from perception.errors import UsageError

Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0)]
_WIDTH = 100  # characters of a comment's line


class GateThresholds(Strict):
    """A gate's thresholds. Of `min_` the measured value must not be below, of `max_` not above."""

    match_iou: Share = Field(
        default=0.5, description="Two boxes of one class are the same from this overlap (IoU) on; matched one to one."
    )
    margin: Share = Field(
        default=0.05,
        description="A box that the other side lacks counts if its score is this much above the threshold with which "
        "it was let through: what hovers about the threshold comes and goes by itself.",
    )
    min_boxes: Annotated[int, Field(ge=1)] = Field(
        default=30, description="Fewer boxes of the baseline say nothing: the gate could not judge (exit code 3)."
    )
    min_class_boxes: Annotated[int, Field(ge=1)] = Field(
        default=20, description="A class is judged by itself from so many boxes on; those of fewer count in the whole."
    )
    min_match_rate: Share = Field(
        default=0.85, description="Share of both sides' boxes that have a partner on the other one."
    )
    min_recall: Share = Field(default=0.85, description="Share of the baseline's boxes that the candidate finds.")
    min_precision: Share = Field(default=0.85, description="Share of the candidate's boxes that the baseline finds.")
    min_class_recall: Share = Field(default=0.8, description="The same as min_recall, for each class.")
    min_class_precision: Share = Field(default=0.8, description="The same as min_precision, for each class.")
    recall_by_class: dict[str, Share] = Field(
        default={},
        description="min_class_recall of single classes, for example { person = 0.95 }; judged from one box on.",
    )
    min_mean_iou: Share = Field(default=0.85, description="Mean overlap of the boxes that have a partner.")
    max_score_shift: Share = Field(
        default=0.05, description="Mean change of the score of boxes that have a partner, up or down, for each class."
    )
    same_postprocessing: bool = Field(
        default=True,
        description="Both sides have to run with the same score thresholds and NMS. false: only what they find counts.",
    )
    same_preprocessing: bool = Field(
        default=True,
        description="Both bundles have to take pixels in the same way: BGR for RGB hardly shows on a grey road. false: "
        "for networks that were trained on other pixels; only what they find counts.",
    )
    double_iou: Share = Field(
        default=0.3, description="A box is a double if it overlaps a better box of its class by more than this."
    )
    max_doubles_change: Share = Field(
        default=0.02,
        description="Change of the share of doubles among all boxes, up or down: what another NMS shows in.",
    )
    min_track_frames: Annotated[int, Field(ge=1)] = Field(default=5, description="Shorter tracks are not judged.")
    max_vanished_tracks: Share = Field(
        default=0.2,
        description="Share of the baseline's tracks of which the candidate tracks less than half; one may always.",
    )
    max_appeared_tracks: Share = Field(
        default=0.2,
        description="Share of the candidate's tracks of which the baseline tracks less than half; one may always.",
    )
    max_id_switches: Amount = Field(
        default=0.3,
        description="How often, for each track of the baseline, the candidate's id on it changes; one may always.",
    )
    min_class_pixels: Share = Field(
        default=0.001,
        description="Of masks. A class is judged by itself from such a share of all pixels on, of either side.",
    )
    min_group_iou: Share = Field(
        default=0.9,
        description="Of masks: mean over a group's classes of the intersection over union of their pixels.",
    )
    min_class_iou: Share = Field(
        default=0.85, description="Of masks: intersection over union of each class, all frames together."
    )
    iou_by_class: dict[str, Share] = Field(
        default={}, description="min_class_iou of single classes, for example { lane = 0.9 }."
    )
    max_changed_pixels: Share = Field(
        default=0.02, description="Of masks: share of all pixels whose class is another one, in each group."
    )
    max_changed_pixels_p99: Share = Field(
        default=0.05, description="The same on one frame, the 99th percentile of frames."
    )
    max_latency_p50: Amount = Field(
        default=1.25,
        description="Times the baseline's median time for a frame, from its staging to its tracked boxes or masks.",
    )
    max_latency_p99: Amount = Field(
        default=1.5,
        description="Times the baseline's 99th percentile. Either is refused only if the lower end of a paired "
        "bootstrap is above it too: one hiccup of the machine is nobody's fault.",
    )
    max_failures: Count = Field(
        default=0, description="Frames on which only the candidate's inference fails or gives NaN or infinity."
    )
    max_ap50_loss: Share = Field(default=0.02, description="AP50 that may be lost on the labelled images of --labels.")


def read_thresholds(path: Path | None) -> GateThresholds:
    """Read a file of thresholds; keys that it leaves away have their defaults. Raises `UsageError`."""
    if path is None:
        return GateThresholds()
    try:
        return parse(path.read_bytes(), GateThresholds)
    except OSError as error:
        raise UsageError(str(path), f"cannot be read ({error.strerror})", _REMEDY) from None
    except SettingsError as error:
        raise UsageError(str(path), str(error), _REMEDY) from None


def to_toml(thresholds: GateThresholds) -> str:
    """The whole table with each key's meaning, as `read_thresholds` reads it."""
    lines: list[str] = []
    for key, field in type(thresholds).model_fields.items():
        lines += [f"# {line}" for line in wrap(field.description or "", _WIDTH)]
        lines += [f"{key} = {_toml(getattr(thresholds, key))}", ""]
    return "\n".join(lines)


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        inner = ", ".join(f"{json.dumps(key)} = {_toml(one)}" for key, one in value.items())
        return f"{{ {inner} }}" if inner else "{}"
    return json.dumps(value)


_REMEDY = "`perception gate --show-thresholds` prints a good file with every key"
