"""Which of the labels that were given are probably wrong: confident learning.

Source: Northcutt, Jiang and Chuang, "Confident Learning: Estimating Uncertainty in Dataset Labels", 2021,
arXiv:1911.00068: thresholds (eq. 2), the confident joint (eq. 1), and errors as what lies off its diagonal (section
3.2, method 2), ranked by normalized margin. Left out: calibration of the joint and pruning by its counts.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from selftrain.errors import DataError


@dataclass(frozen=True)
class LabelErrors:
    """What out-of-fold probabilities say of given labels.

    Attributes:
        label: Given, shape (N,).
        suggested: The class that the probabilities are for, shape (N,): where a label is suspected that of the joint,
            elsewhere the most probable one.
        suspected: Whether the label is counted off the diagonal of the joint, shape (N,), bool.
        confidence: Probability of the given label, shape (N,).
        margin: ``(1 + p(label) - max p(other)) / 2``, in [0, 1], shape (N,); the lowest is the most doubtful.
        joint: Number of samples by given (rows) and confident class (columns), shape (C, C); samples that reach no
            threshold are not counted.
        thresholds: Mean probability of each class among the samples that were given it, shape (C,); NaN: none was.
    """

    label: Tensor
    suggested: Tensor
    suspected: Tensor
    confidence: Tensor
    margin: Tensor
    joint: Tensor
    thresholds: Tensor


def label_errors(probabilities: Tensor, label: Tensor) -> LabelErrors:
    """Find labels that are probably wrong.

    Args:
        probabilities: Of models that did not see the label of the row, such as ``selftrain.pipeline.out_of_fold``
            gives, shape (N, C).
        label: Given classes, shape (N,).

    Raises:
        DataError: other shapes, or a class outside of them.
    """
    p, y = torch.as_tensor(probabilities).double(), torch.as_tensor(label).long()
    if p.dim() != 2 or p.shape[1] < 2 or y.shape != p.shape[:1]:
        raise DataError(
            f"probabilities have shape {tuple(p.shape)} and labels {tuple(y.shape)}; expected (N, C) and (N,)"
        )
    classes = p.shape[1]
    if len(y) and not (int(y.min()) >= 0 and int(y.max()) < classes):
        raise DataError(f"labels go from {int(y.min())} to {int(y.max())}; expected 0 to {classes - 1}")
    own = p.gather(1, y[:, None])[:, 0]
    thresholds = torch.bincount(y, own, minlength=classes) / torch.bincount(y, minlength=classes)
    reached = torch.where(p >= thresholds, p, -1.0)  # a class that nobody was given has NaN, which nothing reaches
    best, confident = reached.max(1)
    counted = best >= 0
    joint = torch.bincount(y[counted] * classes + confident[counted], minlength=classes**2).view(classes, classes)
    suspected = counted & (confident != y)
    others = p.scatter(1, y[:, None], -1.0).amax(1)
    suggested = torch.where(suspected, confident, p.argmax(1))
    return LabelErrors(y, suggested, suspected, own, (1 + own - others) / 2, joint, thresholds)
