"""AdaMatch.

Berthelot et al., "AdaMatch: A Unified Approach to Semi-Supervised Learning and Domain Adaptation", ICLR 2022,
arXiv:2106.04732.

Algorithm: 1. the student predicts the labeled and the weak unlabeled samples; 2. the unlabeled predictions are aligned
to the mean prediction on labeled ones; 3. a sample is used when its confidence reaches a share of the mean confidence
on labeled samples; 4. logits of labeled samples are a random mixture, number by number, of those from a pass with all
samples and from a pass with labeled ones alone (two sets of BatchNorm statistics); 5. supervised loss + mu(t) x the
loss of the strong view under the aligned predictions.

It is FixMatch with another threshold (``selftrain.select.Relative``), aligned labels (``Align``) and interpolated
logits, so the step is written out. Left out: strong views of labeled samples. Differs: predictions to be aligned come
from passes of their own in evaluation mode, there from the training pass (``label_mode="train"``, docs/passes.md), and
labeled ones before the interpolation, there behind it. Targets are the aligned predictions; the released code learns
their decisions (``hard=True``). Both mean predictions are moving ones of 0.999; the paper's are of the batch
(``align_decay=0``), the released code's of 0.999 for labeled and of 128 batches for unlabeled samples. The pass with
labeled samples alone leaves the running statistics of BatchNorm as they are.
"""

from __future__ import annotations

import math

import torch

from selftrain.mix import Mix
from selftrain.networks.ema import Buffers
from selftrain.networks.student import LabelMode, MakeLearner
from selftrain.schedule import Schedule
from selftrain.select import Relative
from selftrain.select.alignment import Align
from selftrain.strategies.fixmatch import FixMatch
from selftrain.strategy.pseudo_labeling import Distance
from selftrain.tasks import Task, has_classes, relative
from selftrain.types import Batch, Clock, Report


def half_cosine(progress: float) -> float:
    """mu(t): from 0 to 1 along a cosine over the first half of the stage (the paper's eq. 6)."""
    return 0.5 - math.cos(min(math.pi, 2 * math.pi * progress)) / 2


class AdaMatch(FixMatch):
    """Learn the strong view from aligned predictions that are nearly as sure as those on labeled samples.

    Source: the paper's sections 3.1 to 3.4. Defaults: relative threshold 0.9, soft aligned targets, weight mu(t), decay
    0.999. The other settings are explained in ``FixMatch`` and ``PseudoLabeling``.

    Args:
        task: Kind of output.
        make_learner: Builds the student.
        threshold: Share of the labeled samples' mean confidence that is needed, in (0, 1].
        aligned: Align to the predictions on labeled samples. ``None``: unless they are joints, which have no prior.
        align_decay: Share of the old mean predictions that stays at each step, in [0, 1); 0: the batch alone.
        interpolate: Mix the labeled logits of the two passes at random; without it one pass is made.
        rampup: mu(t); ``None``: the paper's half cosine.
        hard: Whether the decision or the aligned prediction is the target.
    """

    def __init__(
        self,
        task: Task,
        make_learner: MakeLearner,
        *,
        threshold: float = 0.9,
        aligned: bool | None = None,
        align_decay: float = 0.999,
        interpolate: bool = True,
        rampup: Schedule | None = None,
        hard: bool = False,
        temperature: float = 1.0, align_targets: bool = True, mix: Mix | None = None, distance: Distance = "ce",
        unlabeled_weight: float = 1.0, together: bool = True, label_mode: LabelMode = "eval",
        decay: float | None = 0.999, buffers: Buffers = "ema",
    ) -> None:  # fmt: skip
        aligned = has_classes(task) if aligned is None else aligned
        align = Align(task, target="labeled", decay=align_decay) if aligned else None
        super().__init__(
            task, make_learner, select=Relative(threshold), align=align, align_targets=align_targets, hard=hard,
            temperature=temperature, mix=mix, distance=distance, unlabeled_weight=unlabeled_weight,
            rampup=rampup or half_cosine, together=together, label_mode=label_mode, decay=decay, buffers=buffers,
        )  # fmt: skip
        self.interpolate = interpolate

    def step(self, batch: Batch, clock: Clock, *extra: Batch) -> Report:
        """One student step under aligned labels, with randomly interpolated logits of the labeled samples."""
        weak, strong = batch.unlabeled["weak"], batch.unlabeled["strong"]
        # Section 3.2 and 3.3: align to the source (labeled) samples, keep what is nearly as sure as they are.
        y_target = self.task.probs(self.student.label(weak.x, self.label_mode))
        y_source = self.task.probs(self.student.label(batch.labeled.x, self.label_mode))
        pseudo = self.pseudo_labeling.make(y_target, batch.unlabeled.index, y_source)
        x, target = self.pseudo_labeling.mixed(
            strong.x, self.task.warp(pseudo.target, relative(weak, strong)), batch.labeled, pseudo
        )
        logits, strong_logits = self.student(batch.labeled.x, x, together=self.pseudo_labeling.together)
        if self.interpolate:
            # Section 3.1: lambda Z' + (1 - lambda) Z'', lambda uniform for each logit: with the statistics of all
            # samples and with those of labeled ones alone, which must not move the running statistics a second time
            with self.student.untracked():
                alone = self.student(batch.labeled.x)
            share = torch.rand_like(logits)
            logits = share * logits + (1 - share) * alone
        # L_source + mu(t) L_target
        supervised = self.task.loss(logits, batch.labeled.target)
        unsupervised = self.pseudo_labeling.loss(strong_logits, target)
        if self.student.update(supervised + self.pseudo_labeling.weight(clock) * unsupervised) and self.ema is not None:
            self.ema.update(self.student.model)
        return pseudo.report(supervised=supervised, unsupervised=unsupervised)
