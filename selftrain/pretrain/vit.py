"""A plain vision transformer for small images, which never computes the patches that are masked away."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from selftrain.pretrain.patches import Size, pair, patch_grid, patchify, pick, sincos_positions


class Block(nn.Module):
    """A pre-norm transformer block: attention, then a GELU network, each added to its input.

    Args:
        width: Token width, a multiple of ``heads``.
        heads: Attention heads.
        mlp_ratio: Hidden width of the network as a multiple of ``width``.
        number: Position of the block, from 1; its output layers start smaller by ``sqrt(2 * number)`` (I-JEPA).
    """

    def __init__(self, width: int, heads: int, mlp_ratio: float = 4.0, number: int = 1) -> None:
        super().__init__()
        if heads < 1 or width % heads:
            raise ValueError(f"width is {width} and heads {heads}; width must be a multiple of heads")
        self.heads = heads
        self.norm_attention, self.norm_network = nn.LayerNorm(width), nn.LayerNorm(width)
        self.mix, self.join = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.widen, self.narrow = nn.Linear(width, int(width * mlp_ratio)), nn.Linear(int(width * mlp_ratio), width)
        self.apply(init_linear)
        with torch.no_grad():
            self.join.weight.div_(math.sqrt(2 * number))
            self.narrow.weight.div_(math.sqrt(2 * number))

    def forward(self, x: Tensor) -> Tensor:
        """Tokens (B, N, width) -> tokens (B, N, width)."""
        x = x + self._attend(self.norm_attention(x))
        change: Tensor = self.narrow(F.gelu(self.widen(self.norm_network(x))))
        return x + change

    def _attend(self, x: Tensor) -> Tensor:
        batch, count, width = x.shape
        query, key, value = self.mix(x).view(batch, count, 3, self.heads, -1).permute(2, 0, 3, 1, 4)  # (B, heads, N, d)
        seen = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).reshape(batch, count, width)
        joined: Tensor = self.join(seen)
        return joined


class ViT(nn.Module):
    """Turn images into features with a vision transformer; offers the ``Encoder`` contract.

    Pre-norm blocks, no class token, fixed sine-cosine positions, LayerNorm at the end, as in I-JEPA (Assran et al.
    2023, arXiv:2301.08243). Linear layers start with Xavier-uniform weights as in MAE (He et al. 2022,
    arXiv:2111.06377). Differs from both: small default sizes; the patch embedding starts so that tokens keep the
    variance of the pixels (Xavier's would shrink the tokens of small patches next to their positions); and features
    are the means of ``pool x pool`` cells of tokens side by side instead of one mean, which keeps where things are and
    is worth several points with few labels on small grids.

    Args:
        size: Height and width of the images in pixels, one number or two.
        patch: Height and width of a patch in pixels, one number or two; must divide ``size``.
        channels: Channels of the images.
        width: Token width, a multiple of 4 and of ``heads``.
        depth: Number of blocks, >= 1.
        heads: Attention heads.
        mlp_ratio: Hidden width of a block's network as a multiple of ``width``.
        pool: Cells per side of the read-out, >= 1, at most one per token: ``embed_dim = width * cells``; 1 is the mean.

    Raises:
        ValueError: if a size does not fit; the message names the values.
    """

    positions: Tensor
    readout: Tensor

    def __init__(
        self,
        size: Size = 28,
        patch: Size = 7,
        channels: int = 1,
        *,
        width: int = 128,
        depth: int = 4,
        heads: int = 4,
        mlp_ratio: float = 4.0,
        pool: int = 2,
    ) -> None:
        super().__init__()
        if depth < 1 or pool < 1:
            raise ValueError(f"depth is {depth} and pool {pool}; both must be at least 1")
        self.grid, self.patch, self.channels = patch_grid(size, patch), pair(patch, "patch"), channels
        readout = _pooling(self.grid, pool)
        self.token_dim, self.embed_dim = width, width * len(readout)
        self.embed = _embedding(channels * self.patch[0] * self.patch[1], width)
        self.blocks = nn.Sequential(*(Block(width, heads, mlp_ratio, number) for number in range(1, depth + 1)))
        self.norm = nn.LayerNorm(width)
        self.register_buffer("positions", sincos_positions(self.grid, width), persistent=False)
        self.register_buffer("readout", readout, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Features (B, embed_dim) of images (B, channels, H, W)."""
        return (self.readout @ self.tokens(x)).flatten(1)

    def tokens(self, x: Tensor, keep: Tensor | None = None) -> Tensor:
        """Tokens (B, T, width) of images; with ``keep`` (B, N) only these patches are looked at: (B, N, width).

        Raises:
            ValueError: if the images are not of the size and channels this encoder was built for.
        """
        self._check(x)
        patches, positions = patchify(x, self.patch), self.positions
        if keep is not None:
            patches, positions = pick(patches, keep), positions[keep]
        tokens: Tensor = self.norm(self.blocks(self.embed(patches) + positions))
        return tokens

    def _check(self, x: Tensor) -> None:
        expected = (self.channels, self.grid[0] * self.patch[0], self.grid[1] * self.patch[1])
        if tuple(x.shape[1:]) != expected:
            raise ValueError(
                f"images are {tuple(x.shape[1:])} but the ViT was built for {expected} (channels, height, width); "
                "build it with the size and channels of the data"
            )


def init_linear(module: nn.Module) -> None:
    """Xavier-uniform weights and zero biases, for linear layers."""
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        nn.init.zeros_(module.bias)


def _embedding(values: int, width: int) -> nn.Linear:
    """A linear layer whose outputs start with the variance of its ``values`` inputs."""
    embed = nn.Linear(values, width)
    nn.init.normal_(embed.weight, std=values**-0.5)
    nn.init.zeros_(embed.bias)
    return embed


def _pooling(grid: tuple[int, int], pool: int) -> Tensor:
    """Matrix (cells, T) that averages the tokens of each cell.

    A product has a deterministic gradient on every device, which adaptive pooling has not.
    """
    rows, columns = (_shares(side, min(pool, side)) for side in grid)
    return torch.einsum("ah,bw->abhw", rows, columns).reshape(len(rows) * len(columns), -1)


def _shares(side: int, cells: int) -> Tensor:
    """Matrix (cells, side) of the mean of each cell; cells overlap by one where they do not divide ``side``."""
    shares = torch.zeros(cells, side)
    for cell in range(cells):
        start, end = cell * side // cells, -(-(cell + 1) * side // cells)
        shares[cell, start:end] = 1 / (end - start)
    return shares
