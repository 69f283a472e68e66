"""The report: one HTML page that says what a run is worth, question by question.

The file holds everything, runs no script and asks the network for nothing. ``fit`` writes it into the folder of a run,
``Run.report`` and ``selftrain report`` anywhere.
"""

from selftrain.report.handler import ReportPage
from selftrain.report.others import of_comparison, of_portfolio
from selftrain.report.write import at_no_cost, write_page, write_report

__all__ = ["ReportPage", "at_no_cost", "of_comparison", "of_portfolio", "write_page", "write_report"]
