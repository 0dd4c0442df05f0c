"""What other networks see on the pictures that are learnt from: soft labels, made once before training.

A teacher is any detector bundle. A small network finds far more where it looks closer, so it sees each picture whole
and in four overlapping tiles, each as it is and mirrored (`teacher.py`); what it finds in these passes is fused
(`findings.py`) and added to what people labelled (`taught.py`). Knows numpy, and no torch.
"""

from engines.training.teaching.findings import Findings, fuse
from engines.training.teaching.taught import TaughtMixture, teach
from engines.training.teaching.teacher import Lesson, Teacher, lesson_for

__all__ = ["Findings", "Lesson", "TaughtMixture", "Teacher", "fuse", "lesson_for", "teach"]
