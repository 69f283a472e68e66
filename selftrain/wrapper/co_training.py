"""Co-training: Blum & Mitchell, "Combining Labeled and Unlabeled Data with Co-Training", COLT 1998.

Algorithm: 1. draw a pool from the unlabeled rows; 2. each of two classifiers learns its own view of its own training
set; 3. from the pool each takes the rows it is surest of, so many a class, and labels them for the OTHER's set; 4. the
pool is filled up; 5. after the last round their probabilities are multiplied.

Left out: nothing. Differs: in the paper's table 1 both classifiers learn one set of labels, to which both add; here
each teaches the other alone, and is not confirmed by its own choices (``shared=True`` is the paper's one set). Any
number of classes; without a natural split of the columns a random one is drawn.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from sklearn.utils import _safe_indexing

from selftrain.errors import DataError
from selftrain.wrapper.base import Wrapper
from selftrain.wrapper.labels import Array, Labels
from selftrain.wrapper.learning import Trainer, check_classifier, seeded
from selftrain.wrapper.policies import surest
from selftrain.wrapper.rows import is_frame
from selftrain.wrapper.scores import probabilities

COMBINE = ("product", "mean")
View = Array | Callable[[Any], Any]


class CoTraining(Wrapper):
    """Let two classifiers with different views of the data label rows for each other.

    Source: Blum & Mitchell 1998, table 1: a pool of 75 and 30 rounds, in each of which a classifier labels 1 positive
    and 3 negative rows, about as their labels are spread. Differs: see the module.

    Args:
        estimators: A classifier, cloned for both views, or two; they need ``predict_proba`` or ``decision_function``.
        views: For each of the two the columns it sees (places, or names in a data frame), or a function from X to what
            it sees; ``None``: a random half of the columns each.
        pool: Number of unlabeled rows to choose from, at least 1; ``None``: all.
        take: Rows a class that each classifier labels in a round: one number for all, numbers in the order of the
            sorted classes, or by class name; ``None``: in proportion to the labels, 1 of the rarest class. At most as
            many as the pool holds that are decided for that class.
        rounds: At least 0.
        combine: Of the two probabilities: ``"product"`` (theirs) or ``"mean"``.
        shared: Whether both learn all pseudo-labels, as in the paper, or each those of the other. A row that both chose
            with different labels has the surer one.
        unlabeled: What marks an unlabeled row in ``y``; ``None`` or NaN: both.
        random_state: Seed or ``RandomState`` of views, pool and classifiers.

    Attributes:
        estimators_: The two classifiers.
        views_: The columns or function of each.
        classes_: Shape (C,).
        transduction_: Labels and pseudo-labels, the marker where a row has none, shape (N,). Of a row that both chose
            with different labels, each learned the other's (unless ``shared``); here is the surer one.
        labeled_iter_: 0 where the label was given, else the round in which the row was chosen, -1 if never, shape (N,).
        labeled_by_: 0 where the label was given, 1 or 2 if the first or second classifier chose the row, 3 if both did,
            -1 if none, shape (N,).
        n_iter_: Number of rounds.
        termination_condition_: ``"max_rounds"`` or ``"all_labeled"``.
        history_: A row a round: ``round``; ``candidates``, size of the pool; ``chosen``, by each; ``added``, rows new
            with a pseudo-label; ``threshold``, lowest confidence chosen by each; ``histogram``, pseudo-labels a class.

    Raises:
        ValueError: for settings out of range.
        DataError: for labels or views that cannot be learned from.

    >>> from sklearn.datasets import make_blobs
    >>> from sklearn.naive_bayes import GaussianNB
    >>> X, y = make_blobs(100, n_features=4, centers=2, random_state=0)
    >>> y[10:] = -1
    >>> model = CoTraining(GaussianNB(), views=([0, 1], [2, 3]), random_state=0).fit(X, y)
    >>> model.n_iter_, model.termination_condition_, (model.labeled_by_ == 0).sum().item()
    (24, 'all_labeled', 10)
    """

    def __init__(
        self,
        estimators: Any,
        *,
        views: Sequence[Any] | None = None,
        pool: int | None = 75,
        take: int | Sequence[int] | Mapping[Any, int] | None = None,
        rounds: int = 30,
        combine: str = "product",
        shared: bool = False,
        unlabeled: Any = -1,
        random_state: Any = None,
    ) -> None:
        self.estimators, self.views, self.pool, self.take, self.rounds = estimators, views, pool, take, rounds
        self.combine, self.shared, self.unlabeled, self.random_state = combine, shared, unlabeled, random_state

    def fit(self, X: Any, y: Any) -> CoTraining:
        """Learn from the labels and, round after round, from what the other view is sure of.

        Args:
            X: All rows, labeled or not, as in ``SelfTraining``.
            y: Their labels, ``unlabeled`` where there is none, shape (N,).
        """
        self._check()
        X, labels, rng = self._begin(X, y)
        self.views_ = _views(self.views, X, rng)
        trainers = [Trainer(seeded(estimator, rng)) for estimator in self._members()]
        seen, counts = [_see(X, view) for view in self.views_], class_counts(self.take, labels)
        pile = np.flatnonzero(~labels.labeled)
        size = len(pile)
        taught = np.full((2, size), -1)  # pseudo-labels that each classifier learns from
        codes, since, by, sure = np.full(size, -1), np.full(size, -1), np.full(size, -1), np.zeros(size)
        # a small pool forces each to choose rows that are like the whole, not only the easiest ones
        waiting = rng.permutation(size).tolist()  # outside the pool, the next one last
        pool: list[int] = []
        self.history_: list[dict[str, Any]] = []
        while True:
            # Before the end is looked for: what the last round has labeled is learned as well.
            self.estimators_ = [_learned(trainers[who], seen[who], labels, taught[who]) for who in (0, 1)]
            if len(self.history_) >= self.rounds or not (pool or waiting):
                break
            missing = len(waiting) if self.pool is None else min(self.pool - len(pool), len(waiting))
            pool += [waiting.pop() for _ in range(missing)]
            number, rows, chosen, thresholds = len(self.history_) + 1, np.array(pool), [], []
            # Both choose from the whole pool: one row may be taught to either by the other.
            for who in (0, 1):
                votes = probabilities(self.estimators_[who], _safe_indexing(seen[who], pile[rows]), labels.classes)
                picked = np.concatenate(surest(votes.argmax(1), votes.max(1), counts))
                mine, said, surety = rows[picked], votes[picked].argmax(1), votes[picked].max(1)
                taught[1 - who, mine] = said  # what one is sure of, the other learns
                surer = surety > sure[mine]
                codes[mine[surer]], sure[mine[surer]] = said[surer], surety[surer]
                by[mine] = np.maximum(by[mine], 0) + who + 1
                since[mine] = number
                chosen.append(len(mine))
                thresholds.append(float(surety.min()) if len(mine) else None)
            if self.shared:
                taught[:] = codes
            pool = [row for row in pool if by[row] < 0]
            self.history_.append(
                {
                    "round": number,
                    "candidates": len(rows),
                    "chosen": chosen,
                    "added": int((since == number).sum()),
                    "threshold": thresholds,
                    "histogram": np.bincount(codes[codes >= 0], minlength=len(counts)).tolist(),
                }
            )
        self.transduction_, self.labeled_iter_ = labels.completed(codes), labels.extended(since)
        self.labeled_by_, self.n_iter_ = labels.extended(by), len(self.history_)
        self.termination_condition_ = "all_labeled" if (by > 0).all() else "max_rounds"
        return self

    def _members(self) -> list[Any]:
        pair = list(self.estimators) if isinstance(self.estimators, list | tuple) else [self.estimators] * 2
        if len(pair) != 2:
            raise ValueError(f"estimators are {len(pair)}; give one classifier, or one for each of two views")
        return pair

    def _check(self) -> None:
        for estimator in self._members():
            check_classifier(estimator)
        if self.pool is not None and self.pool < 1:
            raise ValueError(f"pool is {self.pool}; it must be at least 1, or None for all unlabeled rows")
        if self.rounds < 0:
            raise ValueError(f"rounds is {self.rounds}; it must be 0 or more")
        if self.combine not in COMBINE:
            raise ValueError(f"combine is {self.combine!r}; choose one of {COMBINE}")

    def predict(self, X: Any) -> Array:
        """The class of highest combined probability, shape (N,)."""
        proba = self.predict_proba(X)
        return np.asarray(self.classes_[proba.argmax(1)])

    def predict_proba(self, X: Any) -> Array:
        """Normalized product, or mean, of the two classifiers' probabilities, shape (N, C).

        Where the product is 0 for every class, because each excludes what the other says, the mean stands for it.
        """
        X = self._rows(X)
        pairs = zip(self.estimators_, self.views_, strict=True)
        first, second = (probabilities(estimator, _see(X, view), self.classes_) for estimator, view in pairs)
        mean = (first + second) / 2
        if self.combine == "mean":
            return np.asarray(mean)
        product = first * second
        mass = product.sum(1, keepdims=True)
        # each excludes what the other says: there is no product to normalize
        return np.where(mass > 0, product / np.where(mass > 0, mass, 1), mean)


def class_counts(take: Any, labels: Labels) -> list[int]:
    """Rows a class that a classifier labels in a round, in the order of the classes.

    Raises:
        ValueError: if ``take`` does not fit the classes or is below 0, or 0 for all.
    """
    classes = labels.classes.tolist()
    if take is None:
        given = np.bincount(labels.codes[labels.labeled])
        # Half up: round() goes to the even number and would make 2 of 2.5.
        return [math.floor(count / given.min() + 0.5) for count in given.tolist()]
    if isinstance(take, Mapping):
        counts = [take.get(c, -1) for c in classes] if len(take) == len(classes) else []
    else:
        counts = [take] * len(classes) if isinstance(take, int | np.integer) else list(take)
    if len(counts) != len(classes) or min(counts) < 0 or sum(counts) == 0:
        raise ValueError(f"take is {take!r}; give a number of rows, 0 or more, for each of the classes {classes}")
    return counts


def _learned(trainer: Trainer, seen: Any, labels: Labels, taught: Array) -> Any:
    """A classifier that has learned the labels and what the other one taught it."""
    codes = labels.codes.copy()
    codes[~labels.labeled] = taught
    rows = np.flatnonzero(codes >= 0)
    return trainer.fit(_safe_indexing(seen, rows), labels.classes[codes[rows]])


def _views(views: Any, X: Any, rng: np.random.RandomState) -> list[View]:
    """The columns or the function of each view."""
    columns = X.shape[1] if len(getattr(X, "shape", ())) == 2 else 0
    if views is None:
        if columns < 2:
            raise DataError(
                f"X has {columns or 'no'} feature(s); two views need at least 2 columns, or pass views as two "
                "functions of X"
            )
        order = rng.permutation(columns)
        return [np.sort(order[: columns // 2]), np.sort(order[columns // 2 :])]
    if len(views) != 2:
        raise ValueError(f"views are {len(views)}; give two")
    made: list[View] = [view if callable(view) else np.asarray(view) for view in views]
    for view in made:
        if not isinstance(view, np.ndarray):
            continue
        if is_frame(X) and view.dtype.kind in "UO" and view.ndim == 1 and len(view):
            unknown = [name for name in view.tolist() if name not in list(X.columns)]
            if unknown:
                raise ValueError(f"view {view.tolist()} names {unknown}, which X lacks; its columns are {[*X.columns]}")
            continue
        if view.dtype.kind not in "iu" or view.ndim != 1 or not len(view):
            raise ValueError(f"view {view.tolist()} must be places of columns, or their names in a data frame")
        if view.min() < 0 or view.max() >= columns:
            raise ValueError(f"view {view.tolist()} names columns outside 0..{columns - 1}")
    return made


def _see(X: Any, view: View) -> Any:
    """What a view shows of the rows."""
    if not callable(view):
        return _safe_indexing(X, view.tolist(), axis=1)
    try:
        return view(X)
    except Exception:
        # a function may go by the places of columns, as in arrays, where a data frame goes by their names
        if not is_frame(X):
            raise
        return view(np.asarray(X))
