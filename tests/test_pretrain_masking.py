import math
from functools import partial

import pytest
import torch

from selftrain.pretrain import BlockPlan, multi_block, random_mask

GRIDS = [(2, 2), (1, 2), (1, 7), (7, 1), (4, 4), (7, 7), (2, 8), (8, 8), (14, 14)]
PLANS = {
    "paper": BlockPlan(),
    "keep 3": BlockPlan(min_keep=3),
    "huge": BlockPlan(scale=(0.9, 1.0)),
    "many": BlockPlan(blocks=9, scale=(0.3, 0.5), min_keep=2, tries=1),
    "narrow": BlockPlan(aspect=(0.01, 50.0), context_scale=(0.05, 0.3)),
}


def seeded(seed):
    return torch.Generator().manual_seed(seed)


# -- random ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("grid", "ratio", "kept"), [((4, 4), 0.75, 4), ((7, 7), 0.75, 12), ((1, 10), 0.9, 1), ((2, 5), 0.5, 5)]
)
def test_random_masks_keep_the_floor_and_part_the_grid(grid, ratio, kept):
    keep, hidden = random_mask(30, grid, ratio)
    count = grid[0] * grid[1]
    assert keep.shape == (30, kept)
    assert torch.equal(torch.cat([keep, hidden], 1).sort(1).values, torch.arange(count).expand(30, -1))
    assert torch.equal(keep, keep.sort(1).values)
    assert torch.equal(hidden, hidden.sort(1).values)
    assert len({tuple(row.tolist()) for row in keep}) > 1


def test_random_masks_hide_and_keep_at_least_one_patch():
    assert [t.shape[1] for t in random_mask(2, (2, 2), 0.99)] == [1, 3]
    assert [t.shape[1] for t in random_mask(2, (2, 2), 0.01)] == [3, 1]


def test_every_patch_is_kept_equally_often():
    keep, _ = random_mask(4000, (3, 4), 0.75)
    share = torch.bincount(keep.flatten(), minlength=12) / 4000
    assert torch.allclose(share, torch.full((12,), 0.25), atol=0.04)  # 6 standard deviations


@pytest.mark.parametrize("ratio", [0.0, 1.0, -0.1, 1.5])
def test_a_ratio_outside_the_open_interval_is_refused(ratio):
    with pytest.raises(ValueError, match=f"mask ratio is {ratio}"):
        random_mask(2, (4, 4), ratio)


# -- blocks ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)
@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_blocks_end_and_keep_their_promises_on_every_grid(grid, plan):
    count = grid[0] * grid[1]
    if plan.min_keep >= count:
        with pytest.raises(ValueError, match=f"min_keep is {plan.min_keep}"):
            multi_block(3, grid, plan)
        return
    for seed in range(15):
        context, targets = multi_block(6, grid, plan, generator=seeded(seed))
        assert targets.shape[:2] == (plan.blocks, 6)
        assert context.shape[0] == 6
        assert context.shape[1] >= plan.min_keep
        assert targets.shape[2] >= 1
        for sample in range(6):
            inside = set(context[sample].tolist())
            assert len(inside) == context.shape[1]
            assert inside <= set(range(count))
            for block in targets[:, sample]:
                assert len(set(block.tolist())) == targets.shape[2]
                assert set(block.tolist()) <= set(range(count)) - inside


@pytest.mark.parametrize("grid", [(2, 2), (1, 7), (7, 7), (2, 8)], ids=str)
def test_every_patch_can_be_target_and_context(grid):
    generator, count = seeded(0), grid[0] * grid[1]
    drawn = [multi_block(20, grid, generator=generator) for _ in range(100)]
    for part in (0, 1):
        seen = torch.stack([torch.bincount(d[part].flatten(), minlength=count) for d in drawn]).sum(0)
        assert (seen > 0).all()


def rectangles(targets, grid):
    """Top, left, height and width of blocks (..., Nt); asserts that they are rectangles."""
    row, column = targets // grid[1], targets % grid[1]
    top, left = row.amin(-1), column.amin(-1)
    height, width = row.amax(-1) - top + 1, column.amax(-1) - left + 1
    assert (height * width == targets.shape[-1]).all()
    return top, left, height, width


def test_targets_are_rectangles_of_one_size_a_batch_and_places_of_their_own():
    sizes = set()
    for seed in range(30):
        _, targets = multi_block(8, (14, 14), generator=seeded(seed))
        top, left, height, width = rectangles(targets, (14, 14))
        assert len(height.unique()) == len(width.unique()) == 1
        assert len(set(zip(top.flatten().tolist(), left.flatten().tolist(), strict=True))) > 8
        sizes.add((int(height[0, 0]), int(width[0, 0])))
    assert len(sizes) > 5


def test_scale_and_aspect_are_drawn_independently_over_their_whole_range():
    rows = []
    for seed in range(400):
        _, targets = multi_block(1, (60, 60), BlockPlan(blocks=1), generator=seeded(seed))
        _, _, height, width = (int(v) for v in rectangles(targets, (60, 60)))
        rows.append([height * width / 3600, height / width])
    scale, aspect = torch.tensor(rows).T
    assert 0.145 < scale.min() < 0.155
    assert 0.195 < scale.max() < 0.205
    assert 0.72 < aspect.min() < 0.80
    assert 1.44 < aspect.max() < 1.55
    assert torch.corrcoef(torch.stack([scale, aspect]))[0, 1].abs() < 0.2  # the released code has about 1


def test_places_are_uniform_with_both_borders():
    plan = BlockPlan(blocks=1, scale=(0.25, 0.25), aspect=(1.0, 1.0))  # 2 x 2 on 4 x 4: nine places
    _, targets = multi_block(4500, (4, 4), plan)
    top, left, _, _ = rectangles(targets[0], (4, 4))
    counts = torch.bincount(3 * top + left, minlength=9)
    assert len(counts) == 9
    assert ((counts - 500).abs() < 120).all()  # more than 5 standard deviations


def test_contexts_are_cut_to_one_length_at_random_not_from_the_bottom():
    plan = BlockPlan(context_scale=(1.0, 1.0))
    rows = torch.zeros(8)
    for seed in range(60):
        context, _ = multi_block(32, (8, 8), plan, generator=seeded(seed))
        rows += torch.bincount((context // 8).flatten(), minlength=8)
    assert rows[7] / rows[0] == pytest.approx(1, abs=0.1)


def test_on_a_line_blocks_are_runs_of_the_wanted_length():
    context, targets = multi_block(5, (1, 20), BlockPlan(blocks=2, scale=(0.25, 0.25), context_scale=(0.5, 0.5)))
    assert targets.shape[2] == 5  # the height is 1, so the width makes up for it
    assert ((targets[..., -1] - targets[..., 0]) == 4).all()
    assert (context[:, -1] - context[:, 0] < 10).all()


def test_the_fallback_puts_all_blocks_on_one_place_and_keeps_all_the_rest():
    plan = BlockPlan(blocks=3, scale=(0.9, 0.9), min_keep=4, tries=2)
    context, targets = multi_block(6, (4, 4), plan)
    assert targets.shape[2] <= 12
    fallen = (targets == targets[:1]).all(-1).all(0)
    assert fallen.any()
    assert context.shape[1] >= 4
    together = torch.cat([context, targets[0]], 1)[fallen]
    assert all(len(set(row.tolist())) == together.shape[1] for row in together)


@pytest.mark.parametrize(
    "draw", [partial(random_mask, 5, (4, 4), 0.5), partial(multi_block, 5, (6, 6))], ids=["random", "block"]
)
def test_masks_follow_their_seed_and_a_generator_stays_local(draw):
    def equal(a, b):
        return a[0].shape == b[0].shape and torch.equal(a[0], b[0]) and torch.equal(a[1], b[1])

    before = torch.get_rng_state()
    first = draw(generator=seeded(1))
    assert torch.equal(before, torch.get_rng_state())
    assert equal(first, draw(generator=seeded(1)))
    assert not equal(first, draw(generator=seeded(2)))
    torch.manual_seed(1)
    assert equal(first, draw())
    assert not equal(first, draw())


@pytest.mark.parametrize(
    "change",
    [
        {"blocks": 2},
        {"scale": (0.05, 0.05)},
        {"aspect": (4.0, 4.0)},
        {"context_scale": (0.3, 0.3)},
        {"min_keep": 40},
        {"tries": 1, "min_keep": 40},
    ],
    ids=str,
)
def test_every_setting_of_a_plan_shows(change):
    base = {"min_keep": 40} if "tries" in change else {}

    def shapes(settings):
        drawn = [multi_block(16, (8, 8), BlockPlan(**settings), generator=seeded(s)) for s in range(5)]
        return [(c.tolist(), t.tolist()) for c, t in drawn]

    assert shapes(base) != shapes(base | change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"blocks": 0}, "blocks is 0"),
        ({"min_keep": 0}, "min_keep is 0"),
        ({"tries": 0}, "tries is 0"),
        ({"scale": (0.2, 0.1)}, r"scale is \(0.2, 0.1\)"),
        ({"scale": (0.2, 1.1)}, "scale is"),
        ({"aspect": (0.0, 1.0)}, "aspect is"),
        ({"context_scale": (-1, 1)}, "context_scale is"),
    ],
)
def test_impossible_plans_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        BlockPlan(**change)


def test_a_grid_of_one_patch_cannot_be_masked():
    for draw in (partial(random_mask, 2, (1, 1), 0.5), partial(multi_block, 2, (1, 1))):
        with pytest.raises(ValueError, match=r"the grid \(1, 1\) has 1 patch.*smaller patch"):
            draw()


def test_defaults_are_those_of_the_paper():
    plan = BlockPlan()
    assert (plan.blocks, plan.scale, plan.aspect, plan.context_scale) == (4, (0.15, 0.2), (0.75, 1.5), (0.85, 1.0))
    context, targets = multi_block(64, (14, 14), generator=seeded(0))
    assert math.isclose(targets.shape[2], 0.175 * 196, rel_tol=0.25)
    assert 30 < context.shape[1] < 110
