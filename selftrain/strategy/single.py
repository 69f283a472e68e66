"""Parts that methods with one student share: what they ship, and how a teacher guides a student."""

from __future__ import annotations

from typing import Any, Literal

from torch import Tensor, nn

from selftrain.networks.ema import Teacher
from selftrain.networks.student import LabelMode, MakeLearner, check_label_mode
from selftrain.schedule import Schedule, ramp_sigmoid
from selftrain.strategy.base import Predictor, SupervisedStrategy
from selftrain.strategy.losses import Outcome
from selftrain.strategy.pseudo_labeling import Distance, Lesson
from selftrain.tasks import Task
from selftrain.types import Batch, Clock, Report


class SoloStrategy(SupervisedStrategy):
    """One student, and usually a teacher that follows it and is shipped.

    Args:
        task: Kind of output.
        make_learner: Builds the student.
        decay: EMA decay of the teacher, in [0, 1]; ``None``: no teacher, the student is shipped.
        buffers: How the teacher gets its BatchNorm statistics, see ``Teacher``.
    """

    def __init__(
        self,
        task: Task,
        make_learner: MakeLearner,
        *,
        decay: float | None = 0.999,
        buffers: Literal["copy", "ema"] = "ema",
    ) -> None:
        super().__init__(task)
        self.student = make_learner()
        self.follower = None if decay is None else Teacher(self.student, decay, buffers=buffers)

    def advance(self, loss: Tensor) -> None:
        """Update the student; the teacher follows when its weights moved."""
        if self.student.update(loss) and self.follower is not None:
            self.follower.update(self.student.model)

    def step_labeled(self, batch: Batch, clock: Clock) -> Report:
        """One supervised step; the teacher follows."""
        loss = self.task.loss(self.student(batch.labeled.x), batch.labeled.target)
        self.advance(loss)
        return Report({"loss/supervised": loss.detach()})

    def predictors(self) -> dict[str, Predictor]:
        """The teacher, if there is one, and the student."""
        student: Predictor = lambda x: self.task.probs(self.student.label(x))  # noqa: E731
        if self.follower is None:
            return {"student": student}
        follower = self.follower
        return {"teacher": lambda x: self.task.probs(follower(x)), "student": student}

    @property
    def shipped(self) -> nn.Module:
        """The network that ``predict`` uses."""
        return self.student.model if self.follower is None else self.follower.model

    def export(self) -> dict[str, Tensor]:
        """Weights of the shipped network."""
        return {name: t.detach().clone() for name, t in self.shipped.state_dict().items()}


class SelfGuided(SoloStrategy):
    """A student that labels the weak view itself and learns labels and the strong view; an EMA of it is shipped.

    Args:
        task: Kind of output.
        make_learner: Builds the student.
        label_mode: How the labeling pass treats BatchNorm and dropout, see ``Learner.label``.
        decay: EMA decay of the shipped teacher; ``None``: ship the student.
        buffers: See ``Teacher``.
        lesson: Settings of the pseudo-labels and their loss, see ``Lesson``.
    """

    def __init__(
        self,
        task: Task,
        make_learner: MakeLearner,
        *,
        label_mode: LabelMode = "eval",
        decay: float | None = 0.999,
        buffers: Literal["copy", "ema"] = "ema",
        **lesson: Any,
    ) -> None:
        super().__init__(task, make_learner, decay=decay, buffers=buffers)
        check_label_mode(label_mode)
        self.label_mode = label_mode
        self.lesson = Lesson(task, **lesson)

    def look(self, x: Tensor) -> Tensor:
        """The student's prediction of inputs to be labeled, without gradient."""
        return self.task.probs(self.student.label(x, self.label_mode))

    def objective(self, batch: Batch, clock: Clock) -> Outcome:
        """Label the weak view, predict labels and the strong view."""
        guess = self.lesson.guess(self.look, batch)
        return self.lesson.loss(self.student, batch, guess, clock)

    def step(self, batch: Batch, clock: Clock, *extra: Batch) -> Report:
        """One student step; the EMA follows."""
        outcome = self.objective(batch, clock)
        self.advance(outcome.loss)
        return outcome.report()


class TeacherGuided(SoloStrategy):
    """A student that learns labels and, on its strong view, what its teacher says of the weak view.

    Args:
        task: Kind of output.
        make_learner: Builds the student.
        decay: EMA decay of the teacher, in [0, 1].
        buffers: How the teacher gets its BatchNorm statistics, see ``Teacher``.
        unlabeled_weight: Factor of the unsupervised loss, >= 0.
        rampup: Growth of that factor over the stage; ``None``: ``ramp_sigmoid()``.
        distance: ``"mse"`` between values, or ``"ce"``: the task's own loss.
        hard: Whether the teacher's decision or its soft prediction is the target.
        lesson: Further settings: ``select``, ``temperature``, ``align``, ``align_targets``, ``mix``, ``together``, see
            ``Lesson``.

    Raises:
        ValueError: for a decay of ``None``, and as ``Lesson`` does.
    """

    def __init__(
        self,
        task: Task,
        make_learner: MakeLearner,
        *,
        decay: float = 0.999,
        buffers: Literal["copy", "ema"] = "ema",
        unlabeled_weight: float = 10.0,
        rampup: Schedule | None = None,
        distance: Distance = "mse",
        hard: bool = False,
        **lesson: Any,
    ) -> None:
        if decay is None:
            raise ValueError("decay is None; this method needs a teacher, so give a decay in [0, 1]")
        super().__init__(task, make_learner, decay=decay, buffers=buffers)
        own: dict[str, Any] = {"unlabeled_weight": unlabeled_weight, "distance": distance, "hard": hard}
        self.lesson = Lesson(task, rampup=rampup or ramp_sigmoid(), **own, **lesson)

    @property
    def teacher(self) -> Teacher:
        """The network that labels."""
        assert self.follower is not None  # decay is a number here
        return self.follower

    def taught(self, x: Tensor) -> Tensor:
        """What the present teacher says of inputs, without gradient."""
        return self.task.probs(self.teacher(x))

    def objective(self, batch: Batch, clock: Clock) -> Outcome:
        """Loss of the student under the labels of the present teacher."""
        guess = self.lesson.guess(self.taught, batch)
        return self.lesson.loss(self.student, batch, guess, clock)
