"""Rows as one array or tensor with a number at every place, or the reason why they are none, and what to do."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Set
from contextlib import suppress
from decimal import Decimal
from numbers import Real
from typing import Any

import numpy as np
from torch import Tensor, stack, strided

from selftrain.errors import DataError, setting


def dense(values: Any, name: str) -> Any:
    """One array or tensor of what may be a list of rows; anything else that has a shape is handed back as it is.

    Args:
        values: Rows.
        name: What messages call them: ``"x"``.

    Raises:
        DataError: rows of different shapes (the first one is named), sparse, nested or quantized tensors, sparse
            matrices, an array with masked values, or what has no rows, such as a mapping.
    """
    if isinstance(values, np.ma.MaskedArray) and np.ma.is_masked(values):
        count = int(np.ma.getmaskarray(values).sum())
        raise DataError(f"{count:,} values of {name} are masked; fill them in ({name}.filled(0)) or drop their rows")
    if remedy := other_than_rows(values, name):
        raise DataError(remedy)
    if hasattr(values, "tocsr"):  # of scipy, which need not be loaded to know it
        raise DataError(f"{name} is a sparse matrix of shape {values.shape}; pass {name}.toarray()")
    if isinstance(values, Tensor):
        return _dense_tensor(values, name)
    if isinstance(values, memoryview | np.matrix):
        values = np.asarray(values)
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
            f"rows to one shape, such as np.stack([row[..., :{short}] for row in {name}]); series of unequal length: "
            f"say {setting('kind', 'series')}"
        )
    if all(isinstance(row, Tensor) for row in rows):
        return stack(rows)
    found = np.stack([row.numpy() if isinstance(row, Tensor) else row for row in rows])
    if found.dtype == object and all(isinstance(value, Real | Decimal | np.number) for value in found.flat):
        return found.astype(np.float64)  # numbers in boxes, as pandas gives those of columns of several types
    return found


def other_than_rows(values: Any, name: str) -> str | None:
    """What something is that holds no rows that can be picked, and what to pass; ``None``: it may have some."""
    first = values[0] if isinstance(values, list | tuple) and values else None
    # scipy's dictionary of keys is a sparse matrix and a dict
    if (isinstance(values, Mapping) and not hasattr(values, "tocsr")) or isinstance(first, Mapping):
        what = "a mapping of columns" if isinstance(values, Mapping) else "a list of mappings"
        return f"{name} is {what}, a table: pass pandas.DataFrame({name}), or read it with selftrain.data.from_table"
    if values is None or isinstance(values, str | bytes | os.PathLike):
        which = "None" if values is None else f"a {type(values).__name__}, {str(values)[:40]!r}"
        return f"{name} is {which}, and no rows: pass an array (N, ...); files are read by selftrain.data.from_path"
    if isinstance(values, Iterator | Set) and not hasattr(values, "__array__"):
        return f"{name} is a {type(values).__name__}, whose rows have no order or number: pass list({name})"
    names = getattr(getattr(values, "dtype", None), "names", None)
    if isinstance(values, np.ndarray) and names:
        return (
            f"{name} is an array of records with the fields {', '.join(names[:5])}: pass pandas.DataFrame({name}), or "
            f"numbers alone as np.array({name}.tolist())"
        )
    if not hasattr(values, "__array__") and not hasattr(values, "shape"):
        for way in ("to_pandas", "to_dataframe"):
            if hasattr(values, way):
                return f"{name} is a {type(values).__name__}: pass {name}.{way}()"
    if isinstance(values, int | float | complex | np.ndarray | np.generic) and np.ndim(values) == 0:
        return f"{name} is a single {type(values).__name__}, and no rows: pass an array (N, ...)"
    return None


def no_numbers(values: Any, name: str) -> str:
    """Why an array (N, ...) of another type than numbers holds none, with one of its values, and what to pass."""
    kind, flat = values.dtype.kind, values.reshape(-1)
    numbers = (Real, Decimal, np.number)
    odd = [value for value in flat if not isinstance(value, numbers)] if kind == "O" else flat[:1].astype(str).tolist()
    shown = repr(odd[0] if odd else "")[:60]
    if kind == "M":
        return f"{name} holds dates such as {shown}: pass ({name} - {name}.min()) / np.timedelta64(1, 'D'), days"
    if kind == "m":
        return f"{name} holds times such as {shown}: pass {name} / np.timedelta64(1, 's'), seconds"
    if kind in "SU":
        with suppress(ValueError):
            flat[:1000].astype(np.float64)
            return f"{name} holds numbers in text, such as {shown}: pass {name}.astype(float)"
        return f"{name} holds text, such as {shown}: read tables with selftrain.data.from_table, encode texts first"
    if all(value is None for value in odd):
        return (
            f"{len(odd):,} values of {name} are None: fill them in, or drop their rows: "
            f"{name}[(np.asarray({name}) != None).all(1)].astype(float)"
        )
    return (
        f"{name} holds values that are no numbers, such as {shown}: read tables with selftrain.data.from_table, "
        "encode texts first"
    )


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
