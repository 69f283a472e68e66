"""One of two ranks is killed: the other ends with an error within a minute, and both go on from the last checkpoint."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import zoo
from harness import (
    EVERY,
    KIND,
    REFUSED,
    STEPS,
    Bench,
    Child,
    Progress,
    Trial,
    drawn,
    error_of,
    fork,
    leftovers,
    outcome,
    stored_step,
    train,
)

SECONDS = 60.0  # in which the other must have ended


def killed(bench: Bench, folder: Path, number: int) -> Trial:
    """``kill -9`` of the first or the second rank in a random step."""
    draw, progress, run = drawn("rank", number), Progress(), folder / "run"
    victim, step = draw.randrange(2), draw.randrange(STEPS)
    first, second = pair(lambda rank: _train(run, progress, step if rank == victim else -1), folder / "log")
    dead, other = (first, second) if victim == 0 else (second, first)
    log = folder / f"log-{1 - victim}"
    if (dead.wait(), other.wait(SECONDS)) != (128 + signal.SIGKILL, REFUSED):
        return Trial(False, 0, f"the other ended with {other.status}: {error_of(log)}{log.read_text()[-1500:]}")
    lost = progress.get() - stored_step(run)
    if not error_of(log).startswith("RankError") or lost > EVERY:
        return Trial(False, lost, f"{lost} steps lost; the other says {error_of(log)!r}")
    again = [child.wait() for child in pair(lambda rank: train(run), folder / "again")]
    if again != [0, 0]:
        return Trial(False, lost, f"resume ended with {again}: {error_of(folder / 'again-0')}")
    different = zoo.differences(_whole(folder.parent), outcome(run)) + leftovers(run)
    return Trial(not different, lost, f"different: {different[:5]}" if different else "")


def pair(work: Callable[[int], object], log: Path) -> list[Child]:
    """Two forked ranks at the same work, given their number."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])

    def ranked(rank: int) -> None:
        meeting = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        os.environ.update(meeting, RANK=str(rank), LOCAL_RANK=str(rank))
        work(rank)

    return [fork(lambda rank=rank: ranked(rank), Path(f"{log}-{rank}")) for rank in range(2)]


def _train(folder: Path, progress: Progress, strike: int) -> None:
    strategy = zoo.build("freematch", KIND)
    step = strategy.step

    def struck(batch: Any, clock: Any) -> Any:
        if clock.step == strike:
            os.kill(os.getpid(), signal.SIGKILL)
        report = step(batch, clock)
        progress.set(clock.step + 1)
        return report

    strategy.step = struck
    train(folder, strategy=strategy)


@cache
def _whole(place: Path) -> dict[str, Any]:
    """What two ranks leave that nothing happens to."""
    out = place / f"ranks-{os.getpid()}"
    assert [child.wait() for child in pair(lambda rank: train(out), place / "ranks-log")] == [0, 0]
    return outcome(out)
