"""What methods with one student share: who it is, the average that follows it, and what is shipped."""

from __future__ import annotations

from torch import Tensor, nn

from selftrain.networks.ema import Buffers, Teacher
from selftrain.networks.optim import copied_weights
from selftrain.networks.student import MakeLearner, make_student
from selftrain.strategy.base import Predictor, SupervisedStrategy
from selftrain.tasks import Task
from selftrain.types import Batch, Clock, Report


class SingleStudent(SupervisedStrategy):
    """One student, and usually an exponential moving average (EMA) of its weights that is shipped.

    The step is what a method writes itself; here is what it builds on, and the step without unlabeled samples.

    Args:
        task: Kind of output.
        make_learner: Builds the student.
        decay: EMA decay, in [0, 1]; ``None``: no average, the student is shipped.
        buffers: How the average gets its BatchNorm statistics, see ``Teacher``.
    """

    def __init__(
        self, task: Task, make_learner: MakeLearner, *, decay: float | None = 0.999, buffers: Buffers = "ema"
    ) -> None:
        super().__init__(task)
        self.student = make_student(make_learner)
        self.ema = None if decay is None else Teacher(self.student, decay, buffers=buffers)

    def step_labeled(self, batch: Batch, clock: Clock) -> Report:
        """One supervised step; the average follows."""
        loss = self.task.loss(self.student(batch.labeled.x), batch.labeled.target)
        # The average moves with the optimizer step and not with each gathered batch: its decay is one of steps.
        if self.student.update(loss) and self.ema is not None:
            self.ema.update(self.student.model)
        return Report({"loss/supervised": loss.detach()})

    def predictors(self) -> dict[str, Predictor]:
        """The average, if there is one, as ``teacher``, and the student."""
        student: Predictor = lambda x: self.task.probs(self.student.label(x))  # noqa: E731
        if self.ema is None:
            return {"student": student}
        ema = self.ema
        # The order is the choice: `predict` ships the first.
        return {"teacher": lambda x: self.task.probs(ema(x)), "student": student}

    @property
    def shipped(self) -> nn.Module:
        """The network that ``predict`` uses."""
        return self.student.model if self.ema is None else self.ema.model

    def export(self) -> dict[str, Tensor]:
        """Weights of the shipped network."""
        return copied_weights(self.shipped)
