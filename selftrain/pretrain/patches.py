"""Images as rows of patches, and where the patches are."""

from __future__ import annotations

from typing import TypeAlias

import torch
from torch import Tensor

Size: TypeAlias = "int | tuple[int, int]"


def pair(value: Size, name: str) -> tuple[int, int]:
    """Rows and columns of a size given as one number or two, each at least 1; ``name`` is used in the message."""
    height, width = (value, value) if isinstance(value, int) else value
    if height < 1 or width < 1:
        raise ValueError(f"{name} is {value}; both sides must be at least 1")
    return int(height), int(width)


def patch_grid(size: Size, patch: Size) -> tuple[int, int]:
    """Rows and columns of the patch grid of an image.

    Raises:
        ValueError: if ``patch`` does not divide ``size``; the message offers patches that do.
    """
    (height, width), (rows, columns) = pair(size, "size"), pair(patch, "patch")
    if height % rows or width % columns:
        raise ValueError(
            f"size {height}x{width} is not divisible by patch {rows}x{columns}; use a patch with a height of "
            f"{_divisors(height)} and a width of {_divisors(width)}, or pad or resize the images"
        )
    return height // rows, width // columns


def _divisors(side: int) -> list[int]:
    return [d for d in range(1, side) if side % d == 0] or [1]


def patchify(x: Tensor, patch: tuple[int, int]) -> Tensor:
    """Cut images (B, c, H, W) into patches in raster order, (B, T, c * rows * columns of a patch)."""
    batch, channels, height, width = x.shape
    rows, columns = patch
    x = x.reshape(batch, channels, height // rows, rows, width // columns, columns)
    return x.permute(0, 2, 4, 1, 3, 5).reshape(batch, -1, channels * rows * columns)


def unpatchify(patches: Tensor, grid: tuple[int, int], patch: tuple[int, int]) -> Tensor:
    """Put patches (B, T, c * rows * columns) back together, (B, c, H, W): the inverse of ``patchify``."""
    rows, columns = patch
    x = patches.reshape(len(patches), grid[0], grid[1], -1, rows, columns)
    return x.permute(0, 3, 1, 4, 2, 5).reshape(len(patches), -1, grid[0] * rows, grid[1] * columns)


def pick(tokens: Tensor, index: Tensor) -> Tensor:
    """Tokens (B, T, D) at positions ``index`` (B, N), as (B, N, D)."""
    return torch.gather(tokens, 1, index[..., None].expand(-1, -1, tokens.shape[-1]))


def sincos_positions(grid: tuple[int, int], width: int) -> Tensor:
    """Fixed code of every grid position, shape (T, width): half of it tells the row, half the column.

    Each half is sines and cosines of the coordinate at frequencies ``10000^(-4i/width)`` (Vaswani et al. 2017, section
    3.5, one axis at a time, as MAE and I-JEPA do).

    Raises:
        ValueError: if ``width`` is no multiple of 4.
    """
    if width % 4:
        raise ValueError(f"width is {width}; positions need a multiple of 4")
    frequency = 10000.0 ** -(torch.arange(width // 4, dtype=torch.float64) / (width // 4))
    axes = torch.meshgrid(*(torch.arange(n, dtype=torch.float64) for n in grid), indexing="ij")
    angles = [axis.reshape(-1, 1) * frequency for axis in axes]
    return torch.cat([wave(a) for a in angles for wave in (torch.sin, torch.cos)], dim=1).float()
