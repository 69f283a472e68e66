"""FixMatch: Sohn et al., "FixMatch: Simplifying Semi-Supervised Learning", NeurIPS 2020, arXiv:2001.07685.

Algorithm: 1. the student predicts the weak view without gradient; 2. decisions at or above the threshold are labels;
3. supervised loss + the loss of the strong view under those labels, divided by the whole batch; 4. student step;
5. an EMA of the weights follows and is shipped.

Left out: CTAugment (the strong view is RandAugment-like). Differs: the weak view has a pass of its own without gradient
(same labels, less time); ``label_mode="train"`` lets it move the BatchNorm statistics as in the paper.
"""

from __future__ import annotations

from typing import Literal

from selftrain.learner import LabelMode, check_label_mode
from selftrain.objectives import guided_loss, pseudo_label
from selftrain.schedule import Schedule, ramp_linear
from selftrain.select import Select, above
from selftrain.solo import SoloStrategy, check_unlabeled
from selftrain.strategy import MakeLearner
from selftrain.tasks import Task
from selftrain.types import Batch, Clock, Report


class FixMatch(SoloStrategy):
    """Learn the strong view from confident decisions about the weak view.

    Source: the paper's eq. 3 and 4. Defaults are the paper's: threshold 0.95, weight 1, hard labels, decay 0.999.

    Args:
        task: Kind of output.
        make_learner: Builds the student.
        select: Rule from confidence to weight; ``None``: ``above(0.95)``.
        unlabeled_weight: Factor of the unsupervised loss, >= 0.
        rampup: Growth of that factor; ``None``: at full height from the start.
        hard: Whether decisions or soft predictions are the targets.
        temperature: Sharpening of soft targets, > 0.
        label_mode: How the weak pass treats BatchNorm and dropout, see ``Learner.label``.
        together: One concatenated pass for labeled and strong samples, or two.
        decay: EMA decay of the shipped teacher; ``None``: ship the student.
        buffers: See ``Teacher``.
    """

    def __init__(
        self,
        task: Task,
        make_learner: MakeLearner,
        *,
        select: Select | None = None,
        unlabeled_weight: float = 1.0,
        rampup: Schedule | None = None,
        hard: bool = True,
        temperature: float = 1.0,
        label_mode: LabelMode = "eval",
        together: bool = True,
        decay: float | None = 0.999,
        buffers: Literal["copy", "ema"] = "ema",
    ) -> None:
        super().__init__(task, make_learner, decay=decay, buffers=buffers)
        check_unlabeled(unlabeled_weight, temperature)
        check_label_mode(label_mode)
        self.select, self.unlabeled_weight, self.rampup = select or above(), unlabeled_weight, rampup or ramp_linear(0)
        self.hard, self.temperature, self.label_mode, self.together = hard, temperature, label_mode, together

    def step(self, batch: Batch, clock: Clock, *extra: Batch) -> Report:
        """Label the weak view, learn the strong one."""
        value = self.task.probs(self.student.label(batch.pile["weak"].x, self.label_mode))
        guess = pseudo_label(
            self.task, value, batch.pile.index, self.select, hard=self.hard, temperature=self.temperature
        )
        weight = self.unlabeled_weight * self.rampup(clock.progress)
        outcome = guided_loss(
            self.task, self.student, batch, guess, weight=weight, distance=self.task.loss, together=self.together
        )
        self.advance(outcome.loss)
        return outcome.report()
