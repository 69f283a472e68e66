"""Pi-model: Laine & Aila, "Temporal Ensembling for Semi-Supervised Learning", ICLR 2017, arXiv:1610.02242, section 2.1.

Algorithm: 1. the student sees each unlabeled sample twice, augmented and with dropout drawn anew; 2. supervised loss +
w(t) x the squared difference of the two predictions; 3. w rises along a Gaussian curve.

Left out: consistency on labeled samples, Gaussian input noise (a view may have it). Differs: one prediction is held
fixed (as in re-implementations); gradients through both have the same expectation up to a factor of two.
"""

from __future__ import annotations

from selftrain.mix import Mix
from selftrain.networks.ema import Buffers
from selftrain.networks.student import LabelMode, MakeLearner, check_label_mode
from selftrain.schedule import Schedule, ramp_sigmoid
from selftrain.select import Selector
from selftrain.select.alignment import Align
from selftrain.strategy.pseudo_labeling import Distance, PseudoLabeling
from selftrain.strategy.single import SingleStudent
from selftrain.tasks import Task, relative
from selftrain.types import Batch, Clock, Report


class PiModel(SingleStudent):
    """Make two looks at the same sample agree.

    Source: the paper's algorithm 1. Defaults: squared difference, weight 10 on the mean over classes
    (re-implementations; the paper's 100 x share of labels is on another scale), sigmoid ramp-up over 40 %, the fixed
    look with dropout and batch statistics. The other settings are explained in ``PseudoLabeling`` and
    ``SingleStudent``.

    Args:
        task: Kind of output.
        make_learner: Builds the student.
        view: The view of the learned look; ``"weak2"`` is a second weak one.
        unlabeled_weight: Final weight w, >= 0.
        rampup: Growth of w; ``None``: ``ramp_sigmoid()``.
        label_mode: How the fixed look treats BatchNorm and dropout: ``"frozen"`` has dropout and leaves the running
            statistics.
    """

    def __init__(
        self,
        task: Task,
        make_learner: MakeLearner,
        *,
        view: str = "weak2",
        unlabeled_weight: float = 10.0,
        rampup: Schedule | None = None,
        distance: Distance = "mse",
        label_mode: LabelMode = "frozen",
        select: Selector | None = None, hard: bool = False, temperature: float = 1.0, align: Align | None = None,
        align_targets: bool = True, mix: Mix | None = None, together: bool = True, decay: float | None = 0.999,
        buffers: Buffers = "ema",
    ) -> None:  # fmt: skip
        super().__init__(task, make_learner, decay=decay, buffers=buffers)
        self.view, self.label_mode = view, check_label_mode(label_mode)
        self.views = ("weak", view)
        self.pseudo_labeling = PseudoLabeling(
            task, select=select, hard=hard, temperature=temperature, align=align, align_targets=align_targets, mix=mix,
            distance=distance, unlabeled_weight=unlabeled_weight, rampup=rampup or ramp_sigmoid(), together=together,
        )  # fmt: skip

    def step(self, batch: Batch, clock: Clock, *extra: Batch) -> Report:
        """Hold the first look, learn the second."""
        first, second = batch.unlabeled["weak"], batch.unlabeled[self.view]
        # z_i: the first look, with noise of its own and held fixed
        z = self.task.probs(self.student.label(first.x, self.label_mode))
        labeled = None
        if self.pseudo_labeling.reads_labeled:
            labeled = self.task.probs(self.student.label(batch.labeled.x, self.label_mode))
        pseudo = self.pseudo_labeling.make(z, batch.unlabeled.index, labeled)
        # z~_i: the second look, in the same pass as the labeled samples
        x, target = self.pseudo_labeling.mixed(
            second.x, self.task.warp(pseudo.target, relative(first, second)), batch.labeled, pseudo
        )
        logits, second_logits = self.student(batch.labeled.x, x, together=self.pseudo_labeling.together)
        # cross-entropy of the labels + w(t) |z_i - z~_i|^2
        supervised = self.task.loss(logits, batch.labeled.target)
        unsupervised = self.pseudo_labeling.loss(second_logits, target)
        if self.student.update(supervised + self.pseudo_labeling.weight(clock) * unsupervised) and self.ema is not None:
            self.ema.update(self.student.model)
        return pseudo.report(supervised=supervised, unsupervised=unsupervised)
