"""Pseudo-Label: Lee, "Pseudo-Label: The Simple and Efficient Semi-Supervised Learning Method", ICML workshop 2013.

Algorithm: 1. the student labels each unlabeled sample with its most probable class; 2. supervised loss + alpha(t) x the
loss on those labels, on the same view; 3. alpha is 0 at first, then rises linearly to its final value.

Left out: denoising-autoencoder pretraining (any pretraining stage can be put before it).
"""

from __future__ import annotations

from selftrain.mix import Mix
from selftrain.networks.ema import Buffers
from selftrain.networks.student import LabelMode, MakeLearner, check_label_mode
from selftrain.schedule import Schedule, ramp_linear
from selftrain.select import Selector
from selftrain.select.alignment import Align
from selftrain.strategy.pseudo_labeling import Distance, PseudoLabeling
from selftrain.strategy.single import SingleStudent
from selftrain.tasks import Task, relative
from selftrain.types import Batch, Clock, Report


class PseudoLabel(SingleStudent):
    """Train on labels and on the student's own decisions about the same view.

    Source: Lee 2013, eq. 15 and 16. Defaults are the paper's: alpha 3, reached after 60 % of training, no threshold
    (re-implementations: ``select=above(0.95)``). The other settings are explained in ``PseudoLabeling`` and
    ``SingleStudent``.

    Args:
        task: Kind of output.
        make_learner: Builds the student.
        unlabeled_weight: Final alpha, >= 0.
        rampup: Growth of alpha over the stage; ``None``: 0 for a tenth of it, then linear over a half.
        label_mode: How the labeling pass treats BatchNorm and dropout, see ``Learner.label``.
    """

    views = ("weak",)

    def __init__(
        self,
        task: Task,
        make_learner: MakeLearner,
        *,
        unlabeled_weight: float = 3.0,
        rampup: Schedule | None = None,
        select: Selector | None = None, hard: bool = True, temperature: float = 1.0, align: Align | None = None,
        align_targets: bool = True, mix: Mix | None = None, distance: Distance = "ce", together: bool = True,
        label_mode: LabelMode = "eval", decay: float | None = 0.999, buffers: Buffers = "ema",
    ) -> None:  # fmt: skip
        super().__init__(task, make_learner, decay=decay, buffers=buffers)
        self.label_mode = check_label_mode(label_mode)
        self.pseudo_labeling = PseudoLabeling(
            task, select=select, hard=hard, temperature=temperature, align=align, align_targets=align_targets, mix=mix,
            distance=distance, unlabeled_weight=unlabeled_weight, rampup=rampup or ramp_linear(0.5, start=0.1),
            together=together,
        )  # fmt: skip

    def step(self, batch: Batch, clock: Clock, *extra: Batch) -> Report:
        """Label the weak view, then learn it together with the labels."""
        view = batch.unlabeled["weak"]
        # f': the network as it is now, without dropout (eq. 14: y' = 1 for the largest f'_i)
        f = self.task.probs(self.student.label(view.x, self.label_mode))
        labeled = None
        if self.pseudo_labeling.reads_labeled:
            labeled = self.task.probs(self.student.label(batch.labeled.x, self.label_mode))
        pseudo = self.pseudo_labeling.make(f, batch.unlabeled.index, labeled)
        # The very same view is learned, now with dropout: its label stays where it is, but for rounding.
        x, target = self.pseudo_labeling.mixed(
            view.x, self.task.warp(pseudo.target, relative(view, view)), batch.labeled, pseudo
        )
        logits, own_logits = self.student(batch.labeled.x, x, together=self.pseudo_labeling.together)
        # Eq. 15: mean over labeled + alpha(t) x mean over unlabeled samples
        supervised = self.task.loss(logits, batch.labeled.target)
        unsupervised = self.pseudo_labeling.loss(own_logits, target)
        if self.student.update(supervised + self.pseudo_labeling.weight(clock) * unsupervised) and self.ema is not None:
            self.ema.update(self.student.model)
        return pseudo.report(supervised=supervised, unsupervised=unsupervised)
