"""How a wrapper's classifier learns from labels and pseudo-labels: sample weights, and cold or warm starts."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
from sklearn.base import clone, is_regressor
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.utils.validation import has_fit_parameter

from selftrain.wrapper.labels import Array
from selftrain.wrapper.rows import explained
from selftrain.wrapper.scores import name

WEIGHTINGS = ("balanced", "group", "confidence", "none")
RESTARTS = ("cold", "warm")


def sample_weights(weighting: str, labeled: Array, score: Array) -> Array | None:
    """Weight of each row that is learned from.

    Args:
        weighting: ``"group"``: labels 1 / their number, pseudo-labels 1 / their number, so each group weighs 1;
            ``"balanced"``: the same times the number of labels; ``"confidence"``: labels 1, pseudo-labels their score;
            ``"none"``: no weights.
        labeled: Whether the row's label was given, shape (N,), bool; some are.
        score: Of the pseudo-labels when they were chosen, shape (N,); not read where labeled.

    Returns:
        Shape (N,), or ``None``.
    """
    if weighting == "none":
        return None
    if weighting == "confidence":
        return np.where(labeled, 1.0, score)
    # each group weighs the same however many pseudo-labels there are, or they would drown the labels
    given = labeled.sum()
    weight = np.where(labeled, 1 / given, 1 / max(1, len(labeled) - given))
    return np.asarray(weight * given if weighting == "balanced" else weight)


def check_classifier(estimator: Any, weighting: str = "none", restart: str = "cold") -> None:
    """Raise ValueError for a classifier that cannot be used so, naming the remedy."""
    missing = [method for method in ("fit", "predict") if not hasattr(estimator, method)]
    if missing or inspect.isclass(estimator):
        raise ValueError(f"estimator is {estimator!r}; give a classifier, such as RandomForestClassifier()")
    if is_regressor(estimator):
        raise ValueError(f"{name(estimator)} is a regressor; give a classifier")
    if weighting != "none" and not has_fit_parameter(estimator, "sample_weight"):
        raise ValueError(f"{name(estimator)} takes no sample_weight; set weighting='none' instead of {weighting!r}")
    if restart == "warm" and not _has_warm_start(estimator) and not hasattr(estimator, "partial_fit"):
        raise ValueError(f"{name(estimator)} has neither warm_start nor partial_fit; set restart='cold'")


def seeded(estimator: Any, rng: np.random.RandomState) -> Any:
    """A clone whose random states are drawn from ``rng`` where they are ``None``, so that a seed fixes everything."""
    made = clone(estimator)
    settings = made.get_params(deep=True)
    # sorted: the draws must not depend on the order in which an estimator lists its settings
    states = [key for key in sorted(settings) if key.rpartition("__")[2] == "random_state" and settings[key] is None]
    return made.set_params(**{key: int(rng.randint(2**31 - 1)) for key in states})


class Trainer:
    """Make classifiers from rows, labels and weights, one after the other.

    A cold start fits a new clone with the same random state. A warm start goes on with the last classifier: with
    ``warm_start`` by another ``fit`` (ensembles grow by as many members as they began with, because only new members
    learn), otherwise by ``partial_fit`` over all rows.

    Args:
        estimator: The classifier, a clone of which is used.
        restart: ``"cold"`` or ``"warm"``.
    """

    def __init__(self, estimator: Any, restart: str = "cold") -> None:
        self.prototype, self.warm = clone(estimator), restart == "warm"
        if self.warm and _has_warm_start(estimator):
            self.prototype.set_params(warm_start=True)

    def fit(self, X: Any, y: Array, weight: Array | None = None, last: Any = None) -> Any:
        """A classifier that has learned this.

        Args:
            X: Rows, shape (N, D).
            y: Their classes, shape (N,).
            weight: Of each row, shape (N,); ``None``: none is passed on.
            last: The classifier of the round before, which a warm start changes; ``None``: there is none.
        """
        more = {} if weight is None else {"sample_weight": weight}
        if last is None or not self.warm:
            with explained(X, name(self.prototype)):
                return clone(self.prototype).fit(X, y, **more)
        if not _has_warm_start(last):
            # partial_fit goes over all rows again, labels included, so that old ones are not forgotten
            return last.partial_fit(X, y, **more)
        size = _size_setting(last)
        if size:
            # an ensemble that is fitted again by warm_start only learns with members it does not have yet
            last.set_params(**{size: getattr(last, size) + getattr(self.prototype, size)})
        return last.fit(X, y, **more)


def _has_warm_start(estimator: Any) -> bool:
    return "warm_start" in estimator.get_params(deep=False)


def _size_setting(estimator: Any) -> str | None:
    """The setting that must grow for a warm start to learn anything."""
    if isinstance(estimator, HistGradientBoostingClassifier):
        return "max_iter"
    return "n_estimators" if "n_estimators" in estimator.get_params(deep=False) else None
