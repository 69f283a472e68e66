"""Each propagation against the closed form of its paper, dense."""

import numpy as np
import pytest
from scipy import sparse

from selftrain.errors import DataError
from selftrain.graph.neighbors import knn_graph
from selftrain.graph.propagation import (
    METHODS,
    _offsets,
    _whole,
    label_propagation,
    label_spreading,
    laplace,
    poisson,
    poisson_volume,
)

CLASSES = 3


def problem(seed=0, count=24, classes=CLASSES):
    """A random connected graph, dense, and labels, some of each class."""
    rng = np.random.RandomState(seed)
    W = rng.rand(count, count) * (rng.rand(count, count) < 0.2)
    W[np.arange(count - 1), np.arange(1, count)] = rng.rand(count - 1) + 0.1
    W = np.triu(W, 1) + np.triu(W, 1).T
    labels = np.full(count, -1)
    labels[rng.permutation(count)[: 2 * classes]] = np.arange(2 * classes) % classes
    labels[rng.permutation(np.flatnonzero(labels < 0))[0]] = 0  # shares are not equal
    return W, labels


def one_hot(labels, classes=CLASSES):
    return np.eye(classes + 1)[labels][:, :classes]


def parts(count=3):
    """Unlike graphs without an edge between them."""
    graphs = [problem(seed, 20 + seed) for seed in range(count)]
    W = sparse.block_diag([g[0] for g in graphs]).toarray()
    return W, [g[1] for g in graphs]


def harmonic(W, labels):
    free, fixed = labels < 0, labels >= 0
    F = one_hot(labels)
    L = np.diag(W.sum(1)) - W
    F[free] = np.linalg.solve(L[np.ix_(free, free)], W[np.ix_(free, fixed)] @ F[fixed])
    return F


def received(W, labels):
    """Zhu & Ghahramani: T from the sums of the columns, its rows normalized."""
    T = W / W.sum(0)
    T /= T.sum(1, keepdims=True)
    free, fixed = labels < 0, labels >= 0
    F = one_hot(labels)
    F[free] = np.linalg.solve(np.eye(free.sum()) - T[np.ix_(free, free)], T[np.ix_(free, fixed)] @ F[fixed])
    return F


def spread(W, labels, alpha=0.99):
    root = np.diag(W.sum(1) ** -0.5)
    F = np.linalg.solve(np.eye(len(W)) - alpha * root @ W @ root, one_hot(labels))
    return F / F.sum(1, keepdims=True)


def flow(W, labels):
    Y = one_hot(labels)
    B = (Y - Y[labels >= 0].mean(0)) * (labels >= 0)[:, None]
    U = np.linalg.pinv(np.diag(W.sum(1)) - W) @ B
    return U - (W.sum(1) @ U) / W.sum()


def softened(U):
    second, first = np.sort(U, 1)[:, -2:].T
    e = np.exp(2 * U / np.median(first - second))
    return e / e.sum(1, keepdims=True)


CLOSED = {
    label_propagation: received,
    laplace: harmonic,
    label_spreading: spread,
    poisson: lambda W, labels: softened(flow(W, labels)),
}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("method", CLOSED, ids=lambda method: method.__name__)
def test_the_solution_is_that_of_the_closed_form(method, seed):
    W, labels = problem(seed)
    np.testing.assert_allclose(method(sparse.csr_matrix(W), labels, CLASSES), CLOSED[method](W, labels), atol=1e-7)


def test_alpha_is_the_share_of_the_neighbors():
    W, labels = problem()
    np.testing.assert_allclose(label_spreading(W, labels, 3, alpha=0.5), spread(W, labels, 0.5), atol=1e-8)
    with pytest.raises(ValueError, match="alpha is 1; it must be in"):
        label_spreading(W, labels, 3, alpha=1)


@pytest.mark.parametrize("method", METHODS)
def test_weights_of_any_size_mean_the_same(method):
    W, labels = problem()
    if method == "poisson_volume":  # its sources do not grow with the weights
        return
    for factor in (1e-12, 1e12):
        np.testing.assert_allclose(
            METHODS[method](W * factor, labels, 3), METHODS[method](W, labels, 3), atol=1e-6, err_msg=str(factor)
        )


@pytest.mark.parametrize("method", METHODS)
def test_rows_are_distributions_whatever_the_graph(method):
    W, (first, second, third) = parts()
    second[:] = -1  # no label reaches the second part
    third[:] = -1
    third[4] = 1  # one class in the third
    labels = np.concatenate([first, second, third])
    W = np.pad(W, (0, 1))  # a node without an edge
    labels = np.append(labels, -1)
    values = METHODS[method](sparse.csr_matrix(W), labels, 5)  # classes 3 and 4 have no label
    np.testing.assert_allclose(values.sum(1), 1)
    assert values.min() >= 0
    assert not values[:, 3:].any()
    prior = np.bincount(labels[labels >= 0], minlength=5) / (labels >= 0).sum()
    np.testing.assert_allclose(values[20:41], np.tile(prior, (21, 1)))
    np.testing.assert_allclose(values[-1], prior)
    if method != "poisson_volume":
        assert (values[41:-1].argmax(1) == 1).all()
        alone = METHODS[method](W[:20, :20], first, 5)
        assert (values[:20].argmax(1) == alone.argmax(1)).all()


@pytest.mark.parametrize("method", METHODS)
def test_one_label_a_class_on_two_cliques(method):
    clique = np.ones((6, 6)) - np.eye(6)
    W = sparse.block_diag([clique, clique]).toarray()
    W[0, 6] = W[6, 0] = 0.1
    labels = np.full(12, -1)
    labels[[2, 9]] = 0, 1
    values = METHODS[method](W, labels, 2)
    assert values.argmax(1).tolist() == [0] * 6 + [1] * 6


@pytest.mark.parametrize("method", METHODS)
def test_everything_labeled_is_what_it_is(method):
    W, labels = problem()
    labels = np.arange(24) // 8  # neighbors on the path agree
    W = np.diag(np.ones(23), 1) + np.diag(np.ones(23), -1)
    assert (METHODS[method](W, labels, 3).argmax(1) == labels).mean() >= 20 / 24


@pytest.mark.parametrize("method", METHODS)
def test_one_class_is_the_answer_everywhere(method):
    W, labels = problem()
    labels[labels >= 0] = 1
    np.testing.assert_allclose(METHODS[method](W, labels, 3), np.tile([0.0, 1.0, 0.0], (24, 1)))


# ------------------------------------------------------------------ the shares


def by_steps(W, labels, shares, rounds, steps):
    """PoissonMBO with offsets that are searched among all differences of two entries."""
    counts, L = _whole(np.asarray(shares) * len(W)), np.diag(W.sum(1)) - W
    Y = one_hot(labels)
    B = (Y - Y[labels >= 0].mean(0)) * (labels >= 0)[:, None]
    U = flow(W, labels)
    decided = (U + _offsets(U, counts)).argmax(1)
    for _ in range(rounds):
        U, before = one_hot(decided), decided
        for _ in range(steps):
            U = U - (L @ U - B) / W.sum(1).max()
        decided = (U + _offsets(U, counts)).argmax(1)
        if (decided == before).all():
            break
    return decided


@pytest.mark.parametrize("shares", [None, [0.5, 0.25, 0.25], [0.125, 0.125, 0.75]])
def test_classes_get_the_shares_that_are_expected(shares):
    W, labels = problem(count=48)
    values = poisson_volume(W, labels, 3, shares=shares, rounds=4, steps=3)
    wanted = np.bincount(labels[labels >= 0]) / (labels >= 0).sum() if shares is None else np.array(shares)
    counts = np.bincount(values.argmax(1), minlength=3)
    assert np.abs(counts - wanted * 48).max() < 1.01
    assert (values.argmax(1) == by_steps(W, labels, wanted, 4, 3)).all()
    np.testing.assert_allclose(values.sum(1), 1)


def test_offsets_give_each_column_its_rows():
    values = np.random.RandomState(0).randn(200, 4)
    for counts in ([50, 50, 50, 50], [5, 15, 60, 120], [200, 0, 0, 0], [0, 0, 100, 100]):
        decided = (values + _offsets(values, np.array(counts))).argmax(1)
        assert np.bincount(decided, minlength=4).tolist() == counts


def test_offsets_of_equal_rows_end():
    assert np.isfinite(_offsets(np.ones((10, 3)), np.array([4, 3, 3]))).all()


def test_whole_counts_keep_their_sum():
    assert _whole(np.array([3.4, 3.4, 3.2])).tolist() == [4, 3, 3]
    assert _whole(np.full(3, 10 / 3)).sum() == 10


@pytest.mark.parametrize(
    ("shares", "message"),
    [([0.5, 0.5], "give 3 numbers"), ([0.5, 0.6, 0.1], "sum to 1"), ([1.5, -0.5, 0.0], "at least 0")],
)
def test_shares_that_are_none_are_refused(shares, message):
    W, labels = problem()
    with pytest.raises(ValueError, match=message):
        poisson_volume(W, labels, 3, shares=shares)


def test_a_share_of_a_class_without_label_is_refused_and_the_remedy_works():
    W, labels = problem()
    with pytest.raises(ValueError, match="class 3 has no label and a share of 0.25; label one, or set 0"):
        poisson_volume(W, labels, 4, shares=[0.25] * 4)
    poisson_volume(W, labels, 4, shares=[0.4, 0.3, 0.3, 0])
    labels[np.flatnonzero(labels < 0)[0]] = 3
    poisson_volume(W, labels, 4, shares=[0.25] * 4)
    for settings in ({"rounds": 0}, {"steps": 0}):
        with pytest.raises(ValueError, match="must be at least 1"):
            poisson_volume(W, labels, 4, **settings)


# ------------------------------------------------------------------ what is refused


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda W, y: (W[:, :5], y), "needs 24 labels"),
        (lambda W, y: (W, y[:5]), r"not \(5,\)"),
        (lambda W, y: (W, np.full(24, -1)), "none of 24 nodes has a label"),
        (lambda W, y: (W, np.where(y == 2, 3, y)), "label 3 is no class of 3"),
        (lambda W, y: (W, np.where(y < 0, -2, y)), "label -2 is no class"),
        (lambda W, y: (-W, y), "negative"),
        (lambda W, y: (np.triu(W), y), r"not symmetric; take \(graph \+ graph.T\) / 2"),
    ],
)
def test_what_is_no_graph_with_labels_is_refused(change, message):
    W, labels = change(*problem())
    with pytest.raises(DataError, match=message):
        laplace(W, labels, 3)


def test_weights_too_far_apart_are_told_and_the_remedy_works(recwarn):
    x = np.cumsum(10.0 ** -np.random.RandomState(0).uniform(0, 8, 300))
    labels = np.full(300, -1)
    labels[[0, 100, 150]] = 0, 0, 1
    steps = np.diff(x)
    path = sparse.diags([steps, steps], [-1, 1])
    with pytest.warns(UserWarning, match="not spread to the end: entries from .*scale='local'"):
        poisson(path, labels, 2)
    recwarn.clear()
    poisson(knn_graph(x[:, None], scale="local"), labels, 2)
    assert not recwarn.list


def test_the_remedy_of_an_asymmetric_graph_works():
    W, labels = problem()
    graph = np.triu(W)
    np.testing.assert_allclose(laplace((graph + graph.T) / 2, labels, 3), laplace(W, labels, 3), atol=1e-8)
