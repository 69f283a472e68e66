"""Which rows have no label: as in ``selftrain.wrapper``, and gaps among labels that are text."""

from __future__ import annotations

from typing import Any

import numpy as np

from selftrain.wrapper.labels import Array, Labels, is_unlabeled, read_labels


def unlabeled_rows(y: Array, marker: Any) -> Array:
    """Which rows hold the marker or, in an array of objects, None or NaN, shape (N,), bool."""
    marked = is_unlabeled(y, marker)
    return np.asarray(marked | is_unlabeled(y, None)) if y.dtype == object else marked


def read_classes(y: Array, marker: Any) -> Labels:
    """Classes and their numbers, see ``selftrain.wrapper.labels.read_labels``; gaps among text count as unlabeled."""
    if y.dtype == object:
        filled = y.copy()
        filled[is_unlabeled(y, None)] = marker
        labels = read_labels(filled, marker)
        return Labels(labels.classes, labels.codes, y)
    return read_labels(y, marker)
