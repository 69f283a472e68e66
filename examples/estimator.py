"""Self-training as a scikit-learn estimator: two strategies compared by cross-validation on 40 labels of the digits.

python examples/estimator.py [--fast] [--out DIR]

Four labels of each digit are known; labels alone choose between Mean Teacher and FixMatch, the better one is
trained on all of them, and its pseudo-labels are written to DIR/pseudo_labels.csv. Prints both cross-validated
accuracies, and the accuracy on test images beside that of the labels alone. About a minute on a core (--fast: some 10
seconds).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from jsonargparse import ArgumentParser
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV, train_test_split

import selftrain as st

EACH = 4  # labels of each class


def few_labels(y: np.ndarray) -> np.ndarray:
    """The first ``EACH`` labels of each class, -1 for all other rows."""
    hidden = np.full_like(y, -1)
    for c in np.unique(y):
        hidden[np.flatnonzero(y == c)[:EACH]] = c
    return hidden


def main() -> None:
    """Search, train, score, write."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--fast", action="store_true", help="fewer steps")
    parser.add_argument("--out", type=Path, default=Path("runs/estimator"), help="folder for the pseudo-labels")
    options = parser.parse_args()
    digits = load_digits()
    images, rest, y, truth = train_test_split(digits.images, digits.target, stratify=digits.target, random_state=0)
    labels = few_labels(y)
    model = st.SelfTrainClassifier(steps=60 if options.fast else 500, batch_size=40, random_state=0)
    search = GridSearchCV(model, {"strategy": ["mean_teacher", "fixmatch"]}, cv=st.LabeledKFold(2)).fit(images, labels)
    for row, score in zip(search.cv_results_["params"], search.cv_results_["mean_test_score"], strict=True):
        print(f"{row['strategy']:13} {100 * score:.1f} % on held-out labels")
    best = search.best_estimator_
    floor = clone(best).set_params(strategy="supervised").fit(images, labels)
    options.out.mkdir(parents=True, exist_ok=True)
    path = best.ledger_.to_csv(options.out / "pseudo_labels.csv")
    print(f"supervised: {100 * floor.score(rest, truth):.1f} %, the labels alone")
    print(
        f"{best.strategy}: {100 * best.score(rest, truth):.1f} % on {len(truth)} test images; pseudo-labels in {path}"
    )


if __name__ == "__main__":
    main()
