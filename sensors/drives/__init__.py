"""Recorded drives: one file a format, each a `Source` (see `sensors/source.py`, whose tables name them).

A reader gives what the recording holds and nothing else: it neither waits for the drive's time to pass
(`sensors/clock.py` does) nor skips what it cannot read. Imports only `sensors`.
"""
