"""What makes a frame worth labelling, reason by reason, and the boxes that it is handed on with."""

from __future__ import annotations

import numpy as np
import pytest
from mined_drives import STEP_NS, found, looked

from engines.results import Detections
from perception.mining.disagreement import disagreements
from perception.mining.flicker import WINDOW, vanished
from perception.mining.looked import Looked
from perception.mining.low_confidence import unsure
from perception.mining.pseudo_labels import pseudo_labels

LABELS = ("car", "truck", "person")
ALL = np.ones(3, np.bool_)
HERE, THERE, AWAY = (10.0, 10.0, 50.0, 40.0), (30.0, 10.0, 70.0, 40.0), (150.0, 60.0, 190.0, 90.0)


def window(*frames: Detections) -> list[Looked]:
    return [looked(number, frame) for number, frame in enumerate(frames)]


# --- flicker


def test_a_track_that_is_gone_for_a_frame_is_missed_there_half_way() -> None:
    frames = window(found((HERE, 0.9, 0, 7)), found(), found((THERE, 0.6, 0, 7)))
    ((place, finding),) = vanished(frames)
    assert (place, finding.reason, finding.why, finding.kind) == (1, "flicker", "#7 is gone for 1 frame", 0)
    assert finding.box_xyxy.tolist() == [20, 10, 60, 40]
    assert finding.score == finding.weight == pytest.approx(0.6)


def test_a_track_that_is_gone_for_two_frames_is_missed_on_both_by_their_stamps() -> None:
    frames = [
        looked(0, found((HERE, 0.9, 0, 7)), stamp_ns=0),
        looked(1, found(), stamp_ns=STEP_NS),
        looked(2, found(), stamp_ns=3 * STEP_NS),
        looked(3, found((THERE, 0.9, 0, 7)), stamp_ns=4 * STEP_NS),
    ]
    assert len(frames) == WINDOW
    lefts = {place: float(finding.box_xyxy[0]) for place, finding in vanished(frames)}
    assert lefts == {1: 15.0, 2: 25.0}


@pytest.mark.parametrize(
    "frames",
    [
        (found((HERE, 0.9, 0, 7)), found((HERE, 0.9, 0, 7))),
        (found(), found(), found((HERE, 0.9, 0, 7))),
        (found((HERE, 0.9, 0, 7)), found(), found((HERE, 0.9, 0, 8))),
        (found((HERE, 0.9, 0, 0)), found(), found((HERE, 0.9, 0, 0))),
        (found((HERE, 0.9, 0, 7)), found((HERE, 0.4, 1, 0)), found((HERE, 0.9, 0, 7))),
    ],
    ids=["never gone", "new", "another", "of no track", "there under another class"],
)
def test_what_is_not_gone_and_back_is_no_flicker(frames: tuple[Detections, ...]) -> None:
    assert vanished(window(*frames)) == []


# --- low confidence


def test_boxes_below_sure_are_unsure_and_weigh_more_the_nearer_they_are_to_the_threshold() -> None:
    frame = looked(0, found((HERE, 0.9, 0, 1), (THERE, 0.45, 1, 2), (AWAY, 0.35, 2, 0)))
    findings = unsure(frame, 0.3, 0.5)
    assert [(one.kind, one.reason) for one in findings] == [(1, "low confidence"), (2, "low confidence")]
    assert [one.weight for one in findings] == pytest.approx([0.25, 0.75])


def test_a_second_class_on_a_sure_box_is_no_doubt_about_what_is_there() -> None:
    frame = looked(0, found((HERE, 0.9, 0, 1), ((11, 10, 50, 40), 0.35, 1, 0), (AWAY, 0.35, 1, 0)))
    assert [float(one.box_xyxy[0]) for one in unsure(frame, 0.3, 0.5)] == [150]


# --- disagreement


def test_without_a_teacher_nobody_disagrees() -> None:
    assert disagreements(looked(0, found((HERE, 0.9, 0, 1))), LABELS, ALL, 0.5) == []


def test_a_sure_box_of_either_side_without_a_partner_is_a_disagreement() -> None:
    model = found((HERE, 0.9, 0, 1), (AWAY, 0.8, 2, 0))
    teacher = found((HERE, 0.7, 0, 0), ((80, 50, 100, 90), 0.6, 1, 0))
    findings = disagreements(looked(0, model, teacher), LABELS, ALL, 0.5)
    assert [(one.why, one.kind, round(one.score, 2)) for one in findings] == [
        ("only the model", 2, 0.8),
        ("only the teacher", 1, 0.6),
    ]


def test_another_class_in_the_same_place_is_told() -> None:
    findings = disagreements(looked(0, found((HERE, 0.9, 0, 1)), found((HERE, 0.7, 1, 0))), LABELS, ALL, 0.5)
    assert [one.why for one in findings] == ["only the model (other: truck)", "only the teacher (other: car)"]


def test_what_a_side_is_not_sure_of_or_the_teacher_does_not_know_is_no_disagreement() -> None:
    model = found((HERE, 0.45, 0, 1), (AWAY, 0.9, 2, 0))
    assert disagreements(looked(0, model, found()), LABELS, np.array([True, True, False]), 0.5) == []


# --- pseudo-labels


def labels_of(frame: Looked, known: np.ndarray = ALL) -> set[tuple[int, float]]:
    findings = [*unsure(frame, 0.3, 0.5), *disagreements(frame, LABELS, known, 0.5)]
    labels = pseudo_labels(frame, findings, known, 0.5)
    return {(int(kind), round(float(box[0]), 1)) for kind, box in zip(labels.classes, labels.boxes_xyxy, strict=True)}


def test_alone_the_model_is_believed() -> None:
    assert labels_of(looked(0, found((HERE, 0.9, 0, 1), (AWAY, 0.35, 2, 0)))) == {(0, 10.0), (2, 150.0)}


def test_the_teacher_is_believed_before_the_model() -> None:
    near = (12.0, 10.0, 52.0, 40.0)
    frame = looked(0, found((HERE, 0.9, 0, 1), (AWAY, 0.35, 2, 0)), found((near, 0.4, 0, 0)))
    assert labels_of(frame) == {(0, 12.0)}, "its box, and not what the model alone is unsure of"
    labels = pseudo_labels(frame, (), ALL, 0.5)
    assert labels.scores.tolist() == pytest.approx([0.9]), "the better score of both"
    sure = looked(0, found((AWAY, 0.6, 2, 0)), found((near, 0.4, 0, 0)))
    assert labels_of(sure) == {(0, 12.0), (2, 150.0)}, "what the model alone is sure of stays"
    unknown = np.array([True, True, False])
    assert labels_of(frame, unknown) == {(0, 12.0), (2, 150.0)}, "of a class that the teacher has not, the model's"


def test_one_object_has_one_label_whatever_the_two_call_it() -> None:
    assert labels_of(looked(0, found((HERE, 0.9, 0, 1)), found((HERE, 0.6, 1, 0)))) == {(1, 10.0)}


def test_what_was_missed_is_labelled_and_what_leaves_the_frame_is_clipped() -> None:
    frames = window(
        found(((-30, 10, 20, 40), 0.9, 0, 7), (AWAY, 0.9, 2, 8)),
        found((AWAY, 0.9, 2, 8)),
        found(((-10, 10, 40, 40), 0.9, 0, 7), (AWAY, 0.9, 2, 8)),
    )
    ((place, finding),) = vanished(frames)
    labels = pseudo_labels(frames[place], [finding], ALL, 0.5)
    assert labels.classes.tolist() == [2, 0]
    assert labels.boxes_xyxy[1].tolist() == [0, 10, 30, 40]


def test_a_box_without_area_is_no_label() -> None:
    thin = (199.5, 0.0, 230.0, 50.0)
    assert len(pseudo_labels(looked(0, found((thin, 0.9, 0, 1))), (), ALL, 0.5)) == 0
