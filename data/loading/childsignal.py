"""SIGCHLD, told only where it does no harm.

PyTorch's handler raises an error as soon as a loader process dies, wherever the program is: in the middle of a file
that is being written, or inside an ``except`` that takes it for something else. Here it waits for the next batch.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


class ChildSignal:
    """Puts off the handler of SIGCHLD while batches are used, but not while one is waited for."""

    def __init__(self) -> None:
        self._before: Any = None
        self._used = self._awaited = 0
        self._missed = False

    def install(self) -> None:
        """Stand before the present handler; outside the main thread, and on Windows, there is none to stand before."""
        if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "SIGCHLD"):
            return
        present = signal.getsignal(signal.SIGCHLD)
        if present != self._receive:
            self._before = present
            signal.signal(signal.SIGCHLD, self._receive)

    @contextmanager
    def put_off(self) -> Iterator[None]:
        """A batch is used: nothing is told until the next one is waited for."""
        self._used += 1
        try:
            yield
        finally:
            self._used -= 1

    @contextmanager
    def awaited(self) -> Iterator[None]:
        """A batch is waited for: what was missed is told now, and the rest as it comes."""
        self._awaited += 1
        try:
            if self._missed:
                self._tell(signal.SIGCHLD, None)
            yield
        finally:
            self._awaited -= 1

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self._used and not self._awaited:
            self._missed = True
        else:
            self._tell(number, frame)

    def _tell(self, number: int, frame: FrameType | None) -> None:
        self._missed = False
        if callable(self._before):
            self._before(number, frame)


CHILD_SIGNAL = ChildSignal()
