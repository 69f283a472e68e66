"""Mean and standard deviation of inputs, for normalization."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from selftrain.data.base.reading import read_rows
from selftrain.data.base.samples import Samples

_MOST_ROWS = 10_000
_CHUNK = 256


def statistics(samples: Samples, categorical: Sequence[int] = ()) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each channel or table column.

    Images of type uint8 are scaled to [0, 1] first. At most 10,000 rows, evenly spaced, are looked at. A channel
    without spread gets standard deviation 1.

    Args:
        samples: A set with at least one row.
        categorical: Columns (or channels) whose numbers are codes: they get mean 0 and standard deviation 1.

    Returns:
        Mean and standard deviation, each (C,) for images (N, C, H, W) and series (N, C, L), or (F,) for tables (N, F),
        float32.

    Raises:
        ValueError: a categorical column that the samples do not have.
    """
    # evenly spaced: files are often sorted by class
    places = np.linspace(0, len(samples) - 1, min(len(samples), _MOST_ROWS)).astype(np.int64)
    rows = torch.from_numpy(np.unique(places))
    count, total, square = 0, torch.zeros(()), torch.zeros(())
    for start in range(0, len(rows), _CHUNK):
        x = read_rows(samples, rows[start : start + _CHUNK], "the set that inputs are normalized by")
        values = x.double() / 255 if x.dtype == torch.uint8 else x.double()  # double: the squares below cancel
        values = values if x.ndim == 2 else values.movedim(1, -1).flatten(0, -2)  # a row for each pixel
        count += len(values)
        total = total + values.sum(0)
        square = square + values.square().sum(0)
    mean = total / count
    std = (square / count - mean.square()).clamp_min(0).sqrt()
    # a channel that never changes would be divided by nothing
    mean, std = mean.float(), torch.where(std > 1e-4, std, 1.0).float()
    coded = coded_columns(categorical, mean)
    return mean.masked_fill(coded, 0.0), std.masked_fill(coded, 1.0)


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
