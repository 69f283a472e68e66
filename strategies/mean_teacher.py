"""Mean Teacher: Tarvainen & Valpola, "Mean teachers are better role models", NeurIPS 2017, arXiv:1703.01780.

Algorithm: 1. the teacher predicts the weak view; 2. the student predicts labels and the strong view; 3. supervised loss
+ w(t) x squared difference between student and teacher; 4. student step; 5. the teacher moves towards the student.

``TwoHeadedMeanTeacher`` is the variant of the authors' ResNet runs: one head learns labels, one agrees with the
teacher.

Left out: noise inside the teacher (ours is in evaluation mode); consistency on labeled samples.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor

from selftrain.networks.student import MakeLearner
from selftrain.strategy.base import Predictor
from selftrain.strategy.single import TeacherGuided
from selftrain.tasks import Task
from selftrain.types import Batch, Clock, Report


class MeanTeacher(TeacherGuided):
    """Make the student agree with the moving average of itself.

    Source: the paper's eq. 1 and 2. Defaults: squared difference of probabilities and sigmoid ramp-up as there; weight
    10 on the mean over classes (the paper's 100 x share of labels, re-implementations' 50).

    Args:
        task: Kind of output.
        make_learner: Builds the student.
        order: ``"after"``: the teacher follows the updated student (the paper); ``"before"``: it takes in the student
            before the step, the self-training baseline of FST (Du et al. 2022). Once an optimizer step, either way.
        settings: See ``TeacherGuided`` and ``Lesson``: decay, buffers, unlabeled_weight, rampup, distance, select,
            hard, temperature, align, align_targets, mix, together.
    """

    def __init__(
        self, task: Task, make_learner: MakeLearner, *, order: Literal["after", "before"] = "after", **settings: Any
    ) -> None:
        super().__init__(task, make_learner, **settings)
        if order not in ("after", "before"):
            raise ValueError(f"order is {order!r}; choose 'after' or 'before'")
        self.order = order

    def step(self, batch: Batch, clock: Clock, *extra: Batch) -> Report:
        """One student step under the teacher's labels, one teacher step."""
        if self.order == "before" and not self.student.gathering:
            self.teacher.update(self.student.model)
        outcome = self.objective(batch, clock)
        if self.student.update(outcome.loss) and self.order == "after":
            self.teacher.update(self.student.model)
        return outcome.report()


class TwoHeadedMeanTeacher(TeacherGuided):
    """Let one head learn the labels and another agree with the teacher, tied to each other by a small cost.

    Source: released code of the paper (logit distance cost 0.01): the teacher's label head is the target of the
    student's second head. The network gives twice the channels: first those of the label head, then those of the other.

    Args:
        task: Kind of output.
        make_learner: Builds the student: (B, ...) -> logits (B, 2 C, *S).
        tie_weight: Factor of the squared difference between the two heads' logits, >= 0.
        settings: See ``TeacherGuided`` and ``Lesson``.

    Raises:
        ValueError: for a negative weight, and at the first step if the network's channels are not twice the task's.
    """

    def __init__(self, task: Task, make_learner: MakeLearner, *, tie_weight: float = 0.01, **settings: Any) -> None:
        super().__init__(task, make_learner, **settings)
        if not tie_weight >= 0:
            raise ValueError(f"tie_weight is {tie_weight}; it must be 0 or more")
        self.tie_weight = tie_weight

    def step(self, batch: Batch, clock: Clock, *extra: Batch) -> Report:
        """One student step with both heads, one teacher step."""
        guess = self.lesson.guess(self.taught, batch)
        x, target = self.lesson.exercise(batch, guess.target, "weak", "strong")
        answers = self.lesson.answers(self.student, batch.labeled.x, x)
        (logits, logits2), (learned, learned2) = (self.heads(a) for a in answers)
        outcome = self.lesson.grade(logits, learned2, batch.labeled, target, guess, clock)
        tie = torch.cat([logits - logits2, learned - learned2]).square().mean()
        self.advance(outcome.plus(self.tie_weight * tie).loss)
        return outcome.report(tie=tie)

    def step_labeled(self, batch: Batch, clock: Clock) -> Report:
        """One supervised step of the label head; the teacher follows."""
        loss = self.task.loss(self.heads(self.student(batch.labeled.x))[0], batch.labeled.target)
        self.advance(loss)
        return Report({"loss/supervised": loss.detach()})

    def taught(self, x: Tensor) -> Tensor:
        """What the teacher's label head says of inputs, without gradient."""
        return self.task.probs(self.heads(self.teacher(x))[0])

    def predictors(self) -> dict[str, Predictor]:
        """The label heads of teacher and student."""
        return {"teacher": self._reader(self.teacher), "student": self._reader(self.student.label)}

    def heads(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (B, 2 C, *S) -> those of the label head and those of the consistency head."""
        channels = logits.shape[1]
        wanted = 2 * self.task.groups
        if channels != wanted:
            raise ValueError(f"the network gives {channels} channels; two heads need {wanted}: twice the task's")
        first, second = logits.chunk(2, 1)
        return first, second

    def _reader(self, network: Callable[[Tensor], Tensor]) -> Predictor:
        return lambda x: self.task.probs(self.heads(network(x))[0])
