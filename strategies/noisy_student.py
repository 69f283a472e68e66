"""Noisy Student.

Xie et al., "Self-training with Noisy Student improves ImageNet classification", CVPR 2020, arXiv:1911.04252.

Algorithm: 1. a frozen teacher labels every unlabeled sample once, without noise (``label_pile``); 2. labels below a
threshold are dropped, classes balanced; 3. a student as large or larger learns labels and stored labels, both under
noise: the strong view, dropout and what else its network has; 4. the student becomes the next teacher, three times.

A strategy is one generation, step 3; ``selftrain.pipeline.noisy_student`` is the whole. Left out: training at one
resolution and fine-tuning at a larger one. Stochastic depth belongs to the network, label smoothing to the task.
"""

from __future__ import annotations

import torch

from selftrain.labels.table import PseudoLabelTable
from selftrain.networks.ema import Buffers
from selftrain.networks.student import MakeLearner
from selftrain.schedule import Schedule, ramp_linear
from selftrain.strategy.single import SingleStudent
from selftrain.tasks import Task
from selftrain.types import Batch, Clock, Report


class NoisyStudent(SingleStudent):
    """Learn labels and a frozen teacher's labels of the strong view.

    Source: the paper's algorithm 1: the mean loss on labels plus the mean loss on pseudo-labels. Defaults are those of
    the paper and its scripts: soft labels at temperature 1, equal weights, EMA 0.9999, the labeled samples under the
    same noise. The paper's table is ``label_pile(teacher, pile).above(0.3).balanced(130_000).normalized()``; in its
    scripts the unlabeled batch is 1 (EfficientNet-B0) to 3 times (B1 to B7) the labeled one (``BatchPlan``).

    Args:
        task: Kind of output.
        make_learner: Builds the student: the network may be another than the teacher's.
        labels: The teacher's labels of the pile's unlabeled samples.
        hard: Whether decisions or the stored values are the targets.
        labeled_weight: Factor of the supervised loss, >= 0; 0: labeled samples are not even looked at, for a stage on
            pseudo-labels alone.
        unlabeled_weight: Factor of the unsupervised loss, >= 0.
        rampup: Growth of that factor; ``None``: at full height from the start.
        together: One concatenated pass for labeled and unlabeled samples (one set of BatchNorm statistics), or two.
        labeled_view: View that labeled samples are shown in.
        decay: EMA decay of the shipped teacher; ``None``: ship the student.
        buffers: See ``Teacher``.
    Gradient: to the student, through both passes.

    Raises:
        ValueError: for a negative weight.
    """

    views = ("strong",)

    def __init__(
        self,
        task: Task,
        make_learner: MakeLearner,
        *,
        labels: PseudoLabelTable,
        hard: bool = False,
        labeled_weight: float = 1.0,
        unlabeled_weight: float = 1.0,
        rampup: Schedule | None = None,
        together: bool = True,
        labeled_view: str = "strong",
        decay: float | None = 0.9999,
        buffers: Buffers = "ema",
    ) -> None:
        super().__init__(task, make_learner, decay=decay, buffers=buffers)
        for name, weight in (("labeled_weight", labeled_weight), ("unlabeled_weight", unlabeled_weight)):
            if not weight >= 0:
                raise ValueError(f"{name} is {weight}; it must be 0 or more")
        self.labels, self.hard, self.together, self.labeled_view = labels, hard, together, labeled_view
        self.labeled_weight, self.unlabeled_weight = labeled_weight, unlabeled_weight
        self.rampup = rampup or ramp_linear(0)

    def step(self, batch: Batch, clock: Clock, *extra: Batch) -> Report:
        """Learn labels and stored labels under noise."""
        strong = batch.unlabeled["strong"]
        # y~_i: what the teacher said once, without noise, of the plain image; it follows the noised view.
        pseudo = self.labels.pseudo_label(batch.unlabeled.index, hard=self.hard)
        target = self.task.warp(pseudo.target, strong)
        weight = self.unlabeled_weight * self.rampup(clock.progress)
        if self.labeled_weight == 0:
            # On pseudo-labels alone labeled samples are not looked at: they would move the BatchNorm statistics.
            unsupervised = self.task.loss(self.student(strong.x), target)
            supervised, loss = torch.zeros_like(unsupervised), weight * unsupervised
        else:
            # (1/n) sum l(y_i, f_noised(x_i)) + (1/m) sum l(y~_i, f_noised(x~_i))
            logits, strong_logits = self.student(batch.labeled.x, strong.x, together=self.together)
            supervised = self.task.loss(logits, batch.labeled.target)
            unsupervised = self.task.loss(strong_logits, target)
            loss = self.labeled_weight * supervised + weight * unsupervised
        if self.student.update(loss) and self.ema is not None:
            self.ema.update(self.student.model)
        return pseudo.report(supervised=supervised, unsupervised=unsupervised)
