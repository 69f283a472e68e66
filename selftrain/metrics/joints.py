"""Figures of places of joints, as the field reports them: PCK, normalized error, object keypoint similarity."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

Normalizer = Literal["picture", "box", "head"] | tuple[int, int]


def normalizers(
    joints: Tensor, known: Tensor, by: Normalizer, size: tuple[float, float], boxes: Tensor | None = None
) -> Tensor:
    """Length that the error of each sample is divided by, (N,), NaN where it cannot be told.

    Args:
        joints: True places, x and y, (N, K, 2).
        known: Which of them are known, (N, K).
        by: ``"picture"``: its longer side. ``"box"``: the longer side of the box, of ``boxes`` or around the known
            joints. ``"head"``: 0.6 times the diagonal of the head's box, which ``boxes`` has (PCKh; Andriluka et al.
            2014). A pair of joints, such as ``(0, 1)``: their distance.
        size: Height and width of the picture.
        boxes: x, y, width, height of each sample, (N, 4).

    Raises:
        ValueError: a head without boxes, or a joint that is not there.
    """
    joints = joints.double()
    if by == "picture":
        return joints.new_full((len(joints),), float(max(size)))
    if by == "head":
        if boxes is None:
            raise ValueError(
                "by is 'head', and there are no boxes; pass boxes=, (N, 4): x, y, width and height of heads"
            )
        diagonal: Tensor = boxes.double()[:, 2:].norm(dim=1)
        return 0.6 * diagonal
    if by == "box":
        if boxes is not None:
            return boxes.double()[:, 2:].amax(1)
        low = joints.where(known[..., None], math.inf).amin(1)
        high = joints.where(known[..., None], -math.inf).amax(1)
        sides = (high - low).amax(1)
        return sides.where((known.sum(1) > 1) & (sides > 0), math.nan)
    first, second = by if isinstance(by, tuple | list) and len(by) == 2 else (-1, -1)
    if not (0 <= first < joints.shape[1] and 0 <= second < joints.shape[1] and first != second):
        raise ValueError(f"by is {by!r}; choose 'picture', 'box', 'head' or two joints of 0 to {joints.shape[1] - 1}")
    gap: Tensor = (joints[:, first] - joints[:, second]).norm(dim=1)
    return gap.where(known[:, first] & known[:, second] & (gap > 0), math.nan)


def similarity(gap: Tensor, known: Tensor, area: Tensor, sigmas: Tensor) -> Tensor:
    """Object keypoint similarity of each sample, (N,), in [0, 1]; NaN without a known joint.

    Source: COCO keypoint evaluation: the mean over known joints of ``exp(-d^2 / (2 s^2 k^2))``, ``s^2`` the area of the
    object, ``k = 2 sigma``.

    Args:
        gap: Distances to the truth in pixels, (N, K).
        known: Which joints are known, (N, K).
        area: Of each object in square pixels, (N,).
        sigmas: Spread of the annotations of each joint as a share of the object's scale, (K,).
    """
    near = torch.exp(-gap.double().square() / (2 * area.double()[:, None] * (2 * sigmas.double()).square()))
    return near.where(known, 0).sum(1) / known.sum(1)


def average_precision(similar: Tensor, score: Tensor) -> float:
    """OKS-AP of one pose a picture, in [0, 1]: mean over thresholds 0.50, 0.55, ... 0.95 of the area under precision.

    Source: COCO: precision is made falling and read at the 101 recalls 0, 0.01, ... 1.

    Args:
        similar: Object keypoint similarity of each picture, (N,); NaN: has no truth, and is left out.
        score: How sure each pose is, (N,).
    """
    there = ~similar.isnan()
    similar, score = similar[there], score[there]
    if not len(similar):
        return math.nan
    ordered = similar[score.argsort(descending=True, stable=True)].double()
    found = []
    for threshold in torch.arange(10).double() * 0.05 + 0.5:
        right = (ordered >= threshold - 1e-12).double().cumsum(0)
        precision = right / torch.arange(1, len(right) + 1)
        falling = precision.flip(0).cummax(0).values.flip(0)
        place = torch.searchsorted(right / len(right), torch.arange(101).double() / 100 - 1e-12)
        found.append(torch.cat([falling, falling.new_zeros(1)])[place].mean())  # a recall that is not reached: 0
    return float(torch.stack(found).mean())
