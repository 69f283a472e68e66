"""CPS: Chen et al., "Semi-Supervised Semantic Segmentation with Cross Pseudo Supervision", CVPR 2021, arXiv:2106.01226.

Algorithm: 1. two networks with different starts predict all samples; 2. each one's decisions are the labels of the
other, on labeled and unlabeled samples alike, without threshold; 3. both step on supervised + weighted cross loss.
With a mix both networks label the unlabeled samples as they are and learn one and the same mixture, in which each one's
decisions are mixed alike; ``mix=CutMixSeg(1.0), on_labeled=False`` is the paper's CutMix variant.

Left out: nothing. Differs: decisions come from a pass of their own in evaluation mode, in the paper from the training
pass (``label_mode``, docs/passes.md); the shipped prediction is the mean of both networks (the paper tests the first
alone: ``export``).
"""

from __future__ import annotations

from collections.abc import Sequence

from selftrain.mix import Mix
from selftrain.networks.ema import Buffers
from selftrain.networks.student import LabelMode, MakeLearner
from selftrain.schedule import Schedule
from selftrain.select import Selector
from selftrain.select.alignment import Align
from selftrain.strategy.pseudo_labeling import Distance, PseudoLabeling
from selftrain.strategy.several import SeveralStudents, mean_report
from selftrain.tasks import Task, relative
from selftrain.types import Batch, Clock, Report


class CrossPseudoSupervision(SeveralStudents):
    """Let two networks label for each other.

    Source: the paper's eq. 1 to 4. Default weight 1.5 (Pascal VOC), hard labels, no threshold. The other settings are
    explained in ``PseudoLabeling`` and ``SeveralStudents``.

    Args:
        task: Kind of output.
        make_learner: Builds one network; pass a *function* to ``learner`` so that the two start differently; or two.
        unlabeled_weight: Factor of the cross loss, >= 0.
        on_labeled: Cross-label the labeled samples too, as the paper does without CutMix; all of them count, unmixed
            and unaligned, whatever ``select`` keeps of the others.
    """

    views = ("weak",)

    def __init__(
        self,
        task: Task,
        make_learner: MakeLearner | Sequence[MakeLearner],
        *,
        unlabeled_weight: float = 1.5,
        on_labeled: bool = True,
        rampup: Schedule | None = None, distance: Distance = "ce", select: Selector | None = None, hard: bool = True,
        temperature: float = 1.0, align: Align | None = None, align_targets: bool = True, mix: Mix | None = None,
        together: bool = True, label_mode: LabelMode = "eval", decay: float | None = None, buffers: Buffers = "ema",
    ) -> None:  # fmt: skip
        super().__init__(task, make_learner, label_mode=label_mode, decay=decay, buffers=buffers)
        self.on_labeled = on_labeled
        self.pseudo_labeling = PseudoLabeling(
            task, unlabeled_weight=unlabeled_weight, rampup=rampup, distance=distance, select=select, hard=hard,
            temperature=temperature, align=align, align_targets=align_targets, mix=mix, together=together,
        )  # fmt: skip

    def step(self, batch: Batch, clock: Clock, *extra: Batch) -> Report:
        """Both networks label, then each learns from the other."""
        view, labeled, labeling = batch.unlabeled["weak"], batch.labeled, self.pseudo_labeling
        # P_1 and P_2 of all samples, before either network moves
        p = self.predict_each(view.x)
        p_labeled = self.predict_each(labeled.x) if self.on_labeled or labeling.reads_labeled else None
        shares = self.task.agree(p).to(p).mean(0)
        # Y_peer: its decisions are the labels of the other network (eq. 2), on the view they were made on
        pseudo = [
            labeling.make(p[peer], batch.unlabeled.index, None if p_labeled is None else p_labeled[peer], shares)
            for peer in (1, 0)
        ]
        # One mixture of the pictures for both networks, and both networks' decisions mixed like it
        targets = [self.task.warp(one.target, relative(view, view)) for one in pseudo]
        mixtures = labeling.mixed_alike(view.x, targets, labeled, pseudo[0])
        reports = []
        for i, learner in enumerate(self.learners()):
            x, target = mixtures[i]
            logits, unlabeled_logits = learner(labeled.x, x, together=labeling.together)
            # L_s + lambda (L_cps^u + L_cps^l) (eq. 1 to 4)
            supervised, unsupervised = self.task.loss(logits, labeled.target), labeling.loss(unlabeled_logits, target)
            loss = supervised + labeling.weight(clock) * unsupervised
            if self.on_labeled and p_labeled is not None:
                # Labeled samples are crossed too: every unit that has a label, whatever the peer's confidence
                valid = labeled.target
                cross = labeling.target(p_labeled[1 - i], valid.mask(), valid.valid)
                loss = loss + labeling.weight(clock) * labeling.loss(logits, cross)
            if learner.update(loss):
                self.follow(i)
            reports.append(pseudo[i].report(supervised=supervised, unsupervised=unsupervised))
        return mean_report(reports)
