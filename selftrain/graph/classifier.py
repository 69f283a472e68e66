"""Labels that spread over a graph of nearest rows, as a scikit-learn classifier."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.preprocessing import StandardScaler

from selftrain.graph.neighbors import Array, Metric, kernel, knn_graph, nearest_rows
from selftrain.graph.propagation import check_method, propagate
from selftrain.wrapper.base import Wrapper


class GraphClassifier(Wrapper):
    """Spread the labels over the graph of nearest rows; new rows ask the nearest of those.

    Args:
        method: ``"poisson"``, ``"poisson_volume"``, ``"laplace"``, ``"label_spreading"`` or ``"label_propagation"``:
            the functions of ``selftrain.graph``.
        neighbors: Of each row, at least 1; see ``knn_graph``.
        metric: ``"euclidean"``, or ``"cosine"`` for texts and features of networks.
        scale: Of the weights: ``"local"``, a number, or ``None``; see ``knn_graph``.
        standardize: Whether columns are divided by their standard deviation, and centered unless they are sparse; for
            tables whose columns have units of their own, not for TF-IDF, pixels or features of a network.
        alpha: Of ``"label_spreading"``, in (0, 1); ``None``: 0.99, and what other methods need.
        shares: Of each class among all rows, in the order of the sorted classes, for ``"poisson_volume"``; ``None``:
            those of the labels.
        approximate: Whether neighbors are searched approximately; ``None``: beyond 50,000 rows.
        unlabeled: What stands for "no label" in y, one value or several.
        random_state: Seed of the approximate search.

    Attributes:
        classes_: Names of the classes, sorted, shape (C,).
        label_distributions_: Of each row of ``fit``, shape (N, C); a method may overrule a label.
        transduction_: Class of each row of ``fit``: the label that was given, or the likeliest class, shape (N,).
        graph_: Weights, sparse, shape (N, N).
    """

    label_distributions_: Array
    transduction_: Array
    graph_: sparse.csr_matrix

    def __init__(
        self,
        method: str = "poisson",
        neighbors: int = 10,
        *,
        metric: Metric = "euclidean",
        scale: Any = "local",
        standardize: bool = True,
        alpha: float | None = None,
        shares: Sequence[float] | None = None,
        approximate: bool | None = None,
        unlabeled: Any = -1,
        random_state: Any = 0,
    ) -> None:
        self.method, self.neighbors, self.metric, self.scale = method, neighbors, metric, scale
        self.standardize, self.alpha, self.shares = standardize, alpha, shares
        self.approximate, self.unlabeled, self.random_state = approximate, unlabeled, random_state

    def fit(self, X: Any, y: Any) -> GraphClassifier:
        """Build the graph of all rows and spread the labels.

        Args:
            X: All rows, labeled or not, numbers, dense or sparse, shape (N, D).
            y: Their labels, ``unlabeled`` where there is none, shape (N,).

        Raises:
            DataError: for rows that are not finite numbers, labels that are no classes, no label, or a single class.
            ValueError: for settings out of range, or that the method does not have.
        """
        check_method(self.method, alpha=self.alpha, shares=self.shares)  # before the graph, which may take its time
        X, labels, rng = self._begin(X, y)
        self._scaler = None
        if self.standardize:
            self._scaler = StandardScaler(with_mean=not sparse.issparse(X)).fit(X)
        self._features = self._scaled(X)
        self.graph_ = knn_graph(
            self._features, self.neighbors, metric=self.metric, scale=self.scale, approximate=self.approximate,
            random_state=int(rng.randint(2**31 - 1)),
        )  # fmt: skip
        values = propagate(
            self.method, self.graph_, labels.codes, len(labels.classes), alpha=self.alpha, shares=self.shares
        )
        self.label_distributions_ = values
        self.transduction_ = labels.completed(values.argmax(1)[~labels.labeled])
        return self

    def predict_proba(self, X: Any) -> Array:
        """Class probabilities of each row, shape (N, C).

        A row that equals rows of ``fit`` gets the mean of their distributions, any other the mean of those of its
        nearest rows, weighted by the kernel of the graph.
        """
        X = self._scaled(self._rows(X))
        distances, places = nearest_rows(self._features, X, self.neighbors, metric=self.metric)
        # what all are farther than the nearest changes no share, and a row far away has weights above 0
        nearer = np.sqrt(np.maximum(distances**2 - distances[:, :1] ** 2, 0)) if self.scale != "local" else distances
        same = distances == 0
        weights = np.where(same.any(1, keepdims=True), same, kernel(nearer, self.scale))
        weights = weights / weights.sum(1, keepdims=True)
        return np.asarray((weights[:, :, None] * self.label_distributions_[places]).sum(1))

    def predict(self, X: Any) -> Array:
        """The likeliest class of each row, shape (N,)."""
        codes = self.predict_proba(X).argmax(1)
        return np.asarray(self.classes_[codes])

    def _scaled(self, X: Any) -> Any:
        return X if self._scaler is None else self._scaler.transform(X)

    def _members(self) -> list[Any]:
        return []

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags
