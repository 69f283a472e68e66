"""Softmax regression that teaches itself with soft labels.

Round r: the model of the round before gives every row without a label its probabilities, which are aligned to the
shares of the classes and sharpened; the next model learns labels and soft labels by their cross-entropy. Source: the
target of Berthelot et al., "ReMixMatch", 2020, arXiv:1911.09785, section 3.1 (alignment, sharpening), for a linear
model and without views; the shares are those of the labels, shrunk to equal ones.

``DiscriminantSoftLabels`` does that in the metric of W, the shrunk covariance within classes of a mixture: with
W = L L^T it learns from L^-1 x, so that the penalty of the weights a_c on x is proportional to a_c^T W a_c. As in
discriminant analysis, whose weights are W^-1 times means, directions in which a class hardly varies are cheap.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg import solve_triangular
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax
from sklearn.base import BaseEstimator, ClassifierMixin

from selftrain.portfolio.mixture import SemiSupervisedMixture
from selftrain.wrapper.labels import Array


class SoftLabelRegression(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Learn softmax regression from labels and, in rounds, from its own soft labels; see the module.

    Args:
        C: Inverse of the L2 penalty, which is weighed against the sum over the labels as in ``LogisticRegression``.
        weight: What all rows without a label count together, the labels counting 1 together.
        temperature: Soft labels are p^(1/T), normalized; below 1 sharpens.
        rounds: Rounds of soft labels, 0 or more.

    Attributes:
        classes_: Shape (C,).
        coef_: Weights and, last, biases, shape (C, D + 1).
    """

    def __init__(self, C: float = 1.0, *, weight: float = 1.0, temperature: float = 0.5, rounds: int = 5) -> None:
        self.C, self.weight, self.temperature, self.rounds = C, weight, temperature, rounds

    def fit(self, X: Array, y: Array) -> SoftLabelRegression:
        """Learn from rows (N, D), dense or sparse, and classes (N,), -1 where there is none."""
        labeled = y >= 0
        self.classes_, codes = np.unique(y[labeled], return_inverse=True)
        classes, given = len(self.classes_), int(labeled.sum())
        target = np.zeros((len(y), classes))
        target[np.flatnonzero(labeled), codes] = 1.0
        # one imagined label a class: shares of few labels are not taken at their word
        shares = (np.bincount(codes, minlength=classes) + 1) / (given + classes)
        self.coef_ = np.zeros((classes, X.shape[1] + 1))
        self._descend(X[labeled], target[labeled], np.ones(given))
        pile = np.flatnonzero(~labeled)
        weights = np.where(labeled, 1.0, self.weight * given / max(1, len(pile)))
        for _ in range(self.rounds if len(pile) and self.weight > 0 else 0):
            p = self.predict_proba(X[pile])
            p = (p * shares / p.mean(0)) ** (1 / self.temperature)
            target[pile] = p / p.sum(1, keepdims=True)
            self._descend(X, target, weights)
        return self

    def _descend(self, X: Array, target: Array, weights: Array) -> None:
        """Minimize the weighted cross-entropy and the penalty, from the weights of the round before."""

        def cost(flat: Array) -> tuple[float, Array]:
            coef = flat.reshape(shape)
            logits = X @ coef[:, :-1].T + coef[:, -1]
            loss = -float(weights @ (target * log_softmax(logits, axis=1)).sum(1))
            slope = (softmax(logits, axis=1) - target) * weights[:, None]
            gradient = np.column_stack([(X.T @ slope).T + coef[:, :-1] / self.C, slope.sum(0)])
            return loss + 0.5 / self.C * float((coef[:, :-1] ** 2).sum()), gradient.ravel()

        shape = self.coef_.shape
        # the next round goes on from here: to the end of each took three times as long, for the same accuracy
        found = minimize(cost, self.coef_.ravel(), jac=True, method="L-BFGS-B", options={"maxiter": 25})
        self.coef_ = found.x.reshape(shape)

    def predict_proba(self, X: Array) -> Array:
        """Probabilities of the classes, shape (N, C)."""
        return np.asarray(softmax(X @ self.coef_[:, :-1].T + self.coef_[:, -1], axis=1))

    def predict(self, X: Array) -> Array:
        """The class of each row, shape (N,)."""
        return np.asarray(self.classes_[self.predict_proba(X).argmax(1)])


class DiscriminantSoftLabels(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Learn soft labels in the metric of a mixture that labels and pile shape; see the module.

    Args:
        mixture: With a shared covariance.
        regression: Learns from rows of a mean squared length of 1 in that metric.

    Attributes:
        classes_: Shape (C,).
    """

    def __init__(self, mixture: SemiSupervisedMixture, regression: SoftLabelRegression) -> None:
        self.mixture, self.regression = mixture, regression

    def fit(self, X: Array, y: Array) -> DiscriminantSoftLabels:
        """Learn from dense rows (N, D) and classes (N,), -1 where there is none."""
        self.mixture.fit(X, y)
        self.length_ = 1.0
        self.length_ = float(np.sqrt((self._seen(X) ** 2).sum(1).mean())) or 1.0
        self.regression.fit(self._seen(X), y)
        self.classes_ = self.regression.classes_
        return self

    def _seen(self, X: Array) -> Array:
        return np.asarray(solve_triangular(self.mixture.scale_, X.T, lower=True).T / self.length_)

    def predict_proba(self, X: Array) -> Array:
        """Probabilities of the classes, shape (N, C)."""
        return self.regression.predict_proba(self._seen(X))

    def predict(self, X: Array) -> Array:
        """The class of each row, shape (N,)."""
        return self.regression.predict(self._seen(X))
