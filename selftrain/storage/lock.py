"""One writer a folder: a lock that the system takes back when its process ends, however it ends."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from selftrain.errors import RunFolderError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

LOCK = ".lock"
_held: set[int] = set()  # open files that a forked process must not keep: the lock would outlive its owner


@contextmanager
def locked(folder: Path | None, *, create: bool) -> Iterator[None]:
    """Hold the lock of a folder; ``None``, or a folder that is missing and not created: nothing to hold.

    The file ``.lock`` is there meanwhile and is removed at the end, and so is a folder that was created and is still
    empty; a file that a killed process left locks nothing.

    Args:
        folder: The folder.
        create: Make the folder if it is missing.

    Raises:
        RunFolderError: if another run holds it, or the folder cannot be written.
    """
    if folder is None or fcntl is None or not (create or folder.is_dir()):
        yield
        return
    created = not folder.exists()
    handle = _take(folder)
    _held.add(handle)
    try:
        yield
    finally:
        with suppress(OSError):  # the folder may be gone
            (folder / LOCK).unlink(missing_ok=True)
            if created and not any(folder.iterdir()):
                folder.rmdir()
        _held.discard(handle)
        os.close(handle)


def _take(folder: Path) -> int:
    path = folder / LOCK
    try:
        folder.mkdir(parents=True, exist_ok=True)
        while True:
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
            if not _try(handle):
                owner = os.read(handle, 100).decode(errors="replace").strip() or "unknown"
                os.close(handle)
                raise RunFolderError(f"{folder} is in use by another run ({owner}); wait for it or take another folder")
            if _is(path, handle):
                break
            os.close(handle)  # its owner removed it at this very moment
    except OSError as error:
        raise RunFolderError(f"cannot write into {folder}: {error}") from error
    os.truncate(handle, 0)
    os.write(handle, f"process {os.getpid()} on {os.uname().nodename}\n".encode())
    return handle


def _try(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is(path: Path, handle: int) -> bool:
    """Whether the open file is still the one of that name."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(handle))
    except FileNotFoundError:
        return False


def _let_go() -> None:
    for handle in _held:
        with suppress(OSError):
            os.close(handle)
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go)
