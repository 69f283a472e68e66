"""A program for ``torchrun`` that loses a process or is told to stop, is started again, and goes on.

    torchrun --nproc-per-node 2 --max-restarts 2 tests/support/ranks_program.py FOLDER [SIGNAL:STEP ...]

In attempt number i the second process sends itself the i-th signal in that step. The run goes on from its newest
checkpoint; what it leaves is stored in ``FOLDER/done-RANK.pt``, and the attempt and number of each step in
``FOLDER/steps-RANK.txt``.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import torch
from ranks_scenes import told

import selftrain as st
from selftrain import toy
from selftrain.runtime import distributed
from selftrain.strategies import FutureSelfTraining

STEPS, EVERY = 12, 3


class Struck(FutureSelfTraining):
    """FST in a process that gets a signal in the midst of a step."""

    signals: tuple[str, ...] = ()
    log: Path | None = None

    def step(self, batch: Any, clock: Any, *extra: Any) -> Any:
        attempt = int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))
        if self.log is not None:
            with open(self.log, "a", encoding="utf-8") as file:
                file.write(f"{attempt} {clock.step}\n")
        name, _, step = self.signals[attempt].partition(":") if attempt < len(self.signals) else ("", "", "-1")
        if distributed.rank() == 1 and clock.step == int(step):
            os.kill(os.getpid(), getattr(signal, name))
        return super().step(batch, clock, *extra)


def run(out: Path, signals: tuple[str, ...] = (), log: Path | None = None) -> dict[str, Any]:
    torch.manual_seed(distributed.rank())  # the first one's start counts
    make = toy.learner("classification", dropout=0.0, accumulate=2)
    strategy = Struck(toy.task("classification"), make, depth=1)
    strategy.signals, strategy.log = signals, log
    begun = any((out / "checkpoints").glob("step-*.pt"))
    fit: dict[str, Any] = {"steps": STEPS, "checkpoint_every": EVERY, "progress": False}
    fit |= {"resume": begun, "overwrite": not begun, "self_check": False}  # which takes a step on a copy
    return told(st.fit(strategy, toy.pile("classification"), out=out, **fit))


if __name__ == "__main__":
    torch.set_num_threads(1)
    folder = Path(sys.argv[1])
    result = run(folder / "run", tuple(sys.argv[2:]), folder / f"steps-{distributed.rank()}.txt")
    torch.save(result, folder / f"done-{distributed.rank()}.pt")
