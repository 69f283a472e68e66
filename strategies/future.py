"""FST: Du et al., "Learning from Future: A Novel Self-Training Framework", NeurIPS 2022, arXiv:2209.06993.

Algorithm: 1. the teacher takes in today's student; 2. the student steps ahead virtually, ``depth`` times in a row
(FST-D) or once on each of ``width`` future batches (FST-W), and the teacher takes in what it finds there; 3. the
student goes back to today; 4. one real step on today's batch under the labels of the teacher from the future.

Without a look ahead it is the mean teacher with ``order="before"``, whose settings it shares. Left out: the
segmentation recipe around it (feature distance, rare-class sampling). Differs: the targets are the mean teacher's by
default (soft, squared difference, weight 10); both released scripts learn decisions by cross-entropy (``hard=True,
distance="ce", unlabeled_weight=1.0``, the one for segmentation of the surest 80 % of the pixels, the one for domain
adaptation weighted by the share of pixels above 0.968). All steps on today's batch see the same strong view, where the
released code draws it anew for each; the teacher is in evaluation mode. With gathered gradients (``accumulate``) the
look ahead is taken once an optimizer step, on the first of its batches, and labels all of them.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from selftrain.mix import Mix
from selftrain.networks.copying import copy_network
from selftrain.networks.ema import Buffers
from selftrain.networks.student import MakeLearner, Restore
from selftrain.schedule import Schedule
from selftrain.select import Selector
from selftrain.select.alignment import Align
from selftrain.strategies.mean_teacher import MeanTeacher
from selftrain.strategy.pseudo_labeling import Distance, PseudoLabel
from selftrain.tasks import Task, relative
from selftrain.types import Batch, Clock, Report

Faithful = Literal["paper", "code"]


class FutureSelfTraining(MeanTeacher):
    """Let a teacher from ``depth`` steps ahead label today's batch (FST: depth 1, FST-D: depth 3).

    Source: the paper's FST and FST-D in the order of the released code: EMA with today's student, then an EMA after
    each virtual step, then the real step. The virtual states stay in the teacher, not in the student. The other
    settings are explained in ``MeanTeacher`` and ``PseudoLabeling``; thresholds and priors move in the real step only.

    Args:
        task: Kind of output.
        make_learner: Builds the student.
        depth: Virtual steps K >= 0; 0 is the self-training baseline (``MeanTeacher(order="before")``).
        teacher_after: One more EMA after the real step, as in the released script for semi-supervised segmentation.
        faithful: ``"paper"``: virtual steps leave no trace in the student, and the warm start of the decay counts
            real steps. ``"code"``: as released, optimizer moments and BatchNorm statistics of the virtual steps stay,
            and every EMA counts.

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
        decay: float = 0.999, buffers: Buffers = "ema", unlabeled_weight: float = 10.0, rampup: Schedule | None = None,
        distance: Distance = "mse", select: Selector | None = None, hard: bool = False, temperature: float = 1.0,
        align: Align | None = None, align_targets: bool = True, mix: Mix | None = None, together: bool = True,
    ) -> None:  # fmt: skip
        super().__init__(
            task, make_learner, order="before", decay=decay, buffers=buffers, unlabeled_weight=unlabeled_weight,
            rampup=rampup, distance=distance, select=select, hard=hard, temperature=temperature, align=align,
            align_targets=align_targets, mix=mix, together=together,
        )  # fmt: skip
        if depth < 0:
            raise ValueError(f"depth is {depth}; it must be 0 or more")
        self.depth, self.teacher_after = depth, teacher_after
        self.restore, self.count_all = _faith(faithful)

    def step(self, batch: Batch, clock: Clock, *extra: Batch) -> Report:
        """Look ahead on this batch, come back, learn from what the teacher saw."""
        if not self.student.gathering:  # one look ahead an optimizer step, and it needs gradients of its own
            # phi <- mu phi + (1 - mu) theta
            self.teacher.update(self.student.model)
            # K virtual steps theta~ on the batch itself, each entering the teacher; what they do to the student, its
            # optimizer, the thresholds and the random state is gone when the block ends.
            with self.student.virtual(self.restore), self.pseudo_labeling.still():
                for _ in range(self.depth):
                    supervised, unsupervised, _ = self.losses(batch)
                    self.student.update(supervised + self.pseudo_labeling.weight(clock) * unsupervised)
                    self.teacher.update(self.student.model, count=self.count_all)
        # The real step: today's student, labels from the future
        supervised, unsupervised, pseudo = self.losses(batch)
        moved = self.student.update(supervised + self.pseudo_labeling.weight(clock) * unsupervised)
        if moved and self.teacher_after:
            self.teacher.update(self.student.model, count=self.count_all)
        return pseudo.report(supervised=supervised, unsupervised=unsupervised)

    def losses(self, batch: Batch) -> tuple[Tensor, Tensor, PseudoLabel]:
        """Supervised and unsupervised loss of the student as it is, under labels of the teacher as it is."""
        weak, strong = batch.unlabeled["weak"], batch.unlabeled["strong"]
        p = self.task.probs(self.teacher(weak.x))
        labeled = self.task.probs(self.teacher(batch.labeled.x)) if self.pseudo_labeling.reads_labeled else None
        pseudo = self.pseudo_labeling.make(p, batch.unlabeled.index, labeled)
        x, target = self.pseudo_labeling.mixed(
            strong.x, self.task.warp(pseudo.target, relative(weak, strong)), batch.labeled, pseudo
        )
        logits, strong_logits = self.student(batch.labeled.x, x, together=self.pseudo_labeling.together)
        return self.task.loss(logits, batch.labeled.target), self.pseudo_labeling.loss(strong_logits, target), pseudo


class WideFutureSelfTraining(FutureSelfTraining):
    """Let the teacher average ``width`` futures, each one step ahead on another batch (FST-W).

    Source: the paper's FST-W in the order of the released code: virtual steps on future batches from today's weights,
    an EMA with the mean of the weights found there, the real step, an EMA with the stepped student. The other settings
    are explained in ``MeanTeacher`` and ``PseudoLabeling``; thresholds and priors move in the real step only.

    Args:
        task: Kind of output.
        make_learner: Builds the student.
        width: Futures N >= 1; each needs a batch of its own, drawn from the steps to come.
        faithful: See ``FutureSelfTraining``.

    Raises:
        ValueError: for a width below 1 or an unknown ``faithful``.
    """

    def __init__(
        self,
        task: Task,
        make_learner: MakeLearner,
        *,
        width: int = 3,
        faithful: Faithful = "paper",
        decay: float = 0.999, buffers: Buffers = "ema", unlabeled_weight: float = 10.0, rampup: Schedule | None = None,
        distance: Distance = "mse", select: Selector | None = None, hard: bool = False, temperature: float = 1.0,
        align: Align | None = None, align_targets: bool = True, mix: Mix | None = None, together: bool = True,
    ) -> None:  # fmt: skip
        super().__init__(
            task, make_learner, depth=1, teacher_after=True, faithful=faithful, decay=decay, buffers=buffers,
            unlabeled_weight=unlabeled_weight, rampup=rampup, distance=distance, select=select, hard=hard,
            temperature=temperature, align=align, align_targets=align_targets, mix=mix, together=together,
        )  # fmt: skip
        if width < 1:
            raise ValueError(f"width is {width}; it must be at least 1")
        self.extra_batches = width

    def step(self, batch: Batch, clock: Clock, *extra: Batch) -> Report:
        """Visit every future, average, come back, learn."""
        if not self.student.gathering:
            # theta~_i: one virtual step on each batch to come, all from today's weights
            futures: list[nn.Module] = []
            for ahead in extra:
                with self.student.virtual(self.restore), self.pseudo_labeling.still():
                    supervised, unsupervised, _ = self.losses(ahead)
                    self.student.update(supervised + self.pseudo_labeling.weight(clock) * unsupervised)
                    futures.append(copy_network(self.student.model, share=self.student.frozen()))
            # phi <- mu phi + (1 - mu) mean_i theta~_i
            self.teacher.update(*futures, count=self.count_all)
        # The real step under the averaged teacher, which then takes in what came of it
        supervised, unsupervised, pseudo = self.losses(batch)
        if self.student.update(supervised + self.pseudo_labeling.weight(clock) * unsupervised):
            self.teacher.update(self.student.model)
        return pseudo.report(supervised=supervised, unsupervised=unsupervised)


def _faith(faithful: Faithful) -> tuple[Restore, bool]:
    """What a virtual step brings back, and whether virtual updates advance the teacher's warm start."""
    if faithful not in ("paper", "code"):
        raise ValueError(f"faithful is {faithful!r}; choose 'paper' or 'code'")
    return ("all", False) if faithful == "paper" else ("parameters", True)
