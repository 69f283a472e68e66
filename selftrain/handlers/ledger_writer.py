"""Pseudo-labels of each step go into the ledger of the run."""

from __future__ import annotations

from collections.abc import Mapping

from selftrain.handlers.base import Context, Figures, Handler
from selftrain.types import Report


class LedgerWriter(Handler):
    """Enter the pseudo-labels that steps report, and log figures of the ledger."""

    def begin(self, context: Context) -> None:
        """Write into the ledger of this run."""
        self.context = context

    def after_step(self, step: int, report: Report | None) -> None:
        """Enter what the step reports; the ledger counts steps from 0."""
        if report is not None and report.pseudo_labels is not None:
            task = self.context.strategy.task
            # Figures stay tensors until a row is logged, so that a step does not wait for the device.
            self.context.accumulate(self.context.ledger.write(report.pseudo_labels, task, step - 1))  # type: ignore[arg-type]

    def after_evaluation(self, step: int, figures: Mapping[str, Figures]) -> None:
        """Log figures of the ledger."""
        self.context.log_scalars({f"ledger/{key}": v for key, v in self.context.ledger.summary().items()}, step)

    def for_baseline(self) -> LedgerWriter:
        """The baseline has a ledger of its own."""
        return LedgerWriter()
