"""Cross-validation with few labels: every fold is tested on labeled rows and trained with all unlabeled ones."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from selftrain.data.base.labels import distinct, spelled
from selftrain.errors import DataError
from selftrain.types import plain_settings
from selftrain.wrapper.labels import Array, known_rows


@plain_settings
class LabeledKFold:
    """Stratified folds of the labeled rows; the unlabeled rows are in every training part and in no test part.

    An ordinary splitter puts a part of the unlabeled rows into each test fold: there they cannot be scored, and they
    are missing from the training. Where rows belong together, pass their ``groups`` too. Pass this as ``cv`` of
    ``cross_val_score`` or ``GridSearchCV``, with any scoring.

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

        With ``groups``, rows of one group (a patient, a recording) are never in both parts: labeled rows are folded by
        group, and unlabeled rows of a group that is tested are left out of the training.

        Raises:
            DataError: if no row has a label; for rows without a group, or fewer groups with a label than folds.
            ValueError: for fewer than 2 folds, or fewer labels of every class than folds.
        """
        given, labeled = known_rows(y, self.unlabeled)
        if not labeled.any():
            raise DataError(f"all {len(given)} rows of y are unlabeled; label some of each class")
        known, pile = np.flatnonzero(labeled), np.flatnonzero(~labeled)
        labels, form = np.array(given[known].tolist()), {"shuffle": self.shuffle, "random_state": self.random_state}
        if groups is None:
            # folds of the labels alone: unlabeled rows cannot be scored, and every training needs all of them
            for train, test in StratifiedKFold(self.n_splits, **form).split(known, labels):
                yield np.sort(np.concatenate([known[train], pile])), known[test]
            return
        of = _group_numbers(groups, len(given))
        count = len(np.unique(of[known]))
        if count < self.n_splits:
            raise DataError(f"{count} groups have labeled rows, and there are {self.n_splits} folds; make fewer folds")
        for train, test in StratifiedGroupKFold(self.n_splits, **form).split(known, labels, of[known]):
            # An unlabeled row of a patient who is tested would show the patient to the training.
            seen = pile[~np.isin(of[pile], of[known[test]])]
            yield np.sort(np.concatenate([known[train], seen])), known[test]

    def __repr__(self) -> str:
        return f"LabeledKFold({self.n_splits}, unlabeled={self.unlabeled!r}, shuffle={self.shuffle})"


def _group_numbers(groups: Any, rows: int) -> Array:
    """A number for the group of each row.

    Raises:
        DataError: rows without a group, or not one group a row.
    """
    found = distinct(groups, "groups")
    if len(found.index) != rows:
        raise DataError(f"{rows} rows but {len(found.index)} groups; give one for each row")
    # in an array of text a gap has become the text "nan"
    gaps = [place for place, value in enumerate(found.values) if spelled(value) in ("", "nan", "<NA>", "NaT")]
    blank = (found.index < 0) | np.isin(found.index, gaps)
    if blank.any():
        first = int(np.flatnonzero(blank)[0])
        raise DataError(
            f"{int(blank.sum())} of {rows} rows have no group (row {first} is the first), and may "
            "be of one that is tested; give each a group, one of its own if it belongs to none"
        )
    return found.index
