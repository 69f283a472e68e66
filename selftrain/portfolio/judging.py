"""Candidates judged on labels that they did not see: repeated folds, the pile in every one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from time import perf_counter

import numpy as np

from selftrain.portfolio.candidates import Candidate
from selftrain.portfolio.forms import Forms
from selftrain.wrapper.labels import Array


@dataclass(frozen=True)
class Judged:
    """What a candidate said of labels that were hidden from it.

    Attributes:
        candidate: Whose answers these are.
        answers: Probabilities of each label in each repeat, shape (R, L, C); NaN where it was never hidden.
        seconds: Time of all fits.
    """

    candidate: Candidate
    answers: Array
    seconds: float


def folds(codes: Array, splits: int, repeats: int, seed: int) -> Iterator[list[Array]]:
    """Repeats of folds of the labeled rows, places in ``codes`` >= 0, with like shares of every class in each.

    A class with fewer labels than folds is in as many folds as it has labels; one with a single label is in none,
    since without it the class would not be known at all.

    Args:
        codes: Class of each row, -1 where unlabeled, shape (N,).
        splits: Folds of a repeat, at least 2.
        repeats: How often the labels are folded anew.
        seed: Of the draws.
    """
    rng = np.random.RandomState(seed)
    known = np.flatnonzero(codes >= 0)
    for _ in range(repeats):
        fold, start = np.full(len(codes), -1), 0
        for c in np.unique(codes[known]):
            rows = rng.permutation(known[codes[known] == c])
            if len(rows) > 1:
                # goes on where the class before ended, so that folds are equally large
                fold[rows] = (start + np.arange(len(rows))) % splits
                start += len(rows)
        yield [rows for k in range(splits) if len(rows := np.flatnonzero(fold == k))]


def judge(candidate: Candidate, forms: Forms, codes: Array, parts: list[list[Array]], seed: int) -> Judged:
    """Let a candidate answer for the labels of each fold, which it sees as rows without a label.

    Answers of fewer repeats than there are stand for the others.

    Args:
        candidate: What is judged.
        forms: Of all rows.
        codes: Class of each row, -1 where unlabeled, shape (N,).
        parts: Of ``folds``.
        seed: Of the candidate.
    """
    known, begun = np.flatnonzero(codes >= 0), perf_counter()
    answers = np.full((len(parts), len(known), int(codes.max()) + 1), np.nan)
    for repeat, rows_of in enumerate(parts[: candidate.repeats]):
        for rows in rows_of:
            hidden = codes.copy()
            hidden[rows] = -1
            answers[repeat, np.searchsorted(known, rows)] = answer(
                candidate.make(seed).fit(forms[candidate.form], hidden), forms[candidate.form][rows], answers.shape[2]
            )
    answers[candidate.repeats :] = answers[0]
    return Judged(candidate, answers, perf_counter() - begun)


def answer(fitted: object, rows: Array, classes: int) -> Array:
    """Probabilities of all classes, shape (N, C), of an estimator that may know some of them only."""
    value = np.zeros((rows.shape[0], classes))
    value[:, np.asarray(fitted.classes_, dtype=np.int64)] = fitted.predict_proba(rows)  # type: ignore[attr-defined]
    return value
