"""What every probe does with its arguments: tensors or arrays become checked matrices, and are standardized."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from selftrain.metrics.features import standardized

Numbers = NDArray[np.float64]
Classes = NDArray[np.int64]
Array = Tensor | NDArray[Any]


class Scale:
    """Standardization learned from a reference, as ``metrics.features.standardized``: mean 0, standard deviation 1.

    Args:
        reference: Shape (n, D).
    """

    def __init__(self, reference: Numbers) -> None:
        self.reference = torch.from_numpy(reference)

    def __call__(self, features: Numbers) -> Numbers:
        """Standardized ``features`` (m, D)."""
        return standardized(torch.from_numpy(features), self.reference).numpy()


def matrix(name: str, features: Array) -> Numbers:
    """Features as (n, D) numbers.

    Raises:
        ValueError: for another shape, no samples, or numbers that are not finite.
    """
    x: Numbers = _plain(features, torch.float64)
    if x.ndim != 2 or not len(x):
        raise ValueError(f"{name} have shape {x.shape}; they must be (n, D) with n >= 1")
    if not np.isfinite(x).all():
        raise ValueError(f"{name} are not finite; the encoder has diverged: lower its learning rate")
    return x


def with_classes(name: str, features: Array, labels: Array, *, unknown: bool = False) -> tuple[Numbers, Classes]:
    """Features (n, D) and class numbers (n,), which may be -1 where ``unknown``.

    Raises:
        ValueError: for features as in ``matrix``, or labels that are no class numbers.
    """
    x, y = matrix(name, features), _plain(labels)
    lowest = -1 if unknown else 0
    if y.shape != x.shape[:1] or y.dtype.kind not in "iu" or y.min() < lowest:
        least = f", the least {y.min()}" if y.size else ""
        raise ValueError(
            f"labels of the {name} are {y.dtype} {y.shape}{least}; they must be {len(x)} class numbers from {lowest}"
        )
    return x, y.astype(np.int64)


def check_many_classes(labels: Classes) -> None:
    """Refuse labels of less than two classes."""
    if len(np.unique(labels)) < 2:
        raise ValueError(f"all labels are {np.unique(labels).tolist()}; a probe needs at least two classes")


def check_width(features: Numbers, others: Numbers) -> None:
    """Refuse matrices of different widths."""
    if features.shape[1] != others.shape[1]:
        raise ValueError(
            f"features are {features.shape[1]} and {others.shape[1]} wide; both must come from one encoder"
        )


def _plain(values: Array, dtype: torch.dtype | None = None) -> NDArray[Any]:
    tensor = values if isinstance(values, Tensor) else torch.from_numpy(np.array(values))
    return tensor.detach().cpu().to(dtype or tensor.dtype).numpy()
