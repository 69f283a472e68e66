"""Inputs as tokens: each tokenizer turns a sample into T values and says where they are.

A tokenizer is called as ``tokenizer(x, keep)`` and gives the values (B, N, width) of the tokens at ``keep`` (B, N), or
of all. Nothing of the other tokens is looked at.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from selftrain.networks.encoders import conv_blocks, sparse_cells
from selftrain.networks.patches import Size, pair, patch_grid, patchify, pick
from selftrain.networks.positions import CoordinatePositions, GridPositions
from selftrain.networks.token_grid import Grid, Layout
from selftrain.types import Recorded


class Tokenizer(Recorded, nn.Module):
    """Base: where tokens are, and that inputs have the shape it was built for.

    Args:
        shape: Of one input.
        grid: Positions along each axis.
        width: Width of a token.

    Attributes:
        again: Whether a transformer adds the positions before every block, not only before the first.
    """

    again = False

    def __init__(self, shape: tuple[int, ...], grid: Grid, width: int) -> None:
        super().__init__()
        self.shape, self.grid, self.width = shape, grid, width

    def layout(self, x: Tensor) -> Layout:
        """Where the tokens of ``x`` are."""
        return Layout(self.grid)

    def there(self, x: Tensor) -> Tensor | None:
        """Which tokens of ``x`` hold anything, (B, T), bool; ``None``: all do."""
        return None

    def positions(self, width: int) -> nn.Module:
        """Codes of these tokens' places, of any width: called with a layout and an index."""
        return GridPositions(self.grid, width)


class ImagePatches(Tokenizer):
    """Patches of images (B, c, H, W), each through one linear layer; spectrograms are images of one channel.

    Args:
        shape: Channels, height and width of an image.
        patch: Height and width of a patch in pixels; must divide the image.
        width: Width of a token.

    Raises:
        ValueError: if the patch does not divide the image.
    """

    def __init__(self, shape: tuple[int, int, int], patch: Size, width: int) -> None:
        self.patch = pair(patch, "patch")
        super().__init__(shape, patch_grid(shape[1:], self.patch), width)
        self.embed = _embedding(shape[0] * math.prod(self.patch), width)

    def forward(self, x: Tensor, keep: Tensor | None = None) -> Tensor:
        """Tokens of images."""
        return _embedded(self.embed, patchify(x, self.grid), keep)


class SeriesPatches(Tokenizer):
    """Stretches of multi-channel series (B, c, L), all channels of a stretch through one linear layer.

    This is the strided convolution of ECG-JEPA (Weimann & Conrad 2024, arXiv:2410.13867).

    Args:
        shape: Channels and length of a series.
        patch: Length of a stretch in samples; must divide the length.
        width: Width of a token.
        gaps: Whether NaN means that nothing is there, in gaps and behind the end of series that are shorter: it is read
            as 0, beside a 1 for each number that is there and a 0 for others. Series may then have any length.

    Raises:
        ValueError: if the stretch does not divide the length, without ``gaps``.
    """

    def __init__(self, shape: tuple[int, int], patch: int, width: int, *, gaps: bool = False) -> None:
        if patch < 1:
            raise ValueError(f"patch is {patch}; it must be at least 1")
        self.patch, self.gaps = patch, gaps
        super().__init__(shape, (-(-shape[1] // patch),) if gaps else patch_grid(shape[1:], (patch,)), width)
        self.embed = _embedding(shape[0] * patch * (2 if gaps else 1), width)

    def forward(self, x: Tensor, keep: Tensor | None = None) -> Tensor:
        """Tokens of series."""
        if not self.gaps:
            return _embedded(self.embed, patchify(x, self.grid), keep)
        x = self._whole(x)
        there = ~x.isnan()
        both = torch.cat([x.where(there, 0.0), there.to(x)], 1)
        return _embedded(self.embed, patchify(both, (x.shape[2] // self.patch,)), keep)

    def layout(self, x: Tensor) -> Layout:
        """Where the tokens of ``x`` are: as many as its length asks for."""
        return Layout((-(-x.shape[2] // self.patch),) if self.gaps else self.grid)

    def there(self, x: Tensor) -> Tensor | None:
        """Which stretches hold a number; all of a series that holds none, since attention to nothing is NaN."""
        if not self.gaps:
            return None
        found: Tensor = (~self._whole(x).isnan()).any(1).unflatten(1, (-1, self.patch)).any(2)
        whole: Tensor = found | ~found.any(1, keepdim=True)
        return whole

    def _whole(self, x: Tensor) -> Tensor:
        """Series of whole stretches: NaN behind the end."""
        return F.pad(x, (0, -x.shape[2] % self.patch), value=torch.nan)


class TableColumns(Tokenizer):
    """Columns of table rows (B, F), a token each: ``w_f x_f + b_f`` if numeric, a looked-up vector + ``b_f`` if not.

    Source: Thimonier et al. 2024, T-JEPA, arXiv:2410.05016, section 3 (the tokens of FT-Transformer, Gorishniy et al.
    2021, arXiv:2106.11959).

    Args:
        columns: Columns F.
        width: Width of a token.
        categories: Number of values of each column that holds category codes 0, 1, ...; the view maker must leave them
            as they are (``TableViews(categorical=...)``).

    Raises:
        ValueError: for a column out of range, and at a call for a code that is none of its column.
    """

    first: Tensor
    coded: Tensor

    def __init__(self, columns: int, width: int, categories: Mapping[int, int] | None = None) -> None:
        super().__init__((columns,), (columns,), width)
        categories = dict(sorted((categories or {}).items()))
        for column, count in categories.items():
            if not 0 <= column < columns or count < 1:
                raise ValueError(f"column {column} with {count} categories; columns are 0 to {columns - 1}, each >= 1")
        # a weight for each column: columns are different things in different units
        self.weight = nn.Parameter(torch.randn(columns, width) * width**-0.5)
        self.bias = nn.Parameter(torch.randn(columns, width) * width**-0.5)
        self.codes = nn.Embedding(sum(categories.values()), width)
        first, coded = torch.zeros(columns, dtype=torch.long), torch.zeros(columns, dtype=torch.bool)
        start = 0
        for column, count in categories.items():
            first[column], coded[column], start = start, True, start + count
        self.categories = categories
        self.register_buffer("first", first, persistent=False)
        self.register_buffer("coded", coded, persistent=False)

    def forward(self, x: Tensor, keep: Tensor | None = None) -> Tensor:
        """Tokens of rows."""
        if keep is None:
            keep = torch.arange(len(self.weight), device=x.device).expand(len(x), -1)
        value = x.gather(1, keep)
        tokens = value[..., None] * self.weight[keep]
        if self.categories:
            for column, count in self.categories.items():
                codes = x[:, column]
                wrong = (codes != codes.round()) | (codes < 0) | (codes >= count)
                if bool(wrong.any()):
                    raise ValueError(
                        f"column {column} holds {codes[wrong][0].item()}, not a code from 0 to {count - 1}; declare it "
                        "in TableViews(categorical=...) so that it is not standardized, or correct `categories`"
                    )
            coded = self.coded[keep]
            # numeric columns look up row 0 and throw it away: a gather by mask would give every batch another shape
            row = torch.where(coded, self.first[keep] + value.long(), 0)
            tokens = torch.where(coded[..., None], self.codes(row).to(tokens), tokens)
        return tokens + self.bias[keep]


class PointGroups(Tokenizer):
    """Groups of neighboring points of clouds (B, N, dims): each group through a small shared network with a maximum.

    Centers are chosen by farthest-point sampling, starting at the point farthest from the mean; a group is a center's
    nearest points, relative to it; the network is the mini-PointNet of Point-BERT: two layers a point, the maximum over
    the group beside each point, two layers more, the maximum. Positions are learned from the centers and added before
    every block.

    Source: Saito et al. 2024, Point-JEPA, arXiv:2404.16432, section 3. Differs: no BatchNorm in the small network
    (LayerNorm: groups that are left out must not matter), and a fixed start of the sampling (theirs is random), so that
    all passes over a sample see the same groups.

    Args:
        points: Points N of a cloud.
        groups: Tokens T.
        neighbors: Points of a group.
        width: Width of a token.
        dims: Coordinates of a point.
        hidden: Width of the small network's first part.

    Raises:
        ValueError: for more groups or neighbors than points.
    """

    again = True

    def __init__(
        self, points: int, groups: int, neighbors: int, width: int, *, dims: int = 3, hidden: int = 64
    ) -> None:
        super().__init__((points, dims), (groups,), width)
        if not 1 <= groups <= points or not 1 <= neighbors <= points:
            raise ValueError(f"groups is {groups} and neighbors {neighbors}; a cloud has {points} points")
        self.neighbors = neighbors
        self.each = nn.Sequential(nn.Linear(dims, hidden), nn.LayerNorm(hidden), nn.GELU(), nn.Linear(hidden, hidden))
        self.both = nn.Sequential(
            nn.Linear(2 * hidden, 2 * hidden), nn.LayerNorm(2 * hidden), nn.GELU(), nn.Linear(2 * hidden, width)
        )

    def layout(self, x: Tensor) -> Layout:
        """The groups' centers."""
        return Layout(self.grid, pick(x, farthest_points(x, self.grid[0])))

    def positions(self, width: int) -> nn.Module:
        """Learned codes of coordinates."""
        return CoordinatePositions(self.shape[1], width)

    def forward(self, x: Tensor, keep: Tensor | None = None) -> Tensor:
        """Tokens of clouds."""
        centers = farthest_points(x, self.grid[0])
        centers = pick(x, centers if keep is None else centers.gather(1, keep))  # (B, N, dims)
        nearest = torch.cdist(centers, x).topk(self.neighbors, largest=False).indices  # (B, N, k)
        points = pick(x, nearest.flatten(1)).unflatten(1, nearest.shape[1:])
        # relative to the center: a group looks the same wherever it is, and its place is told by the position code
        inside = self.each(points - centers[:, :, None])  # (B, N, k, hidden)
        whole = inside.amax(2, keepdim=True).expand_as(inside)
        tokens: Tensor = self.both(torch.cat([whole, inside], -1)).amax(2)
        return tokens


class ConvStem(Tokenizer):
    """Cells of a small ConvNet as tokens, sparse: hidden patches are blanked in every feature map.

    Two blocks, each halving the grid; see ``ConvEncoder.tokens`` for what is done to hidden cells.

    Args:
        shape: Channels, height and width of an image; sides are multiples of 4.
        widths: Channels of the two blocks.
        width: Width of a token.

    Raises:
        ValueError: if a side is no multiple of 4.
    """

    def __init__(self, shape: tuple[int, int, int], widths: tuple[int, int], width: int) -> None:
        super().__init__(shape, patch_grid(shape[1:], (4, 4)), width)
        self.body = conv_blocks(shape[0], widths)
        self.embed = _embedding(widths[1], width)

    def forward(self, x: Tensor, keep: Tensor | None = None) -> Tensor:
        """Tokens of images."""
        tokens: Tensor = self.embed(sparse_cells(self.body, x, (self.grid[0], self.grid[1]), keep))
        return tokens


def farthest_points(x: Tensor, count: int) -> Tensor:
    """Numbers (B, count) of points (B, N, dims) such that each is the farthest from all before it.

    The first is the farthest from the mean; of equals the one with the lowest number.
    """
    distance = (x - x.mean(1, keepdim=True)).square().sum(2)
    chosen = [distance.argmax(1)]
    # from the point farthest from the mean, not a random one: all passes over a sample must see the same groups
    distance = torch.full_like(distance, math.inf)
    for _ in range(count - 1):
        last = pick(x, chosen[-1][:, None])
        distance = torch.minimum(distance, (x - last).square().sum(2))
        chosen.append(distance.argmax(1))
    return torch.stack(chosen, 1)


def _embedded(embed: nn.Linear, patches: Tensor, keep: Tensor | None) -> Tensor:
    tokens: Tensor = embed(patches if keep is None else pick(patches, keep))
    return tokens


def _embedding(values: int, width: int) -> nn.Linear:
    """A linear layer whose outputs start with the variance of its ``values`` inputs."""
    embed = nn.Linear(values, width)
    # Xavier would shrink tokens of small patches next to their positions
    nn.init.normal_(embed.weight, std=values**-0.5)
    nn.init.zeros_(embed.bias)
    return embed
