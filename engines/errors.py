"""Errors of networks and engines (the tree's root is `sensors.errors`).

RequestError
├── DatasetError        a labelled dataset is wrong (exit code 2)
└── BundleError         a bundle, or the ONNX file it is made from, is wrong (exit code 2)
EdgePerceptionError
├── EngineError         an engine cannot start, or one inference failed (exit code 3)
├── PlanRefusedError    a plan runs less in INT8 than was required (exit code 1)
└── CalibrationRefusedError   no INT8 network was good enough (exit code 1)
"""

from __future__ import annotations

from sensors.errors import EXIT_ANSWER_IS_NO, EdgePerceptionError, RequestError


class BundleError(RequestError):
    """A bundle or an ONNX file that cannot be used as it is."""


class DatasetError(RequestError):
    """A labelled dataset that cannot be used as it is."""


class EngineError(EdgePerceptionError):
    """An engine that cannot start, or one inference that failed."""


class CalibrationRefusedError(EdgePerceptionError):
    """Every INT8 network that was tried lost more than it may. Nothing was written."""

    exit_code = EXIT_ANSWER_IS_NO


class PlanRefusedError(EdgePerceptionError):
    """A plan that runs less in INT8 than was required. Nothing was written."""

    exit_code = EXIT_ANSWER_IS_NO
