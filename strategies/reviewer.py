"""Teacher-Reviewer-Student: Yun et al., 2025, arXiv:2501.09565.

Algorithm: 1. a teacher and a slower reviewer both predict the weak view; 2. the student learns labels and, on its
strong view, what either of them says; 3. the student steps; 4. teacher and reviewer follow.

Only the abstract and the opening of the paper could be read: it says that the reviewer stores historical parameters and
gives a second supervision signal. What is a reconstruction here: both followers are moving averages; the reviewer
follows the student or the teacher (``follows``); the two signals are weighted 1 : ``review``. Left out: multi-level
features. Keypoint-Mix is ``selftrain.mix.KeypointMix``.
"""

from __future__ import annotations

import copy
from typing import Any, Literal

import torch
from torch import Tensor

from selftrain.mix import blend
from selftrain.networks.ema import Teacher
from selftrain.networks.student import MakeLearner
from selftrain.strategy.base import Predictor
from selftrain.strategy.losses import Guess
from selftrain.strategy.pseudo_labeling import Lesson
from selftrain.strategy.single import TeacherGuided
from selftrain.tasks import Task
from selftrain.types import Batch, Clock, PseudoLabels, Report


class ReviewedTeacher(TeacherGuided):
    """Learn from a teacher and from a slower reviewer that remembers more of the past.

    Args:
        task: Kind of output.
        make_learner: Builds the student.
        review_decay: EMA decay of the reviewer, in [0, 1]; above the teacher's ``decay`` to be the slower one.
        follows: Whose weights the reviewer averages: ``"student"`` (a second, longer mean of the same weights) or
            ``"teacher"`` (a mean of means: smoother, and later).
        review: Weight of the reviewer's signal beside the teacher's 1, >= 0; 0: mean teacher.
        settings: See ``TeacherGuided`` and ``Lesson``; thresholds and priors are kept for both separately.

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
        **settings: Any,
    ) -> None:
        super().__init__(task, make_learner, **settings)
        if follows not in ("student", "teacher"):
            raise ValueError(f"follows is {follows!r}; choose 'student' or 'teacher'")
        if not review >= 0:
            raise ValueError(f"review is {review}; it must be 0 or more")
        self.reviewer = Teacher(self.student, review_decay, buffers=settings.get("buffers", "ema"))
        self.second: Lesson = copy.deepcopy(self.lesson)
        self.follows, self.review = follows, review

    def step(self, batch: Batch, clock: Clock, *extra: Batch) -> Report:
        """One student step under both, then both follow."""
        guess = self.joint(self.lesson.guess(self.taught, batch), self.second.guess(self.reviewed, batch))
        outcome = self.lesson.loss(self.student, batch, guess, clock)
        self.advance(outcome.loss)
        return outcome.report()

    def advance(self, loss: Tensor) -> None:
        """Update the student; when its weights moved the teacher follows, then the reviewer."""
        if self.student.update(loss):
            self.teacher.update(self.student.model)
            self.reviewer.update(self.student.model if self.follows == "student" else self.teacher.model)

    def joint(self, taught: Guess, reviewed: Guess) -> Guess:
        """Both pseudo-labels as one, of weight ``w_teacher + review * w_reviewer``."""
        share, total = 1 / (1 + self.review), 1 + self.review
        target = blend(taught.target, reviewed.target, share, self.task).scaled(total)
        both = torch.stack([taught.labels.value, reviewed.labels.value])
        agreement = self.task.agree(both).to(target.weight).mean(0)
        return Guess(target, PseudoLabels(taught.labels.index, taught.labels.value, target.weight, agreement))

    def reviewed(self, x: Tensor) -> Tensor:
        """What the present reviewer says of inputs, without gradient."""
        return self.task.probs(self.reviewer(x))

    def predictors(self) -> dict[str, Predictor]:
        """Teacher, student and reviewer."""
        return super().predictors() | {"reviewer": self.reviewed}
