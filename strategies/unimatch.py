"""UniMatch: Yang et al., "Revisiting Weak-to-Strong Consistency in Semantic Segmentation", CVPR 2023, arXiv:2208.09910.

Algorithm: 1. the student predicts the weak view without gradient; 2. its sure decisions are the labels of two strong
views and of the weak view itself, whose features lose channels on their way from encoder to head; 3. supervised loss +
the weighted losses of the three; 4. student step. With ``mix=CutMixSeg()`` each strong view has boxes of its own, as in
the paper.

Left out: nothing. Differs: no mix unless it is given, since a task may have no pictures; the weak view is labeled by a
pass of its own in evaluation mode (``label_mode="train"`` as there, docs/passes.md); features lose channels where head
and encoder meet, for networks without ``encoder`` and ``head`` before the last layer.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from selftrain.mix import Mix
from selftrain.networks.ema import Buffers
from selftrain.networks.student import LabelMode, MakeLearner, check_label_mode
from selftrain.schedule import Schedule
from selftrain.select import Selector, above
from selftrain.select.alignment import Align
from selftrain.strategy.pseudo_labeling import Distance, PseudoLabeling
from selftrain.strategy.single import SingleStudent
from selftrain.tasks import Task, relative
from selftrain.types import Batch, Clock, Report


class UniMatch(SingleStudent):
    """Learn two strong views, and the weak one through perturbed features, from sure decisions about the weak view.

    Source: the paper's eq. 5 to 7. Defaults are the released ones for Pascal VOC: threshold 0.95, half of the
    unsupervised loss from the two strong views and half from features, half of the channels dropped. There the whole is
    halved, supervised loss and all, which is a learning rate. The other settings are explained in ``PseudoLabeling``
    and ``SingleStudent``.

    Args:
        task: Kind of output.
        make_learner: Builds the student.
        threshold: Confidence tau that a decision needs, in [0, 1].
        select: Rule from confidence to weight in place of the threshold.
        feature_share: Share mu of the unsupervised loss that is of the weak view with perturbed features, in [0, 1];
            0: no such pass. The two strong views have the rest.
        channel_drop: Share of the channels that features lose, in [0, 1).
        label_mode: How the labeling pass treats BatchNorm and dropout, see ``Learner.label``.

    Raises:
        ValueError: for a threshold beside a ``select``, a share out of its range, and as ``PseudoLabeling`` does.
    """

    views = ("weak", "strong", "strong2")

    def __init__(
        self,
        task: Task,
        make_learner: MakeLearner,
        *,
        threshold: float = 0.95,
        select: Selector | None = None,
        feature_share: float = 0.5,
        channel_drop: float = 0.5,
        hard: bool = True, temperature: float = 1.0, align: Align | None = None, align_targets: bool = True,
        mix: Mix | None = None, distance: Distance = "ce", unlabeled_weight: float = 1.0,
        rampup: Schedule | None = None, together: bool = True, label_mode: LabelMode = "eval",
        decay: float | None = None, buffers: Buffers = "ema",
    ) -> None:  # fmt: skip
        super().__init__(task, make_learner, decay=decay, buffers=buffers)
        if select is not None and threshold != 0.95:
            raise ValueError(f"threshold is {threshold}, and select replaces it; give one of them")
        if not 0 <= feature_share <= 1:
            raise ValueError(f"feature_share is {feature_share}; it must be in [0, 1]")
        if not 0 <= channel_drop < 1:
            raise ValueError(f"channel_drop is {channel_drop}; it must be in [0, 1)")
        self.feature_share, self.channel_drop = feature_share, channel_drop
        self.label_mode = check_label_mode(label_mode)
        self.pseudo_labeling = PseudoLabeling(
            task, select=select or above(threshold), hard=hard, temperature=temperature,
            align=align, align_targets=align_targets, mix=mix, distance=distance, unlabeled_weight=unlabeled_weight,
            rampup=rampup, together=together,
        )  # fmt: skip

    def step(self, batch: Batch, clock: Clock, *extra: Batch) -> Report:
        """Label the weak view, learn both strong ones and the weak one through perturbed features."""
        weak, labeling, mu = batch.unlabeled["weak"], self.pseudo_labeling, self.feature_share
        # p_w = f(A_w(x_u)), without gradient
        p_w = self.task.probs(self.student.label(weak.x, self.label_mode))
        labeled = None
        if labeling.reads_labeled:
            labeled = self.task.probs(self.student.label(batch.labeled.x, self.label_mode))
        pseudo = labeling.make(p_w, batch.unlabeled.index, labeled)
        # A_s1 and A_s2 of the same pictures, each carried into its own geometry and with boxes of its own
        views = [batch.unlabeled["strong"], batch.unlabeled["strong2"]]
        carried = [self.task.warp(pseudo.target, relative(weak, strong)) for strong in views]
        (x_s1, target_s1), (x_s2, target_s2) = (
            labeling.mixed(strong.x, target, batch.labeled, pseudo)
            for strong, target in zip(views, carried, strict=True)
        )
        logits, logits_s1, logits_s2 = self.student(batch.labeled.x, x_s1, x_s2, together=labeling.together)
        supervised = self.task.loss(logits, batch.labeled.target)
        # L_u = (1 - mu) (L_s1 + L_s2) / 2 + mu L_fp (eq. 7), L_fp of h(P(g(A_w(x_u))))
        unsupervised = (1 - mu) * (labeling.loss(logits_s1, target_s1) + labeling.loss(logits_s2, target_s2)) / 2
        if mu > 0:
            with channels_dropped(self.student.model, self.channel_drop):
                logits_fp = self.student(weak.x)
            here = self.task.warp(pseudo.target, relative(weak, weak))
            unsupervised = unsupervised + mu * labeling.loss(logits_fp, here)
        if self.student.update(supervised + labeling.weight(clock) * unsupervised) and self.ema is not None:
            self.ema.update(self.student.model)
        return pseudo.report(supervised=supervised, unsupervised=unsupervised)


@contextlib.contextmanager
def channels_dropped(network: nn.Module, share: float) -> Iterator[None]:
    """Passes inside lose a share of the channels of each sample's features, and the others grow to make up for it."""

    def drop(features: Tensor) -> Tensor:
        kept = torch.rand(features.shape[:2], device=features.device) >= share
        return by_channel(features, kept.to(features) / (1 - share))

    with features_changed(network, drop):
        yield


@contextlib.contextmanager
def features_changed(network: nn.Module, change: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Passes inside have their features changed, each of the maps (B, C, ...) where there are several.

    Features are what the ``head`` of a network with an ``encoder`` is given, but for the picture itself; else what its
    last layer with weights is.
    """
    head: Any = getattr(network, "head", None)
    if head is None or not hasattr(network, "encoder"):
        head = [part for part in network.modules() if [*part.parameters(recurse=False)]][-1]

    def each(features: Any) -> Any:
        return [each(one) for one in features] if isinstance(features, (list, tuple)) else change(features)

    hook = head.register_forward_pre_hook(lambda _, given: (*given[:-1], each(given[-1])))
    try:
        yield
    finally:
        hook.remove()


def by_channel(features: Tensor, factor: Tensor) -> Tensor:
    """Features (B, C, ...) times a factor for each channel, (B, C)."""
    return features * factor.view(*factor.shape, *[1] * (features.dim() - 2))
