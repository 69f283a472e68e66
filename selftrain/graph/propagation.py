"""Labels of a few nodes spread over a graph; each function is one paper's equation, solved by conjugate gradients.

Shared by all: W (N, N) are the weights of the graph, symmetric and nonnegative, D its degrees, L = D - W; Y (N, C) has
a 1 for each label. Rows of a result are distributions over the classes. A connected part of the graph without a label
gets the prior, the share of each class among the labels; a class without a label gets probability 0.

>>> from scipy import sparse
>>> path = sparse.diags([[1.0, 1.0], [1.0, 1.0]], [-1, 1])  # 0 - 1 - 2
>>> laplace(path, [0, -1, 1], 2).tolist()
[[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]]
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import LinearOperator, cg
from scipy.special import softmax

from selftrain.errors import DataError

Array = NDArray[Any]
TOLERANCE = 1e-10  # of a residual beside its right-hand side


@dataclass(frozen=True)
class _Problem:
    """A graph with labels.

    Args:
        weights: W, shape (N, N).
        degrees: Sums of its rows, 1 where a node has no edge, shape (N,).
        given: Y, shape (N, C).
        part: Connected part of each node, shape (N,).
        reached: Whether that part has a label, shape (N,), bool.
    """

    weights: sparse.csr_matrix
    degrees: Array
    given: Array
    part: Array
    reached: Array

    @classmethod
    def make(cls, graph: Any, labels: Any, classes: int) -> _Problem:
        """Check a graph (N, N) and its labels (N,)."""
        weights, codes = sparse.csr_matrix(graph, dtype=np.float64), np.asarray(labels)
        count = weights.shape[0]
        if weights.shape[1] != count or codes.shape != (count,):
            raise DataError(f"a graph of shape {weights.shape} needs {count} labels in one row, not {codes.shape}")
        if not len(codes) or codes.max() < 0:
            raise DataError(f"none of {count} nodes has a label; label one at least")
        if codes.max() >= classes or codes.min() < -1:
            wrong = codes.max() if codes.max() >= classes else codes.min()
            raise DataError(f"label {wrong} is no class of {classes}; use 0 to {classes - 1}, and -1 for unlabeled")
        if weights.nnz and (weights.data.min() < 0 or not np.isfinite(weights.data).all()):
            raise DataError("the graph has weights that are negative or not finite; build it by knn_graph")
        if abs(weights - weights.T).max() > 1e-9 * abs(weights).max():
            raise DataError("the graph is not symmetric; take (graph + graph.T) / 2")
        given = np.zeros((count, classes))
        given[codes >= 0, codes[codes >= 0]] = 1.0
        part = connected_components(weights, directed=False)[1]
        degrees = np.asarray(weights.sum(1)).ravel()
        reached = np.isin(part, np.unique(part[codes >= 0]))
        return cls(weights, np.where(degrees > 0, degrees, 1.0), given, part, reached)

    @property
    def labeled(self) -> Array:
        """Which nodes have a label, shape (N,), bool."""
        return np.asarray(self.given.any(1))

    @property
    def prior(self) -> Array:
        """Share of each class among the labels, shape (C,)."""
        return np.asarray(self.given.sum(0) / self.given.sum())

    def per_part(self, values: Array) -> Array:
        """Sums over the nodes of each part, shape (parts, C)."""
        sums = np.zeros((self.part.max() + 1, values.shape[1]))
        np.add.at(sums, self.part, values)
        return sums

    def distributions(self, values: Array) -> Array:
        """Values of at least 0 as rows that sum to 1; the prior where no label reaches."""
        values = np.where(self.reached[:, None], np.maximum(values, 0.0), 0.0)
        sums = values.sum(1, keepdims=True)
        return np.where(sums > 0, values / np.where(sums > 0, sums, 1.0), self.prior)


def label_propagation(graph: Any, labels: Any, classes: int) -> Array:
    """Let each node take on the mean of what it receives, labels staying as they are.

    Source: Zhu & Ghahramani, "Learning from Labeled and Unlabeled Data with Label Propagation", 2002, section 2.2: with
    T_ij = W_ij / D_j and its rows normalized, Y_U = (I - T_UU)^-1 T_UL Y_L. These rows are those of the symmetric
    weights W_ij / (D_i D_j): where rows are dense, a node's word counts less, which is all that tells it from
    ``laplace``. Solved, not iterated.

    Args:
        graph: Symmetric weights, shape (N, N), as ``knn_graph`` makes them.
        labels: Class of each node, -1 where unlabeled, shape (N,).
        classes: Their number C.

    Returns:
        Distributions, shape (N, C).

    Raises:
        DataError: for a graph that is not symmetric or has negative weights, labels that do not fit, or none.

    Warns:
        UserWarning: weights so far apart that the solution is not found; so do the other functions here.
    """
    problem = _Problem.make(graph, labels, classes)
    thinned = sparse.diags(1 / problem.degrees)
    return _harmonic(problem, sparse.csr_matrix(thinned @ problem.weights @ thinned))


def laplace(graph: Any, labels: Any, classes: int) -> Array:
    """Give each unlabeled node the weighted mean of its neighbors (the harmonic function of the labels).

    Source: Zhu, Ghahramani & Lafferty, "Semi-Supervised Learning Using Gaussian Fields and Harmonic Functions", ICML
    2003, eq. 5: L_UU F_U = W_UL Y_L. With very few labels nearly all nodes get nearly the same mean: see ``poisson``.

    Args:
        graph: Symmetric weights, shape (N, N), as ``knn_graph`` makes them.
        labels: Class of each node, -1 where unlabeled, shape (N,).
        classes: Their number C.

    Returns:
        Distributions, shape (N, C).

    Raises:
        DataError: as ``label_propagation``.
    """
    problem = _Problem.make(graph, labels, classes)
    return _harmonic(problem, problem.weights)


def label_spreading(graph: Any, labels: Any, classes: int, *, alpha: float = 0.99) -> Array:
    """Mix what neighbors say with a node's own label, which may be overruled.

    Source: Zhou et al., "Learning with Local and Global Consistency", NIPS 2003: F = (I - alpha S)^-1 Y with
    S = D^-1/2 W D^-1/2. Rows are divided by their sums, which no decision sees.

    Args:
        graph: Symmetric weights, shape (N, N), as ``knn_graph`` makes them.
        labels: Class of each node, -1 where unlabeled, shape (N,).
        classes: Their number C.
        alpha: Share of what neighbors say, in (0, 1).

    Returns:
        Distributions, shape (N, C).

    Raises:
        DataError: as ``label_propagation``.
        ValueError: for an alpha outside (0, 1).
    """
    if not 0 < alpha < 1:
        raise ValueError(f"alpha is {alpha}; it must be in (0, 1)")
    problem = _Problem.make(graph, labels, classes)
    root = sparse.diags(problem.degrees**-0.5)
    system = sparse.identity(len(problem.part), format="csr") - alpha * (root @ problem.weights @ root)
    return problem.distributions(_solved(sparse.csr_matrix(system), problem.given))


def poisson(graph: Any, labels: Any, classes: int) -> Array:
    """Let labels be sources and sinks of a flow: useful where labels are very few.

    Source: Calder, Cook, Thorpe & Slepcev, "Poisson Learning: Graph Based Semi-Supervised Learning at Very Low Label
    Rates", ICML 2020, eq. 2.4: L U = sum over labels j of delta_j (y_j - mean of y), with sum of D_i U_i = 0; decided
    is the largest entry of a row. In each connected part the mean is that of its own labels, without which there is
    no solution; a part whose labels are of one class is of that class.

    Differs: the solution has no probabilities. Returned is softmax(2 U / m), m being the median over the nodes of the
    lead of the first class over the second, so at the median node the odds of these two are e^2, whatever the weights
    and the number of labels. The order of the classes is that of U.

    Args:
        graph: Symmetric weights, shape (N, N), as ``knn_graph`` makes them.
        labels: Class of each node, -1 where unlabeled, shape (N,).
        classes: Their number C.

    Returns:
        Distributions, shape (N, C).

    Raises:
        DataError: as ``label_propagation``.
    """
    problem = _Problem.make(graph, labels, classes)
    return _softened(problem, _flow(problem, _sources(problem)))


def poisson_volume(
    graph: Any,
    labels: Any,
    classes: int,
    *,
    shares: Sequence[float] | Array | None = None,
    rounds: int = 20,
    steps: int = 40,
) -> Array:
    """Poisson learning whose decisions are made to have the class shares that are expected.

    Source: PoissonMBO, algorithm 2 of the paper of ``poisson``: decide, diffuse for ``steps`` steps
    U <- U - dt (L U - B) with B its sources and dt = 1 / max D, decide again so that the classes have their shares;
    ``rounds`` times, or until no decision changes.

    Differs: the paper weighs columns by factors in [1/2, 2] to bring the shares about, roughly. Here an offset is added
    to each, found class by class so that as many nodes as wanted prefer it (as the prices of an auction: Jacobs,
    Merkurjev & Esedoglu 2018), which holds for negative entries as well. Labels have no decision of their own: their
    sources pull. A result is the diffused U with its offsets, cut at 0 and divided by its sum.

    Args:
        graph: Symmetric weights, shape (N, N), as ``knn_graph`` makes them.
        labels: Class of each node, -1 where unlabeled, shape (N,).
        classes: Their number C.
        shares: Of each class among all nodes that labels reach, shape (C,); ``None``: those of the labels.
        rounds: Most decisions, at least 1.
        steps: Of diffusion between two of them, at least 1.

    Returns:
        Distributions, shape (N, C).

    Raises:
        DataError: as ``label_propagation``.
        ValueError: for shares that are none, or are above 0 for a class without a label; too few rounds or steps.
    """
    if rounds < 1 or steps < 1:
        raise ValueError(f"rounds is {rounds} and steps is {steps}; each must be at least 1")
    problem = _Problem.make(graph, labels, classes)
    wanted = problem.prior if shares is None else _checked_shares(shares, problem)
    sources, known = _sources(problem), problem.prior > 0
    reached, counts = problem.reached, _whole(wanted[known] * problem.reached.sum())
    # only classes that have a label, only parts that do
    values = _flow(problem, sources)[np.ix_(reached, known)]
    weights, sources = problem.weights[reached][:, reached], sources[np.ix_(reached, known)]
    degrees = problem.degrees[reached][:, None]
    pace = 1 / degrees.max()
    decided = (values + _offsets(values, counts)).argmax(1)
    for _ in range(rounds):
        before, values = decided, np.eye(known.sum())[decided]
        for _ in range(steps):
            values = values - pace * (degrees * values - weights @ values - sources)
        offsets = _offsets(values, counts)
        decided = (values + offsets).argmax(1)
        if np.array_equal(decided, before):
            break
    full = np.zeros_like(problem.given)
    # offsets of mean 0: the largest entry of each row stays above 0
    full[np.ix_(reached, known)] = values + offsets - offsets.mean()
    return problem.distributions(full)


METHODS: dict[str, Callable[..., Array]] = {
    "label_propagation": label_propagation,
    "label_spreading": label_spreading,
    "laplace": laplace,
    "poisson": poisson,
    "poisson_volume": poisson_volume,
}


def check_method(method: str, *, alpha: float | None = None, shares: Any = None) -> dict[str, Any]:
    """Settings of a method of ``METHODS``, those that are ``None`` left out.

    Raises:
        ValueError: for an unknown method, or a setting that it does not have.
    """
    if method not in METHODS:
        raise ValueError(f"method is {method!r}; choose one of {tuple(METHODS)}")
    for name, value, owner in (("alpha", alpha, "label_spreading"), ("shares", shares, "poisson_volume")):
        if value is not None and method != owner:
            raise ValueError(f"{name} is {value!r}, which {method!r} has not; set {name}=None or method={owner!r}")
    return {name: value for name, value in (("alpha", alpha), ("shares", shares)) if value is not None}


def propagate(
    method: str, graph: Any, labels: Any, classes: int, *, alpha: float | None = None, shares: Any = None
) -> Array:
    """Distributions (N, C) by the method of this name; see ``METHODS`` and ``check_method``."""
    return METHODS[method](graph, labels, classes, **check_method(method, alpha=alpha, shares=shares))


def _harmonic(problem: _Problem, weights: sparse.csr_matrix) -> Array:
    """The function that is the weighted mean of its neighbors at each unlabeled node."""
    values = problem.given.copy()
    free, fixed = np.flatnonzero(problem.reached & ~problem.labeled), np.flatnonzero(problem.labeled)
    if len(free):
        degrees = np.asarray(weights.sum(1)).ravel()
        system = sparse.diags(degrees[free]) - weights[free][:, free]
        values[free] = _solved(sparse.csr_matrix(system), weights[free][:, fixed] @ problem.given[fixed])
    return problem.distributions(values)


def _sources(problem: _Problem) -> Array:
    """What flows in at each label: y_j less the mean of y in its part, shape (N, C); sums of a part are 0."""
    sums = problem.per_part(problem.given)
    mean = sums / np.maximum(sums.sum(1, keepdims=True), 1.0)
    return np.asarray((problem.given - mean[problem.part]) * problem.labeled[:, None])


def _flow(problem: _Problem, sources: Array) -> Array:
    """U of L U = sources, with sum of D_i U_i = 0 in each part, (N, C); a part of one class is of that class."""
    system = sparse.csr_matrix(sparse.diags(np.asarray(problem.weights.sum(1)).ravel()) - problem.weights)
    values = _solved(system, sources)
    mean = problem.per_part(problem.degrees[:, None] * values)
    mean /= problem.per_part(problem.degrees[:, None])
    values = values - mean[problem.part]
    sums = problem.per_part(problem.given)
    one = (sums > 0).sum(1) == 1
    # no flow, so no answer of its own: as sure as the surest of the others
    sure = (sums > 0) * (float(np.abs(values).max()) or 1.0)
    return np.where(one[problem.part][:, None], sure[problem.part], values)


def _softened(problem: _Problem, flow: Array) -> Array:
    """Flow (N, C) as probabilities; those of a class without a label are 0."""
    known = problem.prior > 0
    values = np.full_like(flow, -np.inf)
    values[:, known] = flow[:, known]
    if known.sum() > 1:
        second, first = np.partition(values[problem.reached], -2, axis=1)[:, -2:].T
        values *= 2 / (float(np.median(first - second)) or 1.0)
    return problem.distributions(softmax(values, axis=1))


def _solved(system: sparse.csr_matrix, right: Array) -> Array:
    """X of system X = right, column by column, by conjugate gradients; the system is positive (semi)definite."""
    diagonal = system.diagonal()
    scale = np.where(diagonal > 0, diagonal, 1.0)
    # scaled by its diagonal, a system of weights of any size is as easy as one around 1
    divide = LinearOperator(system.shape, matvec=lambda x: x.ravel() / scale, dtype=np.float64)
    made, stuck = np.zeros_like(right, dtype=np.float64), False
    for column in np.flatnonzero(right.any(0)):
        made[:, column], missed = cg(system, right[:, column], rtol=TOLERANCE, maxiter=10 * len(right), M=divide)
        stuck |= missed > 0
    if stuck:
        low, high = np.abs(system.data).min(), np.abs(system.data).max()
        warnings.warn(
            f"the labels are not spread to the end: entries from {low:.1e} to {high:.1e} are too far apart; "
            "knn_graph(..., scale='local') gives weights that are not",
            stacklevel=4,
        )
    return made


def _offsets(values: Array, counts: Array) -> Array:
    """What is added to each column so that ``counts`` (C,) rows have their largest entry there, as near as can be.

    Column by column: the offset at which so many rows prefer it to their best other, until all counts are right.
    """
    offsets = np.zeros(values.shape[1])
    for _ in range(100):
        have = np.bincount((values + offsets).argmax(1), minlength=len(counts))
        if np.array_equal(have, counts):
            break
        column = int(np.abs(have - counts).argmax())
        others = np.delete(values + offsets, column, axis=1).max(1)
        lead = np.sort(values[:, column] - others)[::-1]  # rows that want it most come first
        taken = int(counts[column])
        last, next_ = lead[max(taken - 1, 0)], lead[min(taken, len(lead) - 1)]
        # between the last row that is to prefer it and the first that is not
        offsets[column] = -(last + next_) / 2 if 0 < taken < len(lead) else -last - (1.0 if taken == 0 else -1.0)
    return offsets


def _whole(counts: Array) -> Array:
    """Whole numbers of the same sum, the largest remainders rounded up."""
    low = np.floor(counts + 1e-9).astype(int)
    rest = int(round(counts.sum())) - low.sum()
    low[np.argsort(-(counts - low), kind="stable")[:rest]] += 1
    return np.asarray(low)


def _checked_shares(shares: Any, problem: _Problem) -> Array:
    given = np.asarray(shares, dtype=float)
    classes = problem.given.shape[1]
    if given.shape != (classes,) or not np.isclose(given.sum(), 1) or given.min() < 0:
        raise ValueError(f"shares are {shares!r}; give {classes} numbers of at least 0 that sum to 1")
    without = np.flatnonzero((given > 0) & (problem.prior == 0))
    if len(without):
        raise ValueError(f"class {without[0]} has no label and a share of {given[without[0]]}; label one, or set 0")
    return np.asarray(given / given.sum())
