"""Plain transformers on any tokens, which never compute what is masked away."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import reduce
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from selftrain.networks.patches import Size, pair
from selftrain.networks.token_grid import Grid, Layout
from selftrain.networks.tokenizers import ImagePatches, PointGroups, SeriesPatches, TableColumns, Tokenizer
from selftrain.types import Recorded

Pool = int | Literal["all", "max_mean"]


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
        # query, key and value in one product: three small ones would leave a processor waiting
        self.mix, self.join = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.widen, self.narrow = nn.Linear(width, int(width * mlp_ratio)), nn.Linear(int(width * mlp_ratio), width)
        self.apply(init_linear)
        with torch.no_grad():
            # what each block adds shrinks with its depth, so that the sum keeps its size at the start (I-JEPA's code)
            self.join.weight.div_(math.sqrt(2 * number))
            self.narrow.weight.div_(math.sqrt(2 * number))

    def forward(self, x: Tensor, there: Tensor | None = None) -> Tensor:
        """Tokens (B, N, width) -> tokens (B, N, width); none attends to those that are not ``there`` (B, N)."""
        batch, count, width = x.shape
        mixed = self.mix(self.norm_attention(x)).view(batch, count, 3, self.heads, -1)
        query, key, value = mixed.permute(2, 0, 3, 1, 4)  # (B, heads, N, d)
        seen = F.scaled_dot_product_attention(query, key, value, None if there is None else there[:, None, None])
        seen = seen.transpose(1, 2).reshape(batch, count, width)
        x = x + self.join(seen)
        change: Tensor = self.narrow(F.gelu(self.widen(self.norm_network(x))))
        return x + change


def run_blocks(
    blocks: nn.Sequential, tokens: Tensor, codes: Tensor, *, again: bool, there: Tensor | None = None
) -> Tensor:
    """Pass tokens (B, N, W) through blocks, with position codes added before the first block or before each.

    Where ``there`` (B, N) is given, no token attends to those that are not there.
    """
    seen = () if there is None else (there,)
    for number, block in enumerate(blocks):
        # coordinates of groups would be forgotten in depth, where grid codes are not (Point-MAE, Point-JEPA)
        tokens = block(tokens + codes if again or number == 0 else tokens, *seen)
    return tokens


class Transformer(Recorded, nn.Module):
    """Turn tokens of any kind into features with a transformer; offers the ``Encoder`` contract.

    Pre-norm blocks, LayerNorm at the end, no class token: as in I-JEPA (Assran et al. 2023, arXiv:2301.08243). Linear
    layers start with Xavier-uniform weights as in MAE (He et al. 2022, arXiv:2111.06377). Differs from both: small
    default sizes; the embedding of a patch starts so that tokens keep the variance of the input (Xavier's would shrink
    the tokens of small patches next to their positions); and features are the means of cells of tokens side by side
    instead of one mean, which keeps where things are and is worth several points with few labels on small grids.

    Args:
        tokenizer: Makes the tokens; gives input shape, grid and width.
        depth: Number of blocks, >= 1.
        heads: Attention heads; must divide the width.
        mlp_ratio: Hidden width of a block's network as a multiple of the width.
        pool: How features are read out: a number of cells a side, >= 1, at most one per token (``embed_dim`` is
            ``width * cells``; 1 is the mean); ``"all"``: every token; ``"max_mean"``: maximum and mean over tokens
            (point clouds).
        registers: Learned tokens without a place that are put in front, never masked, and dropped at the end (T-JEPA's
            regularization token).

    Raises:
        ValueError: if a size does not fit; the message names the values.

    Where the tokenizer says which tokens are there (``SeriesPatches(gaps=True)``), no token attends to the others, and
    the cells divide the series from its first token to its last that is there: what is appended changes no feature.
    """

    readout: Tensor | None

    def __init__(
        self,
        tokenizer: Tokenizer,
        *,
        depth: int = 4,
        heads: int = 4,
        mlp_ratio: float = 4.0,
        pool: Pool = 2,
        registers: int = 0,
    ) -> None:
        super().__init__()
        if depth < 1 or registers < 0:
            raise ValueError(f"depth is {depth} and registers {registers}; they must be at least 1 and 0")
        self.tokenizer, self.shape, self.grid = tokenizer, tokenizer.shape, tokenizer.grid
        self.token_dim = width = tokenizer.width
        self.gaps = bool(getattr(tokenizer, "gaps", False))
        if self.gaps and not isinstance(pool, int):
            raise ValueError(
                f"series with gaps are read out by a number of cells, not by pool={pool!r}; give one, such as pool=2"
            )
        readout = pooling(self.grid, pool)
        self.embed_dim = width * (2 if readout is None else len(readout))
        self.places = tokenizer.positions(width)
        self.blocks = nn.Sequential(*(Block(width, heads, mlp_ratio, number) for number in range(1, depth + 1)))
        self.norm = nn.LayerNorm(width)
        # small, as mask tokens are: they should say nothing before they have learned
        self.registers = nn.Parameter(torch.randn(registers, width) * 0.02)
        # follows from the grid, so no checkpoint has to hold it
        self.register_buffer("readout", readout, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Features (B, embed_dim) of inputs (B, *shape)."""
        tokens = self.tokens(x)
        there = self.tokenizer.there(x)
        if there is not None and self.readout is not None:
            return (_cells_there(there, len(self.readout)).to(tokens) @ tokens).flatten(1)
        if self.readout is None:
            return torch.cat([tokens.amax(1), tokens.mean(1)], 1)
        return (self.readout @ tokens).flatten(1)

    def tokens(self, x: Tensor, keep: Tensor | None = None) -> Tensor:
        """Tokens (B, T, width) of inputs; with ``keep`` (B, N) only these are looked at: (B, N, width).

        Raises:
            ValueError: if the inputs are not of the shape this encoder was built for.
        """
        if tuple(x.shape[1:]) != self.shape and not (self.gaps and x.dim() == 3 and x.shape[1] == self.shape[0]):
            raise ValueError(
                f"inputs are {tuple(x.shape[1:])} but the encoder was built for {self.shape}; build it with the shape "
                "of the data"
            )
        # masked tokens are left out before the first block: of three quarters hidden, a quarter of the work is left
        tokens, codes = self.tokenizer(x, keep), self.places(self.layout(x), keep)
        count, front = len(self.registers), self.registers.expand(len(x), -1, -1)
        tokens = torch.cat([front.to(tokens), tokens], 1)
        codes = F.pad(codes, (0, 0, count, 0))  # registers have no place
        there = self.tokenizer.there(x)
        if there is not None:
            there = F.pad(there if keep is None else there.gather(1, keep), (count, 0), value=True)
            there = there | ~there.any(1, keepdim=True)  # attention to nothing is NaN
        tokens = run_blocks(self.blocks, tokens, codes, again=self.tokenizer.again, there=there)
        normed: Tensor = self.norm(tokens[:, count:])
        return normed

    def layout(self, x: Tensor) -> Layout:
        """Where the tokens of ``x`` are."""
        return self.tokenizer.layout(x)

    def positions(self, width: int) -> nn.Module:
        """Codes of the tokens' places, of any width: called with a layout and an index."""
        return self.tokenizer.positions(width)

    def layers(self) -> Sequence[nn.Module]:
        """Tokenizer, blocks and norm, from the input on."""
        return [self.tokenizer, *self.blocks, self.norm]


class ViT(Transformer):
    """A vision transformer for small images or spectrograms.

    Args:
        size: Height and width of the images in pixels, one number or two.
        patch: Height and width of a patch in pixels, one number or two; must divide ``size``.
        channels: Channels of the images.
        width: Token width, a multiple of 4 and of ``heads``.
        depth, heads, mlp_ratio, pool, registers: See ``Transformer``.

    Raises:
        ValueError: if a size does not fit; the message names the values.
    """

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
        pool: Pool = 2,
        registers: int = 0,
    ) -> None:
        tokenizer = ImagePatches((channels, *pair(size, "size")), patch, width)
        super().__init__(tokenizer, depth=depth, heads=heads, mlp_ratio=mlp_ratio, pool=pool, registers=registers)


def series_transformer(
    length: int,
    patch: int,
    channels: int = 1,
    *,
    width: int = 64,
    depth: int = 3,
    heads: int = 4,
    pool: Pool = 2,
    gaps: bool = False,
) -> Transformer:
    """A small transformer for series (B, channels, length), a token for each stretch of ``patch`` samples.

    With ``gaps`` NaN means that nothing is there (series of unequal length, missing samples): no token attends to such
    stretches, they are left out of the features, and the length may be any.
    """
    tokenizer = SeriesPatches((channels, length), patch, width, gaps=gaps)
    return Transformer(tokenizer, depth=depth, heads=heads, pool=pool)


def table_transformer(
    columns: int,
    *,
    categories: dict[int, int] | None = None,
    width: int = 32,
    depth: int = 3,
    heads: int = 4,
    mlp_ratio: float = 2.0,
    pool: Pool = "all",
    registers: int = 1,
) -> Transformer:
    """A small transformer for table rows (B, columns), a token a column, with a regularization token (T-JEPA)."""
    tokenizer = TableColumns(columns, width, categories)
    return Transformer(tokenizer, depth=depth, heads=heads, mlp_ratio=mlp_ratio, pool=pool, registers=registers)


def point_transformer(
    points: int,
    *,
    groups: int = 16,
    neighbors: int = 16,
    dims: int = 3,
    width: int = 96,
    depth: int = 4,
    heads: int = 4,
    pool: Pool = "max_mean",
) -> Transformer:
    """A small transformer for clouds (B, points, dims), a token for each group of neighbors (Point-JEPA)."""
    return Transformer(PointGroups(points, groups, neighbors, width, dims=dims), depth=depth, heads=heads, pool=pool)


def init_linear(module: nn.Module) -> None:
    """Xavier-uniform weights and zero biases, for linear layers."""
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        nn.init.zeros_(module.bias)


def pooling(grid: Grid, pool: Pool) -> Tensor | None:
    """Matrix (cells, T) that averages the tokens of each cell; ``None`` for the maximum and mean.

    A product has a deterministic gradient on every device, which adaptive pooling has not.
    """
    if pool == "max_mean":
        return None
    if pool == "all":
        return torch.eye(math.prod(grid))
    if not isinstance(pool, int) or pool < 1:
        raise ValueError(f"pool is {pool!r}; it must be at least 1, 'all' or 'max_mean'")
    # an axis at a time: cells of a grid are the products of cells of its axes
    return reduce(torch.kron, [_cell_shares(side, min(pool, side)) for side in grid])


def _cells_there(there: Tensor, cells: int) -> Tensor:
    """Matrices (B, cells, T) of the mean of what is there (B, T) in each cell; see ``_cell_shares``."""
    at = torch.arange(there.shape[1], device=there.device)
    first = torch.where(there, at, there.shape[1]).amin(1, keepdim=True)
    count = torch.where(there, at + 1, 0).amax(1, keepdim=True) - first  # (B, 1)
    cell = torch.arange(cells, device=there.device)
    start, end = cell * count // cells, -(-(cell + 1) * count // cells)  # (B, cells)
    place = (at - first)[:, None]
    inside = (place >= start[..., None]) & (place < end[..., None]) & there[:, None]
    return inside / inside.sum(2, keepdim=True).clamp_min(1)


def _cell_shares(side: int, cells: int) -> Tensor:
    """Matrix (cells, side) of the mean of each cell; cells overlap by one where they do not divide ``side``."""
    shares = torch.zeros(cells, side)
    for cell in range(cells):
        start, end = cell * side // cells, -(-(cell + 1) * side // cells)
        shares[cell, start:end] = 1 / (end - start)
    return shares
