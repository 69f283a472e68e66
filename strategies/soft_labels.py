"""Soft pseudo-labels with mixup.

Arazo et al., "Pseudo-Labeling and Confirmation Bias in Deep Semi-Supervised Learning", IJCNN 2020, arXiv:1908.02983.

Algorithm: 1. every unlabeled sample has a soft label, the network's prediction during the last epoch; 2. labeled and
unlabeled samples of a batch, at least ``min_labeled`` of them labeled, are mixed with one another; 3. mixup loss + a
term that keeps the mean prediction near the class prior + an entropy term; 4. a separate pass without gradient stores
the predictions for the next epoch; 5. at the end of the epoch they become the labels.

Warm-up is a stage: train ``Supervised`` first and pass it to ``learner(..., init_from=stage)``. Left out: weight
averaging at the end (SWA). Differs: a row that was not visited, or a pixel that a cropped view left out, keeps its
label, where the released code sets such rows to zero; before its first visit a sample takes the label the network gives
it at that moment (their pass over all samples after warm-up).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from selftrain.mix import cat, mixup
from selftrain.networks.ema import Buffers
from selftrain.networks.student import LabelMode, MakeLearner, check_label_mode
from selftrain.select import Selector, everything, score
from selftrain.strategy.label_memory import LabelMemory
from selftrain.strategy.losses import entropy_loss, prior_loss
from selftrain.strategy.single import SingleStudent
from selftrain.tasks import Task, unmoved
from selftrain.types import Batch, Clock, PseudoLabels, Report, Target


class SoftLabels(SingleStudent):
    """Learn mixtures of labeled samples and of last epoch's soft labels.

    Source: the paper's eq. 1 to 6. Defaults are those of the released code: alpha 1, both weights, 16 labeled samples
    in a batch of 100 (``BatchPlan(labeled=16, unlabeled_ratio=84 / 16)``).

    Args:
        task: Kind of output.
        make_learner: Builds the student.
        unlabeled: Number of unlabeled samples N (rows of the label bank).
        label_shape: Shape of one label: ``(classes,)``, or ``(classes, H, W)``.
        alpha: Mixup concentration, >= 0; 0 turns mixup off.
        prior_weight: Factor of the prior term, >= 0 (for keypoints the prior is over places: set 0).
        entropy_weight: Factor of the entropy term, >= 0.
        prior: Class shares, shape (classes,); ``None``: uniform.
        select: Rule from confidence to weight; ``None``, as in the paper: everything.
        min_labeled: Labeled samples that a batch must hold.
        label_view: View that the labels of the next epoch are made on.
        label_mode: How that pass treats BatchNorm and dropout: ``"batch"``: batch statistics, no dropout.
        decay: EMA decay of a shipped teacher; ``None``, as in the paper: ship the student.

    Raises:
        ValueError: for a negative weight or a prior that does not fit, and at the first step if the batch holds fewer
            than ``min_labeled``, or if ``unlabeled`` or ``label_shape`` do not fit the data.
    """

    def __init__(
        self,
        task: Task,
        make_learner: MakeLearner,
        *,
        unlabeled: int,
        label_shape: tuple[int, ...],
        alpha: float = 1.0,
        prior_weight: float = 0.8,
        entropy_weight: float = 0.4,
        prior: Tensor | None = None,
        select: Selector | None = None,
        min_labeled: int = 16,
        label_view: str = "plain",
        label_mode: LabelMode = "batch",
        decay: float | None = None,
        buffers: Buffers = "ema",
    ) -> None:
        super().__init__(task, make_learner, decay=decay, buffers=buffers)
        if min(alpha, prior_weight, entropy_weight) < 0:
            weights = f"alpha {alpha}, prior_weight {prior_weight}, entropy_weight {entropy_weight}"
            raise ValueError(f"{weights}: all must be 0 or more")
        if select is not None and select.reads_labeled:
            raise ValueError(
                "select reads labeled predictions, and these labels are of the last epoch; use another rule"
            )
        if prior is not None and prior.shape != label_shape[:1]:
            raise ValueError(f"prior has shape {tuple(prior.shape)}; there are {label_shape[0]} classes")
        self.bank = LabelMemory(task, unlabeled, label_shape)
        self.alpha, self.prior_weight, self.entropy_weight = alpha, prior_weight, entropy_weight
        self.prior, self.select, self.min_labeled = prior, select or everything(), min_labeled
        self.label_view, self.label_mode = label_view, check_label_mode(label_mode)
        self.views = ("weak",) if label_view == "weak" else ("weak", label_view)

    def step(self, batch: Batch, clock: Clock, *extra: Batch) -> Report:
        """Store fresh predictions, learn the mixed batch."""
        self._check(batch)
        unlabeled, weak, view = batch.unlabeled, batch.unlabeled["weak"], batch.unlabeled[self.label_view]
        # h_theta(x): what the network says now goes to the next epoch, as labels of the unmoved image.
        fresh = unmoved(self.task, self.task.probs(self.student.label(view.x, self.label_mode)), view)
        shown, known = fresh.mask(), self.bank.known[unlabeled.index]
        self.bank.write(unlabeled.index, fresh.value, shown)
        # y~: what it said in the last epoch; before the first visit there is only what it says now.
        value = torch.where(self.task.spread(known), self.bank.read(unlabeled.index), fresh.value)
        weight = self.select(score(self.task, value, unlabeled.index, entropy=self.select.reads_entropy))
        labels = PseudoLabels(unlabeled.index, value, weight * shown.clamp(min=known.to(shown)), unmoved=True)
        # Mixup of labeled and unlabeled samples with one another: x = d x_p + (1 - d) x_q, and so their labels
        target = cat(batch.labeled.target, self.task.warp(Target(labels.value, labels.weight), weak))
        x = torch.cat([batch.labeled.x, weak.x])
        mixed, target = mixup(x, target, self.task, alpha=self.alpha)
        logits = self.student(mixed)
        # l* + lambda_A R_A + lambda_H R_H (eq. 2): R_A keeps classes from dying out, R_H predictions from staying flat
        loss = self.task.loss(logits, target)
        h = self.task.distribution(self.task.probs(logits))
        prior, entropy = prior_loss(h, self.prior), entropy_loss(h)
        moved = self.student.update(loss + self.prior_weight * prior + self.entropy_weight * entropy)
        if moved and self.ema is not None:
            self.ema.update(self.student.model)
        used = (labels.weight > 0).float().mean()
        scalars = {"loss/mixed": loss, "loss/prior": prior, "loss/entropy": entropy, "used": used}
        return Report({name: value.detach() for name, value in scalars.items()}, labels)

    def end_epoch(self, clock: Clock) -> Mapping[str, Tensor]:
        """Take this epoch's predictions into use."""
        return {"bank/written": self.bank.turn()}

    def _check(self, batch: Batch) -> None:
        if len(batch.labeled.x) < self.min_labeled:
            raise ValueError(
                f"the batch holds {len(batch.labeled.x)} labeled samples, fewer than min_labeled={self.min_labeled}; "
                "raise BatchPlan(labeled=...) or lower min_labeled"
            )
