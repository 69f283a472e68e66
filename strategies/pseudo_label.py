"""Pseudo-Label: Lee, "Pseudo-Label: The Simple and Efficient Semi-Supervised Learning Method", ICML workshop 2013.

Algorithm: 1. the student labels each unlabeled sample with its most probable class; 2. supervised loss + alpha(t) x the
loss on those labels, on the same view; 3. alpha is 0 at first, then rises linearly to its final value.

Left out: denoising-autoencoder pretraining (any pretraining stage can be put before it).
"""

from __future__ import annotations

from typing import Literal

from selftrain.learner import LabelMode, check_label_mode
from selftrain.objectives import Outcome, pseudo_label
from selftrain.schedule import Schedule, ramp_linear
from selftrain.select import Select, everything
from selftrain.solo import SoloStrategy, check_unlabeled
from selftrain.strategy import MakeLearner
from selftrain.tasks import Task
from selftrain.types import Batch, Clock, Report


class PseudoLabel(SoloStrategy):
    """Train on labels and on the student's own decisions about the same view.

    Source: Lee 2013, eq. 15 and 16. Defaults are the paper's: alpha 3, reached after 60 % of training, no threshold.

    Args:
        task: Kind of output.
        make_learner: Builds the student.
        unlabeled_weight: Final alpha, >= 0.
        rampup: Growth of alpha over the stage.
        select: Rule from confidence to weight (re-implementations use ``above(0.95)``).
        hard: Whether the decision or the soft prediction is the target.
        label_mode: How the labeling pass treats BatchNorm and dropout, see ``Learner.label``.
        decay: EMA decay of the shipped teacher; ``None``: ship the student.
        buffers: See ``Teacher``.
    """

    views = ("weak",)

    def __init__(
        self,
        task: Task,
        make_learner: MakeLearner,
        *,
        unlabeled_weight: float = 3.0,
        rampup: Schedule | None = None,
        select: Select | None = None,
        hard: bool = True,
        label_mode: LabelMode = "eval",
        decay: float | None = 0.999,
        buffers: Literal["copy", "ema"] = "ema",
    ) -> None:
        super().__init__(task, make_learner, decay=decay, buffers=buffers)
        check_unlabeled(unlabeled_weight, 1.0)
        check_label_mode(label_mode)
        self.unlabeled_weight, self.rampup = unlabeled_weight, rampup or ramp_linear(0.5, start=0.1)
        self.select, self.hard, self.label_mode = select or everything(), hard, label_mode

    def step(self, batch: Batch, clock: Clock, *extra: Batch) -> Report:
        """Label the weak view, then learn it together with the labels."""
        given, weak = batch.given, batch.pile["weak"]
        value = self.task.probs(self.student.label(weak.x, self.label_mode))
        guess = pseudo_label(self.task, value, batch.pile.index, self.select, hard=self.hard)
        logits, guessed = self.student.together(given.x, weak.x)
        supervised = self.task.loss(logits, given.target)
        unsupervised = self.task.loss(guessed, guess.target)
        alpha = self.unlabeled_weight * self.rampup(clock.progress)
        outcome = Outcome(supervised + alpha * unsupervised, supervised, unsupervised, guess)
        self.advance(outcome.loss)
        return outcome.report()
