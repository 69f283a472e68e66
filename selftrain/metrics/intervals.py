"""Exact confidence bounds of a share, by the binomial distribution, and checks of what is judged."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

Numbers = NDArray[np.float64]


def clopper_pearson(right: int, count: int, level: float = 0.95) -> tuple[float, float]:
    """Exact one-sided confidence bounds of a share, each at ``level``; together they hold at ``2 * level - 1``.

    Source: Clopper & Pearson 1934: the shares for which as many hits as seen, or more (or fewer), have the probability
    ``1 - level``.

    Args:
        right: Hits, in [0, count].
        count: Trials, >= 1.
        level: Confidence, in (0, 1).
    """
    if not 0 <= right <= count or count < 1:
        raise ValueError(f"{right} of {count} is no share; give 0 <= right <= count and count >= 1")
    check_rate("level", level)
    from scipy.special import betaincinv

    # of no hits, or only hits, the function is not defined and the bound is the end
    low = betaincinv(right, count - right + 1, 1 - level) if right else 0.0
    high = betaincinv(right + 1, count - right, level) if right < count else 1.0
    return float(low), float(high)


def upper_tail(hits: Numbers, trials: Numbers, share: Numbers | float) -> Numbers:
    """Probability of at least so many hits in independent trials: ``I_share(hits, trials - hits + 1)``.

    Args:
        hits: k in [0, n], shape (M,); between two whole numbers the tail is interpolated.
        trials: n >= 1, shape (M,).
        share: Probability of a hit, in [0, 1].

    Returns:
        Shape (M,).
    """
    from scipy.special import betainc

    some = np.maximum(hits, 1.0)  # of no hits the function is not defined, and the probability is 1
    tail: Numbers = np.where(hits <= 0, 1.0, betainc(some, trials - some + 1, share))
    return tail


def checked_decisions(confidence: Any, correct: Any) -> tuple[Numbers, Numbers]:
    """Both as numbers in [0, 1], shape (N,), N >= 1."""
    pair = [torch.as_tensor(v).detach().cpu().double().numpy() for v in (confidence, correct)]
    if pair[0].ndim != 1 or pair[0].shape != pair[1].shape or not len(pair[0]):
        shapes = pair[0].shape, pair[1].shape
        raise ValueError(f"confidence and correct have shapes {shapes[0]} and {shapes[1]}; both must be (N,), N >= 1")
    for name, values in zip(("confidence", "correct"), pair, strict=True):
        check_shares(name, values)
    return pair[0], pair[1]


def check_shares(name: str, values: Numbers) -> None:
    """Refuse numbers outside [0, 1]."""
    # turned around, so that NaN is wrong
    wrong = np.flatnonzero(~((values >= 0) & (values <= 1)))
    if len(wrong):
        raise ValueError(f"{name} holds {values[wrong[0]]:g} at row {wrong[0]}; it must be in [0, 1]")


def check_rate(name: str, value: float) -> None:
    """Refuse a number that is not above 0 and below 1."""
    if not 0 < value < 1:
        raise ValueError(f"{name} is {value}; it must be above 0 and below 1")
