"""A run drawn on a time line: which stage worked on which frame when, to be opened in Perfetto or chrome://tracing.

`frame_trace.py` makes slices of the ledger's stamps, `trace_file.py` writes them. It is an observer: nothing is
measured that the ledger does not have, and a run without it pays nothing.
"""

from __future__ import annotations

from perception.trace.frame_trace import FrameTrace, check_name, trace_into

__all__ = ["FrameTrace", "check_name", "trace_into"]
