"""The report of a training: one page of HTML that needs nothing beside it, of a finished training or a killed one.

`looking` runs the exported bundle over the validation images, through a real engine. `detectors`, `classifiers` and
`segmenters` say what it is worth; of a detector `judging` has the figures, `confusion` and `pictures` what figures do
not tell. `figures` are the plots, `parts` what a page is put together of; `page` does so and writes it.
"""

from engines.training.report.page import REPORT, write_report

__all__ = ["REPORT", "write_report"]
