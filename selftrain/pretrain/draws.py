"""What maskers are made of: random numbers, subsets, compositions, rectangles on a grid; and an order of places."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import reduce

import torch
from torch import Tensor

from selftrain.networks.token_grid import Grid

Range = tuple[float, float]
Generator = torch.Generator | None


@dataclass(frozen=True)
class BlockPlan:
    """Settings of maskers that hide blocks of a grid.

    Args:
        blocks: Target blocks M, >= 1.
        scale: Smallest and largest share of the grid that a target block covers, in (0, 1].
        aspect: Smallest and largest height / width of a target block, in tokens, > 0.
        context_scale: Smallest and largest share of the grid that the (square) context block covers, in (0, 1].
        min_keep: Context tokens that must survive, >= 1.
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
            check_count(name, getattr(self, name))
        check_range("scale", self.scale, 1.0, closed=True)
        check_range("aspect", self.aspect, math.inf)
        check_range("context_scale", self.context_scale, 1.0, closed=True)


def check_count(name: str, value: int, least: int = 1) -> None:
    """Refuse a count that is too small."""
    if value < least:
        raise ValueError(f"{name} is {value}; it must be at least {least}")


def check_range(name: str, limits: Range, top: float, *, closed: bool = False) -> None:
    """Refuse limits that do not rise or leave (0, top), or (0, top] where it is closed."""
    low, high = limits
    if not 0 < low <= high <= top or (high == top and not closed):
        raise ValueError(f"{name} is ({low}, {high}); it must rise and lie in (0, {top}{']' if closed else ')'}")


def between(limits: Range, generator: Generator) -> float:
    """A number between two limits."""
    return limits[0] + (limits[1] - limits[0]) * torch.rand((), generator=generator).item()


def coin(chance: float, generator: Generator) -> bool:
    """Whether something of this probability happens."""
    return torch.rand((), generator=generator).item() < chance


def share(count: int, share: float, most: int) -> int:
    """A share of a count, rounded; at least 1 and else at most ``most``."""
    return max(1, min(round(count * share), most))


def floor(share: float, most: int) -> int:
    """A share rounded down, but for float errors; in [1, most]."""
    # 100 * (1 - 0.9) is 9.99...98: a product of floats may lie a little below the whole number that is meant
    return min(max(1, math.floor(share + 1e-6)), most)


def composition(batch: int, total: int, parts: int, generator: Generator) -> Tensor:
    """``parts`` numbers >= 0 that add up to ``total``, (batch, parts); all such rows are equally likely.

    They are the stretches between ``parts - 1`` bars that stand in a row of ``total + parts - 1`` places.
    """
    places = total + parts - 1
    bars = rising(torch.rand(batch, places, generator=generator).argsort(1)[:, : parts - 1])
    edge = bars.new_full((batch, 1), places)
    return torch.cat([torch.full_like(edge, -1), bars, edge], 1).diff(dim=1) - 1


def blocks(
    plan: BlockPlan, batch: int, grid: tuple[int, int], generator: Generator, *, lines: bool
) -> tuple[Tensor, Tensor]:
    """Maps of target blocks (M, B, T) and of the context (B, T), which holds at least ``min_keep`` tokens."""
    count = grid[0] * grid[1]
    size = shrink(extent(grid, plan.scale, plan.aspect, generator), count - plan.min_keep)
    frame = extent(grid, plan.context_scale, (1.0, 1.0), generator)
    targets, context = place(batch, grid, size, frame, plan.blocks, generator, lines=lines)
    # bounded: on small grids (blocks of 6 to 9 tokens on 7 x 7, of which 10 must stay) the released collator draws for
    # ever
    for _ in range(plan.tries - 1):
        poor = (context.sum(1) < plan.min_keep).nonzero()[:, 0]
        if not len(poor):
            break
        targets[:, poor], context[poor] = place(len(poor), grid, size, frame, plan.blocks, generator, lines=lines)
    poor = context.sum(1) < plan.min_keep
    # where no draw left enough, all blocks are put on one place: the context is then all the rest, which is min_keep by
    # the limit on the size above
    targets[:, poor] = targets[:1, poor]
    context[poor] = ~targets[0, poor]
    return targets, context


def place(
    batch: int,
    grid: tuple[int, int],
    size: tuple[int, int],
    frame: tuple[int, int],
    blocks: int,
    generator: Generator,
    *,
    lines: bool,
) -> tuple[Tensor, Tensor]:
    """Put blocks somewhere: target maps (M, B, T), and the context map (B, T) without them (and their lines)."""
    targets = rectangles((blocks, batch), grid, size, generator)
    context = rectangles((batch,), grid, frame, generator)
    lost = whole_lines(targets, grid, generator) if lines else targets
    return targets, context & ~lost.any(0)


def whole_lines(targets: Tensor, grid: tuple[int, int], generator: Generator) -> Tensor:
    """Whole columns or whole rows of blocks (M, B, T), by a coin for each."""
    maps = targets.unflatten(2, grid)
    # one coin for each block and sample: a draw a batch would let one kind of context rule a whole step
    columns = torch.rand(*targets.shape[:2], 1, 1, generator=generator) < 0.5
    lost = torch.where(columns, maps.any(2, keepdim=True).expand_as(maps), maps.any(3, keepdim=True).expand_as(maps))
    return lost.flatten(2)


def extent(grid: Grid, scale: Range, aspect: Range, generator: Generator) -> tuple[int, int]:
    """Rows and columns of a block; a side that the grid cuts short is made up for by the other one."""
    # two draws: the released collator of I-JEPA turns one number into both, which reaches only the diagonal of the
    # rectangle of scales and aspects
    area, ratio = grid[0] * grid[1] * between(scale, generator), between(aspect, generator)
    rows, columns = math.sqrt(area * ratio), math.sqrt(area / ratio)
    if rows > grid[0]:
        rows, columns = grid[0], area / grid[0]
    elif columns > grid[1]:
        rows, columns = area / grid[1], grid[1]
    return min(max(1, round(rows)), grid[0]), min(max(1, round(columns)), grid[1])


def shrink(size: tuple[int, int], limit: int) -> tuple[int, int]:
    """Take rows or columns off a block, from the longer side, until it has at most ``limit`` tokens."""
    rows, columns = size
    while rows * columns > limit:
        rows, columns = (rows - 1, columns) if rows >= columns else (rows, columns - 1)
    return rows, columns


def rectangles(shape: tuple[int, ...], grid: Grid, size: tuple[int, int], generator: Generator) -> Tensor:
    """Maps (*shape, T) of rectangles at uniformly drawn places, borders included."""
    inside = []
    for side, extent in zip(grid, size, strict=True):
        # the last place included: the released collator stops one short, and the last row and column are never
        # predicted
        start = torch.randint(side - extent + 1, (*shape, 1), generator=generator)
        line = torch.arange(side)
        inside.append((line >= start) & (line < start + extent))
    return (inside[0][..., :, None] & inside[1][..., None, :]).flatten(-2)


def subsample(member: Tensor, count: int, generator: Generator) -> Tensor:
    """Positions of ``count`` members of each row of a map (B, T), drawn uniformly, in rising order."""
    # uniformly: cutting sets to one length in raster order, as the released collator does, drops the bottom rows first;
    # members have noise below 1, so that they come before all others
    noise = torch.rand(member.shape, generator=generator).masked_fill(~member, 2.0)
    return rising(noise.argsort(1)[:, :count])


def members(maps: Tensor) -> Tensor:
    """Positions (M, B, n) of the members of maps (M, B, T) that have n each."""
    return maps.nonzero()[:, 2].view(*maps.shape[:2], -1)


def others(index: Tensor, count: int) -> Tensor:
    """Map (B, T) of the positions that no set of ``index`` (M, B, n) has."""
    free = torch.ones(index.shape[1], count, dtype=torch.bool)
    return free.scatter(1, index.transpose(0, 1).flatten(1), False)


def rising(index: Tensor) -> Tensor:
    """Each row (..., n) in rising order."""
    return index.sort(-1).values


def greedy_order(places: Tensor) -> Tensor:
    """Go from place to place, always to the nearest one that is left.

    Starts at the place with the smallest sum of coordinates; of equals the lowest number comes first. Where there are
    none, the order of the places does not depend on how they are numbered. No gradient.

    Source: Point-JEPA, Saito et al. 2024, arXiv:2404.16432.

    Args:
        places: Coordinates, shape (B, T, dims), finite.

    Returns:
        Numbers of the places in order, shape (B, T), on their device; each row has every number once.

    Raises:
        ValueError: for another shape, or coordinates that are not finite.
    """
    if places.dim() != 3 or not places.shape[1] or not places.shape[2]:
        raise ValueError(f"places have shape {tuple(places.shape)}; give (samples, places, dims)")
    if not places.isfinite().all():
        raise ValueError("places hold inf or nan, which have no nearest neighbor; clean the coordinates")
    # axis by axis: exact equals stay equal, and a sum over the last axis need not add in one order everywhere
    axes = places.detach().double().unbind(2)
    here = reduce(torch.add, axes).argmin(1, keepdim=True)
    order, gone = [here], torch.zeros_like(axes[0], dtype=torch.bool)
    for _ in range(places.shape[1] - 1):
        gone = gone.scatter(1, here, True)
        distance = reduce(torch.add, [(axis - axis.gather(1, here)).square() for axis in axes])
        here = distance.masked_fill(gone, math.inf).argmin(1, keepdim=True)
        order.append(here)
    return torch.cat(order, 1)
