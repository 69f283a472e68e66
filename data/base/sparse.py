"""Rows of a sparse matrix: they stay sparse, and are made dense a batch at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from selftrain.data.base.dense import refuse_complex
from selftrain.data.base.joined import Joined
from selftrain.data.base.samples import ArraySet, RowNumbers, Rows, Samples, Subset, as_annotations, same_length
from selftrain.errors import DataError

_NUMBERS = 2**23  # of a dense batch that nobody learns from: 32 MB


class SparseSet:
    """Rows of a sparse matrix in memory, of which only those asked for become dense.

    Args:
        x: Matrix or array of scipy.sparse (N, F), in any format; it is copied as compressed rows in single precision.
        y: Annotations, N rows, or ``None``.
        ids: Names of the rows; default their numbers.

    Raises:
        DataError: entries that are no finite numbers (the first one is named), or a matrix without columns.
    """

    def __init__(self, x: Any, y: Any = None, ids: Sequence[str] | None = None) -> None:
        from scipy import sparse  # by whoever has a sparse matrix it was loaded

        refuse_complex(x, "x")
        if x.ndim != 2 or 0 in x.shape[1:] or x.dtype.kind not in "biuf":
            raise DataError(f"x is a sparse array of shape {x.shape} and {x.dtype}; give (N, F) of numbers, F above 0")
        with np.errstate(over="ignore"):  # what is too large is told below
            self.x = sparse.csr_matrix(x, dtype=np.float32, copy=True)
        self.x.sum_duplicates()
        odd = np.flatnonzero(~np.isfinite(self.x.data))
        if len(odd):
            row = int(np.searchsorted(self.x.indptr, odd[0], side="right")) - 1
            column = int(self.x.indices[odd[0]])
            raise DataError(
                f"sample {row} holds {x.tocsr()[row, column]} in column {column}, which is no finite number in single "
                "precision; remove such rows, or correct them"
            )
        self.annotations: Tensor | None = None if y is None else as_annotations(y)
        self.ids: Sequence[str] = RowNumbers(x.shape[0]) if ids is None else list(ids)
        same_length(x.shape[0], self.annotations, "annotations")
        same_length(x.shape[0], self.ids, "ids")

    def __len__(self) -> int:
        return int(self.x.shape[0])

    def images(self, index: Rows) -> Tensor:
        """Some rows, dense, (B, F)."""
        return torch.from_numpy(self.x[np.asarray(index, dtype=np.int64)].toarray())


def rows_in_memory(x: Any, y: Any = None, ids: Sequence[str] | None = None, **form: Any) -> ArraySet | SparseSet:
    """The set for what a user has: a matrix of scipy.sparse, or anything that ``ArraySet`` takes.

    Args:
        x: Inputs.
        y: Annotations.
        ids: Names of the rows.
        form: Further arguments of ``ArraySet``; of a sparse matrix none means anything.

    Raises:
        DataError: settings of pictures, series or clouds with a sparse matrix.
    """
    if not hasattr(x, "tocsr"):
        return ArraySet(x, y, ids, **form)
    given = [name for name, value in form.items() if value is not None]
    if given:
        raise DataError(
            f"{given[0]} is {form[given[0]]!r}, but x is a sparse matrix, which is a table; leave {given[0]} out, or "
            "pass x.toarray(), reshaped to axes of its own"
        )
    return SparseSet(x, y, ids)


def sparse_parts(samples: Samples, rows: Rows) -> list[Any] | None:
    """Some rows of a set as sparse matrices, in any order; ``None``: they are not kept so.

    Args:
        samples: A set, or a subset of one, or several as one.
        rows: Numbers of rows.
    """
    if isinstance(samples, SparseSet):
        return [samples.x[rows]]
    if isinstance(samples, Subset):
        return sparse_parts(samples.base, samples.rows[rows])
    if isinstance(samples, Joined):
        size = len(samples.first)
        parts = (
            sparse_parts(samples.first, rows[rows < size]),
            sparse_parts(samples.second, rows[rows >= size] - size),
        )
        return None if parts[0] is None or parts[1] is None else [*parts[0], *parts[1]]
    return None


def is_sparse(samples: Samples) -> bool:
    """Whether the rows of a set are kept as a sparse matrix."""
    return sparse_parts(samples, np.zeros(0, np.int64)) is not None


def dense_at_once(samples: Samples, rows: int) -> int:
    """How many rows of a set to make dense at a time: ``rows``, of sparse ones as many as take little memory."""
    if not is_sparse(samples) or not len(samples):
        return rows
    return max(1, min(rows, _NUMBERS // samples.images(np.zeros(1, np.int64)).numel()))
