"""Teacher-Reviewer-Student: Yun et al., 2025, arXiv:2501.09565.

Algorithm: 1. a teacher and a slower reviewer both predict the weak view; 2. the student learns labels and, on its
strong view, what either of them says; 3. the student steps; 4. teacher and reviewer follow.

It is the mean teacher with a second teacher. Only the abstract and the opening of the paper could be read: it says that
the reviewer stores historical parameters and gives a second supervision signal. What is a reconstruction here: both are
moving averages; the reviewer follows the student or the teacher (``follows``); the two signals are weighted 1 :
``review``. Left out: multi-level features. Keypoint-Mix is ``selftrain.mix.KeypointMix``.
"""

from __future__ import annotations

import copy
from typing import Literal

import torch
from torch import Tensor

from selftrain.mix import Mix, blend
from selftrain.networks.ema import Buffers, Teacher
from selftrain.networks.student import MakeLearner
from selftrain.schedule import Schedule
from selftrain.select import Selector
from selftrain.select.alignment import Align
from selftrain.strategies.mean_teacher import MeanTeacher
from selftrain.strategy.base import Predictor
from selftrain.strategy.pseudo_labeling import Distance, PseudoLabel, PseudoLabeling
from selftrain.tasks import Task, relative
from selftrain.types import Batch, Clock, PseudoLabels, Report


class ReviewedTeacher(MeanTeacher):
    """Learn from a teacher and from a slower reviewer that remembers more of the past.

    The other settings are explained in ``MeanTeacher`` and ``PseudoLabeling``; thresholds and priors are kept for
    teacher and reviewer separately.

    Args:
        task: Kind of output.
        make_learner: Builds the student.
        review_decay: EMA decay of the reviewer, in [0, 1]; above the teacher's ``decay`` to be the slower one.
        follows: Whose weights the reviewer averages: ``"student"`` (a second, longer mean of the same weights) or
            ``"teacher"`` (a mean of means: smoother, and later).
        review: Weight of the reviewer's signal beside the teacher's 1, >= 0; 0: mean teacher.

    Raises:
        ValueError: for a negative ``review``, an unknown ``follows`` or a decay outside [0, 1].
    Gradient: to the student. Both signals are blended into one target, which has the gradient of their sum.
    """

    def __init__(
        self,
        task: Task,
        make_learner: MakeLearner,
        *,
        review_decay: float = 0.9999,
        follows: Literal["student", "teacher"] = "student",
        review: float = 1.0,
        decay: float = 0.999, buffers: Buffers = "ema", unlabeled_weight: float = 10.0, rampup: Schedule | None = None,
        distance: Distance = "mse", select: Selector | None = None, hard: bool = False, temperature: float = 1.0,
        align: Align | None = None, align_targets: bool = True, mix: Mix | None = None, together: bool = True,
    ) -> None:  # fmt: skip
        super().__init__(
            task, make_learner, decay=decay, buffers=buffers, unlabeled_weight=unlabeled_weight, rampup=rampup,
            distance=distance, select=select, hard=hard, temperature=temperature, align=align,
            align_targets=align_targets, mix=mix, together=together,
        )  # fmt: skip
        if follows not in ("student", "teacher"):
            raise ValueError(f"follows is {follows!r}; choose 'student' or 'teacher'")
        if not review >= 0:
            raise ValueError(f"review is {review}; it must be 0 or more")
        self.reviewer = Teacher(self.student, review_decay, buffers=buffers)
        self.reviewer_labeling: PseudoLabeling = copy.deepcopy(self.pseudo_labeling)
        self.follows, self.review = follows, review

    def step(self, batch: Batch, clock: Clock, *extra: Batch) -> Report:
        """One student step under both, then both follow."""
        weak, strong = batch.unlabeled["weak"], batch.unlabeled["strong"]
        # Two signals, each judged by the thresholds of who gives it: the slower one is less sure at first.
        signals = []
        for network, labeling in ((self.teacher, self.pseudo_labeling), (self.reviewer, self.reviewer_labeling)):
            value = self.task.probs(network(weak.x))
            labeled = self.task.probs(network(batch.labeled.x)) if labeling.reads_labeled else None
            signals.append(labeling.make(value, batch.unlabeled.index, labeled))
        pseudo = self.joint(*signals)
        x, target = self.pseudo_labeling.mixed(
            strong.x, self.task.warp(pseudo.target, relative(weak, strong)), batch.labeled, pseudo
        )
        logits, strong_logits = self.student(batch.labeled.x, x, together=self.pseudo_labeling.together)
        supervised = self.task.loss(logits, batch.labeled.target)
        unsupervised = self.pseudo_labeling.loss(strong_logits, target)
        self.advance(supervised + self.pseudo_labeling.weight(clock) * unsupervised)
        return pseudo.report(supervised=supervised, unsupervised=unsupervised)

    def step_labeled(self, batch: Batch, clock: Clock) -> Report:
        """One supervised step; teacher and reviewer follow."""
        loss = self.task.loss(self.student(batch.labeled.x), batch.labeled.target)
        self.advance(loss)
        return Report({"loss/supervised": loss.detach()})

    def advance(self, loss: Tensor) -> None:
        """Update the student; when its weights moved the teacher follows, then the reviewer."""
        if self.student.update(loss):
            self.teacher.update(self.student.model)
            self.reviewer.update(self.student.model if self.follows == "student" else self.teacher.model)

    def joint(self, taught: PseudoLabel, reviewed: PseudoLabel) -> PseudoLabel:
        """Both pseudo-labels as one, of weight ``w_teacher + review * w_reviewer``."""
        share, total = 1 / (1 + self.review), 1 + self.review
        target = blend(taught.target, reviewed.target, share, self.task).scaled(total)
        both = torch.stack([taught.labels.value, reviewed.labels.value])
        agreement = self.task.agree(both).to(target.weight).mean(0)
        return PseudoLabel(target, PseudoLabels(taught.labels.index, taught.labels.value, target.weight, agreement))

    def predictors(self) -> dict[str, Predictor]:
        """Teacher, student and reviewer."""
        return super().predictors() | {"reviewer": lambda x: self.task.probs(self.reviewer(x))}
