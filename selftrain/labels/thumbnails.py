"""Samples small enough to look at: images as bytes, series without losing a peak, clouds in the cube around them."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def size_within(images: Tensor, side: int) -> tuple[int, int]:
    """Height and width of images (B, C, H, W) whose longer side is at most ``side`` pixels; they never get larger."""
    height, width = images.shape[-2:]
    scale = min(1.0, side / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def shrunk(images: Tensor, side: int) -> Tensor:
    """Images (B, C, H, W) as bytes (B, 1 or 3, h, w) on the CPU, the longer side at most ``side`` pixels.

    Images outside [0, 1] are scaled to their own range. Three or more channels: the first three as red, green, blue;
    fewer: the first one.
    """
    x = images.detach().cpu()
    x = x[:, :3] if x.shape[1] >= 3 else x[:, :1]
    if x.dtype != torch.uint8:
        x = x.float()
        low, high = x.amin((1, 2, 3), keepdim=True), x.amax((1, 2, 3), keepdim=True)
        outside = (low < 0) | (high > 1)
        x = torch.where(outside, (x - low) / (high - low).clamp(min=1e-6), x).mul(255).round().byte()
    size = size_within(images, side)
    if size != tuple(images.shape[-2:]):
        # without antialias shrinking picks single pixels, and fine patterns turn into others
        x = F.interpolate(x, size, mode="bilinear", antialias=True, align_corners=False)
    return x


def thinned(x: Tensor, places: int) -> Tensor:
    """Series (B, C, L) -> (B, C, <= places): of each stretch the lowest and the highest value, so no peak is lost."""
    length = x.shape[2]
    if length <= places:
        return x
    stretches = places // 2
    # of each stretch two values, its lowest and highest: a single spike stays visible
    ends = (torch.arange(stretches + 1) * length) // stretches
    pairs = [
        torch.stack([part.amin(2), part.amax(2)], 2)
        for part in (x[:, :, ends[i] : ends[i + 1]] for i in range(stretches))
    ]
    return torch.cat(pairs, 2)


def in_cube(x: Tensor) -> Tensor:
    """Clouds (B, N, D), each moved and scaled into the unit cube, its longest axis from 0 to 1."""
    low, high = x.amin(1, keepdim=True), x.amax(1, keepdim=True)
    # one scale for all axes, or a flat cloud would fill the cube as a round one does
    half = ((high - low).amax(2, keepdim=True) / 2).clamp(min=1e-12)
    return (((x - (low + high) / 2) / half + 1) / 2).clamp(0, 1)
