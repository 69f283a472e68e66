"""The narrow transformer that fills in what was masked: MAE's decoder and I-JEPA's predictor."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from selftrain.pretrain.patches import sincos_positions
from selftrain.pretrain.vit import Block, init_linear


class Predictor(nn.Module):
    """Predict something for positions nobody looked at, from the tokens of those somebody did.

    Args:
        inputs: Width of the given tokens.
        outputs: Width of a prediction.
        grid: Rows and columns of positions.
        width: Width inside, a multiple of 4 and of ``heads``.
        depth: Number of blocks, >= 1.
        heads: Attention heads.
    """

    positions: Tensor

    def __init__(self, inputs: int, outputs: int, grid: tuple[int, int], *, width: int, depth: int, heads: int) -> None:
        super().__init__()
        if depth < 1:
            raise ValueError(f"depth is {depth}; a predictor needs at least 1 block")
        self.enter = nn.Linear(inputs, width).apply(init_linear)
        self.leave = nn.Linear(width, outputs).apply(init_linear)
        self.blank = nn.Parameter(torch.randn(width) * 0.02)  # stands for a masked patch
        self.blocks = nn.Sequential(*(Block(width, heads, number=number) for number in range(1, depth + 1)))
        self.norm = nn.LayerNorm(width)
        self.register_buffer("positions", sincos_positions(grid, width), persistent=False)

    def forward(self, tokens: Tensor, given: Tensor, wanted: Tensor) -> Tensor:
        """Predict what is at other positions.

        Args:
            tokens: Shape (B, Ng, inputs); gradients flow into them.
            given: Their positions, shape (B, Ng).
            wanted: Positions to predict, shape (B, Nw).

        Returns:
            Shape (B, Nw, outputs).
        """
        known = self.enter(tokens) + self.positions[given]
        unknown = self.blank + self.positions[wanted]
        mixed = self.blocks(torch.cat([known, unknown.to(known.dtype)], dim=1))
        guess: Tensor = self.leave(self.norm(mixed[:, given.shape[1] :]))
        return guess
