"""A short training in a process of its own, into which faults are injected, and what must be true of it afterwards.

Processes are forked, so that they find PyTorch loaded; each is 12 steps of FreeMatch on a toy (or fewer: faults come in
between), with a checkpoint every 2 steps and an evaluation every 3.
"""

from __future__ import annotations

import json
import mmap
import os
import random
import resource
import signal
import struct
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.utils.tensorboard  # so that no child has to load it
import zoo
from torch import Tensor

import selftrain as st
from selftrain import toy
from selftrain.networks.optim import weights_of
from selftrain.storage import checkpoint
from selftrain.storage.run_dir import CHECKPOINTS

STEPS, EVERY, KIND = 12, 2, "classification"
REFUSED = 3  # exit status after one of the library's own errors; its text is in the file "error"
PATIENCE = 120.0  # seconds after which a child counts as hanging
TRIES = 20  # runs that a fault may miss because it comes too late


# -- the run -----------------------------------------------------------------------------------------------------------
class Progress:
    """Steps that a child has finished, seen by its parent."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, 8)

    def set(self, step: int) -> None:
        self._memory[:8] = struct.pack("q", step)

    def get(self) -> int:
        return int(struct.unpack("q", self._memory[:8])[0])


def train(
    folder: Path, progress: Progress | None = None, *, name: str = "freematch", strategy: Any = None, **settings: Any
) -> st.Run:
    """Begin the run in a folder, or go on with it."""
    strategy = strategy or zoo.build(name, KIND)
    if progress is not None:
        step = strategy.step

        def counted(batch: Any, clock: Any, *extra: Any) -> Any:
            report = step(batch, clock, *extra)
            progress.set(clock.step + 1)
            return report

        strategy.step = counted
    times = {"eval_every": 3, "log_every": 2, "checkpoint_every": EVERY, "plan": zoo.PLAN, "steps": STEPS}
    resume = (folder / "run.json").exists()
    return st.fit(strategy, toy.pile(KIND), out=folder, self_check=False, **{"resume": resume} | times | settings)


def outcome(folder: Path) -> dict[str, Any]:
    """All that a finished run leaves on the disk, but for times and pictures."""
    state = checkpoint.load_newest(folder / CHECKPOINTS)
    del state["seconds"]
    return {
        "state": state,
        "log": [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()],
        "weights": {name: weight for name, weight in weights_of(folder).items()},
        "ledger": (folder / "pseudo_labels.csv").read_text(),
    }


def stored_step(folder: Path) -> int:
    """Step of the checkpoint a resumed run goes on from."""
    place = folder / CHECKPOINTS
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return 0 if checkpoint.is_empty(place) else int(checkpoint.load_newest(place)["step"])


def leftovers(folder: Path) -> list[str]:
    """Temporary files in a folder."""
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.name.endswith(".part"))


def scalars(folder: Path) -> dict[str, list[int]]:
    """Steps of each scalar in TensorBoard."""
    from plain_events import PlainEvents as EventAccumulator

    reader = EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload()
    return {tag: [event.step for event in reader.Scalars(tag)] for tag in reader.Tags()["scalars"]}


# -- processes ---------------------------------------------------------------------------------------------------------
@dataclass
class Child:
    """A forked process."""

    pid: int
    begun: float
    status: int | None = None

    def send(self, number: int) -> None:
        if self.status is None:
            os.kill(self.pid, number)

    def poll(self) -> int | None:
        """Its exit status as a shell tells it, ``None`` while it runs."""
        if self.status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.status = os.waitstatus_to_exitcode(status)
                self.status = 128 - self.status if self.status < 0 else self.status
        return self.status

    def used(self) -> float:
        """Seconds of processor time it has used, infinite once it has ended."""
        if sys.platform != "linux":
            return time.monotonic() - self.begun if self.poll() is None else float("inf")
        clock = (~self.pid << 3) | 2  # the clock of another process, as clock_getcpuclockid says it
        return time.clock_gettime(clock) if self.poll() is None else float("inf")

    def wait(self, patience: float = PATIENCE) -> int:
        """Its exit status; one that hangs is killed and tells 124."""
        end = time.monotonic() + patience
        while self.poll() is None:
            if time.monotonic() > end:
                self.send(signal.SIGKILL)
                os.waitpid(self.pid, 0)
                self.status = 124
            time.sleep(0.002)
        assert self.status is not None
        return self.status


def fork(work: Callable[[], Any], log: Path | None = None) -> Child:
    """Run ``work`` in a child that ends as an interpreter would."""
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        return Child(pid, time.monotonic())
    status = 1
    try:
        _quiet(log)
        for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGTERM, signal.SIG_DFL)):
            signal.signal(number, handler)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            work()
        status = 0
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else 1
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    except (st.SelftrainError, ValueError) as error:
        status = REFUSED
        if log is not None:
            log.with_suffix(".error").write_text(f"{type(error).__name__}: {error}")
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def struck(folder: Path, begin: Callable[[Path, Progress], Child]) -> tuple[int, Path, Progress]:
    """Exit status, folder and progress of the first run that was not finished before its fault came."""
    for number in range(TRIES):
        run, progress = folder / f"run-{number}", Progress()
        if status := begin(run, progress).wait():
            return status, run, progress
    raise AssertionError(f"the fault has missed {TRIES} runs")


def _quiet(log: Path | None) -> None:
    target = os.open(os.devnull if log is None else log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(target, 1)
    os.dup2(target, 2)
    torch.set_num_threads(1)


def error_of(log: Path) -> str:
    """What the child's error said."""
    path = log.with_suffix(".error")
    return path.read_text() if path.exists() else ""


def at_changes(act: Callable[[int], Any]) -> None:
    """In a child: do something with its number right before each change of the file system."""
    seen = [0]

    def hook(event: str, given: tuple[Any, ...]) -> None:
        writes = event == "open" and isinstance(given[2], int) and given[2] & (os.O_WRONLY | os.O_RDWR)
        if writes or event in ("os.rename", "os.remove", "os.mkdir", "os.truncate", "tempfile.mkstemp"):
            seen[0] += 1
            act(seen[0])

    sys.addaudithook(hook)


def kill_at_change(number: int) -> None:
    """In a child: die by ``kill -9`` right before the ``number``-th change of the file system."""
    at_changes(lambda now: now == number and os.kill(os.getpid(), signal.SIGKILL))


# -- a trial -----------------------------------------------------------------------------------------------------------
@dataclass
class Trial:
    """What became of one fault: whether all that is promised was kept, steps lost, and what was wrong."""

    survived: bool
    lost: int = 0
    problem: str = ""


class Bench:
    """The uninterrupted run, which every other one must equal in the end.

    ``seconds`` is the processor time it takes, ``changes`` how often it changes something on the disk.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            train(folder / "warm")  # loads what is loaded late, before there are children
        before, changes = resource.getrusage(resource.RUSAGE_CHILDREN), Progress()
        status = fork(lambda: (at_changes(changes.set), train(folder / "whole")), folder / "whole.log").wait()
        assert status == 0, (folder / "whole.log").read_text()
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        self.seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        self.changes = changes.get()
        self.reference = outcome(folder / "whole")

    def goes_on(self, folder: Path, finished: int, *, most: int) -> Trial:
        """Resume the run in a folder: it must lose at most ``most`` steps and become the uninterrupted one."""
        lost = finished - stored_step(folder)
        if lost > most:
            return Trial(False, lost, f"{lost} steps lost")
        log = folder.with_suffix(".resume")
        status = fork(lambda: train(folder), log).wait()
        if status:
            return Trial(False, lost, f"resume ended with {status}: {error_of(log)}{log.read_text()[-2000:]}")
        different = zoo.differences(self.reference, outcome(folder))
        if different or leftovers(folder):
            return Trial(False, lost, f"different: {different[:5]}; left over: {leftovers(folder)}")
        return Trial(True, max(0, lost))


@contextmanager
def scratch(parent: Path, number: int) -> Iterator[Path]:
    """A fresh folder for one trial."""
    import shutil

    folder = parent / f"trial-{number}"
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def drawn(fault: str, number: int) -> random.Random:
    """Random numbers of one trial: they depend on its fault and its number alone."""
    return random.Random(f"{fault}/{number}")


def flip(path: Path, draw: random.Random) -> None:
    """Flip one bit."""
    content = bytearray(path.read_bytes())
    content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    path.write_bytes(content)


def tensors(state: Any) -> list[Tensor]:
    """All tensors in a nested state."""
    return [leaf for leaf in zoo.leaves(state).values() if isinstance(leaf, Tensor)]
