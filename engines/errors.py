"""Errors of networks and engines (the tree's root is `sensors.errors`).

RequestError
├── DatasetError        a labelled dataset is wrong (exit code 2)
│   └── NoLabelsError   there are images, and nothing says what is on them
├── EngineMissingError  an engine or a package that does not exist, or is not installed (exit code 2)
├── BundleError         a bundle, or the ONNX file it is made from, is wrong (exit code 2)
└── TrainingError       a training cannot be started or resumed as asked (exit code 2)
EdgePerceptionError
├── EngineError         an engine cannot start, or one inference failed (exit code 3)
├── PlanRefusedError    a plan runs less in INT8 than was required (exit code 1)
├── CalibrationRefusedError   no INT8 network was good enough (exit code 1)
└── DivergedError       a training's loss is no number any more (exit code 3)
"""

from __future__ import annotations

from sensors.errors import EXIT_ANSWER_IS_NO, EdgePerceptionError, RequestError


class BundleError(RequestError):
    """A bundle or an ONNX file that cannot be used as it is."""


class EngineMissingError(RequestError):
    """What was asked for, an engine or what measures and quantises, does not exist or is not installed."""


class DatasetError(RequestError):
    """A labelled dataset that cannot be used as it is."""


class NoLabelsError(DatasetError):
    """Images without a label, where labels are needed."""


class EngineError(EdgePerceptionError):
    """An engine that cannot start, or one inference that failed."""


class CalibrationRefusedError(EdgePerceptionError):
    """Every INT8 network that was tried lost more than it may. Nothing was written."""

    exit_code = EXIT_ANSWER_IS_NO


class TrainingError(RequestError):
    """A training that cannot be started, or resumed, as it was asked for."""


class DivergedError(EdgePerceptionError):
    """A training whose loss is no number any more: its last good checkpoint stays."""


class PlanRefusedError(EdgePerceptionError):
    """A plan that runs less in INT8 than was required. Nothing was written."""

    exit_code = EXIT_ANSWER_IS_NO
