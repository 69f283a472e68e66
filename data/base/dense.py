"""Rows as one array or tensor with a number at every place, or the reason why they are none, and what to do."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor, stack, strided

from selftrain.errors import DataError


def dense(values: Any, name: str) -> Any:
    """One array or tensor of what may be a list of rows; anything else that has a shape is handed back as it is.

    Args:
        values: Rows.
        name: What messages call them: ``"x"``.

    Raises:
        DataError: rows of different shapes (the first one is named), sparse, nested or quantized tensors, sparse
            matrices, or an array with masked values.
    """
    if isinstance(values, np.ma.MaskedArray) and np.ma.is_masked(values):
        count = int(np.ma.getmaskarray(values).sum())
        raise DataError(f"{count:,} values of {name} are masked; fill them in ({name}.filled(0)) or drop their rows")
    if hasattr(values, "tocsr"):  # of scipy, which need not be loaded to know it
        raise DataError(f"{name} is a sparse matrix of shape {values.shape}; pass {name}.toarray()")
    if isinstance(values, Tensor):
        return _dense_tensor(values, name)
    listed = isinstance(values, list | tuple) or (
        isinstance(values, np.ndarray) and values.dtype == object and values.ndim > 0
    )
    if not listed or not len(values):
        return values
    if any(isinstance(row, Tensor) for row in values):
        values = [_dense_tensor(row, name) if isinstance(row, Tensor) else np.asarray(row) for row in values]
    else:
        try:
            found = np.asarray(values)
        except ValueError:
            found = None
        if found is not None and found.dtype != object:
            return found
    return _stacked(values, name)


def _stacked(values: Any, name: str) -> Any:
    """Rows one by one as an array: one of objects has no shape of its own, but its rows may have one."""
    rows = [row if isinstance(row, Tensor) else _row(row) for row in values]
    odd = next((i for i, row in enumerate(rows) if row.shape != rows[0].shape), None)
    if odd is not None:
        short = min(row.shape[-1] if row.ndim else 0 for row in rows)
        raise DataError(
            f"row {odd} of {name} has shape {tuple(rows[odd].shape)}, row 0 has {tuple(rows[0].shape)}; cut or pad all "
            f"rows to one shape, such as np.stack([row[..., :{short}] for row in {name}])"
        )
    if all(isinstance(row, Tensor) for row in rows):
        return stack(rows)
    found = np.stack([row.numpy() if isinstance(row, Tensor) else row for row in rows])
    if found.dtype == object and all(isinstance(value, int | float | np.number) for value in found.flat):
        return found.astype(np.float64)  # numbers in boxes, as pandas gives those of columns of several types
    return found


def _row(row: Any) -> Any:
    try:
        return np.asarray(row)
    except ValueError:  # a row that is ragged itself
        return np.asarray(row, dtype=object)


def _dense_tensor(values: Tensor, name: str) -> Tensor:
    if values.is_nested:
        raise DataError(
            f"{name} is a nested tensor, with rows of different shapes; pad them with "
            f"torch.nested.to_padded_tensor({name}, 0.0)"
        )
    if values.layout != strided:
        raise DataError(f"{name} is a sparse tensor of shape {tuple(values.shape)}; pass {name}.to_dense()")
    if values.is_quantized:
        raise DataError(f"{name} is quantized ({values.dtype}); pass a dense tensor of numbers, {name}.dequantize()")
    if values.is_meta:
        raise DataError(f"{name} is on the device meta, without any value; pass a dense tensor of numbers")
    return values.detach().cpu()


def refuse_complex(values: Any, name: str) -> None:
    """Refuse complex numbers, of which only the real part would be left.

    Raises:
        DataError: ``values``, with a ``dtype`` of numpy or torch, are complex.
    """
    if "complex" in str(values.dtype):
        raise DataError(
            f"{name} holds complex numbers, whose imaginary parts would be lost; pass both parts as channels or "
            f"columns, np.concatenate([{name}.real, {name}.imag], 1), or the size alone, abs({name})"
        )
