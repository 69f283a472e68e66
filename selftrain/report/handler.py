"""The handler that writes the report of a finished run into its folder."""

from __future__ import annotations

from selftrain.handlers.base import Context, Handler
from selftrain.report.write import at_no_cost, write_report
from selftrain.runtime.distributed import alone
from selftrain.storage.run_dir import REPORT

_SECONDS, _SHARE = 5.0, 0.05  # that asking held-out samples may take: so many, or this share of those of the training


class ReportPage(Handler):
    """Write ``report.html`` when a run is finished and held against its baseline.

    A page that cannot be written is a warning: the run is whole without it.

    Args:
        on: Whether there is one.
    """

    def __init__(self, on: bool = True) -> None:
        self.on, self.finished = on, False

    def begin(self, context: Context) -> None:
        """Forget an earlier run."""
        self.context, self.finished = context, False

    def end(self) -> None:
        """The run is finished; its baseline may not be."""
        self.finished = True

    def close(self) -> None:
        """Write the page of a run that is finished."""
        if not (self.on and self.finished and self.context.folder is not None):
            return
        self.finished = False
        run, path = self.context.run(), self.context.folder / REPORT
        with at_no_cost(path), alone():  # the first rank's own affair
            seconds = max(_SECONDS, _SHARE * run.seconds)
            write_report(run, path, baseline=self.context.control, seconds=seconds)
