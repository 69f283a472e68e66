"""FlexMatch: Zhang et al., "Curriculum Pseudo Labeling", NeurIPS 2021, arXiv:2110.08263.

Algorithm: 1. count for each class how many unlabeled samples the student was last sure of; 2. scale the threshold of a
class by its count over the largest one, through a convex map; 3. then as FixMatch: decisions about the weak view at or
above the threshold of their class are learned on the strong view.

It is FixMatch with another threshold: the step is that of ``strategies/fixmatch.py``, the threshold
``selftrain.select.Flex``. Left out: CTAugment. Differs: the weak view has a pass of its own in evaluation mode
(``label_mode``, as in ``fixmatch.py``).
"""

from __future__ import annotations

from selftrain.mix import Mix
from selftrain.networks.ema import Buffers
from selftrain.networks.student import LabelMode, MakeLearner
from selftrain.schedule import Schedule
from selftrain.select import Flex
from selftrain.select.adaptive import Mapping
from selftrain.select.alignment import Align
from selftrain.strategies.fixmatch import FixMatch
from selftrain.strategy.pseudo_labeling import Distance
from selftrain.tasks import Task


class FlexMatch(FixMatch):
    """FixMatch with a threshold that depends on how well the class of a decision is learned.

    Source: the paper's eq. 5 to 9. Defaults are the paper's: threshold 0.95, convex map, warm-up, weight 1, hard
    labels, decay 0.999. The other settings are explained in ``FixMatch`` and ``PseudoLabeling``.

    Args:
        task: Kind of output.
        make_learner: Builds the student.
        unlabeled: Number of unlabeled samples N (rows of the memory).
        units: Unit axes of a sample: ``()``, ``(H, W)`` or ``(joints,)``.
        threshold: Highest threshold, in (0, 1].
        warmup: Count the samples that were never confident as a rival of the largest class.
        mapping: Map from count to threshold: ``"convex"``, ``"linear"`` or ``"concave"``.
    """

    def __init__(
        self,
        task: Task,
        make_learner: MakeLearner,
        *,
        unlabeled: int,
        units: tuple[int, ...] = (),
        threshold: float = 0.95,
        warmup: bool = True,
        mapping: Mapping = "convex",
        hard: bool = True, temperature: float = 1.0, align: Align | None = None, align_targets: bool = True,
        mix: Mix | None = None, distance: Distance = "ce", unlabeled_weight: float = 1.0,
        rampup: Schedule | None = None, together: bool = True, label_mode: LabelMode = "eval",
        decay: float | None = 0.999, buffers: Buffers = "ema",
    ) -> None:  # fmt: skip
        rule = Flex(unlabeled, task.groups, threshold=threshold, warmup=warmup, mapping=mapping, units=units)
        super().__init__(
            task, make_learner, select=rule, hard=hard, temperature=temperature, align=align,
            align_targets=align_targets, mix=mix, distance=distance, unlabeled_weight=unlabeled_weight, rampup=rampup,
            together=together, label_mode=label_mode, decay=decay, buffers=buffers,
        )  # fmt: skip
