"""Cross-validation with few labels: every fold is tested on labeled rows and trained with all unlabeled ones."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from sklearn.model_selection import StratifiedKFold
from sklearn.utils import column_or_1d

from selftrain.errors import DataError
from selftrain.estimator.inputs import unlabeled_rows
from selftrain.types import plain_settings
from selftrain.wrapper.labels import Array


@plain_settings
class LabeledKFold:
    """Stratified folds of the labeled rows; the unlabeled rows are in every training part and in no test part.

    An ordinary splitter puts a part of the unlabeled rows into each test fold: there they cannot be scored, and they
    are missing from the training. Pass this as ``cv`` of ``cross_val_score`` or ``GridSearchCV``, with any scoring.

    Args:
        n_splits: Folds, at least 2; each class should have as many labels.
        unlabeled: What marks an unlabeled row, as in ``SelfTrainClassifier``.
        shuffle: Whether to shuffle the labeled rows of a class first.
        random_state: Seed of that.

    >>> import numpy as np
    >>> y = np.array([0, 1, -1, -1, 0, 1])
    >>> [(train.tolist(), test.tolist()) for train, test in LabeledKFold(2).split(y[:, None], y)]
    [([2, 3, 4, 5], [0, 1]), ([0, 1, 2, 3], [4, 5])]
    """

    def __init__(
        self, n_splits: int = 5, *, unlabeled: Any = -1, shuffle: bool = False, random_state: Any = None
    ) -> None:
        self.n_splits, self.unlabeled, self.shuffle, self.random_state = n_splits, unlabeled, shuffle, random_state

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None) -> int:
        """Number of folds."""
        return self.n_splits

    def split(self, X: Any, y: Any, groups: Any = None) -> Iterator[tuple[Array, Array]]:
        """Rows of the training and of the test part of each fold, both ascending.

        Raises:
            DataError: if no row has a label.
            ValueError: for fewer than 2 folds, or fewer labels of every class than folds.
        """
        given = np.asarray(column_or_1d(y, warn=True))
        blank = unlabeled_rows(given, self.unlabeled)
        if blank.all():
            raise DataError(f"all {len(given)} rows of y are unlabeled; label some of each class")
        known, pile = np.flatnonzero(~blank), np.flatnonzero(blank)
        folds = StratifiedKFold(self.n_splits, shuffle=self.shuffle, random_state=self.random_state)
        # folds of the labels alone: unlabeled rows cannot be scored, and every training needs all of them
        for train, test in folds.split(known, np.array(given[known].tolist())):
            yield np.sort(np.concatenate([known[train], pile])), known[test]

    def __repr__(self) -> str:
        return f"LabeledKFold({self.n_splits}, unlabeled={self.unlabeled!r}, shuffle={self.shuffle})"
