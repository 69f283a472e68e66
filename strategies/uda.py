"""UDA: Xie et al., "Unsupervised Data Augmentation for Consistency Training", NeurIPS 2020, arXiv:1904.12848.

Algorithm: 1. the student predicts the weak view; 2. predictions at or above a threshold are sharpened and learned,
soft, on the strong view; 3. training signal annealing (TSA): labeled samples that are already predicted better than a
rising limit are left out, so that few labels are not overfitted.

Left out: back-translation (text). Differs: sums are divided by the whole batch, not by what is kept; the weak view has
a pass of its own in evaluation mode (``label_mode``, as in ``fixmatch.py``).
"""

from __future__ import annotations

import math
from typing import Literal

from torch import Tensor

from selftrain.mix import Mix
from selftrain.networks.ema import Buffers
from selftrain.networks.student import LabelMode, MakeLearner, check_label_mode
from selftrain.schedule import Schedule
from selftrain.select import Selector, above
from selftrain.select.alignment import Align
from selftrain.strategy.pseudo_labeling import Distance, PseudoLabeling
from selftrain.strategy.single import SingleStudent
from selftrain.tasks import Task, has_classes, relative
from selftrain.types import Batch, Clock, Labeled, Report

Annealing = Literal["linear", "log", "exp"]
_RISE: dict[str, Schedule] = {
    "linear": lambda t: t,
    "log": lambda t: 1 - math.exp(-5 * t),
    "exp": lambda t: math.exp(5 * (t - 1)),
}


class UDA(SingleStudent):
    """Learn the strong view from sharpened predictions of the weak one; anneal the signal of the labels.

    Source: the paper's eq. 1 and section 2.2, 3.3. Defaults: threshold 0.8, temperature 0.4, weight 1, no annealing (as
    there on CIFAR), decay 0.999. The other settings are explained in ``PseudoLabeling`` and ``SingleStudent``.

    Args:
        task: Kind of output.
        make_learner: Builds the student.
        select: Rule from confidence to weight; ``None``: ``above(0.8)``.
        temperature: Sharpening of the soft targets, in (0, 1] for sharper ones.
        annealing: Rise of the TSA limit from 1 / choices to 1: ``"linear"``, ``"log"`` (fast) or ``"exp"`` (late);
            ``None``: all labels count always. It compares probabilities, so keypoints need ``None``.
        label_mode: How the labeling pass treats BatchNorm and dropout, see ``Learner.label``.

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
        hard: bool = False, align: Align | None = None, align_targets: bool = True, mix: Mix | None = None,
        distance: Distance = "ce", unlabeled_weight: float = 1.0, rampup: Schedule | None = None,
        together: bool = True, label_mode: LabelMode = "eval", decay: float | None = 0.999, buffers: Buffers = "ema",
    ) -> None:  # fmt: skip
        super().__init__(task, make_learner, decay=decay, buffers=buffers)
        if annealing is not None and annealing not in _RISE:
            raise ValueError(f"annealing is {annealing!r}; choose 'linear', 'log', 'exp' or None")
        if annealing is not None and not has_classes(task):
            raise ValueError(f"annealing is {annealing!r}, but joints have no class probabilities; set None")
        self.annealing, self.label_mode = annealing, check_label_mode(label_mode)
        self.pseudo_labeling = PseudoLabeling(
            task, select=select or above(0.8), hard=hard, temperature=temperature, align=align,
            align_targets=align_targets, mix=mix, distance=distance, unlabeled_weight=unlabeled_weight, rampup=rampup,
            together=together,
        )  # fmt: skip

    def step(self, batch: Batch, clock: Clock, *extra: Batch) -> Report:
        """Label the weak view, learn the strong one, leave out labels that are known too well."""
        weak, strong = batch.unlabeled["weak"], batch.unlabeled["strong"]
        # p_theta~(y | x): a fixed copy of the parameters, which is what a pass without gradient is
        p = self.task.probs(self.student.label(weak.x, self.label_mode))
        labeled = None
        if self.pseudo_labeling.reads_labeled:
            labeled = self.task.probs(self.student.label(batch.labeled.x, self.label_mode))
        # Section 3.3: masked by confidence, then sharpened with the temperature
        pseudo = self.pseudo_labeling.make(p, batch.unlabeled.index, labeled)
        x, target = self.pseudo_labeling.mixed(
            strong.x, self.task.warp(pseudo.target, relative(weak, strong)), batch.labeled, pseudo
        )
        logits, strong_logits = self.student(batch.labeled.x, x, together=self.pseudo_labeling.together)
        # Section 2.2 (TSA): the gradient may not change which labels are left out, so the signal is detached.
        labels = batch.labeled.target
        if self.annealing is not None:
            labels = labels.scaled(self.signal(self.task.probs(logits).detach(), batch.labeled, clock))
        # Eq. 1: J = supervised cross-entropy + lambda x consistency
        supervised = self.task.loss(logits, labels)
        unsupervised = self.pseudo_labeling.loss(strong_logits, target)
        if self.student.update(supervised + self.pseudo_labeling.weight(clock) * unsupervised) and self.ema is not None:
            self.ema.update(self.student.model)
        return pseudo.report(supervised=supervised, unsupervised=unsupervised)

    def signal(self, value: Tensor, labeled: Labeled, clock: Clock) -> Tensor:
        """Weight 1.0 where the probability of the true class is at most the limit of this moment, else 0.0.

        Args:
            value: Probabilities of the labeled samples, shape (B, C, *S).
            labeled: The labeled samples.
            clock: Says how far the limit has risen.
        """
        assert self.annealing is not None  # asked only with an annealing
        least = 1 / value.shape[1]  # 1 / K: what a guess at random has
        limit = _RISE[self.annealing](clock.progress) * (1 - least) + least
        right: Tensor = (value * labeled.target.value).sum(1)
        return (right <= limit).to(value)
