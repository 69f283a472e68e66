"""FixMatch: Sohn et al., "FixMatch: Simplifying Semi-Supervised Learning", NeurIPS 2020, arXiv:2001.07685.

Algorithm: 1. the student predicts the weak view without gradient; 2. decisions at or above the threshold are labels;
3. supervised loss + the loss of the strong view under those labels, divided by the whole batch; 4. student step;
5. an EMA of the weights follows and is shipped.

Left out: CTAugment (the strong view is RandAugment-like). Differs: the weak view has a pass of its own in evaluation
mode. In the paper labels come from the training pass, with its dropout and BatchNorm statistics, and some of them are
others (docs/passes.md has measured how many); ``label_mode="train"`` makes them so.
"""

from __future__ import annotations

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


class FixMatch(SingleStudent):
    """Learn the strong view from confident decisions about the weak view.

    Source: the paper's eq. 3 and 4. Defaults are the paper's: threshold 0.95, weight 1, hard labels, decay 0.999. The
    other settings are explained in ``PseudoLabeling`` and ``SingleStudent``.

    Args:
        task: Kind of output.
        make_learner: Builds the student.
        threshold: Confidence tau that a decision needs, in [0, 1].
        select: Rule from confidence to weight in place of the threshold.
        label_mode: How the labeling pass treats BatchNorm and dropout, see ``Learner.label``.

    Raises:
        ValueError: for a threshold beside a ``select``, and as ``PseudoLabeling`` does.
    """

    def __init__(
        self,
        task: Task,
        make_learner: MakeLearner,
        *,
        threshold: float = 0.95,
        select: Selector | None = None, hard: bool = True, temperature: float = 1.0, align: Align | None = None,
        align_targets: bool = True, mix: Mix | None = None, distance: Distance = "ce", unlabeled_weight: float = 1.0,
        rampup: Schedule | None = None, together: bool = True, label_mode: LabelMode = "eval",
        decay: float | None = 0.999, buffers: Buffers = "ema",
    ) -> None:  # fmt: skip
        super().__init__(task, make_learner, decay=decay, buffers=buffers)
        if select is not None and threshold != 0.95:
            raise ValueError(f"threshold is {threshold}, and select replaces it; give one of them")
        self.label_mode = check_label_mode(label_mode)
        self.pseudo_labeling = PseudoLabeling(
            task, select=select or above(threshold), hard=hard, temperature=temperature,
            align=align, align_targets=align_targets, mix=mix, distance=distance, unlabeled_weight=unlabeled_weight,
            rampup=rampup, together=together,
        )  # fmt: skip

    def step(self, batch: Batch, clock: Clock, *extra: Batch) -> Report:
        """One iteration: label the weak view, learn labels and the strong view, let the average follow."""
        weak, strong = batch.unlabeled["weak"], batch.unlabeled["strong"]
        # q_b = p_m(y | alpha(u_b)): a pass without gradient. Rules that compare with the labeled samples cost another.
        q = self.task.probs(self.student.label(weak.x, self.label_mode))
        labeled = None
        if self.pseudo_labeling.reads_labeled:
            labeled = self.task.probs(self.student.label(batch.labeled.x, self.label_mode))
        # 1(max q_b >= tau) and the decision argmax q_b
        pseudo = self.pseudo_labeling.make(q, batch.unlabeled.index, labeled)
        # The decision follows its pixels or joints into the geometry of the strong view A(u_b), and into the mix.
        x, target = self.pseudo_labeling.mixed(
            strong.x, self.task.warp(pseudo.target, relative(weak, strong)), batch.labeled, pseudo
        )
        # l_s (eq. 3) and l_u (eq. 4), the latter divided by all valid units and not by those that were kept
        logits, strong_logits = self.student(batch.labeled.x, x, together=self.pseudo_labeling.together)
        supervised = self.task.loss(logits, batch.labeled.target)
        unsupervised = self.pseudo_labeling.loss(strong_logits, target)
        # l_s + lambda_u l_u; the average follows weights that have moved, not gradients that are still gathered
        if self.student.update(supervised + self.pseudo_labeling.weight(clock) * unsupervised) and self.ema is not None:
            self.ema.update(self.student.model)
        return pseudo.report(supervised=supervised, unsupervised=unsupervised)
