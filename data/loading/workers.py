"""Loader processes: batches made ahead, and what became of a process that fails, dies or hangs."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import wait
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from selftrain.data.base.reading import shown_rows
from selftrain.data.loading.childsignal import CHILD_SIGNAL
from selftrain.data.loading.fetching import LABELED, UNLABELED, EpochStep, Fetcher, RawBatch
from selftrain.errors import DataError

_PARTS = (LABELED, UNLABELED)


class Workers:
    """Loader processes that fetch jobs in their order, kept from one epoch to the next.

    A process that fails hands over the error; one that dies or takes longer than ``fetch.plan.timeout`` seconds for a
    batch ends in a ``DataError`` that names what it was reading. Ctrl-C is left to the program that started them.

    Args:
        fetch: Fetches one job; its plan has the number of processes.
        pin_memory: Whether batches come in memory that an accelerator copies from at once.
    """

    def __init__(self, fetch: Fetcher, *, pin_memory: bool) -> None:
        self.fetch, self.pin_memory = fetch, pin_memory
        self._idle: _Loader | None = None

    def __call__(self, jobs: list[EpochStep]) -> Iterator[RawBatch]:
        """What the jobs fetch, in their order.

        Raises:
            DataError: from the data, or because a process died or hung.
        """
        # a loader in use is not shared: an epoch begun inside another gets processes of its own
        loader, self._idle = self._idle or _Loader(self.fetch, self.pin_memory), None
        try:
            yield from loader.items(jobs)
        except GeneratorExit:
            self._idle = loader
            raise
        except Exception as error:
            with CHILD_SIGNAL.put_off():
                said = loader.explain(error)
                loader.close()
            if said is None:
                raise
            raise said from error
        self._idle = loader


class _Loader:
    """The processes of one ``DataLoader``; ``places``: for each its number, and epoch, step and set it reads."""

    def __init__(self, fetch: Fetcher, pin_memory: bool) -> None:
        plan = fetch.plan
        self.fetch, self.jobs = fetch, list[EpochStep]()
        self.places = torch.full((plan.workers, 4), -1).share_memory_()
        self.loader: DataLoader[RawBatch | DataError] | None = DataLoader(
            _Remote(fetch, self.places),
            batch_size=None,
            sampler=self.jobs,
            num_workers=plan.workers,
            persistent_workers=True,
            collate_fn=_unchanged,
            pin_memory=pin_memory,
            timeout=plan.timeout,
            worker_init_fn=_begin,
            generator=torch.Generator(),  # else the loader would draw its base seed from the global state
        )

    def items(self, jobs: list[EpochStep]) -> Iterator[RawBatch]:
        """What the processes fetch for some jobs."""
        assert self.loader is not None
        self.jobs[:] = jobs
        # a process that has just begun would take Ctrl-C for its own
        with _no_interrupt():
            batches = iter(self.loader)
        CHILD_SIGNAL.install()
        for _ in jobs:
            with CHILD_SIGNAL.awaited():
                item = next(batches)
            if isinstance(item, DataError):
                raise item
            with CHILD_SIGNAL.put_off():
                yield item

    def close(self) -> None:
        """End the processes now: the trace of an error would keep them waiting."""
        running, self.loader = getattr(self.loader, "_iterator", None), None
        if running is None:
            return
        # the only way to its processes: DataLoader waits for those that hang, and longer than anybody would
        for process in running._workers:
            process.terminate()  # one that hangs would not heed a request
        running._shutdown_workers()
        for process in running._workers:
            process.join()

    def explain(self, error: Exception) -> DataError | None:
        """What a process that died or hung was reading, from the error it left; ``None`` for any other error."""
        text = str(error).strip().rstrip(".")
        told = isinstance(error, RuntimeError) and text.startswith("DataLoader")
        if not told and not isinstance(error, (OSError, EOFError)):
            return None
        dead = self._died()
        if not told:  # a connection that broke as a batch was taken from it
            if not dead:
                return None
            text = f"DataLoader worker (pid {', '.join(map(str, sorted(dead)))}) died"
        # where none has ended one of them hangs, and nobody can tell which
        places = [place for place in self.places.tolist() if place[1] >= 0 and (place[0] in dead or not dead)]
        reading = "; ".join(self._said(*place[1:]) for place in places) or "its first rows"
        remedy = "allow more with BatchPlan(timeout=...), or " if "timed out" in text else ""
        return DataError(f"{text}, while reading {reading}; {remedy}see what is wrong with BatchPlan(workers=0)")

    def _died(self) -> set[int]:
        """Numbers of the processes that have ended, or will have in a moment."""
        processes = getattr(getattr(self.loader, "_iterator", None), "_workers", [])
        ended = wait([process.sentinel for process in processes], timeout=1)
        return {process.pid for process in processes if process.sentinel in ended}

    def _said(self, epoch: int, step: int, part: int) -> str:
        rows = self.fetch.indices((epoch, step), _PARTS[part]).rows
        return f"rows {shown_rows(rows)} of the {_PARTS[part]} set (step {step} of epoch {epoch})"


@dataclass(frozen=True)
class _Remote(Dataset["RawBatch | DataError"]):
    """A fetcher for loader processes: bad data are handed over, since an exception would arrive wrapped in a trace."""

    fetch: Fetcher
    places: Tensor

    def __getitem__(self, job: EpochStep) -> RawBatch | DataError:
        try:
            return self.fetch.fetch(job, lambda part: self.note(job, part))
        except DataError as error:
            return error

    def note(self, job: EpochStep, part: str) -> None:
        """Leave word of what this process is about to read."""
        worker = torch.utils.data.get_worker_info()
        if worker is not None:
            self.places[worker.id] = torch.tensor([os.getpid(), *job, _PARTS.index(part)])


@contextmanager
def _no_interrupt() -> Iterator[None]:
    """Put off Ctrl-C while processes are started: they begin with it blocked, and it stays so in them."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _begin(number: int) -> None:
    """Prepare a loader process: Ctrl-C is its parent's affair, and to be told to end ends it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _unchanged(item: Any) -> Any:
    return item
