"""Faults of several processes one process can notice; those that take two are in ``tests/support/ranks_scenes.py``."""

from __future__ import annotations

from fault import Mutant

COUNTS = "test_ranks.py::test_volume_counts_weights_and_answers"

MUTANTS = [
    Mutant(
        "ranks: the store of a rank that stands still is waited for",
        "selftrain/runtime/distributed/group.py",
        "thread.join(PATIENCE)",
        "thread.join()",
        "test_ranks.py::test_a_store_that_does_not_answer_is_not_waited_for",
    ),
    Mutant(
        "ranks: gradients are not averaged",
        "selftrain/networks/student.py",
        "self.model, average=self._pending >= share)",
        "self.model, average=False)",
        COUNTS,
    ),
    Mutant(
        "ranks: gradients are averaged in every pass that gathers them",
        "selftrain/networks/student.py",
        "self.model, average=self._pending >= share)",
        "self.model)",
        "test_ranks.py::test_gradients_are_averaged_once_an_optimizer_step",
    ),
    Mutant(
        "ranks: networks run all rows on every rank",
        "selftrain/networks/student.py",
        "spread(lambda x, *more: run_alone(network, x, precision, channels_last, *more), x, *more)",
        "run_alone(network, x, precision, channels_last, *more)",
        COUNTS,
    ),
    Mutant(
        "ranks: the answers of other ranks are not gathered",
        "selftrain/runtime/distributed/shard.py",
        '        return every_row(mine, layout, group, "outputs")\n',
        "        return mine.clone()\n",
        COUNTS,
    ),
    Mutant(
        "ranks: gradients of inputs stay on their rank",
        "selftrain/runtime/distributed/shard.py",
        'every = every_row(grads[0], ctx.layout, ctx.group, "outputs")',
        "every = grads[0]",
        "test_ranks.py::test_volume_of_vat_holds_the_gradients_of_its_inputs",
    ),
    Mutant(
        "ranks: every rank fetches all rows",
        "selftrain/runtime/distributed/loader.py",
        'return JoinedStream(stream, group, plan) if getattr(stream, "share", None) == share else stream',
        "return stream",
        "test_ranks.py::test_volume_of_inputs_and_the_strategy_left_alone",
    ),
    Mutant(
        "batches drawn ahead are sent one by one",
        "selftrain/runtime/distributed/loader.py",
        "joined_batches(fresh, self.group, self.full), strict",
        "[joined_batches([part], self.group, self.full)[0] for part in fresh], strict",
        "test_rows.py::test_a_batch_that_was_drawn_ahead_is_sent_once_and_beside_others",
    ),
    Mutant(
        "a batch that was drawn ahead is sent once more",
        "selftrain/runtime/distributed/loader.py",
        "            known = [(part, whole) for part, whole in known if any(part is one for one in batches)]\n",
        "            known = []\n",
        "test_rows.py::test_a_batch_that_was_drawn_ahead_is_sent_once_and_beside_others",
    ),
    Mutant(
        "ranks: the rows of other ranks are not asked for",
        "selftrain/runtime/distributed/rows.py",
        'self.whole = every_row(self.own, self.parts, self.group, "inputs")',
        "self.whole = self.own[:1].expand(self.shape)",
        "test_rows.py::test_whatever_else_is_done_sees_all_rows_and_asks_once",
    ),
    Mutant(
        "ranks: rows of several parts come in the order of the ranks",
        "selftrain/runtime/distributed/rows.py",
        "    if len(layout) == 1:\n",
        "    if layout:\n",
        "test_rows.py::test_rows_of_several_parts_are_those_of_all_in_their_order",
    ),
    Mutant(
        "ranks: what the first rank asks for by itself is waited for",
        "selftrain/runtime/distributed/rows.py",
        "            if self.group.sharing:\n",
        "            if False:\n",
        "test_rows.py::test_rows_that_the_first_rank_asks_for_by_itself_are_an_error_and_not_a_wait",
    ),
    Mutant(
        "ranks: a mix of own rows leaves the ranks with draws of their own",
        "selftrain/runtime/distributed/shard.py",
        "    with own_draws(group.rank, x.device):\n        # Whether",
        "    if True:\n        # Whether",
        "test_rows.py::test_a_mix_of_own_rows_reads_no_others_and_its_targets_go_to_all",
    ),
    Mutant(
        "ranks: mixes are of own rows whatever is asked for",
        "selftrain/runtime/distributed/shard.py",
        'apart(x) and x.group.options.mix == "own"',
        "apart(x)",
        "test_rows.py::test_a_joint_mix_has_partners_among_all_rows",
    ),
    Mutant(
        "ranks: an average of shares stays where it is",
        "selftrain/networks/ema.py",
        "[own_part(p.detach()) for p, _ in averaged]",
        "[own_part(p.detach()).clone() for p, _ in averaged]",
        "test_sharded.py::test_an_average_moves_shares",
    ),
    Mutant(
        "ranks: a state in shares is stored as it is",
        "selftrain/runtime/distributed/sharded.py",
        "    return _gathered(state, everywhere)\n",
        "    return state\n",
        "test_sharded.py::test_a_state_is_stored_whole",
    ),
    Mutant(
        "ranks: optimizers go on with weights that are gone",
        "selftrain/runtime/distributed/sharded.py",
        '            group["params"] = [new.get(p, p) for p in group["params"]]\n',
        "            pass\n",
        "test_sharded.py::test_an_average_moves_shares",
    ),
    Mutant(
        "ranks: networks stay in shares",
        "selftrain/runtime/distributed/sharded.py",
        "            module.__class__ = kind\n",
        "            pass\n",
        "test_sharded.py::test_networks_are_as_they_were_once_shares_are_joined",
    ),
    Mutant(
        "ranks: what is not finite in one share is not told",
        "selftrain/runtime/finite.py",
        "_is_numbers(own := own_part(tensor))",
        "own_part(own := tensor) is own and _is_numbers(own)",
        "test_sharded.py::test_numbers_that_are_not_finite_are_seen_in_shares",
    ),
]
