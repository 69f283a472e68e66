"""UDA: Xie et al., "Unsupervised Data Augmentation for Consistency Training", NeurIPS 2020, arXiv:1904.12848.

Algorithm: 1. the student predicts the weak view; 2. predictions at or above a threshold are sharpened and learned,
soft, on the strong view; 3. training signal annealing (TSA): labeled samples that are already predicted better than a
rising limit are left out, so that few labels are not overfitted.

Left out: back-translation (text). Differs: sums are divided by the whole batch, not by what is kept.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from torch import Tensor

from selftrain.networks.student import MakeLearner
from selftrain.schedule import Schedule
from selftrain.select import Selector, above
from selftrain.strategy.losses import Outcome
from selftrain.strategy.single import SelfGuided
from selftrain.tasks import Task
from selftrain.types import Batch, Clock, Labeled

Annealing = Literal["linear", "log", "exp"]
_RISE: dict[str, Schedule] = {
    "linear": lambda t: t,
    "log": lambda t: 1 - math.exp(-5 * t),
    "exp": lambda t: math.exp(5 * (t - 1)),
}


class UDA(SelfGuided):
    """Learn the strong view from sharpened predictions of the weak one; anneal the signal of the labels.

    Source: the paper's eq. 1 and section 2.2, 3.3. Defaults: threshold 0.8, temperature 0.4, weight 1, no annealing (as
    there on CIFAR), decay 0.999.

    Args:
        task: Kind of output.
        make_learner: Builds the student.
        select: Rule from confidence to weight; ``None``: ``above(0.8)``.
        temperature: Sharpening of the soft targets, in (0, 1] for sharper ones.
        annealing: Rise of the TSA limit from 1 / choices to 1: ``"linear"``, ``"log"`` (fast) or ``"exp"`` (late);
            ``None``: all labels count always. It compares probabilities, so keypoints need ``None``.
        settings: See ``SelfGuided`` and ``Lesson``: label_mode, decay, buffers, unlabeled_weight, rampup, distance,
            hard, align, align_targets, mix, together.

    Raises:
        ValueError: for an unknown annealing, or for one of joints.
    """

    def __init__(
        self,
        task: Task,
        make_learner: MakeLearner,
        *,
        select: Selector | None = None,
        temperature: float = 0.4,
        annealing: Annealing | None = None,
        hard: bool = False,
        **settings: Any,
    ) -> None:
        sharp: dict[str, Any] = {"temperature": temperature, "hard": hard}
        super().__init__(task, make_learner, select=select or above(0.8), **sharp, **settings)
        if annealing is not None and annealing not in _RISE:
            raise ValueError(f"annealing is {annealing!r}; choose 'linear', 'log', 'exp' or None")
        if annealing is not None:
            _check_classes(task, annealing)
        self.annealing = annealing

    def objective(self, batch: Batch, clock: Clock) -> Outcome:
        """Label the weak view, learn the strong one, leave out labels that are known too well."""
        guess = self.lesson.guess(self.look, batch)
        trust = None if self.annealing is None else lambda value, given: self.signal(value, given, clock)
        return self.lesson.loss(self.student, batch, guess, clock, trust=trust)

    def signal(self, value: Tensor, given: Labeled, clock: Clock) -> Tensor:
        """Weight 1.0 where the probability of the true class is at most the limit of this moment, else 0.0.

        Args:
            value: Probabilities of the labeled samples, shape (B, C, *S).
            given: The labeled samples.
            clock: Says how far the limit has risen.
        """
        assert self.annealing is not None  # asked only with an annealing
        least = 1 / value.shape[1]
        limit = _RISE[self.annealing](clock.progress) * (1 - least) + least
        right: Tensor = (value * given.target.value).sum(1)
        return (right <= limit).to(value)


def _check_classes(task: Task, annealing: str) -> None:
    share = torch.full((task.groups,), 1 / task.groups)
    try:
        task.reweigh(share[None], share)  # refused where there are no classes
    except ValueError as error:
        raise ValueError(f"annealing is {annealing!r}, but joints have no class probabilities; set None") from error
