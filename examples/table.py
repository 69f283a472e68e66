"""Self-training on a table with numbers, names and missing cells, read from CSV files, with 20 labels.

python examples/table.py [--fast] [--out DIR]

Writes DIR/train.csv and DIR/test.csv: the ten mean measurements of scikit-learn's breast cancer set, one of them turned
into names, and one cell in twenty emptied. Trains the labels alone and FixMatch on a small transformer that embeds the
names, and prints both test accuracies. About 20 seconds on a core (--fast: some 5).
"""

from __future__ import annotations

import csv
from functools import partial
from pathlib import Path

import numpy as np
from common import beside, options, train
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split

import selftrain as st
from selftrain import data, pretrain, strategies

LABELS = 20


def write_tables(folder: Path, seed: int) -> None:
    """Two CSV files; the column ``kind`` of train.csv is filled in for a few rows only."""
    cancer = load_breast_cancer()
    kinds, names = cancer.target_names[cancer.target], [name.replace(" ", "_") for name in cancer.feature_names[:10]]
    cells = np.array([[f"{value:.6g}" for value in row] for row in cancer.data[:, :10]], dtype=object)
    cells[:, 1] = np.array(["smooth", "even", "rough"])[np.digitize(cancer.data[:, 1], [17.0, 21.0])]  # the texture
    cells[np.random.default_rng(seed).random(cells.shape) < 0.05] = ""
    training, test = train_test_split(np.arange(len(kinds)), stratify=kinds, random_state=seed)
    known, _ = train_test_split(training, train_size=LABELS, stratify=kinds[training], random_state=seed)
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows, shown in (("train.csv", training, set(known)), ("test.csv", test, set(test))):
        with (folder / name).open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["patient", *names, "kind"])
            writer.writerows([f"p{row}", *cells[row], kinds[row] if row in shown else ""] for row in rows)


def main() -> None:
    """Write the files, read them as a user would, train, compare."""
    chosen = options(__doc__, "table", steps=300, fast=15)
    write_tables(chosen.out, chosen.seed)
    pile = data.from_table(chosen.out / "train.csv", "kind", id="patient", test=chosen.out / "test.csv")
    print(pile)

    encoding = data.TableEncoding.from_dict(pile.encoding)  # the same goes for new tables: encoding.encode(rows)
    columns, categories = len(encoding.features), dict(encoding.cardinalities)
    print(f"{len(encoding.columns)} columns became {columns} features, {len(categories)} of them codes")

    task = st.Classification(len(pile.classes))
    make = st.learner(lambda: st.Classifier(pretrain.table_transformer(columns, categories=categories), 2), lr=2e-3)
    methods = {
        "supervised": partial(strategies.Supervised, task, make, decay=0.98),
        "fixmatch": partial(strategies.FixMatch, task, make, decay=0.98),
    }
    plan = st.BatchPlan(labeled=LABELS, unlabeled_ratio=3, seed=chosen.seed)
    runs = {name: train(name, method, pile, chosen, plan) for name, method in methods.items()}
    print(beside({name: run.evaluate("test")["accuracy"] for name, run in runs.items()}))
    print(f"pseudo-labels of the other patients: {chosen.out / 'fixmatch' / 'pseudo_labels.csv'}")


if __name__ == "__main__":
    main()
