"""Mean Teacher: Tarvainen & Valpola, "Mean teachers are better role models", NeurIPS 2017, arXiv:1703.01780.

Algorithm: 1. the teacher predicts the weak view; 2. the student predicts labels and the strong view; 3. supervised loss
+ w(t) x squared difference between student and teacher; 4. student step; 5. the teacher moves towards the student.

``TwoHeadedMeanTeacher`` is the variant of the authors' ResNet runs: one head learns labels, one agrees with the
teacher.

Left out: noise inside the teacher (ours is in evaluation mode); consistency on labeled samples.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from selftrain.mix import Mix
from selftrain.networks.ema import Buffers, Teacher
from selftrain.networks.student import MakeLearner
from selftrain.schedule import Schedule, ramp_sigmoid
from selftrain.select import Selector
from selftrain.select.alignment import Align
from selftrain.strategy.base import Predictor
from selftrain.strategy.pseudo_labeling import Distance, PseudoLabeling
from selftrain.strategy.single import SingleStudent
from selftrain.tasks import Task, relative
from selftrain.types import Batch, Clock, Report


class MeanTeacher(SingleStudent):
    """Make the student agree with the moving average of itself.

    Source: the paper's eq. 1 and 2. Defaults: squared difference of probabilities and sigmoid ramp-up as there; weight
    10 on the mean over classes (the paper's 100 x share of labels, re-implementations' 50). The other settings are
    explained in ``PseudoLabeling``.

    Args:
        task: Kind of output.
        make_learner: Builds the student.
        order: ``"after"``: the teacher follows the updated student (the paper); ``"before"``: it takes in the student
            before the step, the self-training baseline of FST (Du et al. 2022). Once an optimizer step, either way.
        decay: EMA decay alpha of the teacher, in [0, 1].
        buffers: How the teacher gets its BatchNorm statistics, see ``Teacher``.
        unlabeled_weight: Final weight w, >= 0.
        rampup: Growth of w over the stage; ``None``: ``ramp_sigmoid()``.

    Raises:
        ValueError: for a decay of ``None`` or an unknown order, and as ``PseudoLabeling`` does.
    """

    def __init__(
        self,
        task: Task,
        make_learner: MakeLearner,
        *,
        order: Literal["after", "before"] = "after",
        decay: float = 0.999, buffers: Buffers = "ema", unlabeled_weight: float = 10.0, rampup: Schedule | None = None,
        distance: Distance = "mse", select: Selector | None = None, hard: bool = False, temperature: float = 1.0,
        align: Align | None = None, align_targets: bool = True, mix: Mix | None = None, together: bool = True,
    ) -> None:  # fmt: skip
        super().__init__(task, make_learner, decay=decay, buffers=buffers)
        if order not in ("after", "before"):
            raise ValueError(f"order is {order!r}; choose 'after' or 'before'")
        self.order = order
        self.pseudo_labeling = PseudoLabeling(
            task, unlabeled_weight=unlabeled_weight, rampup=rampup or ramp_sigmoid(), distance=distance, select=select,
            hard=hard, temperature=temperature, align=align, align_targets=align_targets, mix=mix, together=together,
        )  # fmt: skip

    @property
    def teacher(self) -> Teacher:
        """The moving average, which labels."""
        assert self.ema is not None  # decay is a number here
        return self.ema

    def step(self, batch: Batch, clock: Clock, *extra: Batch) -> Report:
        """One student step under the teacher's labels, one teacher step."""
        weak, strong = batch.unlabeled["weak"], batch.unlabeled["strong"]
        # While gradients of one optimizer step are gathered, the student does not move, and nor may the teacher.
        if self.order == "before" and not self.student.gathering:
            self.teacher.update(self.student.model)
        # f(x, theta', eta'): what the teacher says of the weak view
        f = self.task.probs(self.teacher(weak.x))
        labeled = self.task.probs(self.teacher(batch.labeled.x)) if self.pseudo_labeling.reads_labeled else None
        pseudo = self.pseudo_labeling.make(f, batch.unlabeled.index, labeled)
        # f(x, theta, eta): the student's strong view, in one pass with the labeled samples
        x, target = self.pseudo_labeling.mixed(
            strong.x, self.task.warp(pseudo.target, relative(weak, strong)), batch.labeled, pseudo
        )
        logits, strong_logits = self.student(batch.labeled.x, x, together=self.pseudo_labeling.together)
        # classification cost + w(t) J(theta), J = E |f(x, theta', eta') - f(x, theta, eta)|^2 (eq. 1)
        supervised = self.task.loss(logits, batch.labeled.target)
        unsupervised = self.pseudo_labeling.loss(strong_logits, target)
        # theta' = alpha theta' + (1 - alpha) theta (eq. 2), once theta has moved
        moved = self.student.update(supervised + self.pseudo_labeling.weight(clock) * unsupervised)
        if moved and self.order == "after":
            self.teacher.update(self.student.model)
        return pseudo.report(supervised=supervised, unsupervised=unsupervised)


class TwoHeadedMeanTeacher(MeanTeacher):
    """Let one head learn the labels and another agree with the teacher, tied to each other by a small cost.

    Source: released code of the paper (logit distance cost 0.01): the teacher's label head is the target of the
    student's second head. The network gives twice the channels: first those of the label head, then those of the other.
    The other settings are explained in ``MeanTeacher`` and ``PseudoLabeling``.

    Args:
        task: Kind of output.
        make_learner: Builds the student: (B, ...) -> logits (B, 2 C, *S).
        tie_weight: Factor of the squared difference between the two heads' logits, >= 0.

    Raises:
        ValueError: for a negative weight, and at the first step if the network's channels are not twice the task's.
    """

    def __init__(
        self,
        task: Task,
        make_learner: MakeLearner,
        *,
        tie_weight: float = 0.01,
        decay: float = 0.999, buffers: Buffers = "ema", unlabeled_weight: float = 10.0, rampup: Schedule | None = None,
        distance: Distance = "mse", select: Selector | None = None, hard: bool = False, temperature: float = 1.0,
        align: Align | None = None, align_targets: bool = True, mix: Mix | None = None, together: bool = True,
    ) -> None:  # fmt: skip
        super().__init__(
            task, make_learner, decay=decay, buffers=buffers, unlabeled_weight=unlabeled_weight, rampup=rampup,
            distance=distance, select=select, hard=hard, temperature=temperature, align=align,
            align_targets=align_targets, mix=mix, together=together,
        )  # fmt: skip
        if not tie_weight >= 0:
            raise ValueError(f"tie_weight is {tie_weight}; it must be 0 or more")
        self.tie_weight = tie_weight

    def step(self, batch: Batch, clock: Clock, *extra: Batch) -> Report:
        """One student step with both heads, one teacher step."""
        weak, strong = batch.unlabeled["weak"], batch.unlabeled["strong"]
        # The teacher's *label* head is the target: its other head has never seen a label.
        f = self.task.probs(self.heads(self.teacher(weak.x))[0])
        labeled = None
        if self.pseudo_labeling.reads_labeled:
            labeled = self.task.probs(self.heads(self.teacher(batch.labeled.x))[0])
        pseudo = self.pseudo_labeling.make(f, batch.unlabeled.index, labeled)
        x, target = self.pseudo_labeling.mixed(
            strong.x, self.task.warp(pseudo.target, relative(weak, strong)), batch.labeled, pseudo
        )
        answers = self.student(batch.labeled.x, x, together=self.pseudo_labeling.together)
        (logits, logits2), (strong_logits, strong_logits2) = (self.heads(answer) for answer in answers)
        # One head for each cost, so that noisy targets do not pull at the decisions ...
        supervised = self.task.loss(logits, batch.labeled.target)
        unsupervised = self.pseudo_labeling.loss(strong_logits2, target)
        # ... and a cost on their distance, so that what one learns reaches the other.
        tie = torch.cat([logits - logits2, strong_logits - strong_logits2]).square().mean()
        loss = supervised + self.pseudo_labeling.weight(clock) * unsupervised + self.tie_weight * tie
        if self.student.update(loss):
            self.teacher.update(self.student.model)
        return pseudo.report(supervised=supervised, unsupervised=unsupervised, tie=tie)

    def step_labeled(self, batch: Batch, clock: Clock) -> Report:
        """One supervised step of the label head; the teacher follows."""
        loss = self.task.loss(self.heads(self.student(batch.labeled.x))[0], batch.labeled.target)
        if self.student.update(loss):
            self.teacher.update(self.student.model)
        return Report({"loss/supervised": loss.detach()})

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
