"""One writer a folder: a lock that the system takes back when its process ends, however it ends."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from selftrain.errors import RunFolderError

LOCK = ".lock"


@contextmanager
def locked(folder: Path | None, *, create: bool) -> Iterator[None]:
    """Hold the lock of a folder; ``None``, or a folder that is missing and not created: nothing to hold.

    The file ``.lock`` is there meanwhile and is removed at the end, and so is a folder that was created and is still
    empty; a file that a killed process left locks nothing, even while processes that it forked live on.

    Args:
        folder: The folder.
        create: Make the folder if it is missing.

    Raises:
        RunFolderError: if another run holds it, or the folder cannot be written.
    """
    from filelock import FileLock, Timeout

    if folder is None or not (create or folder.is_dir()):
        yield
        return
    # asked before the folder is made: one of the user's is not removed, even if it is empty
    if folder.is_file():
        raise RunFolderError(f"out is {folder}, which is a file; give a folder")
    path, created = folder / LOCK, not folder.exists()
    lock = FileLock(path, blocking=False, thread_local=False, on_acquired=_sign)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout as error:
        busy = f"{folder} is in use by another run ({_owner(path)}); wait for it or take another folder"
        raise RunFolderError(busy) from error
    except OSError as error:
        raise RunFolderError(f"cannot write into {folder}: {error}") from error
    try:
        yield
    finally:
        # Removed while it is still held: after the release it may be the next one's. Windows keeps an open file.
        with suppress(OSError):
            path.unlink(missing_ok=True)
            if created and not any(folder.iterdir()):
                folder.rmdir()
        lock.release()


def _sign(handle: int) -> None:
    """Say in the lock's file who holds it."""
    # through this very handle: a forked process closes it, but any other would keep the folder locked
    os.ftruncate(handle, 0)
    os.write(handle, f"process {os.getpid()} on {platform.node()}\n".encode())


def _owner(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")[:100].strip() or "unknown"
    except OSError:  # it is ending at this very moment; or Windows, where nobody else may read it
        return "unknown"
