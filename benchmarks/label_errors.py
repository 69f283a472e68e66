"""Labels flipped on purpose: how many of them are found, and how many of the suspected ones are flipped.

    python benchmarks/label_errors.py [--write]

scikit-learn's digits with 400 labels, a tenth of them flipped to another class at random; five folds. Suspected are
labels off the diagonal of the confident joint (``selftrain.evaluation.label_errors``). Networks that learn from the
labels alone and by FixMatch from the pile too, and logistic regression on pixels as the floor; ``first``: the precision
of as many labels as were flipped, those with the lowest margin, which needs no threshold. Rows are kept
in benchmarks/results/label_errors.json, so that a stopped run goes on; ``--write`` puts the table into
docs/pseudo-labels.md.
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict

import selftrain as st
from selftrain import data, strategies
from selftrain.data.base.joined import relabeled
from selftrain.evaluation.label_errors import label_errors
from selftrain.pipeline import out_of_fold

LABELS, SHARE, STEPS, FOLDS = 400, 0.1, 150, 5
ROOT = Path(__file__).resolve().parent.parent
RESULT, PAGE = ROOT / "benchmarks" / "results" / "label_errors.json", ROOT / "docs" / "pseudo-labels.md"
MARKS = r"(<!-- label errors -->\n).*?(<!-- /label errors -->)"
METHODS = ("logistic regression", "supervised", "fixmatch")


def flipped(seed: int) -> tuple[data.Pile, np.ndarray]:
    """A pile of which a tenth of the labels is flipped, and which."""
    pile = data.load("digits", labels=LABELS, seed=seed)
    random = np.random.default_rng(seed)
    labels = pile.labeled.annotations.clone()
    rows = random.choice(LABELS, int(SHARE * LABELS), replace=False)
    labels[rows] = torch.from_numpy((labels[rows].numpy() + random.integers(1, 10, len(rows))) % 10)
    pile.labeled = relabeled(pile.labeled, labels)
    return pile, rows


def asked(method: str, pile: data.Pile, seed: int) -> torch.Tensor:
    """Out-of-fold probabilities of the labels."""
    if method == "logistic regression":
        x = pile.labeled.images(np.arange(LABELS)).flatten(1).float().div(255).numpy()
        folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
        model, y = LogisticRegression(max_iter=2000), pile.labeled.annotations.numpy()
        return torch.from_numpy(cross_val_predict(model, x, y, cv=folds, method="predict_proba"))
    net = st.learner(lambda: st.Classifier(st.ConvEncoder(size=8, embed_dim=32), classes=10))
    task = st.Classification(10)
    made = strategies.Supervised if method == "supervised" else strategies.FixMatch
    return out_of_fold(lambda: made(task, net, decay=0.95), pile, folds=FOLDS, steps=STEPS, seed=seed, progress=False)


def figures(method: str, seed: int) -> dict[str, object]:
    """Recall and precision of one method on one draw."""
    pile, rows = flipped(seed)
    found = label_errors(asked(method, pile, seed), pile.labeled.annotations)
    suspected = torch.nonzero(found.suspected).squeeze(1).numpy()
    first = found.margin.argsort(stable=True)[: len(rows)].numpy()
    hits = len(np.intersect1d(suspected, rows))
    return {
        "method": method, "seed": seed, "suspected": len(suspected), "recall": hits / len(rows),
        "precision": hits / max(1, len(suspected)), "first": len(np.intersect1d(first, rows)) / len(rows),
    }  # fmt: skip


def table(rows: list[dict[str, object]]) -> str:
    """Mean and standard deviation over the draws, as Markdown."""
    lines = ["| networks | suspected | recall, % | precision, % | first, % |", "|---|---|---|---|---|"]
    for method in METHODS:
        own = [row for row in rows if row["method"] == method]
        if own:
            cells = [f"{np.mean([float(row['suspected']) for row in own]):.0f}"]
            for key in ("recall", "precision", "first"):
                values = 100 * np.array([float(row[key]) for row in own])
                cells.append(f"{values.mean():.1f} ± {values.std(ddof=1) if len(own) > 1 else 0:.1f}")
            lines.append(f"| {method} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--write", action="store_true", help="put the table into the page")
    options = parser.parse_args()
    rows = json.loads(RESULT.read_text()) if RESULT.exists() else []
    for seed in options.seeds:
        for method in METHODS:
            if not any(row["method"] == method and row["seed"] == seed for row in rows):
                rows.append(figures(method, seed))
                RESULT.write_text(json.dumps(rows, indent=1) + "\n")
                print(rows[-1], flush=True)
    print(table(rows))
    if options.write:
        text = PAGE.read_text(encoding="utf-8")
        PAGE.write_text(re.sub(MARKS, lambda found: found[1] + table(rows) + found[2], text, flags=re.DOTALL))


if __name__ == "__main__":
    main()
