"""Codes that tell a transformer where a token is."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from selftrain.networks.patches import pick
from selftrain.networks.token_grid import Grid, Layout


class GridPositions(nn.Module):
    """Fixed sines and cosines of every grid position; see ``sincos_positions``.

    Args:
        grid: Positions along each axis.
        width: Width W of a code, a multiple of twice the number of axes.
    """

    codes: Tensor

    def __init__(self, grid: Grid, width: int) -> None:
        super().__init__()
        self.grid, self.width = grid, width
        # not stored: they follow from grid and width, and a checkpoint should not refuse another library version for
        # them
        self.register_buffer("codes", sincos_positions(grid, width), persistent=False)

    def forward(self, layout: Layout, index: Tensor | None = None) -> Tensor:
        """Codes of all positions (T, W), or of those at ``index`` (B, N), (B, N, W)."""
        # series with gaps may have another length than those that the network was built for
        codes = self.codes if layout.grid == self.grid else sincos_positions(layout.grid, self.width).to(self.codes)
        return codes if index is None else codes[index]


class CoordinatePositions(nn.Module):
    """Learned codes of coordinates: linear, GELU, linear (Point-MAE and Point-JEPA: hidden width 128).

    Args:
        dims: Coordinates of a place.
        width: Width W of a code.
        hidden: Width between the layers.
    """

    def __init__(self, dims: int, width: int, hidden: int = 128) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(dims, hidden), nn.GELU(), nn.Linear(hidden, width))

    def forward(self, layout: Layout, index: Tensor | None = None) -> Tensor:
        """Codes of all places (B, T, W), or of those at ``index`` (B, N), (B, N, W); gradients reach the layers."""
        places = cast(Tensor, layout.places)
        codes: Tensor = self.layers(places if index is None else pick(places, index))
        return codes


def sincos_positions(grid: Grid, width: int) -> Tensor:
    """Fixed code of every grid position, shape (T, width): an equal part of it tells each axis.

    Each part is sines and cosines of the coordinate at frequencies ``10000^(-i/n)``, i = 0 to n-1, with
    ``n = width / (2 axes)`` (Vaswani et al. 2017, section 3.5, one axis at a time, as MAE and I-JEPA do).

    Raises:
        ValueError: if ``width`` is no multiple of twice the number of axes.
    """
    if width % (2 * len(grid)):
        raise ValueError(f"width is {width}; positions need a multiple of {2 * len(grid)}")
    count = width // (2 * len(grid))
    # in double precision: codes of far places are angles of thousands, whose sine float32 gets wrong in the third digit
    frequency = 10000.0 ** -(torch.arange(count, dtype=torch.float64) / count)
    axes = torch.meshgrid(*(torch.arange(n, dtype=torch.float64) for n in grid), indexing="ij")
    angles = [axis.reshape(-1, 1) * frequency for axis in axes]
    # all sines of an axis, then all cosines: the order of MAE's code, so that its weights mean the same here
    return torch.cat([wave(a) for a in angles for wave in (torch.sin, torch.cos)], dim=1).float()
