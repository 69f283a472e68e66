"""Linear probes on frozen features: ridge in closed form, and logistic regression."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from selftrain.evaluation.probing.arrays import (
    Array,
    Classes,
    Numbers,
    Scale,
    check_many_classes,
    check_width,
    with_classes,
)

STEPS = 1000  # at most, of L-BFGS


def ridge_probe(
    features: Array, labels: Array, test_features: Array, test_labels: Array, *, penalty: float = 1.0
) -> float:
    """Accuracy of ridge regression on class indicators, in [0, 1]; in closed form, so there is nothing to tune but one.

    Minimizes ``|Y - X W - b|^2 / n + penalty |W|^2`` over ``W`` and ``b``, with features standardized by ``features``;
    the class with the highest score wins.

    Args:
        features: Labeled features, shape (n, D).
        labels: Their classes, shape (n,), integers >= 0.
        test_features: Features to classify, shape (m, D).
        test_labels: Their classes, shape (m,).
        penalty: > 0. The mean eigenvalue of the standardized features is 1.

    Raises:
        ValueError: for shapes or labels that do not fit, a single class, or a penalty that is not above 0.
    """
    from sklearn.linear_model import RidgeClassifier

    if penalty <= 0:
        raise ValueError(f"penalty is {penalty}; it must be above 0")
    (x, y), (asked, truth) = _checked(features, labels, test_features, test_labels)
    scale = Scale(x)
    # the library's penalty is of the sum over samples, ours of their mean, so that it means the same for any number
    model = RidgeClassifier(alpha=penalty * len(x)).fit(scale(x), y)
    return _right(model.predict(scale(asked)), truth)


def logistic_probe(
    features: Array,
    labels: Array,
    test_features: Array,
    test_labels: Array,
    *,
    C: float | Sequence[float] = 1.0,
    validation: tuple[Array, Array] | None = None,
) -> float:
    """Accuracy of logistic regression on features standardized by ``features``, in [0, 1].

    Multinomial, by L-BFGS (scikit-learn): minimizes ``|W|^2 / 2 + C sum cross-entropy``; the intercept is free.

    Args:
        features: Labeled features, shape (n, D).
        labels: Their classes, shape (n,), integers >= 0.
        test_features: Features to classify, shape (m, D).
        test_labels: Their classes, shape (m,).
        C: Weight of the labels against the penalty, > 0; or several, of which ``validation`` chooses one: with all
            labels ``10.0 ** np.arange(-5, 2)`` is enough, with few labels fix it in advance.
        validation: Features and labels to choose by; of equally good values the smallest C is taken. Nothing is
            trained on them.

    Raises:
        ValueError: for shapes or labels that do not fit, a single class, C that is not above 0, or validation samples
            without a choice, or a choice without validation samples.
    """
    (x, y), (asked, truth) = _checked(features, labels, test_features, test_labels)
    choices = sorted({float(c) for c in np.atleast_1d(np.asarray(C, dtype=np.float64))})
    if not choices or choices[0] <= 0:
        raise ValueError(f"C is {choices}; it must be above 0")
    if (len(choices) > 1) != (validation is not None):
        raise ValueError(f"C is {choices}; give several and validation=(features, labels) to choose by, or one alone")
    scale = Scale(x)
    best = choices[0]
    if validation is not None:
        # scaled by the labeled features below: nothing is learned from these, not even their mean
        held, held_labels = with_classes("validation features", *validation)
        check_width(x, held)
        # max keeps the first of equals, and choices ascend: the smallest C, the stronger penalty
        best = max(choices, key=lambda c: _right(logistic(scale(x), y, scale(held), c), held_labels))
    return _right(logistic(scale(x), y, scale(asked), best), truth)


def logistic(features: Numbers, labels: Classes, queries: Numbers, strength: float) -> Classes:
    """Classes (m,) that logistic regression on ``features`` (n, D) as they are gives to ``queries`` (m, D).

    Works in the span of the features, where the weights lie: n columns instead of D if that is less.
    """
    from sklearn.linear_model import LogisticRegression

    # the weights lie in the span of the samples: with few labels and wide features this is most of the time saved
    if len(features) < features.shape[1]:
        basis = np.linalg.svd(features, full_matrices=False)[2].T
        features, queries = features @ basis, queries @ basis
    model = LogisticRegression(C=strength, max_iter=STEPS).fit(features, labels)
    found: Classes = model.predict(queries)
    return found


def _checked(
    features: Array, labels: Array, test_features: Array, test_labels: Array
) -> tuple[tuple[Numbers, Classes], tuple[Numbers, Classes]]:
    known, asked = with_classes("features", features, labels), with_classes("test features", test_features, test_labels)
    check_many_classes(known[1])
    check_width(known[0], asked[0])
    return known, asked


def _right(found: Classes, truth: Classes) -> float:
    return float((found == truth).mean())
