"""Series of unequal length as one array: what is not there is NaN."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from selftrain.errors import DataError, setting


def pad_series(x: Any, channels: str | None = None) -> Any:
    """Series as one array (N, channels, length), with NaN behind the end of those that are shorter.

    Args:
        x: A list of arrays or tensors, each (length,), (length, channels) or (channels, length); a data frame whose
            cells are series, a column a channel, as sktime and aeon nest them, or numbers, a row a series; or an
            array, which is handed back but for its axes: (N, length) gets one channel. Lists in lists of equal length
            are an array.
        channels: Where the channels of a series are, ``"first"`` or ``"last"``. ``None``: that axis which all series
            have alike; where both are, the first.

    Raises:
        DataError: series that have no axis alike, or more than two axes.

    >>> pad_series([[1, 2, 3], [4, 5]]).tolist()
    [[[1.0, 2.0, 3.0]], [[4.0, 5.0, nan]]]
    """
    if hasattr(x, "iloc") and len(x) and all(np.ndim(cell) == 1 for cell in x.iloc[0]):
        x = [_side_by_side(row) for row in x.itertuples(index=False)]
    elif hasattr(x, "iloc"):
        x = x.to_numpy()  # a number a cell: rows are series of one channel
    if isinstance(x, np.ndarray) and x.dtype == object:
        x = list(x)
    if not isinstance(x, list | tuple) or not len(x):
        axes = getattr(x, "ndim", 0)
        if axes == 2:
            return x[:, None]
        return x.swapaxes(1, 2) if axes == 3 and channels == "last" else x
    rows = [row.detach().cpu().numpy() if isinstance(row, Tensor) else np.asarray(row) for row in x]
    for number, row in enumerate(rows):
        if row.ndim not in (1, 2) or row.ndim != rows[0].ndim or row.dtype.kind not in "biuf":
            raise DataError(
                f"series {number} has shape {row.shape} and type {row.dtype}, series 0 {rows[0].shape} and "
                f"{rows[0].dtype}; give numbers, (length,), (channels, length) or (length, channels), and all alike"
            )
    last = rows[0].ndim == 2 and (channels or channel_axis(rows)) == "last"
    rows = [np.atleast_2d(row.T if last else row) for row in rows]
    if len({len(row) for row in rows}) != 1:
        other = "first" if last else "last"
        raise DataError(f"series have other channels than one another; say {setting('channels', other)}")
    return _padded(rows)


def _padded(rows: list[Any]) -> Any:
    """Series (channels, length) as one array."""
    length = max(row.shape[1] for row in rows)
    if all(row.shape[1] == length for row in rows):
        return np.stack(rows)
    # single precision stays, all else becomes double: whole numbers have no NaN
    found = np.full((len(rows), len(rows[0]), length), np.nan, np.result_type(np.float32, *rows))
    for number, row in enumerate(rows):
        found[number, :, : row.shape[1]] = row
    return found


def channel_axis(x: Any, channels: str | None = None) -> str:
    """Where the channels of series are, ``"first"`` or ``"last"``; arguments and errors as of ``pad_series``."""
    if channels is not None or not isinstance(x, list | tuple) or any(np.ndim(row) != 2 for row in x):
        return channels or "first"
    first, last = (len({np.shape(row)[axis] for row in x}) == 1 for axis in (0, 1))
    if not first and not last:
        shapes = sorted({np.shape(row) for row in x})[:3]
        raise DataError(f"series have the shapes {', '.join(map(str, shapes))}; all need the same channels")
    return "first" if first else "last"


def _side_by_side(cells: Any) -> Any:
    """Channels of one series (channels, length); those that end before others have NaN there."""
    values = [np.asarray(cell, dtype=np.float64) for cell in cells]
    found = np.full((len(values), max(map(len, values))), np.nan)
    for number, value in enumerate(values):
        found[number, : len(value)] = value
    return found
