"""The supervised baseline of a method: its own step on labels alone, on the same labels, steps and plan."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from torch import Tensor

from selftrain._compat import renamed
from selftrain.networks.copying import copy_network
from selftrain.networks.student import Learner
from selftrain.strategy.base import Strategy
from selftrain.types import Annotated, Batch, Clock, Needs, Report


class SupervisedBaseline(Strategy):
    """Train a copy of a strategy by its ``step_labeled`` and nothing else: what the labels give without the pile.

    It asks for no views, so that no unlabeled sample is read; predictions, figures and weights are those of the copy.
    Networks, optimizer, schedule and what is shipped (such as the teacher) are therefore the method's own.

    Args:
        strategy: The untrained strategy; copied, so that training the baseline leaves it alone.

    Raises:
        ValueError: if the strategy reads no labels, has no ``step_labeled`` or cannot be copied.
    """

    views = ()
    extra_batches = 0

    def __init__(self, strategy: Strategy) -> None:
        super().__init__()
        name = type(strategy).__name__
        if type(strategy).step_labeled is Strategy.step_labeled or strategy.needs().encode is None:
            raise ValueError(f"{name} has no step on labels alone to compare with; pass baseline=False")
        # A copy and not a new one: it has to start from the very weights that the strategy starts from.
        try:
            self.method = copy_network(strategy)
        except (TypeError, RuntimeError, NotImplementedError) as error:
            raise ValueError(f"{name} cannot be copied for the baseline ({error}); pass baseline=False") from error
        self.labeled_view, self.monitor, self.judged_on = strategy.labeled_view, strategy.monitor, strategy.judged_on

    def needs(self) -> Needs:
        """The copy's needs without any view of unlabeled samples."""
        # Views that no step reads would still be fetched and made.
        return replace(self.method.needs(), views=(), extra_batches=0)

    def learners(self) -> Iterable[Learner]:
        """The copy's learners."""
        return self.method.learners()

    def step(self, batch: Batch, clock: Clock, *extra: Batch) -> Report:
        """The copy's step on labels alone."""
        return self.step_labeled(batch, clock)

    def step_labeled(self, batch: Batch, clock: Clock) -> Report:
        """The copy's step on labels alone."""
        return self.method.step_labeled(batch, clock)

    def predict(self, x: Tensor) -> Tensor:
        """What the copy ships."""
        return self.method.predict(x)

    def evaluate(self, data: Iterable[Annotated], reference: Iterable[Annotated] | None) -> dict[str, float]:
        """The copy's figures."""
        return self.method.evaluate(data, reference)

    def export(self) -> dict[str, Tensor]:
        """The copy's weights."""
        return self.method.export()


def __getattr__(name: str) -> object:
    return renamed(__name__, name)
