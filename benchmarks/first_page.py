"""The tables of docs/first-result.md from the rows of benchmarks/first_result.py."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tables import Row, cell, replace

PAGE = Path(__file__).parent.parent / "docs" / "first-result.md"
DEFAULT, ALONE, TIME = "SelfTrainClassifier()", "labels alone", "time"


class Scores:
    """Test accuracy by problem, method and draw; of problems and draws where every method has run.

    Attributes:
        methods: Names, the library's default first if it has run.
        problems: Names in the order of the rows.
        group: Group of each problem.
    """

    def __init__(self, rows: Sequence[Row]) -> None:
        rows = self.rows = [row for row in rows if row["group"] != TIME]
        self.methods = list(dict.fromkeys(row["method"] for row in rows))
        self.group = {row["problem"]: row["group"] for row in rows}
        of = {(row["problem"], row["method"], row["seed"]): row["test_accuracy"] for row in rows}
        seeds = sorted({row["seed"] for row in rows})
        self.draws = {p: [s for s in seeds if all((p, m, s) in of for m in self.methods)] for p in self.group}
        self.problems = [p for p in self.group if self.draws[p]]
        self.of = {(p, m): [of[p, m, s] for s in self.draws[p]] for p in self.problems for m in self.methods}

    def mean(self, problem: str, method: str) -> float:
        """Percent, over the draws."""
        return 100 * statistics.mean(self.of[problem, method])

    def rank(self, method: str) -> float:
        """Mean over problems and draws, 1 is best; equals share the mean of their ranks. Problems count alike."""
        from scipy.stats import rankdata

        ranks = []
        for problem in self.problems:
            scores = np.array([self.of[problem, m] for m in self.methods])
            ranks.append(rankdata(-scores, axis=0)[self.methods.index(method)].mean())
        return float(np.mean(ranks))

    def regret(self, method: str) -> float:
        """Points below the method that is best on a problem in the mean over draws, in the mean over problems."""
        return statistics.mean(max(self.mean(p, m) for m in self.methods) - self.mean(p, method) for p in self.problems)

    def loss(self, method: str) -> tuple[float, str]:
        """Most points below the best that learns the labels alone, and on which problem; negative: never below."""
        alone = [m for m in self.methods if m.startswith(ALONE)]
        return max((max(self.mean(p, m) for m in alone) - self.mean(p, method), p) for p in self.problems)


def summary(scores: Scores) -> str:
    """A line for each method over all problems."""
    head = ["method", "mean rank", "mean accuracy", "15 tables", "regret", "worst against the labels alone"]
    lines = ["| " + " | ".join(head) + " |", "| --- " * len(head) + "|"]
    for method in scores.methods:
        tables = [scores.mean(p, method) for p in scores.problems if scores.group[p] == "tables"]
        lost, where = scores.loss(method)
        figures = [
            f"{scores.rank(method):.2f}",
            f"{statistics.mean(scores.mean(p, method) for p in scores.problems):.1f}",
            f"{statistics.mean(tables):.1f}" if tables else "",
            f"{scores.regret(method):.1f}",
            f"{-lost:+.1f} ({where})",
        ]
        lines.append("| " + " | ".join([method, *figures]) + " |")
    return "\n".join(lines)


def each(scores: Scores) -> str:
    """A line for each problem: test accuracy in percent, mean and standard deviation over the draws."""
    head = ["problem", "labels", "draws", *scores.methods]
    lines = ["| " + " | ".join(head) + " |", "| --- " * len(head) + "|"]
    labels = {row["problem"]: row["labels"] for row in scores.rows}
    for problem in scores.problems:
        cells = [cell(scores.of[problem, m]) for m in scores.methods]
        counts = [str(labels[problem]), str(len(scores.draws[problem]))]
        lines.append("| " + " | ".join([problem, *counts, *cells]) + " |")
    return "\n".join(lines)


def times(rows: Sequence[Row]) -> str:
    """Seconds of a fit by method and number of rows."""
    taken = {(row["method"], row["problem"]): row["seconds"] for row in rows if row["group"] == TIME}
    sizes, methods = (list(dict.fromkeys(key[i] for key in taken)) for i in (1, 0))
    lines = ["| fit, seconds | " + " | ".join(sizes) + " |", "| --- " * (1 + len(sizes)) + "|"]
    for method in methods:
        cells = [f"{taken[method, size]:.2g}" if (method, size) in taken else "" for size in sizes]
        lines.append("| " + " | ".join([method, *cells]) + " |")
    return "\n".join(lines)


def tables(rows: Sequence[Row]) -> dict[str, str]:
    """Markdown of each table by the name of its marks."""
    scores = Scores(rows)
    return {
        "first result": summary(scores),
        "first result, each problem": each(scores),
        "first result, time": times(rows),
    }


def show(rows: Sequence[Row], *, write: bool) -> None:
    """Print the tables, or put them into the page."""
    text = PAGE.read_text(encoding="utf-8") if write else ""
    for name, table in tables(rows).items():
        print(f"{name}\n\n{table}\n")
        text = replace(text, name, table)
    if write:
        PAGE.write_text(text, encoding="utf-8")
