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
from typing import Literal

import torch
from torch import Tensor

from selftrain.labels.table import PseudoLabelTable
from selftrain.mix import cat, mixup
from selftrain.networks.student import MakeLearner
from selftrain.strategy.losses import Guess, Outcome
from selftrain.strategy.single import SoloStrategy
from selftrain.tasks import Task
from selftrain.types import Batch, Clock, Report, Target, View


class CurriculumLabeling(SoloStrategy):
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
        decay: float | None = 0.999,
        buffers: Literal["copy", "ema"] = "ema",
    ) -> None:
        super().__init__(task, make_learner, decay=decay, buffers=buffers)
        if not alpha >= 0:
            raise ValueError(f"alpha is {alpha}; it must be 0 or more")
        self.labels, self.hard, self.alpha = labels, hard, alpha
        self.views, self.labeled_view = (view,), view

    def step(self, batch: Batch, clock: Clock, *extra: Batch) -> Report:
        """One gradient step on the mixture of labeled and kept samples."""
        guess = self.labels.guess(batch.unlabeled.index, hard=self.hard)
        outcome = self._objective(batch, guess)
        self.advance(outcome.loss)
        return outcome.report()

    def _objective(self, batch: Batch, guess: Guess) -> Outcome:
        """Loss of the joint set, and its two parts by the sample that each mixture is named after."""
        given, (x, kept) = batch.labeled, self._kept(batch.unlabeled[self.views[0]], guess)
        mixed, target = mixup(torch.cat([given.x, x]), cat(given.target, kept), self.task, alpha=self.alpha)
        logits, n = self.student(mixed), len(given.x)
        with torch.no_grad():
            supervised = self.task.loss(logits[:n], _rows(target, slice(None, n)))
            unsupervised = self.task.loss(logits[n:], _rows(target, slice(n, None)))
        return Outcome(self.task.loss(logits, target), supervised, unsupervised, guess)

    def _kept(self, view: View, guess: Guess) -> tuple[Tensor, Target]:
        """Samples with a kept unit, and their targets in the geometry of the view: other units are not valid."""
        target = self.task.warp(guess.target, view)
        target = replace(target, valid=target.mask() * target.weight > 0)
        rows = (target.mask() > 0).reshape(len(target.weight), -1).any(1)
        return view.x[rows], _rows(target, rows)


def _rows(target: Target, rows: Tensor | slice) -> Target:
    return Target(target.value[rows], target.weight[rows], None if target.valid is None else target.valid[rows])
