"""One bundle judged against another over recorded drives: may the candidate go where the baseline is now?

`judging` is the way of it: every frame through both bundles in turns (`side`), what they found compared (`boxes`, of
`matching`, `figures` and `tracks`; `masks`, of `mask_figures`; both with `latency`), the figures held against
`thresholds` row by row (`verdict`), and the report written (`worst`, `plots`, `page`, `report`). It judges files on one
engine of this machine and changes neither.
"""

from perception.gate.judging import CouldNotJudgeError, GateRequest, Judgement, Judging, SideRequest
from perception.gate.report import check_report_place, facts, write_report
from perception.gate.thresholds import GateThresholds, read_thresholds, to_toml

__all__ = [
    "CouldNotJudgeError",
    "GateRequest",
    "GateThresholds",
    "Judgement",
    "Judging",
    "SideRequest",
    "check_report_place",
    "facts",
    "read_thresholds",
    "to_toml",
    "write_report",
]
