"""What methods with several students share: who they are, the averages that follow them, and what is shipped."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from selftrain.networks.ema import Buffers, Teacher
from selftrain.networks.optim import copied_weights
from selftrain.networks.student import LabelMode, Learner, MakeLearner, check_label_mode, make_student
from selftrain.strategy.base import Predictor, SupervisedStrategy
from selftrain.tasks import Task
from selftrain.types import Batch, Clock, Report


class SeveralStudents(SupervisedStrategy):
    """Several networks, trained side by side; the mean of their predictions is shipped.

    Args:
        task: Kind of output.
        make_learner: Builds one network; pass a *function* to ``learner`` so that they start differently. Or several
            of them, taken in turn: members may stand on different encoders, or differ in how they are trained.
        members: Number of networks, at least 2.
        label_mode: How the labeling passes treat BatchNorm and dropout, see ``Learner.label``.
        decay: Decay of a moving average of each network, which then predicts in its place; ``None``: none.
        buffers: How these averages get their BatchNorm statistics, see ``Teacher``.

    Raises:
        ValueError: for fewer than two members, or fewer than makers.
    """

    def __init__(
        self,
        task: Task,
        make_learner: MakeLearner | Sequence[MakeLearner],
        *,
        members: int = 2,
        label_mode: LabelMode = "eval",
        decay: float | None = None,
        buffers: Buffers = "ema",
    ) -> None:
        super().__init__(task)
        makers = list(make_learner) if isinstance(make_learner, Sequence) else [make_learner]
        if members < max(2, len(makers)):
            raise ValueError(f"members is {members}; peers need at least 2, and one for each of {len(makers)} makers")
        students = [make_student(make) for make, _ in zip(itertools.cycle(makers), range(members), strict=False)]
        if len({id(student.model) for student in students}) < len(students):
            raise ValueError(
                f"make_learner gave one and the same {type(students[0].model).__name__} to several of {members} "
                "students; build a new network at each call, or pass the network itself to learner, which copies it"
            )
        self.members = nn.ModuleList(students)
        self.label_mode = check_label_mode(label_mode)
        emas = [] if decay is None else [Teacher(m, decay, buffers=buffers) for m in self.learners()]
        self.emas = nn.ModuleList(emas)

    def learners(self) -> list[Learner]:
        """The networks, in their order."""
        return [m for m in self.members if isinstance(m, Learner)]

    @torch.no_grad()
    def predict_each(self, x: Tensor) -> Tensor:
        """Every network's prediction of inputs to be labeled, shape (N, B, C, *S), without gradient."""
        return torch.stack([self.task.probs(m.label(x, self.label_mode)) for m in self.learners()])

    def follow(self, member: int) -> None:
        """Let the average of a network, if there is one, take in its weights, which have just moved."""
        if len(self.emas):
            ema = self.emas[member]
            assert isinstance(ema, Teacher)
            ema.update(self.learners()[member].model)

    def step_labeled(self, batch: Batch, clock: Clock) -> Report:
        """Every network takes a supervised step."""
        losses = []
        for i, learner in enumerate(self.learners()):
            loss = self.task.loss(learner(batch.labeled.x), batch.labeled.target)
            # False while gradients are gathered: the same weights, taken in again, would make another decay of it.
            if learner.update(loss):
                self.follow(i)
            losses.append(loss.detach())
        return Report({"loss/supervised": torch.stack(losses).mean()})

    def predictors(self) -> dict[str, Predictor]:
        """The mean of the networks, and each of them."""
        # By a method: a lambda in this loop would ask the last member under every name.
        members = {f"member{i}": self._alone(i) for i in range(len(self.members))}
        return {"ensemble": lambda x: torch.stack([predict(x) for predict in members.values()]).mean(0)} | members

    def export(self) -> dict[str, Tensor]:
        """Weights of the first network (networks that started apart cannot be averaged)."""
        first = self.emas[0] if len(self.emas) else self.learners()[0]
        model = first.model
        assert isinstance(model, nn.Module)
        return copied_weights(model)

    def _alone(self, member: int) -> Predictor:
        if len(self.emas):
            return lambda x: self.task.probs(self.emas[member](x))
        return lambda x: self.task.probs(self.learners()[member].label(x))


def mean_report(reports: Sequence[Report], **more: Tensor) -> Report:
    """Scalars of several networks' reports, averaged, with ``more`` beside them; the pseudo-labels of the first."""
    scalars = {name: torch.stack([r.scalars[name] for r in reports]).mean() for name in reports[0].scalars}
    return Report(scalars | more, reports[0].pseudo_labels)
