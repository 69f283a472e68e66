"""Pseudo-labels of each step go into the ledger of the run."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from selftrain.handlers.base import Context, Figures, Handler
from selftrain.types import PseudoLabels, Report, View


class LedgerWriter(Handler):
    """Enter the pseudo-labels that steps report, and log figures of the ledger."""

    def begin(self, context: Context) -> None:
        """Write into the ledger of this run."""
        self.context = context

    def after_step(self, step: int, report: Report | None) -> None:
        """Enter what the step reports; the ledger counts steps from 0."""
        if report is not None and report.pseudo_labels is not None:
            task = self.context.strategy.task
            said, ledger = report.pseudo_labels, self.context.ledger
            # Figures stay tensors until a row is logged, so that a step does not wait for the device.
            self.context.accumulate(ledger.write(said, task, step - 1, self._view(said)))  # type: ignore[arg-type]

    def _view(self, said: PseudoLabels) -> View | None:
        """The view that pseudo-labels were made on, if masks or joints are to be compared with their truth there."""
        batch = self.context.batches[0]
        if self.context.ledger.unit_truth is None or said.unmoved or not batch.has_unlabeled:
            return None
        view, rows = next(iter(batch.unlabeled.views.values())), batch.unlabeled.index
        if not torch.equal(rows, said.index):  # a strategy of the user's own may have them in another order
            places = (said.index[:, None] == rows.to(said.index)).int().argmax(1)
            view = view.each(lambda tensor: tensor[places])
        return view

    def after_evaluation(self, step: int, figures: Mapping[str, Figures]) -> None:
        """Log figures of the ledger."""
        self.context.log_scalars({f"ledger/{key}": v for key, v in self.context.ledger.summary().items()}, step)

    def for_baseline(self) -> LedgerWriter:
        """The baseline has a ledger of its own."""
        return LedgerWriter()
