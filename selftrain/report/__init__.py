"""The report: one HTML page that says what a run is worth, question by question.

The file holds everything, runs no script and asks the network for nothing. ``fit`` writes it into the folder of a run,
``Run.report`` and ``selftrain report`` anywhere.
"""

from selftrain.report.handler import ReportPage
from selftrain.report.write import write_report

__all__ = ["ReportPage", "write_report"]
