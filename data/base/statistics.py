"""Mean and standard deviation of inputs, for normalization."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from selftrain.data.base.reading import read_rows
from selftrain.data.base.samples import Samples
from selftrain.errors import DataError

_MOST_ROWS = 10_000
_CHUNK = 256
_FAR = 2.0**10  # means of so many deviations: single precision leaves 14 bits of a deviation
ROUNDING = 1e-14  # a spread below this share of the largest value is that of the last digits of double precision
_NO = torch.tensor(torch.inf, dtype=torch.float64)
_HUGE = 2.0**100  # deviations whose squares are near the end of single precision


class Statistics(NamedTuple):
    """Of each channel (C,) of images (N, C, H, W) and series (N, C, L), or column (F,) of tables (N, F), float64."""

    mean: Tensor
    std: Tensor
    low: Tensor
    high: Tensor


def statistics(samples: Samples, categorical: Sequence[int] = ()) -> Statistics:
    """Mean, standard deviation and extremes of each channel or table column.

    Images of type uint8 are scaled to [0, 1] first. At most 10,000 rows, evenly spaced, are looked at. A channel
    whose values differ by rounding at most gets its largest absolute value as standard deviation (1 where all are 0);
    there is no absolute threshold, so the unit and the origin of a channel do not matter.

    Args:
        samples: A set with at least one row.
        categorical: Columns (or channels) whose numbers are codes: they get mean 0 and standard deviation 1.

    Raises:
        DataError: values so large that there is no standard deviation.
        ValueError: a categorical column that the samples do not have.
    """
    # evenly spaced: files are often sorted by class
    places = np.linspace(0, len(samples) - 1, min(len(samples), _MOST_ROWS)).astype(np.int64)
    rows = torch.from_numpy(np.unique(places))
    count: int | Tensor = 0
    total, square, first = torch.zeros(()), torch.zeros(()), torch.zeros(())
    low, high = torch.tensor(torch.inf), torch.tensor(-torch.inf)
    rounding = ROUNDING
    for start in range(0, len(rows), _CHUNK):
        x = read_rows(samples, rows[start : start + _CHUNK], "the set that inputs are normalized by", exact=True)
        values = x.double() / 255 if x.dtype == torch.uint8 else x.double()  # double: the squares below cancel
        values = values if x.ndim == 2 else values.movedim(1, -1).flatten(0, -2)  # a row for each pixel
        there = None if not values.isnan().any() else ~values.isnan()  # what a series lacks counts for nothing
        if not start:
            # by the distance from the first row: squares of 1.7e9 s have no digits left for a spread of seconds
            first = values[0].clone() if there is None else values.nanmedian(0).values.nan_to_num(0.0)
            rounding = 4 * torch.finfo(torch.float32).eps if x.dtype == torch.float32 else ROUNDING
        least, most = (values, values) if there is None else (values.where(there, bound) for bound in (_NO, -_NO))
        low, high = torch.minimum(low, least.amin(0)), torch.maximum(high, most.amax(0))
        values = values - first if there is None else (values - first).where(there, 0.0)
        count = count + (len(values) if there is None else there.sum(0))
        total = total + values.sum(0)
        square = square + values.square().sum(0)
    if isinstance(count, Tensor):  # a channel without any number is all mean
        count, low, high = count.clamp_min(1), low.where(count > 0, 0.0), high.where(count > 0, 0.0)
    mean = total / count
    std = (square / count - mean.square()).clamp_min(0).sqrt()
    mean = mean + first
    coded, largest = coded_columns(categorical, mean), torch.maximum(low.abs(), high.abs())
    overflow = (~(mean.isfinite() & std.isfinite()) & ~coded).nonzero().flatten().tolist()
    if overflow:
        raise DataError(
            f"values of {'column' if values.ndim == 2 and x.ndim == 2 else 'channel'} {overflow[0]} go to "
            f"{largest[overflow[0]]:g}, too far to calculate with; correct them (marks of missing values?)"
        )
    # a channel that never changes, but for rounding, would be divided by nothing; its own size is no unit either
    std = torch.where(std > rounding * largest, std, torch.where(largest > 0, largest, 1.0))
    return Statistics(mean.masked_fill(coded, 0.0), std.masked_fill(coded, 1.0), low, high)


def needs_double(mean: Tensor, std: Tensor) -> Tensor:
    """Where inputs of this mean and standard deviation lose what tells them apart in single precision, bool."""
    return (mean.abs() > _FAR * std) | (std > _HUGE) | (std < 1 / _HUGE)


def in_least_precision(mean: Tensor | None, std: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
    """Mean and standard deviation in double precision where inputs need it, else in single precision."""
    double = needs_double(torch.tensor(0.0) if mean is None else mean, torch.tensor(1.0) if std is None else std).any()
    dtype = torch.float64 if double else torch.float32
    return None if mean is None else mean.to(dtype), None if std is None else std.to(dtype)


def coded_columns(categorical: Sequence[int], rows: Tensor) -> Tensor:
    """Whether each column of ``rows`` (..., F) holds codes, (F,), bool, on its device.

    Raises:
        ValueError: a column that the rows do not have.
    """
    columns = rows.shape[-1]
    outside = [column for column in categorical if not 0 <= column < columns]
    if outside:
        raise ValueError(f"categorical holds column {outside[0]}; rows have columns 0 to {columns - 1}")
    coded = torch.zeros(columns, dtype=torch.bool)
    coded[list(categorical)] = True
    return coded.to(rows.device)
