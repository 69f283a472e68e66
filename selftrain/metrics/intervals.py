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
    # the hits' tail at the lower bound is that of the misses at the upper one, seen from the other end
    k, n = np.array([right, count - right], dtype=np.float64), np.full(2, float(count))
    low, high = np.zeros(2), k / n
    for _ in range(52):  # as many bits as a float has
        middle = (low + high) / 2
        above = upper_tail(k, n, middle) > 1 - level
        low, high = np.where(above, low, middle), np.where(above, middle, high)
    bounds = np.where(k > 0, low, 0.0)
    return float(bounds[0]), float(1 - bounds[1])


def upper_tail(hits: Numbers, trials: Numbers, share: Numbers | float) -> Numbers:
    """Probability of at least so many hits in independent trials: ``I_share(hits, trials - hits + 1)``.

    Args:
        hits: k in [0, n], shape (M,).
        trials: n >= 1, shape (M,).
        share: Probability of a hit, in [0, 1].

    Returns:
        Shape (M,); accurate to about 1e-12.
    """
    a, b = np.maximum(hits, 1.0), trials - np.maximum(hits, 1.0) + 1
    x = np.broadcast_to(np.asarray(share, dtype=np.float64), a.shape)
    swap = x > (a + 1) / (a + b + 2)  # the fraction converges fast on one side of the mean
    a, b, x = np.where(swap, b, a), np.where(swap, a, b), np.where(swap, 1 - x, x)
    inside = np.clip(x, 1e-300, 1.0)
    logs = a * np.log(inside) + b * np.log1p(-x) + _log_gamma(a + b) - _log_gamma(a) - _log_gamma(b)
    tail = np.exp(logs) / a * _beta_fraction(a, b, x)
    result: Numbers = np.where(hits <= 0, 1.0, np.where(swap, 1 - tail, tail))
    return result


def _beta_fraction(a: Numbers, b: Numbers, x: Numbers) -> Numbers:
    """The continued fraction of the incomplete beta function (DLMF 8.17.22), by Lentz's method."""
    tiny = 1e-300
    c, d = np.ones_like(x), 1 / _away(1 - (a + b) * x / (a + 1), tiny)
    value: Numbers = d.copy()
    for m in range(1, 100_000):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        for term in (even, odd):
            d = 1 / _away(1 + term * d, tiny)
            c = _away(1 + term / c, tiny)
            value = value * (c * d)
        if np.abs(c * d - 1).max(initial=0.0) < 1e-14:
            break
    return value


def _away(value: Numbers, tiny: float) -> Numbers:
    """The value, or something tiny where it is 0."""
    result: Numbers = np.where(np.abs(value) < tiny, tiny, value)
    return result


def _log_gamma(value: Numbers) -> Numbers:
    result: Numbers = torch.lgamma(torch.from_numpy(np.ascontiguousarray(value))).numpy()
    return result


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
    wrong = np.flatnonzero(~((values >= 0) & (values <= 1)))
    if len(wrong):
        raise ValueError(f"{name} holds {values[wrong[0]]:g} at row {wrong[0]}; it must be in [0, 1]")


def check_rate(name: str, value: float) -> None:
    """Refuse a number that is not above 0 and below 1."""
    if not 0 < value < 1:
        raise ValueError(f"{name} is {value}; it must be above 0 and below 1")
