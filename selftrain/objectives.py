"""Losses and pseudo-labels that several strategies share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from selftrain.learner import Learner
from selftrain.select import Select
from selftrain.tasks import Task, relative
from selftrain.types import Batch, PseudoLabels, Report, Target, View


@dataclass(frozen=True)
class Guess:
    """A pseudo-label in the making: the target, and what to tell the ledger."""

    target: Target
    labels: PseudoLabels


@torch.no_grad()
def pseudo_label(
    task: Task, value: Tensor, index: Tensor, select: Select, *, hard: bool, temperature: float = 1.0
) -> Guess:
    """Turn a prediction into a target: weights by confidence, then hardened, sharpened or as it is.

    Args:
        task: Kind of output.
        value: Prediction, shape (B, C, *S), in [0, 1].
        index: Rows of the unlabeled set, shape (B,).
        select: Rule from confidence to weight.
        hard: One decision a unit (True) or the soft prediction.
        temperature: Soft predictions are sharpened with it (``task.sharpen``), > 0; 1 leaves them. Without effect on
            hard labels.
    Gradient: none.
    """
    weight = select(task.confidence(value), task.label(value))
    soft = value if temperature == 1.0 else task.sharpen(value, temperature)
    made = task.harden(value) if hard else soft
    return Guess(Target(made, weight), PseudoLabels(index, value, weight))


def carry(task: Task, target: Target, source: View, destination: View) -> Target:
    """Move a target made on one view into the geometry of another."""
    return task.warp(target, relative(source, destination))


@dataclass(frozen=True)
class Outcome:
    """A loss with its parts: what a step needs to update and to report."""

    loss: Tensor
    supervised: Tensor
    unsupervised: Tensor
    guess: Guess

    def report(self) -> Report:
        """Scalars and pseudo-labels of this step."""
        scalars = {
            "loss/supervised": self.supervised.detach(),
            "loss/unsupervised": self.unsupervised.detach(),
            "used": self.guess.labels.weight.gt(0).float().mean(),
        }
        return Report(scalars, self.guess.labels)


def guided_loss(
    task: Task,
    student: Learner,
    batch: Batch,
    guess: Guess,
    *,
    weight: float,
    distance: Callable[[Tensor, Target], Tensor],
    together: bool = True,
) -> Outcome:
    """Supervised loss on the labels plus ``weight`` times the distance of the student's strong view to the guess.

    Args:
        task: Kind of output.
        student: Learner that gets the gradient.
        batch: Labeled samples and the views ``weak`` and ``strong``.
        guess: Pseudo-label made on the weak view.
        weight: Factor of the unsupervised part.
        distance: ``task.loss`` or ``task.consistency``.
        together: One concatenated pass (one set of BatchNorm statistics), or two.
    Gradient: to the student, through the labeled and the strong pass.
    """
    given, weak, strong = batch.given, batch.pile["weak"], batch.pile["strong"]
    if together:
        logits, strong_logits = student.together(given.x, strong.x)
    else:
        logits, strong_logits = student(given.x), student(strong.x)
    supervised = task.loss(logits, given.target)
    unsupervised = distance(strong_logits, carry(task, guess.target, weak, strong))
    return Outcome(supervised + weight * unsupervised, supervised, unsupervised, guess)


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
