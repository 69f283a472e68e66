"""Steps that meet NaN or infinity leave no trace: the run goes back to a state it has kept, and leaves them out.

A run continues bit for bit from any of its states, so that nothing has to be undone: the guard keeps a copy of the
strategy's state in memory now and then; after a bad step it brings that back, the loop takes the steps since then once
more, unseen by any handler, and leaves out the bad one. No strategy, learner or teacher has to know.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Mapping
from typing import Any

from selftrain.errors import TrainingError
from selftrain.handlers.base import Context, Figures, Handler
from selftrain.handlers.selfcheck import SelfTrainingWarning
from selftrain.networks.copying import copied, copied_state, frozen_storages
from selftrain.runtime.distributed import here
from selftrain.storage.fields import check
from selftrain.types import Report

EVERY = 64  # steps between two copies; a copy costs about as much as the update of the weights does


class NonFiniteGuard(Handler):
    """Leave out steps whose loss, gradient or output of a network is NaN or infinite.

    Such a step changes nothing in weights, teachers, thresholds, label memories and ledger, and is counted
    (``Run.skipped``, ``train/skipped`` in the log). Costs the memory of a second state.

    Args:
        limit: Steps in a row that may be left out, 0 or more; one more ends the run with ``TrainingError``, its last
            good state stored. 0: the first one is the error that it is, and no state is kept.

    Raises:
        ValueError: for a ``limit`` below 0.
    """

    def __init__(self, limit: int = 10) -> None:
        if limit < 0:
            raise ValueError(f"limit is {limit}; it must be 0 or more")
        self.limit = limit
        self.row: list[str] = []  # why each of the latest ones, in a row, was left out

    def begin(self, context: Context) -> None:
        """Forget an earlier run."""
        self.context, self.row = context, []
        self.kept: dict[str, Any] = {}
        self.kept_at, self.interval = 0, 0

    def before_step(self, step: int) -> None:
        """Keep the state, if that is due: after 1, 2, 4 ... steps, as most bad ones come early or one after another."""
        due = self.limit and step - 1 - self.kept_at >= self.interval
        # Storing gradients that were gathered means taking their mean over ranks, which rounds: not in between.
        if due and (here() is None or not any(x.gathering for x in self.context.strategy.learners())):
            attributes = copied(self.context.attributes.state_dict())
            self.kept = {"strategy": copied_state(self.context.strategy), "attributes": attributes}
            self.kept_at, self.interval = step - 1, min(max(1, 2 * self.interval), EVERY)

    def after_failure(self, step: int, error: Exception) -> int | None:
        """Bring back the state that was kept."""
        if not self.limit or not self.kept:
            return None
        if step - 1 not in self.context.left_out:
            self.context.left_out.append(step - 1)
        self.row.append(str(error))
        if len(self.context.left_out) == 1:
            text = f"step {step} was left out: {error}; further ones are counted as train/skipped"
            warnings.warn(text, SelfTrainingWarning, stacklevel=2)
        # A copy again: the optimizer takes over tensors as they are, and this state may be needed once more.
        strategy = copied(self.kept["strategy"], frozen_storages(self.context.strategy))
        self.context.strategy.load_state_dict(strategy)
        self.context.attributes.load_state_dict(copied(self.kept["attributes"]))
        self.interval = 0  # the state before this step will be at hand: the next bad step then costs little
        return self.kept_at

    def after_evaluation(self, step: int, figures: Mapping[str, Figures]) -> None:
        """Keep the state anew where a network may count its passes: an evaluation is not made once more."""
        if self.context.attributes.state_dict():
            self.interval = 0

    def after_step(self, step: int, report: Report | None) -> None:
        """End a row of bad steps, or the run if the row is too long."""
        if report is not None:
            self.row = []
        if len(self.row) <= self.limit:
            return
        reasons = "; ".join(f"{n} times {text}" for text, n in Counter(self.row).most_common())
        # Before the state is stored: a resumed run has its whole allowance again.
        length, self.row = len(self.row), []
        text = (
            f"{length} steps in a row up to step {step} were left out, {len(self.context.left_out)} in all: {reasons}. "
            "The weights are those before them; lower the learning rate, look at the data, or allow more: "
            "NonFiniteGuard(limit=...)"
        )
        self.context.log_alarm("not_finite", text, step)
        # The weights stored are those before the row of bad steps; `limit` is nothing that a resumed run must share.
        self.context.save(step)
        raise TrainingError(text)

    def state_dict(self) -> dict[str, Any]:
        """The row, so that a resumed run counts on."""
        return {"row": self.row}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take back what ``state_dict`` gave."""
        check(state, {"row": [str]}, "the state of the guard")
        self.row = list(state["row"])

    def for_baseline(self) -> NonFiniteGuard:
        """The baseline is guarded alike."""
        return NonFiniteGuard(self.limit)
