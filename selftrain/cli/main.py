"""The entry point: which command, and what its end means. It loads a command only when it is asked for."""

from __future__ import annotations

import difflib
import os
import signal
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from importlib import import_module
from types import FrameType
from typing import Any

from selftrain import errors
from selftrain.cli import EXIT_CODES, FAILED, INTERRUPTED, OK, TERMINATED, USAGE, Terminated, UsageError
from selftrain.errors import SelftrainError, printable

# Here and not beside each command, whose imports of torch and scikit-learn take seconds that --help must not cost.
COMMANDS = {
    "check-data": "say what is wrong with data, and what training would do with them",
    "pretrain": "fill an encoder from the unlabeled samples",
    "train": "train a network on few labels and many unlabeled samples",
    "evaluate": "figures of a run on a part of its data, or on other data",
    "predict": "what a run says of a picture, a folder, a table or an array file",
    "label": "label a folder, arrays or a table with a run, as a table with confidences",
    "review": "write one HTML page on which a person accepts and corrects pseudo-labels",
    "report": "write one HTML page that says what a run or a comparison is worth",
    "compare": "train supervised and other strategies under one budget: does self-training pay here?",
    "export": "write a run's classifier or encoder as safetensors, ONNX or torch.export",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: Command and options; ``None``: those of the process.

    Returns:
        The exit code, see ``selftrain.cli``.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in words
    try:
        with _printable(), _signals(), _plain_warnings(debug), _first_alone(), _options_in_messages():
            return _run([word for word in words if word != "--debug"])
    except (KeyboardInterrupt, Terminated) as stop:
        word = "terminated" if isinstance(stop, Terminated) else "interrupted"
        return _end(word, TERMINATED if isinstance(stop, Terminated) else INTERRUPTED)
    except BrokenPipeError:  # what reads the output has closed it, such as `| head`
        # Python flushes the output once more at its end, and would complain of the same pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    # no other kinds: a fault of the library itself keeps its traceback
    except (SelftrainError, ValueError, OSError, ImportError, MemoryError) as error:
        if debug:
            raise
        return _end(f"error: {_told(error)}", USAGE if isinstance(error, UsageError) else FAILED)


def _run(words: list[str]) -> int:
    """The command that the first word names, or the list of all."""
    first = words[0] if words else "--help"
    if first in ("-h", "--help", "help"):
        print(usage())
        return OK if words else USAGE
    if first == "--version":
        from selftrain import __version__

        print(f"selftrain {__version__}")
        return OK
    if first not in COMMANDS:
        near = difflib.get_close_matches(first, COMMANDS, 1)
        hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(COMMANDS)}"
        raise UsageError(f"no command {first!r}; {hint}")
    command: Any = import_module(f"selftrain.cli.{module_of(first)}")
    return int(command.run(words[1:]))


def module_of(command: str) -> str:
    """The module of a command: one called like a public function of the package would hide it once imported."""
    own = {"compare": "compare_runs", "evaluate": "evaluate_run", "export": "export_run", "report": "report_page"}
    return own.get(command, command.replace("-", "_"))


def usage() -> str:
    """What ``selftrain --help`` prints."""
    width = max(map(len, COMMANDS))
    rows = [f"  {name:<{width}}  {about}" for name, about in COMMANDS.items()]
    return "\n".join(
        [
            "usage: selftrain COMMAND [options]",
            "",
            "Pretrain on the unlabeled pile, self-train with a few labels, watch it, export pseudo-labels.",
            "",
            "commands:",
            *rows,
            "",
            "  selftrain COMMAND --help    all options of a command, with their defaults",
            "  selftrain COMMAND --debug   show where an error comes from",
            "  selftrain --version",
            "",
            "a first run, on data that are here:",
            "  selftrain train --data digits --data.labels 40 --strategy fixmatch --out runs/first",
            "",
            EXIT_CODES,
        ]
    )


def _end(message: str, code: int) -> int:
    # else the message overtakes what the command has printed, which may still be in the buffer of standard output
    sys.stdout.flush()
    print(f"selftrain: {printable(message)}", file=sys.stderr)
    return code


def _told(error: BaseException) -> str:
    """An error in one line."""
    text = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{error.filename}: {error.strerror}"
    return text


@contextmanager
def _signals() -> Iterator[None]:
    """SIGTERM ends a command as Ctrl-C does: files are whole, and what was stored last is there to resume."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise Terminated

    try:
        before = signal.signal(signal.SIGTERM, stop)
    except ValueError:  # not in the main thread: its owner handles signals
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


class _Printable:
    """A stream of text that shows whatever is written into it, and lets nothing of it command a terminal."""

    def __init__(self, stream: Any, *, bars: bool) -> None:
        self._stream, self._bars = stream, bars

    def write(self, text: str) -> int:
        """Write text; a bar of progress may go back to the start of its line."""
        start = "\r" if self._bars and text.startswith("\r") else ""
        self._stream.write(start + printable(text.removeprefix(start)))
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def _printable() -> Iterator[None]:
    """Names of files, classes and columns, which may be a stranger's, reach the terminal as what can be seen."""
    # here and not where they are printed: no line of any command, warning or library can be forgotten
    with redirect_stdout(_Printable(sys.stdout, bars=False)), redirect_stderr(_Printable(sys.stderr, bars=True)):
        yield


@contextmanager
def _options_in_messages() -> Iterator[None]:
    """Messages say ``--data.size`` where Python would say ``size=``."""
    errors.as_options = True
    try:
        yield
    finally:
        # ``main`` is also called from Python, where a message must say `size=` again
        errors.as_options = False


@contextmanager
def _first_alone() -> Iterator[None]:
    """Of the processes that torchrun starts, the first one prints."""
    # read from the environment: asking torch.distributed would load torch
    if int(os.environ.get("RANK", "0")) == 0:
        yield
        return
    with open(os.devnull, "w", encoding="utf-8") as nowhere, redirect_stdout(nowhere):
        yield


@contextmanager
def _plain_warnings(debug: bool) -> Iterator[None]:
    """Warnings as one line each, without the place in the source."""

    def show(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
        print(f"selftrain: warning: {' '.join(str(message).split())}", file=sys.stderr)

    with warnings.catch_warnings():
        if not debug:
            warnings.showwarning = show
        yield
