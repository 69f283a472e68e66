"""The arithmetic of refinements: percentiles, class balance, and functions of many rows in little memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

_ROWS = 500  # samples that are hardened, sharpened or decided at a time


def by_rows(value: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
    """A function of predictions in float32, some rows at a time."""
    return torch.cat([function(part.float()) for part in value.split(_ROWS)])


def percentile(values: Tensor, percent: float) -> Tensor:
    """Percentile with linear interpolation between neighbors, in float64."""
    ranked = values.flatten().double().sort().values
    # torch.quantile refuses more than 16 million values, which a table of pixels has
    place = percent / 100 * (len(ranked) - 1)
    low = min(int(place), len(ranked) - 1)
    return torch.lerp(ranked[low], ranked[min(low + 1, len(ranked) - 1)], place - low)


def balanced_weight(
    weight: Tensor, confidence: Tensor, classes: Sequence[Tensor], per_class: int, max_copies: float
) -> Tensor:
    """Weights after each class was cut to its ``per_class`` most confident units, or raised to count as many.

    Args:
        weight: Of each unit, any shape.
        confidence: The same shape.
        classes: For each class the numbers of its kept units in the flattened table, in order.
        per_class: Units that each class shall count as.
        max_copies: Largest factor for a rare class.
    """
    flat, sure, made = weight.flatten(), confidence.flatten(), weight.new_zeros(weight.numel())
    for units in classes:
        # stable: of equals the first rows, on any machine
        best = units[sure[units].argsort(descending=True, stable=True)[:per_class]]
        # all others stay 0; a factor below 1 would weaken a class that was only cut
        made[best] = flat[best] * min(max_copies, max(1.0, per_class / max(1, len(units))))
    return made.view(weight.shape)


def rebalanced_weight(
    weight: Tensor, confidence: Tensor, classes: Sequence[Tensor], counts: Sequence[float], alpha: float
) -> Tensor:
    """Weights after a class was cut to its most confident units, the more the more labels it has.

    Args:
        weight: Of each unit, any shape.
        confidence: The same shape.
        classes: For each class the numbers of its kept units in the flattened table, in order.
        counts: Labels of each class.
        alpha: Power of the shares that stay.
    """
    flat, sure, made = weight.flatten(), confidence.flatten(), weight.new_zeros(weight.numel())
    ranked = sorted(range(len(counts)), key=lambda c: -counts[c])  # of equal counts the first class is the larger
    for place, c in enumerate(ranked):
        share = (counts[ranked[-1 - place]] / counts[ranked[0]]) ** alpha
        # a hair off, so that a share of 1 of what floats call 3.0000001 is no fourth one
        best = (-sure[classes[c]]).argsort(stable=True)[: math.ceil(len(classes[c]) * share - 1e-9)]
        made[classes[c][best]] = flat[classes[c][best]]
    return made.view(weight.shape)


def check_value(value: Tensor) -> None:
    """Refuse what cannot be a table of predictions.

    Raises:
        ValueError: for an empty table, too few axes or another dtype.
    """
    if value.dim() < 2 or not len(value):
        raise ValueError(f"labels have shape {tuple(value.shape)}; expected (N, C, ...) with at least one sample")
    if value.dtype not in (torch.float32, torch.float16):
        raise ValueError(f"labels have dtype {value.dtype}; store them as float32 or float16")


def check_units(value: Tensor, confidence: Tensor, weight: Tensor) -> None:
    """Refuse confidences and weights that do not fit the values or one another.

    Raises:
        ValueError: for other shapes, or a number that is negative or not finite; names its row.
    """
    if confidence.shape != weight.shape or len(confidence) != len(value):
        shapes = f"{tuple(value.shape)}, {tuple(confidence.shape)} and {tuple(weight.shape)}"
        raise ValueError(
            f"values, confidences and weights have shapes {shapes}; give one row a sample, one shape a unit"
        )
    for name, unit in (("confidence", confidence), ("weight", weight)):
        # turned around, so that NaN, which fails every comparison, is refused
        wrong = ~(torch.isfinite(unit) & (unit >= 0))
        if bool(wrong.any()):
            row = int(wrong.reshape(len(wrong), -1).any(1).nonzero()[0])
            raise ValueError(
                f"the {name} of row {row} is {float(unit[wrong][0])}; the teacher's predictions are unusable"
            )
