"""AdaMatch.

Berthelot et al., "AdaMatch: A Unified Approach to Semi-Supervised Learning and Domain Adaptation", ICLR 2022,
arXiv:2106.04732.

Algorithm: 1. the student predicts the labeled and the weak unlabeled samples; 2. the unlabeled predictions are aligned
to the mean prediction on labeled ones; 3. a sample is used when its confidence reaches a share of the mean confidence
on labeled samples; 4. logits of labeled samples are a random mixture, number by number, of those from a pass with all
samples and from a pass with labeled ones alone (two sets of BatchNorm statistics); 5. supervised loss + mu(t) x the
loss of the strong view under the aligned predictions.

Left out: strong views of labeled samples. Differs: predictions to be aligned come from a pass of their own without
gradient. The pass with labeled samples alone leaves the running statistics of BatchNorm as they are.
"""

from __future__ import annotations

import math
from typing import Any

import torch

from selftrain.networks.student import MakeLearner
from selftrain.schedule import Schedule
from selftrain.select import Relative
from selftrain.select.alignment import Align
from selftrain.strategy.losses import Outcome
from selftrain.strategy.single import SelfGuided
from selftrain.tasks import Task
from selftrain.types import Batch, Clock


def half_cosine(progress: float) -> float:
    """mu(t): from 0 to 1 along a cosine over the first half of the stage (the paper's eq. 6)."""
    return 0.5 - math.cos(min(math.pi, 2 * math.pi * progress)) / 2


class AdaMatch(SelfGuided):
    """Learn the strong view from aligned predictions that are nearly as sure as those on labeled samples.

    Source: the paper's sections 3.1 to 3.4 (see ``selftrain.select.Relative`` and ``Align``). Defaults: relative
    threshold 0.9, soft aligned targets, weight mu(t), decay 0.999.

    Args:
        task: Kind of output.
        make_learner: Builds the student.
        threshold: Share of the labeled samples' mean confidence that is needed, in (0, 1].
        aligned: Align to the predictions on labeled samples; joints have no prior, so keypoints need ``False``.
        align_decay: Share of the old mean predictions that stays at each step, in [0, 1); 0: the batch alone.
        interpolate: Mix the labeled logits of the two passes at random; without it one pass is made.
        rampup: mu(t); ``None``: the paper's half cosine.
        hard: Whether the decision or the aligned prediction is the target.
        settings: See ``SelfGuided`` and ``Lesson``: label_mode, decay, buffers, unlabeled_weight, distance,
            temperature, mix, together.
    """

    def __init__(
        self,
        task: Task,
        make_learner: MakeLearner,
        *,
        threshold: float = 0.9,
        aligned: bool = True,
        align_decay: float = 0.999,
        interpolate: bool = True,
        rampup: Schedule | None = None,
        hard: bool = False,
        **settings: Any,
    ) -> None:
        align = Align(task, target="labeled", decay=align_decay) if aligned else None
        ramp, rule = rampup or half_cosine, Relative(threshold)
        super().__init__(task, make_learner, select=rule, align=align, rampup=ramp, hard=hard, **settings)
        self.interpolate = interpolate

    def objective(self, batch: Batch, clock: Clock) -> Outcome:
        """Loss with randomly interpolated logits of the labeled samples."""
        guess = self.lesson.guess(self.look, batch)
        x, target = self.lesson.exercise(batch, guess.target, "weak", "strong")
        logits, learned = self.lesson.answers(self.student, batch.labeled.x, x)
        if self.interpolate:
            with self.student.untracked():
                alone = self.student(batch.labeled.x)
            share = torch.rand_like(logits)
            logits = share * logits + (1 - share) * alone
        return self.lesson.grade(logits, learned, batch.labeled, target, guess, clock)
