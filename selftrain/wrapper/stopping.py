"""When self-training ends: criteria that a wrapper asks twice a round, and whose name says why it ended.

"chosen" criteria are asked once the policy has chosen: if one fires, that choice is not learned from. "learned"
criteria are asked after the classifier has learned from it, and before the first round.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np
from sklearn.base import BaseEstimator

from selftrain.arguments import checked
from selftrain.wrapper.labels import Array

When = Literal["chosen", "learned"]


@dataclass(frozen=True)
class State:
    """What a criterion may know.

    Args:
        round: Number of this round; 0: only the labels have been learned.
        left: Unlabeled rows that a further round could choose.
        chosen: Rows that the policy chose in this round.
        threshold: The policy's: one, one a class, or ``None``.
        changed: Share of the unlabeled rows whose label (the pseudo-label, or the decision where there is none yet)
            differs from that of the round before; ``None`` while there is none to compare with.
        shares: Share of each class among those labels, shape (C,).
        prior: Share of each class among the given labels, shape (C,).
        scores: Accuracy on the held-out labels before the first round and after each; empty without them.
    """

    round: int
    left: int
    chosen: int = 0
    threshold: float | Array | None = None
    changed: float | None = None
    shares: Array = field(default_factory=lambda: np.zeros(0))
    prior: Array = field(default_factory=lambda: np.zeros(0))
    scores: Sequence[float] = ()


class Criterion(BaseEstimator):  # type: ignore[misc]
    """End self-training when something happens; the base of all criteria.

    Attributes:
        name: What ``termination_condition_`` says.
        when: Whether it is asked before ("chosen") or after ("learned") the choice is learned from.
        keeps_best: Whether the classifier of the best round on held-out labels is kept in the end.
    """

    name: ClassVar[str]
    when: ClassVar[When] = "learned"
    keeps_best: ClassVar[bool] = False

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "__init__" in vars(cls):
            cls.__init__ = checked(cls.__init__)  # type: ignore[method-assign]

    def check(self) -> None:
        """Raise ValueError for settings out of range."""

    def fires(self, state: State) -> bool:
        """Whether to end."""
        raise NotImplementedError(f"{type(self).__name__} has no fires")


def firing(criteria: Sequence[Criterion], when: When, state: State) -> str:
    """Name of the first criterion of this time of a round that fires; empty if none does."""
    return next((c.name for c in criteria if c.when == when and c.fires(state)), "")


class Exhausted(Criterion):
    """End when no unlabeled row is left to choose; every wrapper has it."""

    # Asked after the learning: what was chosen last is learned as well, which the code of Feofanov et al. leaves out.
    name: ClassVar[str] = "all_labeled"

    def fires(self, state: State) -> bool:
        """Whether nothing is left."""
        return state.left == 0


class NoCandidate(Criterion):
    """End when the policy chooses nothing; every wrapper has it."""

    name: ClassVar[str] = "no_candidate"
    when: ClassVar[When] = "chosen"

    def fires(self, state: State) -> bool:
        """Whether nothing was chosen."""
        return state.chosen == 0


class MaxRounds(Criterion):
    """End after so many rounds.

    Args:
        rounds: At least 0; 0 learns the labels only.
    """

    name: ClassVar[str] = "max_rounds"

    def __init__(self, rounds: int = 10) -> None:
        self.rounds = rounds
        self.check()

    def check(self) -> None:
        """Raise ValueError for a negative number."""
        if self.rounds < 0:
            raise ValueError(f"rounds is {self.rounds}; it must be 0 or more")

    def fires(self, state: State) -> bool:
        """Whether the last round is over."""
        return state.round >= self.rounds


class ValidationDrop(Criterion):
    """End when the accuracy on held-out labels has stayed below its best; the best round's classifier is kept.

    Rounds of equal accuracy count as best, the latest one most, so a plateau does not end training.

    Args:
        patience: Rounds in a row that must be below, at least 1.
        tolerance: How far below the best still counts as best for the patience, in [0, 1).
    """

    name: ClassVar[str] = "validation_drop"
    keeps_best: ClassVar[bool] = True

    def __init__(self, patience: int = 1, tolerance: float = 0.0) -> None:
        self.patience, self.tolerance = patience, tolerance
        self.check()

    def check(self) -> None:
        """Raise ValueError for settings out of range."""
        if self.patience < 1:
            raise ValueError(f"patience is {self.patience}; it must be at least 1")
        if not 0 <= self.tolerance < 1:
            raise ValueError(f"tolerance is {self.tolerance}; it must be in [0, 1)")

    def fires(self, state: State) -> bool:
        """Whether so many of the last accuracies are below the best."""
        if len(state.scores) <= self.patience:
            return False
        # Strictly below the best: a plateau goes on, as further rounds may still rise.
        return bool(max(state.scores[-self.patience :]) < max(state.scores) - self.tolerance)


class FewChanges(Criterion):
    """End when hardly any label of an unlabeled row changes any more.

    Args:
        share: Share of the rows below which it ends, in (0, 1].
    """

    name: ClassVar[str] = "few_changes"

    def __init__(self, share: float = 0.01) -> None:
        self.share = share
        self.check()

    def check(self) -> None:
        """Raise ValueError for a share outside (0, 1]."""
        if not 0 < self.share <= 1:
            raise ValueError(f"share is {self.share}; it must be in (0, 1]")

    def fires(self, state: State) -> bool:
        """Whether fewer changed."""
        return state.changed is not None and state.changed < self.share


class ThresholdFloor(Criterion):
    """End when the policy would choose rows of too low a score; they are not learned from.

    Args:
        floor: Lowest threshold allowed, in [0, 1]; of thresholds a class, each one where a row was decided for it.
    """

    name: ClassVar[str] = "threshold_floor"
    when: ClassVar[When] = "chosen"

    def __init__(self, floor: float = 0.5) -> None:
        self.floor = floor
        self.check()

    def check(self) -> None:
        """Raise ValueError for a floor outside [0, 1]."""
        if not 0 <= self.floor <= 1:
            raise ValueError(f"floor is {self.floor}; it must be in [0, 1]")

    def fires(self, state: State) -> bool:
        """Whether the lowest threshold is below the floor.

        Raises:
            ValueError: if the policy has no threshold.
        """
        if state.threshold is None:
            raise ValueError("the policy has no threshold; take ThresholdFloor out of stop")
        # nanmin: classes that were nowhere decided for have NaN, which would let any floor pass.
        return bool(np.nanmin(state.threshold) < self.floor)


class PriorDrift(Criterion):
    """End when the labels of the unlabeled rows are spread over the classes too unlike the prior: a guard.

    The distance is the total variation, half the sum of the differences. That round's choice is not learned from.

    Args:
        limit: Distance above which it ends, in (0, 1).
        prior: Expected share of each class, in the order of the sorted classes, shape (C,); ``None``: the labels'.
    """

    name: ClassVar[str] = "prior_drift"
    when: ClassVar[When] = "chosen"

    def __init__(self, limit: float = 0.3, prior: Any = None) -> None:
        self.limit, self.prior = limit, prior
        self.check()

    def check(self) -> None:
        """Raise ValueError for a limit out of range or a prior that is no distribution."""
        if not 0 < self.limit < 1:
            raise ValueError(f"limit is {self.limit}; it must be in (0, 1)")
        if self.prior is not None and (not np.isclose(np.sum(self.prior), 1) or np.min(self.prior) < 0):
            raise ValueError(f"prior is {self.prior}; it must be shares that sum to 1")

    def fires(self, state: State) -> bool:
        """Whether the distance is above the limit.

        Raises:
            ValueError: if the prior is not one number a class.
        """
        prior = state.prior if self.prior is None else np.asarray(self.prior)
        if prior.shape != state.shares.shape:
            raise ValueError(f"prior has shape {prior.shape}; there are {len(state.shares)} classes")
        return bool(np.abs(state.shares - prior).sum() / 2 > self.limit)
