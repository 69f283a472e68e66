"""A strategy of your own in one file: learn the strong view from what two weak looks agree about.

python examples/custom_strategy.py [--fast] [--out DIR]

docs/writing-a-strategy.md takes it apart. Trains the labels alone, FixMatch and TwoLooks on scikit-learn's digits with
20 labels, and prints the test accuracies, and how many of the pseudo-labels that were used are right. About 20 seconds
on a core (--fast: some 5).
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from common import beside, options, train

import selftrain as st
from selftrain import data, strategies
from selftrain.networks.student import MakeLearner
from selftrain.select import Selector, above
from selftrain.strategy.losses import Outcome
from selftrain.strategy.single import SelfGuided
from selftrain.tasks import Task
from selftrain.types import Batch, Clock


class TwoLooks(SelfGuided):
    """Learn the strong view from the mean of two weak looks, where both decide alike and the mean is sure.

    Args:
        task: Kind of output; its samples must not move between looks (``Classification``).
        make_learner: Builds the student.
        select: Rule from the confidence of the mean to weight; ``None``: ``above(0.8)``.
        settings: See ``SelfGuided`` and ``Lesson``.
    """

    views = ("weak", "weak2", "strong")

    def __init__(
        self, task: Task, make_learner: MakeLearner, *, select: Selector | None = None, **settings: Any
    ) -> None:
        super().__init__(task, make_learner, select=select or above(0.8), **settings)

    def objective(self, batch: Batch, clock: Clock) -> Outcome:
        """Look twice without gradient, keep what is agreed about, learn it."""
        looks = torch.stack([self.look(batch.unlabeled[name].x) for name in ("weak", "weak2")])  # (2, B, C)
        agreement = self.task.agree(looks).float().mean(0)  # share of looks that side with the mean, (B,)
        given = self.look(batch.labeled.x) if self.lesson.reads_labeled else None
        guess = self.lesson.judge(looks.mean(0), batch.unlabeled.index, given, agreement)
        agreed = guess.scaled(agreement.eq(1).float())
        return self.lesson.loss(self.student, batch, agreed, clock, source=None)


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
