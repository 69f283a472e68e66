"""The accuracy of decisions that nobody has checked, estimated from held-out decisions of the same confidence."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from selftrain.metrics.intervals import Numbers, check_shares, checked_decisions

_FEWEST = 20  # held-out rows that are heard at least


@dataclass(frozen=True)
class Estimate:
    """An estimated share in [0, 1] and its confidence interval."""

    value: float
    low: float
    high: float


def estimate_accuracy(
    held_out_confidence: Tensor,
    held_out_correct: Tensor,
    confidence: Tensor,
    *,
    level: float = 0.95,
    draws: int = 400,
    seed: int = 0,
) -> Estimate:
    """Estimate how many of the decisions with these confidences are right, from held-out decisions.

    Two readings of the held-out labels are combined. Monotone: correctness as a rising function of confidence by
    isotonic regression (Zadrozny & Elkan 2002), which borrows from all labels, but promises too much where confidence
    says little. Binned (Zadrozny & Elkan 2001): the share right among the n rows that are at least as confident as what
    is asked for (never fewer than the 20 most confident), in ``sqrt(n) / 4`` groups of equal size, which borrows
    little. Each is averaged over ``confidence``. The value is the mean of the two, the interval reaches over both.

    Intervals are Bayesian bootstraps (Rubin 1981): each draw weights the held-out rows by exponential numbers and draws
    the decisions' correctness anew. For the lower end one more, wrong row is added at the highest confidence asked for,
    for the upper end a right one at the lowest: where all confidences are equal this gives the exact interval of
    Clopper & Pearson (1934), and it keeps intervals open where all labels are right. For the value both count half.

    Args:
        held_out_confidence: Confidence of each held-out decision, shape (N,), in [0, 1].
        held_out_correct: Whether it was right, shape (N,), or the share of its units that was, in [0, 1].
        confidence: Confidences of the decisions to judge, shape (M,), M >= 1.
        level: Of the interval, in (0, 1).
        draws: Of the bootstrap, at least 1.
        seed: Of a generator of its own.

    Raises:
        ValueError: for other shapes, nothing to judge, or numbers outside their ranges.
    """
    sure, right = checked_decisions(held_out_confidence, held_out_correct)
    asked = torch.as_tensor(confidence).detach().cpu().double().numpy()
    if asked.ndim != 1 or not len(asked):
        raise ValueError(f"confidence has shape {asked.shape}; give (M,) with at least one decision to judge")
    check_shares("confidence", asked)
    if not 0 < level < 1 or draws < 1:
        raise ValueError(f"level is {level} and draws {draws}; level must be in (0, 1), draws at least 1")
    # of its own: a report must leave the random state of the run as it is
    random = np.random.default_rng(seed)
    readings = [_Reading(right, *_on_points(sure, asked), _isotonic), _Reading(right, *_in_groups(sure, asked), _as_is)]
    # both readings may be wrong in their own way: the interval reaches over both
    spans = [_interval(reading, len(asked), level, draws, random) for reading in readings]
    one, half = np.ones((1, len(sure))), np.full(1, 0.5)
    value = sum(float(reading.values(*reading.sums(one), half, half)[0]) for reading in readings) / len(readings)
    return Estimate(value, min(low for low, _ in spans), max(high for _, high in spans))


@dataclass(frozen=True)
class _Reading:
    """Held-out rows at cells of rising confidence, and the share of the decisions to judge that lies in each cell."""

    right: Numbers
    cell: NDArray[np.int64]
    share: Numbers
    smooth: Callable[[Numbers, Numbers], Numbers]

    def sums(self, weights: Numbers) -> tuple[Numbers, Numbers]:
        """Weight of the rows of each cell, and of those that are right, of D draws: shape (D, N) to two of (D, C)."""
        cells = len(self.share)
        count = [np.bincount(self.cell, weight, cells) for weight in weights]
        hits = [np.bincount(self.cell, weight * self.right, cells) for weight in weights]
        return np.stack(count).astype(np.float64), np.stack(hits).astype(np.float64)

    def values(self, count: Numbers, hits: Numbers, wrong_row: Numbers, right_row: Numbers) -> Numbers:
        """The estimates under these sums, and of one wrong and one right row more, shapes (D, C) and (D,) to (D,)."""
        asked = np.flatnonzero(self.share > 0)
        count, hits = count.copy(), hits.copy()
        count[:, asked[-1]] += wrong_row
        count[:, asked[0]] += right_row
        hits[:, asked[0]] += right_row
        level = self.smooth(np.divide(hits, count, out=np.zeros_like(hits), where=count > 0), count)
        estimate: Numbers = np.clip((self.share * level).sum(1), 0, 1)
        return estimate


def _interval(
    reading: _Reading, judged: int, level: float, draws: int, random: np.random.Generator
) -> tuple[float, float]:
    weights, extra = random.exponential(size=(draws, len(reading.right))), random.exponential(size=(2, draws))
    sums, none = reading.sums(weights), np.zeros(draws)
    # so few decisions are judged that their own luck counts, too
    low = random.binomial(judged, reading.values(*sums, extra[0], none)) / judged
    high = random.binomial(judged, reading.values(*sums, none, extra[1])) / judged
    tail = (1 - level) / 2
    return float(np.quantile(low, tail)), float(np.quantile(high, 1 - tail))


def _on_points(sure: Numbers, asked: Numbers) -> tuple[NDArray[np.int64], Numbers]:
    """A cell for each held-out confidence; what lies between two counts in both, linearly."""
    points, cell = np.unique(sure, return_inverse=True)
    left = np.clip(np.searchsorted(points, asked, side="right") - 1, 0, len(points) - 1)
    right = np.minimum(left + 1, len(points) - 1)
    gap = points[right] - points[left]
    part = np.clip(np.divide(asked - points[left], gap, out=np.zeros_like(gap), where=gap > 0), 0, 1)
    share = np.bincount(left, 1 - part, len(points)) + np.bincount(right, part, len(points))
    return cell.reshape(-1), share / len(asked)


def _in_groups(sure: Numbers, asked: Numbers) -> tuple[NDArray[np.int64], Numbers]:
    """About ``sqrt(n) / 4`` cells of equally many rows, of the n that are as confident as what is asked for.

    Cell 0 holds the rows below, which then say nothing. Equal confidences share a cell.
    """
    rising = np.sort(sure)
    # rows below what is asked for say little of it, but fewer than these few rows promise nothing
    below = min(int(np.searchsorted(rising, asked.min())), max(0, len(sure) - _FEWEST))
    inside = rising[below:]
    # few groups: what a group is short of rows is noise, what it is long of is bias
    groups = max(1, int(math.sqrt(len(inside)) / 4))
    # equal confidences may not be torn apart, else their order in the file would count
    starts = np.unique(inside[np.arange(groups) * len(inside) // groups])
    cells = np.searchsorted(starts, sure, side="right")
    # what is asked for below the lowest group is judged by that: cell 0 says nothing
    judged = np.maximum(np.searchsorted(starts, asked, side="right"), 1)
    return cells, np.bincount(judged, minlength=len(starts) + 1) / len(asked)


def _isotonic(level: Numbers, weight: Numbers) -> Numbers:
    from scipy.optimize import isotonic_regression  # scikit-learn's checks cost more than the regression

    return np.stack([isotonic_regression(row, weights=w).x for row, w in zip(level, weight, strict=True)])


def _as_is(level: Numbers, weight: Numbers) -> Numbers:
    return level
