"""Pseudo-Label: Lee, "Pseudo-Label: The Simple and Efficient Semi-Supervised Learning Method", ICML workshop 2013.

Algorithm: 1. the student labels each unlabeled sample with its most probable class; 2. supervised loss + alpha(t) x the
loss on those labels, on the same view; 3. alpha is 0 at first, then rises linearly to its final value.

Left out: denoising-autoencoder pretraining (any pretraining stage can be put before it).
"""

from __future__ import annotations

from typing import Any

from selftrain.networks.student import MakeLearner
from selftrain.schedule import Schedule, ramp_linear
from selftrain.strategy.losses import Outcome
from selftrain.strategy.single import SelfGuided
from selftrain.tasks import Task
from selftrain.types import Batch, Clock


class PseudoLabel(SelfGuided):
    """Train on labels and on the student's own decisions about the same view.

    Source: Lee 2013, eq. 15 and 16. Defaults are the paper's: alpha 3, reached after 60 % of training, no threshold.

    Args:
        task: Kind of output.
        make_learner: Builds the student.
        unlabeled_weight: Final alpha, >= 0.
        rampup: Growth of alpha over the stage; ``None``: 0 for a tenth of it, then linear over a half.
        settings: See ``SelfGuided`` and ``Lesson``: select (re-implementations use ``above(0.95)``), hard, label_mode,
            decay, buffers, distance, temperature, align, align_targets, mix, together.
    """

    views = ("weak",)

    def __init__(
        self,
        task: Task,
        make_learner: MakeLearner,
        *,
        unlabeled_weight: float = 3.0,
        rampup: Schedule | None = None,
        **settings: Any,
    ) -> None:
        ramp = rampup or ramp_linear(0.5, start=0.1)
        super().__init__(task, make_learner, unlabeled_weight=unlabeled_weight, rampup=ramp, **settings)

    def objective(self, batch: Batch, clock: Clock) -> Outcome:
        """Label the weak view, then learn it together with the labels."""
        guess = self.lesson.guess(self.look, batch)
        return self.lesson.loss(self.student, batch, guess, clock, view="weak")
