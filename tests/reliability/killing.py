"""Faults of the process: killed, asked to stop, asked twice."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

from harness import EVERY, STEPS, Bench, Child, Progress, Trial, drawn, fork, kill_at_change, struck, train

import selftrain.engine.loop as loop_module
import selftrain.engine.state as state_module


def killed(bench: Bench, folder: Path, begin: Callable[[Path, Progress], Child]) -> Trial:
    """A run that ends by ``kill -9`` goes on."""
    status, run, progress = struck(folder, begin)
    if status != 128 + signal.SIGKILL:
        return Trial(False, 0, f"ended with {status}")
    return bench.goes_on(run, progress.get(), most=EVERY)


def killed_any_time(bench: Bench, folder: Path, number: int) -> Trial:
    """``kill -9`` at a random moment of the run's processor time."""
    draw = drawn("kill", number)

    def begin(run: Path, progress: Progress) -> Child:
        child = fork(lambda: train(run, progress), folder / "log")
        moment = draw.random() * bench.seconds
        while child.used() < moment:
            time.sleep(0.001)
        child.send(signal.SIGKILL)
        return child

    return killed(bench, folder, begin)


def killed_at_a_file(bench: Bench, folder: Path, number: int) -> Trial:
    """``kill -9`` right before a random change of the file system: while saving, logging, finishing."""
    draw = drawn("file", number)

    def begin(run: Path, progress: Progress) -> Child:
        change = draw.randint(1, bench.changes)
        return fork(lambda: (kill_at_change(change), train(run, progress)), folder / "log")

    return killed(bench, folder, begin)


def killed_while_evaluating(bench: Bench, folder: Path, number: int) -> Trial:
    """``kill -9`` in the middle of a random evaluation."""
    draw = drawn("evaluate", number)

    def begin(run: Path, progress: Progress) -> Child:
        at = draw.randint(1, STEPS // 3)
        die = lambda: os.kill(os.getpid(), signal.SIGKILL)  # noqa: E731
        return fork(lambda: (_at_evaluation(at, die), train(run, progress)), folder / "log")

    return killed(bench, folder, begin)


def _at_evaluation(number: int, act: object) -> None:
    """In a child: do something in the ``number``-th evaluation of the run."""
    measure, seen = state_module.measure, [0]

    def patched(strategy: object, pile: object, data: object, **asked: object) -> object:
        seen[0] += 1
        if seen[0] == number:
            predict = strategy.predict  # type: ignore[attr-defined]

            def once(x: object) -> object:
                strategy.predict = predict  # type: ignore[attr-defined]
                act()  # type: ignore[operator]
                return predict(x)

            evaluate = strategy.evaluate  # type: ignore[attr-defined]

            def evaluated(batches: object, reference: object) -> object:
                strategy.evaluate = evaluate  # type: ignore[attr-defined]
                batches = iter(batches)  # type: ignore[call-overload]
                first = next(batches)
                act()  # type: ignore[operator]
                return evaluate([first, *batches], reference)

            strategy.evaluate = evaluated  # type: ignore[attr-defined]
        return measure(strategy, pile, data, **asked)  # type: ignore[arg-type]

    state_module.measure = patched  # type: ignore[assignment]


def _stopped(bench: Bench, folder: Path, number: int, sent: signal.Signals, fault: str) -> Trial:
    """A signal at a random moment after the run has claimed its folder: nothing is lost."""
    draw = drawn(fault, number)

    def begin(run: Path, progress: Progress) -> Child:
        child = fork(lambda: train(run, progress), folder / "log")
        moment = draw.random() * bench.seconds
        while child.used() < moment or not (run / "metrics.jsonl").exists():
            if child.poll() is not None:
                break
            time.sleep(0.001)
        child.send(sent)
        return child

    status, run, progress = struck(folder, begin)
    if status != 128 + sent:
        return Trial(False, 0, f"ended with {status}")
    return bench.goes_on(run, progress.get(), most=0)


def terminated(bench: Bench, folder: Path, number: int) -> Trial:
    """SIGTERM at a random moment."""
    return _stopped(bench, folder, number, signal.SIGTERM, "term")


def interrupted(bench: Bench, folder: Path, number: int) -> Trial:
    """SIGINT at a random moment."""
    return _stopped(bench, folder, number, signal.SIGINT, "int")


def terminated_while_evaluating(bench: Bench, folder: Path, number: int) -> Trial:
    """SIGTERM in the middle of an evaluation: it is done anew, and nothing is lost."""
    draw, progress = drawn("term in evaluation", number), Progress()
    sent = draw.choice([signal.SIGTERM, signal.SIGINT])

    def work() -> None:
        _at_evaluation(draw.randint(1, STEPS // 3), lambda: os.kill(os.getpid(), sent))
        train(folder / "run", progress)

    status = fork(work, folder / "log").wait()
    if status != 128 + sent:
        return Trial(False, 0, f"ended with {status}")
    return bench.goes_on(folder / "run", progress.get(), most=0)


def asked_twice(bench: Bench, folder: Path, number: int) -> Trial:
    """Two signals in one step that would never end: the second one ends it."""
    draw, progress = drawn("twice", number), Progress()
    at, sent = draw.randrange(STEPS), draw.choice([signal.SIGTERM, signal.SIGINT])

    def work() -> None:
        step = loop_module.take_step

        def endless(strategy: object, networks: object, batches: object, clock: object, state: object) -> object:
            if clock.step == at:  # type: ignore[attr-defined]
                os.kill(os.getpid(), sent)
                os.kill(os.getpid(), sent)
                time.sleep(60)
            return step(strategy, networks, batches, clock, state)  # type: ignore[arg-type]

        loop_module.take_step = endless  # type: ignore[assignment]
        train(folder / "run", progress)

    status = fork(work, folder / "log").wait(30)
    if status != 128 + sent:
        return Trial(False, 0, f"ended with {status}")
    return bench.goes_on(folder / "run", progress.get(), most=EVERY)
