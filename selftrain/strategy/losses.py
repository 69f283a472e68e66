"""Losses that several strategies share, as functions of predictions; those of targets are the task's own."""

from __future__ import annotations

import torch
from torch import Tensor


def prior_loss(distribution: Tensor, prior: Tensor | None = None) -> Tensor:
    """Keep the mean prediction near a prior: ``sum_c r_c (-log mean_i p_ic)``, a KL divergence up to a constant.

    Source: Tanaka et al. 2018, arXiv:1803.11364, and Arazo et al. 2020, arXiv:1908.02983, eq. 3.

    Args:
        distribution: Units' distributions over their choices along the last axis (``task.distribution``).
        prior: Share of each choice r, shape (choices,), sums to 1; ``None``: uniform.
    Gradient: to ``distribution``.
    """
    # The floor: a class that no unit of the batch gives any mass has the log of 0.
    mean = distribution.flatten(0, -2).mean(0).clamp(min=1e-8)
    share = torch.full_like(mean, 1 / len(mean)) if prior is None else prior.to(mean)
    return -(share * mean.log()).sum()


def entropy_loss(distribution: Tensor) -> Tensor:
    """Mean entropy of the units' predictions in nats (Grandvalet & Bengio 2004; Arazo et al. 2020, eq. 4).

    Args:
        distribution: Units' distributions over their choices along the last axis.
    Gradient: to ``distribution``.
    """
    # p log p is 0 at p = 0, and its gradient there is infinite: a floor keeps both finite
    return -(distribution * distribution.clamp(min=1e-8).log()).sum(-1).mean()
