"""Steps that met numbers that are not finite: taken back, counted, and too many in a row end the run."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from selftrain.errors import NonFiniteError, TrainingError
from selftrain.handlers.selfcheck import SelfTrainingWarning
from selftrain.runtime.undo import Undo
from selftrain.strategy.base import Strategy
from selftrain.types import Report


class TooManySkipped(TrainingError):
    """More steps in a row were left out than the limit allows; the message is the report."""


@dataclass
class Skipping:
    """Let steps fail on numbers that are not finite, up to a limit.

    Args:
        limit: Steps in a row that may be left out; 0: the first one is the error that it is.
        count: Steps left out so far.
        row: Why each of the latest ones, in a row, was.
    """

    limit: int = 10
    count: int = 0
    row: list[str] = field(default_factory=list)
    undo: Undo | None = None

    def begin(self, strategy: Strategy) -> None:
        """Watch a strategy, which is where it will be trained."""
        self.undo = Undo(strategy, strategy.learners()) if self.limit else None

    def attempt(self, step: int, take: Callable[[], Report]) -> Report | None:
        """What a step reports, or ``None`` if it was left out: the strategy is then as before it.

        Args:
            step: Number of the step, counted from 1.
            take: Takes it.

        Raises:
            TooManySkipped: if the row is longer than the limit.
        """
        if self.undo is None:
            return take()
        try:
            with self.undo.watching():
                report = take()
        except NonFiniteError as error:
            self.undo.take_back()
            self._note(step, error)
            return None
        self.row = []
        return report

    def _note(self, step: int, error: NonFiniteError) -> None:
        self.count += 1
        self.row.append(str(error))
        if self.count == 1:
            text = f"step {step} was left out: {error}; further ones are counted as train/skipped"
            warnings.warn(text, SelfTrainingWarning, stacklevel=2)
        if len(self.row) > self.limit:
            reasons = "; ".join(f"{n} times {text}" for text, n in Counter(self.row).most_common())
            length, self.row = len(self.row), []
            raise TooManySkipped(
                f"{length} steps in a row up to step {step} were left out, {self.count} in all: {reasons}. The weights "
                "are those before them; lower the learning rate, look at the data, or raise skip_limit"
            ) from error

    def state_dict(self) -> dict[str, object]:
        """What a resumed run needs."""
        return {"count": self.count, "row": self.row}

    def load_state_dict(self, state: dict[str, object]) -> None:
        """Take back what ``state_dict`` gave."""
        self.count, self.row = int(str(state["count"])), [str(text) for text in state["row"]]  # type: ignore[attr-defined]
