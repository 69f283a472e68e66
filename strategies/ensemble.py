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
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from selftrain.mix import Mix
from selftrain.networks.ema import Buffers
from selftrain.networks.student import LabelMode, MakeLearner
from selftrain.schedule import Schedule
from selftrain.select import Selector
from selftrain.select.alignment import Align
from selftrain.strategy.base import Predictor
from selftrain.strategy.pseudo_labeling import Distance, PseudoLabeling
from selftrain.strategy.several import SeveralStudents, mean_report
from selftrain.tasks import Task, has_classes, relative
from selftrain.types import Batch, Clock, Report

Weighting = Literal["equal", "share", "entropy"]


class Ensemble(SeveralStudents):
    """Let the agreement of several networks decide which pseudo-labels count, and how much.

    The other settings are explained in ``PseudoLabeling`` and ``SeveralStudents``.

    Args:
        task: Kind of output; it says what agreement means.
        make_learner: Builds one member; pass a *function* to ``learner`` so that members start differently. Or several,
            taken in turn, such as one for each of some pretrained encoders or forms of adapters.
        members: Number of networks N >= 2.
        quorum: Share of members that must side with the consensus, in [0, 1].
        weighting: Weight of a used unit: ``"equal"``: 1; ``"share"``: share of agreeing members; ``"entropy"``:
            ``1 - H(consensus) / log(choices)``, the paper's v(u).
        inliers_only: Average the inliers' predictions instead of all members'. Where nobody sides with the consensus,
            all are heard.
        outlier_class: Number of the class that labeled outliers have; ``predict`` gives it probability 0. ``None``:
            there is none.

    Raises:
        ValueError: for fewer than two members, a quorum outside [0, 1], an unknown weighting or outlier class.
    """

    counted: Tensor

    def __init__(
        self,
        task: Task,
        make_learner: MakeLearner | Sequence[MakeLearner],
        *,
        members: int = 3,
        quorum: float = 0.6,
        weighting: Weighting = "equal",
        inliers_only: bool = False,
        outlier_class: int | None = None,
        hard: bool = False, select: Selector | None = None, temperature: float = 1.0, align: Align | None = None,
        align_targets: bool = True, mix: Mix | None = None, distance: Distance = "ce", unlabeled_weight: float = 1.0,
        rampup: Schedule | None = None, together: bool = True, label_mode: LabelMode = "eval",
        decay: float | None = None, buffers: Buffers = "ema",
    ) -> None:  # fmt: skip
        super().__init__(task, make_learner, members=members, label_mode=label_mode, decay=decay, buffers=buffers)
        if not 0 <= quorum <= 1:
            raise ValueError(f"quorum is {quorum}; it must be in [0, 1]")
        if weighting not in ("equal", "share", "entropy"):
            raise ValueError(f"weighting is {weighting!r}; choose 'equal', 'share' or 'entropy'")
        self.quorum, self.weighting, self.inliers_only = quorum, weighting, inliers_only
        self.outlier_class = outlier_class
        self.pseudo_labeling = PseudoLabeling(
            task, hard=hard, select=select, temperature=temperature, align=align, align_targets=align_targets, mix=mix,
            distance=distance, unlabeled_weight=unlabeled_weight, rampup=rampup, together=together,
        )  # fmt: skip
        self.register_buffer("counted", self._counted(), persistent=False)

    def step(self, batch: Batch, clock: Clock, *extra: Batch) -> Report:
        """One joint pseudo-label, one gradient step a member."""
        weak, strong, labeling = batch.unlabeled["weak"], batch.unlabeled["strong"], self.pseudo_labeling
        # Inliers of a unit: the members that side with the mean of all
        values = self.predict_each(weak.x)
        inlier = self.task.agree(values).to(values)  # (N, B, *U)
        share = inlier.mean(0)
        # The consensus is the mean of all members, or of the inliers; where there are none, of all.
        heard = torch.where(share > 0, inlier, 1.0) if self.inliers_only else torch.ones_like(inlier)
        counts = torch.stack([self.task.spread(h) for h in heard])
        consensus = (values * counts).sum(0) / counts.sum(0)
        labeled = self.predict_each(batch.labeled.x).mean(0) if labeling.reads_labeled else None
        pseudo = labeling.make(consensus, batch.unlabeled.index, labeled, share)
        pseudo = pseudo.scaled(self._weight(consensus, share))  # v(u), 0 below the quorum
        target = self.task.warp(pseudo.target, relative(weak, strong))
        reports = []
        for i, member in enumerate(self.learners()):
            # Every member learns labels and the one target, each from mixtures of its own.
            x, mixed = labeling.mixed(strong.x, target, batch.labeled, pseudo)
            logits, strong_logits = member(batch.labeled.x, x, together=labeling.together)
            supervised, unsupervised = self.task.loss(logits, batch.labeled.target), labeling.loss(strong_logits, mixed)
            if member.update(supervised + labeling.weight(clock) * unsupervised):
                self.follow(i)
            reports.append(pseudo.report(supervised=supervised, unsupervised=unsupervised))
        return mean_report(reports, agreement=share.mean())

    def predictors(self) -> dict[str, Predictor]:
        """The mean of the members, and each member; all without the outlier class, if there is one."""
        found = super().predictors()
        return found if self.outlier_class is None else {name: self._inlying(p) for name, p in found.items()}

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
        if not has_classes(self.task):
            raise ValueError(f"outlier_class is {self.outlier_class}, but joints have no classes; set None")
        return factor

    def _inlying(self, predict: Predictor) -> Predictor:
        return lambda x: self.task.reweigh(predict(x), self.counted)
