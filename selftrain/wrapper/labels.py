"""Labels of a data set of which a part is unlabeled: reading, writing back, holding a part out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import column_or_1d
from sklearn.utils.multiclass import check_classification_targets

from selftrain.errors import DataError

Array = NDArray[Any]


@dataclass(frozen=True)
class Labels:
    """What is known of the classes.

    Args:
        classes: Names of the classes, sorted, shape (C,).
        codes: Class of each row as its place in ``classes``, -1 where unlabeled, shape (N,).
        given: The labels as they were given, with the marker of unlabeled rows, shape (N,).
    """

    classes: Array
    codes: Array
    given: Array

    @property
    def labeled(self) -> Array:
        """Which rows have a label, shape (N,), bool."""
        return np.asarray(self.codes >= 0)

    @property
    def shares(self) -> Array:
        """Share of each class among the labels, shape (C,)."""
        return shares(self.codes, len(self.classes))

    def write(self, codes: Array) -> Array:
        """The given labels with the classes of ``codes`` where these are 0 or more, shape (N,)."""
        written: Array = self.given.copy()
        written[codes >= 0] = self.classes[codes[codes >= 0]]
        return written

    def completed(self, pseudo: Array) -> Array:
        """The given labels with the classes of ``pseudo`` (U,) for the unlabeled rows, shape (N,)."""
        codes = self.codes.copy()
        codes[~self.labeled] = pseudo
        return self.write(codes)

    def extended(self, values: Array) -> Array:
        """Values of the unlabeled rows (U,), and 0 where the label was given, shape (N,)."""
        full = np.zeros(len(self.codes), dtype=values.dtype)
        full[~self.labeled] = values
        return full


def shares(codes: Array, classes: int) -> Array:
    """Share of each class in ``codes`` (those of 0 or more), shape (classes,); all 0 if there is none."""
    counts = np.bincount(codes[codes >= 0], minlength=classes)
    return np.asarray(counts / max(1, counts.sum()))


def read_labels(y: Any, unlabeled: Any = -1) -> Labels:
    """Find the classes in ``y`` and the rows without a label.

    Args:
        y: One label a row: integers, text, or both text and an integer marker in an array of objects, shape (N,).
        unlabeled: What stands for "no label"; ``None`` or NaN: both of these.

    Raises:
        DataError: for labels that are no classes (fractions, NaN, text mixed with numbers), no label at all, a single
            class, or an array of text that holds the marker as text.
    """
    given = np.asarray(column_or_1d(y, warn=True))
    blank = is_unlabeled(given, unlabeled)
    if blank.all():
        raise DataError(f"all {len(given)} rows of y are marked {unlabeled!r} (unlabeled); label some of each class")
    known = _plain(given[~blank])
    check_classification_targets(known)
    classes, known_codes = np.unique(known, return_inverse=True)
    if len(classes) < 2:
        raise DataError(f"the labels are all of one class, {classes.tolist()[0]!r}; label rows of at least two classes")
    codes = np.full(len(given), -1)
    codes[~blank] = known_codes
    return Labels(classes, codes, given)


def is_unlabeled(y: Array, marker: Any) -> Array:
    """Which rows of ``y`` hold the marker, shape (N,), bool."""
    if _is_missing(marker):
        return _mask(map(_is_missing, y))
    if y.dtype.kind in "US" and not isinstance(marker, str):
        # numpy has turned -1 into '-1' beside names, and a class may really be called so: ask
        if (y == str(marker)).any():
            text = repr(str(marker))
            raise DataError(
                f"y is an array of text and holds {text}; pass unlabeled={text}, or give y the dtype object"
            )
        return np.zeros(len(y), dtype=bool)
    return _mask(value == marker for value in y)


def hold_out(codes: Array, share: float, rng: np.random.RandomState) -> Array:
    """Draw rows of every class for validation; each class keeps at least one label to learn from.

    Args:
        codes: Class of each row, -1 where unlabeled, shape (N,).
        share: Part of each class's labels to draw, in (0, 1), rounded.
        rng: Where the draw comes from.

    Returns:
        The drawn rows, sorted, shape (H,).

    Raises:
        DataError: if there are too few labels to draw one.
    """
    drawn = []
    for code in range(codes.max() + 1):
        rows = rng.permutation(np.flatnonzero(codes == code))
        # each class keeps one label at least: a class without any cannot be learned
        drawn.append(rows[: min(round(share * len(rows)), len(rows) - 1)])
    held = np.sort(np.concatenate(drawn))
    if not len(held):
        counts = np.bincount(codes[codes >= 0]).tolist()
        raise DataError(f"validation={share} of {counts} labels a class holds no row out; raise it or label more")
    return np.asarray(held)


def _mask(flags: Iterable[Any]) -> Array:
    return np.fromiter((bool(flag) for flag in flags), dtype=bool)


def _is_missing(value: Any) -> bool:
    """Whether a value is None, NaN or pandas' NA."""
    # By name and first: pandas need not be installed, and its NA has no truth value to compare by.
    return value is None or type(value).__name__ == "NAType" or bool(value != value)


def _plain(known: Array) -> Array:
    """The same labels with a native type where they are objects; refuses what is no class."""
    if known.dtype.kind == "f" and not np.isfinite(known).all():
        # The words of this message and of the last one are those that scikit-learn's check of estimators looks for.
        raise DataError("Input y contains NaN or infinity in rows that are not marked as unlabeled")
    if known.dtype != object:
        return known
    if all(isinstance(value, Integral) for value in known):
        return np.array([int(value) for value in known])
    if not all(isinstance(value, str) for value in known):
        kinds = sorted({type(value).__name__ for value in known})
        raise DataError(f"Unknown label type: y mixes or holds {', '.join(kinds)}; labels are text or integers")
    return known
