"""Self-training on series with 4 labels a class: cylinder, bell and funnel.

python examples/series.py [--fast] [--out DIR]

The three shapes are those of Saito (1994), made here, since no real series ship with a dependency: a plateau, a rise or
a fall in noise, of random place, length and height. Trains the labels alone, Mean Teacher and FixMatch on a small
transformer, and prints the test accuracies. About half a minute on a core (--fast: some 5).
"""

from __future__ import annotations

from functools import partial

import numpy as np
from common import beside, options, train

import selftrain as st
from selftrain import data, pretrain, strategies

CLASSES = ["cylinder", "bell", "funnel"]
LENGTH, EACH = 64, 4


def make_series(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Series (count, 1, LENGTH) and their class numbers (count,)."""
    random = np.random.default_rng(seed)
    kind, time = np.arange(count) % 3, np.arange(LENGTH)
    begin = random.integers(LENGTH // 8, LENGTH // 4, (count, 1))
    length = random.integers(LENGTH // 4, 3 * LENGTH // 4, (count, 1))
    inside = (time >= begin) & (time < begin + length)
    share = (time - begin) / length  # from 0 to 1 while inside
    shape = np.select([kind[:, None] == 0, kind[:, None] == 1], [np.ones_like(share), share], 1 - share)
    height = 6 + random.normal(size=(count, 1))
    return (height * inside * shape + random.normal(0, 1.5, (count, LENGTH)))[:, None], kind


def main() -> None:
    """Make series, hide most labels, train, compare."""
    chosen = options(__doc__, "series", steps=300, fast=15)
    x, y = make_series(1500, chosen.seed)
    x_test, y_test = make_series(600, chosen.seed + 1000)
    few = {"labels": EACH * len(CLASSES), "seed": chosen.seed}  # the others are hidden; of your own data they are -1
    pile = data.Pile.from_arrays(x, y, x_test, y_test, classes=CLASSES, kind="series", **few)
    print(pile)

    task = st.Classification(len(CLASSES))
    network = partial(pretrain.series_transformer, length=LENGTH, patch=4, width=64, depth=2)
    make = st.learner(lambda: st.Classifier(network(), len(CLASSES)), lr=1e-3)
    methods = {
        "supervised": partial(strategies.Supervised, task, make, decay=0.98),
        "mean_teacher": partial(strategies.MeanTeacher, task, make, decay=0.98),
        "fixmatch": partial(strategies.FixMatch, task, make, decay=0.98),
    }
    plan = st.BatchPlan(labeled=EACH * len(CLASSES), unlabeled_ratio=5, seed=chosen.seed)
    runs = {name: train(name, method, pile, chosen, plan) for name, method in methods.items()}
    print(beside({name: run.evaluate("test")["accuracy"] for name, run in runs.items()}))


if __name__ == "__main__":
    main()
