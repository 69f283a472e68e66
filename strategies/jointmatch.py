"""JointMatch: Zou & Caragea, "A Unified Approach for Pseudo-Labeling", EMNLP 2023, arXiv:2310.14583.

Algorithm: 1. two networks with different starts predict the weak view; 2. thresholds follow the class-wise status of
the predictions; 3. each network learns on the strong view what the other is confident of (cross-labeling); 4. samples
on which the two disagree weigh delta, those on which they agree 1 - delta.

Left out: nothing. Differs: labeled and unlabeled losses make one step together (the released code steps for each of ten
unlabeled batches after each labeled one).
"""

from __future__ import annotations

import copy
from typing import Any, Literal

import torch
from torch import Tensor, nn

from selftrain.networks.student import LabelMode, MakeLearner
from selftrain.select import ClassWise, Selector
from selftrain.strategy.losses import Guess
from selftrain.strategy.pseudo_labeling import Lesson
from selftrain.strategy.several import PeerStrategy, joint_report
from selftrain.tasks import Task
from selftrain.types import Batch, Clock, Report


class JointMatch(PeerStrategy):
    """Let two networks teach each other what they are sure of, most of all where they disagree.

    Source: the paper's section 3 in the form of the released code. Defaults: threshold 0.98, status decay 0.9, delta
    0.9, weight 1, hard labels, one status for both networks, no averages.

    Args:
        task: Kind of output.
        make_learner: Builds one network; pass a *function* to ``learner`` so that the two start differently.
        threshold: Threshold of the most present class, in (0, 1].
        status_decay: Share of the old status that stays at each look, in [0, 1).
        shared_status: One status that both networks move, one after the other (the released code), or one for each.
        delta: Weight of units that the networks disagree on, in [0, 1]; the others weigh 1 - delta.
        disagree_on: What disagreement means: ``"mask"``: only the labeling network is confident (the released code);
            ``"label"``: their decisions differ.
        select: Rule instead of the class-wise thresholds; each network gets a copy unless the status is shared.
        label_mode: How the labeling passes treat BatchNorm and dropout, see ``Learner.label``.
        decay: Decay of a moving average of each network, which then predicts in its place (0.9 in the paper's IMDB
            runs); ``None``: none.
        buffers: See ``Teacher``.
        lesson: Further settings of ``Lesson``: unlabeled_weight, rampup, distance, hard, temperature, align,
            align_targets, mix, together.

    Raises:
        ValueError: for a delta outside [0, 1], an unknown ``disagree_on``, or thresholds beside a ``select``.
    """

    def __init__(
        self,
        task: Task,
        make_learner: MakeLearner,
        *,
        threshold: float = 0.98,
        status_decay: float = 0.9,
        shared_status: bool = True,
        delta: float = 0.9,
        disagree_on: Literal["mask", "label"] = "mask",
        select: Selector | None = None,
        label_mode: LabelMode = "eval",
        decay: float | None = None,
        buffers: Literal["copy", "ema"] = "ema",
        **lesson: Any,
    ) -> None:
        super().__init__(task, make_learner, label_mode=label_mode, decay=decay, buffers=buffers)
        if not 0 <= delta <= 1:
            raise ValueError(f"delta is {delta}; it must be in [0, 1]")
        if disagree_on not in ("mask", "label"):
            raise ValueError(f"disagree_on is {disagree_on!r}; choose 'mask' or 'label'")
        if select is not None and (threshold, status_decay) != (0.98, 0.9):
            raise ValueError("select replaces the class-wise thresholds; leave out threshold and status_decay")
        self.delta, self.disagree_on = delta, disagree_on
        rule = select or ClassWise(task.groups, threshold=threshold, decay=status_decay)
        first = Lesson(task, select=rule, **lesson)
        self.lessons = nn.ModuleList([first, first if shared_status else copy.deepcopy(first)])

    def step(self, batch: Batch, clock: Clock, *extra: Batch) -> Report:
        """Both networks label, then each learns from the other."""
        guesses = self.guesses(batch)
        outcomes = []
        for i, learner in enumerate(self.learners()):
            peer = guesses[1 - i].scaled(self.importance(guesses[1 - i], guesses[i]))
            outcomes.append(self._lesson(i).loss(learner, batch, peer, clock))
            self.advance(i, outcomes[-1].loss)
        return joint_report(outcomes)

    def guesses(self, batch: Batch) -> list[Guess]:
        """Each network's pseudo-labels of the weak view; a shared status takes in the first, then the second."""
        values, index = self.look(batch.unlabeled["weak"].x), batch.unlabeled.index
        given = self.look(batch.labeled.x) if self._lesson(0).reads_labeled else [None, None]
        shares = self.task.agree(values).to(values).mean(0)
        return [self._lesson(i).judge(values[i], index, given[i], shares) for i in range(2)]

    def importance(self, labeling: Guess, learning: Guess) -> Tensor:
        """Weight of each unit (B, *U): delta where the networks disagree, else 1 - delta."""
        if self.disagree_on == "label":
            both = torch.stack([labeling.labels.value, learning.labels.value])
            differ = ~self.task.agree(both).all(0)
        else:
            differ = (labeling.labels.weight > 0) != (learning.labels.weight > 0)
        return torch.where(differ, self.delta, 1 - self.delta).to(labeling.labels.weight)

    def _lesson(self, member: int) -> Lesson:
        lesson = self.lessons[member]
        assert isinstance(lesson, Lesson)
        return lesson
