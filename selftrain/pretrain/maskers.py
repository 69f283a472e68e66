"""Which tokens an encoder sees and which are predicted from them: maskers of every kind of data.

Each is called as ``masker(batch, layout, progress, generator)``, see ``geometry.Masker``. Counts are drawn once for a
batch, positions for each sample; drawing always ends, on every grid of two tokens or more. With the default settings
every token is seen in some draws and predicted in others; contiguous blocks or runs that are set to cover more than
half of an axis always cover its middle.

Settings out of range raise ``ValueError`` where a masker is made, layouts that it cannot mask where it is called.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from selftrain.networks.token_grid import Layout, Mask, Masker
from selftrain.pretrain.draws import (
    BlockPlan,
    Generator,
    Range,
    between,
    blocks,
    check_count,
    check_range,
    coin,
    composition,
    floor,
    greedy_order,
    members,
    others,
    rectangles,
    rising,
    share,
    subsample,
)
from selftrain.types import plain_settings


@plain_settings
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
        _check_ratio(self.ratio)

    def __call__(self, batch: int, layout: Layout, progress: float = 0.0, generator: Generator = None) -> Mask:
        """One look, one target set: all that is not seen."""
        count = _tokens(layout)
        seen = floor(count * (1 - self.ratio), count - 1)
        order = torch.rand(batch, count, generator=generator).argsort(1)
        return Mask(rising(order[:, :seen])[None], rising(order[:, seen:])[None])


@plain_settings
@dataclass(frozen=True)
class MultiBlock(BlockPlan):
    """Predict some blocks of a grid from a large context block without them.

    The sizes of target and context blocks are drawn once for the batch, their positions for each sample. Samples whose
    context keeps fewer than ``min_keep`` tokens are drawn again, at most ``tries`` times; then their blocks are put on
    one place and the context is all the rest. Contexts are cut to the shortest of the batch.

    Source: I-JEPA, Assran et al. 2023, arXiv:2301.08243, section 3; defaults are its, but for ``min_keep`` (the
    released code has 10, made for a grid of 14 x 14). Differs from the released code: scale and aspect are independent
    draws (there one number drives both), positions include the last row and column, contexts are cut to one length at
    random (there in raster order, which drops the bottom rows), and targets never stay in the context (there after 20
    failures they may). ``union`` is of CNN-JEPA, Kalapos & Gyires-Toth 2024, arXiv:2408.07514.

    Args:
        blocks, scale, aspect, context_scale, min_keep, tries: See ``BlockPlan``.
        union: Whether all blocks together are one target set, cut to the smallest of the batch at random; what is cut
            off is neither seen nor predicted. Otherwise each block is a set.
    """

    union: bool = False

    def __call__(self, batch: int, layout: Layout, progress: float = 0.0, generator: Generator = None) -> Mask:
        """One look; M target sets, or one."""
        grid = _image_grid(layout, self.min_keep)
        targets, context = blocks(self, batch, grid, generator, lines=False)
        seen = subsample(context, int(context.sum(1).min()), generator)[None]
        if not self.union:
            return Mask(seen, members(targets))
        hidden = targets.any(0)
        return Mask(seen, subsample(hidden, int(hidden.sum(1).min()), generator)[None])


@plain_settings
@dataclass(frozen=True)
class TimeFrequency(BlockPlan):
    """Predict blocks of a spectrogram, from a context that does not know their times, or not their frequencies, at all.

    As ``MultiBlock``, but for every block and sample a coin decides whether the context also loses all tokens of the
    block's columns (times) or all of its rows (frequencies). A sample whose context keeps fewer than ``min_keep``
    tokens is drawn again, coins too, at most ``tries`` times; then its blocks are put on one place, and the context is
    all the rest, the block's rows and columns too. On a grid with one row (or column) most samples end so.

    Source: A-JEPA, Fei et al. 2023, arXiv:2311.15830, known here from summaries; no code was published, and that a coin
    decides which lines are lost is a guess.

    Args:
        blocks, scale, aspect, context_scale, min_keep, tries: See ``BlockPlan``.
    """

    blocks: int = 3
    scale: Range = (0.05, 0.075)

    def __call__(self, batch: int, layout: Layout, progress: float = 0.0, generator: Generator = None) -> Mask:
        """One look, a target set for each block."""
        grid = _image_grid(layout, self.min_keep)
        targets, context = blocks(self, batch, grid, generator, lines=True)
        return Mask(subsample(context, int(context.sum(1).min()), generator)[None], members(targets))


@plain_settings
@dataclass(frozen=True)
class Blocks:
    """Hide contiguous stretches of a series until only a small share is seen; all that is hidden is predicted.

    The number of stretches is drawn once for the batch, evenly from 1 to as many as fit. Their lengths and the gaps
    between them are drawn for each sample, evenly from all that are possible; no two stretches touch.

    Source: ECG-JEPA, Weimann & Conrad 2024, arXiv:2410.13867: 15 to 25 % are seen, stretches of at least 10 of 200
    tokens. Differs: counts are exact (there stretches are added until the share is reached), and the default length is
    for short series.

    Args:
        keep: Smallest and largest share of tokens seen, in (0, 1); at least one is seen and one hidden.
        length: Tokens of the shortest stretch, >= 1. Stretches are shorter only where fewer tokens are hidden in all,
            and in series so short (of 12 tokens or fewer, with the defaults) that else some tokens were never seen: one
            that is seen alone, next to the first, leaves a stretch of one.
    """

    keep: Range = (0.15, 0.25)
    length: int = 3

    def __post_init__(self) -> None:
        check_range("keep", self.keep, 1.0)
        check_count("length", self.length)

    def __call__(self, batch: int, layout: Layout, progress: float = 0.0, generator: Generator = None) -> Mask:
        """One look, one target set: all that is not seen."""
        count = _tokens(layout)
        if len(layout.grid) != 1:
            raise ValueError(f"the grid {layout.grid} is no series, it has not one axis; use RandomMask or MultiBlock")
        seen = share(count, between(self.keep, generator), count - 1)
        hidden = count - seen
        least = min(self._shortest(count), hidden)
        runs = int(torch.randint(1, min(hidden // least, seen + 1) + 1, (), generator=generator))
        lengths = least + composition(batch, hidden - runs * least, runs, generator)
        gaps = composition(batch, seen - (runs - 1), runs + 1, generator)
        # gaps at both ends may be empty, those between two stretches may not: touching ones would be one
        gaps[:, 1:-1] += 1
        starts = gaps[:, :-1].cumsum(1) + lengths.cumsum(1) - lengths
        place = torch.arange(count)
        inside = (place >= starts[..., None]) & (place < (starts + lengths)[..., None])
        unseen = inside.any(1)[None]
        return Mask(members(~unseen), members(unseen))

    def _shortest(self, count: int) -> int:
        """``length``, or what still lets every token be seen in batches that see the middle of ``keep``."""
        seen = share(count, sum(self.keep) / 2, count - 1)
        hidden = count - seen
        # one stretch can be at either end if seen >= hidden; else two must fit, and a gap as long as a stretch
        return min(self.length, hidden if seen >= hidden else min(seen, hidden // 2))


@plain_settings
@dataclass(frozen=True)
class FeatureSubset:
    """See a random subset of the tokens, and predict some others: columns of a table have no neighbors.

    Source: T-JEPA, Thimonier et al. 2024, arXiv:2410.05016: shares drawn once for the batch, context and targets
    disjoint. Differs from the released code, as the paper has it: each target set is a draw of its own (there all are
    alike), and tokens are columns only (there position 0 is the extra token and the last column is never hidden).

    Args:
        context: Smallest and largest share of tokens seen, in (0, 1); at least one is seen, and one left.
        target: Smallest and largest share of tokens in a target set, in (0, 1); at least one, and at most what the
            context leaves, less one if there are several sets (else all would be alike).
        sets: Target sets, >= 1; they may overlap.
    """

    context: Range = (0.2, 0.4)
    target: Range = (0.2, 0.4)
    sets: int = 4

    def __post_init__(self) -> None:
        check_range("context", self.context, 1.0)
        check_range("target", self.target, 1.0)
        check_count("sets", self.sets)

    def __call__(self, batch: int, layout: Layout, progress: float = 0.0, generator: Generator = None) -> Mask:
        """One look, ``sets`` target sets."""
        count = _tokens(layout)
        seen = share(count, between(self.context, generator), count - 1)
        # one fewer than there are if there are several sets: else each would be all the rest, and all would be alike
        asked = share(count, between(self.target, generator), count - seen - (self.sets > 1))
        order = torch.rand(batch, count, generator=generator).argsort(1)
        rest = order[:, seen:].expand(self.sets, -1, -1)
        # a draw of its own for each set: the released code shuffles one buffer and keeps slices of it, so that its sets
        # are alike
        chosen = torch.rand(rest.shape, generator=generator).argsort(2)[..., :asked]
        return Mask(rising(order[:, :seen])[None], rising(rest.gather(2, chosen)))


@plain_settings
@dataclass(frozen=True)
class Runs:
    """Predict runs of tokens that are neighbors, from a run of what remains.

    With places the order is ``draws.greedy_order``, so that runs are blobs in space; without, it is raster order.
    Where the target runs of a sample would leave nothing to see, all are put on the first one's place.

    Source: Point-JEPA, Saito et al. 2024, arXiv:2404.16432. Differs from the released code: positions are
    drawn for each sample (there one draw serves the whole batch).

    Args:
        sets: Target runs, >= 1; they may overlap.
        target: Smallest and largest share of the tokens in a target run, in (0, 1).
        context: Smallest and largest share of what remains that is seen, in (0, 1]; of the sample of the batch where
            the least remains.
    """

    sets: int = 4
    target: Range = (0.15, 0.2)
    context: Range = (0.4, 0.75)

    def __post_init__(self) -> None:
        check_count("sets", self.sets)
        check_range("target", self.target, 1.0)
        check_range("context", self.context, 1.0, closed=True)

    def __call__(self, batch: int, layout: Layout, progress: float = 0.0, generator: Generator = None) -> Mask:
        """One look, ``sets`` target sets."""
        count = _tokens(layout)
        order = _run_order(batch, layout)
        targets, free = self._targets(batch, count, generator)
        left = free.sum(1)
        # of the sample with the least left, so that all contexts of the batch have one length
        seen = share(int(left.min()), between(self.context, generator), int(left.min()))
        first = (torch.rand(batch, generator=generator) * (left - seen + 1)).long()[:, None]
        # the context is a run of what remains: places in the order that the targets took are jumped over
        rank = free.cumsum(1) - 1
        context = order[free & (rank >= first) & (rank < first + seen)].view(1, batch, seen)
        return Mask(rising(context), rising(order.expand(self.sets, -1, -1).gather(2, targets)))

    def _targets(self, batch: int, count: int, generator: Generator) -> tuple[Tensor, Tensor]:
        """Places of the runs in the order (M, B, n), and a map (B, T) of what they leave: at least one."""
        length = share(count, between(self.target, generator), count - 1)
        targets = torch.randint(count - length + 1, (self.sets, batch, 1), generator=generator) + torch.arange(length)
        lost = ~others(targets, count).any(1)
        # with fewer than all tokens in one run, something is left once all runs are that one
        targets[:, lost] = targets[:1, lost]
        return targets, others(targets, count)


@plain_settings
@dataclass(frozen=True)
class LocalWindows:
    """Look at small windows of a grid, each on its own, and predict most of each from its rest.

    Source: LoMaR, Chen et al. 2022, arXiv:2206.00790, as SAR-JEPA uses it (Li et al. 2024, arXiv:2311.15153):
    ``floor(n * ratio)`` of the n tokens of a window are hidden. Differs from the released code: places are drawn for
    each sample (there for the batch, no row or column twice), and windows are cut to small grids (there refused).

    Args:
        windows: Windows of a sample W, >= 1; they may overlap.
        size: Tokens a side, >= 2; at most the grid's.
        ratio: Share of a window's tokens that is hidden, in (0, 1); at least one is hidden and one seen.
    """

    windows: int = 4
    size: int = 7
    ratio: float = 0.8

    def __post_init__(self) -> None:
        check_count("windows", self.windows)
        check_count("size", self.size, least=2)
        _check_ratio(self.ratio)

    def __call__(self, batch: int, layout: Layout, progress: float = 0.0, generator: Generator = None) -> Mask:
        """W looks with a target set each, in token numbers of the whole grid."""
        grid = _image_grid(layout)
        # small grids have smaller windows: the default of 7 was made for 14 x 14
        extent = (min(self.size, grid[0]), min(self.size, grid[1]))
        tokens = members(rectangles((self.windows, batch), grid, extent, generator))
        hidden = floor(tokens.shape[2] * self.ratio, tokens.shape[2] - 1)
        order = torch.rand(tokens.shape, generator=generator).argsort(2)
        seen, unseen = tokens.gather(2, order[..., hidden:]), tokens.gather(2, order[..., :hidden])
        return Mask(rising(seen), rising(unseen))


@plain_settings
@dataclass(frozen=True)
class Curriculum:
    """Go from one masker to another: the later one with probability ``sqrt(progress (1 - start^2) + start^2)``.

    Source: A-JEPA, Fei et al. 2023, arXiv:2311.15830.

    Args:
        early: Masker of the beginning.
        late: Masker of the end; at ``progress`` 1 the only one.
        start: Probability of ``late`` at ``progress`` 0, in [0, 1].
    """

    early: Masker
    late: Masker
    start: float = 0.01

    def __post_init__(self) -> None:
        _check_probability("start", self.start)

    def __call__(self, batch: int, layout: Layout, progress: float = 0.0, generator: Generator = None) -> Mask:
        """A mask of one of the two; one draw for the batch."""
        if not 0 <= progress <= 1:
            raise ValueError(f"progress is {progress}; it is a share of the stage, in [0, 1]")
        chance = min(1.0, math.sqrt(progress * (1 - self.start**2) + self.start**2))
        # one draw a batch: both maskers count tokens by the batch, and their sets have other lengths
        chosen = self.late if coin(chance, generator) else self.early
        return chosen(batch, layout, progress, generator)


@plain_settings
@dataclass(frozen=True)
class Mixture:
    """Use one of two maskers, another draw for each batch.

    Source: CNN-JEPA, Kalapos & Gyires-Toth 2024, arXiv:2408.07514: blocks with probability 0.75, else random tokens.

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
        chosen = self.first if coin(self.share, generator) else self.second
        return chosen(batch, layout, progress, generator)


def check_masker(masker: Masker, layout: Layout) -> None:
    """Draw once, so that a masker that does not fit the tokens fails before training; the random state stays.

    Of ``Curriculum`` and ``Mixture`` both parts are tried, at any depth.
    """
    parts: tuple[Masker, ...] = ()
    if isinstance(masker, Curriculum):
        parts = (masker.early, masker.late)
    elif isinstance(masker, Mixture):
        parts = (masker.first, masker.second)
    for part in parts:
        check_masker(part, layout)
    if not parts:
        # with a generator of its own, so that checking costs no draw of the caller's
        masker(2 if layout.places is None else len(layout.places), layout, 0.0, torch.Generator().manual_seed(0))


# -- settings ----------------------------------------------------------------------------------------------------------
def _check_ratio(ratio: float) -> None:
    if not 0 < ratio < 1:
        raise ValueError(f"mask ratio is {ratio}; it must be in (0, 1)")


def _check_probability(name: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise ValueError(f"{name} is {value}; it is a probability, in [0, 1]")


# -- layouts -----------------------------------------------------------------------------------------------------------
def _tokens(layout: Layout) -> int:
    if layout.count < 2:
        raise ValueError(f"the grid {layout.grid} has {layout.count} token; masking needs 2: use a smaller patch")
    return layout.count


def _image_grid(layout: Layout, min_keep: int = 1) -> tuple[int, int]:
    count = _tokens(layout)
    if len(layout.grid) != 2:
        raise ValueError(f"the grid {layout.grid} has not two axes; use RandomMask, or Blocks for series")
    if min_keep >= count:
        raise ValueError(
            f"min_keep is {min_keep} but the grid {layout.grid} has {count} tokens; lower min_keep or patch"
        )
    return layout.grid[0], layout.grid[1]


def _run_order(batch: int, layout: Layout) -> Tensor:
    """Token numbers in the order of runs, (B, T), on the CPU."""
    if layout.places is None:
        return torch.arange(layout.count).expand(batch, -1)
    if layout.places.shape[:2] != (batch, layout.count):
        raise ValueError(
            f"places are {tuple(layout.places.shape)}; a batch of {batch} on the grid {layout.grid} needs "
            f"({batch}, {layout.count}, dims)"
        )
    return greedy_order(layout.places.cpu())
