"""Rows as they are passed: numbers are checked, anything else is for the classifier inside to read."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from numbers import Number
from typing import Any

import numpy as np
import torch
from sklearn.utils import indexable
from sklearn.utils.validation import validate_data

from selftrain.data.base.dense import dense, no_numbers, other_than_rows
from selftrain.errors import DataError


def as_rows(X: Any) -> Any:
    """Tensors as arrays of numbers, whatever their type, device or gradient, masked numbers as NaN, Arrow as pandas.

    Raises:
        DataError: for a tensor whose numbers do not lie in rows and columns: sparse, nested, quantized, without data.
    """
    if isinstance(X, torch.Tensor):
        try:
            plain = X.detach().cpu().resolve_conj().resolve_neg()
            # numpy has no bfloat16 and no 8-bit floats; every value of theirs is one of float32
            narrow = plain.is_floating_point() and plain.dtype not in (torch.float16, torch.float32, torch.float64)
            return (plain.float() if narrow else plain).numpy()
        except (RuntimeError, TypeError) as error:
            what = f"{X.layout}, {X.dtype}, {X.device}"
            remedy = "X.to_dense(), or a matrix of scipy.sparse" if X.is_sparse else "a dense tensor of plain numbers"
            raise DataError(f"the numbers of X, a tensor ({what}), cannot be read; pass {remedy}") from error
    if isinstance(X, np.ma.MaskedArray):
        # what lies under a mask is no measurement, and np.asarray would bring it back
        return np.ma.filled(X.astype(np.promote_types(X.dtype, np.float32)), np.nan) if X.mask.any() else X.data
    # scikit-learn picks no rows of a table of Arrow or of other frames that are not in its protocol
    if hasattr(X, "to_pandas") and (hasattr(X, "column_names") or (is_frame(X) and not hasattr(X, "__dataframe__"))):
        return X.to_pandas()
    if isinstance(X, memoryview | np.matrix):
        return np.asarray(X)
    if isinstance(X, (list, tuple)) and X and all(isinstance(row, (torch.Tensor, np.ma.MaskedArray)) for row in X):
        return [as_rows(row) for row in X]
    return X


def checked_rows(estimator: Any, X: Any, *, reset: bool) -> Any:
    """What a wrapper hands on, with rows that ``taken`` can pick.

    Tables of numbers (arrays, sparse matrices, nested lists) are checked as scikit-learn does and become arrays. Data
    frames, texts, arrays of more axes and all else stay as they are: a pipeline knows how to read its own rows.

    Args:
        estimator: Whose ``n_features_in_`` and ``feature_names_in_`` they are.
        X: Rows.
        reset: Whether these are the rows of ``fit``.
    """
    X = as_rows(X)
    # lists of mappings and arrays of records are rows that a pipeline may read
    if not isinstance(X, list | tuple | np.ndarray) and (remedy := other_than_rows(X, "X")):
        raise DataError(remedy)
    form: dict[str, Any] = {"ensure_min_samples": 2} if reset else {}
    if _is_table(X):
        # NaN is for the classifier inside to take or to refuse, as its tags say.
        rows = validated(estimator, X, reset=reset, accept_sparse="csr", ensure_all_finite=False, **form)
    else:
        rows = indexable(X)[0]
        validated(estimator, rows, reset=reset, skip_check_array=True)
    count = rows.shape[0] if hasattr(rows, "shape") else len(rows)
    if reset and count < 2:
        raise DataError(f"X has {count} row(s); give at least 2")
    if reset:
        estimator._table = _is_table(X) or is_frame(X)
    elif getattr(estimator, "_table", False) and len(getattr(rows, "shape", ())) > 2:
        check_row_shape(rows.shape[1:], (estimator.n_features_in_,))
    return rows


def validated(estimator: Any, X: Any, *, reset: bool, **form: Any) -> Any:
    """Rows as scikit-learn's ``validate_data`` gives them.

    Raises:
        DataError: they are no table, or have other columns than those of ``fit``; says which to pass.
    """
    try:
        return validate_data(estimator, X, reset=reset, **form)
    except ValueError as error:
        text = str(error).strip()
        own = getattr(estimator, "feature_names_in_", None)
        if not reset and is_frame(X) and own is not None:
            if set(own) <= set(X.columns):
                text += "\npass X[model.feature_names_in_]"
        elif "is expecting" in text:
            text += " Pass the columns of fit, in their order."
        raise DataError(text) from error


def check_row_shape(shape: Any, wanted: tuple[int, ...]) -> None:
    """Refuse rows of another shape than those of ``fit``.

    Args:
        shape: Of one row as it is passed.
        wanted: Of one row of ``fit``.

    Raises:
        DataError: both shapes, and how to bring one into the other where that is clear.
    """
    shape = tuple(shape)
    if shape == wanted:
        return
    if wanted[1:] == shape and len(wanted) > 1:
        remedy = "if this is one row, pass X[None]"
    elif wanted == shape[1:] + shape[:1]:
        remedy = "pass np.moveaxis(X, 1, -1)"
    elif wanted == shape[-1:] + shape[:-1]:
        remedy = "pass np.moveaxis(X, -1, 1)"
    elif len(shape) == 1 and len(wanted) > 1 and shape[0] == int(np.prod(wanted)):
        remedy = f"pass X.reshape(-1, {', '.join(map(str, wanted))})"
    else:
        remedy = "pass rows like those"
    raise DataError(f"X has rows of shape {shape}, fit was called with {wanted}; {remedy}")


@contextmanager
def explained(X: Any, classifier: str) -> Iterator[None]:
    """Say what rows hold that a classifier does not take, and what to pass, where they are no numbers.

    Raises:
        DataError: in place of the classifier's own error.
    """
    try:
        yield
    except (TypeError, ValueError) as error:
        if not isinstance(error, DataError) and (told := _why_no_numbers(X, error)):
            told = f"{classifier} does not take these rows: {told}"
            # what takes a TypeError for an answer, as scikit-learn's checks do, reads its words, too
            raise (_RowTypeError(f"{told} ({error})") if isinstance(error, TypeError) else DataError(told)) from error
        raise


def _why_no_numbers(X: Any, error: Exception) -> str | None:
    """What rows hold in place of numbers, and what to pass; ``None``: numbers, or the error is of another kind."""
    if isinstance(X, np.ndarray):
        return None if X.dtype.kind in "biuf" else other_than_rows(X, "X") or no_numbers(X, "X")
    # a pipeline that reads such rows may fail for reasons of its own
    if not re.search("convert|cast|inhomogeneous|sequence|promoted", str(error)):
        return None
    if is_frame(X):
        odd = [str(name) for name in X.columns if getattr(X[name].dtype, "kind", "O") not in "biuf"][:5]
        if odd:
            return (
                f"columns {odd} of X hold no numbers; put make_column_transformer((OneHotEncoder(), {odd}), "
                f'remainder="passthrough") before the wrapper in a pipeline'
            )
        return None
    if not isinstance(X, list | tuple):
        return None
    try:
        found = np.asarray(dense(X, "X"))
    except DataError as ragged:
        told = str(ragged).partition("; series of")[0]  # which wrappers do not read
        # numbers of rows would be those of the rows that a round or a member learns from
        return re.sub(r"row \d+ of X has shape (.+), row \d+ has (.+);", r"rows of X have shapes \1 and \2;", told)
    return None if found.dtype.kind in "biuf" else no_numbers(found, "X")


class _RowTypeError(DataError, TypeError):
    """Rows of a type that a classifier does not take."""


def is_frame(X: Any) -> bool:
    """Whether it is a data frame, of whichever library: a table whose columns have names."""
    return hasattr(X, "columns") and hasattr(X, "shape") and len(X.shape) == 2


def _is_table(X: Any) -> bool:
    """Whether it is an array, a sparse matrix or a nested list of numbers with at most two axes."""
    if hasattr(X, "tocsr"):  # of scipy, which need not be loaded to know it
        return True
    if isinstance(X, (list, tuple)):
        first: Any = X
        while isinstance(first, (list, tuple)) and len(first):
            first = first[0]
        # the first entry alone: an array of all texts takes the length of the longest for each
        if not isinstance(first, (Number, np.ndarray, list, tuple)):
            return False
        try:
            X = np.asarray(X)
        except ValueError:  # rows of different lengths
            return False
    return isinstance(X, np.ndarray) and X.dtype.kind in "biufc" and X.ndim <= 2
