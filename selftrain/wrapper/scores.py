"""What a fitted classifier says of each row: a distribution over the classes, and how sure it is."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.ensemble import BaggingClassifier, ExtraTreesClassifier, RandomForestClassifier, VotingClassifier
from sklearn.utils.extmath import softmax

from selftrain.errors import DataError
from selftrain.wrapper.labels import Array
from selftrain.wrapper.rows import explained

CERTAINTIES = ("confidence", "margin", "entropy", "vote")
VOTING = (RandomForestClassifier, ExtraTreesClassifier, BaggingClassifier, VotingClassifier)


def class_votes(estimator: Any, X: Any, classes: Array, kind: str) -> Array:
    """How much the classifier votes for each class.

    Args:
        estimator: A fitted classifier that knows these classes or some of them.
        X: Rows, shape (N, D).
        classes: The classes in the order of the columns wanted, shape (C,).
        kind: ``"vote"``: shares of the members of a voting ensemble; otherwise ``probabilities``.

    Returns:
        Shape (N, C), rows sum to 1.

    Raises:
        ValueError: if the classifier cannot tell, with the remedy.
        DataError: if it returns NaN or infinity.
    """
    votes = member_votes(estimator, X, classes) if kind == "vote" else probabilities(estimator, X, classes)
    if not np.isfinite(votes).all():
        raise DataError(f"{name(estimator)} returned NaN or infinity; look for constant or huge columns in X")
    return votes


def probabilities(estimator: Any, X: Any, classes: Array) -> Array:
    """Class probabilities: ``predict_proba``, or else the softmax of ``decision_function``.

    The softmax (for two classes the logistic function) is not calibrated: its maximum says which rows are surer than
    others, not how often they are right, so rank-based policies suit it better than fixed thresholds.

    Returns:
        Shape (N, C), rows sum to 1; 0 in the columns of classes the classifier does not know.

    Raises:
        ValueError: if the classifier has neither method, or a decision value for each pair of classes.
    """
    if hasattr(estimator, "predict_proba"):
        with explained(X, name(estimator)):
            return _aligned(np.asarray(estimator.predict_proba(X)), estimator.classes_, classes)
    if not hasattr(estimator, "decision_function"):
        raise ValueError(
            f"{name(estimator)} has neither predict_proba nor decision_function; wrap it in BaggingClassifier, whose "
            "members vote"
        )
    if getattr(estimator, "decision_function_shape", "ovr") != "ovr" and len(estimator.classes_) > 2:
        raise ValueError(f"{name(estimator)} decides pairs of classes; set decision_function_shape='ovr'")
    values = np.asarray(estimator.decision_function(X))
    if values.ndim == 1:
        # two classes have one decision value; the softmax of (0, v) is the logistic function of v
        values = np.stack([np.zeros_like(values), values], axis=1)
    return _aligned(softmax(values), estimator.classes_, classes)


def member_votes(estimator: Any, X: Any, classes: Array) -> Array:
    """Share of an ensemble's members that decide for each class, shape (N, C).

    Raises:
        ValueError: if the classifier is not one of scikit-learn's forests, ``BaggingClassifier`` or
            ``VotingClassifier``.
    """
    if not isinstance(estimator, VOTING):
        kinds = ", ".join(kind.__name__ for kind in VOTING)
        raise ValueError(f"certainty='vote' needs an ensemble that votes ({kinds}), not {name(estimator)}")
    # Members of BaggingClassifier may see a part of the columns only; those of VotingClassifier read rows themselves.
    features = getattr(estimator, "estimators_features_", None)
    X = X if isinstance(estimator, VotingClassifier) or hasattr(X, "tocsr") else np.asarray(X)
    parts = [X] * len(estimator.estimators_) if features is None else [X[:, f] for f in features]
    decided = [m.predict(part) for m, part in zip(estimator.estimators_, parts, strict=True)]
    codes = np.stack(decided, axis=1).astype(int)  # members of these ensembles learn codes, not names
    share = (codes[:, :, None] == np.arange(len(estimator.classes_))).mean(1)
    return _aligned(share, estimator.classes_, classes)


def certainty(votes: Array, kind: str) -> Array:
    """How sure each decision is, in [0, 1], shape (N,).

    Args:
        votes: Distributions over the classes, shape (N, C).
        kind: ``"confidence"`` and ``"vote"``: the largest entry; ``"margin"``: the largest minus the second;
            ``"entropy"``: 1 - H / log C.
    """
    if kind == "margin":
        second, first = np.partition(votes, -2, axis=1)[:, -2:].T
        return np.asarray(first - second)
    if kind == "entropy":
        logs = np.log(np.where(votes > 0, votes, 1.0))
        # Rounding may lead out of [0, 1].
        return np.asarray(np.clip(1 + (votes * logs).sum(1) / np.log(votes.shape[1]), 0, 1))
    return np.asarray(votes.max(1))


def name(estimator: Any) -> str:
    """The class of an estimator, for messages."""
    return type(estimator).__name__


def _aligned(votes: Array, seen: Array, classes: Array) -> Array:
    """Columns of the classes ``seen`` put to their places among ``classes``."""
    if votes.shape[1] != len(seen):
        raise ValueError(f"{votes.shape[1]} values a row for {len(seen)} classes; the classifier must give one a class")
    full = np.zeros((len(votes), len(classes)))
    full[:, np.searchsorted(classes, seen)] = votes
    return full
