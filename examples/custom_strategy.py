"""A strategy of your own in one file: learn the strong view from what two weak looks agree about.

python examples/custom_strategy.py [--fast] [--out DIR]

docs/writing-a-strategy.md takes it apart. Trains the labels alone, FixMatch and TwoLooks on scikit-learn's digits with
20 labels, and prints the test accuracies, and how many of the pseudo-labels that were used are right. About 20 seconds
on a core (--fast: some 5).
"""

from __future__ import annotations

from functools import partial

import torch
from common import beside, options, train

import selftrain as st
from selftrain import data, strategies
from selftrain.networks.student import MakeLearner
from selftrain.select import Selector, above
from selftrain.strategy.pseudo_labeling import PseudoLabeling
from selftrain.strategy.single import SingleStudent
from selftrain.tasks import Task
from selftrain.types import Batch, Clock, Report


class TwoLooks(SingleStudent):
    """Learn the strong view from the mean of two weak looks, where both decide alike and the mean is sure.

    Args:
        task: Kind of output; its samples must not move between looks (``Classification``).
        make_learner: Builds the student.
        threshold: Confidence of the mean that a decision needs, in [0, 1].
        select: Rule from the confidence of the mean to weight in place of the threshold.
        unlabeled_weight: Factor of the unsupervised loss, >= 0.
        decay: EMA decay of the shipped average, in [0, 1]; ``None``: ship the student.
    """

    views = ("weak", "weak2", "strong")

    def __init__(
        self,
        task: Task,
        make_learner: MakeLearner,
        *,
        threshold: float = 0.8,
        select: Selector | None = None,
        unlabeled_weight: float = 1.0,
        decay: float | None = 0.999,
    ) -> None:
        super().__init__(task, make_learner, decay=decay)
        rule = select or above(threshold)
        self.pseudo_labeling = PseudoLabeling(task, select=rule, unlabeled_weight=unlabeled_weight)

    def step(self, batch: Batch, clock: Clock, *extra: Batch) -> Report:
        """Look twice without gradient, keep what is agreed about, learn it."""
        looks = [self.task.probs(self.student.label(batch.unlabeled[name].x)) for name in ("weak", "weak2")]
        values = torch.stack(looks)  # (2, B, C)
        agreement = self.task.agree(values).float().mean(0)  # share of looks that side with the mean, (B,)
        labeled = self.task.probs(self.student.label(batch.labeled.x)) if self.pseudo_labeling.reads_labeled else None
        pseudo = self.pseudo_labeling.make(values.mean(0), batch.unlabeled.index, labeled, agreement)
        pseudo = pseudo.scaled(agreement.eq(1).float())  # a label that depends on the draw is a poor one
        logits, strong_logits = self.student(batch.labeled.x, batch.unlabeled["strong"].x)
        supervised = self.task.loss(logits, batch.labeled.target)
        unsupervised = self.pseudo_labeling.loss(strong_logits, pseudo.target)
        if self.student.update(supervised + self.pseudo_labeling.weight(clock) * unsupervised) and self.ema is not None:
            self.ema.update(self.student.model)
        return pseudo.report(supervised=supervised, unsupervised=unsupervised)


def main() -> None:
    """Train it beside the floor and its nearest relative."""
    chosen = options(__doc__, "custom_strategy", steps=300, fast=30)
    pile = data.load("digits", labels=20, seed=chosen.seed)
    task = st.Classification(10)
    make = st.learner(lambda: st.Classifier(st.ConvEncoder(size=8, embed_dim=64), 10), lr=2e-3)
    methods = {
        "supervised": partial(strategies.Supervised, task, make, decay=0.98),
        "fixmatch": partial(strategies.FixMatch, task, make, decay=0.98),
        "two_looks": partial(TwoLooks, task, make, decay=0.98),
    }
    plan = st.BatchPlan(labeled=20, unlabeled_ratio=3, seed=chosen.seed)
    runs = {name: train(name, method, pile, chosen, plan) for name, method in methods.items()}
    print(beside({name: run.evaluate("test")["accuracy"] for name, run in runs.items()}))
    for name in ("fixmatch", "two_looks"):
        known = runs[name].ledger.summary()
        print(f"{name}: {100 * known['accepted']:.0f} % of the samples used, ", end="")
        print(f"{100 * known.get('pseudo_label_accuracy', float('nan')):.1f} % of their pseudo-labels right")


if __name__ == "__main__":
    main()
