"""The same rows in the forms that candidates read, each made once from all rows and no label."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from scipy import sparse
from scipy.stats import norm
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer, StandardScaler

from selftrain.graph import knn_graph
from selftrain.wrapper.labels import Array

FORMS = ("given", "standard", "rank", "unit", "reduced")
WIDE = 100  # columns from which on rows are compared by their direction, and mixtures see main axes
AXES, NEIGHBORS, KNOTS = 256, 10, 200


def widened(rows: Array, categories: Iterable[tuple[int, int]]) -> Array:
    """Rows (N, F) in which each code of more than two of a category is a column, 1 where it is this one.

    Args:
        rows: Numbers, and codes of categories.
        categories: Place and number of codes of each column that holds codes.
    """
    wide = {at: codes for at, codes in categories if codes > 2}
    kept = [at for at in range(rows.shape[1]) if at not in wide]
    parts = [(rows[:, at, None] == np.arange(codes)).astype(rows.dtype) for at, codes in wide.items()]
    return np.concatenate([rows[:, kept], *parts], 1) if wide else rows


class _NormalScores(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Each column by the normal scores of its ranks, with mean 0."""

    def fit(self, X: Array, y: None = None) -> _NormalScores:
        self.columns_ = [self._scores(column) for column in X.T]
        return self

    @staticmethod
    def _scores(column: Array) -> tuple[Array, Array]:
        values, counts = np.unique(column, return_counts=True)
        # values that are alike have their middle rank: a column of mostly zeros has those near 0, not at an end
        scores = norm.ppf((counts.cumsum() - counts / 2) / len(column))
        scores -= counts @ scores / len(column)
        kept = np.arange(len(values))
        if len(values) > KNOTS:
            kept = np.unique(np.searchsorted(scores, np.linspace(scores[0], scores[-1], KNOTS)))
        return values[kept], scores[kept]

    def transform(self, X: Array) -> Array:
        return np.column_stack([np.interp(column, *told) for column, told in zip(X.T, self.columns_, strict=True)])


class _Axes(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Main axes of rows, with a mean squared length of 1 a row."""

    def __init__(self, turn: Any) -> None:
        self.turn = turn

    def fit(self, X: Any, y: None = None) -> _Axes:
        found = self.turn.fit_transform(X)
        # as a penalty or a shrinkage sees it, a row is as large whatever is cut off
        self.length_ = float(np.sqrt((found**2).sum(1).mean())) or 1.0
        return self

    def transform(self, X: Any) -> Array:
        return np.asarray(self.turn.transform(X) / self.length_)


class Forms:
    """Rows as they are given, standardized, by ranks, of length 1, or by their main axes; and the graph over them.

    ``"standard"``: mean 0 and variance 1 a column (sparse ones keep their zeros), for trees too, which round to single
    precision. ``"rank"``: each column by the normal scores of its ranks, so that units, origins and logarithms of a
    column make no difference and far values little. ``"unit"``: length 1, what angles compare; of a dense table after
    ``"rank"``, while pixels, samples and terms are taken to have one unit. ``"reduced"``: at most 256 main axes of
    ``"unit"``, with a mean squared length of 1 a row; of at most 100 columns ``"standard"``.

    Args:
        rows: All rows, labeled or not, shape (N, ...), or a sparse matrix.
        seed: Of the main axes.
        read: Makes numbers of what is given, shape (N, ...); ``None``: they are numbers.
        described: Name -> what makes other numbers of the same rows. ``"NAME/unit"`` are those at length 1, and so on.
    """

    def __init__(
        self,
        rows: Any,
        seed: int = 0,
        read: Callable[[Any], Any] | None = None,
        described: Mapping[str, Callable[[Any], Any]] | None = None,
    ) -> None:
        self.seed, self.read = seed, read
        self.described = {name: Forms(rows, seed, made) for name, made in (described or {}).items()}
        self.shape: tuple[int, ...] = tuple(rows.shape)
        self._made: dict[str, Any] = {"given": rows}
        self._makers: dict[str, Any] = {}
        self._graphs: dict[str, Any] = {}
        # of one row: reading may be work, such as the features of an encoder
        self.columns = int(np.prod((rows if read is None else read(rows[:1])).shape[1:]))
        self.wide = self.columns > WIDE or sparse.issparse(rows)

    def __getitem__(self, form: str) -> Any:
        """All rows in this form."""
        name, _, own = form.rpartition("/")
        if name:
            return self.described[name][own]
        if form not in self._made:
            flat = self._flat(self._made["given"])
            maker = self._maker(form, flat)
            self._made[form] = maker.fit_transform(flat)
            self._makers[form] = maker
        return self._made[form]

    def of(self, form: str, rows: Any) -> Any:
        """Other rows in this form."""
        name, _, own = form.rpartition("/")
        if name:
            return self.described[name].of(own, rows)
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
        if form == "rank":
            return _NormalScores()
        # pixels, samples and terms are taken to have one unit
        table = len(self.shape) == 2 and not sparse.issparse(flat)
        unit = make_pipeline(_NormalScores(), Normalizer()) if table else Normalizer()
        if form == "unit":
            return unit
        axes = max(1, min(AXES, min(flat.shape) - 1))
        turn = TruncatedSVD if sparse.issparse(flat) else PCA
        return make_pipeline(unit, _Axes(turn(axes, random_state=self.seed)))

    def __getstate__(self) -> dict[str, Any]:
        # a pickle answers for new rows; those of fit and their graph would be most of its size
        return {**self.__dict__, "_made": dict.fromkeys(self._made), "_graphs": {}}
