"""The one way files are written: a temporary sibling, fsync, rename. A reader finds the old file or the new one."""

from __future__ import annotations

import json
import math
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from selftrain.errors import RunFolderError

PART = ".part"  # ending of a file that is not whole yet


@contextmanager
def whole_file(path: str | Path, *, create: bool = False) -> Iterator[Path]:
    """A place to write beside ``path``, renamed to it at the end; after an error ``path`` is as it was.

    Args:
        path: The file.
        create: Make its folder if it is missing.

    Raises:
        RunFolderError: if ``path`` is a link, a device, a pipe or a folder, which renaming would replace, or the disk
            refuses.
    """
    path = Path(path)
    check_target(path)
    part: Path | None = None
    try:
        if create:
            path.parent.mkdir(parents=True, exist_ok=True)
        # a name drawn at random: two writers of one file never write into each other's part
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=PART, dir=path.parent)
        os.close(handle)
        part = Path(name)
        yield part
        with open(part, "rb+") as file:  # else a loss of power could leave the new name with nothing behind it
            os.fsync(file.fileno())
        os.chmod(part, 0o666 & ~_umask())  # mkstemp keeps others out
        os.replace(part, path)
    except OSError as error:
        raise RunFolderError(f"cannot write {path}: {error}") from error
    finally:
        # in `finally`: an interrupt is no error that `except` would see, and must leave no part either
        if part is not None:
            part.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a file, whole or not at all."""
    with whole_file(path) as part:
        part.write_bytes(text.encode())


def write_json(path: Path, value: Any) -> None:
    """Write numbers, text, lists and dicts, whole or not at all; NaN and infinity as ``null``: JSON has no word."""
    write_text(path, json.dumps(_finite(value), indent=1))


def check_target(path: Path) -> None:
    """Refuse to replace what is no file: a link, a device, a folder.

    Raises:
        RunFolderError: if ``path`` exists and is no regular file.
    """
    if path.is_symlink() or (path.exists() and not path.is_file()):
        raise RunFolderError(f"{path} is not a regular file; move it away or choose another name")


def remove_parts(folder: Path, name: str = "*") -> None:
    """Remove what writers of a file that were killed have left in a folder: parts that never became whole."""
    for part in folder.glob(f".{name}.*{PART}"):
        part.unlink(missing_ok=True)


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(inner) for inner in value]
    if hasattr(value, "item") and getattr(value, "ndim", None) == 0:  # a number of numpy or torch
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _umask() -> int:
    # there is no way to read the mask but to set another one
    mask = os.umask(0)
    os.umask(mask)
    return mask
