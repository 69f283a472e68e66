"""SoftMatch: Chen et al., "SoftMatch: Addressing the Quantity-Quality Trade-off", ICLR 2023, arXiv:2301.10921.

Algorithm: 1. the student predicts the weak view; 2. for the weights alone, the predictions are aligned to a uniform
prior; 3. a Gaussian around the moving mean of the aligned confidence weighs every sample, none is thrown away; 4. the
decision, that of the prediction as it was, is learned on the strong view with that weight.

Left out: the variant with a mean and variance for each class. Differs: the weak view has a pass of its own without
gradient; the moving mean of the alignment warms up (see ``Align``).
"""

from __future__ import annotations

from typing import Any

from selftrain.networks.student import MakeLearner
from selftrain.select import Soft
from selftrain.select.alignment import Align
from selftrain.strategy.single import SelfGuided
from selftrain.tasks import Task


class SoftMatch(SelfGuided):
    """Learn the strong view from all decisions, each weighted by how usual its confidence is.

    Source: the paper's eq. 6 to 10 (see ``selftrain.select.Soft`` and ``Align``). Defaults: decay 0.999 of all moving
    means, 2 sigmas, uniform alignment, weight 1, hard labels.

    Args:
        task: Kind of output.
        make_learner: Builds the student.
        sigmas: How many times narrower than the confidences the Gaussian is, > 0.
        threshold_decay: Share of the old mean, variance and prior that stays at each step, in [0, 1).
        uniform: Weigh by predictions aligned to a uniform prior; joints have none, so keypoints need ``False``. The
            labels are never aligned.
        settings: See ``SelfGuided`` and ``Lesson``: label_mode, decay, buffers, unlabeled_weight, rampup, distance,
            hard, temperature, mix, together.
    """

    def __init__(
        self,
        task: Task,
        make_learner: MakeLearner,
        *,
        sigmas: float = 2.0,
        threshold_decay: float = 0.999,
        uniform: bool = True,
        **settings: Any,
    ) -> None:
        align = Align(task, decay=threshold_decay) if uniform else None
        weigh = Soft(task.groups, decay=threshold_decay, sigmas=sigmas)
        super().__init__(task, make_learner, select=weigh, align=align, align_targets=False, **settings)
