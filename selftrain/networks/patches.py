"""Inputs as rows of patches: what each token of a grid stands for."""

from __future__ import annotations

from collections.abc import Sequence
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


def patch_grid(size: Sequence[int], patch: Sequence[int]) -> tuple[int, ...]:
    """Patches along each axis of an input.

    Raises:
        ValueError: if ``patch`` does not divide ``size``; the message offers patches that do.
    """
    if any(side % part for side, part in zip(size, patch, strict=True)):
        offers = " x ".join(str([d for d in range(1, side) if side % d == 0] or [1]) for side in size)
        sizes, patches = "x".join(map(str, size)), "x".join(map(str, patch))
        raise ValueError(
            f"size {sizes} is not divisible by patch {patches}; use a patch from {offers}, or pad or resize the inputs"
        )
    return tuple(side // part for side, part in zip(size, patch, strict=True))


def patchify(x: Tensor, grid: Sequence[int]) -> Tensor:
    """Cut inputs (B, c, *S) into the cells of ``grid`` in raster order: (B, T, c * numbers of a cell a channel)."""
    sides = x.shape[2:]
    split = [n for side, cells in zip(sides, grid, strict=True) for n in (cells, side // cells)]
    x = x.reshape(*x.shape[:2], *split)
    cells, inside = range(2, x.dim(), 2), range(3, x.dim(), 2)
    # channels behind the grid: a token is one place with all that is known of it
    return x.permute(0, *cells, 1, *inside).flatten(1, len(grid)).flatten(2)


def unpatchify(patches: Tensor, grid: Sequence[int], shape: Sequence[int]) -> Tensor:
    """Put patches (B, T, P) back together as (B, *shape), shape (c, *S): the inverse of ``patchify``."""
    channels, sides = shape[0], shape[1:]
    parts = [side // cells for side, cells in zip(sides, grid, strict=True)]
    x = patches.reshape(len(patches), *grid, channels, *parts)
    axes = len(grid)
    # each axis of the grid is followed by the same axis within a patch, which flattens to whole sides
    order = [n for a in range(axes) for n in (1 + a, 2 + axes + a)]
    return x.permute(0, 1 + axes, *order).reshape(len(patches), *shape)


def pick(tokens: Tensor, index: Tensor) -> Tensor:
    """Tokens (B, T, D) at positions ``index`` (B, N), as (B, N, D)."""
    return torch.gather(tokens, 1, index[..., None].expand(-1, -1, tokens.shape[-1]))
