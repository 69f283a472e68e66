"""Which tokens an encoder sees and which are predicted from them: maskers of every kind of data.

Each is called as ``masker(batch, layout, progress, generator)``, see ``geometry.Masker``. Counts are drawn once for a
batch, positions for each sample; drawing always ends.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from selftrain.pretrain.geometry import Grid, Layout, Mask, Masker
from selftrain.pretrain.sequence import greedy_order

Range = tuple[float, float]
Generator = torch.Generator | None


@dataclass(frozen=True)
class RandomMask:
    """Hide a random share of the tokens; the rest is seen.

    Source: He et al. 2022, MAE, arXiv:2111.06377, section 3: ``floor(T * (1 - ratio))`` tokens are seen. Differs: at
    least one token is seen and at least one hidden.

    Args:
        ratio: Share of hidden tokens, in (0, 1).
    """

    ratio: float = 0.75

    def __post_init__(self) -> None:
        if not 0 < self.ratio < 1:
            raise ValueError(f"mask ratio is {self.ratio}; it must be in (0, 1)")

    def __call__(self, batch: int, layout: Layout, progress: float = 0.0, generator: Generator = None) -> Mask:
        """One look, one target set: all that is not seen."""
        count = _tokens(layout)
        seen = min(max(1, math.floor(count * (1 - self.ratio) + 1e-6)), count - 1)
        order = torch.rand(batch, count, generator=generator).argsort(1)
        return Mask(_rising(order[:, :seen])[None], _rising(order[:, seen:])[None])


@dataclass(frozen=True)
class MultiBlock:
    """Predict some blocks of a grid from a large context block without them.

    The sizes of target and context blocks are drawn once for the batch, their positions for each sample. Samples whose
    context keeps fewer than ``min_keep`` tokens are drawn again, at most ``tries`` times; then their blocks are put on
    one place and the context is all the rest. Contexts are cut to the shortest of the batch.

    Source: I-JEPA, Assran et al. 2023, arXiv:2301.08243, section 3; defaults are its, but for ``min_keep`` (the
    released code has 10, made for a grid of 14 x 14). Differs from the released code: scale and aspect are independent
    draws (there one number drives both), positions include the last row and column, contexts are cut to one length at
    random (there in raster order, which drops the bottom rows), and targets never stay in the context (there after 20
    failures they may).

    Args:
        blocks: Target blocks M, >= 1.
        scale: Smallest and largest share of the grid that a target block covers, in (0, 1].
        aspect: Smallest and largest height / width of a target block, > 0.
        context_scale: Smallest and largest share of the grid that the (square) context block covers, in (0, 1].
        min_keep: Context tokens that must survive, >= 1.
        tries: Draws of a sample's positions before the fallback, >= 1.
        union: Whether the blocks are one target set, cut to the smallest of the batch at random (CNN-JEPA), or M sets.
    """

    blocks: int = 4
    scale: Range = (0.15, 0.2)
    aspect: Range = (0.75, 1.5)
    context_scale: Range = (0.85, 1.0)
    min_keep: int = 1
    tries: int = 20
    union: bool = False

    def __post_init__(self) -> None:
        _check_blocks(self)

    def __call__(self, batch: int, layout: Layout, progress: float = 0.0, generator: Generator = None) -> Mask:
        """One look; M target sets, or one."""
        grid = _image_grid(layout, self.min_keep)
        targets, context = _blocks(self, batch, grid, generator, lines=False)
        seen = _subsample(context, int(context.sum(1).min()), generator)[None]
        if not self.union:
            return Mask(seen, _members(targets))
        hidden = targets.any(0)
        return Mask(seen, _subsample(hidden, int(hidden.sum(1).min()), generator)[None])


@dataclass(frozen=True)
class TimeFrequency:
    """Predict blocks of a spectrogram whose times or frequencies the context does not know at all.

    For every block and sample a coin decides whether the context also loses all tokens of its time columns or all of
    its frequency rows. Where no draw leaves enough context, the blocks are put on one place and only they are hidden.

    Source: A-JEPA, Fei et al. 2023, arXiv:2311.15830 (from summaries of the paper; no code was published).

    Args:
        blocks, scale, aspect, context_scale, min_keep, tries: See ``MultiBlock``; the grid's rows are frequencies, its
            columns times.
    """

    blocks: int = 3
    scale: Range = (0.05, 0.075)
    aspect: Range = (0.75, 1.5)
    context_scale: Range = (0.85, 1.0)
    min_keep: int = 1
    tries: int = 20

    def __post_init__(self) -> None:
        _check_blocks(self)

    def __call__(self, batch: int, layout: Layout, progress: float = 0.0, generator: Generator = None) -> Mask:
        """One look, a target set for each block."""
        grid = _image_grid(layout, self.min_keep)
        targets, context = _blocks(self, batch, grid, generator, lines=True)
        return Mask(_subsample(context, int(context.sum(1).min()), generator)[None], _members(targets))


@dataclass(frozen=True)
class Blocks:
    """Hide contiguous stretches of a series until only a small share is seen; all that is hidden is predicted.

    The number of stretches is drawn once for the batch; their lengths and the gaps between them are a random
    composition for each sample (uniform over the cuts), so that counts are exact.

    Source: ECG-JEPA, Weimann & Conrad 2024, arXiv:2410.13867: 15 to 25 % are seen, stretches of at least 10 of 200
    tokens. Differs: exact counts (there stretches are added until the share is reached), 3 tokens for short series.

    Args:
        keep: Smallest and largest share of tokens seen, in (0, 1).
        length: Tokens of the shortest stretch, >= 1; where less is hidden in all, that is one stretch.
    """

    keep: Range = (0.15, 0.25)
    length: int = 3

    def __post_init__(self) -> None:
        _check_range("keep", self.keep, 1.0)
        if self.length < 1:
            raise ValueError(f"length is {self.length}; it must be at least 1")

    def __call__(self, batch: int, layout: Layout, progress: float = 0.0, generator: Generator = None) -> Mask:
        """One look, one target set."""
        count = _tokens(layout)
        if len(layout.grid) != 1:
            raise ValueError(f"the grid {layout.grid} is no series; use RandomMask or MultiBlock")
        seen = _share(count, _uniform(self.keep, generator), count - 1)
        hidden = count - seen
        most = max(1, min(hidden // self.length, seen + 1))
        runs = int(torch.randint(1, most + 1, (), generator=generator))
        least = min(self.length, hidden)
        lengths = least + _composition(batch, hidden - runs * least, runs, generator)
        gaps = _composition(batch, seen, runs + 1, generator)
        starts = gaps[:, :-1].cumsum(1) + lengths.cumsum(1) - lengths
        place = torch.arange(count)
        inside = (place >= starts[..., None]) & (place < (starts + lengths)[..., None])
        return _split(inside.any(1))


@dataclass(frozen=True)
class FeatureSubset:
    """See a random subset of the tokens, and predict some others: columns of a table have no neighbors.

    Source: T-JEPA, Thimonier et al. 2024, arXiv:2410.05016: shares drawn once for the batch, context and targets
    disjoint. Differs from the released code: target sets are drawn one by one (there all four are alike).

    Args:
        context: Smallest and largest share of tokens seen, in (0, 1).
        target: Smallest and largest share of tokens of a target set, in (0, 1); at most what the context leaves.
        sets: Target sets, >= 1; they may overlap.
    """

    context: Range = (0.2, 0.4)
    target: Range = (0.2, 0.4)
    sets: int = 4

    def __post_init__(self) -> None:
        _check_range("context", self.context, 1.0)
        _check_range("target", self.target, 1.0)
        if self.sets < 1:
            raise ValueError(f"sets is {self.sets}; it must be at least 1")

    def __call__(self, batch: int, layout: Layout, progress: float = 0.0, generator: Generator = None) -> Mask:
        """One look, ``sets`` target sets."""
        count = _tokens(layout)
        seen = _share(count, _uniform(self.context, generator), count - 1)
        asked = _share(count, _uniform(self.target, generator), count - seen)
        order = torch.rand(batch, count, generator=generator).argsort(1)
        rest = order[:, seen:].expand(self.sets, -1, -1)
        chosen = torch.rand(rest.shape, generator=generator).argsort(2)[..., :asked]
        return Mask(_rising(order[:, :seen])[None], _rising(rest.gather(2, chosen)))


@dataclass(frozen=True)
class Runs:
    """Predict runs of tokens that are neighbors, from a run of what remains.

    With places the order is ``sequence.greedy_order``, so that runs are blobs in space; without, it is raster order.

    Source: Point-JEPA, Saito et al. 2024, arXiv:2404.16432. Differs: drawn for each sample (there for the batch).

    Args:
        sets: Target runs, >= 1; they may overlap.
        target: Smallest and largest share of the tokens in a target run, in (0, 1).
        context: Smallest and largest share of what remains that is seen, in (0, 1].
    """

    sets: int = 4
    target: Range = (0.15, 0.2)
    context: Range = (0.4, 0.75)

    def __post_init__(self) -> None:
        _check_range("target", self.target, 1.0)
        _check_range("context", self.context, 1.0, closed=True)
        if self.sets < 1:
            raise ValueError(f"sets is {self.sets}; it must be at least 1")

    def __call__(self, batch: int, layout: Layout, progress: float = 0.0, generator: Generator = None) -> Mask:
        """One look, ``sets`` target sets."""
        count = _tokens(layout)
        # the shortest runs that leave one token whatever the overlap
        length = min(_share(count, _uniform(self.target, generator), count - 1), max(1, (count - 1) // self.sets))
        starts = torch.randint(count - length + 1, (self.sets, batch, 1), generator=generator)
        if self.sets >= count:  # even runs of one token might hide all: they share one place
            starts = starts[:1].expand(self.sets, -1, -1)
        targets = starts + torch.arange(length)
        free = torch.ones(batch, count, dtype=torch.bool)
        free = free.scatter(1, targets.transpose(0, 1).flatten(1), False)
        left = free.sum(1)
        seen = _share(int(left.min()), _uniform(self.context, generator), int(left.min()))
        first = (torch.rand(batch, generator=generator) * (left - seen + 1)).long()
        rank = free.cumsum(1) - 1
        context = free & (rank >= first[:, None]) & (rank < (first + seen)[:, None])
        order = torch.arange(count).expand(batch, -1) if layout.places is None else greedy_order(layout.places.cpu())
        picked = order[context].view(batch, seen)
        return Mask(_rising(picked)[None], _rising(order.expand(self.sets, -1, -1).gather(2, targets)))


@dataclass(frozen=True)
class LocalWindows:
    """Look at small windows of a grid, each on its own, and predict most of each from its rest.

    Source: LoMaR, Chen et al. 2022, arXiv:2206.00790, as SAR-JEPA uses it (Li et al. 2023, arXiv:2311.15153).

    Args:
        windows: Windows of a sample, >= 1; each is a look of its own.
        size: Tokens a side, >= 1; cut to the grid.
        ratio: Share of a window's tokens that is hidden, in (0, 1); at least one is seen and one hidden.
    """

    windows: int = 4
    size: int = 7
    ratio: float = 0.8

    def __post_init__(self) -> None:
        if self.windows < 1 or self.size < 1:
            raise ValueError(f"windows is {self.windows} and size {self.size}; both must be at least 1")
        if not 0 < self.ratio < 1:
            raise ValueError(f"mask ratio is {self.ratio}; it must be in (0, 1)")

    def __call__(self, batch: int, layout: Layout, progress: float = 0.0, generator: Generator = None) -> Mask:
        """A look and a target set for each window."""
        grid = _image_grid(layout, 1)
        extent = (min(self.size, grid[0]), min(self.size, grid[1]))
        count = extent[0] * extent[1]
        if count < 2:
            raise ValueError(f"a window of {extent[0]} x {extent[1]} has one token; raise size, which is {self.size}")
        tokens = _members(_rectangles((self.windows, batch), grid, extent, generator))
        hidden = min(max(1, math.floor(count * self.ratio + 1e-6)), count - 1)
        order = torch.rand(tokens.shape, generator=generator).argsort(2)
        seen, unseen = order[..., hidden:], order[..., :hidden]
        return Mask(_rising(tokens.gather(2, seen)), _rising(tokens.gather(2, unseen)))


@dataclass(frozen=True)
class Curriculum:
    """Go from one masker to another: the later one with probability ``sqrt(progress (1 - start^2) + start^2)``.

    Source: A-JEPA, Fei et al. 2023, arXiv:2311.15830.

    Args:
        early: Masker of the beginning.
        late: Masker of the end.
        start: Probability of ``late`` at the first step, in [0, 1].
    """

    early: Masker
    late: Masker
    start: float = 0.01

    def __post_init__(self) -> None:
        _check_probability("start", self.start)

    def __call__(self, batch: int, layout: Layout, progress: float = 0.0, generator: Generator = None) -> Mask:
        """A mask of one of the two; one draw for the batch."""
        chance = min(1.0, math.sqrt(progress * (1 - self.start**2) + self.start**2))
        chosen = self.late if _coin(chance, generator) else self.early
        return chosen(batch, layout, progress, generator)


@dataclass(frozen=True)
class Mixture:
    """Use one of two maskers for each batch.

    Args:
        first: A masker.
        second: Another.
        share: Probability of ``first``, in [0, 1].
    """

    first: Masker
    second: Masker
    share: float = 0.5

    def __post_init__(self) -> None:
        _check_probability("share", self.share)

    def __call__(self, batch: int, layout: Layout, progress: float = 0.0, generator: Generator = None) -> Mask:
        """A mask of one of the two; one draw for the batch."""
        chosen = self.first if _coin(self.share, generator) else self.second
        return chosen(batch, layout, progress, generator)


def check_masker(masker: Masker, layout: Layout) -> None:
    """Draw once, so that a masker that does not fit the tokens fails before training; the random state stays."""
    if isinstance(masker, Curriculum):
        parts: tuple[Masker, ...] = (masker.early, masker.late)
    else:
        parts = (masker.first, masker.second) if isinstance(masker, Mixture) else ()
    for part in parts:
        check_masker(part, layout)
    if not parts:
        masker(2, layout, 0.0, torch.Generator().manual_seed(0))


# -- settings ----------------------------------------------------------------------------------------------------------
def _check_blocks(plan: MultiBlock | TimeFrequency) -> None:
    for name in ("blocks", "min_keep", "tries"):
        if getattr(plan, name) < 1:
            raise ValueError(f"{name} is {getattr(plan, name)}; it must be at least 1")
    for name, top in (("scale", 1.0), ("aspect", math.inf), ("context_scale", 1.0)):
        _check_range(name, getattr(plan, name), top, closed=True)


def _check_range(name: str, limits: Range, top: float, *, closed: bool = False) -> None:
    low, high = limits
    if not 0 < low <= high <= top or (high == top and not closed):
        raise ValueError(f"{name} is ({low}, {high}); it must rise and lie in (0, {top}{']' if closed else ')'}")


def _check_probability(name: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise ValueError(f"{name} is {value}; it is a probability, in [0, 1]")


def _tokens(layout: Layout) -> int:
    if layout.count < 2:
        raise ValueError(f"the grid {layout.grid} has {layout.count} token; masking needs 2: use a smaller patch")
    return layout.count


def _image_grid(layout: Layout, min_keep: int) -> tuple[int, int]:
    count = _tokens(layout)
    if len(layout.grid) != 2:
        raise ValueError(f"the grid {layout.grid} has not two axes; use RandomMask, or Blocks for series")
    if min_keep >= count:
        raise ValueError(
            f"min_keep is {min_keep} but the grid {layout.grid} has {count} tokens; lower min_keep or patch"
        )
    return layout.grid[0], layout.grid[1]


# -- draws -------------------------------------------------------------------------------------------------------------
def _uniform(limits: Range, generator: Generator) -> float:
    return limits[0] + (limits[1] - limits[0]) * torch.rand((), generator=generator).item()


def _coin(chance: float, generator: Generator) -> bool:
    return torch.rand((), generator=generator).item() < chance


def _share(count: int, share: float, most: int) -> int:
    """A share of a count, at least 1 and at most ``most``."""
    return min(max(1, round(count * share)), max(1, most))


def _composition(batch: int, total: int, parts: int, generator: Generator) -> Tensor:
    """``parts`` numbers >= 0 that add up to ``total``, for each sample, (batch, parts)."""
    cuts = torch.randint(total + 1, (batch, parts - 1), generator=generator).sort(1).values
    ends = torch.cat([torch.zeros(batch, 1, dtype=torch.long), cuts, torch.full((batch, 1), total)], 1)
    return ends.diff(dim=1)


def _blocks(
    plan: MultiBlock | TimeFrequency, batch: int, grid: tuple[int, int], generator: Generator, *, lines: bool
) -> tuple[Tensor, Tensor]:
    """Maps of target blocks (M, B, T) and of the context (B, T), which holds at least ``min_keep`` tokens."""
    count = grid[0] * grid[1]
    size = _shrink(_extent(grid, plan.scale, plan.aspect, generator), count - plan.min_keep)
    frame = _extent(grid, plan.context_scale, (1.0, 1.0), generator)
    targets, context = _place(batch, grid, size, frame, plan.blocks, generator, lines=lines)
    for _ in range(plan.tries - 1):
        poor = (context.sum(1) < plan.min_keep).nonzero()[:, 0]
        if not len(poor):
            break
        targets[:, poor], context[poor] = _place(len(poor), grid, size, frame, plan.blocks, generator, lines=lines)
    poor = context.sum(1) < plan.min_keep
    targets[:, poor] = targets[:1, poor]
    context[poor] = ~targets[0, poor]
    return targets, context


def _place(
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
    targets = _rectangles((blocks, batch), grid, size, generator)
    context = _rectangles((batch,), grid, frame, generator)
    lost = _lines(targets, grid, generator) if lines else targets
    return targets, context & ~lost.any(0)


def _lines(targets: Tensor, grid: tuple[int, int], generator: Generator) -> Tensor:
    """Whole columns or whole rows of blocks (M, B, T), by a coin for each."""
    maps = targets.unflatten(2, grid)
    columns = torch.rand(*targets.shape[:2], 1, 1, generator=generator) < 0.5
    lost = torch.where(columns, maps.any(2, keepdim=True).expand_as(maps), maps.any(3, keepdim=True).expand_as(maps))
    return lost.flatten(2)


def _extent(grid: Grid, scale: Range, aspect: Range, generator: Generator) -> tuple[int, int]:
    """Rows and columns of a block; a side that the grid cuts short is made up for by the other one."""
    area, ratio = grid[0] * grid[1] * _uniform(scale, generator), _uniform(aspect, generator)
    rows, columns = math.sqrt(area * ratio), math.sqrt(area / ratio)
    if rows > grid[0]:
        rows, columns = grid[0], area / grid[0]
    elif columns > grid[1]:
        rows, columns = area / grid[1], grid[1]
    return min(max(1, round(rows)), grid[0]), min(max(1, round(columns)), grid[1])


def _shrink(size: tuple[int, int], limit: int) -> tuple[int, int]:
    """Take rows or columns off a block, from the longer side, until it has at most ``limit`` tokens."""
    rows, columns = size
    while rows * columns > limit:
        rows, columns = (rows - 1, columns) if rows >= columns else (rows, columns - 1)
    return rows, columns


def _rectangles(shape: tuple[int, ...], grid: Grid, size: tuple[int, int], generator: Generator) -> Tensor:
    """Maps (*shape, T) of rectangles at uniformly drawn places, borders included."""
    inside = []
    for side, extent in zip(grid, size, strict=True):
        start = torch.randint(side - extent + 1, (*shape, 1), generator=generator)
        line = torch.arange(side)
        inside.append((line >= start) & (line < start + extent))
    return (inside[0][..., :, None] & inside[1][..., None, :]).flatten(-2)


def _subsample(member: Tensor, count: int, generator: Generator) -> Tensor:
    """Positions of ``count`` members of each row of a map (B, T), drawn uniformly, in rising order."""
    noise = torch.rand(member.shape, generator=generator).masked_fill(~member, 2.0)
    return _rising(noise.argsort(1)[:, :count])


def _members(maps: Tensor) -> Tensor:
    """Positions (M, B, n) of the members of maps (M, B, T) that have n each."""
    return maps.nonzero()[:, 2].view(*maps.shape[:2], -1)


def _split(hidden: Tensor) -> Mask:
    """One look and one target set from a map (B, T) of what is hidden, as much in each row."""
    return Mask(_members(~hidden[None]), _members(hidden[None]))


def _rising(index: Tensor) -> Tensor:
    return index.sort(-1).values
