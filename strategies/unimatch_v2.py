"""UniMatch V2: Yang et al., "Pushing the Limit of Semi-Supervised Semantic Segmentation", 2024, arXiv:2410.10777.

Algorithm: 1. the average of the student predicts the weak view; 2. its sure decisions are the labels of two strong
views; 3. on the way from encoder to head one of them keeps a random half of the channels, the other the other half
(complementary dropout), in half of the pictures; 4. supervised loss + the mean of the two losses, student step; 5. the
average follows.

It is UniMatch with another teacher and one stream for pictures and features; made for large ViT encoders (DINOv2),
whose layers share one mask, and takes any network that UniMatch takes: maps of other widths have masks of their own.
Left out: nothing. Differs: as UniMatch; each strong view is a pass of its own, which matters for BatchNorm alone; the
whole is not halved.
"""

from __future__ import annotations

import torch
from torch import Tensor

from selftrain.mix import Mix
from selftrain.networks.ema import Buffers, Teacher
from selftrain.networks.student import MakeLearner
from selftrain.schedule import Schedule
from selftrain.select import Selector
from selftrain.select.alignment import Align
from selftrain.strategies.unimatch import UniMatch, by_channel, features_changed
from selftrain.strategy.pseudo_labeling import Distance
from selftrain.tasks import Task, relative
from selftrain.types import Batch, Clock, Report


class UniMatchV2(UniMatch):
    """Learn two strong views that share out the channels of their features, from sure decisions of the average.

    Defaults are the released ones for Pascal VOC: threshold 0.95, decay 0.996 with a warm start, the features of half
    of the pictures shared out. The other settings are explained in ``PseudoLabeling`` and ``SingleStudent``.

    Args:
        task: Kind of output.
        make_learner: Builds the student.
        threshold: Confidence tau that a decision needs, in [0, 1].
        select: Rule from confidence to weight in place of the threshold.
        shared_out: Share of the pictures whose channels are shared out, in [0, 1]; the others keep all.
        decay: EMA decay of the teacher, in [0, 1].

    Raises:
        ValueError: for a threshold beside a ``select``, a share out of its range, and as ``PseudoLabeling`` does.
    """

    def __init__(
        self,
        task: Task,
        make_learner: MakeLearner,
        *,
        threshold: float = 0.95,
        select: Selector | None = None,
        shared_out: float = 0.5,
        decay: float = 0.996, buffers: Buffers = "ema", hard: bool = True, temperature: float = 1.0,
        align: Align | None = None, align_targets: bool = True, mix: Mix | None = None, distance: Distance = "ce",
        unlabeled_weight: float = 1.0, rampup: Schedule | None = None,
    ) -> None:  # fmt: skip
        super().__init__(
            task, make_learner, threshold=threshold, select=select, feature_share=0.0, hard=hard,
            temperature=temperature, align=align, align_targets=align_targets, mix=mix, distance=distance,
            unlabeled_weight=unlabeled_weight, rampup=rampup, decay=decay, buffers=buffers,
        )  # fmt: skip
        if not 0 <= shared_out <= 1:
            raise ValueError(f"shared_out is {shared_out}; it must be in [0, 1]")
        self.shared_out = shared_out

    @property
    def teacher(self) -> Teacher:
        """The moving average, which labels."""
        assert self.ema is not None  # decay is a number here
        return self.ema

    def step(self, batch: Batch, clock: Clock, *extra: Batch) -> Report:
        """Let the average label the weak view, learn both strong ones, let the average follow."""
        weak, labeling = batch.unlabeled["weak"], self.pseudo_labeling
        # p_w = f'(A_w(x_u)) of the average f'
        p_w = self.task.probs(self.teacher(weak.x))
        labeled = self.task.probs(self.teacher(batch.labeled.x)) if labeling.reads_labeled else None
        pseudo = labeling.make(p_w, batch.unlabeled.index, labeled)
        # A_s1 and A_s2 of the same pictures, each carried into its own geometry and with boxes of its own
        views = [batch.unlabeled["strong"], batch.unlabeled["strong2"]]
        carried = [self.task.warp(pseudo.target, relative(weak, strong)) for strong in views]
        (x_s1, target_s1), (x_s2, target_s2) = (
            labeling.mixed(strong.x, target, batch.labeled, pseudo)
            for strong, target in zip(views, carried, strict=True)
        )
        logits = self.student(batch.labeled.x)
        # h(M * g(x_s1)) and h((2 - M) * g(x_s2)), M of zeros and twos
        split = ComplementaryDropout(self.shared_out)
        with features_changed(self.student.model, split.first):
            logits_s1 = self.student(x_s1)
        with features_changed(self.student.model, split.second):
            logits_s2 = self.student(x_s2)
        supervised = self.task.loss(logits, batch.labeled.target)
        unsupervised = (labeling.loss(logits_s1, target_s1) + labeling.loss(logits_s2, target_s2)) / 2
        if self.student.update(supervised + labeling.weight(clock) * unsupervised):
            self.teacher.update(self.student.model)
        return pseudo.report(supervised=supervised, unsupervised=unsupervised)


class ComplementaryDropout:
    """Masks of one step, by the width of the features: what one stream loses the other has twice.

    Args:
        share: Share of the pictures whose channels are shared out.
    """

    def __init__(self, share: float) -> None:
        self.share = share
        self.whole: Tensor | None = None
        self.masks: dict[int, Tensor] = {}

    def first(self, features: Tensor) -> Tensor:
        """Features (B, C, ...) of the first stream times a mask M, which is drawn for each width that is new."""
        rows, width = features.shape[:2]
        if self.whole is None:
            # as many pictures as the share says in each batch; the same ones at every layer
            self.whole = torch.rand(rows, device=features.device).argsort() < int(rows * (1 - self.share))
        if width not in self.masks:
            mask = 2.0 * (torch.rand(rows, width, device=features.device) < 0.5)
            self.masks[width] = mask.masked_fill(self.whole[:, None], 1.0)
        return by_channel(features, self.masks[width].to(features))

    def second(self, features: Tensor) -> Tensor:
        """Features of the second stream times 2 - M."""
        return by_channel(features, (2 - self.masks[features.shape[1]]).to(features))
