"""Mean and standard deviation of inputs, for normalization."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from selftrain.data.samples import Samples

_MOST_ROWS = 10_000
_CHUNK = 256


def statistics(samples: Samples) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each channel or table column.

    Images are scaled to [0, 1] first. At most 10,000 rows, evenly spaced, are looked at. A channel without spread gets
    standard deviation 1.

    Args:
        samples: A set with at least one row.

    Returns:
        Mean and standard deviation, each (C,) for images (N, C, H, W) or (F,) for tables (N, F), float32.
    """
    rows = np.unique(np.linspace(0, len(samples) - 1, min(len(samples), _MOST_ROWS)).astype(np.int64))
    count, total, square = 0, torch.zeros(()), torch.zeros(())
    for start in range(0, len(rows), _CHUNK):
        values = _columns(samples.images(rows[start : start + _CHUNK]))
        count += len(values)
        total = total + values.sum(0)
        square = square + values.square().sum(0)
    mean = total / count
    std = (square / count - mean.square()).clamp_min(0).sqrt()
    return mean.float(), torch.where(std > 1e-4, std, 1.0).float()


def _columns(x: Tensor) -> Tensor:
    """One row per pixel (or table row), one column per channel, double precision against cancellation."""
    scaled = x.double() / 255 if x.dtype == torch.uint8 else x.double()
    return scaled if x.ndim == 2 else scaled.movedim(1, -1).flatten(0, -2)
