"""SoftMatch: Chen et al., "SoftMatch: Addressing the Quantity-Quality Trade-off", ICLR 2023, arXiv:2301.10921.

Algorithm: 1. the student predicts the weak view; 2. for the weights alone, the predictions are aligned to a uniform
prior; 3. a Gaussian around the moving mean of the aligned confidence weighs every sample, none is thrown away; 4. the
decision, that of the prediction as it was, is learned on the strong view with that weight.

It is FixMatch with a weight where that has a threshold: the step is that of ``strategies/fixmatch.py``, the weight
``selftrain.select.Soft`` of predictions aligned by ``Align``. Left out: the variant with a mean and variance for each
class. Differs: the weak view has a pass of its own in evaluation mode (``label_mode``, as in ``fixmatch.py``); the
moving mean of the alignment warms up.
"""

from __future__ import annotations

from selftrain.mix import Mix
from selftrain.networks.ema import Buffers
from selftrain.networks.student import LabelMode, MakeLearner
from selftrain.schedule import Schedule
from selftrain.select import Soft
from selftrain.select.alignment import Align
from selftrain.strategies.fixmatch import FixMatch
from selftrain.strategy.pseudo_labeling import Distance
from selftrain.tasks import Task, has_classes


class SoftMatch(FixMatch):
    """FixMatch without a threshold: all decisions, each weighted by how usual its confidence is.

    Source: the paper's eq. 6 to 10. Defaults: decay 0.999 of all moving means, 2 sigmas, uniform alignment, weight 1,
    hard labels. The other settings are explained in ``FixMatch`` and ``PseudoLabeling``.

    Args:
        task: Kind of output.
        make_learner: Builds the student.
        sigmas: How many times narrower than the confidences the Gaussian is, > 0.
        threshold_decay: Share of the old mean, variance and prior that stays at each step, in [0, 1).
        uniform: Weigh by predictions aligned to a uniform prior. ``None``: unless they are joints, which have none. The
            labels are never aligned.
    """

    def __init__(
        self,
        task: Task,
        make_learner: MakeLearner,
        *,
        sigmas: float = 2.0,
        threshold_decay: float = 0.999,
        uniform: bool | None = None,
        hard: bool = True, temperature: float = 1.0, mix: Mix | None = None, distance: Distance = "ce",
        unlabeled_weight: float = 1.0, rampup: Schedule | None = None, together: bool = True,
        label_mode: LabelMode = "eval", decay: float | None = 0.999, buffers: Buffers = "ema",
    ) -> None:  # fmt: skip
        weigh, align = Soft(task.groups, decay=threshold_decay, sigmas=sigmas), None
        if has_classes(task) if uniform is None else uniform:
            align = Align(task, decay=threshold_decay)
        super().__init__(
            task, make_learner, select=weigh, align=align, align_targets=False, hard=hard, temperature=temperature,
            mix=mix, distance=distance, unlabeled_weight=unlabeled_weight, rampup=rampup, together=together,
            label_mode=label_mode, decay=decay, buffers=buffers,
        )  # fmt: skip
