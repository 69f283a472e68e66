"""Self-training around a random forest, without a network: 40 labels of scikit-learn's digits.

python examples/forest.py [--fast] [--out DIR]

The forest alone, and three policies around it that decide which rows get a pseudo-label: a fixed threshold, the surest
share of each class, and class-wise thresholds that minimize a bound on the risk. Prints the test accuracies beside the
forest's, and writes DIR/pseudo_labels.csv. About 30 seconds on a core (--fast: some 3).
"""

from __future__ import annotations

import numpy as np
from common import beside, options
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import train_test_split

from selftrain.wrapper import Fixed, PerClass, SelfTraining, TransductiveBound

LABELS = 40


def main() -> None:
    """Hide labels, fit the forest and the wrappers, compare."""
    chosen = options(__doc__, "forest", steps=200, fast=20)  # a step is a tree
    digits = load_digits()
    x, x_test, truth, y_test = train_test_split(digits.data, digits.target, stratify=digits.target, random_state=0)
    known, _ = train_test_split(np.arange(len(x)), train_size=LABELS, stratify=truth, random_state=chosen.seed)
    y = np.full_like(truth, -1)  # -1: not labeled
    y[known] = truth[known]

    forest = RandomForestClassifier(chosen.steps, random_state=chosen.seed)
    policies = {"fixed threshold": Fixed(0.7), "per class": PerClass(0.2), "bound": TransductiveBound()}
    scores = {"supervised forest": forest.fit(x[known], y[known]).score(x_test, y_test)}
    models = {name: SelfTraining(forest, policy=rule, random_state=chosen.seed) for name, rule in policies.items()}
    for name, model in models.items():
        scores[name] = model.fit(x, y).score(x_test, y_test)
        right = (model.transduction_ == truth)[(y < 0) & (model.transduction_ >= 0)]
        print(f"{name}: {model.n_iter_} rounds ({model.termination_condition_}), {len(right)} pseudo-labels, ", end="")
        print(f"{100 * right.mean():.1f} % of them right" if len(right) else "none to judge")
    print(beside(scores, floor="supervised forest"))

    chosen.out.mkdir(parents=True, exist_ok=True)
    best = models["bound"]
    table = np.column_stack([np.arange(len(x)), best.transduction_, best.labeled_iter_])
    np.savetxt(chosen.out / "pseudo_labels.csv", table, "%d", ",", header="row,label,round", comments="")
    print(f"pseudo-labels of 'bound': {chosen.out / 'pseudo_labels.csv'}")


if __name__ == "__main__":
    main()
