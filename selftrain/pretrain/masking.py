"""Which patches the encoder sees and which it has to predict: index sets drawn at random.

Masks are drawn on the CPU, so that a seed gives the same masks on every device, from ``generator`` or else from the
global one. All sets of a batch have one length, so that tensors stay dense.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

Grid = tuple[int, int]
Range = tuple[float, float]


def random_mask(
    batch: int,
    grid: Grid,
    ratio: float,
    *,
    device: torch.device | None = None,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Tensor]:
    """Hide a random share of the patches, each sample its own.

    Source: He et al. 2022, arXiv:2111.06377, section 3: ``floor(T * (1 - ratio))`` patches are kept. Differs: at least
    one patch is kept and at least one hidden.

    Args:
        batch: Samples B.
        grid: Rows and columns of patches; T is their product, at least 2.
        ratio: Share of hidden patches, in (0, 1).
        device: Where the result goes.
        generator: Source of randomness (on the CPU); ``None``: the global one.

    Returns:
        Kept positions (B, K) and hidden positions (B, T - K), each row in rising order.

    Raises:
        ValueError: for a ratio outside (0, 1) or a grid of one patch.
    """
    count = _cells(grid)
    if not 0 < ratio < 1:
        raise ValueError(f"mask ratio is {ratio}; it must be in (0, 1)")
    kept = min(max(1, math.floor(count * (1 - ratio) + 1e-6)), count - 1)
    order = torch.rand(batch, count, generator=generator).argsort(1)
    keep, hidden = order[:, :kept].sort(1).values, order[:, kept:].sort(1).values
    return keep.to(device), hidden.to(device)


@dataclass(frozen=True)
class BlockPlan:
    """How ``multi_block`` draws.

    Defaults are those of I-JEPA (Assran et al. 2023, arXiv:2301.08243, section 3), but for ``min_keep``.

    Args:
        blocks: Target blocks M, >= 1.
        scale: Smallest and largest share of the grid that a target block covers, in (0, 1].
        aspect: Smallest and largest height / width of a target block, > 0.
        context_scale: Smallest and largest share of the grid that the (square) context block covers, in (0, 1].
        min_keep: Context patches that must survive, >= 1; the released code has 10, made for a grid of 14 x 14.
        tries: Draws of a sample's positions before the fallback, >= 1.
    """

    blocks: int = 4
    scale: Range = (0.15, 0.2)
    aspect: Range = (0.75, 1.5)
    context_scale: Range = (0.85, 1.0)
    min_keep: int = 1
    tries: int = 20

    def __post_init__(self) -> None:
        for name in ("blocks", "min_keep", "tries"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1")
        for name, top in (("scale", 1.0), ("aspect", math.inf), ("context_scale", 1.0)):
            low, high = getattr(self, name)
            if not 0 < low <= high <= top:
                raise ValueError(f"{name} is ({low}, {high}); it must rise and lie in (0, {top}]")


def multi_block(
    batch: int,
    grid: Grid,
    plan: BlockPlan | None = None,
    *,
    device: torch.device | None = None,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Tensor]:
    """Draw some target blocks, and a large context block without them.

    The sizes of target and context blocks are drawn once for the batch, their positions for each sample. Samples whose
    context keeps fewer than ``plan.min_keep`` patches are drawn again, at most ``plan.tries`` times; then their blocks
    are put on one place and the context is all the rest, so that drawing always ends. Contexts are cut to the shortest
    of the batch.

    Source: I-JEPA, Assran et al. 2023, arXiv:2301.08243, section 3. Differs from the released code: scale and aspect
    are independent draws (there one number drives both), positions include the last row and column, contexts are cut
    to one length at random (there in raster order, which drops the bottom rows), and targets never stay in the context
    (there after 20 failures they may).

    Args:
        batch: Samples B.
        grid: Rows and columns of patches, at least 2 patches.
        plan: Sizes and numbers of the blocks.
        device: Where the result goes.
        generator: Source of randomness (on the CPU); ``None``: the global one.

    Returns:
        Context positions (B, Nc) and target positions (M, B, Nt), each row in rising order; Nc >= ``plan.min_keep``.

    Raises:
        ValueError: if the grid cannot hold ``plan.min_keep`` context patches and one target patch.
    """
    plan, count = plan or BlockPlan(), _cells(grid)
    if plan.min_keep >= count:
        raise ValueError(
            f"min_keep is {plan.min_keep} but the grid {grid} has {count} patches; lower min_keep or patch"
        )
    size = _shrink(_extent(grid, plan.scale, plan.aspect, generator), count - plan.min_keep)
    frame = _extent(grid, plan.context_scale, (1.0, 1.0), generator)
    targets, context = _place(batch, grid, size, frame, plan.blocks, generator)
    for _ in range(plan.tries - 1):
        poor = (context.sum(1) < plan.min_keep).nonzero()[:, 0]
        if not len(poor):
            break
        targets[:, poor], context[poor] = _place(len(poor), grid, size, frame, plan.blocks, generator)
    poor = context.sum(1) < plan.min_keep
    targets[:, poor] = targets[:1, poor]
    context[poor] = ~targets[0, poor]
    kept = _subsample(context, int(context.sum(1).min()), generator)
    hidden = targets.nonzero()[:, 2].view(plan.blocks, batch, size[0] * size[1])
    return kept.to(device), hidden.to(device)


def _cells(grid: Grid) -> int:
    count = grid[0] * grid[1]
    if count < 2:
        raise ValueError(f"the grid {grid} has {count} patch; masking needs at least 2: use a smaller patch")
    return count


def _uniform(limits: Range, generator: torch.Generator | None) -> float:
    return limits[0] + (limits[1] - limits[0]) * torch.rand((), generator=generator).item()


def _extent(grid: Grid, scale: Range, aspect: Range, generator: torch.Generator | None) -> Grid:
    """Rows and columns of a block; a side that the grid cuts short is made up for by the other one."""
    area, ratio = grid[0] * grid[1] * _uniform(scale, generator), _uniform(aspect, generator)
    rows, columns = math.sqrt(area * ratio), math.sqrt(area / ratio)
    if rows > grid[0]:
        rows, columns = grid[0], area / grid[0]
    elif columns > grid[1]:
        rows, columns = area / grid[1], grid[1]
    return min(max(1, round(rows)), grid[0]), min(max(1, round(columns)), grid[1])


def _shrink(size: Grid, limit: int) -> Grid:
    """Take rows or columns off a block, from the longer side, until it has at most ``limit`` patches."""
    rows, columns = size
    while rows * columns > limit:
        rows, columns = (rows - 1, columns) if rows >= columns else (rows, columns - 1)
    return rows, columns


def _place(
    batch: int, grid: Grid, size: Grid, frame: Grid, blocks: int, generator: torch.Generator | None
) -> tuple[Tensor, Tensor]:
    """Put blocks somewhere: target maps (M, B, T), and the context map (B, T) without them."""
    targets = _rectangles((blocks, batch), grid, size, generator)
    context = _rectangles((batch,), grid, frame, generator)
    return targets, context & ~targets.any(0)


def _rectangles(shape: tuple[int, ...], grid: Grid, size: Grid, generator: torch.Generator | None) -> Tensor:
    """Maps (*shape, T) of rectangles at uniformly drawn places, borders included."""
    inside = []
    for side, extent in zip(grid, size, strict=True):
        start = torch.randint(side - extent + 1, (*shape, 1), generator=generator)
        line = torch.arange(side)
        inside.append((line >= start) & (line < start + extent))
    return (inside[0][..., :, None] & inside[1][..., None, :]).flatten(-2)


def _subsample(member: Tensor, count: int, generator: torch.Generator | None) -> Tensor:
    """Positions of ``count`` members of each row of a map (B, T), drawn uniformly, in rising order."""
    noise = torch.rand(member.shape, generator=generator).masked_fill(~member, 2.0)
    return noise.argsort(1)[:, :count].sort(1).values
