"""Faults in what keeps a run: signals, the lock of a folder, checkpoints, steps that are taken back."""

from __future__ import annotations

from fault import Mutant

GENERATORS, ATTRIBUTES = "selftrain/runtime/rng.py", "selftrain/runtime/attributes.py"
INTERRUPT, LOCK, CHECKPOINT = (
    "selftrain/runtime/signals.py",
    "selftrain/storage/lock.py",
    "selftrain/storage/checkpoint.py",
)

STORED = "reliability/test_signals.py::test_the_step_is_finished_and_its_state_stored"
HANDLERS = "reliability/test_signals.py::test_handlers_are_given_back_and_the_users_own_stay"
ONE_WRITER = "reliability/test_signals.py::test_a_folder_is_for_one_at_a_time"
NO_TRACE = "reliability/test_numbers.py::test_a_step_that_fails_leaves_no_trace"
EXACT = "test_exact_resume.py::test_a_resumed_run_is_the_same_run"
AGAIN = "test_rng.py::test_a_step_draws_the_same_again"
ROW = "reliability/test_numbers.py::test_too_many_in_a_row_end_the_run_with_a_report"

MUTANTS = [
    # -- what a step draws from
    Mutant("lasting: numpy's generator is not seeded", GENERATORS, "    np.random.seed([key", "    str([key", EXACT),
    Mutant(
        "lasting: Python's generator is not seeded",
        GENERATORS,
        "    random.seed(key)\n",
        "",
        AGAIN,
    ),
    Mutant(
        "lasting: attributes are not stored",
        "selftrain/engine/state.py",
        '"attributes": self.attributes.state_dict(),',
        '"attributes": {},',
        EXACT,
    ),
    Mutant(
        "lasting: handlers that show what a network says count as passes",
        "selftrain/engine/state.py",
        "            self.attributes.load_state_dict(attributes)\n            yield",
        "            yield",
        "test_exact_resume.py::test_what_handlers_show_when_a_run_goes_on_is_no_pass_of_it",
    ),
    Mutant(
        "lasting: asking a schedule counts",
        "selftrain/engine/identity.py",
        "            attributes.load_state_dict(before)\n",
        "            pass\n",
        "test_exact_resume.py::test_a_schedule_that_counts_in_a_closure_is_asked_in_steps_alone",
    ),
    Mutant(
        "lasting: moments of double precision are rounded",
        "selftrain/networks/student.py",
        "            if isinstance(value, Tensor) and isinstance(held, Tensor) and held.dtype != value.dtype:",
        "            if False:",
        EXACT,
    ),
    Mutant(
        "lasting: steps that are taken again find later attributes",
        "selftrain/handlers/nonfinite.py",
        '        self.context.attributes.load_state_dict(copied(self.kept["attributes"]))\n',
        "",
        "test_exact_resume.py::test_steps_that_are_taken_again_find_the_attributes_of_before",
    ),
    Mutant(
        "lasting: an evaluation is lost when steps are taken again",
        "selftrain/handlers/nonfinite.py",
        "        if self.context.attributes.state_dict():\n",
        "        if False:\n",
        "test_exact_resume.py::test_steps_that_are_taken_again_find_the_attributes_of_before",
    ),
    Mutant(
        "lasting: attributes that have moved only later are not taken back",
        ATTRIBUTES,
        "                        given[name] = first[name].value\n",
        "                        pass\n",
        "test_exact_resume.py::test_steps_that_are_taken_again_find_the_attributes_of_before",
    ),
    Mutant(
        "lasting: half of what belongs together is put back",
        ATTRIBUTES,
        "if not replaced or _is_generator(values.get(name)):",
        "if True:",
        "test_exact_resume.py::test_nothing_is_put_back_beside_what_cannot_be",
    ),
    Mutant(
        "lasting: a run from its folder forgets its attributes",
        "selftrain/engine/spec.py",
        '        attributes.load_state_dict(state.get("attributes", {}))\n',
        "",
        "test_exact_resume.py::test_a_run_from_its_folder_has_its_attributes",
    ),
    Mutant("lasting: a key of 32 bits", GENERATORS, ", key >> 32])", ", 0])", AGAIN),
    Mutant(
        "lasting: ranks draw the same of numpy's numbers",
        "selftrain/runtime/distributed/shard.py",
        "    np.random.seed(np.frombuffer(digest.digest(), np.uint32))\n",
        "",
        "test_rng.py::test_each_rank_and_each_pass_draws_its_own",
    ),
    # -- signals
    Mutant(
        "lasting: the first signal ends the step",
        INTERRUPT,
        "        if self.received:\n            self.restore()",
        "        if True:\n            self.restore()",
        STORED,
    ),
    Mutant(
        "lasting: the state is not stored at a signal",
        "selftrain/engine/loop.py",
        "        if state.stored != state.step:\n            state.save(state.step)\n",
        "",
        STORED,
    ),
    Mutant(
        "lasting: wrong exit status after a signal",
        INTERRUPT,
        "return SystemExit(128 + number)",
        "return SystemExit(number)",
        STORED,
    ),
    Mutant(
        "lasting: a second signal is passed over",
        INTERRUPT,
        "        if self.received:\n            self.restore()\n            raise _ending(number)\n",
        "        if self.received:\n            return\n",
        "reliability/test_signals.py::test_a_second_signal_ends_at_once",
    ),
    Mutant(
        "lasting: handlers are not given back",
        INTERRUPT,
        "            signal.signal(number, handler)\n",
        "            pass\n",
        HANDLERS,
    ),
    Mutant(
        "lasting: a handler of the user's is replaced",
        INTERRUPT,
        "if signal.getsignal(number) is ordinary:",
        "if True:",
        HANDLERS,
    ),
    # -- one writer
    Mutant(
        "lasting: the lock is not taken",
        LOCK,
        "        lock.acquire()",
        "        pass",
        ONE_WRITER,
    ),
    Mutant(
        "lasting: the lock is not released",
        LOCK,
        "            path.unlink(missing_ok=True)\n",
        "            lock.release = print\n",
        ONE_WRITER,
    ),
    Mutant(
        "lasting: a forked process keeps the lock",
        LOCK,
        "os.ftruncate(handle, 0)",
        "os.ftruncate(os.dup(handle), 0)",
        "reliability/test_signals.py::test_a_killed_run_locks_nothing_even_while_its_loader_lives",
    ),
    # -- checkpoints
    Mutant(
        "lasting: the sum of a checkpoint is not compared",
        CHECKPOINT,
        "if sha256 is not None and _digest(path) != sha256:",
        "if False:",
        "test_checkpoint.py::test_swapped_checkpoints_are_found",
    ),
    Mutant(
        "lasting: the sum of the manifest is not compared",
        CHECKPOINT,
        'if content.get("sha256", _sum_of(entries)) != _sum_of(entries):',
        "if False:",
        "test_checkpoint.py::test_a_flipped_bit_anywhere_in_the_manifest_is_found",
    ),
    Mutant(
        "lasting: the copy of the manifest is not read",
        CHECKPOINT,
        "    for name in (MANIFEST, COPY):\n        if not",
        "    for name in (MANIFEST,):\n        if not",
        "test_checkpoint.py::test_a_missing_manifest_is_no_loss_while_its_copy_is_there",
    ),
    Mutant(
        "lasting: an older checkpoint is taken in silence",
        CHECKPOINT,
        '        if problems:\n            warnings.warn(f"continuing',
        '        if False:\n            warnings.warn(f"continuing',
        "test_checkpoint.py::test_a_damaged_checkpoint_falls_back_to_the_one_before",
    ),
    Mutant(
        "lasting: the only good checkpoint is forgotten",
        CHECKPOINT,
        'entries = [e for e in _entries(folder) if e["step"] < step]',
        'entries = [e for e in _entries(folder) if e["step"] != step]',
        "test_checkpoint.py::test_saving_after_a_fallback_forgets_the_future_and_keeps_the_good_one",
    ),
    Mutant(
        "lasting: what is on the disk is not compared with what was written",
        CHECKPOINT,
        "if _digest(path) != written.hexdigest():",
        "if False:",
        "test_checkpoint.py::test_a_disk_that_stores_something_else_costs_no_older_checkpoint",
    ),
    # -- files that are whole
    Mutant(
        "lasting: two writers of one file share a part",
        "selftrain/storage/atomic.py",
        """handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=PART, dir=path.parent)""",
        """handle, name = os.open(n := str(path.with_name(f".{path.name}{PART}")), os.O_RDWR | os.O_CREAT), n""",
        "test_atomic.py::test_two_writers_of_one_file_never_mix",
    ),
    Mutant(
        "lasting: a file takes its place before it is on the disk",
        "selftrain/storage/atomic.py",
        "            os.fsync(file.fileno())",
        "            pass",
        "test_atomic.py::test_a_file_is_on_the_disk_before_it_takes_its_place",
    ),
    # -- steps that are taken back
    Mutant(
        "lasting: weights of a teacher stay after a failed step",
        "selftrain/networks/copying.py",
        "return value if is_frozen(value, shared) else value.detach().clone()",
        "return value if is_frozen(value, shared) else value.detach()",
        "reliability/test_numbers.py::test_a_step_that_fails_leaves_no_trace[fst]",
    ),
    Mutant(
        "lasting: rows of a label bank stay after a failed step",
        "selftrain/handlers/nonfinite.py",
        "self.context.strategy.load_state_dict(strategy)",
        "pass",
        "reliability/test_numbers.py::test_a_run_that_goes_back_is_the_run_that_never_took_the_bad_step[soft_labels]",
    ),
    Mutant(
        "lasting: thresholds stay after a failed step",
        "selftrain/networks/copying.py",
        "return value if is_frozen(value, shared) else value.detach().clone()",
        "return value.detach().clone() if value.numel() > 20 else value",
        "reliability/test_numbers.py::test_a_step_that_fails_leaves_no_trace[freematch]",
    ),
    Mutant(
        "lasting: the optimizer of a learner that has stepped is not put back",
        "selftrain/networks/copying.py",
        "return {key: copied(inner, shared) for key, inner in value.items()}",
        "return {key: copied(inner, shared) if isinstance(inner, Tensor) else inner for key, inner in value.items()}",
        "reliability/test_numbers.py::test_a_step_that_fails_leaves_no_trace[cps]",
    ),
    Mutant(
        "lasting: gathered gradients are not taken back",
        "selftrain/networks/copying.py",
        "return type(value)(copied(inner, shared) for inner in value)",
        "return value",
        "reliability/test_numbers.py::test_what_an_earlier_learner_has_gathered_goes_when_a_later_one_fails",
    ),
    Mutant(
        "lasting: a gathered gradient that is not finite stays",
        "selftrain/networks/student.py",
        "            self._check_gathered()\n",
        "",
        "reliability/test_numbers.py::test_a_gathered_gradient_that_is_not_finite_costs_its_own_step_alone",
    ),
    Mutant(
        "lasting: a good step does not end the row of bad ones",
        "selftrain/handlers/nonfinite.py",
        "        if report is not None:\n            self.row = []\n",
        "",
        ROW,
    ),
    Mutant(
        "lasting: one bad step too few allowed",
        "selftrain/handlers/nonfinite.py",
        "if len(self.row) <= self.limit:",
        "if len(self.row) < self.limit:",
        ROW,
    ),
    Mutant(
        "lasting: a bad step is counted and not taken back",
        "selftrain/handlers/nonfinite.py",
        "        return self.kept_at\n",
        "        return step - 1\n",
        "reliability/test_numbers.py::test_a_run_that_goes_back_is_the_run_that_never_took_the_bad_step[freematch]",
    ),
    Mutant(
        "lasting: the row of bad steps is not stored",
        "selftrain/handlers/nonfinite.py",
        'return {"row": self.row}',
        'return {"row": []}',
        "reliability/test_numbers.py::test_the_row_of_a_resumed_run_goes_on",
    ),
    Mutant(
        "lasting: what a step leaves is not looked at",
        "selftrain/runtime/finite.py",
        "    if spoiled:\n",
        "    if False:\n",
        "reliability/test_left_finite.py::test_a_step_that_leaves_what_is_not_finite_is_left_out",
    ),
    Mutant(
        "lasting: what networks say is not looked at",
        "selftrain/runtime/finite.py",
        "if not all(said[:outputs]):",
        "if False:",
        "reliability/test_numbers.py::test_a_step_that_fails_leaves_no_trace[freematch]",
    ),
    Mutant(
        "lasting: handlers see steps twice that are taken again",
        "selftrain/engine/loop.py",
        "            if not again:\n",
        "            if True:\n",
        "reliability/test_numbers.py::test_a_run_that_goes_back_is_the_run_that_never_took_the_bad_step[freematch]",
    ),
    Mutant(
        "lasting: the state before a bad step is not kept",
        "selftrain/handlers/nonfinite.py",
        "        self.interval = 0  #",
        "        pass  #",
        "reliability/test_numbers.py::test_a_state_is_kept_seldom_and_soon_after_a_bad_step",
    ),
    Mutant(
        "lasting: the optimizer takes over the state that was kept",
        "selftrain/handlers/nonfinite.py",
        'strategy = copied(self.kept["strategy"], frozen_storages(self.context.strategy))',
        'strategy = self.kept["strategy"]',
        "reliability/test_numbers.py::test_a_bad_step_that_is_taken_again_elsewhere_is_left_out_as_well",
    ),
    Mutant(
        "an overwrite that was cut short leaves a run",
        "selftrain/storage/run_dir.py",
        "            mark_replaced(folder)\n",
        "",
        "test_runfolder.py::test_whenever_an_overwrite_is_cut_short_the_new_run_can_begin",
    ),
    Mutant(
        "a log of now is read before one of a later clock",
        "selftrain/tensorboard/writer.py",
        "    if made < last:\n",
        "    if False:\n",
        "test_board.py::test_a_log_is_read_after_every_other_one",
    ),
    Mutant(
        "compare: strategies are built after the settings are written",
        "selftrain/cli/compare.py",
        "    comparison.check(first)\n",
        "",
        "test_cli_refused.py::test_a_refused_command_changes_nothing",
    ),
    Mutant(
        "compare: an overwritten comparison keeps old runs",
        "selftrain/cli/compare.py",
        "                mark_replaced(cell)\n",
        "                pass\n",
        "test_cli_refused.py::test_a_comparison_that_was_overwritten_and_stopped_takes_no_old_run_for_its_own",
    ),
    Mutant(
        "pretrain: the default recipe is stored without its settings",
        "selftrain/cli/pretrain.py",
        'settings["recipe"] = parse(parser(), [*words, f"--recipe={found}"], below)[0]["recipe"]',
        'settings["recipe"] = parse(parser(), [*words, f"--recipe={found}"], below)[1]["recipe"]',
        "test_cli_reads_back.py::test_the_default_recipe_of_every_kind",
    ),
]
