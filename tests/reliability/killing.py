"""Faults of the process: killed, asked to stop, asked twice."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from harness import EVERY, STEPS, Bench, Progress, Trial, drawn, fork, kill_at_operation, train

import selftrain.session as session_module
from selftrain.session import Session


def killed_any_time(bench: Bench, folder: Path, number: int) -> Trial:
    """``kill -9`` at a random moment of the run's duration."""
    draw, progress = drawn("kill", number), Progress()
    child = fork(lambda: train(folder / "run", progress), folder / "log")
    time.sleep(draw.random() * bench.seconds)
    child.send(signal.SIGKILL)
    child.wait()
    return bench.goes_on(folder / "run", progress.get(), most=EVERY)


def killed_at_a_file(bench: Bench, folder: Path, number: int) -> Trial:
    """``kill -9`` right before a random change of the file system: while saving, logging, finishing."""
    draw, progress = drawn("file", number), Progress()

    def work() -> None:
        kill_at_operation(draw.randint(1, 170))
        train(folder / "run", progress)

    fork(work, folder / "log").wait()
    return bench.goes_on(folder / "run", progress.get(), most=EVERY)


def killed_while_evaluating(bench: Bench, folder: Path, number: int) -> Trial:
    """``kill -9`` in the middle of a random evaluation."""
    draw, progress = drawn("evaluate", number), Progress()

    def work() -> None:
        _at_evaluation(draw.randint(1, STEPS // 3), lambda: os.kill(os.getpid(), signal.SIGKILL))
        train(folder / "run", progress)

    fork(work, folder / "log").wait()
    return bench.goes_on(folder / "run", progress.get(), most=EVERY)


def _at_evaluation(number: int, act: object) -> None:
    """In a child: do something in the ``number``-th evaluation of the run."""
    measure, seen = session_module.measure, [0]

    def patched(strategy: object, pile: object, data: object) -> object:
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
        return measure(strategy, pile, data)  # type: ignore[arg-type]

    session_module.measure = patched  # type: ignore[assignment]


def _stopped(bench: Bench, folder: Path, number: int, sent: signal.Signals, fault: str) -> Trial:
    """A signal at a random moment after the run has claimed its folder: nothing is lost."""
    draw, progress = drawn(fault, number), Progress()
    child = fork(lambda: train(folder / "run", progress), folder / "log")
    while not (folder / "run" / "metrics.jsonl").exists() and child.poll() is None:
        time.sleep(0.001)
    time.sleep(draw.random() * bench.seconds * 0.8)
    ended = child.poll() is not None
    child.send(sent)
    status = child.wait()
    if status != (0 if ended else 128 + sent) and not (status == 0 and progress.get() == STEPS):
        return Trial(False, 0, f"ended with {status}")
    return bench.goes_on(folder / "run", progress.get(), most=0)


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
        step = Session.one_step

        def endless(self: Session, batches: object, clock: object) -> object:
            if clock.step == at:  # type: ignore[attr-defined]
                os.kill(os.getpid(), sent)
                os.kill(os.getpid(), sent)
                time.sleep(60)
            return step(self, batches, clock)  # type: ignore[arg-type]

        Session.one_step = endless  # type: ignore[assignment,method-assign]
        train(folder / "run", progress)

    status = fork(work, folder / "log").wait(30)
    if status != 128 + sent:
        return Trial(False, 0, f"ended with {status}")
    return bench.goes_on(folder / "run", progress.get(), most=EVERY)
