"""A bound on the risk of a voting classifier's confident decisions, and the thresholds that make it smallest.

Source: Feofanov, Devijver & Amini, "Transductive Bounds for the Multi-Class Majority Vote Classifier", AAAI 2019, with
the grids and the early end of their code. Votes v(u, c) of a row u for class c; decision B(u) = argmax_c v(u, c);
posterior p(u, i) of the true class, of which the votes themselves are the first approximation. For a class j and a
threshold t, and each other class i with mass m_i = sum_u p(u, i):

    I(g) = 1/m_i sum_u p(u, i) [t <= v(u, j) < g]          rows of class i between two thresholds
    K    = 1/m_i sum_u p(u, i) [B(u) = j] v(u, j)          their votes where they are taken for j
    M(s) = 1/m_i sum_u p(u, i) [v(u, j) < s] v(u, j)       their votes below s
    R(t) = min over g of I(g) + max(0, K + M(t) - M(g)) / g,   g = t + (1 - t) k / G,   k = 1 .. G
    E(t) = sum_{i != j} m_i R(t) / number of u with B(u) = j and v(u, j) >= t

The threshold of class j is the t with the smallest E on a grid from the smallest to the largest v(u, j). All sums over
rows are differences of cumulative sums in the order of v(u, j), and m_i cancels, so a class without mass adds 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from selftrain.wrapper.labels import Array
from selftrain.wrapper.policies import Candidates, Choice, Policy

GRID = 50
POSTERIORS = ("votes", "first", "uniform")


class TransductiveBound(Policy):
    """Choose by thresholds, one a class, that make a bound on the error of what is chosen smallest (MSTA, MSLA).

    Made for classifiers that vote, such as forests: it reads the class probabilities as votes.

    Source: Feofanov, Devijver & Amini, "Transductive Bounds for the Multi-Class Majority Vote Classifier", AAAI 2019;
    equations: see the module. Differs from the paper, which minimizes over all thresholds and all g, and as their code:
    50 of each are tried, and a search ends once two values in a row rise (``grid``, ``early_stop=False``). Differs from
    their code: the wrapper also learns from the rows that were added last.

    Args:
        posterior: Probabilities of the true classes: ``"votes"``, those of the candidates themselves (paper);
            ``"first"``, what the first, supervised classifier said; ``"uniform"``, 1/C, the worst case; or an array of
            one row a row of X, (N, C), or one for all, (C,), in the order of the sorted classes.
        grid: Number of thresholds tried a class, at least 2.
        early_stop: End the search of a class once two successive values rise (their code), or try the whole grid.
    """

    needs_votes: ClassVar[bool] = True

    def __init__(self, posterior: Any = "votes", grid: int = GRID, early_stop: bool = True) -> None:
        self.posterior, self.grid, self.early_stop = posterior, grid, early_stop
        self.check()

    def check(self) -> None:
        """Raise ValueError for an unknown posterior, entries that are no probabilities, or too small a grid."""
        if self.grid < 2:
            raise ValueError(f"grid is {self.grid}; it must be at least 2")
        if isinstance(self.posterior, str):
            if self.posterior not in POSTERIORS:
                raise ValueError(f"posterior is {self.posterior!r}; choose one of {POSTERIORS} or give an array")
            return
        given = np.asarray(self.posterior, dtype=float)
        if given.ndim not in (1, 2) or not np.allclose(given.sum(-1), 1) or given.min() < 0:
            raise ValueError(f"posterior of shape {given.shape} must have rows of probabilities that sum to 1")

    def select(self, candidates: Candidates) -> Choice:
        """Everything whose largest vote reaches the threshold of its class."""
        posterior = self._posterior(candidates)
        thresholds = class_thresholds(candidates.votes, posterior, grid=self.grid, early_stop=self.early_stop)
        return Choice(candidates.votes.max(1) >= thresholds[candidates.codes], thresholds)

    def _posterior(self, candidates: Candidates) -> Array:
        shape = candidates.votes.shape
        if isinstance(self.posterior, str):
            uniform = np.full(shape, 1 / shape[1])
            return {"votes": candidates.votes, "first": candidates.first, "uniform": uniform}[self.posterior]
        given = np.asarray(self.posterior, dtype=float)
        if given.shape[-1] != shape[1] or (given.ndim == 2 and len(given) <= candidates.rows.max()):
            raise ValueError(f"posterior has shape {given.shape}; it needs {shape[1]} classes, and a row a row of X")
        return given[candidates.rows] if given.ndim == 2 else np.broadcast_to(given, shape)


def class_thresholds(
    votes: Array, posterior: Array | None = None, *, grid: int = GRID, early_stop: bool = True
) -> Array:
    """The threshold of each class with the smallest bound on the conditional error.

    Args:
        votes: Shape (N, C), rows sum to 1.
        posterior: Probabilities of the true class, shape (N, C); ``None``: the votes.
        grid: Number of thresholds tried a class, and of the g tried for each, at least 2.
        early_stop: End a search once two successive values rise, as the reference code does.

    Returns:
        Shape (C,); infinite for a class that is nowhere decided for.
    """
    best = np.full(votes.shape[1], np.inf)
    for j in range(votes.shape[1]):
        thresholds, errors = error_curve(votes, posterior, j, grid=grid, early_stop=early_stop)
        # their code ends a search early, and what it never sees it cannot choose
        errors = np.where(visited(errors), errors, np.inf) if early_stop else errors
        if np.isfinite(errors).any():
            best[j] = thresholds[errors.argmin()]
    return best


def error_curve(
    votes: Array, posterior: Array | None, j: int, *, grid: int = GRID, early_stop: bool = True
) -> tuple[Array, Array]:
    """Bound on the conditional error of class ``j`` at each threshold of its grid.

    Returns:
        Thresholds and errors E, both of shape (grid,); E is infinite where no row is decided for ``j``.
    """
    thresholds = np.linspace(votes[:, j].min(), votes[:, j].max(), grid)
    table = _Table.make(votes, votes if posterior is None else posterior, j)
    # Rows that truly are of the class are no error.
    risk = np.delete(table.risk(thresholds, grid, early_stop), j, axis=1).sum(1)
    kept = table.decided(thresholds)
    # Where nothing is chosen the bound is infinite: argmin takes the NaN of 0 / 0 for the smallest.
    errors = np.full(grid, np.inf)
    np.divide(risk, kept, out=errors, where=kept > 0)
    return thresholds, errors


def visited(values: Array) -> Array:
    """Which values along the last axis a search sees that ends after two successive rises, same shape, bool.

    >>> visited(np.array([3.0, 1.0, 2.0, 3.0, 0.0])).tolist()
    [True, True, True, True, False]
    """
    with np.errstate(invalid="ignore"):  # infinity minus infinity is no rise
        rise = np.diff(values, axis=-1) > 0
    ends = rise[..., 1:] & rise[..., :-1]
    seen = np.ones(values.shape, dtype=bool)
    seen[..., 3:] = ~np.logical_or.accumulate(ends, axis=-1)[..., :-1]
    return seen


@dataclass(frozen=True)
class _Table:
    """Rows in the order of their vote for one class, with sums over all rows before each.

    Args:
        vote: Votes for the class, ascending, shape (N,).
        mass: Sums of p(u, i), shape (N + 1, C).
        voted: Sums of p(u, i) v(u, j), shape (N + 1, C).
        taken: m_i K of each class i, shape (C,).
        own: Votes of the rows decided for the class, ascending.
    """

    vote: Array
    mass: Array
    voted: Array
    taken: Array
    own: Array

    @classmethod
    def make(cls, votes: Array, posterior: Array, j: int) -> _Table:
        order = np.argsort(votes[:, j], kind="stable")
        vote, p = votes[order, j], posterior[order]
        mine = votes[order].argmax(1) == j
        return cls(vote, _sums(p), _sums(p * vote[:, None]), (p[mine] * vote[mine, None]).sum(0), vote[mine])

    def risk(self, thresholds: Array, grid: int, early_stop: bool) -> Array:
        """m_i R_ij at each threshold, shape (T, C)."""
        t = thresholds[:, None]
        # From 1: the first g would be t itself, which may be 0, and g divides.
        g = t + (1 - t) * np.arange(1, grid + 1) / grid  # (T, G)
        # all sums over rows are differences of cumulative sums, so that no threshold costs a pass over the rows
        at_t, at_g = np.searchsorted(self.vote, thresholds), np.searchsorted(self.vote, g)
        between = self.mass[at_g] - self.mass[at_t][:, None]  # (T, G, C)
        rest = np.maximum(0, self.taken + self.voted[at_t][:, None] - self.voted[at_g])
        values = np.moveaxis(between + rest / g[:, :, None], 1, 2)  # (T, C, G)
        return np.asarray(np.where(visited(values), values, np.inf).min(2) if early_stop else values.min(2))

    def decided(self, thresholds: Array) -> Array:
        """Number of rows decided for the class with at least this vote, shape (T,)."""
        return np.asarray(len(self.own) - np.searchsorted(self.own, thresholds))


def _sums(rows: Array) -> Array:
    """Sum of the rows before each place, shape (N + 1, C)."""
    return np.concatenate([np.zeros((1, rows.shape[1])), rows.cumsum(0)])
