"""Faults in what keeps a run: signals, the lock of a folder, checkpoints, steps that are taken back."""

from __future__ import annotations

from fault import Mutant

INTERRUPT, LOCK, CHECKPOINT = (
    "selftrain/runtime/signals.py",
    "selftrain/storage/lock.py",
    "selftrain/storage/checkpoint.py",
)
UNDO, SKIPPING = "selftrain/runtime/undo.py", "selftrain/engine/skipping.py"

STORED = "reliability/test_signals.py::test_the_step_is_finished_and_its_state_stored"
HANDLERS = "reliability/test_signals.py::test_handlers_are_given_back_and_the_users_own_stay"
ONE_WRITER = "reliability/test_signals.py::test_a_folder_is_for_one_at_a_time"
NO_TRACE = "reliability/test_numbers.py::test_a_step_that_fails_leaves_no_trace"
ROW = "reliability/test_numbers.py::test_too_many_in_a_row_end_the_run_with_a_report"

MUTANTS = [
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
        "selftrain/engine/session.py",
        "            if self.stored != step:\n                self.save(step)\n",
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
        "if _digest(path) != sha256:",
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
        "selftrain/networks/ema.py",
        "        undo.keep(*mine, *self.model.buffers())\n",
        "",
        f"{NO_TRACE}[fst]",
    ),
    Mutant(
        "lasting: rows of a label bank stay after a failed step",
        UNDO,
        "tensor.data[... if rows is None else rows] = value",
        "tensor.data.copy_(value) if rows is None else None",
        f"{NO_TRACE}[soft_labels]",
    ),
    Mutant(
        "lasting: thresholds stay after a failed step",
        UNDO,
        "tensor.copy_(saved)",
        "tensor",
        f"{NO_TRACE}[freematch]",
    ),
    Mutant(
        "lasting: the optimizer of a learner that has stepped is not put back",
        UNDO,
        "self._kept.append(learner.freeze())",
        "pass",
        f"{NO_TRACE}[cps]",
    ),
    Mutant(
        "lasting: gathered gradients are not taken back",
        "selftrain/runtime/undo.py",
        "        for restore in self._marks:\n            restore()\n",
        "",
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
        SKIPPING,
        "        self.row = []\n        return report",
        "        return report",
        ROW,
    ),
    Mutant(
        "lasting: one bad step too few allowed",
        SKIPPING,
        "len(self.row) > self.limit",
        "len(self.row) >= self.limit",
        ROW,
    ),
    Mutant(
        "lasting: a bad step is counted and not taken back", SKIPPING, "            self.undo.take_back()\n", "", ROW
    ),
    Mutant(
        "lasting: the row of bad steps is not stored",
        SKIPPING,
        '"row": self.row}',
        '"row": []}',
        "reliability/test_numbers.py::test_the_row_of_a_resumed_run_goes_on",
    ),
]
