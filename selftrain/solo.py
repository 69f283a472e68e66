"""Parts that methods with one student share: what they ship, and how a teacher guides a student."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from selftrain.objectives import Outcome, guided_loss, pseudo_label
from selftrain.schedule import Schedule, ramp_sigmoid
from selftrain.select import Select, everything
from selftrain.strategy import MakeLearner, Predictor, SupervisedStrategy
from selftrain.tasks import Task
from selftrain.teacher import Teacher
from selftrain.types import Batch, Clock, Report

Distance = Literal["mse", "ce"]


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
        loss = self.task.loss(self.student(batch.given.x), batch.given.target)
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


class TeacherGuided(SoloStrategy):
    """A student that learns labels and, on its strong view, what its teacher says of the weak view.

    Args:
        task: Kind of output.
        make_learner: Builds the student.
        decay: EMA decay of the teacher, in [0, 1].
        unlabeled_weight: Factor of the unsupervised loss, >= 0.
        rampup: Growth of that factor over the stage.
        distance: ``"mse"`` between values, or ``"ce"``: the task's own loss.
        select: Rule from the teacher's confidence to the weight of a unit.
        hard: Whether the teacher's decision or its soft prediction is the target.
        temperature: Sharpening of soft targets, > 0; 1 leaves them.
        together: One concatenated pass for labeled and strong samples, or two; see ``guided_loss``.
        buffers: How the teacher gets its BatchNorm statistics, see ``Teacher``.

    Raises:
        ValueError: for a negative weight, a temperature that is not positive or an unknown distance.
    """

    def __init__(
        self,
        task: Task,
        make_learner: MakeLearner,
        *,
        decay: float = 0.999,
        unlabeled_weight: float = 10.0,
        rampup: Schedule | None = None,
        distance: Distance = "mse",
        select: Select | None = None,
        hard: bool = False,
        temperature: float = 1.0,
        together: bool = True,
        buffers: Literal["copy", "ema"] = "ema",
    ) -> None:
        if decay is None:
            raise ValueError("decay is None; this method needs a teacher, so give a decay in [0, 1]")
        super().__init__(task, make_learner, decay=decay, buffers=buffers)
        check_unlabeled(unlabeled_weight, temperature)
        if distance not in ("mse", "ce"):
            raise ValueError(f"distance is {distance!r}; choose 'mse' or 'ce'")
        self.unlabeled_weight, self.rampup = unlabeled_weight, rampup or ramp_sigmoid()
        self.distance = task.consistency if distance == "mse" else task.loss
        self.select, self.hard, self.temperature = select or everything(), hard, temperature
        self.together = together

    @property
    def teacher(self) -> Teacher:
        """The network that labels."""
        assert self.follower is not None  # decay is a number here
        return self.follower

    def objective(self, batch: Batch, clock: Clock) -> Outcome:
        """Loss of the student under the labels of the present teacher; see ``guided_loss``."""
        value = self.task.probs(self.teacher(batch.pile["weak"].x))
        guess = pseudo_label(
            self.task, value, batch.pile.index, self.select, hard=self.hard, temperature=self.temperature
        )
        weight = self.unlabeled_weight * self.rampup(clock.progress)
        return guided_loss(
            self.task, self.student, batch, guess, weight=weight, distance=self.distance, together=self.together
        )


def check_unlabeled(weight: float, temperature: float) -> None:
    """Refuse settings of the unsupervised loss that make no sense."""
    if not weight >= 0:
        raise ValueError(f"unlabeled_weight is {weight}; it must be 0 or more")
    if not temperature > 0:
        raise ValueError(f"temperature is {temperature}; it must be above 0 (use hard=True for the limit of 0)")
