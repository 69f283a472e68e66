"""Checkpoints that are whole or absent, and a manifest of their SHA-256 sums.

The manifest is there twice, and each copy has a sum of its own: damage to one is found, and the other one is read.
"""

from __future__ import annotations

import hashlib
import json
import warnings
import zipfile
from pathlib import Path
from typing import IO, Any, cast

import torch

from selftrain.errors import CheckpointError, RunFolderError, setting
from selftrain.storage.atomic import whole_file
from selftrain.storage.fields import COUNT, check, read_fields
from selftrain.storage.states import restored, storable

FORMAT = 2  # 1: version 0.1, whose states had other parts
MANIFEST, COPY = "manifest.json", "manifest.copy.json"
_ENTRIES = {"checkpoints": [{"file": str, "step": COUNT, "sha256": str}], "sha256": (str, ...)}


def save(folder: Path, state: dict[str, Any], step: int, *, keep: int = 2) -> Path:
    """Store ``state`` as the checkpoint of ``step`` and forget all but the newest ``keep``.

    Args:
        folder: Created if missing.
        state: Tensors, numbers, text, lists and dicts, see ``storable``.
        step: Number in the file name.
        keep: Checkpoints that stay, at least 1.

    Raises:
        CheckpointError: if the file cannot be written, or is not on the disk as it was written; older checkpoints are
            untouched.
        ValueError: for a ``keep`` below 1.
    """
    if keep < 1:
        raise ValueError(f"keep is {keep}; at least 1 checkpoint must stay")
    path, written = folder / f"step-{step:09d}.pt", hashlib.sha256()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if is_empty(folder):
            # so that a first checkpoint that was not finished is not taken for a lost manifest
            _write_entries(folder, [])
        with whole_file(path) as part, open(part, "wb") as file:
            torch.save({"format": FORMAT, "state": storable(state)}, cast("IO[bytes]", _Summed(file, written)))
        # read back before older ones go: a disk that stores something else must not cost the last good state
        if _digest(path) != written.hexdigest():
            raise CheckpointError(f"{path} is not on the disk as it was written; check the disk")
        # later ones are from before a fall-back to an older one
        entries = [e for e in _entries(folder) if e["step"] < step]
        kept = [*entries, {"file": path.name, "step": step, "sha256": written.hexdigest()}][-keep:]
        _write_entries(folder, kept)
    except (OSError, RuntimeError, RunFolderError) as error:  # PyTorch makes some refusals of the disk a RuntimeError
        raise CheckpointError(f"cannot write into {folder}: {error}") from error
    # after both manifests are written: what they name is always there
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
    # the newest first; one that is damaged costs its steps, not the run
    for entry in reversed(_entries(folder)):
        try:
            state = load(folder / entry["file"], entry["sha256"], device)
        except CheckpointError as error:
            problems.append(str(error))
            continue
        if problems:
            warnings.warn(f"continuing from {entry['file']}: {'; '.join(problems)}", stacklevel=2)
        return state
    raise CheckpointError(
        "; ".join(problems) or f"{folder} holds no checkpoint; start anew with {setting('overwrite', True, of='')}"
    )


def load(path: Path, sha256: str | None = None, device: torch.device | str = "cpu") -> dict[str, Any]:
    """State in one file after checking its sum; never runs code from the file.

    Raises:
        CheckpointError: if the file is missing, damaged or of another format.
    """
    if not path.is_file():
        raise CheckpointError(f"{path} is missing")
    # before anything is parsed: no reader has to cope with damaged content
    if sha256 is not None and _digest(path) != sha256:
        raise CheckpointError(f"{path} is damaged: its SHA-256 is not the one in {MANIFEST}")
    try:
        with zipfile.ZipFile(path) as archive:  # what is compressed could fill any memory; `torch.save` does not
            size = sum(entry.file_size for entry in archive.infolist())
        if size > path.stat().st_size:
            raise ValueError(f"it says that it unpacks to {size:,} bytes")
        with torch.sparse.check_sparse_tensor_invariants():  # else a forged index would be followed out of the memory
            content = torch.load(path, map_location=device, weights_only=True)
    except Exception as error:  # torch raises many types here; the user needs one
        raise CheckpointError(f"{path} cannot be read: {error}") from error
    try:
        check(content, {"format": int, "state": object})
    except ValueError as error:
        raise CheckpointError(f"{path} is no checkpoint of this library: {error}") from error
    if content["format"] != FORMAT:
        remedy = f"finish the run with version 0.1 of selftrain, or begin anew with {setting('overwrite', True, of='')}"
        raise CheckpointError(
            f"{path} has format {content['format']}, this version reads {FORMAT}; "
            + (remedy if content["format"] == 1 else "it is of a newer version: update selftrain")
        )
    try:
        state: dict[str, Any] = restored(content["state"])
        check(state, dict, "the state")
    except RecursionError as error:
        raise CheckpointError(f"{path} cannot be read: it is nested without end") from error
    except (ValueError, TypeError, RuntimeError) as error:  # of numpy: an array of a kind that it does not know
        raise CheckpointError(f"{path} is no checkpoint of this library: {error}") from error
    return state


def is_empty(folder: Path) -> bool:
    """Whether no checkpoint was ever finished here: a run that was killed before its first one begins anew.

    Raises:
        CheckpointError: if the manifest and its copy are damaged.
    """
    if any((folder / name).exists() for name in (MANIFEST, COPY)):
        return not _entries(folder)
    return not any(folder.glob("step-*.pt"))


def _write_entries(folder: Path, entries: list[dict[str, Any]]) -> None:
    text = json.dumps({"format": FORMAT, "checkpoints": entries, "sha256": _sum_of(entries)}, indent=1).encode()
    for name in (MANIFEST, COPY):
        # one after the other: a crash in between leaves two whole ones, and the older names files that still exist
        with whole_file(folder / name) as part:
            part.write_bytes(text)


def _entries(folder: Path) -> list[dict[str, Any]]:
    """Entries of the manifest, or of its copy where the manifest is missing or damaged; none: no checkpoint yet.

    Raises:
        CheckpointError: if both are damaged.
    """
    problems = []
    # one flipped bit in the list of sums must not cost what the sums protect
    for name in (MANIFEST, COPY):
        if not (folder / name).is_file():
            continue
        try:
            entries = _read_entries(folder / name)
        except CheckpointError as error:
            problems.append(str(error))
            continue
        if problems:
            warnings.warn(f"{'; '.join(problems)}; reading {name} instead", stacklevel=3)
        return entries
    if problems:
        raise CheckpointError("; ".join(problems))
    return []


def _read_entries(path: Path) -> list[dict[str, Any]]:
    content = read_fields(path, _ENTRIES, "restore the file from a copy of the folder", error=CheckpointError)
    entries = [{key: entry[key] for key in ("file", "step", "sha256")} for entry in content["checkpoints"]]
    # a forged manifest must not lead out of the folder
    wrong = [entry["file"] for entry in entries if Path(entry["file"]).name != entry["file"]]
    if wrong:
        raise CheckpointError(f"{path} cannot be read: {wrong[0]!r:.200} is not the name of a file in this folder")
    if content.get("sha256", _sum_of(entries)) != _sum_of(entries):
        raise CheckpointError(f"{path} is damaged: its content does not fit its own SHA-256")
    return entries


def _sum_of(entries: list[dict[str, Any]]) -> str:
    return hashlib.sha256(json.dumps(entries).encode()).hexdigest()


def _digest(path: Path) -> str:
    total = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            total.update(chunk)
    return total.hexdigest()


# a sum of the file as read back would also fit what the disk got wrong
class _Summed:
    """A file that sums up what is written into it."""

    def __init__(self, file: IO[bytes], total: Any) -> None:
        self.file, self.total = file, total

    def write(self, part: bytes) -> int:
        """Write a part."""
        self.total.update(part)
        return self.file.write(part)

    def flush(self) -> None:
        """As of the file."""
        self.file.flush()
