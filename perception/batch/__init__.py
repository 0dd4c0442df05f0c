"""A fleet's drives through networks: a process a drive, here or on a Ray cluster, and one table of what was found.

`batch` is the way of it: which drives are left to do (`folder`), a runner that does them (`local`, `ray_cluster`), one
drive in a process of its own (`drive_job`), and the table in the end (`table`). Nothing here schedules or replicates:
the operating system does, or Ray.
"""

from perception.batch.batch import Batch, BatchRequest, DriveOutcome

__all__ = ["Batch", "BatchRequest", "DriveOutcome"]
