"""Show that the tests notice the classic faults: apply each one to a copy of the sources and expect a failure.

    python tests/mutants/mutants.py [WORD ...]

With words, only the faults whose names contain one of them. Prints a line for each fault, then ``killed K of N``; the
exit status is 0 if all were killed, 1 if one survived, 2 if the tests could not be run or fail without a fault.

Each copy is tested in a forked process, which finds PyTorch loaded already (so it needs Linux or macOS); two at a time.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import re
import runpy
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

from fault import Mutant

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
FAULTS = HERE  # the other files here are lists, one an area, each with its own ``MUTANTS``
PROCESSES = 2
# What tests or the package load, loaded once here and not in every process anew; never what is under test.
PRELOADED = (
    "setuptools", "torch._dynamo", "torch.utils.tensorboard", "torchvision.transforms.v2", "pytest", "_pytest.pytester",
    "hypothesis", "numpy.testing", "pandas", "pyarrow.parquet", "scipy.optimize", "scipy.stats", "sklearn.linear_model",
    "sklearn.model_selection", "sklearn.ensemble", "sklearn.neighbors", "PIL.Image",
    "tensorboard.backend.event_processing.event_accumulator",
    "matplotlib.figure", "jsonargparse", "tqdm", "filelock", "jinja2",
)  # fmt: skip
PASSED, FAILED, NOT_RUN = 0, 1, 3  # exit statuses of pytest

GRADIENT = "test_contract.py::test_the_unsupervised_loss_alone_reaches_every_weight_of_the_student"
AUTO_PRECISION = "test_learner.py::test_auto_precision_on_cpu_is_bf16_for_convolutions_where_the_cpu_computes_in_it"
VIEWS = "test_contract.py::test_labels_come_from_one_view_and_gradients_go_through_the_other"
GEOMETRY = "test_contract.py::test_turning_a_view_with_its_map_leaves_the_update_as_it_is"
TEACHER = "test_contract.py::test_teachers_start_as_the_student_and_never_learn_by_gradient"
FOLLOWS = "test_contract.py::test_the_teacher_follows_the_updated_student"
WAITS = "test_contract.py::test_the_teacher_waits_until_the_student_has_moved"
GATHERED = "test_contract.py::test_gathered_gradients_make_the_step_of_their_mean"
WHOLE_BATCH = "test_contract.py::test_fixmatch_divides_by_the_whole_batch"
QUORUM = "test_contract.py::test_an_ensemble_uses_a_unit_when_a_quorum_sides_with_the_mean"
MIXED = "test_contract.py::test_soft_labels_learns_mixed_inputs_against_mixed_targets"
UNVISITED = "test_contract.py::test_soft_labels_keeps_the_label_of_a_row_it_did_not_visit"
LAST_EPOCH = "test_contract.py::test_soft_labels_are_those_of_the_last_epoch"
NOTHING_KEPT = "test_contract.py::test_with_no_unit_kept_the_update_is_the_supervised_one"
SEED = "test_contract.py::test_one_seed_one_result_and_the_callers_randomness_is_untouched"
OWN_DRAWS = "test_contract.py::test_every_step_draws_its_own_random_numbers"
NO_TRACE = "test_contract_future.py::test_virtual_steps_leave_no_trace"
FST = "test_contract_future.py::test_fst_follows_the_trace_by_hand"
FST_W = "test_contract_future.py::test_fst_w_follows_the_trace_by_hand"
GATHERED_STEP = "test_contract_future.py::test_gathered_updates_are_one_step_of_the_method"
MEAN_TEACHER = "test_contract_future.py::test_mean_teacher_follows_the_trace_by_hand"
RESUME = "test_contract_resume.py::test_resume_is_exact"
HALF_GATHERED = "test_contract_resume.py::test_resume_is_exact_with_half_gathered_gradients"
STATE = "test_contract_resume.py::test_the_state_holds_everything_that_a_step_changes"
SETTINGS = "test_contract_settings.py::test_every_value_of_every_setting_changes_something"
STUDENT = "test_contract_settings.py::test_settings_of_a_student_change_the_run"
SCALED = "test_contract_settings.py::test_weight_and_rampup_scale_the_unsupervised_gradient"
PACED = "test_contract_settings.py::test_the_engine_paces_the_learning_rate"


CORE = [
    # -- gradients and views
    Mutant(
        "student detached in the unsupervised loss",
        "strategies/fixmatch.py",
        "self.pseudo_labeling.loss(strong_logits, target)",
        "self.pseudo_labeling.loss(strong_logits.detach(), target)",
        GRADIENT,
    ),
    Mutant(
        "no gradient on the strong view",
        "strategies/fixmatch.py",
        "= self.student(batch.labeled.x, x, together=self.pseudo_labeling.together)",
        '= self.student(batch.labeled.x), self.student.label(x, "train")',
        GRADIENT,
    ),
    Mutant(
        "labels count nothing",
        "strategies/fixmatch.py",
        "self.student.update(supervised + self.pseudo_labeling",
        "self.student.update(self.pseudo_labeling",
        NOTHING_KEPT,
    ),
    Mutant(
        "views swapped",
        "strategies/fixmatch.py",
        'weak, strong = batch.unlabeled["weak"]',
        'strong, weak = batch.unlabeled["weak"]',
        VIEWS,
    ),
    Mutant(
        "teacher labels the strong view",
        "strategies/mean_teacher.py",
        "self.task.probs(self.teacher(weak.x))",
        "self.task.probs(self.teacher(strong.x))",
        VIEWS,
    ),
    Mutant(
        "threshold on the wrong view",
        "strategies/fixmatch.py",
        "pseudo = self.pseudo_labeling.make(q, batch.unlabeled.index, labeled)",
        "q2 = self.task.probs(self.student.label(strong.x, self.label_mode))\n"
        "        other = self.pseudo_labeling.make(q2, batch.unlabeled.index, labeled)\n"
        "        pseudo = self.pseudo_labeling.make(q, batch.unlabeled.index, labeled)\n"
        "        pseudo.target.weight.copy_(other.target.weight)",
        VIEWS,
    ),
    Mutant(
        "warp forgotten",
        "strategies/fixmatch.py",
        "self.task.warp(pseudo.target, relative(weak, strong))",
        "pseudo.target",
        GEOMETRY,
    ),
    Mutant(
        "warp in the wrong direction",
        "strategies/fixmatch.py",
        "relative(weak, strong)",
        "relative(strong, weak)",
        GEOMETRY,
    ),
    # -- teachers
    Mutant(
        "teacher in training mode",
        "selftrain/networks/ema.py",
        "set_mode(part, False)",
        "set_mode(part, mode)",
        TEACHER,
    ),
    Mutant(
        "teacher takes gradients",
        "selftrain/networks/ema.py",
        "else part, self._shared).requires_grad_(False)",
        "else part, self._shared)",
        TEACHER,
    ),
    Mutant(
        "teacher not started from the student",
        "selftrain/networks/ema.py",
        "        self.precision, self.channels_last = student",
        '        [m.reset_parameters() for m in self.model.modules() if hasattr(m, "reset_parameters")]\n'
        "        self.precision, self.channels_last = student",
        TEACHER,
    ),
    Mutant(
        "EMA before the step",
        "strategies/supervised.py",
        "if self.student.update(loss) and self.ema is not None:\n            self.ema.update(self.student.model)",
        "if self.ema is not None:\n            self.ema.update(self.student.model)\n        self.student.update(loss)",
        FOLLOWS,
    ),
    Mutant(
        "teacher follows before the student has moved",
        "strategies/fixmatch.py",
        "unsupervised) and self.ema is not None:",
        "unsupervised) is not self.ema is not None:",
        WAITS,
    ),
    Mutant(
        "EMA counter not a buffer",
        "selftrain/networks/ema.py",
        'self.register_buffer("updates", torch.zeros((), dtype=torch.long))',
        "self.updates = torch.zeros((), dtype=torch.long)",
        STATE,
    ),
    Mutant(
        "warm start of the EMA left out",
        "selftrain/networks/ema.py",
        "min(self.decay, 1 - 1 / (t + 1))",
        "self.decay",
        FOLLOWS,
    ),
    Mutant(
        "BatchNorm statistics never reach the teacher",
        "selftrain/networks/ema.py",
        "        self._follow_buffers(networks, share)\n",
        "",
        FOLLOWS,
    ),
    Mutant(
        "order of the mean teacher ignored",
        "strategies/mean_teacher.py",
        'if self.order == "before" and',
        "if False and",
        MEAN_TEACHER,
    ),
    Mutant(
        "mean teacher goes before every gathered batch",
        "strategies/mean_teacher.py",
        " and not self.student.gathering",
        "",
        WAITS,
    ),
    # -- looking ahead
    Mutant(
        "parameters-only restore as default",
        "selftrain/networks/student.py",
        'def virtual(self, restore: Restore = "all")',
        'def virtual(self, restore: Restore = "parameters")',
        NO_TRACE,
    ),
    Mutant(
        "FST leaks moments by default",
        "strategies/future.py",
        'return ("all", False) if',
        'return ("parameters", False) if',
        FST,
    ),
    Mutant(
        "virtual updates advance the warm start",
        "strategies/future.py",
        'return ("all", False) if',
        'return ("all", True) if',
        FST,
    ),
    Mutant(
        "virtual steps stay in the student",
        "selftrain/networks/student.py",
        'torch._foreach_copy_([own_part(p) for p in self._moving()], [own_part(p) for p in state["parameters"]])',
        "pass",
        NO_TRACE,
    ),
    Mutant(
        "virtual steps move the random state",
        "selftrain/networks/student.py",
        'self._draw_from(state["random"])',
        "pass",
        NO_TRACE,
    ),
    Mutant(
        "precision: every network is bf16 on a CPU that has it",
        "selftrain/networks/student.py",
        'knows_bf16(device) and (channels_last or device.type != "cpu")',
        "knows_bf16(device)",
        AUTO_PRECISION,
    ),
    Mutant(
        "precision: bf16 without instructions for it",
        "selftrain/networks/student.py",
        'abilities.get("avx512_bf16", False)',
        'abilities.get("avx512_bf16", True) in (True, False)',
        AUTO_PRECISION,
    ),
    Mutant(
        "virtual steps lose gathered gradients",
        "selftrain/networks/student.py",
        'state["grads"], strict=True):\n            p.grad = grad',
        'state["grads"], strict=True):\n            p.grad = None',
        NO_TRACE,
    ),
    Mutant(
        "FST virtual updates do not enter the teacher",
        "strategies/future.py",
        "                    self.teacher.update(self.student.model, count=self.count_all)\n",
        "",
        FST,
    ),
    Mutant(
        "FST teacher skips the student of today",
        "strategies/future.py",
        "            # phi <- mu phi + (1 - mu) theta\n            self.teacher.update(self.student.model)\n",
        "",
        FST,
    ),
    Mutant(
        "FST-W hears one future only",
        "strategies/future.py",
        "self.teacher.update(*futures,",
        "self.teacher.update(futures[-1],",
        FST_W,
    ),
    Mutant(
        "FST looks ahead from every gathered batch",
        "strategies/future.py",
        "if not self.student.gathering:  #",
        "if True:  #",
        WAITS,
    ),
    Mutant(
        "FST-W looks ahead from every gathered batch",
        "strategies/future.py",
        "if not self.student.gathering:\n            # theta",
        "if True:\n            # theta",
        WAITS,
    ),
    Mutant(
        "FST looks ahead from the last gathered batch",
        "strategies/future.py",
        "if not self.student.gathering:  #",
        "if self.student._pending == self.student.accumulate - 1:  #",
        GATHERED_STEP,
    ),
    # -- what counts
    Mutant(
        "division by the kept units",
        "selftrain/tasks/base.py",
        "/ mask.sum().clamp(min=1)",
        "/ (mask * target.weight).sum().clamp(min=1)",
        WHOLE_BATCH,
    ),
    Mutant(
        "threshold itself does not pass",
        "selftrain/select/base.py",
        '"""Weight 1.0 at or above the threshold, else 0.0."""\n        return (evidence.confidence >= self.threshold)',
        '"""Weight 1.0 at or above the threshold, else 0.0."""\n        return (evidence.confidence > self.threshold)',
        WHOLE_BATCH,
    ),
    Mutant(
        "quorum ignored", "strategies/ensemble.py", "(share >= self.quorum).to(share)", "torch.ones_like(share)", QUORUM
    ),
    Mutant(
        "temperature ignored",
        "selftrain/strategy/pseudo_labeling.py",
        "value if self.temperature == 1.0 else self._task.sharpen(value, self.temperature)",
        "value",
        SETTINGS,
    ),
    Mutant(
        "soft labels where hard ones are asked for",
        "selftrain/strategy/pseudo_labeling.py",
        "        if self.hard:\n            return decided(self._task, value, weight, valid)\n",
        "",
        SETTINGS,
    ),
    Mutant(
        "unlabeled weight ignored",
        "selftrain/strategy/pseudo_labeling.py",
        "self.unlabeled_weight * self.rampup(clock.progress)",
        "self.rampup(clock.progress)",
        SCALED,
    ),
    Mutant(
        "ramp-up ignored",
        "selftrain/strategy/pseudo_labeling.py",
        "self.unlabeled_weight * self.rampup(clock.progress)",
        "self.unlabeled_weight",
        SCALED,
    ),
    # -- label bank and mixup
    Mutant(
        "label bank zeroed for unvisited rows",
        "selftrain/strategy/label_memory.py",
        "        self.now[rows] = self.next[rows]",
        "        self.now.copy_((self.next.flatten(1) * rows[:, None]).view_as(self.next))",
        UNVISITED,
    ),
    Mutant(
        "labels of this epoch in use at once",
        "selftrain/strategy/label_memory.py",
        "        self.next[index] = torch",
        "        self.now[index] = torch",
        LAST_EPOCH,
    ),
    Mutant("mixup on labels only", "strategies/soft_labels.py", "self.student(mixed)", "self.student(x)", MIXED),
    Mutant(
        "mixup on inputs only",
        "strategies/soft_labels.py",
        "mixed, target = mixup(x, target, self.task, alpha=self.alpha)",
        "mixed, _ = mixup(x, target, self.task, alpha=self.alpha)",
        MIXED,
    ),
    # -- learner, engine and storage
    Mutant(
        "accumulate ignored",
        "selftrain/networks/student.py",
        "share = 1 if self._virtual else self.accumulate",
        "share = 1",
        GATHERED,
    ),
    Mutant(
        "gathered gradients summed, not averaged",
        "selftrain/networks/student.py",
        "self.scaler.scale(loss if share == 1 else loss / share)",
        "self.scaler.scale(loss)",
        GATHERED,
    ),
    Mutant(
        "clipping forgotten",
        "selftrain/networks/student.py",
        "        if self.max_grad_norm is not None:\n            nn",
        "        if False:\n            nn",
        STUDENT,
    ),
    Mutant(
        "optimizer lost in the state",
        "selftrain/networks/student.py",
        '_load_moments(self.optimizer, {"state": state["optimizer"]["state"], "param_groups": groups})',
        "pass",
        STATE,
    ),
    Mutant(
        "half-gathered gradients not stored",
        "selftrain/networks/student.py",
        "grads = [p.grad for p in self.model.parameters()] if self._pending else []",
        "grads = []",
        HALF_GATHERED,
    ),
    Mutant(
        "ledger not restored",
        "selftrain/engine/state.py",
        'load_into(self.ledger, state["ledger"])',
        "pass",
        RESUME,
    ),
    Mutant(
        "resume starts the epoch again",
        "selftrain/engine/loop.py",
        "epoch = state.stream.epoch(*divmod(state.step, per_epoch))",
        "epoch = state.stream.epoch(state.step // per_epoch)",
        RESUME,
    ),
    Mutant(
        "step seed not keyed by the step",
        "selftrain/engine/loop.py",
        "step_key(state.seed, clock.step)",
        "step_key(state.seed, 0)",
        OWN_DRAWS,
    ),
    Mutant(
        "steps not seeded",
        "selftrain/engine/loop.py",
        "seed_step(step_key(state.seed, clock.step), state.device)",
        "pass",
        SEED,
    ),
    Mutant(
        "the caller's random state is lost",
        "selftrain/runtime/rng.py",
        "        set_random_state(before, device)\n",
        "        pass\n",
        SEED,
    ),
    Mutant("learning rate not paced", "selftrain/engine/loop.py", "learner.set_lr(clock.progress)", "pass", PACED),
]


def collected() -> list[Mutant]:
    """The faults of this file and those of every file in ``FAULTS``."""
    found = list(CORE)
    for path in sorted(FAULTS.glob("*.py")):
        if path.name not in ("mutants.py", "fault.py") and not path.name.startswith("test_"):
            found += runpy.run_path(str(path))["MUTANTS"]
    return found


def located(tests: str) -> str:
    """The tests of a fault by their place in the tree, which their unique file names leave out."""
    file, colons, name = tests.partition("::")
    found = [path.relative_to(ROOT).as_posix() for path in (ROOT / "tests").rglob(Path(file).name)]
    if len(found) != 1:
        raise SystemExit(f"{file} is in {len(found)} places under tests, not in one")
    return f"{found[0]}{colons}{name}"


def main(words: list[str]) -> int:
    """Run the tests on a copy without a fault and on one copy for each fault."""
    chosen = [m for m in collected() if not words or any(word in m.name for word in words)]
    if not chosen:
        print(f"no fault has one of {words} in its name; the names are in {FAULTS} and in this file", file=sys.stderr)
        return 2
    begun = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        copies = [Copy(Path(folder).resolve() / str(i), m) for i, m in enumerate([None, *chosen])]
        copies[0].tests = sorted({m.test for m in chosen})
        statuses = _run_all(copies)
    print(f"{time.perf_counter() - begun:.0f} s")
    if statuses[0] != PASSED or any(status not in (PASSED, FAILED) for status in statuses):
        print("the tests fail without a fault, or could not be run: see above", file=sys.stderr)
        return 2
    killed = statuses[1:].count(FAILED)
    print(f"killed {killed} of {len(chosen)}")
    return 0 if killed == len(chosen) else 1


def _linked(source: str, target: str) -> None:
    """The same file under another name: copying a thousand took as long as the tests of a fault."""
    try:
        os.link(source, target)
    except OSError:  # on another file system
        shutil.copy2(source, target)


class Copy:
    """The sources as one package tree with at most one fault, and its tests."""

    def __init__(self, folder: Path, mutant: Mutant | None) -> None:
        self.folder, self.mutant = folder, mutant
        self.tests: Sequence[str] = [mutant.test] if mutant else []

    def make(self) -> None:
        """Write the copy; ``strategies`` and ``data`` go to where an installation has them."""
        for source, target in [("selftrain", ""), ("strategies", "strategies"), ("data", "data")]:
            shutil.copytree(
                ROOT / source, self.folder / "selftrain" / target, dirs_exist_ok=True, copy_function=_linked
            )
        shutil.copytree(ROOT / "tests", self.folder / "tests", copy_function=_linked)
        for name in ("pyproject.toml", "setup.cfg", "README.md", "docs", "examples", "benchmarks"):
            (self.folder / name).symlink_to(ROOT / name)  # tests read them, no fault is in them
        if self.mutant is None:
            return
        inside = self.mutant.file if self.mutant.file.startswith("selftrain/") else f"selftrain/{self.mutant.file}"
        text = (self.folder / inside).read_text(encoding="utf-8")
        count = text.count(self.mutant.old)
        if count != 1:
            raise SystemExit(
                f"{self.mutant.name}: {self.mutant.file} holds {count} times, not once:\n{self.mutant.old}"
            )
        (self.folder / inside).unlink()  # a link to the source itself
        (self.folder / inside).write_text(text.replace(self.mutant.old, self.mutant.new), encoding="utf-8")

    def start(self) -> int:
        """Begin the tests in a process of their own; returns its number."""
        sys.stdout.flush()
        child = os.fork()
        if child:
            return child
        status = NOT_RUN
        try:
            status = self._inside()
        except BaseException:  # nothing may get out of here: above is the parent's work
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            os._exit(status)

    def _inside(self) -> int:
        """In the new process: import the copy and nothing else, run its tests, write what they say to a file."""
        output = os.open(self.folder / "output", os.O_WRONLY | os.O_CREAT)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.chdir(self.folder)
        os.environ["PYTHONPATH"] = str(self.folder)  # for tests that start Python
        sys.path.insert(0, str(self.folder))
        import pytest

        import selftrain.strategies

        if not str(selftrain.strategies.__file__).startswith(str(self.folder)):
            print(f"{selftrain.strategies.__file__} is not the copy")
            return NOT_RUN
        options = ["-x", "-q", "-p", "no:cacheprovider", "--tb=short"]
        return int(pytest.main([*options, *(located(test) for test in self.tests)]))

    def end(self, status: int, seconds: float) -> int:
        """Say how the tests ended and how much of a processor they took, and remove the copy."""
        output = (self.folder / "output").read_text(encoding="utf-8")
        names = {PASSED: "SURVIVED", FAILED: "killed"} if self.mutant else {PASSED: "sound"}
        found = re.search(r"^FAILED \S*::(\S+)", output, re.MULTILINE)
        by = found.group(1) if found else f"{len(self.tests)} tests"
        name = self.mutant.name if self.mutant else "no fault"
        print(f"{names.get(status, 'NOT RUN'):8} {name}: {by} ({seconds:.1f} s)", flush=True)
        if status not in names:
            print(output, flush=True)
        shutil.rmtree(self.folder)
        return status


def _run_all(copies: Sequence[Copy]) -> list[int]:
    """Exit status of the tests on each copy, at most ``PROCESSES`` at a time."""
    import torch

    for library in PRELOADED:
        with contextlib.suppress(ImportError):  # an extra that is not installed
            importlib.import_module(library)
    torch.set_num_threads(1)
    gc.freeze()  # what is loaded is shared by all: no process looks through it, so none has to copy it
    waiting, running, statuses = list(copies), {}, {}
    while waiting or running:
        if waiting and len(running) < PROCESSES:
            copy = waiting.pop(0)
            copy.make()
            running[copy.start()] = copy
            continue
        child, status, used = os.wait4(-1, 0)
        ended = running.pop(child)
        statuses[ended] = ended.end(os.waitstatus_to_exitcode(status), used.ru_utime + used.ru_stime)
    return [statuses[copy] for copy in copies]


if __name__ == "__main__":
    os.environ |= {"OMP_NUM_THREADS": "1", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    sys.path = [path for path in sys.path if Path(path or ".").resolve() not in (ROOT, HERE)]
    sys.path.append(str(HERE))
    sys.exit(main(sys.argv[1:]))
