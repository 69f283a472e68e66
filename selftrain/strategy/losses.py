"""Losses and pseudo-labels that several strategies share."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from selftrain.select.base import Selector, look
from selftrain.tasks import Task, relative
from selftrain.types import PseudoLabels, Report, Target, View


@dataclass(frozen=True)
class Guess:
    """A pseudo-label in the making: the target, and what to tell the ledger."""

    target: Target
    labels: PseudoLabels

    def scaled(self, factor: Tensor) -> Guess:
        """The same with unit weights multiplied by ``factor`` (B, *U)."""
        weight = self.target.weight * factor
        return Guess(replace(self.target, weight=weight), replace(self.labels, weight=weight))


@torch.no_grad()
def pseudo_label(
    task: Task,
    value: Tensor,
    index: Tensor,
    select: Selector,
    *,
    hard: bool,
    temperature: float = 1.0,
    given: Tensor | None = None,
    agreement: Tensor | None = None,
    judged: Tensor | None = None,
) -> Guess:
    """Turn a prediction into a target: weights by confidence, then hardened, sharpened or as it is.

    Args:
        task: Kind of output.
        value: Prediction, shape (B, C, *S), in [0, 1].
        index: Rows of the unlabeled set, shape (B,).
        select: Rule from the evidence to weights.
        hard: One decision a unit (True) or the soft prediction.
        temperature: Soft predictions are sharpened with it (``task.sharpen``), > 0; 1 leaves them. Without effect on
            hard labels.
        given: Prediction of the labeled batch, for rules that read it.
        agreement: Share of members that agree, shape (B, *U), for the ledger; ``None``: one member.
        judged: Prediction that the rule sees, of the same shape; ``None``: ``value``.
    Gradient: none.
    """
    seen = value if judged is None else judged
    weight = select(look(task, seen, index, given))
    soft = value if temperature == 1.0 else task.sharpen(value, temperature)
    made = task.harden(value) if hard else soft
    return Guess(Target(made, weight), PseudoLabels(index, value, weight, agreement))


def carry(task: Task, target: Target, source: View, destination: View) -> Target:
    """Move a target made on one view into the geometry of another."""
    return task.warp(target, relative(source, destination))


def unmoved(task: Task, value: Tensor, view: View) -> Target:
    """A prediction (B, C, *S) of a view in the geometry of the unmoved image; what the view hides is not valid."""
    here = Target(value, torch.ones_like(task.confidence(value)))
    return carry(task, here, view, View(view.x))


@dataclass(frozen=True)
class Outcome:
    """A loss with its parts: what a step needs to update and to report.

    Args:
        loss: What the student is updated with.
        supervised: Loss on the labels.
        unsupervised: Loss on the pseudo-labels, before its factor.
        guess: The pseudo-labels.
        learned: The student's logits of the learned view, for methods that add terms of their own.
    """

    loss: Tensor
    supervised: Tensor
    unsupervised: Tensor
    guess: Guess
    learned: Tensor | None = None

    def plus(self, term: Tensor) -> Outcome:
        """The same with ``term`` added to the loss."""
        return replace(self, loss=self.loss + term)

    def report(self, **more: Tensor) -> Report:
        """Scalars and pseudo-labels of this step; ``more`` are further losses by name."""
        scalars = {
            "loss/supervised": self.supervised.detach(),
            "loss/unsupervised": self.unsupervised.detach(),
            "used": self.guess.labels.weight.gt(0).float().mean(),
        }
        return Report(scalars | {f"loss/{name}": term.detach() for name, term in more.items()}, self.guess.labels)


def prior_loss(distribution: Tensor, prior: Tensor | None = None) -> Tensor:
    """Keep the mean prediction near a prior: ``sum_c r_c (-log mean_i p_ic)``, a KL divergence up to a constant.

    Source: Tanaka et al. 2018, arXiv:1803.11364, and Arazo et al. 2020, arXiv:1908.02983, eq. 3.

    Args:
        distribution: Units' distributions over their choices along the last axis (``task.distribution``).
        prior: Share of each choice r, shape (choices,), sums to 1; ``None``: uniform.
    Gradient: to ``distribution``.
    """
    mean = distribution.flatten(0, -2).mean(0).clamp(min=1e-8)
    share = torch.full_like(mean, 1 / len(mean)) if prior is None else prior.to(mean)
    return -(share * mean.log()).sum()


def entropy_loss(distribution: Tensor) -> Tensor:
    """Mean entropy of the units' predictions in nats (Grandvalet & Bengio 2004; Arazo et al. 2020, eq. 4).

    Args:
        distribution: Units' distributions over their choices along the last axis.
    Gradient: to ``distribution``.
    """
    return -(distribution * distribution.clamp(min=1e-8).log()).sum(-1).mean()
