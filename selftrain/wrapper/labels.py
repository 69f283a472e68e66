"""Labels of a data set of which a part is unlabeled: reading, writing back, holding a part out."""

from __future__ import annotations

import warnings
from collections import Counter
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import column_or_1d
from sklearn.utils.multiclass import check_classification_targets

from selftrain.data.base.labels import Vocabulary, distinct, refuse_wrapped, spelled
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
    """Find the classes in ``y`` and the rows without a label, as ``selftrain.data.base.labels`` describes.

    Args:
        y: One label a row: integers, text, or both text and an integer marker, shape (N,).
        unlabeled: What stands for "no label", one value or several; ``None`` or NaN: only what is missing does.

    Raises:
        DataError: for labels that are no classes (fractions, text mixed with numbers), no label at all, a single
            class, or -1 that an unsigned type has wrapped.

    Warns:
        UserWarning: text that could be meant otherwise, with its count.
    """
    found = distinct(y, "y")
    vocabulary = Vocabulary(unlabeled, setting="unlabeled")
    given, known = known_rows(y, unlabeled)
    if not known.any():
        raise DataError(f"all {len(given)} rows of y are marked {unlabeled!r} (unlabeled); label some of each class")
    refuse_wrapped(found, vocabulary)
    plain = _plain(given[known])
    check_classification_targets(plain)
    classes, known_codes = np.unique(plain, return_inverse=True)
    if len(classes) < 2:
        hint = f", or say unlabeled=None if -1 is one: {int((~known).sum())} rows have it" if classes[0] == 1 else ""
        raise DataError(
            f"the labels are all of one class, {classes.tolist()[0]!r}; label rows of at least two classes{hint}"
        )
    marks: Counter[str] = Counter()
    names: Counter[str] = Counter()
    for value, many in zip(found.values, found.counts(), strict=True):
        (marks if vocabulary.is_mark(value) else names)[spelled(value)] += many
    for remark in vocabulary.remarks(marks, names):
        warnings.warn(remark, stacklevel=4)
    codes = np.full(len(given), -1)
    codes[known] = known_codes
    return Labels(classes, codes, given)


def known_rows(y: Any, unlabeled: Any = -1) -> tuple[Array, Array]:
    """The labels as an array, what is masked as the marker, and which rows have one; both (N,)."""
    found, vocabulary = distinct(y, "y"), Vocabulary(unlabeled)
    known = ~found.mapped([int(vocabulary.is_mark(value)) for value in found.values]).astype(bool)
    own = getattr(y, "dtype", None)
    if isinstance(own, np.dtype) and own.kind != "S" and not np.ma.is_masked(y):
        array = np.ma.getdata(y) if isinstance(y, np.ma.MaskedArray) else y
        return np.asarray(column_or_1d(array, warn=True)), known
    # what is missing stays missing, and what lies beneath a mask does not come back
    gap = unlabeled if np.ma.is_masked(y) and not isinstance(unlabeled, list | tuple | set) else None
    values = [*found.values, gap]
    rows = [values[place] for place in found.index]
    if len({type(value) for value in rows}) == 1 and rows[0] is not None:
        return np.array(rows), known
    given = np.empty(len(rows), dtype=object)
    given[:] = rows
    return given, known


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


def _plain(known: Array) -> Array:
    """The same labels with a native type where they are objects; refuses what is no class."""
    if known.dtype.kind == "f" and not np.isfinite(known).all():
        # The words of this message and of the last one are those that scikit-learn's check of estimators looks for.
        raise DataError("Input y contains NaN or infinity in rows that are not marked as unlabeled")
    if known.dtype != object:
        return known
    kinds = {str if isinstance(value, str) else type(value) for value in known}
    if kinds == {str}:
        return known
    if all(isinstance(value, Integral) or (isinstance(value, float) and value.is_integer()) for value in known):
        found = np.array(known.tolist())
        if found.dtype == object:
            large = max(known, key=abs)
            raise DataError(f"label {large} of y is larger than any integer of 64 bits; give such labels as text")
        return found
    names = sorted(kind.__name__ for kind in kinds)
    raise DataError(f"Unknown label type: y mixes or holds {', '.join(names)}; labels are text or integers")
