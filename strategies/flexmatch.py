"""FlexMatch: Zhang et al., "Curriculum Pseudo Labeling", NeurIPS 2021, arXiv:2110.08263.

Algorithm: 1. count for each class how many unlabeled samples the student was last sure of; 2. scale the threshold of a
class by its count over the largest one, through a convex map; 3. then as FixMatch: decisions about the weak view at or
above the threshold of their class are learned on the strong view.

Left out: CTAugment. Differs: the weak view has a pass of its own without gradient.
"""

from __future__ import annotations

from typing import Any

from selftrain.networks.student import MakeLearner
from selftrain.select import Flex
from selftrain.strategy.single import SelfGuided
from selftrain.tasks import Task


class FlexMatch(SelfGuided):
    """Learn the strong view from decisions whose threshold depends on how well their class is learned.

    Source: the paper's eq. 5 to 9 (see ``selftrain.select.Flex``). Defaults are the paper's: threshold 0.95, convex
    map, warm-up, weight 1, hard labels, decay 0.999.

    Args:
        task: Kind of output.
        make_learner: Builds the student.
        unlabeled: Number of unlabeled samples N (rows of the memory).
        units: Unit axes of a sample: ``()``, ``(H, W)`` or ``(joints,)``.
        threshold: Highest threshold, in (0, 1].
        warmup: Count the samples that were never confident as a rival of the largest class.
        mapping: Map from count to threshold: ``"convex"``, ``"linear"`` or ``"concave"``.
        settings: See ``SelfGuided`` and ``Lesson``: label_mode, decay, buffers, unlabeled_weight, rampup, distance,
            hard, temperature, align, align_targets, mix, together.
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
        mapping: Any = "convex",
        **settings: Any,
    ) -> None:
        rule = Flex(unlabeled, task.groups, threshold=threshold, warmup=warmup, mapping=mapping, units=units)
        super().__init__(task, make_learner, select=rule, **settings)
