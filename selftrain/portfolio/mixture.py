"""A mixture of one Gaussian a class, fitted to labels and pile by expectation and maximization.

Source: Nigam, McCallum, Thrun & Mitchell, "Text Classification from Labeled and Unlabeled Documents using EM", 2000,
section 5.1 (EM-lambda), with Gaussians for their multinomials. The labels alone give the first parameters; then

    E: r(i, c) = share_c N(x_i; mean_c, S_c) / sum over classes          of rows without a label
    M: share, mean and covariance of each class, rows weighted by r; those without a label count ``weight`` each

until no responsibility moves by more than ``tol``, or for ``max_iter`` rounds.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg import cho_solve, cholesky
from scipy.special import softmax
from sklearn.base import BaseEstimator, ClassifierMixin

from selftrain.wrapper.labels import Array

COVARIANCES = ("shared", "diagonal")


class SemiSupervisedMixture(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Classify by one Gaussian a class that labels and unlabeled rows (-1) shape together; equations: see the module.

    Args:
        covariance: ``"shared"``: one full matrix for all classes, borders are planes; ``"diagonal"``: variances of
            each class of its own, columns are independent within a class.
        shrinkage: Share of the covariance that is replaced: a shared one by its mean variance on the diagonal, the
            variances of a class by those of all rows; in [0, 1].
        weight: What a row without a label counts beside a labeled one, in [0, 1]; 0: the labels alone.
        max_iter: Rounds at most.
        tol: See the module.

    Attributes:
        classes_: Shape (C,).
        means_: Shape (C, D).
        shares_: Shares of the classes, shape (C,).
        n_iter_: Rounds.
    """

    def __init__(
        self,
        covariance: str = "shared",
        *,
        shrinkage: float = 0.1,
        weight: float = 1.0,
        max_iter: int = 20,
        tol: float = 1e-3,
    ) -> None:
        self.covariance, self.shrinkage, self.weight = covariance, shrinkage, weight
        self.max_iter, self.tol = max_iter, tol

    def fit(self, X: Array, y: Array) -> SemiSupervisedMixture:
        """Learn from rows (N, D) and classes (N,), -1 where there is none."""
        if self.covariance not in COVARIANCES:
            raise ValueError(f"covariance is {self.covariance!r}; choose one of {COVARIANCES}")
        labeled = y >= 0
        self.classes_, codes = np.unique(y[labeled], return_inverse=True)
        r = np.zeros((len(X), len(self.classes_)))
        r[np.flatnonzero(labeled), codes] = 1.0
        self._maximize(X, r)
        count = np.where(labeled, 1.0, self.weight)[:, None]
        self.n_iter_ = 0
        while self.weight > 0 and not labeled.all() and self.n_iter_ < self.max_iter:
            found = np.where(labeled[:, None], r, self.predict_proba(X))
            moved, r = np.abs(found - r).max(), found
            self._maximize(X, count * r)
            self.n_iter_ += 1
            if moved <= self.tol:
                break
        return self

    def _maximize(self, X: Array, r: Array) -> None:
        """Parameters from weighted responsibilities (N, C)."""
        total = r.sum(0)
        self.shares_ = total / total.sum()
        self.means_ = (r.T @ X) / total[:, None]
        s = self.shrinkage
        rows = r.sum(1)
        if self.covariance == "diagonal":
            variance = np.maximum((r.T @ X**2) / total[:, None] - self.means_**2, 0.0)
            pooled = self.shares_ @ variance
            self.scale_ = (1 - s) * variance + s * pooled + 1e-6 * (pooled.mean() + 1e-12)
            return
        # total minus between: one product, however many classes
        mean = self.shares_ @ self.means_
        kept = rows > 0
        centered = X[kept] - mean
        within = (centered * rows[kept, None]).T @ centered / rows.sum()
        apart = self.means_ - mean
        within -= (apart * self.shares_[:, None]).T @ apart
        level = np.trace(within) / len(within)
        within = (1 - s) * within + (s * level + 1e-6 * level + 1e-12) * np.eye(len(within))
        self.scale_ = cholesky(within, lower=True)

    def decision_function(self, X: Array) -> Array:
        """log(share_c N(x; mean_c, S_c)), up to a constant of the row, shape (N, C)."""
        if self.covariance == "diagonal":
            inverse = 1 / self.scale_
            distance = X**2 @ inverse.T - 2 * X @ (self.means_ * inverse).T + (self.means_**2 * inverse).sum(1)
            value = -0.5 * (distance + np.log(self.scale_).sum(1))
        else:
            solved = cho_solve((self.scale_, True), self.means_.T)
            value = X @ solved - 0.5 * (self.means_.T * solved).sum(0)
        return np.asarray(value + np.log(self.shares_))

    def predict_proba(self, X: Array) -> Array:
        """Probabilities of the classes, shape (N, C)."""
        return np.asarray(softmax(self.decision_function(X), axis=1))

    def predict(self, X: Array) -> Array:
        """The class of each row, shape (N,)."""
        return np.asarray(self.classes_[self.predict_proba(X).argmax(1)])
