"""Graphs of nearest neighbors, against distances and weights that are worked out in full."""

import sys
import types

import numpy as np
import pytest
from scipy import sparse
from scipy.sparse.csgraph import connected_components
from scipy.spatial.distance import cdist

from selftrain.errors import DataError
from selftrain.graph import knn_graph, neighbors
from selftrain.graph.neighbors import nearest_rows


def rows(seed=0, count=60, columns=4):
    return np.random.RandomState(seed).randn(count, columns)


def by_hand(distances, k, weight):
    """The graph of all distances (N, N), edge by edge."""
    one_way = np.zeros_like(distances)
    for i, own in enumerate(distances):
        near = [j for j in np.argsort(own, kind="stable") if j != i][:k]
        for j in near:
            one_way[i, j] = weight(own[j], own[near[-1]])
    return (one_way + one_way.T) / 2


WEIGHTS = {
    "local": lambda d, last: np.exp(-4 * d**2 / last**2),
    1.5: lambda d, last: np.exp(-((d / 1.5) ** 2)),
    None: lambda d, last: 1.0,
}


@pytest.mark.parametrize("columns", [2, 40])  # a tree of the rows, and all against all
@pytest.mark.parametrize("scale", WEIGHTS)
def test_weights_are_those_of_the_kernel(scale, columns):
    X = rows(columns=columns)
    graph = knn_graph(X, 5, scale=scale)
    assert isinstance(graph, sparse.csr_matrix)
    assert graph.dtype == np.float64
    np.testing.assert_allclose(graph.toarray(), by_hand(cdist(X, X), 5, WEIGHTS[scale]), rtol=1e-9)


def test_cosine_is_the_angle_and_no_length():
    X = rows()
    apart = np.sqrt(2 * cdist(X, X, "cosine").clip(0))
    lengths = np.random.RandomState(1).uniform(0.1, 9, (60, 1))
    np.testing.assert_allclose(
        knn_graph(X * lengths, 5, metric="cosine").toarray(), by_hand(apart, 5, WEIGHTS["local"]), rtol=1e-6
    )


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_sparse_rows_stay_sparse_and_have_the_same_graph(metric, monkeypatch):
    X = rows(columns=30) * (rows(1, columns=30) > 0.8)
    expected = knn_graph(X, 4, metric=metric)
    monkeypatch.setattr(sparse.csr_matrix, "toarray", None)
    monkeypatch.setattr(sparse.csr_matrix, "todense", None)
    graph = knn_graph(sparse.csc_matrix(X), 4, metric=metric)
    assert abs(graph - expected).max() < 1e-9


def test_a_graph_is_symmetric_without_loops_and_no_larger_than_its_rows():
    for count in (50, 400):
        graph = knn_graph(rows(count=count), 7)
        assert abs(graph - graph.T).max() == 0
        assert graph.diagonal().max() == 0
        assert graph.data.min() > 0
        assert 7 * count <= graph.nnz <= 2 * 7 * count


@pytest.mark.parametrize("factor", [1e-150, 1e-6, 1e9, 1e150])
def test_units_do_not_matter(factor):
    X = rows()
    np.testing.assert_allclose(knn_graph(X * factor, 5).toarray(), knn_graph(X, 5).toarray(), rtol=1e-9)
    scaled = knn_graph(X * factor, 5, scale=2.0 * factor)
    np.testing.assert_allclose(scaled.toarray(), knn_graph(X, 5, scale=2.0).toarray(), rtol=1e-9)


def test_the_origin_does_not_matter():
    X = rows(columns=40)  # products, of which nothing would be left
    np.testing.assert_allclose(knn_graph(X + 1e7, 5).toarray(), knn_graph(X, 5).toarray(), rtol=1e-5)


def test_constant_columns_change_nothing():
    X = rows()
    wide = np.hstack([X, np.full((60, 3), 7.0)])
    np.testing.assert_allclose(knn_graph(wide, 5).toarray(), knn_graph(X, 5).toarray(), rtol=1e-9)


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_matrix])
def test_copies_hang_on_the_first_and_hide_nobody(form):
    X = np.abs(rows()) + 0.1
    copied = np.vstack([X, np.repeat(X[:1], 20, axis=0)])  # more copies than neighbors
    graph = knn_graph(form(copied), 5)
    np.testing.assert_allclose(graph[:60, :60].toarray(), knn_graph(form(X), 5).toarray(), rtol=1e-9)
    hung = np.zeros((20, 80))
    hung[:, 0] = 1.0
    np.testing.assert_array_equal(graph[60:].toarray(), hung)
    assert connected_components(graph)[0] == connected_components(knn_graph(X, 5))[0]


def test_rows_that_are_all_the_same_are_one_star():
    graph = knn_graph(np.ones((6, 3)), 4).toarray()
    expected = np.zeros((6, 6))
    expected[0, 1:] = expected[1:, 0] = 1.0
    np.testing.assert_array_equal(graph, expected)


def test_fewer_rows_than_neighbors_are_all_neighbors():
    assert (knn_graph(rows(count=4), 10).toarray() > 0).sum() == 4 * 3
    assert knn_graph(rows(count=1), 10).shape == (1, 1)


def test_zero_rows_have_a_place_by_the_angle():
    X = np.vstack([np.zeros((1, 4)), rows(count=20)])
    graph = knn_graph(X, 3, metric="cosine")
    assert np.isfinite(graph.data).all()
    assert graph[0].nnz >= 3


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"neighbors": 0}, "neighbors is 0"),
        ({"neighbors": 2.0}, "neighbors is 2.0"),
        ({"neighbors": True}, "neighbors is True"),
        ({"metric": "manhattan"}, "'manhattan'; choose one of"),
        ({"scale": 0.0}, "scale is 0.0"),
        ({"scale": "global"}, "scale is 'global'"),
        ({"scale": np.nan}, "scale is nan"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        knn_graph(rows(), **settings)


def test_what_is_no_table_of_numbers_is_refused_by_row():
    X = rows()
    X[3, 1] = np.nan
    with pytest.raises(DataError, match=r"NaN or infinity \(row 3\)"):
        knn_graph(X)
    with pytest.raises(DataError, match=r"NaN or infinity \(row 3\)"):
        knn_graph(sparse.csr_matrix(X))
    with pytest.raises(DataError, match="encode text"):
        knn_graph([["a", "b"]] * 9)
    with pytest.raises(DataError, match=r"shape \(60,\)"):
        knn_graph(X[:, 0])


def test_a_scale_that_leaves_nothing_is_refused_and_the_remedy_works():
    with pytest.raises(DataError, match="every weight 0: neighbors are .* apart; set scale='local'"):
        knn_graph(rows(), scale=1e-3)
    assert knn_graph(rows(), scale="local").nnz


def test_an_outlier_keeps_its_edges():
    X = np.vstack([rows() * 1e-3, [[50.0, 0, 0, 0]]])
    assert knn_graph(X, 5)[60].data.min() > np.exp(-4) / 2 - 1e-9


class Search:
    """In place of pynndescent: exact, with the row itself somewhere and one neighbor not found."""

    def __init__(self, data, n_neighbors, metric, random_state):
        assert metric == "euclidean"
        found = cdist(data, data).argsort(1, kind="stable")[:, :n_neighbors][:, ::-1].copy()
        found[2, 0] = -1
        self.neighbor_graph = found, None


@pytest.fixture
def searched(monkeypatch):
    module = types.ModuleType("pynndescent")
    module.NNDescent = Search
    monkeypatch.setitem(sys.modules, "pynndescent", module)
    monkeypatch.setattr(neighbors.importlib.util, "find_spec", lambda name: module)
    monkeypatch.setattr(neighbors, "EXACT", 59)


@pytest.mark.parametrize("asked", [None, True])
def test_beyond_so_many_rows_the_search_is_approximate(searched, asked):
    X = rows()
    exact, found = knn_graph(X, 5, approximate=False), knn_graph(X, 5, approximate=asked)
    missing = np.argsort(cdist(X, X)[2])[5]  # what row 2 was not told of
    differs = np.argwhere(abs(exact - found).toarray() > 1e-9)
    assert len(differs)
    assert all(2 in pair for pair in differs)
    assert found[2, missing] < exact[2, missing] or missing not in found[2].indices


def test_few_rows_are_searched_exactly(searched):
    X = rows(count=59)
    np.testing.assert_array_equal(knn_graph(X, 5).toarray(), knn_graph(X, 5, approximate=False).toarray())


def test_without_the_library_the_search_is_exact_and_says_so(monkeypatch):
    monkeypatch.setattr(neighbors.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(neighbors, "EXACT", 59)
    X = rows()
    with pytest.warns(UserWarning, match=r'60 rows.*pip install "selftrain\[graph\]".*approximate=False') as caught:
        graph = knn_graph(X, 5)
    assert caught[0].filename == __file__
    np.testing.assert_array_equal(graph.toarray(), knn_graph(X, 5, approximate=False).toarray())
    with pytest.raises(ImportError, match=r'needs pynndescent; pip install "selftrain\[graph\]"'):
        knn_graph(X, 5, approximate=True)


@pytest.mark.slow
def test_the_library_finds_nearly_all():
    pytest.importorskip("pynndescent")
    X = np.round(rows(count=2000, columns=8), 2)
    exact, found = knn_graph(X, 10), knn_graph(X, 10, approximate=True)
    assert (exact.multiply(found) > 0).sum() > 0.97 * exact.nnz


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_matrix])
@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_nearest_rows_of_queries(form, metric):
    X, asked = rows(columns=20), rows(1, 9, 20)
    asked[3] = X[17]
    distances, places = nearest_rows(form(X), form(asked), 4, metric=metric)
    apart = cdist(asked, X) if metric == "euclidean" else np.sqrt(2 * cdist(asked, X, "cosine").clip(0))
    np.testing.assert_array_equal(places, apart.argsort(1)[:, :4])
    np.testing.assert_allclose(distances, np.sort(apart, 1)[:, :4], rtol=1e-6, atol=1e-7)
    assert distances[3, 0] == 0
    assert places[3, 0] == 17
