"""FreeMatch.

Wang et al., "FreeMatch: Self-adaptive Thresholding for Semi-supervised Learning", ICLR 2023, arXiv:2205.07246.

Algorithm: 1. a moving mean of the confidence is the threshold, moving mean predictions share it out over the classes;
2. decisions about the weak view at or above the threshold of their class are learned on the strong view; 3. a fairness
term compares the mean prediction on the strong view, each class divided by its share of decisions, with the same of the
moving means, and pulls the two apart.

It is FixMatch with thresholds of its own (``selftrain.select.Free``) and one loss more, so the step is written out.
Left out: nothing. Differs: the weak view has a pass of its own in evaluation mode (``label_mode``, as in
``fixmatch.py``). The sign of the fairness term is the paper's and the released code's: minus a cross-entropy is
minimized, so the cross-entropy grows. ``fairness_sign=-1`` turns it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from selftrain.mix import Mix
from selftrain.networks.ema import Buffers
from selftrain.networks.student import LabelMode, MakeLearner
from selftrain.schedule import Schedule
from selftrain.select import Free
from selftrain.select.alignment import Align
from selftrain.strategies.fixmatch import FixMatch
from selftrain.strategy.pseudo_labeling import Distance
from selftrain.tasks import Task, has_classes, relative
from selftrain.types import Batch, Clock, Report


class FreeMatch(FixMatch):
    """Learn the strong view from decisions above a threshold that follows the network's own confidence.

    Source: the paper's eq. 5 to 12. Defaults: decay of the thresholds 0.999, fairness weight 0.001 (released
    configurations), weight 1, hard labels, decay of the weights 0.999. The other settings are explained in ``FixMatch``
    and ``PseudoLabeling``.

    Args:
        task: Kind of output.
        make_learner: Builds the student.
        threshold_decay: Share of the old threshold and class means that stays at each step, in [0, 1).
        quantile: Level from this quantile of the confidence instead of its mean, in (0, 1); ``None``: the mean.
        limits: Lowest and highest level (the paper: (0, 0.95) for SVHN); ``None``: free.
        fairness_weight: Factor of the fairness term, >= 0. ``None``: 0.001, and 0 for joints, which have no class
            shares to compare.
        fairness_sign: 1 as published, -1 turned.

    Raises:
        ValueError: for a negative weight, a sign other than 1 and -1, or a fairness term of joints.
    """

    def __init__(
        self,
        task: Task,
        make_learner: MakeLearner,
        *,
        threshold_decay: float = 0.999,
        quantile: float | None = None,
        limits: tuple[float, float] | None = None,
        fairness_weight: float | None = None,
        fairness_sign: int = 1,
        hard: bool = True, temperature: float = 1.0, align: Align | None = None, align_targets: bool = True,
        mix: Mix | None = None, distance: Distance = "ce", unlabeled_weight: float = 1.0,
        rampup: Schedule | None = None, together: bool = True, label_mode: LabelMode = "eval",
        decay: float | None = 0.999, buffers: Buffers = "ema",
    ) -> None:  # fmt: skip
        if fairness_weight is None:
            fairness_weight = 0.001 if has_classes(task) else 0.0
        if not fairness_weight >= 0 or fairness_sign not in (1, -1):
            raise ValueError(
                f"fairness_weight is {fairness_weight} and fairness_sign {fairness_sign}; "
                "the weight must be 0 or more, the sign 1 or -1"
            )
        if fairness_weight and not has_classes(task):
            raise ValueError(f"fairness_weight is {fairness_weight}, but joints have no class shares; set 0")
        self_made = Free(task.groups, decay=threshold_decay, quantile=quantile, limits=limits)
        super().__init__(
            task, make_learner, select=self_made, hard=hard, temperature=temperature, align=align,
            align_targets=align_targets, mix=mix, distance=distance, unlabeled_weight=unlabeled_weight, rampup=rampup,
            together=together, label_mode=label_mode, decay=decay, buffers=buffers,
        )  # fmt: skip
        self.fairness_weight, self.fairness_sign = fairness_weight, fairness_sign

    def step(self, batch: Batch, clock: Clock, *extra: Batch) -> Report:
        """One student step under self-made thresholds, with the fairness term."""
        weak, strong = batch.unlabeled["weak"], batch.unlabeled["strong"]
        # q_b, which moves tau_t, p_t and h_t first (eq. 5 to 8), is then judged by them.
        q = self.task.probs(self.student.label(weak.x, self.label_mode))
        labeled = None
        if self.pseudo_labeling.reads_labeled:
            labeled = self.task.probs(self.student.label(batch.labeled.x, self.label_mode))
        pseudo = self.pseudo_labeling.make(q, batch.unlabeled.index, labeled)
        # L_s and L_u (eq. 9) as in FixMatch
        x, target = self.pseudo_labeling.mixed(
            strong.x, self.task.warp(pseudo.target, relative(weak, strong)), batch.labeled, pseudo
        )
        logits, strong_logits = self.student(batch.labeled.x, x, together=self.pseudo_labeling.together)
        supervised = self.task.loss(logits, batch.labeled.target)
        unsupervised = self.pseudo_labeling.loss(strong_logits, target)
        loss, more = supervised + self.pseudo_labeling.weight(clock) * unsupervised, {}
        if self.fairness_weight:
            # L_f (eq. 11) looks at the kept units where the strong view shows them: what it hides is not valid.
            more["fairness"] = self.fairness(self.task.probs(strong_logits), target.weight * target.mask())
            loss = loss + self.fairness_weight * self.fairness_sign * more["fairness"]
        if self.student.update(loss) and self.ema is not None:
            self.ema.update(self.student.model)
        return pseudo.report(supervised=supervised, unsupervised=unsupervised, **more)

    def fairness(self, strong: Tensor, weight: Tensor) -> Tensor:
        """``sum_c N(p / h)_c log N(q / k)_c``: p, h moving mean and histogram, q, k those of the kept strong values.

        Args:
            strong: Values on the strong view, shape (B, C, *S).
            weight: Weights of the units in that view, shape (B, *U); those above 0 are kept. None kept: 0.
        Gradient: to ``strong``, through q.
        """
        # By factors of 0 and 1: to pick the kept rows out would wait for the device.
        rows, kept = self.task.distribution(strong).flatten(0, -2), (weight > 0).flatten().to(strong)
        count = kept.sum()
        counts = rows.new_zeros(rows.shape[1]).scatter_add_(0, rows.argmax(1), kept)
        rule = self.pseudo_labeling.select
        assert isinstance(rule, Free)
        wanted = _normalized(rule.presence, rule.histogram)
        mean = kept @ rows / count.clamp(min=1)
        found = (wanted * (_normalized(mean, counts / count.clamp(min=1)) + 1e-12).log()).sum()
        return found * (count > 0)  # where nothing is kept 0, with a gradient path


def _normalized(mean: Tensor, histogram: Tensor) -> Tensor:
    """``mean / histogram`` brought to sum 1; classes that no decision fell on count 0."""
    ratio = torch.where(histogram > 0, mean / histogram.clamp(min=1e-12), torch.zeros_like(mean))
    return ratio / ratio.sum().clamp(min=1e-12)
