"""Curriculum Labeling.

Cascante-Bonilla et al., "Curriculum Labeling: Revisiting Pseudo-Labeling for Semi-Supervised Learning", AAAI 2021,
arXiv:2001.06001.

Algorithm: 1. train on labels alone; 2. label every unlabeled sample by the best checkpoint of the round; 3. keep those
at or above the percentile 100 - 20 r of *all* confidences in round r = 1 to 5; 4. build the network anew and train it
on labels and kept decisions, mixed with one another (mixup); 5. ship the round that is best on validation.

A strategy is one round, step 4; ``selftrain.pipeline.curriculum_labeling`` is the whole. Left out: the class weights
that the released code computes anew each round (``labels.balanced()`` lets predicted classes count alike). Differs: an
EMA of the weights where the code averages them every 5 epochs from epoch 200 (SWA).
"""

from __future__ import annotations

from dataclasses import replace

import torch

from selftrain.labels.table import PseudoLabelTable
from selftrain.mix import cat, mixup, pick
from selftrain.networks.ema import Buffers
from selftrain.networks.student import MakeLearner
from selftrain.strategy.single import SingleStudent
from selftrain.tasks import Task
from selftrain.types import Batch, Clock, Report


class CurriculumLabeling(SingleStudent):
    """Train a fresh network on labels and on a frozen teacher's kept decisions as one set, with mixup.

    Source: the paper's step of one round. Kept samples join the labeled ones; samples without a kept unit are not
    shown, other units not counted, and the loss is the mean over the rest. Defaults are those of the released code:
    hard labels, mixup with alpha 1, strong augmentation of all samples. Differs: its batches are drawn from the whole
    joint set; here ``BatchPlan`` sets the ratio (``unlabeled_ratio`` = unlabeled over labeled samples is theirs in
    expectation).

    Args:
        task: Kind of output.
        make_learner: Builds the student; from scratch in the paper, so no ``init_from``.
        labels: The last round's labels, ``label_pile(teacher, pile).top_percent(20 * round)``.
        hard: Whether decisions or the stored values are the targets.
        alpha: Mixup concentration, >= 0; 0 turns mixup off.
        view: View that labeled and unlabeled samples are shown in.
        labeled_view: Another view for the labeled ones; ``None``: ``view``.
        decay: EMA decay of the shipped teacher; ``None``: ship the student.
        buffers: See ``Teacher``.
    Gradient: to the student, through the one pass of the mixed batch.

    Raises:
        ValueError: for a negative ``alpha``.
    """

    def __init__(
        self,
        task: Task,
        make_learner: MakeLearner,
        *,
        labels: PseudoLabelTable,
        hard: bool = True,
        alpha: float = 1.0,
        view: str = "strong",
        labeled_view: str | None = None,
        decay: float | None = 0.999,
        buffers: Buffers = "ema",
    ) -> None:
        super().__init__(task, make_learner, decay=decay, buffers=buffers)
        if not alpha >= 0:
            raise ValueError(f"alpha is {alpha}; it must be 0 or more")
        self.labels, self.hard, self.alpha = labels, hard, alpha
        self.views, self.labeled_view = (view,), labeled_view or view

    def step(self, batch: Batch, clock: Clock, *extra: Batch) -> Report:
        """One gradient step on the mixture of labeled and kept samples."""
        labeled, view = batch.labeled, batch.unlabeled[self.views[0]]
        # The last round's labels; what the percentile did not keep weighs 0.
        pseudo = self.labels.pseudo_label(batch.unlabeled.index, hard=self.hard)
        target = self.task.warp(pseudo.target, view)
        # Kept samples join the labeled ones as if they were: others are not shown, other units not counted, and
        # so the mean is over labeled and kept units alike.
        target = replace(target, valid=target.mask() * target.weight > 0)
        kept = (target.mask() > 0).reshape(len(target.weight), -1).any(1)
        x = torch.cat([labeled.x, view.x[kept]])
        mixed, joint = mixup(x, cat(labeled.target, pick(target, kept)), self.task, alpha=self.alpha)
        logits, n = self.student(mixed), len(labeled.x)
        loss = self.task.loss(logits, joint)
        with torch.no_grad():  # its two parts, by the sample that each mixture is named after: for the log alone
            supervised = self.task.loss(logits[:n], pick(joint, slice(None, n)))
            unsupervised = self.task.loss(logits[n:], pick(joint, slice(n, None)))
        if self.student.update(loss) and self.ema is not None:
            self.ema.update(self.student.model)
        return pseudo.report(supervised=supervised, unsupervised=unsupervised)
