"""Classifiers whose answers can be worked out by hand, and a toy on which self-training shows its use."""

from __future__ import annotations

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.datasets import make_blobs
from sklearn.utils.validation import check_is_fitted

from selftrain.wrapper import Candidates


class Centroids(ClassifierMixin, BaseEstimator):
    """Numbers on a line: the probability of a class falls with the distance to its (weighted) mean.

    For two classes p(first) = distance to second / sum of both distances.
    """

    calls: list[dict] = []  # of all instances: what each fit was given

    def fit(self, X, y, sample_weight=None):
        self.calls.append({"X": X.copy(), "y": np.array(y), "weight": sample_weight})
        weight = np.ones(len(y)) if sample_weight is None else sample_weight
        self.classes_ = np.unique(y)
        self.means_ = np.array([np.average(X[y == c, 0], weights=weight[y == c]) for c in self.classes_])
        return self

    def predict_proba(self, X):
        check_is_fitted(self)
        near = 1 / (np.abs(X[:, :1] - self.means_) + 1e-12)
        return near / near.sum(1, keepdims=True)

    def predict(self, X):
        return self.classes_[self.predict_proba(X).argmax(1)]


class Scripted(ClassifierMixin, BaseEstimator):
    """Says what it is told: in its k-th fit's life row x gets the probabilities ``script[k][x]``."""

    fits = 0

    def __init__(self, script=None):
        self.script = script

    def fit(self, X, y, sample_weight=None):
        self.classes_, self.seen_ = np.unique(y), dict(zip(X[:, 0].astype(int).tolist(), y.tolist(), strict=True))
        self.number_ = min(Scripted.fits, len(self.script) - 1)
        Scripted.fits += 1
        return self

    def predict_proba(self, X):
        return np.array(self.script[self.number_])[X[:, 0].astype(int)]

    def predict(self, X):
        return self.classes_[self.predict_proba(X).argmax(1)]


def scripted(*rounds):
    """A ``Scripted`` classifier of two classes; each argument is P(second class) of the rows 0, 1, ..."""
    Scripted.fits = 0
    return Scripted([[[1 - p, p] for p in one] for one in rounds])


def candidates(votes, *, first=None, rows=None, round=1, total=None, prior=None, seed=0, score=None):
    """What a policy is asked about."""
    votes = np.asarray(votes, dtype=float)
    n, classes = votes.shape
    return Candidates(
        votes=votes,
        score=votes.max(1) if score is None else np.asarray(score, dtype=float),
        first=votes if first is None else np.asarray(first, dtype=float),
        rows=np.arange(n) if rows is None else np.asarray(rows),
        round=round,
        total=n if total is None else total,
        prior=np.full(classes, 1 / classes) if prior is None else np.asarray(prior),
        rng=np.random.RandomState(seed),
    )


def draw_votes(seed, n=60, classes=3, sharp=1.0):
    """Random distributions over classes; larger ``sharp`` is surer."""
    logits = np.random.RandomState(seed).randn(n, classes) * sharp
    return np.exp(logits) / np.exp(logits).sum(1, keepdims=True)


def clouds(seed, labels=2):
    """Three clouds in 24 dimensions, a few labels each: rows and labels to learn from, and to test on."""
    centers = np.kron(np.eye(3), np.full(8, 2.0))
    X, y = make_blobs(900, centers=centers, cluster_std=2.0, random_state=seed)
    hidden = np.full(600, -1)
    for c in range(3):
        rows = np.flatnonzero(y[:600] == c)[:labels]
        hidden[rows] = c
    return X[:600], hidden, X[600:], y[600:]
