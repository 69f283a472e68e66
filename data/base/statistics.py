"""Mean and standard deviation of inputs, for normalization."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from selftrain.data.base.reading import read_rows
from selftrain.data.base.samples import Samples, Subset
from selftrain.errors import DataError

_MOST_ROWS = 10_000
_ENOUGH = 1_000  # pictures of many pixels: of 70,000 digits as many move mean and deviation by 0.4 % of one
_VALUES = 31_000_000  # of all rows: 10,000 of 32 x 32 pixels in three colors
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

    Images of type uint8 are scaled to [0, 1] first. At most 10,000 rows, evenly spaced, are looked at; of image files
    at most 1,000, and of pictures larger than 32 x 32 pixels fewer in proportion, but no fewer than 1,000. A channel
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
    places = np.linspace(0, len(samples) - 1, min(len(samples), _most_rows(samples))).astype(np.int64)
    rows = torch.from_numpy(np.unique(places))
    count: int | Tensor = 0
    total, square, first = torch.zeros(()), torch.zeros(()), torch.zeros(())
    low, high = torch.tensor(torch.inf), torch.tensor(-torch.inf)
    rounding = ROUNDING
    for start in range(0, len(rows), _CHUNK):
        x = read_rows(samples, rows[start : start + _CHUNK], "the set that inputs are normalized by", exact=True)
        times: Tensor | None = None  # how often each value is there; None: once
        if x.dtype == torch.uint8 and x.ndim == 4:  # each of 256 values once: a tenth of the time of all pixels
            times = torch.stack([torch.bincount(channel.flatten(), minlength=256) for channel in x.unbind(1)], 1)
            values, begin = (torch.arange(256).double() / 255)[:, None].expand_as(times), x[0, :, 0, 0].double() / 255
        else:
            values = x.double() / 255 if x.dtype == torch.uint8 else x.double()  # double: the squares below cancel
            values = values if x.ndim == 2 else values.movedim(1, -1).flatten(0, -2)  # a row for each pixel
            begin = values[0].clone()
            if values.isnan().any():  # what a series lacks counts for nothing
                times, begin = (~values.isnan()).long(), values.nanmedian(0).values.nan_to_num(0.0)
        there = None if times is None else times > 0
        if not start:
            # by the distance from the first row: squares of 1.7e9 s have no digits left for a spread of seconds
            first = begin
            rounding = 4 * torch.finfo(torch.float32).eps if x.dtype == torch.float32 else ROUNDING
        least, most = (values, values) if there is None else (values.where(there, bound) for bound in (_NO, -_NO))
        low, high = torch.minimum(low, least.amin(0)), torch.maximum(high, most.amax(0))
        values = values - first if there is None else (values - first).where(there, 0.0)
        count = count + (len(values) if times is None else times.sum(0))
        total = total + (values if times is None else values * times).sum(0)
        square = square + (values.square() if times is None else values.square() * times).sum(0)
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


def _most_rows(samples: Samples) -> int:
    """Of how many rows more would tell the same: each picture has many pixels, and files take time to decode."""
    if len(samples) <= _ENOUGH:
        return _ENOUGH
    root = samples
    while isinstance(root, Subset):
        root = root.base
    one = read_rows(samples, torch.zeros(1, dtype=torch.int64), "the set that inputs are normalized by")
    if one.ndim != 4:
        return _MOST_ROWS
    return _ENOUGH if hasattr(root, "paths") else max(_ENOUGH, min(_MOST_ROWS, _VALUES // one.numel()))


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
