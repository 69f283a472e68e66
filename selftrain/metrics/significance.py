"""When a difference is more than noise: class shares of pseudo-labels, and figures of evaluations."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from selftrain.types import Pile

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


def clearly_below(figure: float, other: float, samples: int) -> bool:
    """Whether a share of right answers is lower than another one by more than noise.

    That is two points, and two standard errors of the difference between two independent shares of so many samples;
    figures outside [0, 1] are no shares and never are.
    """
    if not samples or not (0 <= figure <= 1 and 0 <= other <= 1):
        return False
    # under "no difference" both are draws from one share, best estimated by their mean
    mean = (figure + other) / 2
    return other - figure > max(MARGIN, ERRORS * math.sqrt(2 * mean * (1 - mean) / samples))


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


def labeled_shares(pile: Pile, classes: int, device: torch.device) -> Tensor | None:
    """Share of each class among the labeled samples, shape (classes,); ``None`` where annotations are no class numbers.

    Args:
        pile: Where the samples are.
        classes: Number of classes.
        device: Where batches go on the way.
    """
    counts = torch.zeros(classes, dtype=torch.double)
    for batch in pile.evaluation("labeled", 500, device) or ():
        y = batch.annotation.cpu()
        if y.dim() != 1 or y.is_floating_point() or not bool(((y >= 0) & (y < classes)).all()):
            return None
        counts += torch.bincount(y.long(), minlength=classes)
    return counts / counts.sum() if bool(counts.any()) else None
