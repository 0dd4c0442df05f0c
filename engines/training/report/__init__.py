"""The report of a training: one page of HTML that needs nothing beside it, of a finished training or a killed one.

`judging` looks at the validation images with the exported bundle, through a real engine; `confusion` and `pictures`
say of it what figures do not; `figures` are the plots, `page` puts it together and writes it.
"""

from engines.training.report.page import REPORT, write_report

__all__ = ["REPORT", "write_report"]
