"""Faults of loader processes: a row that cannot be read, a process that is killed, one that hangs."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import zoo
from harness import EVERY, REFUSED, Bench, Progress, Trial, drawn, error_of, fork, leftovers, outcome, stored_step
from torch import nn

import selftrain as st
from selftrain import data, strategies
from selftrain.types import BatchPlan

BAD, ROWS, STEPS = 17, 40, 10  # the row that does something bad; ten steps are an epoch
Act = Callable[[], object]


class Faulty(data.ArraySet):
    """Rows of which one does something bad when it is read, in a loader process where ``only_there``."""

    def __init__(self, act: Act, *, bad: int = BAD, only_there: bool = True) -> None:
        self.act: Act | None = None
        super().__init__(torch.rand(ROWS, 4, generator=torch.Generator().manual_seed(0)).numpy())
        self.act, self.bad, self.only_there, self.home = act, bad, only_there, os.getpid()

    def images(self, index: Any) -> torch.Tensor:
        if self.act is not None and self.bad in index and not (self.only_there and os.getpid() == self.home):
            self.act()
        return super().images(index)


def fail() -> None:
    raise KeyError("no such picture")


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def hang() -> None:
    time.sleep(600)


def calm() -> None:
    pass


def pile(unlabeled: Any) -> data.Pile:
    y = torch.arange(8) % 2
    return data.Pile(data.ArraySet(np.eye(8, 4, dtype=np.float32), y), unlabeled, classes=["a", "b"])


def method() -> Any:
    torch.manual_seed(0)
    return strategies.PseudoLabel(st.Classification(2), st.learner(lambda: nn.Linear(4, 2)))


def train(act: Act, out: Path, workers: int, *, bad: int = BAD, strategy: Any = None, timeout: float = 600.0) -> st.Run:
    """Begin the run in a folder, or go on with it."""
    plan = BatchPlan(4, 1.0, seed=3, workers=workers, timeout=timeout)
    times = {"steps": STEPS, "checkpoint_every": EVERY, "resume": (out / "run.json").exists()}
    quiet = {"self_check": False, "dashboard": False}
    return st.fit(strategy or method(), pile(Faulty(act, bad=bad)), plan=plan, out=out, **times, **quiet)


def children() -> list[int]:
    """Processes that this one has made and that are still there, zombies too."""
    found: list[int] = []
    for task in Path("/proc/self/task").iterdir():
        with suppress(FileNotFoundError):  # a thread that has just ended
            found += map(int, (task / "children").read_text().split())
    return found


def faulty(act: Act) -> Callable[[Bench, Path, int], Trial]:
    """Trials in which a loader process does something bad at a random row."""

    def trial(bench: Bench, folder: Path, number: int) -> Trial:
        draw, progress = drawn(f"loader {act.__name__}", number), Progress()
        bad, workers, log = draw.randrange(ROWS), draw.choice([1, 2]), folder / "log"

        def work() -> None:
            try:
                train(act, folder / "run", workers, bad=bad, strategy=_counted(progress), timeout=2.0)
            finally:
                (folder / "left").write_text(str(children()))

        status, text = fork(work, log).wait(), error_of(log)
        left = (folder / "left").read_text() if (folder / "left").exists() else "unknown"
        if status != REFUSED or not re.search(rf"\b{bad}\b.* of the unlabeled set", text) or left != "[]":
            return Trial(False, 0, f"ended with {status}: {text}; left over: {left}")
        return _goes_on(folder, progress.get(), workers)

    return trial


def _counted(progress: Progress) -> Any:
    strategy = method()
    step = strategy.step

    def counted(batch: Any, clock: Any) -> Any:
        report = step(batch, clock)
        progress.set(clock.step + 1)
        return report

    strategy.step = counted
    return strategy


def _goes_on(folder: Path, finished: int, workers: int) -> Trial:
    run, log = folder / "run", folder / "resume"
    lost = finished - stored_step(run)
    status = fork(lambda: train(calm, run, 2 - workers), log).wait()
    if status or lost > EVERY:
        return Trial(False, lost, f"resume ended with {status}, {lost} steps lost: {error_of(log)}")
    different = zoo.differences(_whole(folder.parent), outcome(run)) + leftovers(run)
    return Trial(not different, lost, f"different: {different[:5]}" if different else "")


@cache
def _whole(place: Path) -> dict[str, Any]:
    """What the run without a fault leaves."""
    out = place / f"loading-{os.getpid()}"
    assert fork(lambda: train(calm, out, 0)).wait() == 0
    return outcome(out)
