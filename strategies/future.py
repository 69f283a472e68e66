"""FST: Du et al., "Learning from Future: A Novel Self-Training Framework", NeurIPS 2022, arXiv:2209.06993.

Algorithm: 1. the teacher takes in today's student; 2. the student steps ahead virtually, ``depth`` times in a row
(FST-D) or once on each of ``width`` future batches (FST-W), and the teacher takes in what it finds there; 3. the
student goes back to today; 4. one real step on today's batch under the labels of the teacher from the future.

Left out: the segmentation recipe around it (feature distance, rare-class sampling). Differs: all steps on today's batch
see the same strong view, where the released code draws it anew for each. With gathered gradients (``accumulate``) the
look ahead is taken once an optimizer step, on the first of its batches, and labels all of them.
"""

from __future__ import annotations

import copy
from typing import Any, Literal

from torch import nn

from selftrain.networks.student import MakeLearner, Restore
from selftrain.strategy.single import TeacherGuided
from selftrain.tasks import Task
from selftrain.types import Batch, Clock, Report

Faithful = Literal["paper", "code"]


class FutureSelfTraining(TeacherGuided):
    """Let a teacher from ``depth`` steps ahead label today's batch (FST: depth 1, FST-D: depth 3).

    Source: the paper's FST and FST-D in the order of the released code: EMA with today's student, then an EMA after
    each virtual step, then the real step. The virtual states stay in the teacher, not in the student.

    Args:
        task: Kind of output.
        make_learner: Builds the student.
        depth: Virtual steps K >= 0; 0 is the self-training baseline (``MeanTeacher(order="before")``).
        teacher_after: One more EMA after the real step, as in the released script for semi-supervised segmentation.
        faithful: ``"paper"``: virtual steps leave no trace in the student, and the warm start of the decay counts
            real steps. ``"code"``: as released, optimizer moments and BatchNorm statistics of the virtual steps stay,
            and every EMA counts.
        settings: See ``TeacherGuided`` and ``Lesson``; thresholds and priors move in the real step only.

    Raises:
        ValueError: for a negative depth or an unknown ``faithful``.
    """

    def __init__(
        self,
        task: Task,
        make_learner: MakeLearner,
        *,
        depth: int = 1,
        teacher_after: bool = False,
        faithful: Faithful = "paper",
        **settings: Any,
    ) -> None:
        super().__init__(task, make_learner, **settings)
        if depth < 0:
            raise ValueError(f"depth is {depth}; it must be 0 or more")
        self.depth, self.teacher_after = depth, teacher_after
        self.restore, self.count_all = _faith(faithful)

    def step(self, batch: Batch, clock: Clock, *extra: Batch) -> Report:
        """Look ahead on this batch, come back, learn from what the teacher saw."""
        if not self.student.gathering:
            self._look_ahead(batch, clock)
        outcome = self.objective(batch, clock)
        if self.student.update(outcome.loss) and self.teacher_after:
            self.teacher.update(self.student.model, count=self.count_all)
        return outcome.report()

    def _look_ahead(self, batch: Batch, clock: Clock) -> None:
        self.teacher.update(self.student.model)
        with self.student.virtual(self.restore), self.lesson.still():
            for _ in range(self.depth):
                self.student.update(self.objective(batch, clock).loss)
                self.teacher.update(self.student.model, count=self.count_all)


class WideFutureSelfTraining(TeacherGuided):
    """Let the teacher average ``width`` futures, each one step ahead on another batch (FST-W).

    Source: the paper's FST-W in the order of the released code: virtual steps on future batches from today's weights,
    an EMA with the mean of the weights found there, the real step, an EMA with the stepped student.

    Args:
        task: Kind of output.
        make_learner: Builds the student.
        width: Futures N >= 1; each needs a batch of its own, drawn from the steps to come.
        faithful: See ``FutureSelfTraining``.
        settings: See ``TeacherGuided`` and ``Lesson``; thresholds and priors move in the real step only.

    Raises:
        ValueError: for a width below 1 or an unknown ``faithful``.
    """

    def __init__(
        self, task: Task, make_learner: MakeLearner, *, width: int = 3, faithful: Faithful = "paper", **settings: Any
    ) -> None:
        super().__init__(task, make_learner, **settings)
        if width < 1:
            raise ValueError(f"width is {width}; it must be at least 1")
        self.extra_batches = width
        self.restore, self.count_all = _faith(faithful)

    def step(self, batch: Batch, clock: Clock, *extra: Batch) -> Report:
        """Visit every future, average, come back, learn."""
        if not self.student.gathering:
            futures = [self._visit(ahead, clock) for ahead in extra]
            self.teacher.update(*futures, count=self.count_all)
        outcome = self.objective(batch, clock)
        if self.student.update(outcome.loss):
            self.teacher.update(self.student.model)
        return outcome.report()

    def _visit(self, ahead: Batch, clock: Clock) -> nn.Module:
        with self.student.virtual(self.restore), self.lesson.still():
            self.student.update(self.objective(ahead, clock).loss)
            return copy.deepcopy(self.student.model)


def _faith(faithful: Faithful) -> tuple[Restore, bool]:
    """What a virtual step brings back, and whether virtual updates advance the teacher's warm start."""
    if faithful not in ("paper", "code"):
        raise ValueError(f"faithful is {faithful!r}; choose 'paper' or 'code'")
    return ("all", False) if faithful == "paper" else ("parameters", True)
