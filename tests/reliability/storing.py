"""Faults of the disk and of what is on it: damage, no room, no permission, things that are no files."""

from __future__ import annotations

import os
import resource
import shutil
import time
from pathlib import Path
from random import Random

from harness import (
    EVERY,
    REFUSED,
    STEPS,
    Bench,
    Child,
    Progress,
    Trial,
    drawn,
    error_of,
    flip,
    fork,
    leftovers,
    struck,
    train,
)

from selftrain.storage.checkpoint import COPY, MANIFEST
from selftrain.storage.run_dir import CHECKPOINTS


def damaged(bench: Bench, folder: Path, number: int) -> Trial:
    """One file of the checkpoints flipped by a bit, cut short, emptied, or swapped with another."""
    draw = drawn("damage", number)
    run, place = folder / "run", folder / "run" / CHECKPOINTS
    stop = draw.choice([4, 6, 8, 10])
    fork(lambda: train(run, stop_after=stop), folder / "log").wait()
    file = place / draw.choice([MANIFEST, COPY, f"step-{stop:09d}.pt", f"step-{stop - EVERY:09d}.pt"])
    _damage(file, draw)
    return bench.goes_on(run, stop, most=EVERY)


def _damage(file: Path, draw: Random) -> None:
    kind = draw.choice(["flip", "cut", "empty", "swap"])
    if kind == "flip":
        flip(file, draw)
    elif kind == "swap":  # with the other's content: a manifest in the place of a checkpoint
        file.write_bytes((file.parent / (COPY if file.name != COPY else MANIFEST)).read_bytes()[::-1])
    else:
        content = file.read_bytes()
        file.write_bytes(content[: draw.randrange(len(content)) if kind == "cut" else 0])


def full(bench: Bench, folder: Path, number: int) -> Trial:
    """No file may grow beyond a random size, as on a disk that fills up: a named error, then on from the last state."""
    draw = drawn("full", number)

    def begin(run: Path, progress: Progress) -> Child:
        limit = draw.choice([200, 2_000, 12_000, 16_000, 20_000, 24_000, 28_000, 32_000, 36_000]) + draw.randrange(200)
        full = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))  # noqa: E731
        return fork(lambda: (full(), train(run, progress)), folder / "log")

    status, run, progress = struck(folder, begin)
    problem = error_of(folder / "log")
    if status != REFUSED or "run" not in problem:
        return Trial(False, 0, f"ended with {status}: {problem}{(folder / 'log').read_text()[-1500:]}")
    if leftovers(folder):
        return Trial(False, 0, f"left over: {leftovers(folder)}")
    return bench.goes_on(run, progress.get(), most=EVERY)


def removed(bench: Bench, folder: Path, number: int) -> Trial:
    """The folder is removed or renamed during the run: a named error, and no new folder with half a run in it."""
    draw, progress = drawn("removed", number), Progress()
    run, at = folder / "run", draw.randrange(1, STEPS)
    child = fork(lambda: train(run, progress), folder / "log")
    while progress.get() < at and child.poll() is None:
        time.sleep(0.001)
    if child.poll() is not None:
        return Trial(True)
    if draw.random() < 0.5:
        run.rename(folder / "elsewhere")
    else:
        shutil.rmtree(run, ignore_errors=True)
        shutil.rmtree(run, ignore_errors=True)  # a file came while the first one was at work
    status = child.wait()
    good = status == 0 or (status == REFUSED and "run" in error_of(folder / "log"))
    if not good or (run / CHECKPOINTS / MANIFEST).exists() and status == REFUSED:
        return Trial(False, 0, f"ended with {status}: {error_of(folder / 'log')}{(folder / 'log').read_text()[-1500:]}")
    if (folder / "elsewhere" / "run.json").exists() and status == REFUSED:
        return bench.goes_on(folder / "elsewhere", progress.get(), most=EVERY)
    return Trial(True)


TARGETS = ("run.json", "metrics.jsonl", "export.json", "pseudo_labels.csv", "export.safetensors", "summary.json")


def no_files(bench: Bench, folder: Path, number: int) -> Trial:
    """A link to somebody's file, a pipe or a folder where the run wants to write: refused, and left as it is."""
    draw = drawn("targets", number)
    run, mine = folder / "run", folder / "mine"
    run.mkdir()
    mine.write_text("mine")
    target, kind = run / TARGETS[number % len(TARGETS)], draw.choice(["link", "dangling", "pipe", "folder"])
    if kind in ("link", "dangling"):
        target.symlink_to(mine if kind == "link" else folder / "nowhere")
    elif kind == "pipe":
        os.mkfifo(target)
    else:
        target.mkdir()
    status = fork(lambda: train(run, resume=False), folder / "log").wait(60)
    problem = error_of(folder / "log")
    kept = mine.read_text() == "mine" and not (folder / "nowhere").exists()
    there = target.is_symlink() if kind in ("link", "dangling") else target.is_fifo() or target.is_dir()
    named = target.name in problem or "already holds a run" in problem
    good = status == REFUSED and kept and there and named
    return Trial(good, 0, "" if good else f"{kind} {target.name}: ended with {status}: {problem}")


def not_allowed(bench: Bench, folder: Path, number: int) -> Trial:
    """A folder that may not be written: refused before the training starts."""
    progress, run = Progress(), folder / "run"
    run.mkdir(mode=0o555)

    def work() -> None:
        if os.getuid() == 0:
            os.setgid(65534)
            os.setuid(65534)
        train(run, progress, resume=False)

    for place in (folder, folder.parent):
        place.chmod(0o755)
    status = fork(work, folder / "log").wait()
    good = status == REFUSED and progress.get() == 0 and not any(run.iterdir())
    return Trial(good, 0, "" if good else f"ended with {status} after {progress.get()} steps")


def two_at_once(bench: Bench, folder: Path, number: int) -> Trial:
    """A second run into the folder of one at work: refused, and the first one ends as if alone."""
    draw, progress = drawn("two", number), Progress()
    at, first = draw.randrange(1, STEPS // 2), fork(lambda: train(folder / "run", progress), folder / "log")
    while progress.get() < at and first.poll() is None:
        time.sleep(0.001)
    second = fork(lambda: train(folder / "run", overwrite=True, resume=False), folder / "second")
    status = second.wait()
    if first.wait() != 0:
        return Trial(False, 0, f"the first one ended with {first.status}: {error_of(folder / 'log')}")
    if status != REFUSED:  # it came after the first one had ended
        return Trial(status == 0, 0, f"the second one ended with {status}")
    return bench.goes_on(folder / "run", STEPS, most=0)
