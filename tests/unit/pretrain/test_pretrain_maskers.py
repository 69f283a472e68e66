import itertools
import math
from collections import Counter
from dataclasses import dataclass
from fractions import Fraction

import hypothesis
import pytest
import torch
from hypothesis import strategies as some

from selftrain.networks.token_grid import Layout, Mask
from selftrain.pretrain.draws import greedy_order
from selftrain.pretrain.maskers import (
    Blocks,
    Curriculum,
    FeatureSubset,
    LocalWindows,
    Mixture,
    MultiBlock,
    RandomMask,
    Runs,
    TimeFrequency,
    check_masker,
)

SQUARES = [*itertools.product((2, 3, 4), repeat=2), (7, 7), (2, 8)]
LINES = [(1, n) for n in (2, 3, 5, 9)] + [(n, 1) for n in (2, 3, 5, 9)]
SERIES = [(n,) for n in (*range(2, 16), 40)]
IMAGES = {"blocks": MultiBlock(), "union": MultiBlock(union=True), "time": TimeFrequency(), "windows": LocalWindows()}
ANY = {"random": RandomMask(), "features": FeatureSubset(), "runs": Runs()}
EVERY = IMAGES | ANY | {"series": Blocks()}
PAIRS = [pytest.param(m, g, id=f"{n}-{g}") for n, m in (IMAGES | ANY).items() for g in SQUARES + LINES]
PAIRS += [pytest.param(m, g, id=f"{n}-{g}") for n, m in ({"series": Blocks()} | ANY).items() for g in SERIES]


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def drawn(masker, batch, grid, seed=0, progress=0.0):
    return masker(batch, Layout(grid), progress, seeded(seed))


def grid_for(masker):
    return (40,) if isinstance(masker, Blocks) else (8, 8)


def equal(a, b):
    return all(p.shape == q.shape and torch.equal(p, q) for p, q in ((a.context, b.context), (a.targets, b.targets)))


def member(index, count):
    """Map (..., T) of positions (..., n)."""
    return torch.zeros(*index.shape[:-1], count, dtype=torch.bool).scatter(-1, index, True)


def sound(mask, batch, grid):
    """Asserts what every mask has to be."""
    count = math.prod(grid)
    for sets in (mask.context, mask.targets):
        assert sets.dtype == torch.long
        assert sets.shape[1] == batch
        assert sets.shape[2] >= 1
        assert sets.min() >= 0
        assert sets.max() < count
        assert (sets.diff(dim=-1) > 0).all()  # rising, so without repetition too
    looks = mask.context.repeat_interleave(mask.repeats, 0)
    assert not (member(looks, count) & member(mask.targets, count)).any()


# -- all ---------------------------------------------------------------------------------------------------------------
@pytest.mark.one_in(3)
@pytest.mark.parametrize(("masker", "grid"), PAIRS)
def test_masks_are_sound_and_cover_every_grid(masker, grid):
    count, generator = math.prod(grid), seeded(0)
    seen, hidden = torch.zeros(count, dtype=torch.bool), torch.zeros(count, dtype=torch.bool)
    for _ in range(40):
        mask = masker(24, Layout(grid), 0.0, generator)
        sound(mask, 24, grid)
        seen |= member(mask.context, count).flatten(0, 1).any(0)
        hidden |= member(mask.targets, count).flatten(0, 1).any(0)
    assert seen.all()
    assert hidden.all()


def range_of(top, low=0.02):
    pair = some.tuples(some.floats(low, top), some.floats(low, top))
    return pair.map(sorted).map(tuple)


COUNT, SHARE, AXIS = some.integers(1, 5), range_of(0.98), some.integers(1, 8)
BLOCKS = {
    "blocks": COUNT,
    "scale": range_of(1.0),
    "aspect": range_of(9.0, 0.1),
    "context_scale": range_of(1.0),
    "min_keep": COUNT,
    "tries": some.integers(1, 4),
}
OF_IMAGES = (
    some.builds(MultiBlock, **BLOCKS, union=some.booleans())
    | some.builds(TimeFrequency, **BLOCKS)
    | some.builds(LocalWindows, windows=COUNT, size=some.integers(2, 9), ratio=some.floats(0.01, 0.99))
)
OF_ANY = (
    some.builds(RandomMask, ratio=some.floats(0.01, 0.99))
    | some.builds(FeatureSubset, context=SHARE, target=SHARE, sets=COUNT)
    | some.builds(Runs, sets=COUNT, target=SHARE, context=range_of(1.0))
)
OF_SERIES = some.builds(Blocks, keep=SHARE, length=some.integers(1, 12))
GRID_2D = some.tuples(AXIS, AXIS).filter(lambda grid: math.prod(grid) > 1)
CASES = (
    some.tuples(OF_IMAGES | OF_ANY, GRID_2D)
    | some.tuples(OF_SERIES | OF_ANY, some.tuples(some.integers(2, 60)))
    | some.tuples(OF_ANY, some.tuples(some.integers(2, 3), AXIS, AXIS))
)


@hypothesis.given(case=CASES, batch=some.integers(1, 6), seed=some.integers(0, 10**6), progress=some.floats(0, 1))
@hypothesis.settings(max_examples=400, deadline=None)
def test_masks_are_sound_whatever_the_settings(case, batch, seed, progress):
    masker, grid = case
    hypothesis.assume(getattr(masker, "min_keep", 0) < math.prod(grid))
    before = torch.get_rng_state()
    mask = drawn(masker, batch, grid, seed, progress)
    sound(mask, batch, grid)
    assert mask.context.shape[2] >= getattr(masker, "min_keep", 1)
    assert equal(mask, drawn(masker, batch, grid, seed, progress))
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("masker", EVERY.values(), ids=EVERY)
def test_masks_follow_their_seed_and_a_generator_stays_local(masker):
    grid = grid_for(masker)
    before = torch.get_rng_state()
    first = drawn(masker, 5, grid, 1)
    assert torch.equal(before, torch.get_rng_state())
    assert equal(first, drawn(masker, 5, grid, 1))
    assert not equal(first, drawn(masker, 5, grid, 2))
    torch.manual_seed(1)
    assert equal(first, masker(5, Layout(grid)))
    assert not equal(first, masker(5, Layout(grid)))


@pytest.mark.parametrize("masker", EVERY.values(), ids=EVERY)
def test_samples_of_a_batch_have_masks_of_their_own(masker):
    mask = drawn(masker, 12, grid_for(masker))
    for sets in (mask.context, mask.targets):
        assert len({tuple(row.flatten().tolist()) for row in sets.unbind(1)}) > 6


@pytest.mark.parametrize(
    ("masker", "change"),
    [
        (RandomMask(), {"ratio": 0.5}),
        (MultiBlock(), {"blocks": 2}),
        (MultiBlock(), {"scale": (0.05, 0.05)}),
        (MultiBlock(), {"aspect": (4.0, 4.0)}),
        (MultiBlock(), {"context_scale": (0.3, 0.3)}),
        (MultiBlock(), {"min_keep": 40}),
        (MultiBlock(min_keep=40), {"tries": 1}),
        (MultiBlock(), {"union": True}),
        (TimeFrequency(), {"blocks": 2}),
        (TimeFrequency(), {"scale": (0.2, 0.2)}),
        (TimeFrequency(), {"aspect": (4.0, 4.0)}),
        (TimeFrequency(), {"context_scale": (0.3, 0.3)}),
        (TimeFrequency(), {"min_keep": 40}),
        (TimeFrequency(min_keep=30), {"tries": 1}),
        (Blocks(), {"keep": (0.5, 0.6)}),
        (Blocks(), {"length": 12}),
        (FeatureSubset(), {"context": (0.5, 0.6)}),
        (FeatureSubset(), {"target": (0.1, 0.1)}),
        (FeatureSubset(), {"sets": 2}),
        (Runs(), {"sets": 2}),
        (Runs(), {"target": (0.3, 0.3)}),
        (Runs(), {"context": (0.1, 0.2)}),
        (LocalWindows(size=4), {"windows": 2}),
        (LocalWindows(size=4), {"size": 5}),
        (LocalWindows(size=4), {"ratio": 0.5}),
    ],
    ids=str,
)
def test_every_setting_shows(masker, change):
    changed = type(masker)(**(vars(masker) | change))
    grid = grid_for(masker)
    assert not all(equal(drawn(masker, 16, grid, seed), drawn(changed, 16, grid, seed)) for seed in range(5))


@pytest.mark.parametrize(
    ("kind", "change", "message"),
    [
        *[(RandomMask, {"ratio": ratio}, f"mask ratio is {ratio}") for ratio in (0.0, 1.0, -0.1, 1.5, math.nan)],
        *[
            case
            for kind in (MultiBlock, TimeFrequency)
            for case in (
                (kind, {"blocks": 0}, "blocks is 0"),
                (kind, {"min_keep": 0}, "min_keep is 0"),
                (kind, {"tries": 0}, "tries is 0"),
                (kind, {"scale": (0.2, 0.1)}, r"scale is \(0.2, 0.1\)"),
                (kind, {"scale": (0.2, 1.1)}, r"scale is \(0.2, 1.1\); it must rise and lie in \(0, 1.0\]"),
                (kind, {"aspect": (0.0, 1.0)}, "aspect is"),
                (kind, {"aspect": (1.0, math.inf)}, "aspect is"),
                (kind, {"context_scale": (-1, 1)}, "context_scale is"),
            )
        ],
        (Blocks, {"keep": (0.2, 1.0)}, r"keep is \(0.2, 1.0\); it must rise and lie in \(0, 1.0\)"),
        (Blocks, {"length": 0}, "length is 0"),
        (FeatureSubset, {"context": (0.0, 0.5)}, "context is"),
        (FeatureSubset, {"target": (0.5, 0.4)}, "target is"),
        (FeatureSubset, {"sets": 0}, "sets is 0"),
        (Runs, {"sets": 0}, "sets is 0"),
        (Runs, {"target": (0.5, 1.0)}, "target is"),
        (Runs, {"context": (0.5, 1.1)}, "context is"),
        (LocalWindows, {"windows": 0}, "windows is 0"),
        (LocalWindows, {"size": 1}, "size is 1; it must be at least 2"),
        (LocalWindows, {"ratio": 1.0}, "mask ratio is 1.0"),
        (Curriculum, {"early": Runs(), "late": Runs(), "start": 1.5}, "start is 1.5"),
        (Mixture, {"first": Runs(), "second": Runs(), "share": -0.5}, "share is -0.5"),
    ],
)
def test_impossible_settings_are_refused(kind, change, message):
    with pytest.raises(ValueError, match=message):
        kind(**change)


@pytest.mark.parametrize(
    ("masker", "grid", "message"),
    [
        *[(masker, (1,) if n == "series" else (1, 1), r"has 1 token; .*smaller patch") for n, masker in EVERY.items()],
        *[(masker, (8,), r"the grid \(8,\) has not two axes; use .*Blocks") for masker in IMAGES.values()],
        *[(masker, (2, 2, 2), r"\(2, 2, 2\) has not two axes; use RandomMask") for masker in IMAGES.values()],
        (Blocks(), (4, 4), r"the grid \(4, 4\) is no series.*RandomMask"),
        (MultiBlock(min_keep=16), (4, 4), r"min_keep is 16 but the grid \(4, 4\) has 16 tokens; lower min_keep"),
        (TimeFrequency(min_keep=9), (3, 3), "min_keep is 9"),
    ],
)
def test_layouts_that_do_not_fit_are_refused_by_the_draw_and_by_the_check(masker, grid, message):
    for attempt in (lambda: masker(2, Layout(grid)), lambda: check_masker(masker, Layout(grid))):
        with pytest.raises(ValueError, match=message):
            attempt()


def test_defaults_are_those_of_the_papers():
    assert RandomMask() == RandomMask(ratio=0.75)
    assert MultiBlock() == MultiBlock(4, (0.15, 0.2), (0.75, 1.5), (0.85, 1.0), 1, 20, False)
    assert TimeFrequency() == TimeFrequency(3, (0.05, 0.075), (0.75, 1.5), (0.85, 1.0), 1, 20)
    assert Blocks() == Blocks((0.15, 0.25), 3)
    assert FeatureSubset() == FeatureSubset((0.2, 0.4), (0.2, 0.4), 4)
    assert Runs() == Runs(4, (0.15, 0.2), (0.4, 0.75))
    assert LocalWindows() == LocalWindows(4, 7, 0.8)
    assert Curriculum(Runs(), Runs()).start == 0.01
    assert Mixture(Runs(), Runs()).share == 0.5  # no paper: even


# -- random ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("grid", "ratio", "kept"),
    [((4, 4), 0.75, 4), ((7, 7), 0.75, 12), ((10,), 0.9, 1), ((5, 2), 0.5, 5), ((4,), 0.99, 1), ((4,), 0.01, 3)],
)
def test_random_masks_keep_the_floor_and_part_the_grid(grid, ratio, kept):
    mask, count = RandomMask(ratio)(30, Layout(grid)), math.prod(grid)
    assert mask.context.shape == (1, 30, kept)
    both = torch.cat([mask.context, mask.targets], 2)
    assert torch.equal(both.sort(2).values, torch.arange(count).expand(1, 30, -1))


@pytest.mark.parametrize("share", [Fraction(3, 4), Fraction(3, 5), Fraction(1, 3), Fraction(9, 10)])
def test_counts_that_do_not_divide_are_rounded_down(share):
    """floor(T (1 - ratio)) of every number of tokens, in whole numbers."""
    for count in range(2, 60):
        kept = min(max(1, math.floor(count * (1 - share))), count - 1)
        mask = RandomMask(float(share))(1, Layout((count,)))
        assert (mask.context.shape[2], mask.targets.shape[2]) == (kept, count - kept), count


def test_every_token_is_kept_equally_often():
    mask = drawn(RandomMask(0.75), 4000, (3, 4))
    share = torch.bincount(mask.context.flatten(), minlength=12) / 4000
    assert torch.allclose(share, torch.full((12,), 0.25), atol=0.04)  # 6 standard deviations


# -- blocks of a grid --------------------------------------------------------------------------------------------------
def rectangles(targets, grid):
    """Top, left, height and width of blocks (..., Nt); asserts that they are rectangles."""
    row, column = targets // grid[1], targets % grid[1]
    top, left = row.amin(-1), column.amin(-1)
    height, width = row.amax(-1) - top + 1, column.amax(-1) - left + 1
    assert (height * width == targets.shape[-1]).all()
    return top, left, height, width


@pytest.mark.parametrize("kind", [MultiBlock, TimeFrequency])
def test_targets_are_rectangles_of_one_size_a_batch_and_places_of_their_own(kind):
    sizes = set()
    for seed in range(30):
        targets = drawn(kind(scale=(0.15, 0.2)), 8, (14, 14), seed).targets
        top, left, height, width = rectangles(targets, (14, 14))
        assert len(height.unique()) == len(width.unique()) == 1
        assert len(set(zip(top.flatten().tolist(), left.flatten().tolist(), strict=True))) > 8
        sizes.add((int(height[0, 0]), int(width[0, 0])))
    assert len(sizes) > 5


def test_scale_and_aspect_are_drawn_independently_over_their_whole_range():
    rows = []
    for seed in range(400):
        _, _, height, width = rectangles(drawn(MultiBlock(blocks=1), 1, (60, 60), seed).targets, (60, 60))
        rows.append([int(height * width) / 3600, int(height) / int(width)])
    scale, aspect = torch.tensor(rows).T
    assert 0.145 < scale.min() < 0.155
    assert 0.195 < scale.max() < 0.205
    assert 0.72 < aspect.min() < 0.80
    assert 1.44 < aspect.max() < 1.55
    assert torch.corrcoef(torch.stack([scale, aspect]))[0, 1].abs() < 0.2  # the released code has about 1


def test_places_are_uniform_with_both_borders():
    plan = MultiBlock(blocks=1, scale=(0.25, 0.25), aspect=(1.0, 1.0))  # 2 x 2 on 4 x 4: nine places
    top, left, _, _ = rectangles(drawn(plan, 4500, (4, 4)).targets[0], (4, 4))
    counts = torch.bincount(3 * top + left, minlength=9)
    assert len(counts) == 9
    assert ((counts - 500).abs() < 120).all()  # more than 5 standard deviations


def test_contexts_are_cut_to_one_length_at_random_not_from_the_bottom():
    rows = torch.zeros(8)
    for seed in range(60):
        context = drawn(MultiBlock(context_scale=(1.0, 1.0)), 32, (8, 8), seed).context
        rows += torch.bincount((context // 8).flatten(), minlength=8)
    assert rows[7] / rows[0] == pytest.approx(1, abs=0.1)


def test_a_context_alone_in_its_batch_is_the_block_without_the_targets():
    plan = MultiBlock(context_scale=(1.0, 1.0))
    for seed in range(10):
        mask = drawn(plan, 1, (8, 8), seed)
        assert torch.equal(member(mask.context, 64)[0], ~member(mask.targets, 64).any(0))


def test_on_a_line_blocks_are_runs_of_the_wanted_length():
    mask = drawn(MultiBlock(blocks=2, scale=(0.25, 0.25), context_scale=(0.5, 0.5)), 5, (1, 20))
    assert mask.targets.shape == (2, 5, 5)  # the height is 1, so the width makes up for it
    assert ((mask.targets[..., -1] - mask.targets[..., 0]) == 4).all()
    assert (mask.context[..., -1] - mask.context[..., 0] < 10).all()


@pytest.mark.parametrize("kind", [MultiBlock, TimeFrequency])
def test_the_fallback_puts_all_blocks_on_one_place_and_keeps_all_the_rest(kind):
    mask = drawn(kind(blocks=3, scale=(0.9, 0.9), min_keep=4, tries=2), 6, (4, 4))
    assert mask.targets.shape[2] <= 12
    fallen = (mask.targets == mask.targets[:1]).all(-1).all(0)
    assert fallen.any()
    assert mask.context.shape[2] >= 4
    alone = drawn(kind(blocks=3, scale=(0.9, 0.9), min_keep=4, tries=2), 1, (4, 4))
    assert (alone.targets == alone.targets[:1]).all()
    assert torch.equal(member(alone.context, 16)[0], ~member(alone.targets, 16)[0])


def test_poor_samples_are_drawn_again_as_often_as_tries_says():
    def fallen(tries):
        plan = MultiBlock(scale=(0.2, 0.2), context_scale=(1.0, 1.0), min_keep=36, tries=tries)
        targets = drawn(plan, 400, (8, 8)).targets
        return int((targets == targets[:1]).all(-1).all(0).sum())

    once, often = fallen(1), fallen(40)
    assert once > 200  # hardly any places of four blocks leave 36 of 64
    assert often < once / 2


def test_published_shares_on_the_published_grid():
    mask = drawn(MultiBlock(), 64, (14, 14))
    assert math.isclose(mask.targets.shape[2], 0.175 * 196, rel_tol=0.25)
    assert 30 < mask.context.shape[2] < 110


def test_a_union_is_one_set_of_tokens_of_the_blocks_cut_at_random():
    for seed in range(10):
        blocks, union = (drawn(MultiBlock(union=u, context_scale=(1.0, 1.0)), 16, (8, 8), seed) for u in (False, True))
        assert torch.equal(union.context, blocks.context)
        inside = member(blocks.targets, 64).any(0)
        assert union.targets.shape == (1, 16, int(inside.sum(1).min()))
        assert (inside | ~member(union.targets[0], 64)).all()


def test_a_union_is_not_cut_from_the_bottom():
    rows = torch.zeros(2, 8)
    for seed in range(60):
        blocks, union = (drawn(MultiBlock(union=u), 32, (8, 8), seed) for u in (False, True))
        for i, tokens in enumerate((member(blocks.targets, 64).any(0).nonzero()[:, 1], union.targets.flatten())):
            rows[i] += torch.bincount(tokens // 8, minlength=8)
    kept = rows[1] / rows[0]
    assert kept.max() < 0.95  # something was cut
    assert kept[7] / kept[0] == pytest.approx(1, abs=0.1)


# -- times and frequencies ---------------------------------------------------------------------------------------------
def test_the_context_is_what_is_left_when_each_block_takes_its_columns_or_its_rows():
    taken = Counter()
    plan = TimeFrequency(context_scale=(1.0, 1.0), min_keep=9)
    for seed in range(150):
        mask = drawn(plan, 1, (12, 20), seed)
        shown, blocks = member(mask.context[0, 0], 240), member(mask.targets[:, 0], 240).view(3, 12, 20)
        columns, rows = blocks.any(1, keepdim=True).expand_as(blocks), blocks.any(2, keepdim=True).expand_as(blocks)
        fits = []
        for coins in itertools.product((0, 1), repeat=3):
            lost = torch.stack([(columns, rows)[coin][i] for i, coin in enumerate(coins)]).any(0).flatten()
            fits += [coins] * torch.equal(shown, ~lost)
        assert fits
        taken[fits[0]] += len(fits) == 1
    assert len(taken) == 8  # a coin for each block: all ways happen
    assert min(taken.values()) > 5
    first = sum(number for coins, number in taken.items() if coins[0])
    assert first / taken.total() == pytest.approx(0.5, abs=0.2)


def test_coins_are_those_of_a_sample():
    mask = drawn(TimeFrequency(blocks=1, context_scale=(1.0, 1.0)), 200, (8, 8))
    shown, block = member(mask.context[0], 64).view(-1, 8, 8), member(mask.targets[0], 64).view(-1, 8, 8)
    no_column = ~(shown & block.any(1, keepdim=True)).flatten(1).any(1)
    no_row = ~(shown & block.any(2, keepdim=True)).flatten(1).any(1)
    assert (no_column | no_row).all()
    assert 60 < no_column.sum() < 140


def test_where_lines_would_take_all_only_the_blocks_are_hidden():
    plan = TimeFrequency(blocks=1, scale=(0.9, 0.9), tries=3)  # 2 x 2 on 2 x 2 cut to 2 x 1 or 1 x 2
    alone = [drawn(plan, 1, (2, 2), seed) for seed in range(40)]
    assert {mask.context.shape[2] for mask in alone} == {2}
    plan = TimeFrequency(blocks=1, scale=(0.25, 0.25), aspect=(1.0, 1.0), min_keep=3)  # a line leaves two of four
    mask = drawn(plan, 20, (2, 2))
    assert mask.context.shape == (1, 20, 3)


# -- stretches of series -----------------------------------------------------------------------------------------------
def stretches(hidden, count):
    """Lengths of the stretches of hidden positions (n,)."""
    line = "".join("x" if i in set(hidden.tolist()) else " " for i in range(count))
    return tuple(len(part) for part in line.split())


@hypothesis.given(count=some.integers(2, 120), keep=SHARE, length=some.integers(1, 12), seed=some.integers(0, 10**6))
@hypothesis.settings(max_examples=150, deadline=None)
def test_stretches_are_as_long_as_asked_and_as_many_in_each_sample(count, keep, length, seed):
    mask = drawn(Blocks(keep, length), 4, (count,), seed)
    shown, hidden = mask.context.shape[2], mask.targets.shape[2]
    assert mask.context.shape[0] == mask.targets.shape[0] == 1
    assert shown + hidden == count
    assert min(count - 1, max(1, round(count * keep[0]))) <= shown <= max(1, round(count * keep[1]))
    lengths = [stretches(row, count) for row in mask.targets[0]]
    assert len({len(row) for row in lengths}) == 1
    if round(count * sum(keep) / 2) >= length and count * (1 - sum(keep) / 2) >= 2 * length + 1:
        assert min(min(row) for row in lengths) >= min(length, hidden)


@pytest.mark.parametrize("count", [13, 16, 20, 50, 200])
def test_with_the_defaults_no_stretch_is_shorter_than_three_from_13_tokens_on(count):
    for seed in range(40):
        mask = drawn(Blocks(), 8, (count,), seed)
        assert min(min(stretches(row, count)) for row in mask.targets[0]) >= 3


def test_a_few_hidden_tokens_are_one_stretch():
    mask = drawn(Blocks((0.8, 0.8), 10), 400, (20,))  # four are hidden
    assert {stretches(row, 20) for row in mask.targets[0]} == {(4,)}
    assert len(mask.targets[0, :, 0].unique()) == 17


def test_the_number_of_stretches_is_drawn_evenly_from_all_that_fit():
    numbers = Counter()
    for seed in range(900):
        mask = drawn(Blocks((0.5, 0.5), 4), 1, (32,), seed)
        numbers[len(stretches(mask.targets[0, 0], 32))] += 1
    assert set(numbers) == {1, 2, 3, 4}  # 16 hidden, 4 at least in each
    assert all(150 < number < 300 for number in numbers.values())  # 225 expected, 13 the standard deviation


def test_lengths_and_gaps_are_drawn_evenly_from_all_that_are_possible():
    found = {}
    for seed in range(12):
        mask = drawn(Blocks((0.4, 0.4), 2), 3000, (10,), seed)  # 4 seen, 6 hidden
        number = len(stretches(mask.targets[0, 0], 10))
        found.setdefault(number, Counter()).update(tuple(row.tolist()) for row in mask.targets[0])
    # lengths from 2 that add up to 6, times gaps that add up to 4 of which the inner ones are at least 1
    assert {number: len(rows) for number, rows in found.items()} == {1: 1 * 5, 2: 3 * 10, 3: 1 * 10}
    for rows in found.values():
        mean = rows.total() / len(rows)
        assert all(abs(number - mean) < 6 * math.sqrt(mean) for number in rows.values())


def test_the_share_seen_is_drawn_over_its_whole_range():
    shown = [drawn(Blocks(), 1, (200,), seed).context.shape[2] for seed in range(200)]
    assert 30 <= min(shown) <= 32
    assert 48 <= max(shown) <= 50
    assert len(set(shown)) > 15


# -- subsets of features -----------------------------------------------------------------------------------------------
def test_feature_sets_have_the_drawn_shares():
    sizes = set()
    for seed in range(150):
        mask = drawn(FeatureSubset(), 3, (20,), seed)
        assert mask.targets.shape[0] == 4
        sizes.add((mask.context.shape[2], mask.targets.shape[2]))
    assert {a for a, _ in sizes} == {b for _, b in sizes} == {4, 5, 6, 7, 8}
    assert len(sizes) > 15  # independent draws


def test_target_sets_are_draws_of_their_own_from_all_that_is_not_seen():
    mask = drawn(FeatureSubset(context=(0.25, 0.25), target=(0.25, 0.25), sets=2), 6000, (8,))  # 2 seen, 2 of 6 each
    same = (mask.targets[0] == mask.targets[1]).all(1).float().mean()
    assert same == pytest.approx(1 / 15, abs=0.02)  # 6 standard deviations
    share = torch.bincount(mask.targets.flatten(), minlength=8) / 24000
    assert share.tolist() == pytest.approx([1 / 8] * 8, abs=0.015)
    overlap = (mask.targets[0][:, :, None] == mask.targets[1][:, None]).flatten(1).any(1).float().mean()
    assert overlap == pytest.approx(1 - 6 / 15, abs=0.04)


@pytest.mark.parametrize("target", [(0.2, 0.4), (0.9, 0.9)])
def test_where_two_tokens_are_left_target_sets_are_not_all_alike(target):
    for count in (3, 4, 5):
        mask = drawn(FeatureSubset(context=(0.2, 0.4), target=target), 60, (count,))
        assert (mask.targets != mask.targets[:1]).any()


def test_a_single_set_can_be_all_the_rest():
    mask = drawn(FeatureSubset((0.5, 0.5), (0.5, 0.5), sets=1), 9, (8,))
    assert torch.equal(torch.cat([mask.context, mask.targets], 2).sort(2).values, torch.arange(8).expand(1, 9, -1))


# -- runs --------------------------------------------------------------------------------------------------------------
def cloud(batch, count, seed=0, dims=3):
    return torch.randn(batch, count, dims, generator=seeded(seed))


def greedy_by_hand(points):
    """The same order by lists and loops."""
    left = list(range(len(points)))
    order = [left.pop(min(left, key=lambda i: sum(points[i])))]
    while left:
        order.append(min(left, key=lambda i: math.dist(points[order[-1]], points[i])))
        left.remove(order[-1])
    return order


@pytest.mark.parametrize(("count", "dims"), [(1, 3), (2, 1), (12, 2), (40, 3)])
def test_the_greedy_order_goes_to_the_nearest_that_is_left(count, dims):
    places = cloud(5, count, dims=dims)
    order = greedy_order(places)
    assert order.tolist() == [greedy_by_hand(points) for points in places.double().tolist()]


def test_of_equally_near_places_the_lowest_number_comes_first():
    assert greedy_order(torch.zeros(2, 4, 3)).tolist() == [[0, 1, 2, 3]] * 2
    line = torch.tensor([[[2.0], [0.0], [1.0], [-1.0], [0.0]]])
    assert greedy_order(line).tolist() == [[3, 1, 4, 2, 0]]
    assert greedy_order(torch.tensor([[[1.0, 0.0], [0.0, 1.0], [5.0, 5.0]]])).tolist() == [[0, 1, 2]]  # equal sums


def test_far_places_with_small_distances_are_told_apart():
    steps = torch.randperm(60, generator=seeded(0))
    places = 1000 + steps[None, :, None] / 64  # exact in single precision, but squares are not
    assert torch.equal(greedy_order(places)[0], steps.argsort())


@pytest.mark.parametrize(
    ("places", "message"),
    [
        (torch.zeros(3, 4), r"places have shape \(3, 4\)"),
        (torch.zeros(3, 0, 2), r"places have shape \(3, 0, 2\)"),
        (torch.full((1, 2, 3), math.nan), "places hold inf or nan"),
    ],
)
def test_places_that_have_no_order_are_refused(places, message):
    with pytest.raises(ValueError, match=message):
        greedy_order(places)


def contiguous(index):
    return bool((index.diff(dim=-1) == 1).all())


def test_without_places_runs_are_of_raster_order():
    for seed in range(20):
        mask = drawn(Runs(), 1, (5, 8), seed)
        assert contiguous(mask.targets)
        assert mask.targets.shape[:2] == (4, 1)
        assert 6 <= mask.targets.shape[2] <= 8
        left = (~member(mask.targets[:, 0], 40).any(0)).nonzero()[:, 0]
        assert contiguous(torch.searchsorted(left, mask.context[0, 0]))
        assert 0.4 * len(left) - 0.5 <= mask.context.shape[2] <= 0.75 * len(left) + 0.5


def test_the_context_is_a_share_of_the_smallest_remainder_of_the_batch():
    for seed in range(10):
        mask = drawn(Runs(context=(0.5, 0.5)), 32, (60,), seed)
        left = (~member(mask.targets, 60).any(0)).sum(1)
        assert left.min() < left.max()
        assert mask.context.shape[2] == round(0.5 * int(left.min()))


def test_contexts_start_anywhere_in_what_remains():
    mask = drawn(Runs(sets=1, target=(0.5, 0.5), context=(0.6, 0.6)), 4000, (10,))
    ranks = []
    for target, context in zip(mask.targets[0], mask.context[0], strict=True):
        left = (~member(target, 10)).nonzero()[:, 0]
        ranks.append(torch.searchsorted(left, context))
    ranks = torch.stack(ranks)
    assert contiguous(ranks)
    starts = torch.bincount(ranks[:, 0])
    assert len(starts) == 3  # 3 of 5 that remain
    assert ((starts - 4000 / 3).abs() < 180).all()  # 6 standard deviations


def test_target_runs_are_uniform_and_independent():
    mask = drawn(Runs(sets=2, target=(0.2, 0.2)), 6400, (10,))
    first, second = mask.targets[..., 0]
    pairs = torch.bincount(9 * first + second, minlength=81)
    assert len(pairs) == 81
    assert ((pairs - 6400 / 81).abs() < 55).all()  # 6 standard deviations


def test_runs_that_would_hide_all_share_one_place():
    mask = drawn(Runs(sets=4, target=(0.5, 0.5)), 300, (2,))
    assert (mask.targets == mask.targets[:1]).all()
    mask = drawn(Runs(sets=2, target=(0.5, 0.5)), 300, (8,))
    gap = (mask.targets[0, :, 0] - mask.targets[1, :, 0]).abs()
    assert set(gap.tolist()) == {0, 1, 2, 3}  # 4 would hide all eight


def test_with_places_runs_are_those_of_the_greedy_order():
    places = cloud(6, 30)
    rank = greedy_order(places).argsort(1)
    for seed in range(10):
        raster = Runs()(6, Layout((30,)), 0.0, seeded(seed))
        mask = Runs()(6, Layout((30,), places), 0.0, seeded(seed))
        for there, here in ((raster.context, mask.context), (raster.targets, mask.targets)):
            assert torch.equal(rank.expand(len(here), -1, -1).gather(2, here).sort(2).values, there)


def test_runs_choose_the_same_points_however_they_are_numbered():
    places = cloud(5, 64)
    shuffle = torch.stack([torch.randperm(64, generator=seeded(i)) for i in range(5)])
    shuffled = places.gather(1, shuffle[..., None].expand_as(places))
    for seed in range(10):
        mask = Runs()(5, Layout((64,), places), 0.0, seeded(seed))
        again = Runs()(5, Layout((64,), shuffled), 0.0, seeded(seed))
        for here, there in ((mask.context, again.context), (mask.targets, again.targets)):
            assert torch.equal(here, shuffle.expand(len(there), -1, -1).gather(2, there).sort(2).values)
            assert not torch.equal(here, there)


def test_places_of_another_batch_are_refused():
    with pytest.raises(
        ValueError, match=r"places are \(3, 9, 3\); a batch of 2 on the grid \(9,\) needs \(2, 9, dims\)"
    ):
        Runs()(2, Layout((9,), cloud(3, 9)))
    with pytest.raises(ValueError, match=r"places are \(2, 8, 3\)"):
        Runs()(2, Layout((9,), cloud(2, 8)))


# -- windows -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("grid", "size", "window"), [((14, 14), 7, (7, 7)), ((5, 9), 7, (5, 7)), ((1, 9), 3, (1, 3)), ((4, 4), 9, (4, 4))]
)
def test_what_is_seen_and_hidden_of_a_window_make_it_up(grid, size, window):
    mask = drawn(LocalWindows(size=size), 6, grid)
    assert mask.context.shape[:2] == mask.targets.shape[:2] == (4, 6)
    assert mask.targets.shape[2] == math.floor(0.8 * math.prod(window))
    _, _, height, width = rectangles(torch.cat([mask.context, mask.targets], 2), grid)
    assert (height == window[0]).all()
    assert (width == window[1]).all()


def test_windows_are_uniform_and_independent_looks():
    mask = drawn(LocalWindows(windows=2, size=3), 4000, (5, 4))  # six places
    top, left, _, _ = rectangles(torch.cat([mask.context, mask.targets], 2), (5, 4))
    first, second = 2 * top + left
    pairs = torch.bincount(6 * first + second, minlength=36)
    assert len(pairs) == 36
    assert ((pairs - 4000 / 36).abs() < 65).all()  # 6 standard deviations


def test_tokens_of_a_window_are_hidden_equally_often():
    mask = drawn(LocalWindows(windows=1, size=3, ratio=0.67), 4000, (3, 3))
    share = torch.bincount(mask.targets.flatten(), minlength=9) / 4000
    assert share.tolist() == pytest.approx([2 / 3] * 9, abs=0.045)  # 6 standard deviations


@pytest.mark.parametrize(("ratio", "hidden"), [(0.01, 1), (0.99, 3)])
def test_of_a_window_at_least_one_token_is_seen_and_one_hidden(ratio, hidden):
    mask = drawn(LocalWindows(size=2, ratio=ratio), 3, (4, 4))
    assert mask.targets.shape[2] == hidden
    assert mask.context.shape[2] == 4 - hidden


# -- combinations ------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Told:
    """A masker that says by its first context token who it is, and notes how far the stage was."""

    name: int
    heard: list

    def __call__(self, batch, layout, progress=0.0, generator=None):
        self.heard.append(progress)
        return Mask(torch.full((1, batch, 1), self.name), torch.zeros(1, batch, 1, dtype=torch.long))


def names(masker, progress, draws=2000, batch=1):
    generator, layout = seeded(0), Layout((4,))
    return torch.stack([masker(batch, layout, progress, generator).context.flatten() for _ in range(draws)])


@pytest.mark.parametrize("start", [0.01, 0.3])
@pytest.mark.parametrize("progress", [0.0, 0.5, 1.0])
def test_a_curriculum_goes_from_the_early_to_the_late_masker(start, progress):
    heard = []
    late = names(Curriculum(Told(1, heard), Told(2, heard), start), progress) == 2
    chance = (progress + (1 - progress) * start**2) ** 0.5  # f(p) = sqrt(p (1 - c^2) + c^2)
    assert late.float().mean() == pytest.approx(chance, abs=4 * math.sqrt(chance * (1 - chance) / 2000) + 1e-9)
    assert set(heard) == {progress}


def test_a_curriculum_that_starts_at_one_or_zero_leaves_nothing_to_chance():
    assert (names(Curriculum(Told(1, []), Told(2, []), 1.0), 0.0) == 2).all()
    assert (names(Curriculum(Told(1, []), Told(2, []), 0.0), 0.0) == 1).all()


@pytest.mark.parametrize("progress", [-0.1, 1.1])
def test_progress_outside_its_range_is_refused(progress):
    with pytest.raises(ValueError, match=f"progress is {progress}"):
        Curriculum(RandomMask(), RandomMask())(2, Layout((4,)), progress)


@pytest.mark.parametrize("share", [0.0, 0.75, 1.0])
def test_a_mixture_uses_the_first_masker_with_its_share(share):
    heard = []
    first = names(Mixture(Told(1, heard), Told(2, heard), share), 0.4) == 1
    assert first.float().mean() == pytest.approx(share, abs=4 * math.sqrt(share * (1 - share) / 2000) + 1e-9)
    assert set(heard) == {0.4}


@pytest.mark.parametrize("masker", [Curriculum(RandomMask(), MultiBlock(), 0.7), Mixture(Runs(), RandomMask(), 0.5)])
def test_one_draw_decides_for_the_batch_and_the_chosen_masker_draws_from_the_same_source(masker):
    parts = (masker.early, masker.late) if isinstance(masker, Curriculum) else (masker.first, masker.second)
    chosen = set()
    for seed in range(20):
        mask, generator = drawn(masker, 5, (6, 6), seed), seeded(seed)
        torch.rand((), generator=generator)
        state = generator.get_state()
        fits = []
        for part in parts:
            generator.set_state(state)
            fits.append(equal(mask, part(5, Layout((6, 6)), 0.0, generator)))
        assert sum(fits) == 1
        chosen.add(fits.index(True))
    assert chosen == {0, 1}


# -- check -------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("masker", EVERY.values(), ids=EVERY)
def test_the_check_passes_what_fits_and_leaves_the_random_state(masker):
    before = torch.get_rng_state()
    check_masker(masker, Layout(grid_for(masker)))
    assert torch.equal(before, torch.get_rng_state())


def test_the_check_draws_with_places_of_any_number_of_samples():
    for batch in (1, 2, 5):
        check_masker(Runs(), Layout((9,), torch.rand(batch, 9, 3, generator=seeded(0))))
    with pytest.raises(ValueError, match="places are"):
        check_masker(Runs(), Layout((9,), torch.rand(2, 8, 3)))


@pytest.mark.parametrize(
    "wrap",
    [
        lambda bad: Curriculum(bad, RandomMask()),
        lambda bad: Curriculum(RandomMask(), bad),
        lambda bad: Mixture(bad, RandomMask(), 0.0),
        lambda bad: Mixture(RandomMask(), bad, 1.0),
        lambda bad: Mixture(RandomMask(), Curriculum(RandomMask(), bad), 1.0),
    ],
)
def test_the_check_tries_both_parts_of_a_combination(wrap):
    with pytest.raises(ValueError, match="is no series"):
        check_masker(wrap(Blocks()), Layout((4, 4)))


def test_the_check_tries_any_masker_once():
    heard = []
    check_masker(Told(1, heard), Layout((4,)))
    assert heard == [0.0]
