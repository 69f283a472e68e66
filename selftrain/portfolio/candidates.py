"""What may be tried: the labels alone, graphs, mixtures, soft labels; networks are passed in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import softmax
from sklearn.ensemble import ExtraTreesClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.svm import SVC

from selftrain.graph.neighbors import kernel, nearest_rows
from selftrain.graph.propagation import METHODS
from selftrain.portfolio.forms import AXES, NEIGHBORS, Forms
from selftrain.portfolio.mixture import SemiSupervisedMixture
from selftrain.portfolio.soft_labels import DiscriminantSoftLabels, SoftLabelRegression
from selftrain.wrapper.labels import Array

TREES = 100


@dataclass(frozen=True)
class Size:
    """What decides how long a fit takes.

    Attributes:
        rows: All rows, labeled or not.
        labels: Those with a label.
        columns: Numbers in a row.
        classes: Number of classes.
        wide: Whether rows are compared by their direction, see ``Forms``.
    """

    rows: int
    labels: int
    columns: int
    classes: int
    wide: bool


@dataclass(frozen=True)
class Candidate:
    """One way to learn from labels and pile.

    Attributes:
        name: Of the method and its rows.
        family: What kind of method it is: ``"labels alone"``, ``"graph"``, ``"mixture"``, ``"soft labels"``
            or ``"network"``.
        form: Of its rows, see ``Forms``.
        make: Estimator from a seed: ``fit(rows, codes)`` with -1 where there is no label, ``classes_``,
            ``predict_proba(rows)``.
        cost: Seconds that one fit takes on one core, estimated.
        repeats: Of folds that it is judged on.
    """

    name: str
    family: str
    form: str
    make: Callable[[int], Any]
    cost: float
    repeats: int = 2


class LabelsAlone:
    """Shows a classifier the labeled rows only.

    Args:
        estimator: The classifier; without ``predict_proba`` the softmax of its decisions stands for probabilities.
    """

    def __init__(self, estimator: Any) -> None:
        self.estimator = estimator

    def fit(self, X: Any, y: Array) -> LabelsAlone:
        """Learn from rows (N, D) and classes (N,), -1 where there is none."""
        known = np.flatnonzero(y >= 0)
        self.estimator.fit(X[known], y[known])
        self.classes_ = self.estimator.classes_
        return self

    def predict_proba(self, X: Any) -> Array:
        """Probabilities of the classes, shape (N, C)."""
        if hasattr(self.estimator, "predict_proba"):
            return np.asarray(self.estimator.predict_proba(X))
        value = self.estimator.decision_function(X)
        return np.asarray(softmax(np.column_stack([-value, value]) if value.ndim == 1 else value, axis=1))


class SharedGraph:
    """Spreads labels over the graph that all folds share; new rows ask the nearest, as ``GraphClassifier`` does.

    Args:
        forms: Has the graph.
        form: Of the rows.
        method: A name in ``selftrain.graph``'s methods.
        settings: Of the method.
    """

    def __init__(self, forms: Forms, form: str, method: str, **settings: float) -> None:
        self.forms, self.form, self.method, self.settings = forms, form, method, settings

    def fit(self, X: Any, y: Array) -> SharedGraph:
        """Learn from all rows of ``forms`` (N, D) and classes (N,), -1 where there is none."""
        self.classes_ = np.unique(y[y >= 0])
        codes = np.where(y >= 0, np.searchsorted(self.classes_, y), -1)
        self.rows_ = X
        self.values_ = METHODS[self.method](self.forms.graph(self.form), codes, len(self.classes_), **self.settings)
        return self

    def predict_proba(self, X: Any) -> Array:
        """Probabilities of the classes, shape (N, C)."""
        distances, places = nearest_rows(self.rows_, X, NEIGHBORS)
        same = distances == 0
        weights = np.where(same.any(1, keepdims=True), same, kernel(distances, "local"))
        values = (weights[:, :, None] * self.values_[places]).sum(1)
        return np.asarray(values / values.sum(1, keepdims=True))


class PartOfPile:
    """Shows an estimator at most so many rows without a label: the same draw whenever the same rows are there.

    Args:
        estimator: What learns from it.
        rows: At most.
        seed: Of the draw.
    """

    def __init__(self, estimator: Any, rows: int, seed: int) -> None:
        self.estimator, self.rows, self.seed = estimator, rows, seed

    def fit(self, X: Any, y: Array) -> PartOfPile:
        """Learn from rows (N, D) and classes (N,), -1 where there is none."""
        # a number for each row, not a draw of so many: folds differ by some rows alone
        order = np.random.RandomState(self.seed).permutation(len(y))
        pile = np.flatnonzero(y < 0)
        kept = pile[np.argsort(order[pile])[: self.rows]]
        rows = np.sort(np.concatenate([np.flatnonzero(y >= 0), kept]))
        self.estimator.fit(X[rows], y[rows])
        self.classes_ = self.estimator.classes_
        return self

    def predict_proba(self, X: Any) -> Array:
        """Probabilities of the classes, shape (N, C)."""
        return np.asarray(self.estimator.predict_proba(X))


def candidates(forms: Forms, size: Size, pile: int = 2000) -> list[Candidate]:
    """Everything but networks that fits rows like these, the labels alone first.

    Args:
        forms: Of the rows.
        size: Of the problem.
        pile: Rows without a label that those see at most who go over them again and again.
    """
    n, known, d, c = size.rows, size.labels, size.columns, size.classes
    axes = min(d, AXES) if size.wide else d
    seen = known + min(n - known, pile)
    # seconds that fits took on one core, from sizes of 120 to 4,000 rows
    line, solved, linked = 4e-3 + 3e-8 * known * d * c, 2e-3 + 1.2e-6 * n * c, 6e-12 * n * n * d
    rounds, em = 0.01 + seen * c * (2e-6 + 8e-8 * axes), 8e-6 * n + 1.5e-9 * n * axes * (axes + c)
    trees = float(0.09 + 3e-8 * TREES * known * np.sqrt(d) * np.log2(known + 1))
    near, tall = ("unit", 10.0) if size.wide else ("standard", 1.0)
    # the cheapest of these leaves nothing out where that would be little
    more = pile + pile // 4 if n - known <= pile + pile // 4 else pile

    def logistic(seed: int) -> Any:
        return LogisticRegression(C=tall, max_iter=300)

    def alone(name: str, form: str, make: Callable[[int], Any], cost: float, repeats: int = 2) -> Candidate:
        return Candidate(name, "labels alone", form, lambda seed: LabelsAlone(make(seed)), cost, repeats)

    def soft(name: str, weight: float) -> Candidate:
        def make(seed: int) -> Any:
            return PartOfPile(SoftLabelRegression(tall, weight=weight), pile, seed)

        return Candidate(name, "soft labels", "reduced", make, rounds, 1 if size.wide else 2)

    def discriminant(seed: int) -> Any:
        mixture = SemiSupervisedMixture(shrinkage=0.5, weight=0.1, max_iter=5)
        return PartOfPile(DiscriminantSoftLabels(mixture, SoftLabelRegression(3.0, weight=3.0, rounds=3)), more, seed)

    found = [
        alone("logistic", near, logistic, line),
        alone("SVM", "standard", lambda seed: SVC(C=10.0), 3e-3 + 4e-10 * known**2 * d),
        alone("extra trees", "standard", lambda seed: ExtraTreesClassifier(TREES, random_state=seed), trees, 1),
        alone(
            "random forest", "standard", lambda seed: RandomForestClassifier(TREES, random_state=seed), 1.3 * trees, 1
        ),
    ]
    if not size.wide:
        found += [
            alone("rank logistic", "rank", logistic, line),
            _mixture("naive Gaussian", "labels alone", "reduced", 1e-3, covariance="diagonal", weight=0.0),
        ]
    found += [
        _graph(forms, "label spreading", near, "label_spreading", linked + solved, alpha=0.9),
        _graph(forms, "far label spreading", near, "label_spreading", linked + 2 * solved, alpha=0.99),
        _graph(forms, "Poisson", near, "poisson", linked + 3 * solved),
        _mixture("shrunk mixture", "mixture", "reduced", em, 1 if size.wide else 2, shrinkage=0.5),
        soft("soft labels", 1.0),
    ]
    if size.wide:
        cost = (0.5 * rounds + 0.25 * em * seen / n) * (known + min(n - known, more)) / seen
        found += [
            soft("heavy soft labels", 3.0),
            Candidate("discriminant soft labels", "soft labels", "reduced", discriminant, cost, 1),
        ]
    else:
        found += [
            _graph(forms, "rank label spreading", "rank", "label_spreading", linked + solved, alpha=0.9),
            _mixture("mixture", "mixture", "reduced", em),
            _mixture("naive mixture", "mixture", "reduced", 2e-8 * n * axes * c, covariance="diagonal"),
            _mixture("rank mixture", "mixture", "rank", em, shrinkage=0.5),
        ]
    return found


def _mixture(
    name: str, family: str, form: str, cost: float, repeats: int = 2, *, weight: float = 0.1, **settings: Any
) -> Candidate:
    def make(seed: int) -> Any:
        return SemiSupervisedMixture(weight=weight, **settings)

    return Candidate(name, family, form, make, 1e-3 + cost, repeats)


def _graph(forms: Forms, name: str, form: str, method: str, cost: float, **settings: float) -> Candidate:
    return Candidate(name, "graph", form, lambda seed: SharedGraph(forms, form, method, **settings), 2e-3 + cost)


def within(found: Sequence[Candidate], splits: int, budget: float) -> list[Candidate]:
    """Those whose fits take no longer than the budget together: the labels alone always, then the cheaper first."""
    kept = [candidate for candidate in found if candidate.family == "labels alone"]
    left = budget - sum(whole_cost(candidate, splits) for candidate in kept)
    for candidate in sorted((c for c in found if c not in kept), key=lambda c: whole_cost(c, splits)):
        left -= whole_cost(candidate, splits)
        if left < 0:
            break
        kept.append(candidate)
    return [candidate for candidate in found if candidate in kept]


def whole_cost(candidate: Candidate, splits: int) -> float:
    """Seconds of all fits, the last one on all labels."""
    return (candidate.repeats * splits + 1) * candidate.cost
