"""Supervised training on the labels alone: the floor every other method must beat, and the warm-up stage of some.

Algorithm: 1. take a labeled batch; 2. one gradient step on the task's loss; 3. the teacher follows (for evaluation).
"""

from __future__ import annotations

from selftrain.strategy.single import SingleStudent
from selftrain.types import Batch, Clock, Report


class Supervised(SingleStudent):
    """Train on labeled samples only; see ``SingleStudent`` for the arguments."""

    views = ()

    def step(self, batch: Batch, clock: Clock, *extra: Batch) -> Report:
        """One gradient step on the labeled batch."""
        loss = self.task.loss(self.student(batch.labeled.x), batch.labeled.target)
        if self.student.update(loss) and self.ema is not None:
            self.ema.update(self.student.model)
        return Report({"loss/supervised": loss.detach()})
