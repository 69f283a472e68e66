"""SIGTERM and SIGINT end a program once what is under way is finished and stored; a second one ends it at once.

Inside ``handle_signals`` the first signal only leaves a note. Loops ask for it where they can stop: the training loop
after each step, which it then stores, evaluation and labeling after each batch. The block ends as Python does by
itself, with ``KeyboardInterrupt`` (exit status 130 in a shell) or ``SystemExit(143)``.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from selftrain.errors import setting
from selftrain.runtime.distributed import here

# Any other handler is the program's own, and stays.
_ORDINARY = {signal.SIGTERM: signal.SIG_DFL, signal.SIGINT: signal.default_int_handler}


# No `Exception`: code of strategies and data sets that catches those must not swallow a stop.
class Stop(BaseException):
    """A loop has stopped as it was asked to; ``handle_signals`` turns it into what the signal's sender expects."""


class _Watch:
    """Handlers of one block, and the signal it has received."""

    def __init__(self) -> None:
        self.owner, self.received = os.getpid(), 0
        self.before: dict[int, Any] = {}

    def install(self) -> None:
        """Take over the signals that have their ordinary handlers; a handler of the user's stays."""
        for number, ordinary in _ORDINARY.items():
            if signal.getsignal(number) is ordinary:
                self.before[number] = signal.signal(number, self.receive)

    def restore(self) -> None:
        """Give back the handlers as they were."""
        for number, handler in self.before.items():
            signal.signal(number, handler)
        self.before = {}

    def receive(self, number: int, frame: FrameType | None) -> None:
        """Note the first signal, end at the second."""
        if os.getpid() != self.owner:  # a process that was forked inside the block: its parent decides
            # Whoever has started a process ends it by SIGTERM: a note alone would let it run on, and cleaning up would
            # be done with what belongs to its parent. Ctrl-C reaches parent and child alike: the parent decides.
            if number == signal.SIGTERM:
                os._exit(128 + number)
            return
        if self.received:
            self.restore()
            raise _ending(number)
        self.received = number
        text = f"{signal.Signals(number).name}: stopping after this step; a second signal stops at once\n"
        # A signal may come in the midst of a print, whose buffer must not be entered twice.
        os.write(2, text.encode())


_watch: _Watch | None = None


@contextmanager
def handle_signals() -> Iterator[None]:
    """Stop where loops ask; inside another such block, or outside the main thread, nothing changes.

    Raises:
        KeyboardInterrupt: at the end, if SIGINT came.
        SystemExit: with status 143 at the end, if SIGTERM came.
    """
    global _watch
    # A forked process inherits the block of its parent, which is not its own; and Python installs handlers
    # in the main thread only.
    if (
        _watch is not None and _watch.owner == os.getpid()
    ) or threading.current_thread() is not threading.main_thread():
        yield
        return
    watch = _watch = _Watch()
    watch.install()
    try:
        yield
    except (Stop, Exception) as error:  # loader processes may have died of the same signal
        if not watch.received:
            raise
        raise _ending(watch.received) from (None if isinstance(error, Stop) else error)
    finally:
        watch.restore()
        _watch = None
    # The signal may come after the last moment at which the work has asked for it.
    if watch.received:
        raise _ending(watch.received)


def stop_requested() -> bool:
    """Whether a signal has asked for a stop."""
    return _watch is not None and _watch.received > 0


def stop() -> None:
    """Stop here.

    Raises:
        Stop: which no ``except Exception`` catches.
        SystemExit: with status 143, outside of ``handle_signals``.
    """
    if _watch is None:
        raise _ending(signal.SIGTERM)
    _watch.received = _watch.received or signal.SIGTERM  # another rank has had it
    raise Stop


def check() -> None:
    """Stop here if that was asked for; several ranks stop only where all do."""
    # A rank that stops in the midst of an evaluation leaves the others waiting for its answers.
    if stop_requested() and here() is None:
        stop()


def _ending(number: int) -> BaseException:
    if number == signal.SIGINT:
        return KeyboardInterrupt(
            f"stopped by SIGINT; a run with a folder goes on with {setting('resume', True, of='')}"
        )
    return SystemExit(128 + number)
