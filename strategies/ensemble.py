"""Ensemble: N networks label for one another, with or without a class for outliers.

After Stojnic et al., "Training Ensembles with Inliers and Outliers for Semi-supervised Active Learning", WACV 2024,
arXiv:2307.03741.

Algorithm: 1. every member predicts the weak view; 2. members that side with the consensus are inliers; the consensus is
the mean of probabilities; 3. units with at least a ``quorum`` of inliers are used, weighted by how little entropy the
consensus has; 4. every member learns labels and the strong view under that one target; 5. an outlier class is learned
like any other and left out of what is shipped.

Left out: acquisition (active learning). Differs: members are trained together step by step, not in rounds; the quorum
is ours (``quorum=0`` turns it off; the paper's setting is ``quorum=0, weighting="entropy", hard=True``).
"""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from torch import Tensor

from selftrain.networks.student import LabelMode, MakeLearner
from selftrain.strategy.base import Predictor
from selftrain.strategy.losses import Guess
from selftrain.strategy.pseudo_labeling import Lesson
from selftrain.strategy.several import PeerStrategy, joint_report
from selftrain.tasks import Task
from selftrain.types import Batch, Clock, Report

Weighting = Literal["equal", "share", "entropy"]


class Ensemble(PeerStrategy):
    """Let the agreement of several networks decide which pseudo-labels count, and how much.

    Args:
        task: Kind of output; it says what agreement means.
        make_learner: Builds one member; pass a *function* to ``learner`` so that members start differently.
        members: Number of networks N >= 2.
        quorum: Share of members that must side with the consensus, in [0, 1].
        weighting: Weight of a used unit: ``"equal"``: 1; ``"share"``: share of agreeing members; ``"entropy"``:
            ``1 - H(consensus) / log(choices)``, the paper's v(u).
        inliers_only: Average the inliers' predictions instead of all members'. Where nobody sides with the consensus,
            all are heard.
        outlier_class: Number of the class that labeled outliers have; ``predict`` gives it probability 0. ``None``:
            there is none.
        hard: Whether decisions or soft predictions are the targets.
        label_mode: How the weak passes treat BatchNorm and dropout, see ``Learner.label``.
        decay: Decay of a moving average of each member, which then predicts in its place; ``None``: none.
        buffers: See ``Teacher``.
        lesson: Further settings of ``Lesson``: unlabeled_weight, rampup, distance, select, temperature, align,
            align_targets, mix, together.

    Raises:
        ValueError: for fewer than two members, a quorum outside [0, 1], an unknown weighting or outlier class.
    """

    counted: Tensor

    def __init__(
        self,
        task: Task,
        make_learner: MakeLearner,
        *,
        members: int = 3,
        quorum: float = 0.6,
        weighting: Weighting = "equal",
        inliers_only: bool = False,
        outlier_class: int | None = None,
        hard: bool = False,
        label_mode: LabelMode = "eval",
        decay: float | None = None,
        buffers: Literal["copy", "ema"] = "ema",
        **lesson: Any,
    ) -> None:
        super().__init__(task, make_learner, members=members, label_mode=label_mode, decay=decay, buffers=buffers)
        if not 0 <= quorum <= 1:
            raise ValueError(f"quorum is {quorum}; it must be in [0, 1]")
        if weighting not in ("equal", "share", "entropy"):
            raise ValueError(f"weighting is {weighting!r}; choose 'equal', 'share' or 'entropy'")
        self.quorum, self.weighting, self.inliers_only = quorum, weighting, inliers_only
        self.outlier_class = outlier_class
        self.lesson = Lesson(task, hard=hard, **lesson)
        self.register_buffer("counted", self._counted(), persistent=False)

    def step(self, batch: Batch, clock: Clock, *extra: Batch) -> Report:
        """One joint pseudo-label, one gradient step a member."""
        guess, inliers = self._consensus(batch)
        outcomes = []
        for i, member in enumerate(self.learners()):
            outcomes.append(self.lesson.loss(member, batch, guess, clock))
            self.advance(i, outcomes[-1].loss)
        return joint_report(outcomes, agreement=inliers)

    def predictors(self) -> dict[str, Predictor]:
        """The mean of the members, and each member; all without the outlier class, if there is one."""
        found = super().predictors()
        return found if self.outlier_class is None else {name: self._inlying(p) for name, p in found.items()}

    @torch.no_grad()
    def _consensus(self, batch: Batch) -> tuple[Guess, Tensor]:
        """The joint pseudo-label of the weak view, and the mean share of inliers."""
        values = self.look(batch.unlabeled["weak"].x)
        inlier = self.task.agree(values).to(values)  # (N, B, *U)
        share = inlier.mean(0)
        heard = torch.where(share > 0, inlier, 1.0) if self.inliers_only else torch.ones_like(inlier)
        spread = torch.stack([self.task.spread(h) for h in heard])
        value = (values * spread).sum(0) / spread.sum(0)
        given = self.look(batch.labeled.x).mean(0) if self.lesson.reads_labeled else None
        guess = self.lesson.judge(value, batch.unlabeled.index, given, share)
        return guess.scaled(self._weight(value, share)), share.mean()

    def _weight(self, value: Tensor, share: Tensor) -> Tensor:
        """Weight of each unit (B, *U) by the members' agreement and the entropy of their consensus."""
        used = (share >= self.quorum).to(share)
        if self.weighting == "share":
            return used * share
        return used * self._certainty(value) if self.weighting == "entropy" else used

    def _certainty(self, value: Tensor) -> Tensor:
        """1 - entropy / its maximum: 1 for one sure choice, 0 for a uniform distribution."""
        spread = self.task.distribution(value)
        entropy = -(spread * spread.clamp(min=1e-12).log()).sum(-1)
        return (1 - entropy / math.log(spread.shape[-1])).clamp(min=0)

    def _counted(self) -> Tensor:
        """Factor of each class in what is shipped: 0 for outliers."""
        factor = torch.ones(self.task.groups)
        if self.outlier_class is None:
            return factor
        if not 0 <= self.outlier_class < self.task.groups:
            raise ValueError(f"outlier_class is {self.outlier_class}; the classes are 0 to {self.task.groups - 1}")
        factor[self.outlier_class] = 0
        try:
            self.task.reweigh(factor[None], factor)  # refused where there are no classes
        except ValueError as error:
            raise ValueError(f"outlier_class is {self.outlier_class}, but joints have no classes; set None") from error
        return factor

    def _inlying(self, predict: Predictor) -> Predictor:
        return lambda x: self.task.reweigh(predict(x), self.counted)
