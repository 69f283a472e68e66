"""Bring the predictions' class shares to those that are expected: distribution alignment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from selftrain.runtime.finite import HostCount
from selftrain.select.base import check_decay
from selftrain.tasks import Task
from selftrain.types import Recorded

# A class that is never predicted would be divided by zero, and one that is not expected could never come back.
FLOOR = 1e-6
_NAMED = ("uniform", "labeled", "pile")
Shares = Literal["uniform", "labeled", "pile"] | Tensor | Sequence[float]


class Align(Recorded, nn.Module):
    """Multiply each class by expected share / predicted share and normalize.

    Source: Berthelot et al., "ReMixMatch", ICLR 2020, arXiv:1911.09785, section 3.1. The predicted share is a moving
    mean that takes the batch in first; floors of 1e-6 on both shares; the result is normalized.
    Differs: the moving mean starts at the first batch and warms up as ``min(decay, 1 - 1/(t + 1))``.

    Args:
        task: Kind of output; it needs classes.
        target: Expected shares: ``"uniform"``, ``"labeled"`` (the moving mean of the predictions on the labeled
            batches, as AdaMatch does), ``"pile"`` (estimated, see below) or numbers (classes,) that sum to 1.
        decay: Share of the old means that stays at each batch, in [0, 1); 0: each batch stands for itself.

    ``"pile"``: the pile's own shares pi, by expectation-maximization from predictions of a network that has learned
    other shares (Saerens, Latinne & Decaestecker, "Adjusting the outputs of a classifier to new a priori
    probabilities", Neural Computation 14, 2002). E: ``p(c | x) pi_c / s_c``, normalized, with s the moving
    mean prediction on labeled batches; M: pi is their mean. Differs: one E step a batch and a moving mean as M step;
    pi starts at the s of the first batch. It is as good as the predictions are calibrated: sure errors are counted as
    they are.

    Raises:
        ValueError: for keypoints, a decay outside [0, 1), or a target that is no distribution over the classes.
    """

    predicted: Tensor
    expected: Tensor
    updates: Tensor
    source: Tensor

    def __init__(self, task: Task, *, target: Shares = "uniform", decay: float = 0.999) -> None:
        super().__init__()
        uniform = torch.full((task.groups,), 1 / task.groups)
        task.reweigh(uniform[None], torch.ones_like(uniform))  # refuses tasks without classes
        check_decay(decay)
        if isinstance(target, str) and target not in _NAMED:
            raise ValueError(f"target is {target!r}; choose 'uniform', 'labeled', 'pile' or a tensor of class shares")
        given = None if isinstance(target, str) else _checked(target, task.groups)
        self.reads_labeled = isinstance(target, str) and target != "uniform"
        self.decay = decay
        # a run is resumed with the same
        self.target = target if isinstance(target, str) else str(torch.as_tensor(target).tolist())
        self._task = task
        self.register_buffer("predicted", uniform.clone())
        # A buffer even where it never moves: it follows the rule to the device and is part of the state of a run.
        self.register_buffer("expected", uniform.clone() if given is None else given)
        self.register_buffer("updates", torch.zeros((), dtype=torch.long))
        if self.target == "pile":
            self.register_buffer("source", uniform.clone())
        self._count = HostCount()

    @torch.no_grad()
    def forward(self, value: Tensor, labeled: Tensor | None = None) -> Tensor:
        """Aligned predictions (B, C, *S) of ``value``, without gradient.

        Args:
            value: Predictions of the unlabeled batch, shape (B, C, *S), in [0, 1].
            labeled: Predictions of the labeled batch; needed in training mode if ``reads_labeled``.

        Raises:
            ValueError: if they are needed and missing.
        """
        # The batch is taken in first: the first one would else be aligned by the start value alone.
        if self.training and value.numel():
            self._take_in(value, labeled)
        return self.aligned(value)

    def aligned(self, value: Tensor) -> Tensor:
        """Predictions (B, C, *S) by the shares as they are now."""
        factor = self.expected.clamp(min=FLOOR) / self.predicted.clamp(min=FLOOR)
        return self._task.reweigh(value, factor.to(value))

    def _take_in(self, value: Tensor, labeled: Tensor | None) -> None:
        if self.reads_labeled and labeled is None:
            raise ValueError("aligning to the labeled samples needs the predictions on them; pass them as `labeled`")
        # At t = 0 the batch replaces the start value, so uniform shares that nobody predicted never count.
        moves = 1 - min(self.decay, 1 - 1 / (self._count.read(self.updates) + 1))
        self.predicted.lerp_(self._task.presence(value).to(self.predicted), moves)
        if self.reads_labeled and labeled is not None:
            said = self._task.presence(labeled).to(self.expected)
            if self.target == "labeled":
                self.expected.lerp_(said, moves)
            else:
                self._estimate(value, said, moves)
        self._count.add(self.updates)

    def _estimate(self, value: Tensor, said: Tensor, moves: float) -> None:
        self.source.lerp_(said, moves)
        if moves == 1:
            self.expected.copy_(self.source)
        factor = self.expected / self.source.clamp(min=FLOOR)
        posterior = self._task.reweigh(value.to(factor), factor)
        self.expected.lerp_(self._task.presence(posterior), moves)


def _checked(target: Tensor | Sequence[float], classes: int) -> Tensor:
    target = torch.as_tensor(target)
    fits = target.shape == (classes,) and bool((target >= 0).all()) and abs(float(target.sum()) - 1) < 1e-3
    if not fits:
        raise ValueError(f"target is {target.tolist()}; give {classes} shares that sum to 1")
    return target.detach().clone().float()
