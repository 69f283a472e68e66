"""FixMatch: Sohn et al., "FixMatch: Simplifying Semi-Supervised Learning", NeurIPS 2020, arXiv:2001.07685.

Algorithm: 1. the student predicts the weak view without gradient; 2. decisions at or above the threshold are labels;
3. supervised loss + the loss of the strong view under those labels, divided by the whole batch; 4. student step;
5. an EMA of the weights follows and is shipped.

Left out: CTAugment (the strong view is RandAugment-like). Differs: the weak view has a pass of its own without gradient
(same labels, less time); ``label_mode="train"`` lets it move the BatchNorm statistics as in the paper.
"""

from __future__ import annotations

from typing import Any

from selftrain.networks.student import MakeLearner
from selftrain.select import Selector, above
from selftrain.strategy.single import SelfGuided
from selftrain.tasks import Task


class FixMatch(SelfGuided):
    """Learn the strong view from confident decisions about the weak view.

    Source: the paper's eq. 3 and 4. Defaults are the paper's: threshold 0.95, weight 1, hard labels, decay 0.999.

    Args:
        task: Kind of output.
        make_learner: Builds the student.
        select: Rule from confidence to weight; ``None``: ``above(0.95)``.
        settings: See ``SelfGuided`` and ``Lesson``: label_mode, decay, buffers, unlabeled_weight, rampup, distance,
            hard, temperature, align, align_targets, mix, together.
    """

    def __init__(
        self, task: Task, make_learner: MakeLearner, *, select: Selector | None = None, **settings: Any
    ) -> None:
        super().__init__(task, make_learner, select=select or above(0.95), **settings)
