"""Remedies of what a report says, and of labels that are doubted."""

from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from remedies import Elsewhere, Row

import selftrain as st
from selftrain import strategies
from selftrain.data import ArraySet, Pile
from selftrain.evaluation.label_errors import label_errors
from selftrain.labels.page.write import write_label_review
from selftrain.pipeline import out_of_fold
from selftrain.types import BatchPlan

X, Y = torch.rand(8, 3), torch.arange(8) % 2
PILE = Pile(ArraySet(X, Y), ArraySet(X), classes=["a", "b"])
EMPTY = Pile(None, ArraySet(X), classes=["a", "b"])
P = torch.full((8, 2), 0.5)


def page(pile):
    with TemporaryDirectory() as folder:
        write_label_review(pile, P, Path(folder) / "page.html")


def doubted(pile, folds=2):
    make = st.learner(lambda: torch.nn.Linear(3, 2))
    plan = BatchPlan(labeled=2)
    out_of_fold(
        lambda: strategies.Supervised(st.Classification(2), make), pile, folds=folds, steps=1, plan=plan, progress=False
    )


_REPORT = "unit/report/test_report.py::test_"

ROWS_OF = {
    "data/pile.py": [
        Row("were to be left out", lambda: PILE.without_labels(range(8)), lambda: PILE.without_labels([0, 3])),
        Row(
            "the review has classes up to",
            lambda: PILE.reviewed({"given:1": 2}),
            lambda: PILE.reviewed({"given:1": 1}),
        ),
        Row(
            "the review rejects all labels",
            lambda: PILE.reviewed({f"given:{row}": -1 for row in range(8)}),
            lambda: PILE.reviewed({f"given:{row}": -1 for row in range(7)}),
        ),
        Row(
            "apply a review of given labels",
            lambda: PILE.without_labels([7])[0].reviewed({"given:7": 0}),
            lambda: PILE.reviewed({"given:7": 0}),
        ),
    ],
    "selftrain/evaluation/label_errors.py": [
        Row("labels go from", lambda: label_errors(P, Y + 1), lambda: label_errors(P, Y)),
        Row("probabilities have shape", lambda: label_errors(P[0], Y), lambda: label_errors(P, Y)),
    ],
    "selftrain/labels/page/write.py": [
        Row("no labels that are classes", lambda: page(EMPTY), lambda: page(PILE)),
    ],
    "selftrain/pipeline/out_of_fold.py": [
        Row("folds is", lambda: doubted(PILE, folds=1), lambda: doubted(PILE)),
        Row("folds of labels that are classes", lambda: doubted(EMPTY), lambda: doubted(PILE)),
    ],
    "selftrain/report/content.py": [
        Elsewhere("A run without a folder keeps no log", f"{_REPORT}a_run_without_a_folder_says_how_to_keep_a_log"),
    ],
    "selftrain/report/write.py": [
        Elsewhere("the run is whole", f"{_REPORT}a_page_that_fails_costs_nothing_but_the_page"),
        Elsewhere("it must be at least 1", f"{_REPORT}a_run_from_its_folder_has_the_same_page"),
    ],
}
