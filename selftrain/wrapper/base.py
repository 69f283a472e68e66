"""What all wrappers share: input, scoring and scikit-learn's tags."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, MetaEstimatorMixin
from sklearn.metrics import accuracy_score
from sklearn.utils import check_consistent_length, check_random_state, get_tags
from sklearn.utils.validation import check_is_fitted

from selftrain.arguments import Named, check
from selftrain.errors import DataError
from selftrain.wrapper.labels import Array, Labels, known_rows, read_labels
from selftrain.wrapper.rows import checked_rows


def all_have(method: str) -> Callable[[Any], bool]:
    """Whether the classifiers inside have a method; their own error says why not."""

    def check(self: Any) -> bool:
        fitted = getattr(self, "estimators_", None) or [getattr(self, "estimator_", None)]
        for member in self._members() if fitted[0] is None else fitted:
            getattr(member, method)
        return True

    return check


class Wrapper(Named, ClassifierMixin, MetaEstimatorMixin, BaseEstimator):  # type: ignore[misc]
    """A classifier that learns from labels and unlabeled rows; the base of the wrappers and of graph classifiers.

    Attributes:
        classes_: Names of the classes, sorted, shape (C,).
    """

    unlabeled: Any
    random_state: Any
    classes_: Array

    def _members(self) -> list[Any]:
        """The classifiers it is made of, if any."""
        raise NotImplementedError

    def _begin(self, X: Any, y: Any) -> tuple[Any, Labels, np.random.RandomState]:
        """Rows that can be indexed, the labels, and the source of draws."""
        if y is None:
            # The words are those that scikit-learn's check of estimators looks for.
            raise ValueError(
                f"This {type(self).__name__} estimator requires y to be passed, but the target y is None; "
                "give labels, -1 where there is none"
            )
        check(type(self).__init__, self.get_params(deep=False))
        X = checked_rows(self, X, reset=True)
        labels = read_labels(y, self.unlabeled)
        check_consistent_length(X, labels.given)
        self.classes_ = labels.classes
        return X, labels, check_random_state(self.random_state)

    def _rows(self, X: Any) -> Any:
        """Rows to predict, checked against those of ``fit``."""
        check_is_fitted(self)
        return checked_rows(self, X, reset=False)

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Accuracy in [0, 1] on the rows of ``y`` that have a label; the others are passed over.

        Raises:
            DataError: if no row has a label.
        """
        given, known = known_rows(y, self.unlabeled)
        if not known.any():
            raise DataError(f"all {len(given)} rows of y are marked {self.unlabeled!r}; there is nothing to score")
        weight = None if sample_weight is None else np.asarray(sample_weight)[known]
        # an array of objects compares differently from one of numbers or text
        truth = np.array(given[known].tolist())
        return float(accuracy_score(truth, self.predict(X)[known], sample_weight=weight))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        inner = [get_tags(member).input_tags for member in self._members() if hasattr(member, "__sklearn_tags__")]
        tags.input_tags.sparse = bool(inner) and all(tag.sparse for tag in inner)
        tags.input_tags.allow_nan = bool(inner) and all(tag.allow_nan for tag in inner)
        return tags
