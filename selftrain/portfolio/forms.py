"""The same rows in the forms that candidates read, each made once from all rows and no label."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.preprocessing import Normalizer, StandardScaler, normalize

from selftrain.graph import knn_graph
from selftrain.wrapper.labels import Array

FORMS = ("given", "standard", "unit", "reduced")
WIDE = 100  # columns from which on rows are compared by their direction, and mixtures see main axes
AXES, NEIGHBORS = 128, 10


class _Axes:
    """Rows of length 1 along their main axes."""

    def __init__(self, turn: Any) -> None:
        self.turn, self.length = turn, 1.0

    def fit_transform(self, rows: Any) -> Array:
        found = self.turn.fit_transform(normalize(rows))
        # as a penalty or a shrinkage sees it, a row is as large whatever is cut off
        self.length = float(np.sqrt((found**2).sum(1).mean())) or 1.0
        return np.asarray(found / self.length)

    def transform(self, rows: Any) -> Array:
        return np.asarray(self.turn.transform(normalize(rows)) / self.length)


class Forms:
    """Rows as they are given, standardized, of length 1, or by their main axes; and the graph over them.

    ``"standard"``: mean 0 and variance 1 a column (sparse ones keep their zeros), for trees too, which round to single
    precision. ``"unit"``: length 1, what angles compare. ``"reduced"``: at most 128 main axes of ``"unit"``, with a
    mean squared length of 1 a row; of at most 100 columns ``"standard"``.

    Args:
        rows: All rows, labeled or not, shape (N, ...), or a sparse matrix.
        seed: Of the main axes.
        read: Makes numbers of what is given, shape (N, ...); ``None``: they are numbers.
    """

    def __init__(self, rows: Any, seed: int = 0, read: Callable[[Any], Any] | None = None) -> None:
        self.seed, self.read = seed, read
        self.shape: tuple[int, ...] = tuple(rows.shape)
        self._made: dict[str, Any] = {"given": rows}
        self._makers: dict[str, Any] = {}
        self._graphs: dict[str, Any] = {}
        self.columns = int(np.prod(self.shape[1:]))
        self.wide = self.columns > WIDE or sparse.issparse(rows)

    def __getitem__(self, form: str) -> Any:
        """All rows in this form."""
        if form not in self._made:
            flat = self._flat(self._made["given"])
            maker = self._maker(form, flat)
            self._made[form] = maker.fit_transform(flat)
            self._makers[form] = maker
        return self._made[form]

    def of(self, form: str, rows: Any) -> Any:
        """Other rows in this form."""
        if form == "given":
            return rows
        if form not in self._made:
            self[form]
        return self._makers[form].transform(self._flat(rows))

    def graph(self, form: str) -> sparse.csr_matrix:
        """The graph of the nearest neighbors in this form."""
        if form not in self._graphs:
            self._graphs[form] = knn_graph(self[form], NEIGHBORS)
        return self._graphs[form]

    def _flat(self, rows: Any) -> Any:
        if sparse.issparse(rows):
            return sparse.csr_matrix(rows, dtype=np.float64)
        rows = rows if self.read is None else self.read(rows)
        return np.asarray(rows, dtype=np.float64).reshape(len(rows), -1)

    def _maker(self, form: str, flat: Any) -> Any:
        if form == "standard" or (form == "reduced" and not self.wide):
            return StandardScaler(with_mean=not sparse.issparse(flat))
        if form == "unit":
            return Normalizer()
        axes = max(1, min(AXES, min(flat.shape) - 1))
        turn = TruncatedSVD if sparse.issparse(flat) else PCA
        return _Axes(turn(axes, random_state=self.seed))

    def __getstate__(self) -> dict[str, Any]:
        # a pickle answers for new rows; those of fit and their graph would be most of its size
        return {**self.__dict__, "_made": dict.fromkeys(self._made), "_graphs": {}}
