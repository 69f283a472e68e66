"""Image operations on the CPU, a picture after the other, on bytes with OpenCV.

The same operations as in ``image_ops``, which hold a batch of floats and its coordinates in memory and are slow at it
from some 64 pixels a side on. Values are rounded to bytes twice: after the tables, and after resampling.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from selftrain.data.views.image_ops import LEVELS, Pad

Array = np.ndarray[Any, Any]
_WHOLE = 1e-3  # pixels: a map that is nearer to a whole number than this moves, and resamples nothing


@cache
def _library() -> Any:
    import cv2  # late: importing selftrain.data does not load it

    return cv2


def histogram(images: Tensor, rows: Tensor, used: Tensor) -> Tensor:
    """Share of pixels at each level of the ``rows`` (N,) of uint8 images (B, C, H, W): float (N, C, 256).

    It is 0 where it is not ``used``, bool (N,).
    """
    cv = _library()
    shares = torch.zeros(len(rows), images.shape[1], LEVELS)
    for number in used.nonzero()[:, 0].tolist():
        for plane, place in zip(images[rows[number]].numpy(), shares[number].numpy(), strict=True):
            place[:] = cv.calcHist([plane], [0], None, [LEVELS], [0, LEVELS]).ravel()
    return shares.div_(math.prod(images.shape[2:]))


def warp(images: Tensor, theta: Tensor, pad: Pad, tables: Mapping[int, Tensor] | None = None) -> Tensor:
    """Resample images uint8 (B, C, H, W) by affine maps (B, 2, 3), bilinearly; whole pixels are moved exactly.

    ``tables``: float (C, 256) in [0, 1] for some of the images, which go through them before.
    """
    cv, tables = _library(), tables or {}
    height, width = images.shape[2:]
    border = {"reflect": cv.BORDER_REFLECT, "edge": cv.BORDER_REPLICATE, "zero": cv.BORDER_CONSTANT}[pad]
    maps = _in_pixels(theta.double().numpy(), height, width)
    nearest = np.zeros_like(maps)  # the move by whole pixels that a map is nearest to
    nearest[:, 0, 0], nearest[:, 1, 1], nearest[:, :, 2] = np.where(maps[:, 0, 0] < 0, -1, 1), 1, np.rint(maps[:, :, 2])
    moved = (np.abs(maps - nearest) * [width, height, 1]).max((1, 2)) < _WHOLE
    result = torch.empty_like(images, memory_format=torch.contiguous_format)
    for row, (image, place) in enumerate(zip(images.numpy(), result.numpy(), strict=True)):
        planes = list(image)
        if row in tables:
            levels = torch.round(tables[row] * (LEVELS - 1)).to(torch.uint8).numpy()
            planes = [cv.LUT(plane, table) for plane, table in zip(planes, levels, strict=True)]
        if moved[row]:
            _move(cv, planes, place, nearest[row].astype(int).tolist(), border)
        else:
            _resample(cv, planes, place, maps[row], border)
    return result


def _in_pixels(theta: Array, height: int, width: int) -> Array:
    """Maps of ``affine_grid``, where a side runs from -1 to 1 over whole pixels, for centers of pixels 0, 1, ..."""
    # a place p of a side of n pixels has the coordinate (2 p + 1) / n - 1
    half = np.array([[width], [height]]) / 2
    linear = theta[:, :, :2] * half / half.T
    middle = half[:, 0] - 0.5
    return np.concatenate([linear, (middle + theta[:, :, 2] * half[:, 0] - linear @ middle)[:, :, None]], 2)


def _move(cv: Any, planes: list[Array], place: Array, matrix: list[list[int]], border: int) -> None:
    (sign, _, dx), (_, _, dy) = matrix
    height, width = place.shape[1:]
    if sign < 0:  # column dx - j at j is column j + (width - 1 - dx) of the mirrored image
        dx = width - 1 - dx
    top, left = max(0, -dy), max(0, -dx)
    for plane, target in zip(planes, place, strict=True):
        wide = cv.copyMakeBorder(cv.flip(plane, 1) if sign < 0 else plane, top, max(0, dy), left, max(0, dx), border)
        target[:] = wide[top + dy : top + dy + height, left + dx : left + dx + width]


def _resample(cv: Any, planes: list[Array], place: Array, matrix: Array, border: int) -> None:
    size, how = place.shape[:0:-1], {"flags": cv.WARP_INVERSE_MAP | cv.INTER_LINEAR, "borderMode": border}
    if len(planes) == 1:
        cv.warpAffine(planes[0], matrix, size, dst=place[0], **how)
        return
    # OpenCV resamples four channels in half the time of three
    for start in range(0, len(planes), 4):
        some, targets = planes[start : start + 4], list(place[start : start + 4])
        more = [np.empty_like(place[0]) for _ in range(4 - len(some))]
        cv.split(cv.warpAffine(cv.merge([*some, *more]), matrix, size, **how), [*targets, *more])


def fill(x: Tensor, rows: Tensor, columns: Tensor, value: Tensor) -> None:
    """Set one rectangle an image of x (B, C, H, W), adjoining ``rows`` (B, H) and ``columns`` (B, W), to ``value``."""
    sides = [(side.int().argmax(1).tolist(), side.sum(1).tolist()) for side in (rows, columns)]
    (tops, heights), (lefts, widths) = sides
    images, color = x.numpy(), value.numpy()
    for image, top, left, height, width in zip(images, tops, lefts, heights, widths, strict=True):
        image[:, top : top + height, left : left + width] = color
