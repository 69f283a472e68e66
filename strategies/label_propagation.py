"""Label propagation for deep semi-supervised learning.

Iscen, Tolias, Avrithis & Chum, "Label Propagation for Deep Semi-supervised Learning", CVPR 2019, arXiv:1904.04717.

Algorithm: 1. train on the labels alone; 2. link every row with its nearest ones by the student's features; 3. spread
the labels over this graph (eq. 5 and 6); 4. train on labels and on the decisions of the graph, each weighted by its
certainty (eq. 7) and by the size of its class (eq. 8 and 9); 5. go back to 2 after each epoch.

Differs: features are those that the batches of the epoch have seen, in its view, not of a pass over the unaugmented
pile at its end, which would cost another epoch of forward passes; weights of the graph are those of ``knn_graph``
(cosine, a scale of each row's own), not cosines to the power of 3; class weights are divided by their mean over the
rows.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from selftrain.mix import Mix
from selftrain.networks.ema import Buffers
from selftrain.networks.student import MakeLearner
from selftrain.runtime.distributed import from_first
from selftrain.runtime.finite import expect_rows
from selftrain.schedule import Schedule
from selftrain.select import Selector
from selftrain.select.alignment import Align
from selftrain.strategy.feature_memory import FeatureMemory, head_features
from selftrain.strategy.label_memory import LabelMemory
from selftrain.strategy.pseudo_labeling import Distance, PseudoLabeling
from selftrain.strategy.single import SingleStudent
from selftrain.tasks import Task
from selftrain.types import Batch, Clock, Report, Target


class LabelPropagation(SingleStudent):
    """Learn what the labels say along the edges of a graph of the student's features, made anew each epoch.

    Source: the paper's algorithm 1. Defaults are its: 50 neighbors, spreading with alpha 0.99, hard labels; other
    settings are explained in ``PseudoLabeling`` and ``SingleStudent``. Several processes: the first makes the graph.

    Args:
        task: Kind of output; one label a sample.
        make_learner: Builds the student.
        unlabeled: Number of unlabeled samples N (rows of the memory).
        label_shape: Shape of one label, ``(classes,)``.
        supervised_epochs: Passes over the unlabeled set, at least 1, that learn labels alone; features of the last of
            them make the first graph.
        method: How labels spread: a name in ``selftrain.graph.propagation.METHODS``.
        alpha: Of ``"label_spreading"``; ``None``: 0.99, and what other methods need.
        shares: Of each class among all rows, for ``"poisson_volume"``; ``None``: those of the labels.
        neighbors: Of each row in the graph, at least 1.
        view: View that unlabeled samples are learned in, and seen in for the graph.
        decay: EMA decay of a shipped average, which then gives the features; ``None``, as in the paper: the student.

    Raises:
        ValueError: for a task whose labels have sites, a setting out of range, or (at a step) sizes that do not fit the
            data.
    """

    certainty: Tensor
    class_weight: Tensor

    without_labels = False  # the graph carries labels from there

    def __init__(
        self,
        task: Task,
        make_learner: MakeLearner,
        *,
        unlabeled: int,
        label_shape: tuple[int, ...],
        supervised_epochs: int = 1,
        method: str = "label_spreading",
        alpha: float | None = None,
        shares: tuple[float, ...] | None = None,
        neighbors: int = 50,
        view: str = "weak",
        unlabeled_weight: float = 1.0, rampup: Schedule | None = None, distance: Distance = "ce", hard: bool = True,
        decay: float | None = None, buffers: Buffers = "ema", select: Selector | None = None, temperature: float = 1.0,
        align: Align | None = None, align_targets: bool = True, mix: Mix | None = None, together: bool = True,
    ) -> None:  # fmt: skip
        super().__init__(task, make_learner, decay=decay, buffers=buffers)
        # scikit-learn is loaded by those who spread labels, not by all who import strategies
        from selftrain.graph.propagation import check_method

        check_method(method, alpha=alpha, shares=shares)
        for name, value in (("supervised_epochs", supervised_epochs), ("neighbors", neighbors)):
            if value < 1:
                raise ValueError(f"{name} is {value}; it must be at least 1")
        self.pseudo_labeling = PseudoLabeling(
            task, unlabeled_weight=unlabeled_weight, rampup=rampup, distance=distance, select=select, hard=hard,
            temperature=temperature, align=align, align_targets=align_targets, mix=mix, together=together,
        )  # fmt: skip
        self.supervised_epochs, self.neighbors, self.views = supervised_epochs, neighbors, (view,)
        self.method, self.alpha, self.shares = method, alpha, shares
        self.bank = LabelMemory(task, unlabeled, label_shape)
        if self.bank.units:
            raise ValueError(
                f"LabelPropagation labels whole samples, and a label of shape {label_shape} has sites; choose another "
                "method, such as MeanTeacher"
            )
        self.seen, self.seen_labeled = FeatureMemory(), FeatureMemory()
        self.register_buffer("class_weight", torch.ones(label_shape[0]))

    def step(self, batch: Batch, clock: Clock, *extra: Batch) -> Report:
        """Learn what the last graph said; remember features for the next."""
        labeled, view, index = batch.labeled, batch.unlabeled[self.views[0]], batch.unlabeled.index
        rows = len(self.bank.now)
        index = expect_rows(
            index,
            rows,
            lambda row: ValueError(
                f"row {row} is outside the memory: unlabeled is {rows}; set unlabeled=len(pile.unlabeled)"
            ),
        )
        # v_i = phi(x_i), of labeled and unlabeled samples alike
        if clock.epoch + 1 >= self.supervised_epochs:
            self._remember(batch)
        # y^_i = argmax z_i; before the first graph nothing is known, and labels alone are learned
        z = self.bank.read(index)
        said = self.task.probs(self.student.label(labeled.x)) if self.pseudo_labeling.reads_labeled else None
        pseudo = self.pseudo_labeling.make(z, index, said)
        # omega_i zeta_y^: certainty of the row, and weight of the class that is decided for
        certainty = 1 - torch.special.entr(z).sum(1) / math.log(z.shape[1])
        pseudo = pseudo.scaled(self.bank.known[index] * certainty.clamp(0, 1) * self._class_weight(pseudo.target))
        x, target = self.pseudo_labeling.mixed(view.x, self.task.warp(pseudo.target, view), batch.labeled, pseudo)
        logits, unlabeled_logits = self.student(labeled.x, x, together=self.pseudo_labeling.together)
        # L_w (eq. 10): sum of zeta_y l(f(x), y) over labels, of omega_i zeta_y^ l(f(x), y^) over the others
        supervised = self.task.loss(logits, labeled.target.scaled(self._class_weight(labeled.target)))
        unsupervised = self.pseudo_labeling.loss(unlabeled_logits, target)
        weight = self.pseudo_labeling.weight(clock)
        if self.student.update(supervised + weight * unsupervised) and self.ema is not None:
            self.ema.update(self.student.model)
        return pseudo.report(supervised=supervised, unsupervised=unsupervised)

    def end_epoch(self, clock: Clock) -> Mapping[str, Tensor]:
        """Make the graph of this epoch's features and take its labels into use."""
        if self.seen.empty:  # labels alone so far, or no unlabeled samples at all
            return {}
        index, z, counts = from_first(self._propagated)
        self.bank.write(index.to(self.bank.now.device), z.to(self.bank.now))
        # zeta_j = 1 / (|L_j| + |U_j|), which is 1 for classes of one size
        self.class_weight.copy_(counts.sum() / (len(counts) * counts.clamp(min=1)))
        return {"bank/written": self.bank.turn()}

    def _remember(self, batch: Batch) -> None:
        """Features of this batch, and beside those of labeled samples their labels."""
        labeled, unlabeled = batch.labeled, batch.unlabeled
        x = torch.cat([labeled.x, unlabeled[self.views[0]].x])
        v = F.normalize(head_features(self.shipped, self.student, x))
        mine, others = v.split([len(labeled.x), len(unlabeled.index)])
        self.seen_labeled.write(labeled.index, torch.cat([mine, labeled.target.value.to(mine)], 1))
        self.seen.write(unlabeled.index, others)

    def _propagated(self) -> tuple[Tensor, Tensor, Tensor]:
        """Rows (M,), what the graph says of them (M, C), and how many rows each class has then, (C,)."""
        from selftrain.graph.neighbors import knn_graph
        from selftrain.graph.propagation import propagate

        classes = len(self.class_weight)
        (_, given), (index, features) = self.seen_labeled.read(), self.seen.read()
        codes = torch.cat([given[:, -classes:].argmax(1), torch.full_like(index, -1)])
        features = torch.cat([given[:, :-classes], features])
        graph = knn_graph(features.numpy(), self.neighbors, metric="cosine")
        said = propagate(self.method, graph, codes.numpy(), classes, alpha=self.alpha, shares=self.shares)
        z = torch.from_numpy(said).float()[len(given) :]
        decided = torch.cat([codes[: len(given)], z.argmax(1)])
        return index, z, torch.bincount(decided, minlength=classes).float()

    def _class_weight(self, target: Target) -> Tensor:
        """Weight of the class of each target, (B,)."""
        return self.class_weight[target.value.argmax(1)]
