"""Teacher-Reviewer-Student: Yun et al., 2025, arXiv:2501.09565.

Algorithm: 1. a teacher and a slower reviewer both predict the weak view; 2. the student learns labels and, on its
strong view, what either of them says; 3. the student steps; 4. teacher and reviewer follow.

It is the mean teacher with a second teacher. Only the abstract and the opening of the paper could be read: it says that
the reviewer stores historical parameters and gives a second supervision signal. What is a reconstruction here: both are
moving averages; the reviewer follows the student or the teacher (``follows``); the two signals are weighted 1 :
``review``. Multi-level features (``levels``) are one, too: of a network that answers at several levels each learns the
labels, and what teacher and reviewer say at that level. Keypoint-Mix is ``selftrain.mix.KeypointMix``.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from selftrain.errors import DataError
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
from selftrain.types import Batch, Clock, PseudoLabels, Report, Target


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
        levels: Weight of each further level of the network beside the 1 of its logits, each >= 0, such as ``(0.5,
            0.25)`` for ``PoseNet(..., levels=3)``; ``()``: its logits alone. What is shipped, and what the ledger
            hears, are the logits.

    Raises:
        ValueError: for a negative ``review`` or weight, an unknown ``follows`` or a decay outside [0, 1].
        DataError: from ``fit``, if the network answers at another number of levels.
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
        levels: Sequence[float] = (),
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
        if not all(weight >= 0 for weight in levels):
            raise ValueError(f"levels is {levels}; each weight must be 0 or more")
        self.reviewer = Teacher(self.student, review_decay, buffers=buffers)
        self.reviewer_labeling: PseudoLabeling = copy.deepcopy(self.pseudo_labeling)
        rules = (self.pseudo_labeling, self.reviewer_labeling)
        # of each further level, as of the first: one network is less sure at one level than at another
        self.level_labelings = nn.ModuleList(nn.ModuleList(map(copy.deepcopy, rules)) for _ in levels)
        self.follows, self.review, self.level_weights = follows, review, (1.0, *levels)

    def step(self, batch: Batch, clock: Clock, *extra: Batch) -> Report:
        """One student step under both, at each level, then both follow."""
        weak, strong, labeling = batch.unlabeled["weak"], batch.unlabeled["strong"], self.pseudo_labeling
        said = [network.levels(weak.x) for network in (self.teacher, self.reviewer)]
        known = []
        if labeling.reads_labeled:
            known = [network.levels(batch.labeled.x) for network in (self.teacher, self.reviewer)]
        pseudo = []
        for k, rules in enumerate(self.rules):
            # Two signals, each judged by the thresholds of who gives it: the slower one is less sure at first.
            signals = []
            for i, rule in enumerate(rules):
                labeled = self.task.probs(known[i][k]) if known else None
                signals.append(rule.make(self.task.probs(said[i][k]), batch.unlabeled.index, labeled))
            pseudo.append(self.joint(*signals))
        # All levels see one mixture of the strong view.
        targets = [self.task.warp(each.target, relative(weak, strong)) for each in pseudo]
        mixed = labeling.mixed_alike(strong.x, targets, batch.labeled, pseudo[0])
        logits, strong_logits = self.student.levels(batch.labeled.x, mixed[0][0], together=labeling.together)
        supervised = self.loss_of_levels(logits, batch.labeled.target)
        unsupervised = self._weighed(
            [labeling.loss(own, target) for own, (_, target) in zip(strong_logits, mixed, strict=False)]
        )
        self.advance(supervised + labeling.weight(clock) * unsupervised)
        return pseudo[0].report(supervised=supervised, unsupervised=unsupervised)

    def step_labeled(self, batch: Batch, clock: Clock) -> Report:
        """One supervised step; teacher and reviewer follow."""
        (logits,) = self.student.levels(batch.labeled.x)
        loss = self.loss_of_levels(logits, batch.labeled.target)
        self.advance(loss)
        return Report({"loss/supervised": loss.detach()})

    def check_networks(self, x: Tensor) -> None:
        """Refuse networks as other strategies do, and one with another number of levels."""
        super().check_networks(x)
        with self.evaluating():
            found = len(self.teacher.levels(x))
        wanted = len(self.level_weights)
        # without weights further levels are left aside, as by any other strategy
        if wanted > 1 and found != wanted:
            raise DataError(
                f"the network answers at {found} levels, and levels has {wanted - 1} weights beside that of the "
                f"logits; give {found - 1}, or a network with levels for them: PoseNet(..., levels={wanted})"
            )

    @property
    def rules(self) -> list[Any]:
        """At each level the rules of the teacher and those of the reviewer."""
        return [(self.pseudo_labeling, self.reviewer_labeling), *self.level_labelings]

    def loss_of_levels(self, logits: Sequence[Tensor], target: Target) -> Tensor:
        """The task's loss of each level that is learned, by their weights."""
        return self._weighed([self.task.loss(own, target) for own in logits[: len(self.level_weights)]])

    def _weighed(self, losses: Sequence[Tensor]) -> Tensor:
        total, *more = losses
        for weight, loss in zip(self.level_weights[1:], more, strict=True):
            total = total + weight * loss
        return total

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
