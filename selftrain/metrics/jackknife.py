"""What each sample adds to a figure that is no mean over samples, such as mean IoU: the jackknife."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def contributions(parts: Tensor, figure: Callable[[Tensor], float]) -> NDArray[np.float64]:
    """Numbers whose mean is the figure of all samples, and whose spread is the uncertainty of it, (N,).

    Source: Efron & Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 11 (pseudo-values). Differs: moved by
    one constant, so that their mean is the figure itself and not the one corrected for bias. Of a share of right
    answers they are 1 where a sample is right, else 0.

    Args:
        parts: What each sample adds to the statistic that the figure is made of, (N, ...).
        figure: From a sum of parts to the figure.
    """
    rows, total = len(parts), parts.sum(0)
    whole = figure(total)
    if rows < 2:
        return np.full(rows, whole)
    without = np.array([figure(total - part) for part in torch.unbind(parts)])
    found: NDArray[np.float64] = whole + (rows - 1) * (without.mean() - without)
    return found
