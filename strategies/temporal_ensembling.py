"""Temporal ensembling: Laine & Aila, ICLR 2017, arXiv:1610.02242, section 2.2.

Algorithm: 1. the student sees each unlabeled sample once an epoch; 2. its prediction is compared with the ensemble of
those of earlier epochs; 3. supervised loss + w(t) x the squared difference; 4. the ensemble takes the new prediction
in: Z <- a Z + (1 - a) z, used as Z / (1 - a^t).

Left out: consistency on labeled samples. Differs: t counts the visits of each unit (the paper: epochs), so that a
sample left out of an epoch, or a pixel that a cropped view left out, keeps a correct mean; a unit without a history
weighs 0, as the first epoch does there.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from selftrain.mix import Mix
from selftrain.networks.ema import Buffers
from selftrain.networks.student import MakeLearner
from selftrain.runtime.finite import expect_rows
from selftrain.schedule import Schedule, ramp_sigmoid
from selftrain.select import Selector
from selftrain.select.alignment import Align
from selftrain.strategy.label_memory import LabelMemory
from selftrain.strategy.pseudo_labeling import Distance, PseudoLabeling
from selftrain.strategy.single import SingleStudent
from selftrain.tasks import Task, unmoved
from selftrain.types import Batch, Clock, Report


class TemporalEnsembling(SingleStudent):
    """Make each prediction agree with the mean of what earlier epochs said of the sample.

    Source: the paper's algorithm 2. Defaults: momentum 0.6, squared difference, weight 10 on the mean over classes
    (re-implementations), sigmoid ramp-up, the student is shipped. The other settings are explained in
    ``PseudoLabeling`` and ``SingleStudent``.

    Args:
        task: Kind of output.
        make_learner: Builds the student.
        unlabeled: Number of unlabeled samples N (rows of the memory).
        label_shape: Shape of one prediction: ``(classes,)``, ``(classes, H, W)`` or ``(joints, H, W)``.
        momentum: Share a of the old ensemble that stays at each visit, in [0, 1).
        unlabeled_weight: Final weight w, >= 0.
        rampup: Growth of w; ``None``: ``ramp_sigmoid()``.

    Raises:
        ValueError: for a momentum outside [0, 1), no rows, a label shape of too few axes, or (at a step) sizes
            that do not fit the data.
    """

    views = ("weak",)
    only_trained_with = ("visits",)
    visits: Tensor

    def __init__(
        self,
        task: Task,
        make_learner: MakeLearner,
        *,
        unlabeled: int,
        label_shape: tuple[int, ...],
        momentum: float = 0.6,
        unlabeled_weight: float = 10.0,
        rampup: Schedule | None = None,
        distance: Distance = "mse", hard: bool = False, decay: float | None = None, buffers: Buffers = "ema",
        select: Selector | None = None, temperature: float = 1.0, align: Align | None = None,
        align_targets: bool = True, mix: Mix | None = None, together: bool = True,
    ) -> None:  # fmt: skip
        super().__init__(task, make_learner, decay=decay, buffers=buffers)
        if not 0 <= momentum < 1:
            raise ValueError(f"momentum is {momentum}; it must be in [0, 1)")
        self.pseudo_labeling = PseudoLabeling(
            task, unlabeled_weight=unlabeled_weight, rampup=rampup or ramp_sigmoid(), distance=distance, select=select,
            hard=hard, temperature=temperature, align=align, align_targets=align_targets, mix=mix, together=together,
        )  # fmt: skip
        self.momentum = momentum
        self.bank = LabelMemory(task, unlabeled, label_shape)
        self.register_buffer("visits", torch.zeros(unlabeled, *self.bank.units, dtype=torch.int32))

    def step(self, batch: Batch, clock: Clock, *extra: Batch) -> Report:
        """Learn what earlier epochs said, remember what is said now."""
        self._check(batch)
        view, index = batch.unlabeled["weak"], batch.unlabeled.index
        # z~: the ensemble of earlier epochs, of the unmoved image; a unit without a history weighs 0
        labeled = None
        if self.pseudo_labeling.reads_labeled:
            labeled = self.task.probs(self.student.label(batch.labeled.x))
        pseudo = self.pseudo_labeling.make(self.bank.read(index), index, labeled, unmoved=True)
        pseudo = pseudo.scaled(self.bank.known[index].to(pseudo.target.weight))
        # Predictions of mixed samples belong to none of them: with a mix the samples have a pass of their own.
        alone = None if self.pseudo_labeling.mix is None else self.student.label(view.x, "frozen")
        # z: the prediction of this visit, in the pass that is learned
        x, target = self.pseudo_labeling.mixed(view.x, self.task.warp(pseudo.target, view), batch.labeled, pseudo)
        logits, z = self.student(batch.labeled.x, x, together=self.pseudo_labeling.together)
        # cross-entropy of the labels + w(t) |z - z~|^2
        supervised = self.task.loss(logits, batch.labeled.target)
        unsupervised = self.pseudo_labeling.loss(z, target)
        # Z <- a Z + (1 - a) z, kept for the next epoch
        self._remember(batch, z.detach() if alone is None else alone)
        if self.student.update(supervised + self.pseudo_labeling.weight(clock) * unsupervised) and self.ema is not None:
            self.ema.update(self.student.model)
        return pseudo.report(supervised=supervised, unsupervised=unsupervised)

    def end_epoch(self, clock: Clock) -> Mapping[str, Tensor]:
        """Take this epoch's ensemble into use."""
        return {"bank/written": self.bank.turn()}

    def _check(self, batch: Batch) -> None:
        """Refuse data that the memory was not made for."""
        rows, own = len(self.visits), tuple(self.bank.now.shape[1:])
        expect_rows(
            batch.unlabeled.index,
            rows,
            lambda row: ValueError(
                f"row {row} is outside the memory: unlabeled is {rows}; set unlabeled=len(pile.unlabeled)"
            ),
        )
        shape = tuple(batch.labeled.target.value.shape[1:])
        if shape != own:
            raise ValueError(f"label_shape is {own}, a label of the data has {shape}; set label_shape={shape}")

    def _remember(self, batch: Batch, logits: Tensor) -> None:
        """Move what the view shows by (1 - a) / (1 - a^t), which is Z / (1 - a^t) written as a running mean."""
        view, index = batch.unlabeled["weak"], batch.unlabeled.index
        value = self.task.probs(logits)
        said = unmoved(self.task, value, view)
        shown = said.mask()
        self.visits[index] += shown.to(self.visits)
        times = self.visits[index].clamp(min=1).to(value)
        share = shown * (1 - self.momentum) / (1 - self.momentum**times)
        old = self.bank.latest(index)
        self.bank.write(index, old + self.task.spread(share) * (said.value - old), shown)
