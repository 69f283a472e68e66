"""Which unlabeled rows get a pseudo-label this round: rules that a wrapper asks once a round.

A rule of one's own is a ``Policy`` with ``select``. Rules keep their settings as scikit-learn estimators do, so that
``policy__threshold`` can be searched.

>>> Fixed(0.9)
Fixed(threshold=0.9)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from sklearn.base import BaseEstimator

from selftrain.arguments import checked
from selftrain.wrapper.labels import Array

RATIOS = ("equal", "labels")


@dataclass(frozen=True)
class Candidates:
    """The unlabeled rows that may be chosen this round, N of them, and what the classifier says of them.

    Args:
        votes: Distributions over the classes, shape (N, C).
        score: How sure each decision is, in [0, 1], shape (N,).
        first: What the first, supervised classifier said, shape (N, C).
        rows: Their places in X, shape (N,).
        round: Number of this round, from 1.
        total: Number of unlabeled rows at the start; N where rows stay candidates.
        prior: Share of each class among the labels, shape (C,).
        rng: Where draws come from.
        X: All rows, labeled or not, as they were given; ``None``: not known.
        labels: Class of each of them, -1 where unlabeled or held out, shape (rows of X,); ``None``: not known.
    """

    votes: Array
    score: Array
    first: Array
    rows: Array
    round: int
    total: int
    prior: Array
    rng: np.random.RandomState
    X: Any = None
    labels: Array | None = None

    @property
    def codes(self) -> Array:
        """The decided class of each row, shape (N,)."""
        return np.asarray(self.votes.argmax(1))


@dataclass(frozen=True)
class Choice:
    """What a policy chose.

    Args:
        chosen: Whether each candidate gets its pseudo-label, shape (N,), bool.
        threshold: Lowest score that passes: one, one a class (C,), or ``None`` where scores did not decide.
    """

    chosen: Array
    threshold: float | Array | None


class Policy(BaseEstimator):  # type: ignore[misc]
    """Choose the candidates that get a pseudo-label; the base of all policies.

    Attributes:
        relabels: Whether it is made for labeling all unlabeled rows anew each round.
        needs_votes: Whether it works on class votes and so with the scores "confidence" and "vote" only.
    """

    relabels: ClassVar[bool] = False
    needs_votes: ClassVar[bool] = False

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "__init__" in vars(cls):
            cls.__init__ = checked(cls.__init__)  # type: ignore[method-assign]

    def check(self) -> None:
        """Raise ValueError for settings out of range."""

    def select(self, candidates: Candidates) -> Choice:
        """Choose among the candidates."""
        raise NotImplementedError(f"{type(self).__name__} has no select")

    def done(self, round: int) -> bool:
        """Whether a schedule that labels all rows anew each round ends with this round."""
        return False


class Fixed(Policy):
    """Choose what is at least as sure as a fixed threshold.

    The default is that of scikit-learn's ``SelfTrainingClassifier``; the experiments of Feofanov et al. (2019) use 0.7.
    Differs from scikit-learn: the threshold itself passes.

    Args:
        threshold: In [0, 1].
    """

    def __init__(self, threshold: float = 0.75) -> None:
        self.threshold = threshold
        self.check()

    def check(self) -> None:
        """Raise ValueError for a threshold outside [0, 1]."""
        if not 0 <= self.threshold <= 1:
            raise ValueError(f"threshold is {self.threshold}; it must be in [0, 1]")

    def select(self, candidates: Candidates) -> Choice:
        """Everything at or above the threshold."""
        return Choice(candidates.score >= self.threshold, self.threshold)


class Mean(Policy):
    """Choose what is at least as sure as the candidates on average."""

    def select(self, candidates: Candidates) -> Choice:
        """Everything at or above the mean score."""
        threshold = min(candidates.score.mean(), candidates.score.max())  # rounding may lift the mean of equal scores
        return Choice(candidates.score >= threshold, float(threshold))


class Taking(Policy):
    """Base of the policies that choose a fixed number of candidates each round."""

    def __init__(self, take: float = 0.1) -> None:
        self.take = take
        self.check()

    def check(self) -> None:
        """Raise ValueError for a number or share out of range."""
        _check_take(self.take)


class MostConfident(Taking):
    """Choose the surest candidates, so many each round; of equals the first.

    Args:
        take: Number of rows, at least 1, or their share of all unlabeled rows at the start, in (0, 1], rounded up.
    """

    def select(self, candidates: Candidates) -> Choice:
        """The so many of highest score."""
        top = np.argsort(-candidates.score, kind="stable")[: _count(self.take, candidates.total)]
        return Choice(_marked(top, len(candidates.score)), float(candidates.score[top].min()))


class PerClass(Policy):
    """Choose the surest candidates of each decided class; of equals the first.

    Args:
        take: Number of rows a class, at least 1, or their share, in (0, 1], rounded up.
        ratio: ``"equal"``: the same number, or the same share of its own candidates, for each class; ``"labels"``: as
            many in all, spread over the classes as the labels are (a share is then one of all candidates), at least
            one a class.
    """

    def __init__(self, take: float = 0.1, ratio: str = "equal") -> None:
        self.take, self.ratio = take, ratio
        self.check()

    def check(self) -> None:
        """Raise ValueError for a number or share out of range, or an unknown ratio."""
        _check_take(self.take)
        if self.ratio not in RATIOS:
            raise ValueError(f"ratio is {self.ratio!r}; choose one of {RATIOS}")

    def select(self, candidates: Candidates) -> Choice:
        """The surest of each class; thresholds of classes nowhere decided for are NaN."""
        tops = surest(candidates.codes, candidates.score, self._counts(candidates))
        thresholds = [candidates.score[top].min() if len(top) else np.nan for top in tops]
        return Choice(_marked(np.concatenate(tops), len(candidates.score)), np.array(thresholds))

    def _counts(self, candidates: Candidates) -> list[int]:
        classes = candidates.votes.shape[1]
        if self.ratio == "equal":
            return [_count(self.take, n) for n in np.bincount(candidates.codes, minlength=classes)]
        whole = _whole(self.take)
        total = self.take * (classes if whole else len(candidates.score))
        return [max(1, round(total * share)) for share in candidates.prior]


class Proportion(Policy):
    """Choose a share of all unlabeled rows that grows by a step a round; the last round takes all of them.

    Made for labeling all rows anew each round and learning from the labels and that choice alone (``relabel=True``,
    ``restart="cold"``), so that early mistakes are not kept.

    Source: Cascante-Bonilla et al., "Curriculum Labeling", AAAI 2021, arXiv:2001.06001: in round r the threshold is the
    quantile of the scores at 1 - r * step. Differs: their classifier is the best one on a validation set, which here
    the criterion ``ValidationDrop`` does.

    Args:
        step: Growth of the share, in (0, 1].
    """

    relabels: ClassVar[bool] = True

    def __init__(self, step: float = 0.2) -> None:
        self.step = step
        self.check()

    def check(self) -> None:
        """Raise ValueError for a step outside (0, 1]."""
        if not 0 < self.step <= 1:
            raise ValueError(f"step is {self.step}; it must be in (0, 1]")

    def select(self, candidates: Candidates) -> Choice:
        """Everything at or above the quantile of this round."""
        # 1 - r * step is not 0 in floating point in the last round, which must take everything
        share = 0.0 if self.done(candidates.round) else 1 - candidates.round * self.step
        threshold = float(np.quantile(candidates.score, share))
        return Choice(candidates.score >= threshold, threshold)

    def done(self, round: int) -> bool:
        """Whether the share has grown to 1."""
        # 49 * (1 / 49) is 0.9999999999999999: a bare 1 would ask for a 50th round.
        return round * self.step >= 1 - 1e-9


class RandomSubset(Taking):
    """Choose at random: what a policy must beat to be worth its name.

    Args:
        take: Number of rows, at least 1, or their share of all unlabeled rows at the start, in (0, 1], rounded up.
    """

    def select(self, candidates: Candidates) -> Choice:
        """So many, whatever their scores."""
        n = len(candidates.score)
        return Choice(_marked(candidates.rng.permutation(n)[: _count(self.take, candidates.total)], n), None)


def surest(codes: Array, score: Array, counts: Sequence[int]) -> list[Array]:
    """Places of the highest scores of each class, at most so many of it, of equals the first.

    Args:
        codes: Decided class of each row, shape (N,).
        score: How sure each decision is, shape (N,).
        counts: Of each class, shape (C,).
    """
    # stable: of equals the first, so that a result does not hang on the sorting of a library
    order = np.argsort(-score, kind="stable")
    return [order[codes[order] == code][:count] for code, count in enumerate(counts)]


def _whole(take: float) -> bool:
    return isinstance(take, int | np.integer)


def _check_take(take: float) -> None:
    if isinstance(take, bool) or not (take >= 1 if _whole(take) else 0 < take <= 1):
        raise ValueError(f"take is {take}; it must be an integer of at least 1 or a share in (0, 1]")


def _count(take: float, total: int) -> int:
    """A number of rows as it is, a share as a number, rounded up."""
    # rounded first: 0.1 * 30 is 3.0000000000000004, which would be 4 rows
    return int(take) if _whole(take) else math.ceil(round(take * total, 9))


def _marked(places: Array, count: int) -> Array:
    chosen = np.zeros(count, dtype=bool)
    chosen[places] = True
    return chosen
