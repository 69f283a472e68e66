"""JointMatch: Zou & Caragea, "A Unified Approach for Pseudo-Labeling", EMNLP 2023, arXiv:2310.14583.

Algorithm: 1. two networks with different starts predict the weak view; 2. thresholds follow the class-wise status of
the predictions; 3. each network learns on the strong view what the other is confident of (cross-labeling); 4. samples
on which the two disagree weigh delta, those on which they agree 1 - delta.

Left out: nothing. Differs: labeled and unlabeled losses make one step together (the released code steps for each of ten
unlabeled batches after each labeled one); weak views are predicted in evaluation mode, there in training mode
(``label_mode``, docs/passes.md).
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from selftrain.mix import Mix
from selftrain.networks.ema import Buffers
from selftrain.networks.student import LabelMode, MakeLearner
from selftrain.schedule import Schedule
from selftrain.select import ClassWise, Selector
from selftrain.select.alignment import Align
from selftrain.strategy.pseudo_labeling import Distance, PseudoLabel, PseudoLabeling
from selftrain.strategy.several import SeveralStudents, mean_report
from selftrain.tasks import Task, relative
from selftrain.types import Batch, Clock, Report


class JointMatch(SeveralStudents):
    """Let two networks teach each other what they are sure of, most of all where they disagree.

    Source: the paper's section 3 in the form of the released code. Defaults: threshold 0.98, status decay 0.9, delta
    0.9, weight 1, hard labels, one status for both networks, no averages. The other settings are explained in
    ``PseudoLabeling`` and ``SeveralStudents``.

    Args:
        task: Kind of output.
        make_learner: Builds one network; pass a *function* to ``learner`` so that the two start differently; or two.
        threshold: Threshold of the most present class, in (0, 1].
        status_decay: Share of the old status that stays at each look, in [0, 1).
        shared_status: One status that both networks move, one after the other (the released code), or one for each.
        delta: Weight of units that the networks disagree on, in [0, 1]; the others weigh 1 - delta.
        disagree_on: What disagreement means: ``"mask"``: only the labeling network is confident (the released code);
            ``"label"``: their decisions differ.
        select: Rule instead of the class-wise thresholds; each network gets a copy unless the status is shared.
        decay: Decay of a moving average of each network, which then predicts in its place (0.9 in the paper's IMDB
            runs); ``None``: none.

    Raises:
        ValueError: for a delta outside [0, 1], an unknown ``disagree_on``, or thresholds beside a ``select``.
    """

    def __init__(
        self,
        task: Task,
        make_learner: MakeLearner | Sequence[MakeLearner],
        *,
        threshold: float = 0.98,
        status_decay: float = 0.9,
        shared_status: bool = True,
        delta: float = 0.9,
        disagree_on: Literal["mask", "label"] = "mask",
        select: Selector | None = None,
        hard: bool = True, temperature: float = 1.0, align: Align | None = None, align_targets: bool = True,
        mix: Mix | None = None, distance: Distance = "ce", unlabeled_weight: float = 1.0,
        rampup: Schedule | None = None, together: bool = True, label_mode: LabelMode = "eval",
        decay: float | None = None, buffers: Buffers = "ema",
    ) -> None:  # fmt: skip
        super().__init__(task, make_learner, label_mode=label_mode, decay=decay, buffers=buffers)
        if not 0 <= delta <= 1:
            raise ValueError(f"delta is {delta}; it must be in [0, 1]")
        if disagree_on not in ("mask", "label"):
            raise ValueError(f"disagree_on is {disagree_on!r}; choose 'mask' or 'label'")
        if select is not None and (threshold, status_decay) != (0.98, 0.9):
            raise ValueError("select replaces the class-wise thresholds; leave out threshold and status_decay")
        self.delta, self.disagree_on = delta, disagree_on
        rule = select or ClassWise(task.groups, threshold=threshold, decay=status_decay)
        first = PseudoLabeling(
            task, select=rule, hard=hard, temperature=temperature, align=align, align_targets=align_targets, mix=mix,
            distance=distance, unlabeled_weight=unlabeled_weight, rampup=rampup, together=together,
        )  # fmt: skip
        self.pseudo_labelings = nn.ModuleList([first, first if shared_status else copy.deepcopy(first)])

    def step(self, batch: Batch, clock: Clock, *extra: Batch) -> Report:
        """Both networks label, then each learns from the other."""
        weak, strong = batch.unlabeled["weak"], batch.unlabeled["strong"]
        pseudo_f, pseudo_g = self.pseudo_labels(batch)  # of both before either moves
        reports = []
        for i, (learner, own, peer) in enumerate(
            zip(self.learners(), (pseudo_f, pseudo_g), (pseudo_g, pseudo_f), strict=True)
        ):
            # Cross-labeling: what the peer is sure of, weighted by delta where the two disagree, else by 1 - delta
            pseudo, labeling = peer.scaled(self.importance(peer, own)), self.labeling(i)
            x, target = labeling.mixed(
                strong.x, self.task.warp(pseudo.target, relative(weak, strong)), batch.labeled, pseudo
            )
            logits, strong_logits = learner(batch.labeled.x, x, together=labeling.together)
            supervised = self.task.loss(logits, batch.labeled.target)
            unsupervised = labeling.loss(strong_logits, target)
            if learner.update(supervised + labeling.weight(clock) * unsupervised):
                self.follow(i)
            reports.append(pseudo.report(supervised=supervised, unsupervised=unsupervised))
        return mean_report(reports)

    def pseudo_labels(self, batch: Batch) -> list[PseudoLabel]:
        """Each network's pseudo-labels of the weak view; a shared status takes in the first, then the second."""
        values, index = self.predict_each(batch.unlabeled["weak"].x), batch.unlabeled.index
        labeled = self.predict_each(batch.labeled.x) if self.labeling(0).reads_labeled else [None, None]
        shares = self.task.agree(values).to(values).mean(0)
        return [self.labeling(i).make(values[i], index, labeled[i], shares) for i in range(2)]

    def importance(self, labeling: PseudoLabel, learning: PseudoLabel) -> Tensor:
        """Weight of each unit (B, *U): delta where the networks disagree, else 1 - delta."""
        if self.disagree_on == "label":
            both = torch.stack([labeling.labels.value, learning.labels.value])
            differ = ~self.task.agree(both).all(0)
        else:
            differ = (labeling.labels.weight > 0) != (learning.labels.weight > 0)
        return torch.where(differ, self.delta, 1 - self.delta).to(labeling.labels.weight)

    def labeling(self, member: int) -> PseudoLabeling:
        """How a network labels: with the status of its own, or with that of both."""
        found = self.pseudo_labelings[member]
        assert isinstance(found, PseudoLabeling)
        return found
