"""Pi-model: Laine & Aila, "Temporal Ensembling for Semi-Supervised Learning", ICLR 2017, arXiv:1610.02242, section 2.1.

Algorithm: 1. the student sees each unlabeled sample twice, augmented and with dropout drawn anew; 2. supervised loss +
w(t) x the squared difference of the two predictions; 3. w rises along a Gaussian curve.

Left out: consistency on labeled samples, Gaussian input noise (a view may have it). Differs: one prediction is held
fixed (as in re-implementations); gradients through both have the same expectation up to a factor of two.
"""

from __future__ import annotations

from typing import Any

from selftrain.networks.student import LabelMode, MakeLearner
from selftrain.schedule import Schedule, ramp_sigmoid
from selftrain.strategy.losses import Outcome
from selftrain.strategy.pseudo_labeling import Distance
from selftrain.strategy.single import SelfGuided
from selftrain.tasks import Task
from selftrain.types import Batch, Clock


class PiModel(SelfGuided):
    """Make two looks at the same sample agree.

    Source: the paper's algorithm 1. Defaults: squared difference, weight 10 on the mean over classes
    (re-implementations; the paper's 100 x share of labels is on another scale), sigmoid ramp-up over 40 %, the fixed
    look with dropout and batch statistics.

    Args:
        task: Kind of output.
        make_learner: Builds the student.
        view: The view of the learned look; ``"weak2"`` is a second weak one.
        unlabeled_weight: Final weight w, >= 0.
        rampup: Growth of w; ``None``: ``ramp_sigmoid()``.
        distance: ``"mse"`` between values, or ``"ce"``.
        hard: Whether the decision or the soft prediction of the fixed look is the target.
        label_mode: How the fixed look treats BatchNorm and dropout: ``"frozen"`` has dropout and leaves the running
            statistics.
        settings: See ``SelfGuided`` and ``Lesson``: decay, buffers, select, temperature, align, align_targets, mix,
            together.
    """

    def __init__(
        self,
        task: Task,
        make_learner: MakeLearner,
        *,
        view: str = "weak2",
        unlabeled_weight: float = 10.0,
        rampup: Schedule | None = None,
        distance: Distance = "mse",
        hard: bool = False,
        label_mode: LabelMode = "frozen",
        **settings: Any,
    ) -> None:
        own: dict[str, Any] = {"unlabeled_weight": unlabeled_weight, "distance": distance, "hard": hard}
        super().__init__(task, make_learner, label_mode=label_mode, rampup=rampup or ramp_sigmoid(), **own, **settings)
        self.view = view
        self.views = ("weak", view)

    def objective(self, batch: Batch, clock: Clock) -> Outcome:
        """Hold the first look, learn the second."""
        first = self.lesson.guess(self.look, batch)
        return self.lesson.loss(self.student, batch, first, clock, source="weak", view=self.view)
