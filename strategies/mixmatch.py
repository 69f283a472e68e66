"""MixMatch.

Berthelot et al., "MixMatch: A Holistic Approach to Semi-Supervised Learning", NeurIPS 2019, arXiv:1905.02249.

Algorithm: 1. the student predicts K weak views of each unlabeled sample; their mean, sharpened, is the label of all K;
2. labeled and unlabeled samples are shuffled together and mixed, each pair by a share of its own, the larger one for
the sample itself; 3. cross-entropy on the mixed labeled rows + a growing weight x the squared difference on the mixed
unlabeled rows.

Left out: weight decay on the averaged weights. Differs: all rows go through one pass (the paper interleaves batches so
that BatchNorm sees the same mixture).
"""

from __future__ import annotations

import torch

from selftrain.evaluation.agreement import siding
from selftrain.mix import Mix, Mixup, cat, pick
from selftrain.networks.ema import Buffers
from selftrain.networks.student import LabelMode, MakeLearner, check_label_mode
from selftrain.schedule import Schedule, ramp_linear
from selftrain.select import Selector
from selftrain.select.alignment import Align
from selftrain.strategy.pseudo_labeling import Distance, PseudoLabel, PseudoLabeling
from selftrain.strategy.single import SingleStudent
from selftrain.tasks import Task, unmoved
from selftrain.types import Batch, Clock, Report, View


class MixMatch(SingleStudent):
    """Learn mixtures of labeled samples and of sharpened mean predictions.

    Source: the paper's algorithm 1 and eq. 2 to 5. Defaults: K 2, temperature 0.5, alpha 0.75, weight 75 (CIFAR-10)
    after a linear rise over the first 1/64 of the stage, decay 0.999. The other settings are explained in
    ``PseudoLabeling`` and ``SingleStudent``.

    Args:
        task: Kind of output.
        make_learner: Builds the student.
        looks: Weak views K >= 1 of each unlabeled sample.
        unlabeled_weight: Final weight of the unsupervised loss, >= 0.
        rampup: Growth of that weight; ``None``: ``ramp_linear(1 / 64)``.
        temperature: Sharpening of the mean prediction, > 0.
        mix: How all rows are mixed with one another; ``None``: ``Mixup(0.75, biased=True, per_sample=True)``.
        label_mode: How the labeling passes treat BatchNorm and dropout, see ``Learner.label``. With ``"frozen"``, the
            paper's, they have statistics of their own batch: the running ones are those of mixed samples.

    Raises:
        ValueError: for ``looks`` below 1.
    """

    def __init__(
        self,
        task: Task,
        make_learner: MakeLearner,
        *,
        looks: int = 2,
        unlabeled_weight: float = 75.0,
        rampup: Schedule | None = None,
        temperature: float = 0.5,
        mix: Mix | None = None,
        label_mode: LabelMode = "frozen",
        distance: Distance = "mse", hard: bool = False, select: Selector | None = None, align: Align | None = None,
        align_targets: bool = True, together: bool = True, decay: float | None = 0.999, buffers: Buffers = "ema",
    ) -> None:  # fmt: skip
        super().__init__(task, make_learner, decay=decay, buffers=buffers)
        if looks < 1:
            raise ValueError(f"looks is {looks}; it must be at least 1")
        self.views = ("weak", *(f"weak{i}" for i in range(2, looks + 1)))
        self.label_mode = check_label_mode(label_mode)
        self.pseudo_labeling = PseudoLabeling(
            task, unlabeled_weight=unlabeled_weight, rampup=rampup or ramp_linear(1 / 64), temperature=temperature,
            mix=mix or Mixup(0.75, biased=True, per_sample=True), distance=distance, hard=hard, select=select,
            align=align, align_targets=align_targets, together=together,
        )  # fmt: skip

    def step(self, batch: Batch, clock: Clock, *extra: Batch) -> Report:
        """Label, mix everything with everything, compare."""
        looks = [batch.unlabeled[name] for name in self.views]
        # q_b of the unmoved image is the label of all K looks u^_bk, each in its own geometry.
        pseudo = self.mean_pseudo_label(batch, looks)
        labels = [self.task.warp(pseudo.target, look) for look in looks]
        # W = shuffle(concat(X^, U^)); X', U' = mixup of both with W: one call, as partners are drawn from all rows
        x = torch.cat([batch.labeled.x, *(look.x for look in looks)])
        mixed, target = self.pseudo_labeling.mixed(x, cat(batch.labeled.target, *labels))
        first = len(batch.labeled.x)
        together = self.pseudo_labeling.together
        logits, unlabeled_logits = self.student(mixed[:first], mixed[first:], together=together)
        # L_X: cross-entropy of the mixed labeled rows (eq. 3); L_U: squared difference of the others (eq. 4)
        supervised = self.task.loss(logits, pick(target, slice(None, first)))
        unsupervised = self.pseudo_labeling.loss(unlabeled_logits, pick(target, slice(first, None)))
        # L_X + lambda_U L_U (eq. 5)
        if self.student.update(supervised + self.pseudo_labeling.weight(clock) * unsupervised) and self.ema is not None:
            self.ema.update(self.student.model)
        return pseudo.report(supervised=supervised, unsupervised=unsupervised)

    def mean_pseudo_label(self, batch: Batch, looks: list[View]) -> PseudoLabel:
        """The sharpened mean of the predictions of all looks, brought back to the unmoved image.

        A unit is the mean of the looks that show it, and weighs 0 if none does. The ledger hears how many of them side
        with that mean.
        """
        # p_model(y | u^_bk) of each look
        values = [self.task.probs(self.student.label(look.x, self.label_mode)) for look in looks]
        labeled = None
        if self.pseudo_labeling.reads_labeled:
            labeled = self.task.probs(self.student.label(batch.labeled.x, self.label_mode))
        # Pixels of looks that were moved can be averaged only where they lie in the image itself.
        plain = [unmoved(self.task, value, look) for value, look in zip(values, looks, strict=True)]
        shown, value = torch.stack([said.mask() for said in plain]), torch.stack([said.value for said in plain])
        counts = torch.stack([self.task.spread(mask) for mask in shown])
        # q-bar_b (eq. 2): the mean over the looks that show a unit
        mean = (value * counts).sum(0) / counts.sum(0).clamp(min=1)
        sides = siding(self.task, value, shown) if len(looks) > 1 else None
        pseudo = self.pseudo_labeling.make(mean, batch.unlabeled.index, labeled, sides, unmoved=True)
        return pseudo.scaled(shown.amax(0))
