"""Fixed feature maps of images, to be predicted in place of pixels. None has a gradient."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

_FLAT = 1e-4  # shorter histograms are not brought to length 1


@torch.no_grad()
def hog(images: Tensor, cell: int, bins: int = 9) -> Tensor:
    """Histograms of gradient directions, which contrast and brightness do not change.

    Each pixel's gradient (3 x 3 Sobel; the border pixels are repeated outwards) votes with its length for the two bins
    next to its direction, in proportion to how near they are. Directions are unsigned, from 0 (along x, columns) over
    pi/2 (along y, rows) to pi; bin b is centered at ``(b + 1/2) pi / bins`` and the last is next to the first. The
    votes of a cell are averaged and brought to length 1. A cell whose mean votes are shorter than 1e-4 (a change by
    about 1e-5 a pixel, such as rounding errors) is left shorter than 1, and a flat one 0.

    Source: Wei et al. 2022, "Masked Feature Prediction" (MaskFeat), arXiv:2112.09133, with 9 bins and cells of 8 x 8
    (half a patch); the settings are those of the released code as other projects quote it. Differs: a vote is shared
    between two bins (there one gets it all), no Gaussian weights over 16 x 16 pixels, the border is repeated (there
    mirrored), and almost flat cells stay short (there brought to length 1).

    Args:
        images: Shape (B, c, H, W), any values; each channel has histograms of its own.
        cell: Side of a square cell in pixels, in [1, min(H, W)]. Rows and columns beyond the last whole cell are left
            out.
        bins: Directions, >= 2.

    Returns:
        Shape (B, c * bins, H // cell, W // cell), channel by channel, values in [0, 1]; float32, or float64 if the
        images are.

    Raises:
        ValueError: for an argument out of range.
    """
    _check_images(images)
    if bins < 2:
        raise ValueError(f"bins is {bins}; directions need at least 2")
    if not 1 <= cell <= min(images.shape[2:]):
        raise ValueError(f"cell is {cell}; images of {images.shape[2]} x {images.shape[3]} need it in [1, the side]")
    across, down = _gradients(_precise(images))
    # unsigned: an edge from dark to bright and one back are the same edge
    turn = torch.atan2(down, across).remainder(math.pi) / math.pi * bins - 0.5  # in bins, from the first one's center
    away = (turn[:, :, None] - torch.arange(bins, device=images.device)[:, None, None]).abs()
    # around the circle, or directions near 0 and near pi would not share votes
    away = torch.minimum(away, bins - away)
    votes = torch.hypot(across, down)[:, :, None] * (1 - away).relu()
    cells = F.avg_pool2d(votes.flatten(1, 2), cell).unflatten(1, (images.shape[1], bins))
    return F.normalize(cells, dim=2, eps=_FLAT).flatten(1, 2)


@torch.no_grad()
def gradient_ratio(images: Tensor, radii: Sequence[int] = (1, 2, 3), offset: float = 1e-2) -> Tensor:
    """Edge strength by ratios at several scales, which a factor on the intensities (gain, speckle) hardly changes.

    ``sqrt(log(left / right)^2 + log(up / down)^2)`` with the mean intensities + ``offset`` of four half windows around
    each pixel: of the (2 r + 1) x (2 r + 1) square the r + 1 columns up to its middle, those from the middle on, and
    the same with rows; the pixel's own line is in both. Pixels outside repeat those of the border. A constant image
    gives 0.

    Source: Li et al. 2024, "Predicting Gradient is Better" (SAR-JEPA), arXiv:2311.15153; half windows as in the
    released code. Differs: small radii (5, 9, 13 and 17 there, at 224 pixels), repeated borders (there mirrored), which
    any radius can have.

    Args:
        images: Shape (B, c, H, W), intensities >= 0. A channel of an image with negative values, as normalized inputs
            have, is shifted until its darkest pixel is 0; one without is taken as it is.
        radii: Half windows in pixels, each >= 1.
        offset: Added to means, > 0, in units of the images: what is far darker counts as flat.

    Returns:
        Shape (B, c * len(radii), H, W), channel by channel, values >= 0; float32, or float64 if the images are.

    Raises:
        ValueError: for an argument out of range.
    """
    _check_images(images)
    if not radii or min(radii) < 1:
        raise ValueError(f"radii is {tuple(radii)}; it must hold numbers of at least 1")
    if offset <= 0:
        raise ValueError(f"offset is {offset}; it must be above 0, or dark pixels have no ratio")
    x = _precise(images)
    # a ratio needs intensities: normalized inputs are moved up to 0, others are taken at their word
    x = x - x.amin((2, 3), keepdim=True).clamp(max=0)
    return torch.stack([_ratio_at(x, radius, offset) for radius in radii], 2).flatten(1, 2)


def _ratio_at(x: Tensor, radius: int, offset: float) -> Tensor:
    """Gradient by ratio of intensities (B, c, H, W) >= 0 at one radius."""
    # repeated, not mirrored: a mirror needs images larger than the radius
    padded = F.pad(x, (radius,) * 4, mode="replicate")
    half, whole = radius + 1, 2 * radius + 1
    # each half window is an average of its own: its log once, and differences of logs are logs of ratios
    columns = (F.avg_pool2d(padded, (whole, half), 1) + offset).log()  # one entry for each r + 1 adjacent columns
    rows = (F.avg_pool2d(padded, (half, whole), 1) + offset).log()
    return torch.hypot(columns[..., :-radius] - columns[..., radius:], rows[..., :-radius, :] - rows[..., radius:, :])


def _gradients(x: Tensor) -> tuple[Tensor, Tensor]:
    """Sobel gradients of images (B, c, H, W) along columns and rows, times 8."""
    padded = F.pad(x, (1, 1, 1, 1), mode="replicate")
    smooth_rows = padded[..., :-2, :] + 2 * padded[..., 1:-1, :] + padded[..., 2:, :]
    smooth_columns = padded[..., :-2] + 2 * padded[..., 1:-1] + padded[..., 2:]
    across = smooth_rows[..., 2:] - smooth_rows[..., :-2]
    down = smooth_columns[..., 2:, :] - smooth_columns[..., :-2, :]
    return across, down


def _precise(images: Tensor) -> Tensor:
    return images.to(torch.promote_types(images.dtype, torch.float32))


def _check_images(images: Tensor) -> None:
    if images.dim() != 4 or 0 in images.shape[1:]:
        raise ValueError(f"images have shape {tuple(images.shape)}; they must be (B, channels, H, W), none empty")
