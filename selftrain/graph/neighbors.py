"""The graph of nearest neighbors: who is near whom, and how near, beside how near others are there."""

from __future__ import annotations

import importlib.util
import warnings
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import normalize

from selftrain.errors import DataError

Array = NDArray[Any]
Metric = Literal["euclidean", "cosine"]
METRICS = ("euclidean", "cosine")
EXACT = 50_000  # rows up to which neighbors are looked for one by one, whose time grows with the square of the rows
_REMEDY = 'pip install "selftrain[graph]"'


def knn_graph(
    features: Any,
    neighbors: int = 10,
    *,
    metric: Metric = "euclidean",
    scale: Literal["local"] | float | None = "local",
    approximate: bool | None = None,
    random_state: int = 0,
) -> sparse.csr_matrix:
    """Link each row with its nearest ones; near links weigh more.

    Row i has an edge to each of its k nearest rows, of weight exp(-4 d^2 / d_k(i)^2), where d_k(i) is the distance to
    the k-th of them; the graph is the mean of this one and its transpose (Calder et al., "Poisson Learning", ICML 2020,
    section 4). A scale of each row's own is that of Zelnik-Manor & Perona, "Self-Tuning Spectral Clustering", NIPS
    2004, who divide by d_k(i) d_k(j): beside an outlier that weight vanishes, and with it the outlier's only edges.

    Copies of a row are one node with edges; each further copy hangs on the first by an edge of weight 1. Otherwise
    rows with k copies would know nobody but one another.

    Args:
        features: One row a sample, dense or a sparse matrix of scipy (which stays sparse), shape (N, D).
        neighbors: Number k of neighbors, at least 1; with fewer distinct rows all of them.
        metric: ``"cosine"`` measures sqrt(2 - 2 cos), the distance of rows of length 1.
        scale: ``"local"`` as above; a number s > 0: weights exp(-d^2 / s^2); ``None``: weights of 1.
        approximate: Whether neighbors are searched by pynndescent (the extra ``graph``), which may miss a few;
            ``None``: beyond 50,000 rows where it is installed.
        random_state: Seed of the approximate search.

    Returns:
        Weights, shape (N, N), symmetric, nonnegative, zero on the diagonal; at most 2 k N of them are stored.

    Raises:
        DataError: for features that are no table of finite numbers, or a scale beside which every weight is 0.
        ValueError: for settings out of range.
        ImportError: if ``approximate=True`` and pynndescent is missing.

    Warns:
        UserWarning: beyond 50,000 rows without pynndescent: the search is exact and takes its time. It is no error,
            because the result is right.
    """
    if isinstance(neighbors, bool) or not isinstance(neighbors, int | np.integer) or neighbors < 1:
        raise ValueError(f"neighbors is {neighbors!r}; it must be an integer of at least 1")
    check_metric(metric, scale)
    rows, unit = _prepared(features, metric)[:2]
    count = rows.shape[0]
    first = _first_copies(rows)
    own = np.flatnonzero(first == np.arange(count))  # of copies the first
    copies = np.flatnonzero(first != np.arange(count))
    hung = _one_way(copies, first[copies], np.ones(len(copies)), count)
    k = min(int(neighbors), len(own) - 1)
    if k < 1:
        return _csr(hung + hung.T)
    distinct = rows if len(own) == count else rows[own]
    distances, places = _nearest(distinct, k, _approximate(approximate, len(own)), random_state)
    weights = kernel(distances, scale if scale is None or scale == "local" else scale / unit)
    near = _one_way(np.repeat(own, k), own[places.ravel()], weights.ravel(), count)
    graph = _csr((near + near.T) / 2 + hung + hung.T)
    if not graph.nnz:
        usual = float(np.median(distances[np.isfinite(distances)])) * unit
        raise DataError(f"scale={scale} makes every weight 0: neighbors are {usual:.3g} apart; set scale='local'")
    return graph


def nearest_rows(features: Any, queries: Any, neighbors: int, *, metric: Metric = "euclidean") -> tuple[Array, Array]:
    """The rows of ``features`` (N, D) that are nearest to each query (Q, D), by distance, exactly.

    Returns:
        Distances and places, each (Q, k), k at most N. Equal rows are at a distance of exactly 0.
    """
    rows, unit, middle = _prepared(features, metric)
    asked = _numbers(queries)
    asked = normalize(asked) if metric == "cosine" else asked
    asked = asked / unit if sparse.issparse(asked) else (asked - middle) / unit
    search = NearestNeighbors(n_neighbors=min(neighbors, rows.shape[0])).fit(rows)
    distances, places = _sorted(rows, asked, search.kneighbors(asked, return_distance=False))
    return distances * unit, places


def kernel(distances: Array, scale: Literal["local"] | float | None) -> Array:
    """Weights of neighbors (N, k) by their distance (infinite: none), as ``knn_graph`` describes, same shape."""
    found = np.isfinite(distances)
    if scale is None:
        return found.astype(float)
    if scale != "local":
        return np.asarray(np.exp(-((distances / scale) ** 2)))
    farthest = np.where(found, distances, 0).max(1, keepdims=True)
    ratio = np.divide(distances, farthest, out=np.zeros_like(distances), where=found & (farthest > 0))
    return np.asarray(np.where(found, np.exp(-4 * ratio**2), 0.0))


def check_metric(metric: str, scale: object) -> None:
    """Raise ValueError for an unknown metric or a scale that is none."""
    if metric not in METRICS:
        raise ValueError(f"metric is {metric!r}; choose one of {METRICS}")
    known = scale is None or (isinstance(scale, str) and scale == "local")
    if not known and not (isinstance(scale, int | float | np.number) and 0 < float(scale) < np.inf):
        raise ValueError(f"scale is {scale!r}; choose 'local', a number above 0, or None for equal weights")


def _numbers(features: Any) -> Any:
    """A table of finite numbers, dense or CSR."""
    try:
        rows = sparse.csr_matrix(features) if sparse.issparse(features) else np.asarray(features)
        rows = rows.astype(rows.dtype if rows.dtype == np.float32 else np.float64, copy=False)
    except (TypeError, ValueError) as error:
        raise DataError("the features are no numbers; encode text and categories first, e.g. in a pipeline") from error
    if rows.ndim != 2:
        raise DataError(f"the features have shape {rows.shape}; give a table of one row a sample")
    values = rows.data if sparse.issparse(rows) else rows
    if not np.isfinite(values).all():
        row = int(np.flatnonzero(~np.isfinite(np.asarray(rows.sum(1)).ravel()))[0])
        raise DataError(f"the features hold NaN or infinity (row {row}); fill them first, e.g. by SimpleImputer")
    return rows


def _prepared(features: Any, metric: str) -> tuple[Any, float, Any]:
    """Rows around 0 with entries of at most 1, the unit they are measured in, and what was taken for 0."""
    rows = _numbers(features)
    if metric == "cosine":
        rows = normalize(rows)
    if sparse.issparse(rows):
        rows = rows.copy()  # what was given stays as it was
        rows.sum_duplicates()
        rows.eliminate_zeros()
        # squares of tiny or huge numbers would be 0 or infinite
        unit = float(np.abs(rows.data).max()) if rows.nnz else 1.0
        return rows / unit, unit, None
    # distances come from products: far from 0 what is left of their difference is rounding
    middle = rows.mean(0, dtype=np.float64).astype(rows.dtype) if len(rows) else 0.0
    around = rows - middle
    unit = float(np.abs(around).max(initial=0.0)) or 1.0
    return around / unit, unit, middle


def _first_copies(rows: Any) -> Array:
    """Place of the first row that equals each row, shape (N,)."""
    seen: dict[bytes, int] = {}
    if sparse.issparse(rows):
        ends = zip(rows.indptr[:-1], rows.indptr[1:], strict=True)
        keys = (rows.indices[a:b].tobytes() + b":" + rows.data[a:b].tobytes() for a, b in ends)
        return np.array([seen.setdefault(key, i) for i, key in enumerate(keys)], dtype=np.int64)
    positive = np.ascontiguousarray(rows + 0.0)  # -0.0 has other bytes than 0.0
    return np.array([seen.setdefault(row.tobytes(), i) for i, row in enumerate(positive)], dtype=np.int64)


def _approximate(asked: bool | None, count: int) -> bool:
    """Whether the search may miss a few."""
    if asked is False or (asked is None and count <= EXACT):
        return False
    if importlib.util.find_spec("pynndescent") is not None:
        return True
    if asked:
        raise ImportError(f"approximate=True needs pynndescent; {_REMEDY}, or set approximate=False")
    warnings.warn(
        f"the neighbors of {count:,} rows are searched exactly, which takes long; {_REMEDY} for a fast search, or set "
        "approximate=False if this is meant",
        stacklevel=3,
    )
    return False


def _nearest(rows: Any, k: int, approximate: bool, seed: int) -> tuple[Array, Array]:
    """Distances and places of the k nearest others of each row, (N, k) each; infinite and 0 where none was found."""
    if not approximate:
        search = NearestNeighbors(n_neighbors=k).fit(rows)
        return _sorted(rows, rows, search.kneighbors(return_distance=False))
    from pynndescent import NNDescent

    found, _ = NNDescent(rows, n_neighbors=k + 1, metric="euclidean", random_state=seed).neighbor_graph
    found = np.where(found == np.arange(len(found))[:, None], -1, found)  # the row itself is no neighbor
    distances, places = _sorted(rows, rows, found)
    return distances[:, :k], places[:, :k]


def _sorted(rows: Any, asked: Any, places: Array) -> tuple[Array, Array]:
    """Places (Q, k) by their distances, which are measured once more; -1, which is none, becomes 0 at infinity."""
    # A search that multiplies finds copies at a distance of rounding; differences find them at 0.
    distances = np.empty(places.shape)
    width = rows.nnz // rows.shape[0] + 1 if sparse.issparse(rows) else rows.shape[1]
    chunk = max(1, 2**22 // max(1, places.shape[1] * width))
    for start in range(0, len(places), chunk):
        part = slice(start, start + chunk)
        here = asked[part]
        if sparse.issparse(rows):
            apart = here[np.repeat(np.arange(here.shape[0]), places.shape[1])] - rows[places[part].ravel()]
            squares = np.asarray(apart.multiply(apart).sum(1)).reshape(-1, places.shape[1])
        else:
            squares = np.square(here[:, None] - rows[places[part]], dtype=np.float64).sum(2)
        distances[part] = np.sqrt(squares)
    distances[places < 0] = np.inf
    order = np.argsort(distances, axis=1, kind="stable")
    return np.take_along_axis(distances, order, 1), np.take_along_axis(np.maximum(places, 0), order, 1)


def _one_way(starts: Array, ends: Array, weights: Array, count: int) -> Any:
    return sparse.csr_matrix((weights, (starts, ends)), shape=(count, count))


def _csr(graph: Any) -> sparse.csr_matrix:
    made = sparse.csr_matrix(graph)
    made.eliminate_zeros()
    made.sort_indices()
    return made
