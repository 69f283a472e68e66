"""When a difference is more than noise: class shares of pseudo-labels, and figures of evaluations."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

DRIFT = 0.2  # so much farther from the labels' shares than the labels alone: benchmarks/alarms.py
FEW = 50  # held-out labels below which figures on them are mostly chance
MARGIN, ERRORS = 0.02, 2.0  # a figure is clearly lower from this difference, and so many standard errors, on


def effective_classes(shares: Tensor) -> float:
    """Effective number of classes: exp of the entropy of their ``shares``, shape (classes,), summing to 1."""
    return float(torch.special.entr(shares.double()).sum().exp())


def collapsed(shares: Tensor, prior: Tensor, rows: int) -> bool:
    """Whether pseudo-labels fall to far fewer classes than the labels do.

    The effective number of classes must be below half of the labels' (with two classes, where no number is: below a
    tenth of the way from one class to the labels' number), and the difference beyond the noise of ``rows`` draws: a
    likelihood ratio ``G = 2 rows KL(shares, prior)`` six standard deviations above its mean.

    Args:
        shares: Share of each class among the accepted pseudo-labels, shape (classes,), sums to 1.
        prior: Share of each class among the labels.
        rows: Accepted pseudo-labels.
    """
    expected = effective_classes(prior)
    if effective_classes(shares) >= max(expected / 2, 1 + (expected - 1) / 10):
        return False
    # G = 2 n KL is chi-square with C - 1 degrees if nothing is wrong: mean C - 1, variance 2 (C - 1)
    divergence = float((torch.special.xlogy(shares, shares) - torch.special.xlogy(shares, prior)).sum())
    freedom = max(1, len(shares) - 1)
    return 2 * rows * divergence > freedom + 6 * math.sqrt(2 * freedom)


def clearly_below(parts: Tensor, others: Tensor, figure: Callable[[Tensor], float], draws: int = 1000) -> bool:
    """Whether a figure is lower than another one of the same samples by more than noise: a paired bootstrap.

    Source: Efron & Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 6. That is two points, and two
    standard errors of the difference, which is taken anew over samples drawn with replacement, the same for both. The
    error is around no difference and not around the one that was seen, so that a few samples tell nothing: of shares
    of right answers this is McNemar's test.

    Args:
        parts: What each sample adds to the statistic that the figure is made of, shape (N, ...).
        others: The same of the other figure, in the same order.
        figure: From a sum of parts to the figure.
        draws: Of the bootstrap; they are the same at every call.
    """
    rows = len(parts)
    apart = figure(others.sum(0)) - figure(parts.sum(0))
    if not rows or not apart > MARGIN:
        return False
    generator, apart_too = torch.Generator().manual_seed(0), []
    for _ in range(draws):
        drawn = torch.randint(rows, (rows,), generator=generator)
        times = torch.bincount(drawn, minlength=rows).to(parts)
        both = [torch.tensordot(times, each, 1) for each in (others, parts)]
        apart_too.append(figure(both[0]) - figure(both[1]))
    error = torch.tensor(apart_too, dtype=torch.double).var(correction=0)
    return apart > ERRORS * math.sqrt(float(error) + apart**2 / rows)


def class_distance(shares: Tensor, prior: Tensor) -> float:
    """Total variation between two distributions over classes, (classes,) each: the share that would have to move."""
    return float((shares.double() - prior.double()).abs().sum() / 2)


def drifted(shares: Tensor, control: Tensor, prior: Tensor, rows: int) -> bool:
    """Whether decisions on the pile are much farther from the labels' class shares than those of a control are.

    A control that learned the labels alone sees the same rows: what a pile has of its own shares moves both alike. The
    difference of the two total variations must be above ``DRIFT``, and above ``sqrt(classes / rows)``: chance alone
    puts the shares of so many draws half of that away from their distribution, in the mean and at most.

    Args:
        shares: Share of each class among the decisions, shape (classes,), sums to 1.
        control: The same of the control, on the same rows.
        prior: Share of each class among the labels.
        rows: Decisions.
    """
    apart = class_distance(shares, prior) - class_distance(control, prior)
    return rows > 0 and apart > max(DRIFT, math.sqrt(len(prior) / rows))
