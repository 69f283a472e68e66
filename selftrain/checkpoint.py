"""Checkpoints that are whole or absent: temporary sibling, fsync, rename, and a manifest of SHA-256 sums."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import torch

from selftrain.errors import CheckpointError

FORMAT = 1
MANIFEST = "manifest.json"


def write_whole(path: Path, write: Callable[[IO[bytes]], None]) -> None:
    """Write a file so that a reader finds the old one or the new one, never a part.

    Raises:
        CheckpointError: if ``path`` exists and is no regular file, or the disk refuses.
    """
    if path.is_symlink() or (path.exists() and not path.is_file()):
        raise CheckpointError(f"{path} is not a regular file; move it away or choose another folder")
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    except OSError as error:
        raise CheckpointError(f"cannot write into {path.parent}: {error}") from error
    try:
        with os.fdopen(handle, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o666 & ~_umask())
        os.replace(name, path)
    except (OSError, RuntimeError) as error:
        raise CheckpointError(f"cannot write {path}: {error}") from error
    finally:
        Path(name).unlink(missing_ok=True)


def save(folder: Path, state: dict[str, Any], step: int, *, keep: int = 2) -> Path:
    """Store ``state`` as the checkpoint of ``step`` and forget all but the newest ``keep``.

    Args:
        folder: Created if missing.
        state: Tensors, numbers, text, lists and dicts: what ``torch.load(weights_only=True)`` accepts.
        step: Number in the file name.
        keep: Checkpoints that stay, at least 1.

    Raises:
        CheckpointError: if the file cannot be written; older checkpoints are untouched.
        ValueError: for a ``keep`` below 1.
    """
    if keep < 1:
        raise ValueError(f"keep is {keep}; at least 1 checkpoint must stay")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CheckpointError(f"cannot write into {folder}: {error}") from error
    path = folder / f"step-{step:09d}.pt"
    write_whole(path, lambda file: torch.save({"format": FORMAT, "state": state}, file))
    entries = [e for e in _entries(folder) if e["step"] < step]  # later ones: from before a fall-back to an older one
    entries.append({"file": path.name, "step": step, "sha256": _digest(path)})
    kept = entries[-keep:]
    text = json.dumps({"format": FORMAT, "checkpoints": kept}, indent=1).encode()
    write_whole(folder / MANIFEST, lambda file: _put(file, text))
    for old in folder.glob("step-*.pt"):
        if old.name not in {e["file"] for e in kept}:
            old.unlink(missing_ok=True)
    return path


def load_newest(folder: Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """State of the newest checkpoint that is whole; says so when it had to fall back to an older one.

    Raises:
        CheckpointError: if there is none; the message names each file and what is wrong with it.
    """
    problems = []
    for entry in reversed(_entries(folder)):
        try:
            state = load(folder / entry["file"], entry["sha256"], device)
        except CheckpointError as error:
            problems.append(str(error))
            continue
        if problems:
            warnings.warn(f"continuing from {entry['file']}: {'; '.join(problems)}", stacklevel=2)
        return state
    raise CheckpointError("; ".join(problems) or f"{folder} holds no checkpoint; start anew with overwrite=True")


def load(path: Path, sha256: str, device: torch.device | str = "cpu") -> dict[str, Any]:
    """State in one file after checking its sum; never runs code from the file.

    Raises:
        CheckpointError: if the file is missing, damaged or of another format.
    """
    if not path.is_file():
        raise CheckpointError(f"{path} is missing")
    if _digest(path) != sha256:
        raise CheckpointError(f"{path} is damaged: its SHA-256 is not the one in {MANIFEST}")
    try:
        content = torch.load(path, map_location=device, weights_only=True)
    except Exception as error:  # torch raises many types here; the user needs one
        raise CheckpointError(f"{path} cannot be read: {error}") from error
    if not isinstance(content, dict) or not {"format", "state"} <= content.keys():
        raise CheckpointError(f"{path} is no checkpoint of this library")
    if content["format"] != FORMAT:
        raise CheckpointError(f"{path} has format {content['format']}, this version reads {FORMAT}")
    state: dict[str, Any] = content["state"]
    return state


def _entries(folder: Path) -> list[dict[str, Any]]:
    path = folder / MANIFEST
    if not path.is_file():
        return []
    try:
        return [_checked(entry) for entry in json.loads(path.read_text())["checkpoints"]]
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path} cannot be read: {error!r}") from error


def _checked(entry: dict[str, Any]) -> dict[str, Any]:
    file = str(entry["file"])
    if Path(file).name != file:
        raise ValueError(f"{file} is not the name of a file in this folder")
    return {"file": file, "step": int(entry["step"]), "sha256": str(entry["sha256"])}


def _digest(path: Path) -> str:
    total = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            total.update(chunk)
    return total.hexdigest()


def _put(file: IO[bytes], text: bytes) -> None:
    file.write(text)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
