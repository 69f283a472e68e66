"""FreeMatch.

Wang et al., "FreeMatch: Self-adaptive Thresholding for Semi-supervised Learning", ICLR 2023, arXiv:2205.07246.

Algorithm: 1. a moving mean of the confidence is the threshold, moving mean predictions share it out over the classes;
2. decisions about the weak view at or above the threshold of their class are learned on the strong view; 3. a fairness
term compares the mean prediction on the strong view, each class divided by its share of decisions, with the same of the
moving means, and pulls the two apart.

Left out: nothing. Differs: the weak view has a pass of its own without gradient. The sign of the fairness term is the
paper's and the released code's: minus a cross-entropy is minimized, so the cross-entropy grows. ``fairness_sign=-1``
turns it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from selftrain.networks.student import MakeLearner
from selftrain.select import Free
from selftrain.strategy.single import SelfGuided
from selftrain.tasks import Task
from selftrain.types import Batch, Clock, Report


class FreeMatch(SelfGuided):
    """Learn the strong view from decisions above a threshold that follows the network's own confidence.

    Source: the paper's eq. 5 to 12 (thresholds: ``selftrain.select.Free``). Defaults: decay of the thresholds 0.999,
    fairness weight 0.001 (released configurations), weight 1, hard labels, decay of the weights 0.999.

    Args:
        task: Kind of output.
        make_learner: Builds the student.
        threshold_decay: Share of the old threshold and class means that stays at each step, in [0, 1).
        quantile: Level from this quantile of the confidence instead of its mean, in (0, 1); ``None``: the mean.
        limits: Lowest and highest level (the paper: (0, 0.95) for SVHN); ``None``: free.
        fairness_weight: Factor of the fairness term, >= 0. It compares class shares; keypoints need 0.
        fairness_sign: 1 as published, -1 turned.
        settings: See ``SelfGuided`` and ``Lesson``: label_mode, decay, buffers, unlabeled_weight, rampup, distance,
            hard, temperature, align, align_targets, mix, together.

    Raises:
        ValueError: for a negative weight, a sign other than 1 and -1, or a fairness term of joints.
    """

    def __init__(
        self,
        task: Task,
        make_learner: MakeLearner,
        *,
        threshold_decay: float = 0.999,
        quantile: float | None = None,
        limits: tuple[float, float] | None = None,
        fairness_weight: float = 0.001,
        fairness_sign: int = 1,
        **settings: Any,
    ) -> None:
        if not fairness_weight >= 0 or fairness_sign not in (1, -1):
            raise ValueError(
                f"fairness_weight is {fairness_weight} and fairness_sign {fairness_sign}; "
                "the weight must be 0 or more, the sign 1 or -1"
            )
        if fairness_weight:
            _check_classes(task, fairness_weight)
        self_made = Free(task.groups, decay=threshold_decay, quantile=quantile, limits=limits)
        super().__init__(task, make_learner, select=self_made, **settings)
        self.fairness_weight, self.fairness_sign = fairness_weight, fairness_sign

    def step(self, batch: Batch, clock: Clock, *extra: Batch) -> Report:
        """One student step under self-made thresholds, with the fairness term."""
        guess = self.lesson.guess(self.look, batch)
        x, target = self.lesson.exercise(batch, guess.target, "weak", "strong")
        logits, learned = self.lesson.answers(self.student, batch.labeled.x, x)
        outcome = self.lesson.grade(logits, learned, batch.labeled, target, guess, clock)
        if not self.fairness_weight:
            self.advance(outcome.loss)
            return outcome.report()
        fairness = self.fairness(self.task.probs(learned), target.weight * target.mask())
        self.advance(outcome.plus(self.fairness_weight * self.fairness_sign * fairness).loss)
        return outcome.report(fairness=fairness)

    def fairness(self, strong: Tensor, weight: Tensor) -> Tensor:
        """``sum_c N(p / h)_c log N(q / k)_c``: p, h moving mean and histogram, q, k those of the kept strong values.

        Args:
            strong: Values on the strong view, shape (B, C, *S).
            weight: Weights of the units in that view, shape (B, *U); those above 0 are kept. None kept: 0.
        Gradient: to ``strong``, through q.
        """
        kept = weight > 0
        rows = self.task.distribution(strong)
        if not bool(kept.any()):
            return 0.0 * strong.sum()
        rows = rows[kept]
        counts = torch.bincount(rows.argmax(1), minlength=rows.shape[1]).to(rows)
        rule = self.lesson.select
        assert isinstance(rule, Free)
        wanted = _normalized(rule.presence, rule.histogram)
        return (wanted * (_normalized(rows.mean(0), counts / counts.sum()) + 1e-12).log()).sum()


def _normalized(mean: Tensor, histogram: Tensor) -> Tensor:
    """``mean / histogram`` brought to sum 1; classes that no decision fell on count 0."""
    ratio = torch.where(histogram > 0, mean / histogram.clamp(min=1e-12), torch.zeros_like(mean))
    return ratio / ratio.sum().clamp(min=1e-12)


def _check_classes(task: Task, fairness_weight: float) -> None:
    share = torch.full((task.groups,), 1 / task.groups)
    try:
        task.reweigh(share[None], share)  # refused where there are no classes
    except ValueError as error:
        raise ValueError(f"fairness_weight is {fairness_weight}, but joints have no class shares; set 0") from error
