"""Faults of the maskers: each must be noticed by the test that says what a mask is."""

from __future__ import annotations

from fault import Mutant

MASKERS, SEQUENCE = "selftrain/pretrain/maskers.py", "selftrain/pretrain/draws.py"
DRAWS = "selftrain/pretrain/draws.py"
FILE = "test_pretrain_maskers.py::"
SOUND = FILE + "test_masks_are_sound_and_cover_every_grid"
EVENLY = FILE + "test_lengths_and_gaps_are_drawn_evenly_from_all_that_are_possible"
LINES = FILE + "test_the_context_is_what_is_left_when_each_block_takes_its_columns_or_its_rows"
WINDOWS = FILE + "test_what_is_seen_and_hidden_of_a_window_make_it_up"
OWN_SETS = FILE + "test_target_sets_are_draws_of_their_own_from_all_that_is_not_seen"
CURRICULUM = FILE + "test_a_curriculum_goes_from_the_early_to_the_late_masker"
NEAREST = FILE + "test_the_greedy_order_goes_to_the_nearest_that_is_left"
NUMBERED = FILE + "test_runs_choose_the_same_points_however_they_are_numbered"

MUTANTS = [
    Mutant(
        "maskers: rows in any order",
        DRAWS,
        "    return index.sort(-1).values\n",
        "    return index\n",
        SOUND,
    ),
    Mutant(
        "maskers: blocks never reach the last row and column",
        DRAWS,
        "torch.randint(side - extent + 1, (*shape, 1)",
        "torch.randint(max(1, side - extent), (*shape, 1)",
        FILE + "test_places_are_uniform_with_both_borders",
    ),
    Mutant(
        "maskers: contexts are cut from the bottom",
        DRAWS,
        "noise = torch.rand(member.shape, generator=generator).masked_fill(~member, 2.0)",
        "noise = torch.arange(member.shape[1]).expand(member.shape) + 1e6 * ~member",
        FILE + "test_contexts_are_cut_to_one_length_at_random_not_from_the_bottom",
    ),
    Mutant(
        "maskers: targets stay in the context",
        DRAWS,
        "return targets, context & ~lost.any(0)",
        "return targets, context",
        SOUND,
    ),
    Mutant(
        "maskers: no fallback",
        DRAWS,
        "    context[poor] = ~targets[0, poor]\n",
        "",
        SOUND,
    ),
    Mutant(
        "maskers: a union is its first block",
        MASKERS,
        "hidden = targets.any(0)",
        "hidden = targets[0]",
        FILE + "test_a_union_is_one_set_of_tokens_of_the_blocks_cut_at_random",
    ),
    Mutant(
        "maskers: the context keeps times and frequencies of the blocks",
        DRAWS,
        "lost = whole_lines(targets, grid, generator) if lines else targets",
        "lost = targets",
        LINES,
    ),
    Mutant(
        "maskers: one coin for all blocks of a sample",
        DRAWS,
        "torch.rand(*targets.shape[:2], 1, 1, generator=generator) < 0.5",
        "torch.rand(targets.shape[1], 1, 1, generator=generator) < 0.5",
        LINES,
    ),
    Mutant(
        "maskers: stretches touch",
        MASKERS,
        "        gaps[:, 1:-1] += 1\n",
        "        gaps[:, -1] += runs - 1\n",
        FILE + "test_the_number_of_stretches_is_drawn_evenly_from_all_that_fit",
    ),
    Mutant(
        "maskers: cuts with repetition, which do not make compositions even",
        DRAWS,
        "    places = total + parts - 1\n"
        "    bars = rising(torch.rand(batch, places, generator=generator).argsort(1)[:, : parts - 1])\n",
        "    places = total + parts - 1\n"
        "    bars = torch.randint(total + 1, (batch, parts - 1), generator=generator).sort(1).values\n"
        "    bars = bars + torch.arange(parts - 1)\n",
        EVENLY,
    ),
    Mutant(
        "maskers: stretches of one token",
        MASKERS,
        "least = min(self._shortest(count), hidden)",
        "least = 1",
        FILE + "test_with_the_defaults_no_stretch_is_shorter_than_three_from_13_tokens_on",
    ),
    Mutant(
        "maskers: tokens of short series that are never seen",
        MASKERS,
        "return min(self.length, hidden if seen >= hidden else min(seen, hidden // 2))",
        "return self.length",
        SOUND,
    ),
    Mutant(
        "maskers: all target sets of a table are alike",
        MASKERS,
        "chosen = torch.rand(rest.shape, generator=generator).argsort(2)[..., :asked]",
        "chosen = torch.rand(rest.shape[1:], generator=generator).argsort(1)[:, :asked].expand(self.sets, -1, -1)",
        OWN_SETS,
    ),
    Mutant(
        "maskers: columns that are seen are predicted",
        MASKERS,
        "rest = order[:, seen:].expand(self.sets, -1, -1)",
        "rest = order.expand(self.sets, -1, -1)",
        SOUND,
    ),
    Mutant(
        "maskers: runs hide all",
        MASKERS,
        "        targets[:, lost] = targets[:1, lost]\n",
        "",
        FILE + "test_runs_that_would_hide_all_share_one_place",
    ),
    Mutant(
        "maskers: runs of the numbers of points",
        MASKERS,
        "return greedy_order(layout.places.cpu())",
        "return torch.arange(layout.count).expand(batch, -1)",
        NUMBERED,
    ),
    Mutant(
        "maskers: contexts of runs start at the first token left",
        MASKERS,
        "first = (torch.rand(batch, generator=generator) * (left - seen + 1)).long()[:, None]",
        "first = 0 * left[:, None]",
        FILE + "test_contexts_start_anywhere_in_what_remains",
    ),
    Mutant(
        "maskers: windows numbered by their own tokens",
        MASKERS,
        "seen, unseen = tokens.gather(2, order[..., hidden:]), tokens.gather(2, order[..., :hidden])",
        "seen, unseen = order[..., hidden:], order[..., :hidden]",
        WINDOWS,
    ),
    Mutant(
        "maskers: a curriculum without its root",
        MASKERS,
        "min(1.0, math.sqrt(progress * (1 - self.start**2) + self.start**2))",
        "min(1.0, progress * (1 - self.start**2) + self.start**2)",
        CURRICULUM,
    ),
    Mutant(
        "maskers: a curriculum backwards",
        MASKERS,
        "chosen = self.late if coin(chance, generator) else self.early",
        "chosen = self.early if coin(chance, generator) else self.late",
        CURRICULUM,
    ),
    Mutant(
        "maskers: a mixture draws from the global source",
        MASKERS,
        "coin(self.share, generator)",
        "coin(self.share, None)",
        FILE + "test_one_draw_decides_for_the_batch_and_the_chosen_masker_draws_from_the_same_source",
    ),
    Mutant(
        "maskers: the check tries one part only",
        MASKERS,
        "        parts = (masker.first, masker.second)\n",
        "        parts = (masker.first,)\n",
        FILE + "test_the_check_tries_both_parts_of_a_combination",
    ),
    Mutant(
        "greedy order: places are visited again",
        SEQUENCE,
        "distance.masked_fill(gone, math.inf)",
        "distance.masked_fill(distance == 0, math.inf)",
        NEAREST,
    ),
    Mutant(
        "greedy order: nearest to the first place",
        SEQUENCE,
        "axis.gather(1, here)).square()",
        "axis.gather(1, order[0])).square()",
        NEAREST,
    ),
    Mutant(
        "greedy order: distances in single precision by squares",
        SEQUENCE,
        "distance = reduce(torch.add, [(axis - axis.gather(1, here)).square() for axis in axes])",
        "now = places.float()\n"
        "        then = now.gather(1, here[..., None].expand(-1, -1, now.shape[2]))\n"
        "        distance = now.square().sum(2) - 2 * (now * then).sum(2)",
        FILE + "test_far_places_with_small_distances_are_told_apart",
    ),
]
