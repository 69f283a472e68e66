"""Trials shared out to processes: one that dies takes its trial with it and no other."""

from __future__ import annotations

import multiprocessing
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from multiprocessing.connection import Connection, wait

from harness import Trial

Inject = Callable[[int], Trial]
Outcome = tuple[Trial, float]  # what became of a trial, and the seconds it took


class Worker:
    """A forked process that does one trial after the other."""

    def __init__(self, inject: Inject) -> None:
        context = multiprocessing.get_context("fork")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, inject))
        self.process.start()
        theirs.close()  # so that the pipe breaks with the process
        self.number, self.begun = -1, 0.0

    def begin(self, number: int) -> None:
        """Start a trial."""
        self.number, self.begun = number, time.monotonic()
        self.pipe.send(number)

    def outcome(self) -> Outcome:
        """What became of the trial; a process that died of it has not survived it."""
        try:
            trial = self.pipe.recv()
        except EOFError:
            self.end()
            trial = Trial(False, 0, f"its process ended with {self.process.exitcode}")
        return trial, time.monotonic() - self.begun

    def end(self) -> None:
        """End the process after its trial."""
        with suppress(OSError):  # it is dead
            self.pipe.send(None)
        self.process.join()


def _serve(pipe: Connection, inject: Inject) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of a terminal: the parent ends, and the pipe with it
    with suppress(EOFError, OSError):
        while (number := pipe.recv()) is not None:
            pipe.send(_tried(inject, number))


def _tried(inject: Inject, number: int) -> Trial:
    try:
        return inject(number)
    except Exception as error:
        return Trial(False, 0, repr(error))


def shared_out(inject: Inject, numbers: range, processes: int) -> Iterator[Outcome]:
    """Do the trials of these numbers in so many processes; outcomes come in the order of the numbers."""
    left, done = list(reversed(numbers)), dict[int, Outcome]()
    busy, idle = list[Worker](), list[Worker]()
    try:
        for number in numbers:
            while number not in done:
                while left and len(busy) < processes:
                    busy.append(idle.pop() if idle else Worker(inject))
                    busy[-1].begin(left.pop())
                for worker in _ready(busy):
                    busy.remove(worker)
                    done[worker.number] = worker.outcome()
                    idle += [worker] if worker.process.is_alive() else []
            yield done.pop(number)
    finally:
        for worker in busy + idle:
            worker.end()


def _ready(workers: list[Worker]) -> list[Worker]:
    ready = wait([worker.pipe for worker in workers])
    return [worker for worker in workers if worker.pipe in ready]
