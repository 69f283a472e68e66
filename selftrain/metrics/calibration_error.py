"""Figures that need no state: calibration and agreement. Tasks have their own scores in ``update``/``compute``."""

from __future__ import annotations

import torch
from torch import Tensor


def expected_calibration_error(confidence: Tensor, correct: Tensor, *, bins: int = 15) -> float:
    """Mean gap between confidence and accuracy over equal-width bins, weighted by their size.

    Source: Naeini et al. 2015; Guo et al. 2017, arXiv:1706.04599, eq. 3.

    Args:
        confidence: Confidence of each decision, shape (N,), in [0, 1].
        correct: Whether it was right, shape (N,), bool.
        bins: Number of bins, at least 1.

    Returns:
        The error in [0, 1]; 0.0 for no decisions.

    Raises:
        ValueError: for ``bins`` below 1 or different lengths.
    """
    if bins < 1:
        raise ValueError(f"bins is {bins}; there must be at least 1")
    if confidence.shape != correct.shape:
        shapes = tuple(confidence.shape), tuple(correct.shape)
        raise ValueError(f"confidence and correct have shapes {shapes[0]} and {shapes[1]}; they must be the same")
    if not len(confidence):
        return 0.0
    bucket = confidence_bins(confidence, bins)
    count = torch.bincount(bucket, minlength=bins)
    gap = torch.zeros(bins, dtype=torch.double, device=confidence.device)
    # sums of differences: they are the gap of the means times the size, so sizes weight by themselves
    gap.index_add_(0, bucket, confidence.double() - correct.double())
    return float((gap.abs() / len(confidence))[count > 0].sum())


def confidence_bins(confidence: Tensor, bins: int) -> Tensor:
    """Number of the equal-width bin that each confidence (N,), in [0, 1], falls into."""
    # a confidence of 1 belongs to the last bin, not to one behind it
    return (confidence * bins).long().clamp(max=bins - 1)


def pseudo_label_accuracy(label: Tensor, weight: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """Accuracy of accepted pseudo-labels and of all, over the samples whose truth is known.

    Args:
        label: Decisions, shape (B,).
        weight: Their weights, shape (B,); accepted means > 0.
        truth: True classes, shape (B,); -1 where unknown.

    Returns:
        Two zero-dimensional tensors in [0, 1]; NaN where there is nothing to count.
    """
    known, right = truth >= 0, label == truth
    accepted = known & (weight > 0)
    # Counted, not picked out: the size of a selection is a number that the host would wait for.
    used, every = ((right & rows).sum(dtype=torch.double) / rows.sum() for rows in (accepted, known))
    return used, every
